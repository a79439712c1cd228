"""A text far longer than a prompt: sizes, what is found, what is asked on the way, and what is refused."""

from __future__ import annotations

import importlib.util
import json
import pickle
import random
import re
import shutil
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from decomposers.document import Document, DocumentParams, prompts
from decomposers.document.state import END, NARROW, READ, SETTLE, Missing, Narrowing, OpenLine, Reading, Root
from decomposers.document.text import GROWTH, MARK, MOST, Finding, groups, numbered, units
from maker import api
from maker.calibration.calibrate import calibrate
from maker.cli.app import app
from maker.cli.commands.calibrate import print_calibration
from maker.errors import BadInput, RunNotResumable
from maker.job.estimate import estimate_run, survey_rows
from maker.job.probe import expected_steps
from maker.lifecycle import queries
from maker.reporting.report import report
from maker.reporting.rescore import rescore
from maker.types import Fork, Step
from maker.voting.vote_replay import RescoredOutcome

EXAMPLE = Path(__file__).parents[3] / "examples" / "document" / "keepers.py"
SPEC = importlib.util.spec_from_file_location("keepers", EXAMPLE)
assert SPEC is not None
assert SPEC.loader is not None
keepers = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(keepers)

SCHEMA = {"type": "object", "properties": {"box": {"type": "integer"}, "keeper": {"type": "string"}},
          "required": ["box", "keeper"]}  # fmt: skip


def job(folder: Path, **tables: Any) -> dict[str, Any]:
    (folder / "keepers.txt").write_text(keepers.text(60_000, 12, 3))
    base = {
        "task": {"decomposer": "document", "input": str(folder / "keepers.txt"), "truth": f"{EXAMPLE}:truth"},
        "model": {"kind": "simulated", "p": 0.9},
        "vote": {"k": 5},
        "store": {"url": f"sqlite:///{folder}/maker.db", "samples": "all"},
    }
    return {name: table | tables.get(name, {}) for name, table in base.items()}


def test_an_answer_that_takes_two_places(tmp_path: Path) -> None:
    """Who keeps the key stands in one slice, where they live in another: what to look for is known after the first."""
    fact = keepers.facts(12, 3)[4]
    question = f"Where does the keeper of the {fact.colour} box {fact.number} live?"
    run = api.run(job(tmp_path, task={"question": question, "prompt": 2500}))
    assert run.status == "done"
    assert run.result["answer"] == fact.town
    assert run.result["asked"] == [question, f"Where does {fact.keeper} live?"]
    first, second = run.result["found"]
    assert fact.sentences[0] in first["text"]
    assert fact.sentences[1] in second["text"]
    assert first["slice"] != second["slice"]
    assert run.result["slices"] > 30
    assert queries.verify(run.run_id, store=f"sqlite:///{tmp_path}/maker.db").right


def test_one_reading_alone_cannot_ask_again(tmp_path: Path) -> None:
    fact = keepers.facts(12, 3)[4]
    question = f"Where does the keeper of the {fact.colour} box {fact.number} live?"
    run = api.run(job(tmp_path, task={"question": question, "rounds": 1}))
    assert (run.result["answer"], run.result["asked"]) == ("unknown", [question])


def test_a_count_is_the_sum_over_slices(tmp_path: Path) -> None:
    run = api.run(job(tmp_path, task={"question": "How many keys are kept?", "want": "count", "prompt": 2500}))
    assert run.result["count"] == 12
    assert run.steps == run.result["slices"] > 25


def test_items_are_extracted_by_their_schema(tmp_path: Path) -> None:
    task = {"question": "Which boxes have keys, and who keeps them?", "want": "extract", "schema": SCHEMA}
    run = api.run(job(tmp_path, task=task | {"prompt": 2500}))
    expected = {(fact.number, fact.keeper) for fact in keepers.facts(12, 3)}
    assert {(item["box"], item["keeper"]) for item in run.result["items"]} == expected
    assert len(run.result["items"]) == 12


