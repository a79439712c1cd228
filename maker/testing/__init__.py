"""Real stand-ins for tests, yours and ours. Nothing here is a mock of our own code."""

from __future__ import annotations

from maker.testing.servers import (
    LOST,
    FakeReply,
    FakeRequest,
    FakeServer,
    Fault,
    FaultyServer,
    Served,
    chat_completion,
    collect,
    completion,
)

__all__ = [
    "LOST",
    "FakeReply",
    "FakeRequest",
    "FakeServer",
    "Fault",
    "FaultyServer",
    "Served",
    "chat_completion",
    "collect",
    "completion",
]
