"""How many requests a server gets at once, on simulated servers with a simulated clock: no run differs from another."""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Callable, Iterator
from itertools import count
from typing import NamedTuple

import pytest

from maker.models.server.concurrency import FIRST, Concurrency, Flight

CHOICES = 3
GONE_S = 1e9
"""A sample that takes so long never comes."""
Seconds = Callable[[float], float]
"""How long a sample takes that is begun at a time."""


class Asked(NamedTuple):
    """A request on its way, by number, and who sent it."""

    number: int
    client: int
    flight: Flight


class Outcome(NamedTuple):
    """What became of a simulated run: its seconds, requests given up by client, and limits seen by client."""

    seconds: float
    lost: list[int]
    limits: list[list[int]]


def fast(clients: list[Concurrency], timeout_s: float, requests: int, latency_s: Seconds) -> Outcome:
    """Simulate a server that answers each request by itself, however many there are."""
    return simulate(clients, timeout_s, requests, latency_s, slots=requests, each=1)


def slow(clients: list[Concurrency], timeout_s: float, requests: int, sample_s: Seconds, slots: int = 1) -> Outcome:
    """Simulate a server that draws so many samples at a time, first come first served, none for clients gone."""
    return simulate(clients, timeout_s, requests, sample_s, slots=slots, each=CHOICES)


def simulate(
    clients: list[Concurrency], timeout_s: float, requests: int, sample_s: Seconds, *, slots: int, each: int
) -> Outcome:
    """Let clients have so many requests answered; one that is given up is asked for again."""
    numbers, due, open_ = count(), list[tuple[float, int, str, Asked]](), dict[int, Asked]()
    waiting, free, left = deque[Asked](), slots, requests
    under_way, lost, limits = [0] * len(clients), [0] * len(clients), [list[int]() for _ in clients]
    now_s = 0.0

    def later(after_s: float, what: str, asked: Asked) -> None:
        heapq.heappush(due, (now_s + after_s, next(numbers), what, asked))

    while True:
        for number, client in enumerate(clients):
            while left and under_way[number] < client.limit:
                asked = Asked(next(numbers), number, client.send(CHOICES, now_s))
                left, open_[asked.number] = left - 1, asked
                under_way[number] += 1
                waiting.append(asked)
                later(timeout_s, "late", asked)
        while waiting and free:
            asked = waiting.popleft()
            if asked.number in open_:
                free -= 1
                later(sum(sample_s(now_s) for _ in range(each)), "answered", asked)
        if not open_:
            return Outcome(now_s, lost, limits)
        now_s, _, what, asked = heapq.heappop(due)
        # What is being drawn occupies its slot to the end, but not for a client that is gone.
        free += what == "answered" and asked.number in open_
        if open_.pop(asked.number, None) is None:
            continue
        client = clients[asked.client]
        under_way[asked.client] -= 1
        limits[asked.client].append(client.limit)
        if what == "answered":
            client.answer(asked.flight, now_s)
            continue
        client.time_out(asked.flight, now_s)
        free += asked not in waiting
        lost[asked.client] += 1
        left += 1


def constant(seconds: float) -> Seconds:
    return lambda _: seconds


def drawn(mean_s: float, seed: int = 1) -> Seconds:
    """Return durations that vary as much as their mean."""
    rng = random.Random(seed)
    return lambda _: rng.expovariate(1 / mean_s)


@pytest.mark.parametrize(
    ("sample_s", "timeout_s"), [(0.05, 120), (0.2, 120), (2, 120), (10, 120), (0.05, 6), (0.2, 6), (0.5, 6), (0.8, 6)]
)
def test_a_slow_server_loses_nothing_and_no_time(sample_s: float, timeout_s: float) -> None:
    """One sample at a time: no request is given up, and the server is never idle."""
    ran = slow([Concurrency(64, timeout_s)], timeout_s, 100, constant(sample_s))
    assert ran.lost == [0]
    assert ran.seconds == pytest.approx(100 * CHOICES * sample_s)
    assert max(ran.limits[0]) <= 4


@pytest.mark.parametrize("seed", range(5))
def test_a_slow_server_of_varying_speed_loses_few(seed: int) -> None:
    ran = slow([Concurrency(64, 6)], 6, 1000, drawn(0.2, seed))
    assert ran.lost[0] <= 50


@pytest.mark.parametrize("sample_s", [1.2, 1.5, 1.8])
def test_a_server_that_needs_most_of_the_timeout_gets_one_request_at_a_time(sample_s: float) -> None:
    """Two at once would be one too many: that is found out seldom."""
    ran = slow([Concurrency(64, 6)], 6, 100, constant(sample_s))
    assert ran.lost[0] <= 5
    assert set(ran.limits[0][2:]) <= {1, 2}