def test_slices_without_a_decision_hold_nothing_up(tmp_path: Path) -> None:
    """They are outcomes, named in the result, and asked again; the log verifies before and after, all of it."""
    store = f"sqlite:///{tmp_path}/maker.db"
    task = {"question": "How many keys are kept?", "want": "count", "prompt": 2500}
    run = api.run(job(tmp_path, task=task, model={"p": 0.8}, vote={"k": 6, "max_votes": 7}))
    missing = run.result["missing"]
    assert (run.status, run.missing) == ("done", len(missing))
    assert len(missing) > 3
    assert missing[0] == {"slice": missing[0]["slice"], "question": task["question"], "outcome": "undecided"}
    assert queries.verify(run.run_id, store=store).right
    again = api.retry(run.run_id, ["vote.max_votes=90"], outcomes=["undecided"], store=store)
    assert (again.status, again.steps, again.missing) == ("done", len(missing), 0)
    assert (again.result["count"], "missing" in again.result) == (12, False)
    assert queries.verify(again.run_id, store=store).right
    with pytest.raises(RunNotResumable, match="no slice to ask again: none is undecided"):
        api.retry(again.run_id, outcomes=["undecided"], store=store)


def test_an_answer_takes_in_what_is_read_again(tmp_path: Path) -> None:
    """The sentence that bears on the question stands in a slice that was missed: read again, it settles the answer."""
    fact = keepers.facts(12, 3)[4]
    question = f"Who keeps the key of the {fact.colour} box {fact.number}?"
    task = Document(DocumentParams(input="x.txt", question=question, again=("undecided",), round=1))
    root = Root(END, (question,), answer="unknown", missing=(Missing(0, 3, "undecided"), Missing(0, 5, "failed")))
    fork = task.next(root)
    assert isinstance(fork, Fork)
    assert fork.count == task.asked_again(root) == 1
    assert fork.child(root, 0) == Reading(question, 3)
    assert fork.join is not None
    assert fork.then is not None
    after = fork.then(fork.join(root, 0, [[3, fact.sentences[0]]]))
    assert isinstance(after, Root)
    assert (after.phase, after.round, after.missing) == (SETTLE, 1, (Missing(0, 5, "failed"),))
    assert after.found == (Finding(3, fact.sentences[0]),)
    codec = task.state
    assert codec.read(codec.write(after)) == after
    assert codec.write(Root(READ, ("?",))) == '["read",["?"],[],[],[],0,""]'


def test_slices_are_counted_beforehand(tmp_path: Path) -> None:
    """An answer takes all slices and one step more at least; --dry-run counts slices and their prompts."""
    task = {"question": "Where?", "prompt": 2500}
    loaded = api.load_job(job(tmp_path, task=task))
    survey, estimate = survey_rows(loaded), estimate_run(loaded)
    assert estimate is not None
    assert survey.what == "slices"
    assert survey.rows > 25
    assert (estimate.steps, estimate.calls) == (survey.rows + 1, 5 * (survey.rows + 1))
    assert survey.longest_prompt <= 2500
    counted = api.load_job(job(tmp_path, task=task | {"want": "count"}))
    assert estimate_run(counted).steps == expected_steps(counted) == survey_rows(counted).rows  # type: ignore[union-attr]


@pytest.mark.parametrize("want", ["answer", "count", "extract"])
def test_a_decomposer_travels(tmp_path: Path, want: str) -> None:
    """It is pickled with what was scanned, and asks and reads on the other side as here."""
    (tmp_path / "a.txt").write_text("A sentence that is long enough. " * 400)
    params = {"input": str(tmp_path / "a.txt"), "question": "?", "want": want}
    params |= {"schema": SCHEMA} if want == "extract" else {}
    unbound = Document(DocumentParams.model_validate(params))
    task = unbound.with_parts(unbound.parts())
    other = pickle.loads(pickle.dumps(task))  # noqa: S301
    step, same = task.next(Reading("?", 1)), other.next(Reading("?", 1))
    assert isinstance(step, Step)
    assert (step.prompt, step.kind.system) == (same.prompt, same.kind.system)
    if want == "extract":
        with pytest.raises(ValueError, match="'box' is a required"):
            other.classes[0].parse('{"items": [{"keeper": "Anna"}]}')


