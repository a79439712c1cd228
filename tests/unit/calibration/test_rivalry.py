"""What a pilot hears of a step's strongest rival, in votes that did not name it."""

from __future__ import annotations

import math
import random

import pytest

from maker.calibration.observations import Cell, ClassFound, Reply, Rivalry, Tallies


@pytest.mark.parametrize(("p", "rival", "others"), [(0.3, 0.175, 4), (0.4, 0.1, 6)])
def test_votes_that_do_not_name_a_rival_show_how_strong_it_is(p: float, rival: float, others: int) -> None:
    """The strongest of several rivals by all votes is too strong, by the votes that did not name it it is itself."""
    draw, tallies = random.Random(5), Tallies(1)
    answers = ["right", *(f"wrong {number}" for number in range(others))]
    for _ in range(2000):
        drawn = draw.choices(answers, [p, *[rival] * others], k=30)
        tallies.add([Reply(answer, None, 1) for answer in drawn], {"right"})
    found = tallies.found(None, None)
    rivalry = found.rivalry
    assert rivalry is not None
    share = sum(cell.right * cell.steps for cell in rivalry.duel) / sum(
        (cell.right + cell.against) * cell.steps for cell in rivalry.duel
    )
    assert share == pytest.approx(p / (p + rival), abs=4 * 0.5 / math.sqrt(2000 * 20 * (p + rival)))
    assert rivalry.rivals == pytest.approx(others, rel=0.05)
    assert found.right / (found.right + found.rival) < share - 0.03


def test_a_third_without_a_wrong_vote_names_no_rival() -> None:
    """Then all other wrong votes are the rival's; calibrations of older versions have no such votes."""
    tallies = Tallies(1)
    for answers in (["a", "b", "c", "a"], ["c", "c", "b", "c", "a", "a"]):
        tallies.add([Reply(answer, None, 1) for answer in answers], {"a"})
    found = tallies.found(None, None)
    assert found.rivalry == Rivalry(heard=(Cell(0, 2, 1), Cell(2, 2, 1)), duel=(Cell(0, 2, 1), Cell(2, 1, 1)))
    assert ClassFound.model_validate(found.model_dump(exclude={"rivalry"})).rivalry is None
