"""Which answer comes first does not matter: votes count by their index, and none before its request is whole.

A server answers one request a sample, right with probability p, drawn from the request's own seed. One server is slow
when it is right and fast when it is wrong, the other is the reverse. Whoever counted votes as they arrive would favour
the fast answers; maker must decide alike, and as often rightly as the formula says.
"""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import maker
from maker.stats.race import step_right
from maker.testing import FakeReply, FakeServer, chat_completion

STEPS = 500
P = 0.8
K = 2
FAST_S, SLOW_S = 0.0, 0.015
SEED = 20262
TASK = """
from decomposers.function import Done, ask, task


@task(state=int, action=str)
def choose(state: int):
    return Done(state) if state == steps else ask("Right or wrong?")


steps = STEPS


@choose.start
def _start() -> int:
    return 0


@choose.apply
def _apply(state: int, action: str) -> int:
    return state + 1
"""


class Decided(NamedTuple):
    """What a run came to: rightly decided steps, the log, and the samples that came in fast and were wrong."""

    right: int
    digest: str
    votes: int
    wrong: int


def is_right(seed: int) -> bool:
    """Draw from a request's seed whether its answer is right."""
    return random.Random(seed).random() < P


def decide(folder: Path, *, slow_when_right: bool) -> Decided:
    """Run the task against a server that is slow when it is right, or when it is wrong."""

    def answer(body: Any) -> FakeReply:
        assert body.get("n", 1) == 1
        right = is_right(body["seed"])
        delay = SLOW_S if right == slow_when_right else FAST_S
        return FakeReply(200, chat_completion(["right" if right else "wrong"]), delay)

    (folder / "choose.py").write_text(TASK.replace("STEPS", str(STEPS)))
    store = f"sqlite:///{folder}/{slow_when_right}.db"
    with FakeServer(answer) as server:
        job = {
            "run": {"seed": SEED},
            "task": {"decomposer": f"{folder}/choose.py:choose"},
            "model": {"kind": "openai", "url": server.url, "name": "m", "max_n": 1},
            "vote": {"k": K},
            "store": {"url": store},
        }
        report = maker.run(job)
        assert report.status == "done", report.reason
        samples = len(server.requests)
    steps = list(maker.steps("last", store=store))
    assert samples == report.calls == report.votes
    wrong = sum(step.votes.get('"wrong"', 0) for step in steps)
    return Decided(sum(step.action == "right" for step in steps), report.digest, report.votes, wrong)


@pytest.mark.slow
def test_the_order_of_arrival_does_not_matter(tmp_path: Path) -> None:
    """A server right slowly and wrong fast decides as one that does the reverse: 1 / (1 + r^k), within 4 sigma."""
    print(f"run seed {SEED}, {STEPS} steps, p = {P}, k = {K}")
    truth = step_right(P, K)
    sigma = math.sqrt(STEPS * truth * (1 - truth))
    slow, fast = (decide(tmp_path, slow_when_right=slow) for slow in (True, False))
    print(f"right slowly: {slow}\nright fast:   {fast}\nexpected: {STEPS * truth:.1f} +- {sigma:.1f}")
    for decided in (slow, fast):
        assert abs(decided.right - STEPS * truth) < 4 * sigma
        # The samples themselves err as they should, so that the comparison is not between two servers of no error.
        assert abs(decided.wrong - decided.votes * (1 - P)) < 4 * math.sqrt(decided.votes * P * (1 - P))
    assert abs(slow.right - fast.right) < 4 * sigma * math.sqrt(2)
    # As each answer hangs on its seed alone, and seeds on their place in the run, the two agree to the last vote.
    assert slow.digest == fast.digest
