"""The window of a shared limit: what is granted, and that no minute sees more than the limit and one grant a worker."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maker.store.rate_window import UNLIMITED, WINDOW_S, Rates, RateWindow, Wanted, fair_shares
from maker.types import Lot

NOTHING_HELD = (0, 0)


def wanted(requests: int, tokens: int = 0, *, held: tuple[int, int] = NOTHING_HELD, least: int | None = None) -> Wanted:
    return Wanted(requests, tokens, *held, least)


def test_a_grant_is_two_seconds_of_the_limit() -> None:
    """However much is wanted, a worker holds a thirtieth of a minute's requests and tokens at most."""
    window, rates = RateWindow(), Rates(600, 90_000)
    assert window.grant(rates, wanted(500, 50_000, least=10), (), 7.9) == Lot(7, 20, 3000)
    assert window.grant(rates, wanted(500, 50_000, held=(15, 2900), least=10), (), 8.0) == Lot(8, 5, 100)
    assert (window.requests, window.tokens) == (25, 3100)


def test_a_small_limit_gives_one_at_a_time() -> None:
    """Below 30 requests a minute a grant is one request, and the limit holds."""
    window, rates = RateWindow(), Rates(2, None)
    granted = [window.grant(rates, wanted(9), (), at).requests for at in (1.0, 2.0, 3.0)]
    assert granted == [1, 1, 0]
    window.move(1.0 + WINDOW_S)
    assert window.grant(rates, wanted(9), (), 1.0 + WINDOW_S).requests == 0, "its second is not over a minute ago"
    window.move(2.0 + WINDOW_S)
    assert window.grant(rates, wanted(9), (), 2.0 + WINDOW_S).requests == 1


def test_what_is_given_back_is_free_again() -> None:
    """It leaves the second in which it was granted; of a second that is out of the window nothing is left to free."""
    window, rates = RateWindow(), Rates(30, 3000)
    for at in range(30):
        window.grant(rates, wanted(1, 100), (), at)
    assert (window.requests, window.tokens) == (30, 3000)
    window.give_back([Lot(3, 1, 60), Lot(200, 9, 9)])
    assert (window.requests, window.tokens) == (29, 2940)
    window.give_back([Lot(4, 0, -50)])
    assert window.tokens == 2990, "what was used beyond it counts"
    window.give_back([Lot(5, 1000, 1000)])
    assert window.requests == 28


def test_part_of_a_request_is_not_granted() -> None:
    """Tokens that do not come to one request would keep others from them, and so would requests without tokens."""
    window, rates = RateWindow([Lot(0, 0, 950)]), Rates(100, 1000)
    assert window.grant(rates, wanted(1, 100, least=100), (), 1.0) == Lot(1, 0, 0)
    assert window.grant(rates, wanted(1, 50, held=(0, 50), least=100), (), 1.0) == Lot(1, 1, 50)


def test_a_request_beyond_the_limit_goes_alone() -> None:
    """It goes when nothing else is in the window; else it would wait for ever."""
    window, rates = RateWindow([Lot(0, 1, 1)]), Rates(None, 1000)
    assert window.grant(rates, wanted(2, 10_000, least=5000), (), 1.0).tokens == 0
    window.move(61.0)
    assert window.grant(rates, wanted(2, 10_000, least=5000), (), 61.0).tokens == UNLIMITED or window.tokens == 5000
    assert window.tokens == 5000


def test_who_waits_longer_goes_first() -> None:
    """What the requests need that have waited longer is left for them."""
    window, rates = RateWindow([Lot(0, 95, 500)]), Rates(100, 1000)
    assert window.grant(rates, wanted(10, 30, least=30), (470,), 1.0) == Lot(1, 3, 30)
    assert window.grant(rates, wanted(1, 30, least=30), (470,), 1.0) == Lot(1, 0, 0)
    assert window.grant(rates, wanted(1, 470, least=470), (), 1.0) == Lot(1, 1, 470)


def test_without_limits_nothing_is_counted() -> None:
    """What is not limited is there without end, and leaves no trace."""
    window = RateWindow()
    assert window.grant(Rates(None, None), wanted(3, 300, least=100), (), 5.0) == Lot(5, UNLIMITED, UNLIMITED)
    assert window.write() == "[]"


@pytest.mark.parametrize("text", ["", "{", "7", "[7]", "[[1, 2]]", '[["a", 1, 2]]', "[[1, 2, null]]"])
def test_a_damaged_window_is_told(text: str) -> None:
    """Whatever stands there in place of a window: one error."""
    with pytest.raises(ValueError):
        RateWindow.read(text)


ASKS = st.lists(
    st.tuples(
        st.integers(0, 3),
        st.floats(0, 20),
        st.integers(0, 40),
        st.floats(0, 1),
    ),
    min_size=1,
    max_size=60,
)


@given(ASKS, st.integers(1, 300))
def test_no_minute_passes_the_limit_by_more_than_a_grant_a_worker(
    asks: list[tuple[int, float, int, float]], limit: int
) -> None:
    """Whenever workers ask, and however much of it they use when, at once or at the end of a lot's three seconds."""
    window, rates, now = RateWindow(), Rates(limit, None), 0.0
    held: dict[int, tuple[Lot, float]] = {}
    used: list[tuple[float, int]] = []
    for worker, later_s, wants, part in asks:
        now += later_s
        window.move(now)
        if (before := held.pop(worker, None)) is not None:
            lot, granted_at = before
            spent = round(lot.requests * part)
            used.append((min(now, granted_at + 3.0), spent))
            window.give_back([Lot(lot.second, lot.requests - spent, 0)])
        lot = window.grant(rates, wanted(wants), (), now)
        held[worker] = (lot, now)
        assert lot.requests <= max(1, limit // 30)
    used += [(min(now, at), lot.requests) for lot, at in held.values()]
    grant = max(1, limit // 30)
    for at, _ in used:
        within = sum(count for moment, count in used if at <= moment < at + WINDOW_S)
        assert within <= limit + 4 * grant


@given(st.integers(0, 50), st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 30)))
def test_shares_are_fair(limit: int, wants: dict[str, int]) -> None:
    """All that is wanted is given out as far as it goes, and who gets less than it wants gets no less than another."""
    shares = fair_shares(limit, wants)
    assert shares.keys() == wants.keys()
    assert sum(shares.values()) == min(limit, sum(wants.values()))
    by_share = sorted(wants, key=lambda name: shares[name])
    for one, other in pairwise(by_share):
        assert shares[one] == wants[one] or shares[other] - shares[one] <= 1
