"""What stages keep, the order of all stages' rows, and that no label is used twice."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from maker.stats.acceptance import choose, order_of
from maker.stats.bounds import Labelled
from maker.stats.cascade import NOTHING, Kept, composite, hand_off, kept_with, start_of, tuning_rows


def test_tuning_rows_are_a_quarter_whatever_the_order() -> None:
    """They follow from which rows are labelled alone."""
    rows = random.Random(1).sample(range(2000), 300)
    found = tuning_rows(rows)
    assert len(found) == 75
    assert found == tuning_rows(sorted(rows)) == sorted(found)
    assert set(found) < set(rows)


def test_every_place_among_the_labels_tunes_as_often() -> None:
    """Over many draws each place, the first too, is a tuning one in a quarter of them: within 4 sigma."""
    draws, places = 400, Counter[int]()
    for seed in range(draws):
        rows = sorted(random.Random(seed).sample(range(1000), 40))
        places.update(rows.index(row) for row in tuning_rows(rows))
    sigma = (draws * 0.25 * 0.75) ** 0.5
    assert all(abs(places[place] - draws / 4) < 4 * sigma for place in range(40))


def test_a_stage_keeps_as_many_rows_as_seem_right_enough() -> None:
    """At 2 % 49 labels with none wrong let it keep a rule, and 48 do not."""
    sizes = {(0.1,): 500, (0.2,): 300}
    for labels, rule in ((49, 0), (48, None)):
        order = order_of(sizes, [((0.1,), True)] * labels + [((0.2,), False)] * 9)
        assert hand_off(order, 0.02) == rule


def test_what_earlier_stages_keep_counts_with_it() -> None:
    """A later stage with few labels may keep rows where all kept rows together seem right; and may not where not."""
    order = order_of({(0.1,): 100}, [((0.1,), True)] * 5)
    assert hand_off(order, 0.02, NOTHING) is None
    assert hand_off(order, 0.02, Kept(500, 60, 0)) == 0
    assert hand_off(order, 0.02, Kept(500, 60, 3)) is None
    assert kept_with(Kept(500, 60, 1), order, 0) == Kept(600, 65, 1)
    assert kept_with(Kept(500, 60, 1), order, None) == Kept(500, 60, 1)


def test_kept_rows_stand_with_the_surest_half_of_the_last_stage() -> None:
    """The order begins there: surer rows of the last stage are no rule of their own."""
    start = start_of({(0.1,): 10, (0.2,): 45, (0.3,): 45})
    assert start == (0.2,)
    assert composite(start, None) == composite(start, (0.1,)) == (0.2,)
    assert composite(start, (0.3,)) == (0.3,)


@pytest.mark.parametrize("seed", [20261201])
def test_a_choice_by_test_labels_keeps_the_promise_where_hand_offs_are_chosen_to_mislead(seed: int) -> None:
    """Both models are wrong on 6 % of the rows, rows that the other is right on: at 5 % few choices pass, of 400."""
    draw, above, runs = random.Random(seed), 0, 400
    for _ in range(runs):
        rows = 600
        wrong = draw.sample(range(rows), 72)
        cheap, strong = set(wrong[:36]), set(wrong[36:])
        surer = {row: float(row % 2) for row in range(rows)}
        labelled = draw.sample(range(rows), 200)
        tuning = set(tuning_rows(labelled))
        sizes = Counter((surer[row],) for row in range(rows))
        order = order_of(sizes, [((surer[row],), row not in cheap) for row in tuning])
        rule = hand_off(order, 0.12)
        kept = {row for row in range(rows) if rule is not None and order.rank[surer[row],] <= rule}
        bad = {row for row in range(rows) if row in (cheap if row in kept else strong)}
        among = [row for row in range(rows) if row not in tuning]
        whole = order_of({(0.0,): len(among)}, [((0.0,), row not in bad) for row in labelled if row not in tuning])
        found = choose(whole.rules, [Labelled(len(among), len(labelled) - len(tuning), 0)], 0.05, 0.95)
        above += found.last is not None and sum(row in bad for row in among) > 0.05 * len(among)
    # 5 % of 400 are 20; 4 sigma above that are 37.
    assert above <= 37