@pytest.mark.parametrize("want", ["answer", "count", "extract"])
@pytest.mark.parametrize("alphabet", ["a\n", "a. ", "word ", "aé漢. \n", "x"])
def test_no_prompt_is_longer_than_it_may_be(tmp_path: Path, want: str, alphabet: str) -> None:
    rng = random.Random(f"{want} {alphabet}")
    path = tmp_path / "text.txt"
    path.write_text("".join(rng.choices(alphabet, k=20_000)))
    params = {"input": str(path), "question": "q" * 200, "want": want, "prompt": 3000}
    params |= {"schema": SCHEMA} if want == "extract" else {}
    task = Document(DocumentParams.model_validate(params))
    fork = task.next(task.start())
    assert isinstance(fork, Fork)
    lengths = []
    for i in range(fork.count):
        step = task.next(fork.child(task.start(), i))
        assert isinstance(step, Step)
        lengths.append(len(step.kind.system) + len(step.prompt))
    assert 1200 < max(lengths) <= 3000


def test_findings_are_narrowed_until_they_fit() -> None:
    """Each pass keeps half at most, whatever the model says, and the last prompt fits too."""
    task = Document(DocumentParams(input="x.txt", question="why?", prompt=2200))
    asked = ("why?", "z" * prompts.FOLLOW_UP, "y" * prompts.FOLLOW_UP)
    found = tuple(Finding(i, "x" * MOST) for i in range(100))
    state: Any = Root(NARROW, asked, found)
    passes = 0
    while state.phase == NARROW:
        fork = task.next(state)
        assert isinstance(fork, Fork)
        joined = Root(NARROW, asked, state.found)
        for i in range(fork.count):
            child = fork.child(state, i)
            assert isinstance(child, Narrowing)
            step = task.next(child)
            assert isinstance(step, Step)
            assert len(step.kind.system) + len(step.prompt) <= 2200
            most = max(1, len(child.findings) // 2)
            assert step.kind.check(child, {"lines": list(range(1, most + 1))}) is None
            assert len(child.findings) == 1 or step.kind.check(child, {"lines": list(range(1, most + 2))})
            ended = task.next(task.apply(child, {"lines": list(range(1, most + 1))}))
            assert fork.join is not None
            joined = fork.join(joined, i, json.loads(json.dumps(ended.result)))
        assert fork.then is not None
        state = fork.then(joined)
        passes += 1
    assert state.phase == SETTLE
    assert passes <= 7
    step = task.next(state)
    assert isinstance(step, Step)
    assert len(step.kind.system) + len(step.prompt) <= 2200


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"lines": [0]}', "no sentence 0"), ('{"lines": [99]}', "no sentence 99"),
        ('{"lines": "1"}', ValueError), ('{"lines": [true]}', ValueError), ('{"line": [1]}', ValueError),
        ('{"lines": [1], "why": ""}', ValueError), ("none", ValueError),
    ],
)  # fmt: skip
def test_a_reply_about_a_slice_names_its_sentences(text: str, told: Any, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("One sentence that is long enough to stand by itself. And another one.")
    task = Document(DocumentParams(input=str(tmp_path / "a.txt"), question="?"))
    kind = task.classes[0]
    if told is ValueError:
        with pytest.raises(ValueError, match=r"."):
            kind.parse(text)
    else:
        assert told in str(kind.check(Reading("?", 0), kind.parse(text)))


def test_what_is_asked_on_the_way_is_new_and_short() -> None:
    task = Document(DocumentParams(input="x.txt", question="Why so?", rounds=2))
    kind = task.classes[2]
    root = Root(SETTLE, ("Why so?",))
    assert kind.check(root, kind.parse('{"ask": "How?"}')) is None
    with pytest.raises(ValueError, match="ask is not a text"):
        kind.parse('{"ask": "a\\u0000b"}')
    assert "before" in str(kind.check(root, kind.parse('{"ask": "why  SO?"}')))
    assert "characters" in str(kind.check(root, {"ask": "x" * 301}))
    assert "characters" in str(kind.check(root, {"answer": "x" * 1001}))
    assert "as often" in str(kind.check(Root(SETTLE, ("Why so?", "How?")), {"ask": "What?"}))
    assert task.action.key({"answer": "Malm\u00f6"}) == task.action.key({"answer": "MALMO\u0308"})  # type: ignore[attr-defined]


def test_states_are_read_as_they_were_written() -> None:
    task = Document(DocumentParams(input="x.txt", question="?"))
    one = Finding(3, "a")
    for state in (
        Reading("?", 7),
        Root(READ, ("?",)),
        Root(NARROW, ("?", "!"), (one,), [one, one], {'{"a":1}': {"a": 1}}, 5, ""),
        Root(END, ("?",), (one,), answer="so"),
    ):
        assert task.state.read(task.state.write(state)) == state


def test_units_are_the_text_in_order() -> None:
    text = "A short one. Another! A line\nthat goes on, and on? " + "long " * 200 + "\n\n\nEnd"
    found = units(text)
    assert " ".join(found).split() == text.split()
    assert all(len(unit) <= MOST for unit in found)
    assert len(numbered(found)) <= GROWTH * len(text) + MARK
    assert units(" \n\n ") == []
    assert [len(group) for group in groups([Finding(0, "x" * 91)] * 5, 200)] == [2, 2, 1]


@pytest.mark.parametrize(
    ("task", "told"),
    [
        ({"question": " "}, "question is empty"),
        ({"want": "extract"}, 'want = "extract" needs a schema'),
        ({"schema": SCHEMA}, 'want = "extract" needs a schema'),
        ({"want": "extract", "schema": {"type": "text"}}, "schema"),
        ({"prompt": 1000, "question": "q" * 500}, "characters for text, but"),
        ({"prompt": 10}, "greater than or equal to 1000"),
        ({"input": "none.txt"}, "there is no input"),
        ({"encoding": "utf-16-le"}, "cannot be read as utf-16-le"),
    ],
)
def test_what_cannot_be_asked_is_told(tmp_path: Path, task: dict[str, Any], told: str) -> None:
    (tmp_path / "odd.txt").write_bytes(b"odd")
    base = job(tmp_path, task={"question": "Why?"} | task)
    if "encoding" in task:
        base["task"]["input"] = str(tmp_path / "odd.txt")
    with pytest.raises(BadInput, match=told):
        api.run(base)


def test_the_example_runs_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(EXAMPLE.parent, tmp_path / "example")
    monkeypatch.chdir(tmp_path / "example")
    Path("keepers.txt").write_text(keepers.text(20_000, 12, 7))
    assert api.run("job.toml").result["answer"] == keepers.facts(12, 7)[0].town == "Visby"


@pytest.mark.parametrize("facts", ["0", "145"])
def test_the_example_says_how_many_facts_there_can_be(
    facts: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["keepers.py", "--facts", facts])
    with pytest.raises(SystemExit):
        keepers.main()
    assert f"--facts {facts}: 1 to 144" in capsys.readouterr().err


BY_LINE_TRUTH = '''
"""Slices in which a sample may be wrong about one of the first six lines, and about no other."""
import json
import re
import sys

sys.path.insert(0, {folder!r})
import keepers
from maker.plugin import Truth


def truth(prompt):
    known = keepers.truth(prompt)
    if "Slice" not in prompt:
        # What was looked for in vain is not asked again.
        lost = "Asked since" in prompt and "ask" in known.right[0]
        return Truth(['{{"answer": "unknown"}}'], known.wrong) if lost else known
    lines = set(json.loads(known.right[0])["lines"])
    slips = range(1, 1 + min(6, len(re.findall(r"^\\[", prompt, re.M))))
    return Truth(known.right, [json.dumps({{"lines": sorted(lines ^ {{slip}})}}) for slip in slips])
'''


def slips(folder: Path, **tables: Any) -> dict[str, Any]:
    """Return a job in which a reply on a slice is right with .4, and else differs from that in one line of six."""
    (folder / "slips.py").write_text(BY_LINE_TRUTH.format(folder=str(EXAMPLE.parent)))
    fact = keepers.facts(12, 3)[4]
    question = f"Where does the keeper of the {fact.colour} box {fact.number} live?"
    base = {
        "task": {"truth": f"{folder}/slips.py:truth", "question": question, "by_line": True, "prompt": 2500},
        "model": {"p": 1.0, "p_by_class": {"read": 0.4}, "rivals": 6},
        "vote": {"k": 3, "max_votes": 9},
    }
    return job(folder, **{name: base.get(name, {}) | tables.get(name, {}) for name in base | tables})


@pytest.mark.plan
def test_samples_that_differ_in_a_line_decide_a_slice_by_line(tmp_path: Path) -> None:
    """By whole sets of lines most slices stay undecided; by line nearly all lines are, from the same samples."""
    store = f"sqlite:///{tmp_path}/maker.db"
    whole = api.run(slips(tmp_path, task={"by_line": False}))
    assert len(whole.result["missing"]) > whole.result["slices"] / 4
    assert all("lines" not in one for one in whole.result["missing"])
    by_line = api.run(slips(tmp_path))
    assert by_line.result["answer"] == keepers.facts(12, 3)[4].town
    missing = by_line.result["missing"]
    assert 0 < by_line.missing == len(missing) < len(whole.result["missing"]) / 2
    first = missing[0]
    assert first.keys() == {"slice", "question", "outcome", "lines"}
    for line in first["lines"]:
        assert abs(line["votes"] - line["against"]) < 3
        assert line["votes"] + line["against"] == 9
        assert line["text"]
    assert queries.verify(by_line.run_id, store=store).right
    found = report(by_line.run_id, store=store)
    claim = found.claim.text[-1]
    assert "at most ((1-p)/p)^3, and a step with m parts in question with at most m times that" in claim
    assert found.whole.outside == (f"undecided lines of slices ({len(missing)} slices, which the result names)",)
    disputed = list(queries.steps(by_line.run_id, store=store, disputed=True))
    assert {one.margin < 3 for one in disputed} == {True, False}
    assert min(one.margin for one in disputed) >= 0


def test_votes_by_line_are_counted_again_by_other_rules(tmp_path: Path) -> None:
    """The same rule gives each slice what it has; a lead of 1 settles every line from the same samples."""
    store = f"sqlite:///{tmp_path}/maker.db"
    run = api.run(slips(tmp_path, store={"samples": "disputed"}))
    same = Counter(one.outcome for one in rescore(run.run_id, store=store).steps)
    assert same == {RescoredOutcome.SAME: run.steps}
    looser = Counter(one.outcome for one in rescore(run.run_id, ["vote.k=1"], store=store).steps)
    assert looser.keys() == {RescoredOutcome.SAME, RescoredOutcome.OTHER}


@pytest.mark.parametrize("told", ["as if it had won", "with other votes"])
def test_what_a_log_says_of_undecided_lines_is_checked(tmp_path: Path, told: str) -> None:
    """A line that its votes leave open cannot be moved among those that won, nor its votes be changed."""
    url = f"{tmp_path}/maker.db"
    run = api.run(slips(tmp_path, store={"samples": "none"}))
    with closing(sqlite3.connect(url)) as connection, connection:
        key, idx, action = connection.execute(
            "SELECT chain, idx, action FROM maker_step WHERE action LIKE '%undecided%' LIMIT 1"
        ).fetchone()
        reply = json.loads(action)
        number, votes, against = reply["undecided"][0]
        if told == "with other votes":
            reply["undecided"][0] = [number, votes + 1, against - 1]
        else:
            reply = {"lines": sorted([*reply["lines"], number])}
        changed = json.dumps(reply, separators=(",", ":"))
        connection.execute("UPDATE maker_step SET action = ? WHERE chain = ? AND idx = ?", (changed, key, idx))
    assert "do not elect" in queries.verify(run.run_id, store=f"sqlite:///{url}").problem


def test_only_the_lines_that_were_undecided_are_asked_again(tmp_path: Path) -> None:
    """A retry with more votes decides them, and leaves what was decided; the log verifies, all of it."""
    store = f"sqlite:///{tmp_path}/maker.db"
    run = api.run(slips(tmp_path))
    again = api.retry(run.run_id, ["vote.max_votes=60"], outcomes=["undecided"], store=store)
    assert (again.status, "missing" in again.result) == ("done", False)
    assert again.result["answer"] == keepers.facts(12, 3)[4].town
    assert queries.verify(again.run_id, store=store).right
    with pytest.raises(RunNotResumable, match="no slice to ask again"):
        api.retry(again.run_id, outcomes=["undecided"], store=store)


def test_how_lines_are_voted_on_stays_as_a_run_began(tmp_path: Path) -> None:
    """A run that began with whole sets is none that may go on by line: its log would not verify."""
    store = f"sqlite:///{tmp_path}/maker.db"
    whole = api.run(slips(tmp_path, task={"by_line": False}))
    with pytest.raises(RunNotResumable, match="by_line was False, is True"):
        api.retry(whole.run_id, ["task.by_line=true"], outcomes=["undecided"], store=store)


def test_a_slice_takes_in_the_lines_that_were_open() -> None:
    """Of a slice that is asked again only the undecided lines are taken, and those that stay so are named again."""
    task = Document(DocumentParams(input="x.txt", question="?", by_line=True, again=("undecided",), round=1))
    missing = Missing(0, 3, "undecided", (OpenLine(2, 3, 2), OpenLine(5, 2, 3)))
    root = Root(END, ("?",), answer="so", missing=(missing,))
    fork = task.next(root)
    assert isinstance(fork, Fork)
    assert fork.child(root, 0) == Reading("?", 3, (2, 5))
    assert fork.join is not None
    assert fork.then is not None
    after = fork.then(fork.join(root, 0, {"found": [[3, "Line two."]], "undecided": [[5, 6, 5]]}))
    assert isinstance(after, Root)
    assert after.missing == (Missing(0, 3, "undecided", (OpenLine(5, 6, 5),)),)
    assert after.found == (Finding(3, "Line two."),)
    assert task.state.read(task.state.write(after)) == after
    old = Root(END, ("?",), missing=(Missing(0, 3, "undecided"),))
    assert '[[0,3,"undecided"]]' in task.state.write(old)


def test_lines_belong_to_an_answer_alone() -> None:
    """Counts and items are no lines; a job that says nothing is what it was before there was a choice."""
    with pytest.raises(ValueError, match='by_line = true needs want = "answer"'):
        DocumentParams(input="x.txt", question="?", want="count", by_line=True)
    assert "by_line" not in DocumentParams(input="x.txt", question="?").model_dump()
    assert [kind.parts for kind in Document(DocumentParams(input="x.txt", question="?")).classes] == [None] * 3


@pytest.mark.plan
def test_what_stays_undecided_is_told_as_slices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run and its retry say how many slices lack a decision, and how to ask again, and end with code 3."""
    monkeypatch.setenv("MAKER_STORE", f"sqlite:///{tmp_path}/maker.db")
    task = {"question": "How many keys are kept?", "want": "count", "prompt": 2500}
    run = api.run(job(tmp_path, task=task, model={"p": 0.6}, vote={"k": 6, "max_votes": 7}))
    done = CliRunner().invoke(app, ["retry", run.run_id, "--outcome", "undecided", "vote.max_votes=8"])
    assert done.exit_code == 3, done.output
    again = queries.show("last")
    assert 0 < again.missing < run.missing
    assert f"{again.missing} slices are without a good decision: ask them again with `maker retry" in done.output
    assert report(run.run_id).whole.outside == (f"undecided slices ({run.missing})",)


@pytest.mark.plan
def test_a_pilot_says_what_its_figures_mean_for_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Votes on whole replies are right more seldom than those on a line: a calibration says so."""
    found = calibrate(slips(tmp_path), steps=5, votes=3)
    print_calibration(found, (), ["simulated"])
    assert "read is voted on part by part, and these figures are of votes on whole answers" in capsys.readouterr().out


@pytest.mark.parametrize("sentences", range(1, 8))
def test_examples_number_sentences_that_there_are(sentences: int, tmp_path: Path) -> None:
    """Copied by a small model, the example of a slice or of findings is legal, however few there are."""
    lines = (f"{'This is a sentence of a long text ' * 3}{number}.\n" for number in range(sentences))
    (tmp_path / "x.txt").write_text("".join(lines))
    task = Document(DocumentParams(input=str(tmp_path / "x.txt"), question="?"))
    found = tuple(Finding(0, f"{n}") for n in range(sentences))
    for state in (Reading("?", 0), Narrowing(("?",), found)):
        asks = task.next(state)
        assert isinstance(asks, Step)
        assert f"[{sentences}] " in asks.prompt
        (example,) = re.findall(r'\{"lines": \[\d.*?\]\}', asks.kind.system)
        assert asks.kind.check(state, asks.kind.parse(example)) is None


@pytest.mark.parametrize("words", [1, 2])
def test_the_last_answer_is_not_offered_to_ask(words: int) -> None:
    """When the text is read no more, what is asked would be flagged; before, it may be asked."""
    task = Document(DocumentParams(input="x.txt", question="?", rounds=2, words=words))  # type: ignore[arg-type]
    for asked, offered in ((("?",), True), (("?", "What else?"), words == 1)):
        asks = task.next(Root(SETTLE, asked, (Finding(0, "It is so."),)))
        assert isinstance(asks, Step)
        assert ('{"ask"' in asks.kind.system) == offered


GROUPS_TRUTH = '''
"""Of each group of findings the first two are kept, and all replies agree; but on the group that holds key 9."""
import json
import re

from maker.plugin import Truth


def truth(prompt):
    keys = re.findall(r"^\\[(\\d+)\\] Key (\\d+) ", prompt, re.M)
    if "not read again" in prompt:
        return Truth([json.dumps({"answer": " ".join(key for _, key in keys)})], [])
    lines = [int(line) for line, _ in keys]
    if "Slice" in prompt:
        return Truth([json.dumps({"lines": lines})], [])
    right = json.dumps({"lines": lines[:2]})
    others = [json.dumps({"lines": [line]}) for line in lines[2:]]
    return Truth([right], others if "Key 9 " in prompt else [right])
'''


def with_groups(folder: Path) -> dict[str, Any]:
    """Return a job of 30 keys whose findings take several groups, one of which seldom has two votes that agree."""
    (folder / "groups.py").write_text(GROUPS_TRUTH)
    base = job(folder, task={"truth": f"{folder}/groups.py:truth", "question": "Keys?", "rounds": 1, "prompt": 1800},
               model={"p": 1.0, "p_by_class": {"narrow": 0.25}, "rivals": 9},
               vote={"k": 3, "max_votes": 9})  # fmt: skip
    keys = [f"Key {number} hangs on a hook in the hall of the old house by the sea.\n" for number in range(1, 31)]
    (folder / "keepers.txt").write_text("".join(keys))
    return base


@pytest.mark.plan
def test_a_group_that_cannot_be_narrowed_holds_nothing_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its findings are left out and named; a retry narrows that group alone, and settles an answer anew."""
    monkeypatch.setenv("MAKER_STORE", f"sqlite:///{tmp_path}/maker.db")
    run = api.run(with_groups(tmp_path))
    assert (run.status, run.missing, run.result["answer"]) == ("done", 1, "20 21")
    (missing,) = run.result["missing"]
    assert (missing["question"], missing["outcome"]) == ("Keys?", "undecided")
    assert [re.findall(r"\d+", one["text"]) for one in missing["group"]] == [[str(key)] for key in range(1, 20)]
    assert queries.verify(run.run_id).right
    assert report(run.run_id).whole.outside == ("undecided slices or groups (1)",)
    less = CliRunner().invoke(app, ["retry", run.run_id, "vote.max_votes=3"])
    assert less.exit_code == 3, less.output
    assert "1 slices or groups are without a good decision: ask them again with `maker retry" in less.output
    again = api.retry(queries.show("last").run_id, ["vote.k=6", "vote.max_votes=200"])
    assert (again.status, again.missing, "missing" in again.result) == ("done", 0, False)
    assert again.result["answer"] == "20 21 1 2"
    assert queries.verify(again.run_id).right


def test_a_retry_asks_slices_and_groups_together() -> None:
    """A group is narrowed for what had been asked when it was made; a store holds it, and slices as before."""
    task = Document(DocumentParams(input="x.txt", question="?", again=("undecided",), round=1))
    group = Missing(0, 3, "undecided", group=(Finding(3, "One."), Finding(4, "Two.")))
    root = Root(END, ("?", "Which?"), answer="so", missing=(group, Missing(1, 2, "undecided")))
    fork = task.next(root)
    assert isinstance(fork, Fork)
    assert [fork.child(root, i) for i in range(fork.count)] == [Narrowing(("?",), group.group), Reading("Which?", 2)]
    assert fork.join is not None
    assert fork.missed is not None
    assert fork.then is not None
    after = fork.then(fork.join(fork.missed(root, 0, "failed"), 1, [[2, "Three."]]))
    assert isinstance(after, Root)
    assert (after.phase, after.found, after.missing) == (
        SETTLE, (Finding(2, "Three."),), (group._replace(outcome="failed"),)
    )  # fmt: skip
    assert task.state.read(task.state.write(after)) == after