@pytest.mark.parametrize("latency_s", [0.05, 1, 40, 60, 80, 100])
def test_a_server_that_answers_all_at_once_gets_all_at_once(latency_s: float) -> None:
    """Doubling takes a round trip each: from then on there are as many as there may be, however near the timeout."""
    ran = fast([Concurrency(64, 120)], 120, 10_000, constant(latency_s))
    assert ran.lost == [0]
    assert ran.seconds <= 1.06 * 10_000 / 64 * latency_s
    assert set(ran.limits[0][-5000:]) == {64}


@pytest.mark.parametrize("seed", range(5))
def test_a_fast_server_of_varying_latency_gets_all_at_once(seed: int) -> None:
    """Where the first latencies are unlucky, a limit is tried twice."""
    ran = fast([Concurrency(64, 120)], 120, 10_000, drawn(2.0, seed))
    assert ran.lost == [0]
    assert ran.seconds <= 1.2 * 10_000 / 64 * 2.0
    assert set(ran.limits[0][-5000:]) == {64}


@pytest.mark.parametrize("slots", [2, 4, 8, 16])
def test_a_server_of_several_slots_has_them_filled(slots: int) -> None:
    ran = slow([Concurrency(64, 120)], 120, 2000, constant(1.0), slots)
    assert ran.lost == [0]
    assert ran.seconds <= 1.03 * 2000 * CHOICES / slots


def test_a_server_that_becomes_a_hundred_times_slower_loses_few() -> None:
    """Few are under way when it happens, as more brought nothing before."""
    ran = slow([Concurrency(64, 120)], 120, 100, lambda now_s: 0.01 if now_s < 1.5 else 1.0)
    assert ran.lost == [0]
    ran = slow([Concurrency(64, 6)], 6, 100, lambda now_s: 0.01 if now_s < 1.5 else 1.0)
    assert ran.lost[0] <= 6


@pytest.mark.parametrize("first_s", [1.0, 20.0])
def test_a_server_that_falls_silent_gets_one_at_a_time_and_all_again_when_it_answers(first_s: float) -> None:
    """What was under way is lost once, then one request each timeout; ten round trips later all is as before.

    With 20 s of the 30 s that they may take, two requests at once are one too many as far as one alone can tell.
    """
    asked: list[float] = []

    def latency_s(now_s: float) -> float:
        asked.append(now_s)
        return GONE_S if 200 <= now_s < 450 else first_s

    ran = fast([Concurrency(64, 30)], 30, 20_000, latency_s)
    assert ran.lost[0] <= 64 + 300 / 30
    assert len([at_s for at_s in asked if 251 < at_s < 450]) <= 10
    assert ran.seconds <= 1.1 * (20_000 / 64 * first_s + 250 + 30)


@pytest.mark.parametrize("workers", [2, 4, 8])
@pytest.mark.parametrize(("sample_s", "timeout_s"), [(0.5, 120), (0.05, 6)])
def test_several_workers_on_one_slow_server_settle(workers: int, sample_s: float, timeout_s: float) -> None:
    """Each adapts by itself; together they do not drown it, and lose one call in twenty at most."""
    clients = [Concurrency(64, timeout_s) for _ in range(workers)]
    ran = slow(clients, timeout_s, 2000, constant(sample_s))
    assert sum(ran.lost) <= 100
    assert ran.seconds <= 1.06 * 2000 * CHOICES * sample_s


def test_a_request_that_hangs_by_itself_slows_nothing() -> None:
    """Others that were sent later are answered: it is not the load."""
    turns: Iterator[int] = count(1)
    ran = fast([Concurrency(64, 120)], 120, 10_000, lambda _: GONE_S if next(turns) % 500 == 0 else 2.0)
    assert ran.lost == [20]
    assert set(ran.limits[0][-5000:]) == {64}


def test_the_limit_is_never_above_the_setting() -> None:
    for most in (1, 2, 3, 5):
        ran = fast([Concurrency(most, 120)], 120, 500, constant(0.1))
        assert max(ran.limits[0]) == most


