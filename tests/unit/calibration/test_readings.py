"""Who wrong votes are taken to be for: plans by calibrations of drawn pilots, without a store."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest

from maker import api
from maker.calibration.forecast import Plan
from maker.calibration.observations import By, Calibration, ClassFound, Kept, Reply, Split, Tallies
from maker.calibration.plan import plan_from
from maker.calibration.readings import Reading, other_readings, read
from maker.errors import OutOfReach
from maker.stats.difficulty import Mode

pytestmark = pytest.mark.plan

SIX = (0.4, *[0.1] * 6)
"""p, and the chances of the rivals."""


def pilot(
    masses: Sequence[float], *, steps: int = 300, votes: int = 10, seed: int = 1, more: Sequence[Sequence[str]] = ()
) -> ClassFound:
    """Return what is heard of steps that are alike, and of ``more`` steps by their votes; "0" is right."""
    draw, tallies = random.Random(seed), Tallies(1)
    answers = [str(number) for number in range(len(masses))]
    for heard in (*(draw.choices(answers, masses, k=votes) for _ in range(steps)), *more):
        tallies.add([Reply(answer, None, 10) for answer in heard], {"0"})
    return tallies.found(None, None)


def planned(one: ClassFound, **vote: Any) -> Plan:
    """Plan 1,023 moves."""
    job = api.load_job({"task": {"decomposer": "hanoi", "disks": 10}, "model": {"kind": "simulated"},
                        "vote": {"k": "auto", "max_votes": 1000} | vote})  # fmt: skip
    calibration = Calibration(
        by=By.ORACLE, votes=10, classes={"move": one}, requests=one.samples, prompt_tokens=one.samples, seconds=1.0,
        runs=("pilot",), fingerprint={},
    )  # fmt: skip
    return plan_from(job, Kept(1, calibration))


def test_a_pilot_keeps_how_wrong_votes_are_split() -> None:
    found = pilot((), steps=0, more=[list("0123"), list("0211"), list("0121"), ["0"]])
    assert found.splits == (Split(1, (), 1), Split(1, (1, 1, 1), 1), Split(1, (2, 1), 2))
    stored = ClassFound.model_validate_json(found.model_dump_json())
    assert stored == found
    assert ClassFound.model_validate(found.model_dump(exclude={"splits"})).splits == ()


def test_each_of_six_rivals_is_counted_for_itself() -> None:
    """As one rival all wrong votes win, as the strongest one by count they ask for k = 50; a sum over them gives 9."""
    one = pilot(SIX, seed=3)
    found = planned(one)
    assert 9 <= found.margins.k["move"] <= 15
    assert found.margins.right.estimate > 0.95
    assert found.classes[0].p.high < 0.5
    assert "counting each rival of a step of move for itself, by" in found.rests_on
    assert "pairs of wrong votes on one step, of which 1" in found.rests_on
    # Nothing is shown of steps that the pilot did not ask: on a third of its own the right answer leads no rival.
    assert found.shown is not None
    assert found.shown.right == 0
    # Calibrations of older versions are planned as they were.
    old = planned(one.model_copy(update={"splits": ()}))
    assert old.margins.k["move"] > 20
    assert "for itself" not in old.rests_on


def test_a_step_whose_likeliest_answer_is_wrong_is_not_rescued() -> None:
    """Of one step all ten votes are for one rival: no law of the others explains it."""
    one = pilot(SIX, more=[["1"] * 10])
    with pytest.raises(OutOfReach):
        planned(one)


def test_few_pairs_leave_the_worst_case() -> None:
    """At p = .97 hardly a step has two wrong votes: they count as one rival's."""
    one = pilot((0.97, 0.01, 0.01, 0.01))
    assert Reading.EACH not in other_readings(one)
    assert "for itself" not in planned(one).rests_on


def test_votes_that_agree_where_steps_are_hard_are_not_taken_for_alike() -> None:
    easy, hard = pilot((0.7, 0.1, 0.1, 0.1)), [["0"] * 5 + ["1"] * 5] * 20
    assert Reading.EACH in other_readings(easy)
    assert Reading.EACH not in other_readings(pilot((0.7, 0.1, 0.1, 0.1), more=hard))


def test_that_votes_make_it_worse_is_said_only_where_a_rival_leads() -> None:
    """P = .3 against four of .175 leads each of them; p = .2 against two of .4 does not."""
    with pytest.raises(OutOfReach, match=r"the pilot does not show that any margin k reaches 0\.95") as refused:
        planned(pilot((0.3, *[0.175] * 4)))
    assert "worse" not in str(refused.value)
    assert "by the estimate, a lower bound, and anything from" in str(refused.value)
    assert "more --votes, which tell of move how wrong votes are split among rivals" in str(refused.value)
    assert planned(pilot((0.3, *[0.175] * 4), votes=60)).margins.k["move"] < 60
    with pytest.raises(OutOfReach, match=r"against its strongest rival p is at most .* so more votes make it worse"):
        planned(pilot((0.2, 0.4, 0.4)))


def test_a_rival_that_no_vote_names_makes_nothing_worse() -> None:
    """Of two votes one names the rival, and where it is right all wrong votes count: p = .4 seems to lose to .3."""
    one = pilot((0.4, 0.3, 0.3), steps=20_000, votes=2)
    assert read(one, 0.95).difficulty.mode is Mode.OPEN
    assert read(one.model_copy(update={"splits": ()}), 0.95).difficulty.mode is Mode.OPEN
    assert read(pilot((0.3, 0.35, 0.35), steps=20_000, votes=2), 0.95).difficulty.mode is Mode.RIVAL
    # One rival is all wrong votes, in calibrations of older versions too.
    old = pilot((0.45, 0.55), steps=3000).model_copy(update={"splits": ()})
    assert read(old, 0.95).difficulty.mode is Mode.RIVAL
