"""Labels by ids of rows: read as inputs are, compared with answers as votes are, and said before any estimate."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from row_tasks import job as row_job
from row_tasks import label, write_rows
from typer.testing import CliRunner

from maker import api
from maker.cli.app import app
from maker.errors import BadInput
from maker.lifecycle.rows import results
from maker.reporting.figures import Whole
from maker.reporting.fit import Range
from maker.reporting.label_statements import error_share, plain_call, statements
from maker.reporting.page import page
from maker.reporting.report import report
from maker.reporting.rescore import LabelTotals, rescore
from maker.reporting.row_labels import FirstReplies, LabelCheck, LabelFile
from maker.stats.bounds import binomial
from maker.stats.paired import mcnemar

pytestmark = pytest.mark.plan

ROWS = 60
DOCS = Path(__file__).parents[3] / "docs" / "report.md"


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    """Return the folder, the run and the store of a map of 60 rows, some of which stay undecided."""
    folder = tmp_path_factory.mktemp("labelled")
    write_rows(folder / "rows.csv", range(ROWS))
    model = {"kind": "simulated", "p": 0.6, "malformed": 0.05, "rivals": 2}
    run = api.run(row_job(folder, model=model, vote={"k": 2, "max_votes": 5}, task={"output": ""}))
    return folder, run.run_id, f"sqlite:///{folder}/maker.db"


def write_csv(path: Path, rows: Sequence[Sequence[str]]) -> LabelFile:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    return LabelFile(path)


def right_csv(path: Path, numbers: Sequence[int] = range(ROWS)) -> LabelFile:
    return write_csv(path, [("id", "label"), *((f"row-{n}", label(n)) for n in numbers)])


def test_labels_say_how_many_rows_are_right(ran: tuple[Path, str, str], tmp_path: Path) -> None:
    """Counts are those of the results, row by row, and first replies those of the samples that were kept."""
    _, run_id, store = ran
    found = report(run_id, store=store, labels=right_csv(tmp_path / "labels.csv"))
    check = found.labelled
    assert check is not None
    expected: Counter[str] = Counter()
    for one in results(run_id, store=store):
        told = one.outcome if one.answer is None else "right" if one.answer["label"] == label(one.row) else "wrong"
        expected[told] += 1
    assert (check.right, check.wrong) == (expected.pop("right"), expected.pop("wrong"))
    assert check.missed == dict(expected)
    assert check.missed["undecided"] > 3
    assert check.wrong > 3
    assert [one.id for one in check.wrong_rows] == [f"row-{one.row}" for one in check.wrong_rows]
    assert len(check.wrong_rows) == check.wrong
    assert all(one.answer["label"] != json.loads(one.right["label"]) for one in check.wrong_rows)
    first = check.first
    assert first is not None
    assert (first.rows, check.unrecorded) == (ROWS, 0)
    assert (first.votes, first.votes - first.calls) == (check.right, first.only_votes - first.only_call)
    # With p = .6 and every twentieth reply malformed, a first reply is right with .57: 34 rows, with 4 sigma of 15.
    assert 19 <= first.calls <= 49
    assert found.to_json()["labelled"]["decided"] == check.decided
    assert f"{check.wrong} of {check.decided} labelled rows that are decided are wrong" in found.whole.against
    text = page(found)
    assert text.index("What labels say") < text.index("One number for the whole run")


def test_rows_may_be_labelled_in_any_format_and_in_part(ran: tuple[Path, str, str], tmp_path: Path) -> None:
    """JSON lines with columns of other names say the same as CSV; blank labels label nothing."""
    _, run_id, store = ran
    numbers = range(0, ROWS, 2)
    one = report(run_id, store=store, labels=right_csv(tmp_path / "labels.csv", numbers)).labelled
    lines = [json.dumps({"key": f"row-{n}", "gold": label(n)}) for n in numbers] + ['{"key": "row-1", "gold": ""}']
    (tmp_path / "gold.jsonl").write_text("\n".join(lines))
    other = report(run_id, store=store, labels=LabelFile(tmp_path / "gold.jsonl", "key", "gold")).labelled
    assert one is not None
    assert other is not None
    assert (other.labelled, other.blank) == (30, 1)
    assert (one.right, one.wrong, one.missed, one.first) == (other.right, other.wrong, other.missed, other.first)


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ([("id", "label"), ("row-3", "red"), ("row-77", "red")],
         r"row 1 \(id 'row-77'\): run .* has no row with this id"),
        ([("id", "label"), ("row-3", "red"), ("row-4", "red"), ("row-3", "red")],
         r"row 2: the id 'row-3' is that of row 0 too"),
        ([("id", "label"), ("row-3", "purple")], r"row 0 \(id 'row-3'\): label: 'purple' is against the schema"),
        ([("id", "label"), ("", "red")], r"row 0 has no id in its column 'id'"),
        ([("key", "label"), ("row-3", "red")], r"has no column 'id'; it has 'key', 'label'"),
        ([("id", "gold"), ("row-3", "red")], r"row 0 \(id 'row-3'\): it has no column 'label' or 'answer'"),
        ([("id", "label"), ("row-3", ""), ("row-4", " ")], r"no row of .* is labelled: the answers are blank"),
    ],
)  # fmt: skip
def test_labels_that_do_not_fit_are_refused(
    ran: tuple[Path, str, str], tmp_path: Path, rows: Sequence[Sequence[str]], told: str
) -> None:
    """The file, its row and the id are named: wrong and double ids, labels that no answer can equal, lost columns."""
    _, run_id, store = ran
    labels = write_csv(tmp_path / "labels.csv", rows)
    with pytest.raises(BadInput, match=told):
        report(run_id, store=store, labels=labels)
    with pytest.raises(BadInput, match=told):
        rescore(run_id, store=store, labels=labels)


def test_rows_asked_again_keep_their_first_reply(tmp_path: Path) -> None:
    """A retry decides rows: they are compared with the reply that came first, and all their replies count."""
    write_rows(tmp_path / "rows.csv", range(ROWS))
    store, model = f"sqlite:///{tmp_path}/maker.db", {"kind": "simulated", "p": 0.5, "malformed": 0.0, "rivals": 2}
    run = api.run(row_job(tmp_path, model=model, vote={"k": 2, "max_votes": 3}, task={"output": ""}))
    labels = right_csv(tmp_path / "labels.csv")
    once = report(run.run_id, store=store, labels=labels).labelled
    again = api.retry(run.run_id, ["vote.max_votes=40"], outcomes=["undecided"], store=store)
    twice = report(again.run_id, store=store, labels=labels).labelled
    assert once is not None
    assert twice is not None
    assert once.first is not None
    assert twice.first is not None
    assert (once.missed["undecided"] > 3, twice.missed) == (True, {})
    assert twice.first.calls == once.first.calls
    assert twice.first.samples == once.first.samples + again.votes


def test_whole_texts_may_be_labelled_by_their_files(tmp_path: Path) -> None:
    """A row that is a file of its own has the file's name with a number as its id; the name alone will do."""
    (tmp_path / "texts").mkdir()
    for number in range(4):
        (tmp_path / "texts" / f"{number}.txt").write_text(f"item {number}")
    task = {"input": str(tmp_path / "texts"), "id_column": "", "output": ""}
    run = api.run(row_job(tmp_path, task=task, model={"kind": "simulated", "p": 1.0, "malformed": 0.0}))
    rows = [("id", "label"), ("0.txt", label(0)), ("1.txt:0", label(1)), ("2.txt", label(3))]
    found = report(
        run.run_id, store=f"sqlite:///{tmp_path}/maker.db", labels=write_csv(tmp_path / "l.csv", rows)
    ).labelled
    assert found is not None
    assert (found.right, found.wrong, found.unopposed) == (2, 1, 1)


