"""Choose what each stage of a cascade keeps, and which of the kept rows to accept, from labels of random rows. Pure.

A cascade asks a cheap model about all rows of a table and hands the doubtful ones on to the next stage. Labels of rows
that were drawn at random from the whole table are used for two things, and no label for both:

**Tuning labels** say how much a stage keeps (`hand_off`). What they choose is a matter of cost alone: nothing is
promised by it, and no confidence is spent on it.

**Test labels** judge the answers of all stages together, once, when all stages have ended (in `composite` order, by
`maker.stats.acceptance.choose`). Given the tuning labels, it is settled which stage has the last word on each row, and
the test labels are a random sample of the rows that are not tuning ones. So the cascade is one table like any other,
with one answer a row and an order that no test label has a part in: the fixed sequence of tests holds at the whole
confidence, however many stages there are, and whatever errors they share.

**Why not the same labels for each stage.** The labelled rows that a stage leaves are no random sample of what it
leaves: its rule had looked at some of them, and stopped there because of what it saw. Tests of each stage by labels of
its own are sound, with the risk split among the stages (Bonferroni). But the last stages have few rows, and few labels:
where a fifth of the rows is handed on, 60 of 300 labels are left, and show no error below 5 %. One test over all stages
needs as many labels as a test of one model does.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping
from hashlib import sha256
from typing import NamedTuple

from maker.stats.acceptance import Order, Score

TUNING = 1 / 4
"""The share of the labels that tunes hand-offs."""
SPENT = 0.5
"""A stage keeps rows while at most this share of the stated error seems to be wrong among all kept so far: later stages
have the harder rows, and to show an error takes fewer wrong labels than it allows."""


class Kept(NamedTuple):
    """What stages keep: rows, those of them with a tuning label, and those that such a label calls wrong."""

    rows: int = 0
    labelled: int = 0
    wrong: int = 0


NOTHING = Kept()


def tuning_rows(labelled: Collection[int]) -> list[int]:
    """Return which of the labelled rows tune hand-offs, in ascending order; the others are left for the test.

    They are drawn by a hash of all labelled rows, so the same labels give the same ones; what the labels say has no
    part in it. Of 300 rows 75.
    """
    rows = sorted(set(labelled))
    seed = int.from_bytes(sha256(" ".join(map(str, rows)).encode()).digest())
    return sorted(random.Random(seed).sample(rows, int(len(rows) * TUNING)))


def hand_off(order: Order, error: float, before: Kept = NOTHING) -> int | None:
    """Return the number of the loosest rule whose rows a stage keeps; None where it keeps none, and hands all on.

    With the rows that stages before it have kept, so many as estimated by (x + 1/2) / (n + 1) are wrong: it keeps as
    many rows as it can while that is at most `SPENT` of the error. 49 labels, none wrong, are the fewest that let a
    stage keep rows for an error of 2 %.

    Args:
        order: The stage's rules, with the tuning labels of its rows.
        error: The share of accepted rows that may be wrong.
        before: What earlier stages keep.
    """
    found = None
    for number, rule in enumerate(order.rules):
        labelled, wrong = before.labelled + order.sampled[number], before.wrong + rule.wrong
        if (wrong + 0.5) / (labelled + 1) <= SPENT * error:
            found = number
    return found


def kept_with(before: Kept, order: Order, rule: int | None) -> Kept:
    """Return what is kept once a stage keeps the rows of a rule too."""
    if rule is None:
        return before
    rows, wrong = order.rules[rule]
    return Kept(before.rows + rows, before.labelled + order.sampled[rule], before.wrong + wrong)


def start_of(rows: Mapping[Score, int]) -> Score:
    """Return the score up to which rows of the last stage stand in the strictest rule, beside all that is kept before.

    It is that of the surest half. What earlier stages keep is one block: by itself it may miss an error that all rows
    together keep, as the last stage is the better one, and a sequence that began with it would end there.

    Args:
        rows: How many rows of the last stage have each score; there is one at least.
    """
    half, before = sum(rows.values()) / 2, 0
    for one in sorted(rows):
        before += rows[one]
        if before >= half:
            break
    return one


def composite(start: Score, score: Score | None) -> Score:
    """Return the score of a row in the cascade: by that of the last stage, or None where an earlier stage keeps it."""
    return start if score is None else max(start, score)
