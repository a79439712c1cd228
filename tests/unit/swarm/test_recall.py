"""A worker that is called back: what of its requests may have cost something."""

from __future__ import annotations

import time
from typing import Any

import pytest

from maker.models.server.openai import OpenAIModel
from maker.models.settings import OpenAISettings
from maker.swarm.messages import Orders, WorkerSpec
from maker.swarm.worker import Worker
from maker.testing import FakeServer, chat_completion
from maker.types import Account, Allowance, Grant, Prices, Usage, sum_usage
from maker.voting.messages import ChainAt
from maker.voting.policy import SOLVER, Role, Rules
from maker.voting.tally import genesis
from voters.first_to_ahead_by_k import FirstToAheadByK, FirstToAheadByKParams

UNDER_WAY = 2


@pytest.mark.parametrize("limited", [True, False])
def test_only_what_was_sent_is_counted_and_set_aside(letters: Any, *, limited: bool) -> None:
    """Of five chains' requests for three votes two are under way, and three wait for them."""
    role = Role(FirstToAheadByK(FirstToAheadByKParams(k=3)), 30)
    with FakeServer(lambda body: (200, chat_completion(["a"] * body.get("n", 1)), 30.0)) as server:
        settings = OpenAISettings(url=server.url, name="m", concurrency=UNDER_WAY)
        spec = WorkerSpec(
            letters(3), Rules(0, "all", {SOLVER: role}, 1), lambda: OpenAIModel(settings), (Prices(),), limited=limited
        )
        worker = Worker(spec)
        chains = tuple(ChainAt(key, (key,), 0, 0, genesis("test"), "0") for key in range(5))
        reports = [worker.advance(Orders(chains, grant=Grant(1, Allowance(100, 10**6, 1.0)) if limited else None))]
        deadline = time.monotonic() + 5
        while len(server.requests) < UNDER_WAY and time.monotonic() < deadline:
            reports.append(worker.advance(Orders()))
        reports.append(worker.advance(Orders(recall=True)))
        worker.close()
        sent = len(server.requests)
    usage = sum_usage(report.spent.get(Account(0, SOLVER), Usage()) for report in reports)
    assert (sent, usage) == (UNDER_WAY, Usage(requests=UNDER_WAY, unaccounted=3 * UNDER_WAY))
    assert sum(report.abandoned.calls for report in reports) == 3 * UNDER_WAY