def test_a_run_without_rows_has_no_labels(tmp_path: Path) -> None:
    """The task is named: labels are of rows."""
    store = f"sqlite:///{tmp_path}/maker.db"
    run = api.run(
        {"task": {"decomposer": "hanoi", "disks": 2}, "model": {"kind": "simulated"}, "store": {"url": store}}
    )
    with pytest.raises(BadInput, match="is not a map over rows; its task is hanoi"):
        report(run.run_id, store=store, labels=right_csv(tmp_path / "labels.csv"))


def test_a_row_may_be_rescored_with_its_label(ran: tuple[Path, str, str], tmp_path: Path) -> None:
    """With k = 1 the first valid vote decides: what becomes of labelled rows is counted, and rows go by their ids."""
    _, run_id, store = ran
    found = rescore(run_id, ["vote.k=1"], store=store, labels=right_csv(tmp_path / "labels.csv"))
    totals, told = LabelTotals(found.labelled or 0), []
    for one in found.steps:
        totals.add(one)
        told += [one.id] if one.told else []
    check = report(run_id, store=store, labels=right_csv(tmp_path / "labels.csv")).labelled
    assert check is not None
    assert (totals.before["right"], totals.before["wrong"]) == (check.right, check.wrong)
    assert totals.before["undecided"] + totals.unasked == sum(check.missed.values())
    assert totals.now["right"] - totals.before["right"] == totals.only_now - totals.only_before
    assert totals.now["undecided"] == 0
    assert totals.p == mcnemar(totals.only_before, totals.only_now)
    assert all(name is not None and name.startswith("row-") for name in told)


