"""The processes of a benchmark: what is computed of their races is what simulated ones come to."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.shared.error_processes import (
    FLAGGED,
    STEADY,
    Course,
    Process,
    alike,
    bad_minutes,
    changed,
    choose,
    draw_rows,
    drift,
    hear,
    mixed,
)
from benchmarks.shared.races import failures, hold, moments_of
from maker.stats.race import step_right

ROWS = 4000
K = np.full(ROWS, 3)


def process(p: float = 0.8, **more: object) -> Process:
    """Return one whose rows are alike."""
    return Process("", "", (alike(p),), rows=ROWS, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "one",
    [
        pytest.param(process(), id="alike"),
        pytest.param(process(together=0.3), id="one fate"),
        pytest.param(process(repeats=0.2), id="repeats"),
        pytest.param(process(course=drift(0.8, 0.6)), id="drift"),
        pytest.param(process(course=bad_minutes(0.2, 0.8, 0.4, moments=500, seen=False)), id="bad minutes"),
        pytest.param(process(0.3, rivals=4), id="rivals"),
        pytest.param(process(malformed=lambda p: np.full_like(p, 0.3)), id="malformed"),
    ],
)
def test_races_are_lost_as_often_as_computed(one: Process) -> None:
    """Within four standard errors, in all rows and in the later half of them."""
    rng = np.random.default_rng(1)
    rows, shifts = draw_rows(one, rng), moments_of(one, rng)
    chances = failures(one, rows, K, shifts)
    lost = ~hold(one, rng, rows, K, shifts, most=None).right
    for part in (slice(None), slice(ROWS // 2, None)):
        sigma = np.sqrt((chances[part] * (1 - chances[part])).sum())
        assert abs(lost[part].sum() - chances[part].sum()) < 4 * sigma


def test_what_is_computed_is_the_formula() -> None:
    """Steady rows are lost by it; one that time has made worse by that of its worse p; one fate for all is one vote."""
    rng = np.random.default_rng(1)
    for one, right in (
        (process(), step_right(0.8, 3)),
        (process(course=Course(lambda _, moments: np.full(moments, np.log(9 / 4)))), step_right(0.9, 3)),
        (process(course=changed(0.8, 0.9)), step_right(0.9, 3)),
        (process(together=1.0), 0.8),
    ):
        chances = failures(one, draw_rows(one, rng), K, moments_of(one, rng))
        assert chances == pytest.approx(np.full(ROWS, 1 - right), rel=1e-6)


def test_rows_end_later_the_more_requests_they_take() -> None:
    """The last rows to end are those that ask most often; one that asks once is in its place."""
    one = process(0.6)
    rng = np.random.default_rng(1)
    ended = hold(one, rng, draw_rows(one, rng), K, moments_of(one, rng), most=None)
    votes = ended.winner + ended.rival
    assert votes[ended.order[-20:]].mean() > 2 * votes[ended.order[:-20]].mean()
    assert ended.order[0] == int(np.flatnonzero(votes == 3)[0])


def test_rows_that_take_too_many_replies_stay_undecided() -> None:
    """They are not right, and the others are decided by their lead."""
    one = process(0.55)
    rng = np.random.default_rng(1)
    ended = hold(one, rng, draw_rows(one, rng), K, moments_of(one, rng), most=9)
    assert ended.undecided.any()
    assert not ended.right[ended.undecided].any()
    assert (ended.winner - ended.rival)[~ended.undecided].min() == 3


def test_a_pilot_hears_what_the_process_says() -> None:
    """Malformed replies are flagged, votes that repeat are unanimous, and a course that is not seen is not heard."""
    rng = np.random.default_rng(1)
    one = process(0.7, malformed=lambda p: np.full_like(p, 0.25), piloted=2000, course=drift(0.7, 0.1))
    rows = draw_rows(one, rng)
    heard = hear(one, rng, rows, choose(one, rng, rows), requests=2)
    assert heard.shape == (2000, 10)
    assert (heard == FLAGGED).mean() == pytest.approx(0.25, abs=0.015)
    assert (heard == 0).sum() / (heard != FLAGGED).sum() == pytest.approx(0.7, abs=0.015)
    one = process(0.7, repeats=1.0, piloted=500)
    rows = draw_rows(one, rng)
    heard = hear(one, rng, rows, choose(one, rng, rows))
    assert (heard == heard[:, :1]).all()


def test_a_pilot_asks_the_rows_that_it_is_said_to() -> None:
    """The first ones, or so many hard ones among others; the hardest rows come last where they are late."""
    rng = np.random.default_rng(1)
    one = Process("", "", (mixed(alike(0.9), alike(0.4), 0.1),), late=True, first=True)
    rows = draw_rows(one, rng)
    assert choose(one, rng, rows).tolist() == list(range(300))
    assert rows.p[-1] == 0.4
    assert rows.p[0] == 0.9
    one = Process("", "", (mixed(alike(0.9), alike(0.4), 0.1),), hard=7)
    rows = draw_rows(one, rng)
    asked = choose(one, rng, rows)
    assert (rows.p[asked] < 0.5).sum() == 7
    assert len(set(asked.tolist())) == 300
    one = Process("", "", (mixed(alike(0.9), alike(0.4), 0.1),), easiest=True)
    rows = draw_rows(one, rng)
    asked = choose(one, rng, rows)
    assert rows.p[asked].min() == 0.9
    # Of rows that are as easy as others any are asked: not the first ones.
    assert asked[-1] > 900
    assert STEADY.draw(rng, 3).tolist() == [0.0, 0.0, 0.0]
