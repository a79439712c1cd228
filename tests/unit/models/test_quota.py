"""A worker's part of a shared limit: what may be sent, what it wants, and what it gives back."""

from __future__ import annotations

from maker.models.quota import RECENT_S, SLOTS_S, VALID_S, Quota
from maker.types import Lot, SharedGrant


def given(*lots: Lot, slots: int = 10, at: float = 0.0, pause_s: float = 0.0) -> Quota:
    quota = Quota()
    for number, lot in enumerate(lots, 1):
        quota.receive(SharedGrant(number, lot, slots, pause_s), at)
    return quota


def test_nothing_goes_before_a_grant() -> None:
    """A worker that knows of no grant sends nothing, and says what it waits for."""
    quota = Quota()
    quota.wait(70)
    quota.wait(30)
    assert quota.take(70, 0.0) is None
    claim = quota.claim(0.0)
    assert (claim.requests, claim.tokens, claim.least, claim.slots, claim.received) == (8, 400, 70, 2, 0)


def test_requests_go_as_far_as_the_grant_does() -> None:
    """Requests, tokens and places in flight: whichever ends first ends it."""
    assert [bool(given(Lot(5, 2, 900)).take(t, 1.0)) for t in (900, 901)] == [True, False]
    by_requests, by_slots = given(Lot(5, 2, 900)), given(Lot(5, 9, 900), slots=1)
    assert [bool(by_requests.take(10, 1.0)) for _ in range(3)] == [True, True, False]
    assert [bool(by_slots.take(10, 1.0)) for _ in range(2)] == [True, False]


def test_an_end_frees_the_place_and_gives_tokens_back() -> None:
    """What a request has not cost goes back to the seconds that it came from; a claim gives it back once."""
    quota = given(Lot(5, 1, 100), Lot(6, 1, 100), slots=1)
    ticket = quota.take(150, 1.0)
    assert ticket is not None
    assert quota.take(10, 1.0) is None
    quota.leave(ticket, 30)
    assert quota.claim(1.0).returned == (Lot(5, 0, 70), Lot(6, 0, 50))
    assert quota.claim(1.0).returned == ()
    assert quota.take(50, 1.0) is not None


def test_what_cost_more_is_told() -> None:
    """Tokens beyond what was taken count against the limit."""
    quota = given(Lot(5, 1, 100))
    ticket = quota.take(100, 1.0)
    assert ticket is not None
    quota.leave(ticket, 130)
    assert quota.claim(1.0).returned == (Lot(5, 0, -30),)


def test_an_unused_lot_expires_and_goes_back() -> None:
    """Nothing is sent on a grant that is older than a few seconds."""
    quota = given(Lot(5, 3, 100))
    assert quota.take(10, VALID_S - 0.1) is not None
    assert quota.take(10, VALID_S) is None
    assert quota.claim(VALID_S).returned == (Lot(5, 2, 90),)


def test_a_lot_is_replaced_before_it_expires() -> None:
    """From half its time on it does not count as held: a steady worker is never without."""
    quota = given(Lot(5, 3, 100))
    quota.wait(10)
    assert quota.claim(0.1).requests == 0, "half of what is of use is there"
    late = quota.claim(VALID_S * 0.6)
    assert (late.requests, late.held) == (4, (Lot(5, 3, 100),))


def test_places_end_without_word_from_the_store() -> None:
    """The store gives them to others then."""
    quota = given(Lot(5, 3, 100))
    for number in range(2, 30):
        quota.receive(SharedGrant(number, Lot(5 + number, 1, 10), 10, 0.0), 0.0)
    quota.receive(SharedGrant(30, Lot(50, 1, 10), 10, 0.0), SLOTS_S - 1)
    assert quota.claim(SLOTS_S - 0.5).may == 10
    quota = given(Lot(5, 3, 100))
    assert quota.claim(SLOTS_S).may == 0
    assert quota.take(1, SLOTS_S) is None


def test_a_pause_holds_and_is_passed_on() -> None:
    """The server's word holds at once, and is in the next claim; another worker's pause comes with a grant."""
    quota = given(Lot(5, 3, 100))
    quota.pause(0.5, 1.0)
    assert quota.take(1, 1.4) is None
    assert quota.claim(1.4).pause_s == 0.5
    assert quota.claim(1.4).pause_s == 0.0
    assert quota.take(1, 1.6) is not None
    assert given(Lot(5, 3, 100), pause_s=2.0).take(1, 1.9) is None


def test_who_is_done_becomes_idle() -> None:
    """A worker without demand wants nothing after two seconds, and says so once its lots are gone."""
    quota = given(Lot(5, 1, 100))
    ticket = quota.take(100, 0.5)
    assert ticket is not None
    quota.leave(ticket, 100)
    assert quota.claim(0.6).slots == 1
    for at in (0.6 + RECENT_S, 0.6 + 2 * RECENT_S):
        quota.claim(at)
    assert quota.claim(VALID_S + 0.1).idle


def test_waiters_are_woken() -> None:
    """Whoever waits is told of a grant and of a free place, from whichever thread."""
    quota, heard = given(Lot(5, 1, 100)), []
    quota.listen(lambda: heard.append(1))
    ticket = quota.take(1, 0.0)
    assert ticket is not None
    quota.leave(ticket, 1)
    quota.receive(SharedGrant(2, Lot(6, 1, 1), 1, 0.0), 0.0)
    assert len(heard) == 2
