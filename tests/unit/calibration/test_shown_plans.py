"""A plan's two numbers, and what contradicts it: calibrations that are written down, planned without a store."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from letter_task import __file__ as letters
from row_tasks import job as row_job
from row_tasks import write_rows

from maker import api
from maker.calibration.contradicted import Contradicted, carried
from maker.calibration.forecast import Plan
from maker.calibration.greedy import greedy_would_do
from maker.calibration.observations import By, Calibration, Cell, ClassFound, FlagFound, Kept, SampleCounts
from maker.calibration.plan import plan_from
from maker.calibration.refusals import refused
from maker.calibration.shown import Shown
from maker.cli.commands.calibrate import print_calibration
from maker.cli.commands.plan import print_plan
from maker.cli.display import pilot_lines
from maker.errors import BadInput, OutOfReach
from maker.job.plan_words import OTHERWISE, row_error_line, second_number, shown_line
from maker.job.settings import PilotFound, PlanFound, ShownFound
from maker.reporting.claims import claimed
from maker.stats.bounds import share_at_most
from maker.stats.difficulty import Interval, fit
from maker.stats.margins import Reason, Refusal, with_ends
from maker.stats.risk import RiskBudget
from maker.stats.shown import doubt

pytestmark = pytest.mark.plan

Cells = tuple[Cell, ...]
EASY: Cells = (Cell(10, 0, 290), Cell(9, 1, 10))


def heard(cells: Cells, of: int | None = None, **more: Any) -> ClassFound:
    samples = sum((cell.right + cell.against) * cell.steps for cell in cells)
    steps = sum(cell.steps for cell in cells)
    base: dict[str, Any] = {"steps": steps, "of": of, "heard": cells, "duel": cells, "samples": samples,
                            "tokens": 10 * samples, "flags": {}, "through": {}, "models": ()}  # fmt: skip
    return ClassFound(**base | more)


def planned(one: ClassFound, by: By = By.ORACLE, **vote: Any) -> Plan:
    """Plan 1,023 moves, or what the class says that there are."""
    job = api.load_job({"task": {"decomposer": "hanoi", "disks": 10}, "model": {"kind": "simulated"},
                        "vote": {"k": "auto"} | vote})  # fmt: skip
    return plan_from(job, kept(one, by, "move"))


def kept(one: ClassFound, by: By, kind: str) -> Kept:
    calibration = Calibration(
        by=by, votes=10, classes={kind: one}, requests=one.samples, prompt_tokens=one.samples, seconds=1.0,
        runs=("pilot",), fingerprint={},
    )  # fmt: skip
    return Kept(1, calibration)


def shown(found: Plan) -> Shown:
    assert found.shown is not None
    return found.shown


def test_the_second_number_is_clopper_and_pearsons_times_the_steps() -> None:
    found = planned(heard(EASY, 1000))
    one = shown(found).classes[0]
    assert found.margins.right.low > 0.9
    factor = doubt({(10, 0): 290, (9, 1): 10}, found.margins.k["move"], 0.95).factor
    assert shown(found).wrong == pytest.approx(1000 * factor * share_at_most(0, 300, 0.95), rel=1e-3)
    assert (shown(found).right, one.heard, one.doubtful) == (0.0, 300, 0)
    # So many clean steps would show it: 3 in so many, of 1,000 steps, is a chance of 1 in 20.
    assert one.needed == pytest.approx(1000 * factor * 3 / 0.05, rel=0.01)


def test_a_million_steps_are_not_shown_by_500(capsys: pytest.CaptureFixture[str]) -> None:
    found = planned(
        heard(
            (Cell(10, 0, 174), Cell(9, 1, 194), Cell(8, 2, 97), Cell(7, 3, 29), Cell(6, 4, 5), Cell(5, 5, 1)), 1_000_000
        )
    )
    assert found.margins.right.estimate > 0.95
    assert shown(found).right == 0
    assert shown(found).wrong > 5000
    print_plan(found)
    told = capsys.readouterr().out
    assert "if steps that the pilot has not heard are like those it has" in told
    assert (
        "of 1,000,000 steps are decided wrongly; that all are right is not shown (1 of 500 pilot steps of move"
        " doubtful)" in told
    )
    assert "to show 0.95: right answers for all 1,000,000 steps of move" in told
    assert "never met" not in told


def test_many_clean_steps_show_the_target() -> None:
    found = planned(heard((Cell(10, 0, 100_000),)))
    assert 0.95 < shown(found).right <= found.margins.right.low
    most = doubt({(10, 0): 100_000}, found.margins.k["move"], 0.95).share
    assert shown(found).right == pytest.approx(1 - 1023 * most)


def test_of_steps_that_were_all_asked_their_own_votes_are_shown() -> None:
    """At 10 of 10 right a step of p = .74 could hide, at 40 of 40 one of .93."""
    some, every = (planned(heard((Cell(votes, 0, 300),), 300), target=0.99) for votes in (10, 40))
    assert 0.5 < shown(some).right < shown(every).right <= every.margins.right.low
    assert shown(every).right > 0.9
    assert shown(every).classes[0].needed is None
    # One step with 6 of 10 may be lost whatever k is.
    weak = planned(heard((Cell(10, 0, 295), Cell(9, 1, 4), Cell(6, 4, 1)), 300), budget=2000)
    assert shown(weak).right < 0.05


def test_a_second_look_shows_more() -> None:
    cells = (Cell(10, 0, 250), Cell(8, 2, 40), Cell(7, 3, 10))
    closer = (Cell(10, 0, 250), Cell(385, 25, 50))
    once, again = (planned(heard(cells, 300, **more), budget=2000) for more in ({}, {"closer": closer}))
    assert shown(once).right < shown(again).right


def test_steps_without_a_vote_are_doubtful() -> None:
    clean, gaps = planned(heard(EASY, 1000)), planned(heard((*EASY, Cell(0, 0, 10)), 1000))
    assert shown(gaps).classes[0].doubtful == 10
    assert shown(gaps).wrong > 3 * shown(clean).wrong


def test_agreement_shows_nothing_of_right_answers(capsys: pytest.CaptureFixture[str]) -> None:
    found = planned(heard(EASY, 1000), By.VOTES)
    assert found.shown is None
    print_plan(found)
    told = capsys.readouterr().out
    assert "P(all steps get the model's most frequent answer) = " in told
    assert "not shown: no one has checked an answer" in told
    assert "steps are right" not in told
    claim = claimed({"plan": found.found().model_dump(mode="json")}, ()).text
    assert "all steps get the model's most frequent answer with a probability of" in claim[0]
    assert claim[1].startswith("not shown: no one has checked an answer")
    assert not any("are right" in text for text in claim[:2])


def test_both_numbers_are_kept_and_claimed() -> None:
    found = planned(heard(EASY, 1000)).found()
    stored = PlanFound.model_validate_json(found.model_dump_json())
    assert stored == found
    first, second, rests = claimed({"plan": json.loads(found.model_dump_json())}, ()).text
    assert first.startswith("if steps that the pilot has not heard are like those it has, all steps are right")
    told = "shown at 95 %: at most 10 of 1,000 steps are decided wrongly; that all are right is not shown"
    assert second == second_number(found) == told
    assert "oracle" in rests


def test_a_plan_of_an_older_version_claims_its_one_number() -> None:
    old = {"k": {"move": 3}, "target": 0.95, "right": [0.93, 0.97, 0.99], "rests_on": "the steps are", "calibration": 1}
    assert PlanFound.model_validate(old).shown is None
    assert len(claimed({"plan": old}, ()).text) == 2
    agreed = old | {"rests_on": "steps are like the pilot's; this is agreement with the model's most frequent answer"}
    assert "not shown" in claimed({"plan": agreed}, ()).text[1]


@pytest.mark.parametrize(
    ("wrong", "right", "told"),
    [
        (10.2, 0.0, "at most 11 of 1,000 steps are decided wrongly; that all are right is not shown"),
        (0.0411, 0.95999, "at most 0.042 of 1,000 steps are decided wrongly; all are right with P >= 0.9599"),
        (0.0, 1.0, "at most 0 of 1,000 steps are decided wrongly; all are right with P >= 1"),
    ],
)
def test_what_is_shown_is_rounded_to_say_no_more(wrong: float, right: float, told: str) -> None:
    assert shown_line(ShownFound(right=right, wrong=wrong, steps=1000, confidence=0.95)) == f"shown at 95 %: {told}"


@pytest.mark.parametrize("bad", [(Cell(1, 9, 1),), (Cell(0, 10, 2),)])
def test_a_step_with_a_wrong_likeliest_answer_is_never_planned_away(bad: Cells) -> None:
    with pytest.raises(OutOfReach) as refused:
        planned(heard((Cell(10, 0, 280), Cell(9, 1, 18), *bad), 1000))
    steps = bad[0].steps
    assert f"on {steps} of {298 + steps} pilot steps of move" in str(refused.value)
    assert "change the prompt for these steps" in str(refused.value)


def test_two_steps_that_a_second_look_found_wrong_are_refused() -> None:
    """77:133 and 83:127 against the right answer, among steps of p = .97."""
    cells = (Cell(10, 0, 230), Cell(9, 1, 60), Cell(8, 2, 8), Cell(5, 5, 1), Cell(4, 6, 1))
    closer = (Cell(10, 0, 230), Cell(194, 16, 68), Cell(77, 133, 1), Cell(83, 127, 1))
    with pytest.raises(OutOfReach, match="on 2 of 300 pilot steps of move"):
        planned(heard(cells, 1000, closer=closer))


def test_the_share_of_such_steps_is_carried_into_what_a_budget_buys() -> None:
    good, found = (planned(heard((*EASY, *bad), 1000), budget=9000) for bad in ((), (Cell(1, 9, 1),)))
    assert good.contradicted == ()
    assert found.margins.right.estimate < 0.4 < good.margins.right.estimate
    every = Contradicted("move", 1, 300, 300)
    assert carried(Interval(1.0, 1.0, 1.0), [every]).estimate == pytest.approx((299 / 300) ** 300)


def test_steps_that_the_others_explain_contradict_nothing() -> None:
    """10 votes each at p = .9."""
    alike = ((10, 105), (9, 116), (8, 58), (7, 17), (6, 3), (5, 1))
    found = planned(heard(tuple(Cell(right, 10 - right, steps) for right, steps in alike), 1000))
    assert found.contradicted == ()
    assert shown(found).classes[0].doubtful == 1


def test_labels_of_another_file_are_suspected() -> None:
    cells = (Cell(0, 10, 150), Cell(1, 9, 40), Cell(9, 1, 5))
    with pytest.raises(OutOfReach, match=r"4\.\d% of the votes say what your labels say.*or of another file"):
        planned(heard(cells, 1000), By.LABELS)
    # Wrong votes that are all unlike tell of a model that guesses.
    apart = tuple(cell._replace(against=min(1, cell.against)) for cell in cells)
    with pytest.raises(OutOfReach) as refused:
        planned(heard(cells, 1000, duel=apart), By.LABELS)
    assert "another file" not in str(refused.value)


def test_a_greedy_call_that_would_do_is_named_where_votes_are_refused() -> None:
    cells = (Cell(2, 8, 20),)
    with pytest.raises(OutOfReach, match=r"was right on all 20 pilot steps of move \(at least 8\d\.\d+% of such steps"):
        planned(heard(cells, 1000, greedy=SampleCounts(20, 0, 0)))
    with pytest.raises(OutOfReach) as refused:
        planned(heard(cells, 1000, greedy=SampleCounts(19, 1, 0)))
    assert "greedy" not in str(refused.value)


def test_a_greedy_call_is_not_praised_by_agreement() -> None:
    one = heard(EASY, greedy=SampleCounts(300, 0, 0))
    calibration = planned(heard(EASY, 1000)).calibration.model_copy(update={"by": By.VOTES, "classes": {"move": one}})
    assert greedy_would_do(calibration) == ""
    assert "would do" in greedy_would_do(calibration.model_copy(update={"by": By.LABELS}))


def test_a_row_error_is_a_bound_that_the_pilot_shows(tmp_path: Path) -> None:
    """3 in 300 rows are 1 %; a fit alone would show less, and says so of agreement."""
    write_rows(tmp_path / "rows.csv", range(1000))

    def rows(row_error: float, by: By = By.LABELS) -> Plan:
        job = api.load_job(row_job(tmp_path) | {"vote": {"row_error": row_error}})
        return plan_from(job, kept(heard(EASY, 1000), by, job.decomposer.classes[0].name))

    found = rows(0.02)
    assert (found.of_rows, found.target, found.margins.right.low >= 0.98) == (True, 0.98, True)
    assert shown(found).wrong < 0.02
    with pytest.raises(
        OutOfReach, match=r"at most (0\.9|1\.0)\d% of the decided rows are wrong, with a confidence of 95 % \(0 of 300"
    ):
        rows(0.005)
    assert rows(0.005, By.VOTES).shown is None


def test_labels_are_taken_for_a_random_sample_and_this_is_said() -> None:
    assert "as a random sample of them is" in planned(heard(EASY), By.LABELS).rests_on
    assert "random sample" not in planned(heard(EASY, 1000), By.ORACLE).rests_on


def test_classes_in_the_pilots_proportions_are_named() -> None:
    job = api.load_job({"task": {"decomposer": f"{letters}:Letters", "steps": 100, "first": 50},
                        "model": {"kind": "simulated"}, "vote": {"k": "auto"}})  # fmt: skip
    both = {"first": heard(EASY), "second": heard(EASY)}
    calibration = planned(heard(EASY)).calibration.model_copy(update={"classes": both})
    found = plan_from(job, Kept(1, calibration))
    assert "that the run asks steps of each class in the pilot's proportions" in found.rests_on
    assert len(shown(found).classes) == 2
    # Each class has half of the risk.
    one = shown(found).classes[0]
    assert one.wrong == pytest.approx(50 * doubt({(10, 0): 290, (9, 1): 10}, found.margins.k["first"], 0.975).share)
    none = {name: one.model_copy(update={"of": 0}) for name, one in both.items()}
    with pytest.raises(BadInput, match="asks no step of the classes that calibration 1 has heard"):
        plan_from(job, Kept(1, calibration.model_copy(update={"classes": none})))


def test_a_refusal_without_labels_tells_of_agreement_alone() -> None:
    """That the right answer is behind, or that votes make it worse, is said where somebody knows what is right."""
    for cells in ((Cell(2, 8, 20),), (Cell(4, 6, 2000),), (Cell(10, 0, 200), Cell(2, 8, 90))):
        with pytest.raises(OutOfReach) as out:
            planned(heard(cells, 1000), By.VOTES)
        told = str(out.value)
        assert "all steps get the model's most frequent answer with probability" in told
        assert "does not show that any margin k reaches 0.95" in told
        assert not any(words in told for words in ("right answer", "make it worse", "run is right", "vote is right"))
    with pytest.raises(OutOfReach, match=r"the right answer does not lead the votes.*more votes make such steps worse"):
        planned(heard((Cell(4, 6, 2000),), 1000), By.LABELS)


def test_that_no_k_will_do_is_said_where_a_label_shows_it() -> None:
    """Of steps on which the right answer leads it is not shown, and more votes would show it."""
    found = Refusal(Reason.FLOOR, "no margin k reaches 0.95", "ask less at a time", ("move",), {"move": 9},
                    Interval(0.1, 0.2, 0.3), {})  # fmt: skip
    for cells, said in (((Cell(6, 4, 300),), False), ((Cell(6, 4, 299), Cell(4, 6, 1)), True)):
        one = heard(cells, 1000)
        load = RiskBudget("move", 1000, fit({cell.votes: cell.steps for cell in cells}))
        told = refused(found, kept(one, By.LABELS, "move"), [load], 0.95)
        assert ("no margin k reaches" in told.message) == said
        assert ("on 1 of 300 pilot steps of move the right answer does not lead" in told.message) == said
        assert ("calibrate with more --votes, which show whether it does" in str(told.fix)) != said
        assert ("ask less at a time" in str(told.fix)) != said


def test_a_refusal_counts_steps_as_the_calibration_told_of_them() -> None:
    """Of three steps on which the right answer did not lead, a second look resolved all, or two."""
    found = Refusal(Reason.FLOOR, "no margin k reaches 0.95", "", ("move",), {"move": 9}, Interval(0.1, 0.2, 0.3), {})
    cells = (Cell(10, 0, 297), Cell(4, 6, 3))
    load = RiskBudget("move", 1000, fit({cell.votes: cell.steps for cell in cells}))
    for behind, said in ((0, "the right answer leads on every pilot step"), (1, "on 1 of 300 pilot steps of move")):
        one = heard(cells, 1000, doubted=3, behind=behind)
        assert said in refused(found, kept(one, By.LABELS, "move"), [load], 0.95).message


def test_a_second_look_clears_a_step_that_ten_votes_went_against() -> None:
    """Of 106 steps of p = .9 one with 3 of 10 right contradicts the fit; not where 40 votes more show its lead."""
    cells = (Cell(10, 0, 37), Cell(9, 1, 41), Cell(8, 2, 20), Cell(7, 3, 7), Cell(3, 7, 1))
    with pytest.raises(OutOfReach, match="on 1 of 106 pilot steps of move the right answer does not lead the votes"):
        planned(heard(cells, 353, doubted=1, behind=0), By.LABELS)
    assert planned(heard(cells, 353, doubted=1, behind=0, cleared=1), By.LABELS).contradicted == ()


def test_labels_that_may_be_of_other_steps_are_to_be_checked() -> None:
    """A fifth of the votes say what they say: too many for none, and still the likeliest answer is another one."""
    with pytest.raises(OutOfReach, match="more votes make it worse") as out:
        planned(heard((Cell(10, 0, 60), Cell(0, 10, 240)), 1000), By.LABELS)
    assert str(out.value.fix).startswith("check that each label stands at its own step; if they do, change the prompt")


def test_what_is_left_open_is_no_least_probability() -> None:
    """An estimate stands as one, whatever the interval."""
    assert with_ends(Interval(0.0, 1.0, 1.0)) == "1 by the estimate, and anything from 0 to 1 is left open"


def test_what_a_plan_prints_of_agreement_is_not_called_right(capsys: pytest.CaptureFixture[str]) -> None:
    one = heard(EASY, 1000, flags={"length": FlagFound(right=4, wrong=2)}, through={"length": EASY})
    for by, heading, agreed in ((By.VOTES, "decided otherwise", "in agreement"), (By.LABELS, "wrong steps", "right")):
        # Beside it stands what is shown, which may be far more.
        print_plan(planned(one, by))
        told = capsys.readouterr().out
        assert f"{heading}, if like the pilot's" in told.splitlines()[1]
        assert f"raised on 6 samples of move, 4 of them {agreed}" in told


def test_a_calibration_prints_agreement_where_nobody_knows_what_is_right(capsys: pytest.CaptureFixture[str]) -> None:
    one = heard(EASY, 1000, flags={"length": FlagFound(right=4, wrong=2, lost=1)},
                models=(SampleCounts(20, 1, 0), SampleCounts(10, 2, 0)))  # fmt: skip
    for by in (By.VOTES, By.LABELS):
        print_calibration(kept(one, by, "move"), (), ["a", "b"])
        told = capsys.readouterr().out
        right = by == By.LABELS
        assert ("4 of them would have been right, 2 wrong, 1 cannot be read" in told) == right
        assert ("4 of them would have agreed, 2 differed, 1 cannot be read" in told) != right
        assert ("move: a: 20 right, 1 wrong" in told) == right
        assert ("move: a: 20 agree, 1 differ" in told) != right


def test_a_row_error_is_one_line_in_pilot_plan_and_report() -> None:
    line = row_error_line(0.00931, 0.95, OTHERWISE)
    assert line == ("at most 0.93% of the decided rows get another answer if you vote again, with a confidence of 95 %")
    pilot = PilotFound(
        k=3, rows=600, of=10_000, both=600, differ=2, at_most=0.00931, confidence=0.95, votes=3.7, agreement=0.82,
        runs=("a", "b"),
    )  # fmt: skip
    assert pilot_lines(pilot)[0] == f"k = 3: {line}"
    assert claimed({"pilot": pilot.model_dump()}, ()).text[0].startswith(line)


def test_half_of_the_steps_or_more_are_a_finite_population() -> None:
    """500 of 1,000 steps that are all right leave 5 that were not drawn, at .975; an endless run would leave 6."""
    half, some = (planned(heard((Cell(10, 0, steps),), 1000, drawn=True)) for steps in (500, 499))
    factor = doubt({(10, 0): 499}, some.margins.k["move"], 0.95).factor
    assert shown(some).wrong == pytest.approx(1000 * factor * share_at_most(0, 499, 0.95), rel=1e-3)
    assert shown(half).wrong == pytest.approx(math.log(40) / math.log(2), rel=0.01)
    # Of steps that nobody says are the run's own there is no such bound; nor where some of them repeat others.
    for more in ({}, {"drawn": True, "repeats": 1}):
        assert shown(planned(heard((Cell(10, 0, 500),), 1000, **more))).wrong > 5.9


def test_steps_that_ask_the_same_are_lost_together() -> None:
    """Where all of 100 rows are labelled and 10 ask what others ask, the weakest question may be that of eleven."""
    every, repeated = (
        heard((Cell(10, 0, 100),), 100, drawn=True),
        heard((Cell(10, 0, 90),), 100, drawn=True, repeats=10),
    )
    assert every.whole and repeated.whole
    alone, together = (shown(planned(one, By.LABELS, budget=500)) for one in (every, repeated))
    assert alone.wrong < together.wrong
