"""Whether two nodes of a graph are connected, by walks of one neighbour a step."""

from __future__ import annotations

from decomposers.connect.task import Connect, ConnectParams
from maker.plugin import by_keywords

__all__ = ["Connect", "ConnectParams", "connect"]

connect = by_keywords(Connect, ConnectParams)
