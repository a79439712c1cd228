"""What a worker may spend and has spent, counted by name."""

from __future__ import annotations

import pytest

from maker.models.settings import SimulatedSettings
from maker.models.simulated import SimulatedModel
from maker.swarm.spending import Spending
from maker.types import NOTHING, Account, Allowance, Failed, Finished, Grant, Prices, Request, Sample, Truth, Usage

PRICES = (Prices(1.0, 10.0),)
SOLVER = Account(0, "solver")


class Billing(SimulatedModel):
    """Bills requests that are cancelled under way, as a hosted server may."""

    def bills(self, model: int) -> bool:
        """Say so."""
        return True


def request(n: int = 3) -> Request:
    """Return a request for some replies of 4 tokens at most."""
    return Request(1, "", "ab", n, 0, 4, (), "letter")


def spending(*, limited: bool, kind: type[SimulatedModel] = SimulatedModel) -> Spending:
    """Return the spending of a worker beside a simulated model."""
    model = kind(SimulatedSettings(), lambda prompt: Truth(["x"], []))
    return Spending(model, PRICES, limited=limited)


def answered(n: int) -> Finished:
    """Return a request's replies, which took 5 tokens to ask for and 2 each to give."""
    return Finished(1, (Sample("x", 2),) * n, 5, 2 * n, 3, retries=1)


def test_what_is_spent_is_counted_by_name() -> None:
    """Replies, a failure that is repeated, and one that is lost for good: each adds to counts of its own."""
    counting = spending(limited=False)
    counting.count(request(), NOTHING, answered(3))
    counting.count_failure(request(), NOTHING, Failed(1, "down", retries=2), repeated=True)
    counting.count_failure(request(), NOTHING, Failed(1, "cut", lost=True, calls=1, prompt_tokens=5), repeated=False)
    assert counting.usage() == {
        SOLVER: Usage(
            calls=4, prompt_tokens=10, completion_tokens=6, requests=2, cached_tokens=3, retries=4, unaccounted=2
        )
    }


def test_a_slice_begins_with_nothing() -> None:
    """What one report has told is in no other."""
    counting = spending(limited=False, kind=Billing)
    counting.count_cancelled(request(), NOTHING)
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


@pytest.mark.parametrize("kind", [SimulatedModel, Billing])
def test_a_cancelled_request_is_free_unless_it_is_billed(kind: type[SimulatedModel]) -> None:
    """One that may be billed is abandoned at its worst, and what was reserved for it does not come back."""
    limited = spending(limited=True, kind=kind)
    worst = limited.worst(request())
    limited.replace_grant(Grant(7, worst))
    limited.reserve(worst)
    limited.count_cancelled(request(), worst)
    assert limited.abandoned == (worst if kind is Billing else NOTHING)
    assert limited.reserve(worst) == (kind is SimulatedModel)
