"""What a worker may spend and has spent, counted by name."""

from __future__ import annotations

import pytest

from maker.models.settings import SimulatedSettings
from maker.models.simulated import SimulatedModel
from maker.swarm.spending import Spending
from maker.types import NOTHING, Account, Allowance, Failed, Finished, Grant, Prices, Request, Sample, Truth, Usage

PRICES = (Prices(1.0, 10.0),)
SOLVER = Account(0, "solver")


def request(n: int = 3) -> Request:
    """Return a request for some replies of 4 tokens at most."""
    return Request(1, "", "ab", n, 0, 4, (), "letter")


def cut_off(n: int, **told: int) -> Failed:
    """Return a failure after which nobody says what n replies cost."""
    return Failed(1, "cut", lost=True, unaccounted=n)._replace(**told)


def spending(*, limited: bool) -> Spending:
    """Return the spending of a worker beside a simulated model."""
    model = SimulatedModel(SimulatedSettings(), lambda prompt: Truth(["x"], []))
    return Spending(model, PRICES, limited=limited)


def answered(n: int) -> Finished:
    """Return a request's replies, which took 5 tokens to ask for and 2 each to give."""
    return Finished(1, (Sample("x", 2),) * n, 5, 2 * n, 3, retries=1)


def test_what_is_spent_is_counted_by_name() -> None:
    """Replies, a failure that is repeated, and one that is lost for good: each adds to counts of its own."""
    counting = spending(limited=False)
    counting.count(request(), NOTHING, answered(3))
    counting.count_failure(request(), NOTHING, Failed(1, "down", retries=2), repeated=True)
    counting.count_failure(request(), NOTHING, cut_off(2, calls=1, prompt_tokens=5), repeated=False)
    assert counting.usage() == {
        SOLVER: Usage(
            calls=4, prompt_tokens=10, completion_tokens=6, requests=2, cached_tokens=3, retries=4, unaccounted=2
        )
    }


def test_what_comes_from_a_cache_has_its_own_price() -> None:
    """Of ten tokens read four are cached, of a reply that votes as of one that does not; room is set aside for none."""
    model = SimulatedModel(SimulatedSettings(), lambda prompt: Truth(["x"], []))
    counting = Spending(model, (Prices(1.0, 10.0, 0.25),), limited=True)
    worst = counting.worst(request())
    assert worst.cost == (worst.tokens - 12) * 1.0 + 12 * 10.0
    counting.replace_grant(Grant(1, worst.plus(worst)))
    for _ in range(2):
        assert counting.reserve(worst)
    counting.count(request(), worst, answered(3)._replace(prompt_tokens=10, cached_tokens=4))
    lost = Failed(1, "another model", lost=True, calls=3, prompt_tokens=10, completion_tokens=6, cached_tokens=4)
    counting.count_failure(request(), worst, lost, repeated=False)
    spent = 2 * (6 * 1.0 + 4 * 0.25 + 6 * 10.0)
    assert counting.usage()[SOLVER].cached_tokens == 8
    left = 2 * worst.cost - spent
    assert counting.reserve(Allowance(0, 0, left))
    assert not counting.reserve(Allowance(0, 0, 0.01))


def test_a_slice_begins_with_nothing() -> None:
    """What one report has told is in no other."""
    counting = spending(limited=False)
    counting.count_failure(request(), NOTHING, cut_off(3), repeated=False)
    assert counting.usage()[SOLVER] == Usage(requests=1, unaccounted=3)
    assert counting.abandoned == counting.worst(request())
    counting.begin_slice()
    assert (counting.usage(), counting.abandoned) == ({}, NOTHING)


def test_nothing_is_reserved_beyond_a_grant() -> None:
    """What a reply did not cost of its worst is free again; without a grant nothing is covered."""
    limited = spending(limited=True)
    worst = limited.worst(request())
    assert not limited.reserve(worst)
    limited.replace_grant(Grant(7, worst))
    assert limited.reserve(worst)
    assert not limited.reserve(Allowance(1, 0, 0.0))
    limited.count(request(), worst, answered(2))
    assert limited.reserve(Allowance(1, worst.tokens - 9, worst.cost - 45.0))
    assert limited.starve(worst) == (7, worst)
    assert not limited.reserve(Allowance(1, 0, 0.0))


def test_replies_that_nobody_asked_for_are_calls() -> None:
    """Three were asked for and five came."""
    counting = spending(limited=False)
    counting.count(request(), NOTHING, answered(3)._replace(surplus=2))
    assert counting.usage()[SOLVER].calls == 5


def test_what_was_never_sent_is_free() -> None:
    """What was set aside for it comes back, and it is no request."""
    limited = spending(limited=True)
    worst = limited.worst(request())
    limited.replace_grant(Grant(7, worst))
    limited.reserve(worst)
    limited.free(worst)
    assert (limited.abandoned, limited.usage()) == (NOTHING, {})
    assert limited.reserve(worst)


@pytest.mark.parametrize("n", [1, 3])
def test_what_was_sent_is_abandoned_at_the_worst_of_as_many_replies(n: int) -> None:
    """Of three replies that are asked for one by one only those that were sent for may be billed."""
    limited = spending(limited=True)
    worst = limited.worst(request())
    limited.replace_grant(Grant(7, worst))
    limited.reserve(worst)
    limited.count_failure(request(), worst, cut_off(n), repeated=False)
    assert limited.abandoned == limited.worst(request(n))
    assert limited.reserve(worst.plus(limited.abandoned, -1))
