"""Real stand-ins for tests, yours and ours. Nothing here is a mock of our own code.

`servers` has a fake HTTP server, and one that fails now and then and keeps count; `hosted` has servers that refuse what
hosted models refuse, and keep a bill; `batch_server` has providers of batches. `voters.check_voter` holds a voter to
its contract.
"""

from __future__ import annotations

from maker.testing.batch_server import BatchBill, BatchServer, LineError, MessageBatchServer
from maker.testing.hosted import Bill, HostedKind, HostedServer
from maker.testing.local_server import FakeReply
from maker.testing.servers import (
    LOST,
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
    "BatchBill",
    "BatchServer",
    "Bill",
    "FakeReply",
    "FakeRequest",
    "FakeServer",
    "Fault",
    "FaultyServer",
    "HostedKind",
    "HostedServer",
    "LineError",
    "MessageBatchServer",
    "Served",
    "chat_completion",
    "collect",
    "completion",
]
