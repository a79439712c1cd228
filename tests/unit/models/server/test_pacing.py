"""Requests and tokens a minute, by a clock that the tests hold."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maker.models.server.pacing import WINDOW_S, Pace, pause_s


def test_without_limits_nothing_waits() -> None:
    pace = Pace(None, None)
    for _ in range(1000):
        assert pace.wait_s(10**9, 5.0) == 0
        pace.take(10**9, 5.0)


def test_requests_wait_until_the_first_of_the_window_is_a_minute_old() -> None:
    """Of three a minute, sent at 0, 10 and 20 s, the fourth goes at 60 s and the fifth at 70 s."""
    pace = Pace(3, None)
    for at in (0.0, 10.0, 20.0):
        assert pace.wait_s(1, at) == 0
        pace.take(1, at)
    assert pace.wait_s(1, 25.0) == 35.0
    assert pace.wait_s(1, 60.0) == 0
    pace.take(1, 60.0)
    assert pace.wait_s(1, 60.0) == 10.0


def test_tokens_wait_until_enough_of_them_are_a_minute_old() -> None:
    """Of 100 a minute 40, 40 and 20 are taken: 50 have to wait for both of the first two."""
    pace = Pace(None, 100)
    for at, tokens in ((0.0, 40), (1.0, 40), (2.0, 20)):
        pace.take(tokens, at)
    assert pace.wait_s(40, 3.0) == 57.0
    assert pace.wait_s(50, 3.0) == 58.0


def test_a_real_count_makes_room() -> None:
    pace = Pace(None, 100)
    taken = pace.take(100, 0.0)
    assert pace.wait_s(30, 1.0) == 59.0
    pace.correct(taken, 70)
    assert pace.wait_s(30, 1.0) == 0
    assert pace.wait_s(31, 1.0) == 59.0


def test_a_correction_that_comes_after_the_window_changes_nothing() -> None:
    pace = Pace(None, 100)
    late = pace.take(100, 0.0)
    assert pace.wait_s(100, 60.0) == 0
    pace.take(60, 60.0)
    pace.correct(late, 1)
    assert pace.wait_s(40, 61.0) == 0
    assert pace.wait_s(41, 61.0) == 59.0


def test_a_request_beyond_the_limit_goes_alone() -> None:
    pace = Pace(None, 100)
    assert pace.wait_s(500, 0.0) == 0
    pace.take(500, 0.0)
    assert pace.wait_s(1, 1.0) == 59.0
    assert pace.wait_s(500, 60.0) == 0


def test_a_hold_stops_everything_and_the_longest_counts() -> None:
    pace = Pace(None, None)
    pace.hold(10.0)
    pace.hold(5.0)
    assert pace.wait_s(1, 4.0) == 6.0
    assert pace.wait_s(1, 10.0) == 0


@given(
    st.integers(1, 5),
    st.integers(1, 300),
    st.lists(st.tuples(st.integers(0, 20), st.integers(1, 100), st.integers(0, 100)), max_size=60),
)
def test_no_minute_holds_more_than_the_limits(requests: int, tokens: int, asked: list[tuple[int, int, int]]) -> None:
    """Whoever waits as he is told has in no minute more requests or tokens, but for one request beyond all limits."""
    pace, now, sent = Pace(requests, tokens), 0.0, []
    for gap, worst, real in asked:
        now += gap
        now += pace.wait_s(worst, now)
        assert pace.wait_s(worst, now) == 0
        taken = pace.take(worst, now)
        pace.correct(taken, min(real, worst))
        sent.append((now, min(real, worst)))
    for start, _ in sent:
        inside = [used for at, used in sent if start <= at < start + WINDOW_S]
        assert len(inside) <= requests
        assert sum(inside) <= max(tokens, *inside)


@pytest.mark.parametrize(("tries", "least", "most"), [(1, 0.1, 0.5), (2, 0.1, 1.0), (5, 0.1, 8.0), (2000, 0.1, 8.0)])
def test_pauses_grow_to_their_cap(tries: int, least: float, most: float) -> None:
    assert pause_s(tries, 0.0) == pytest.approx(least)
    assert pause_s(tries, 1.0) == pytest.approx(most)
