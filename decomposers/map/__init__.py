"""A map over rows: one answer a row, each voted on by itself.

The root forks into single steps, one a row, leniently: a row without a decision holds nothing up. A worker reads the
rows it is given through its own handle on the input (`maker.inputs`). Parser, check and what a simulated model knows
are functions that the job names: their code is in the fingerprint, and Ray workers get it by value, as file plugins.

An answer by a JSON schema is read strictly (`decomposers.common.strict_json`), checked (`decomposers.common.schema`)
and counted by field (`decomposers.map.fields`). The voted fields make the vote's key (``Codec.key``); the rest is
carried from the first sample that voted for the winner.
"""

from __future__ import annotations

from decomposers.map.task import Map, MapParams
from maker.plugin import by_keywords

__all__ = ["Map", "MapParams", "map_rows"]

map_rows = by_keywords(Map, MapParams)
