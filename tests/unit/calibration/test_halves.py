"""What a pilot hears of a step's strongest rival, in votes that did not name it."""

from __future__ import annotations

import math
import random

import pytest

from maker.calibration.observations import Cell, ClassFound, Halves, Reply, Tallies


@pytest.mark.parametrize(("p", "rival", "others"), [(0.3, 0.175, 4), (0.4, 0.1, 6)])
def test_halves_know_a_step_s_strongest_rival_without_favour(p: float, rival: float, others: int) -> None:
    """The strongest of several rivals by all votes is too strong, by the votes that did not name it it is itself."""
    draw, tallies = random.Random(5), Tallies(1)
    answers = ["right", *(f"wrong {number}" for number in range(others))]
    for _ in range(2000):
        drawn = draw.choices(answers, [p, *[rival] * others], k=30)
        tallies.add([Reply(answer, None, 1) for answer in drawn], {"right"})
    found = tallies.found(None, None)
    halves = found.halves
    assert halves is not None
    share = sum(cell.right * cell.steps for cell in halves.duel) / sum(
        (cell.right + cell.against) * cell.steps for cell in halves.duel
    )
    assert share == pytest.approx(p / (p + rival), abs=4 * 0.5 / math.sqrt(2000 * 15 * (p + rival)))
    assert halves.rivals == pytest.approx(others, rel=0.05)
    assert found.right / (found.right + found.rival) < share - 0.03


def test_a_half_without_a_wrong_vote_names_no_rival() -> None:
    """Then all wrong votes of the other half are the rival's; calibrations of older versions have no halves."""
    tallies = Tallies(1)
    for answers in (["a", "b", "a", "c"], ["c", "c", "a", "b"]):
        tallies.add([Reply(answer, None, 1) for answer in answers], {"a"})
    found = tallies.found(None, None)
    assert found.halves == Halves(heard=(Cell(0, 2, 2),), duel=(Cell(0, 1, 1), Cell(0, 2, 1)))
    assert ClassFound.model_validate(found.model_dump(exclude={"halves"})).halves is None