def test_rows_that_run_out_are_no_evidence_against_a_rule(
    ran: tuple[Path, str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a run with k = 2, all that is known under k = 3 is what it leaves undecided: that does not make it worse."""
    _, run_id, store = ran
    monkeypatch.setenv("MAKER_STORE", store)
    labels = right_csv(tmp_path / "labels.csv")
    found = rescore(run_id, ["vote.k=3"], store=store, labels=labels)
    totals = LabelTotals(found.labelled or 0)
    for one in found.steps:
        totals.add(one)
    assert totals.now["right"] == 0
    assert totals.only_before > 5 > totals.only_now
    assert totals.open_right + totals.open_wrong == totals.now["unknown"] > ROWS / 2
    told = CliRunner().invoke(app, ["rescore", run_id, "vote.k=3", "--labels", str(labels.path)]).output
    assert totals.p > 0.05 > mcnemar(totals.only_before, totals.only_now)
    assert "show no difference between the rules" in told
    assert f"the {totals.now['unknown']} unknown rows may go either way" in told


@pytest.mark.parametrize(
    ("before", "now", "open_right", "open_wrong", "p"),
    [
        (7, 0, 0, 0, mcnemar(7, 0)),
        (7, 0, 40, 8, 1.0),
        (20, 0, 40, 3, mcnemar(20, 3)),
        (0, 20, 3, 40, mcnemar(3, 20)),
        (0, 7, 8, 0, 1.0),
    ],
)
def test_a_rule_is_better_only_however_unknown_rows_end(
    before: int, now: int, open_right: int, open_wrong: int, p: float
) -> None:
    """A row that was right can only be lost by the other rule, one that was not can only be won."""
    totals = LabelTotals(99, only_before=before, only_now=now, open_right=open_right, open_wrong=open_wrong)
    assert totals.p == p


def test_replies_that_were_not_kept_say_nothing_of_a_plain_call(tmp_path: Path) -> None:
    """Without samples only rows on which all replies agree have a first reply: a call is right on them as votes are."""
    write_rows(tmp_path / "rows.csv", range(30))
    tables = row_job(tmp_path, model={"kind": "simulated", "p": 0.7}, vote={"k": 2}, task={"output": ""})
    run = api.run(tables | {"store": tables["store"] | {"samples": "none"}})
    found = report(run.run_id, store=f"sqlite:///{tmp_path}/maker.db", labels=right_csv(tmp_path / "l.csv", range(30)))
    assert found.labelled is not None
    assert found.labelled.first is None
    assert 0 < found.labelled.unrecorded < 30
    assert found.lead[-1].startswith(
        f"How one plain call a row would have done is not known: the first replies of {found.labelled.unrecorded} of"
        " the 30 labelled rows are not on record"
    )


def test_rows_of_the_memo_have_no_first_reply(tmp_path: Path) -> None:
    """A decision is reused and an undecided row is asked anew: what was asked is no fair sample of the rows."""
    write_csv(tmp_path / "rows.csv", [("id", "text"), *((f"row-{n}", "item 0") for n in range(30))])
    run = api.run(row_job(tmp_path, vote={"k": 2}, task={"output": "", "memo": "run"}))
    assert run.reused > 0
    labels = write_csv(tmp_path / "l.csv", [("id", "label"), *((f"row-{n}", label(0)) for n in range(30))])
    store = f"sqlite:///{tmp_path}/maker.db"
    check = report(run.run_id, store=store, labels=labels).labelled
    assert check is not None
    assert (check.first, check.unrecorded) == (None, run.reused)
    with pytest.raises(BadInput, match=f"took {run.reused} rows from the memo"):
        rescore(run.run_id, store=store, labels=labels)


def test_the_command_line_says_what_labels_say_first(
    ran: tuple[Path, str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`report` and `rescore` print it before all else, with rows named by id; columns without labels are refused."""
    _, run_id, store = ran
    monkeypatch.setenv("MAKER_STORE", store)
    labels = str(right_csv(tmp_path / "labels.csv").path)
    run = CliRunner()
    done = run.invoke(app, ["report", run_id, "--labels", labels, "--out", str(tmp_path / "r.html")])
    assert done.exit_code == 0, done.output
    assert done.output.startswith(f"Labels: of {ROWS} labelled rows ")
    again = run.invoke(app, ["rescore", run_id, "vote.k=1", "--labels", labels])
    assert again.exit_code == 0, again.output
    assert again.output.startswith(f"{ROWS} labelled rows  right")
    assert "\n  row row-" in again.output
    *_, totals = run.invoke(app, ["rescore", run_id, "vote.k=1", "--labels", labels, "--json"]).output.splitlines()
    assert json.loads(totals)["labelled"]["rows"] == ROWS
    assert run.invoke(app, ["report", run_id, "--id-column", "id"]).exit_code == 2


def test_disputed_rows_of_a_report_are_named_by_id(ran: tuple[Path, str, str]) -> None:
    """A person looks for the row by its id, not by the chain that stands for it."""
    _, run_id, store = ran
    found = report(run_id, store=store)
    assert {one.id for one in found.disputed} <= {f"row-{n}" for n in range(ROWS)}
    assert f". row {found.disputed[0].id}</strong>" in page(found)


# --- what is said ---


def checked(right: int, wrong: int, missed: Mapping[str, int], **facts: Any) -> LabelCheck:
    base: dict[str, Any] = {"file": "labels.csv", "blank": 0, "unopposed": 0, "wrong_rows": (), "first": None}
    labelled = right + wrong + sum(missed.values())
    return LabelCheck(
        labelled=labelled, right=right, wrong=wrong, missed=missed, unrecorded=0, **(base | facts)
    )  # fmt: skip


def estimated(wrong: float, steps: int) -> Whole:
    return Whole(steps, Range(0.0, 0.1, 1.0), Range(0.0, wrong, 9.0), 0.95, (), (), (), "", "")


def test_an_estimate_that_is_too_low_is_called_so() -> None:
    """Votes expect 2.9 of 94, labels find 19: .2021, between the ends at which a tail of 2.5 % is left."""
    check = checked(75, 19, {"undecided": 6}, unopposed=11)
    error = error_share(check)
    assert binomial(19, 94, error.high) == pytest.approx(0.025, abs=1e-6)
    assert 1 - binomial(18, 94, error.low) == pytest.approx(0.025, abs=1e-6)
    first, second = statements(check, estimated(2.9, 94))
    assert first == (
        "Labels: of 100 labelled rows 75 are right, 19 wrong, 6 undecided. 20.2 % of the 94 decided ones are wrong"
        " (12.6 % to 29.8 %, Clopper-Pearson at 95 %, if the labelled rows were drawn at random and the labels"
        " are right)."
    )
    assert second == (
        "Votes alone lead to expect 2.9 wrong ones of these (3.1 %), which is too few: it lies below that interval."
        " 11 of the 19 wrong rows have no vote for another answer: votes do not show an error on which replies agree."
    )
    # docs/report.md shows both, cut short at "…".
    lines = DOCS.read_text(encoding="utf-8").splitlines()
    for whole in (first, second):
        shown = next(line.strip() for line in lines if line.strip().startswith(whole[:30]))
        assert all(part.rstrip(").") in whole for part in shown.split("…"))


@pytest.mark.parametrize(
    ("wrong", "told"),
    [(18.0, "which fits: it lies within that interval"), (40.0, "which is too many: it lies above that interval")],
)
def test_an_estimate_that_fits_or_is_careful_is_called_so(wrong: float, told: str) -> None:
    """Of 94 rows 18 (.191) lie within .126 to .298, and 40 (.426) above it."""
    assert told in statements(checked(75, 19, {}), estimated(wrong, 94))[1]


def test_without_an_estimate_that_is_said() -> None:
    """Votes that show no p are not compared; labelled rows without a decision have no error."""
    unknown = Whole(94, None, None, 0.95, (), (), (), "with k = 1 the first vote decides", "")
    assert "no estimate to compare with: with k = 1" in statements(checked(75, 19, {}), unknown)[1]
    assert statements(checked(0, 0, {"undecided": 6}), unknown) == (
        "Labels: of 6 labelled rows 0 are right, 0 wrong, 6 undecided; none of them is decided.",
    )


@pytest.mark.parametrize(
    ("only_votes", "only_call", "told"),
    [
        # 79 of 100 by one call against 75 by votes: 1588/4096 = .39 is no difference.
        (4, 8,
         "A plain call does as well as voting, as far as these labels show: the first reply was right on 79 of 100"
         " labelled rows, voting on 75 with 5.0 replies a row (a row without a decision counts as not right); they"
         " differ on 12 rows, 4 of them right by votes alone and 8 by the first reply alone (p = 0.39, exact"
         " McNemar test)"),
        (8, 4, "These labels do not show that voting does better than a plain call: "),
        (13, 2, "Voting does better than a plain call: "),
        (2, 13, "A plain call does better than voting: "),
    ],
)  # fmt: skip
def test_a_plain_call_is_compared_by_the_rows_that_differ(only_votes: int, only_call: int, told: str) -> None:
    """Better is said where the rows on which the two differ show it, at 5 %; else that they do not."""
    both = 75 - only_votes
    first = FirstReplies(
        100, both + only_votes, both + only_call, only_votes, only_call, 500, mcnemar(only_votes, only_call)
    )
    assert plain_call(first, 0).startswith(told)


@pytest.mark.parametrize(("rows", "told"), [(5, "These labels are too few to say"), (6, "Voting does better")])
def test_few_labels_show_nothing(rows: int, told: str) -> None:
    """With 5 rows not even 5 to 0 is a difference at 5 %, so none can be missing either; with 6 rows 6 to 0 is one."""
    assert plain_call(FirstReplies(rows, rows, 0, rows, 0, 20, mcnemar(rows, 0)), 0).startswith(told)