class TestByHand:
    """Each rule, to the last digit."""

    def test_it_begins_low_and_doubles_where_that_brings_more(self) -> None:
        """A round ends with as many answers as its limit: two in the first second, four in the next."""
        load = Concurrency(64, 120)
        assert load.limit == FIRST == 2
        flights = [load.send(1, 0.0) for _ in range(2)]
        load.answer(flights[0], 1.0)
        assert (load.limit, load.proven) == (2, 2)
        load.answer(flights[1], 1.0)
        assert (load.limit, load.proven) == (4, 2)
        for flight in [load.send(1, 1.0) for _ in range(4)]:
            load.answer(flight, 2.0)
        assert (load.limit, load.proven) == (8, 4)

    def test_a_limit_that_brings_nothing_is_taken_back(self) -> None:
        """One choice a second, with two requests under way, and with four."""
        load = Concurrency(64, 120)
        waiting = [load.send(1, 0.0), load.send(1, 0.0)]
        limits = []
        for second in range(1, 8):
            load.answer(waiting.pop(0), float(second))
            waiting += [load.send(1, float(second)) for _ in range(load.limit - len(waiting))]
            limits.append((load.limit, load.proven))
        assert limits == [(2, 2), (4, 2), (4, 2), (4, 2), (4, 2), (4, 2), (2, 2)]

    def test_what_ends_without_an_answer_says_nothing(self) -> None:
        load = Concurrency(64, 120)
        for _ in range(100):
            load.leave(load.send(1, 0.0), 60.0)
        assert (load.limit, load.silent, load.latency_s) == (2, 0, None)

    def test_too_few_requests_prove_nothing(self) -> None:
        """One at a time never fills two places."""
        load = Concurrency(64, 120)
        for second in range(100):
            load.answer(load.send(1, float(second)), second + 1.0)
        assert load.limit == 2

    def test_a_silent_server_is_asked_for_single_choices(self) -> None:
        """Two timeouts in a row: the second request was alone. A quick answer to one choice ends that."""
        load = Concurrency(64, 6)
        both = [load.send(3, 0.0), load.send(3, 0.0)]
        for flight in both:
            load.time_out(flight, 6.0)
        assert (load.limit, load.silent, load.single) == (1, 1, False)
        load.time_out(load.send(3, 6.0), 12.0)
        assert (load.limit, load.silent, load.single) == (1, 2, True)
        load.answer(load.send(1, 12.0), 15.0)
        assert (load.silent, load.single) == (0, True)
        load.answer(load.send(1, 15.0), 16.5)
        assert load.single is False

    def test_a_server_that_cuts_all_off_gets_one_at_a_time(self) -> None:
        """Four in a row, as many as there may be at least; one that is answered in between ends the row."""
        load = Concurrency(64, 120)
        for _ in range(3):
            load.cut(load.send(1, 0.0), 0.0)
        load.answer(load.send(1, 0.0), 1.0)
        for _ in range(3):
            load.cut(load.send(1, 1.0), 1.0)
        assert (load.limit, load.silent) == (2, 0)
        load.cut(load.send(1, 2.0), 2.0)
        assert (load.limit, load.silent) == (1, 1)
        load.cut(load.send(1, 3.0), 3.0)
        assert (load.limit, load.silent, load.silent_s) == (1, 2, 2.0)

    def test_a_server_that_replies_in_vain_is_not_silent(self) -> None:
        load = Concurrency(64, 120)
        for _ in range(4):
            load.cut(load.send(1, 0.0), 0.0)
        load.reply_in_vain(load.send(1, 1.0), 2.0)
        assert (load.limit, load.silent, load.latency_s) == (1, 0, None)
        for second in (3.0, 4.0, 5.0):
            load.cut(load.send(1, second), second)
        assert load.silent == 0

    def test_what_the_server_refuses_is_not_tried_again_at_once(self) -> None:
        """Of four that are tried it refuses two: two it is again. One refused of those leaves one, and never none."""
        load = Concurrency(64, 120)
        for flight in [load.send(1, 0.0) for _ in range(2)]:
            load.answer(flight, 1.0)
        tried = [load.send(1, 1.0) for _ in range(4)]
        assert (load.limit, load.proven) == (4, 2)
        for flight in tried[:2]:
            load.refuse(flight, 1.1)
            assert (load.limit, load.proven) == (2, 2)
        for second in (2.0, 3.0):
            load.refuse(load.send(1, second), second + 0.1)
            assert (load.limit, load.proven) == (1, 1)
        load.answer(load.send(1, 4.0), 5.0)
        assert load.limit == 1, "what was refused is tried after twice as many answers"
        load.answer(load.send(1, 5.0), 6.0)
        assert load.limit == 2

    def test_latency_by_littles_law(self) -> None:
        """Three choices wait 2 s, three 4 s, and three that are not back 2 s: 24 s in all, for six that are."""
        load = Concurrency(64, 120)
        flights = [load.send(3, 0.0), load.send(3, 0.0)]
        load.answer(flights[0], 2.0)
        load.send(3, 2.0)
        load.answer(flights[1], 4.0)
        assert load.latency_s == 4.0
