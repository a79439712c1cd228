"""Maps over data: every row has one outcome, and what is written is what was decided, once, in order."""

from __future__ import annotations

import csv
import json
import re
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from row_tasks import job, label, truth, write_rows

from maker import api
from maker.errors import BadInput, JobError, MakerError, ModelUnusable, RunNotResumable
from maker.inputs.chosen import packed
from maker.job.estimate import Survey, survey_rows
from maker.lifecycle import queries, row_files
from maker.lifecycle.rows import follow, results
from maker.swarm.messages import DOUBTS
from maker.testing import FakeReply, FakeServer, chat_completion

ROWS = 400


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a part file be for 100 rows."""
    monkeypatch.setattr(row_files, "PART_ROWS", 100)


def lines(*files: Path) -> list[dict[str, Any]]:
    """Return the records of JSON Lines files."""
    return [json.loads(line) for file in files for line in file.read_text(encoding="utf-8").splitlines()]


def parts(folder: Path) -> list[Path]:
    """Return the part files in order."""
    return sorted((folder / "out").glob("rows-*.jsonl"))


def files(folder: Path) -> dict[str, bytes]:
    """Return what the output folder holds but the run's name."""
    return {file.name: file.read_bytes() for file in (folder / "out").iterdir() if file.name != row_files.MARK}


def store(folder: Path) -> str:
    return f"sqlite:///{folder}/maker.db"


def test_every_row_has_one_outcome(tmp_path: Path) -> None:
    """Decided rows stand in the part files, in order, with their answers; all others are up for review."""
    write_rows(tmp_path / "rows.csv", range(ROWS))
    report = api.run(job(tmp_path))
    assert report.status == "done"
    assert queries.verify("last", store=store(tmp_path)).right
    found = list(results("last", store=store(tmp_path)))
    assert [one.row for one in found] == list(range(ROWS))
    kinds = Counter(one.outcome for one in found)
    assert report.result == {"rows": ROWS, **kinds}
    assert kinds["decided"] == report.steps > 300
    assert kinds["undecided"] > 10
    written, review = lines(*parts(tmp_path)), lines(tmp_path / "out" / row_files.REVIEW)
    assert [one["id"] for one in written] == [one.id for one in found if one.outcome == "decided"]
    assert [one["row"] for one in review] == [one.row for one in found if one.outcome != "decided"]
    assert [file.name for file in parts(tmp_path)] == [f"rows-{n:09}-{n + 99:09}.jsonl" for n in range(0, ROWS, 100)]
    odd = next(one for one in written if one["id"] == "row-3")
    assert odd["text"] == 'item 3 {{text}} {x} "quoted", new\nline \U0001f600 \0'
    wrong = sum(one["label"] != label(int(one["id"][4:])) for one in written)
    assert 0 < wrong < 0.1 * ROWS
    # What is carried comes from a sample that voted for the winner.
    assert all(one["why"].endswith(one["label"]) for one in written)


def test_a_bad_row_stops_no_other(tmp_path: Path) -> None:
    """A row that is broken, and one that has no valid answer, have outcomes of their own, with the reason."""
    rows = tmp_path / "rows.csv"
    write_rows(rows, range(10))
    with rows.open("a") as file:
        file.write("row-10,one,cell too many\nrow-11,item 11 unanswerable\n")
    report = api.run(job(tmp_path, model={"p": 1.0, "malformed": 0.0}))
    assert report.result == {"rows": 12, "decided": 10, "failed": 1, "rejected": 1}
    broken, rejected = lines(tmp_path / "out" / row_files.REVIEW)
    assert (broken["id"], broken["outcome"], broken["candidates"]) == ("rows.csv:10", "failed", {})
    assert "row 10 of rows.csv has 3 fields" in broken["reason"]
    assert (rejected["id"], rejected["outcome"], rejected["flags"]) == ("row-11", "rejected", {"illegal": 6})
    assert rejected["flagged"] == {"illegal: there is no answer to this": 6}
    assert "6 illegal (there is no answer to this)" in rejected["reason"]


def test_the_first_row_may_be_a_bad_one(tmp_path: Path) -> None:
    """What a run is made of is looked up at a row that can be read."""
    (tmp_path / "rows.csv").write_text("id,text\na,b,c\nrow-1,item 1\n")
    assert api.run(job(tmp_path, model={"p": 1.0, "malformed": 0.0})).result == {"rows": 2, "decided": 1, "failed": 1}


@pytest.mark.parametrize("every", [40, 97])
def test_a_run_in_bites_writes_the_same_files(every: int, tmp_path: Path) -> None:
    """Paused and resumed again and again, a run leaves byte for byte the files of one that nobody disturbed."""
    for name in ("whole", "bites"):
        (tmp_path / name).mkdir()
        write_rows(tmp_path / name / "rows.csv", range(ROWS))
    whole = api.run(job(tmp_path / "whole"))
    url = store(tmp_path / "bites")
    report, seen = api.run(job(tmp_path / "bites"), limit_steps=every), 0
    while report.status == "paused":
        assert len(parts(tmp_path / "bites")) >= seen
        seen = len(parts(tmp_path / "bites"))
        report = api.resume("last", ["swarm.chains=17"], store=url, limit_steps=every)
    assert (report.digest, report.result) == (whole.digest, whole.result)
    assert files(tmp_path / "bites") == files(tmp_path / "whole")
    assert seen > 0


def test_rows_are_asked_again_in_a_run_of_its_own(tmp_path: Path) -> None:
    """A retry goes on from a map that is done: with other votes, over what had no answer, in the same files."""
    write_rows(tmp_path / "rows.csv", range(ROWS))
    first = api.run(job(tmp_path))
    before = files(tmp_path)
    told = {one.row: one for one in results("last", store=store(tmp_path))}
    second = api.retry("last", ["vote.max_votes=100", "vote.k=3"], outcomes=["undecided"], store=store(tmp_path))
    assert second.run_id != first.run_id
    assert (second.status, second.forked_from) == ("done", first.run_id)
    assert second.result == {"rows": ROWS, "decided": ROWS}
    assert second.steps == ROWS - first.steps
    assert queries.verify("last", store=store(tmp_path)).right
    found = {one.row: one for one in results("last", store=store(tmp_path))}
    assert list(found) == list(range(ROWS))
    for row, one in found.items():
        assert one.margin >= 3 if told[row].outcome == "undecided" else one == told[row]
    written = lines(*parts(tmp_path))
    assert [one["id"] for one in written] == [f"row-{n}" for n in range(ROWS)]
    assert lines(tmp_path / "out" / row_files.REVIEW) == []
    # The first run is what it was, and says so.
    assert list(results(first.run_id, store=store(tmp_path))) == list(told.values())
    assert queries.verify(first.run_id, store=store(tmp_path)).right
    assert before != files(tmp_path)
    with pytest.raises(RunNotResumable, match="no row to ask again: none is undecided"):
        api.retry("last", outcomes=["undecided"], store=store(tmp_path))


def test_a_grown_input_adds_its_new_rows(tmp_path: Path) -> None:
    """Rows that have come since are asked on demand, those before are not, and all stand in order."""
    write_rows(tmp_path / "rows.csv", range(250))
    first = api.run(job(tmp_path))
    write_rows(tmp_path / "rows.csv", range(250, ROWS), more=True)
    assert queries.verify("last", store=store(tmp_path)).right
    second = api.retry("last", outcomes=["new"], store=store(tmp_path))
    assert (second.result["rows"], second.status) == (ROWS, "done")
    assert queries.verify("last", store=store(tmp_path)).right
    found = list(results("last", store=store(tmp_path)))
    assert [one.row for one in found] == list(range(ROWS))
    assert first.steps + second.steps == sum(one.outcome == "decided" for one in found) == len(lines(*parts(tmp_path)))
    with pytest.raises(RunNotResumable, match="none is new"):
        api.retry("last", outcomes=["new"], store=store(tmp_path))
    third = api.retry("last", ["vote.max_votes=100"], outcomes=["undecided"], store=store(tmp_path))
    assert third.result == {"rows": ROWS, "decided": ROWS}
    assert [one["id"] for one in lines(*parts(tmp_path))] == [f"row-{n}" for n in range(ROWS)]
    assert queries.verify("last", store=store(tmp_path)).right


def test_a_changed_input_is_refused_by_name(tmp_path: Path) -> None:
    """Neither a resume nor verify goes on over rows that are not those that the run began with."""
    write_rows(tmp_path / "rows.csv", range(ROWS))
    api.run(job(tmp_path), limit_steps=50)
    content = (tmp_path / "rows.csv").read_bytes()
    (tmp_path / "rows.csv").write_bytes(content.replace(b"item 399", b"item 398"))
    for attempt in (api.resume, lambda run_id, store: list(results(run_id, store=store))):
        with pytest.raises(BadInput, match=r"input part rows\.csv"):
            attempt("last", store=store(tmp_path))
    (tmp_path / "rows.csv").write_bytes(content)
    assert api.resume("last", store=store(tmp_path)).status == "done"


def test_an_input_may_move(tmp_path: Path) -> None:
    """Where the rows lie is no part of what the run is."""
    write_rows(tmp_path / "rows.csv", range(ROWS))
    api.run(job(tmp_path), limit_steps=50)
    moved = (tmp_path / "rows.csv").rename(tmp_path / "elsewhere.csv")
    with pytest.raises(BadInput):
        api.resume("last", store=store(tmp_path))
    (tmp_path / "there").mkdir()
    moved = moved.rename(tmp_path / "there" / "rows.csv")
    assert api.resume("last", [f"task.input={moved}"], store=store(tmp_path)).status == "done"


def test_an_output_folder_is_one_runs(tmp_path: Path) -> None:
    """A folder that holds the files of another run, or files of nobody, is refused before anything is done."""
    write_rows(tmp_path / "rows.csv", range(20))
    first = api.run(job(tmp_path))
    with pytest.raises(BadInput, match=f"holds the files of run {first.run_id}"):
        api.run(job(tmp_path))
    assert len(queries.runs(store=store(tmp_path))) == 1
    (tmp_path / "out" / row_files.MARK).unlink()
    with pytest.raises(BadInput, match="which no run has marked"):
        api.run(job(tmp_path))


@pytest.mark.parametrize(
    ("task", "told"),
    [
        ({"template": "What is it?"}, "names no column"),
        ({"template": "What is {{colour}}?"}, r"the template names \{\{colour\}\}.*\n.*id, text"),
        ({"template": "prompt.txt"}, "there is no file prompt.txt"),
        ({"schema": {"type": "array"}}, "object"),
        ({"schema": "schema.json"}, "there is no file schema.json"),
        ({"fields": {"lable": "carry"}}, "lable"),
        ({"fields": {"label": "guess"}}, "guess"),
        ({"id_column": "name"}, "name"),
        ({"encoding": "utf-99"}, "utf-99"),
        (
            {"schema": {"type": "object", "properties": {"text": {"type": "string"}}}, "fields": {}},
            "'text' is a column",
        ),
        ({"output": "s3://bucket/out"}, "local folder"),
    ],
)
def test_what_cannot_be_asked_is_told(task: dict[str, Any], told: str, tmp_path: Path) -> None:
    """A task that does not fit its input is refused at once, by name, and leaves no run."""
    write_rows(tmp_path / "rows.csv", range(5))
    with pytest.raises(BadInput, match=told):
        api.run(job(tmp_path, task=task))
    assert not (tmp_path / "maker.db").exists()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("content", "told"), [("", "rows.csv"), ("id,text\n", "no rows"), ("id,text\na,1\na,2\n", "'a'")]
)
def test_an_input_that_is_none_is_told(content: str, told: str, tmp_path: Path) -> None:
    """An input without rows, or whose ids do not tell them apart, is refused."""
    (tmp_path / "rows.csv").write_text(content)
    with pytest.raises(BadInput, match=told):
        api.run(job(tmp_path))


def test_texts_of_files_are_what_a_run_is_made_of(tmp_path: Path) -> None:
    """Template, shared prompt and schema may stand in files; the run keeps their texts and needs the files no more."""
    write_rows(tmp_path / "rows.csv", range(ROWS))
    (tmp_path / "prompt.txt").write_text("Say the colour of {{ text }}.")
    (tmp_path / "system.txt").write_text("You know colours.\n")
    (tmp_path / "schema.json").write_text(json.dumps({"type": "object", "properties": {"label": {"type": "string"}}}))
    (tmp_path / "job.toml").write_text(
        '[task]\ndecomposer = "map"\ninput = "rows.csv"\ntemplate = "prompt.txt"\nsystem = "system.txt"\n'
        'truth = "row_tasks:truth"\nschema = "schema.json"\n[model]\nkind = "simulated"\n'
    )
    report = api.run(tmp_path / "job.toml", [f"store.url={store(tmp_path)}"], limit_steps=100)
    for name in ("prompt.txt", "system.txt", "schema.json"):
        (tmp_path / name).unlink()
    task = report.settings["task"]
    assert (task["template"], task["system"]) == ("Say the colour of {{ text }}.", "You know colours.\n")
    assert task["schema"]["properties"] == {"label": {"type": "string"}}
    assert api.resume("last", store=store(tmp_path)).status == "done"


def test_results_can_be_followed(tmp_path: Path) -> None:
    """While a run is paused what is settled is told; rows that wait for others before them are not."""
    write_rows(tmp_path / "rows.csv", range(ROWS))
    api.run(job(tmp_path), limit_steps=120)
    some = list(follow("last", store=store(tmp_path)))
    assert 60 < len(some) < ROWS
    api.resume("last", store=store(tmp_path))
    whole = list(follow("last", store=store(tmp_path)))
    assert whole[: len(some)] == some
    assert len(whole) == ROWS
    assert list(results("last", start=ROWS - 5, store=store(tmp_path))) == whole[-5:]


def test_a_file_that_cannot_be_written_pauses_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was decided is safe, and a resume writes the files."""
    write_rows(tmp_path / "rows.csv", range(ROWS))

    def full(*_: Any) -> Any:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(row_files, "row_line", full)
        with pytest.raises(MakerError, match="No space left"):
            api.run(job(tmp_path, store={"durability": "strict"}, swarm={"chains": 8}))
    assert not parts(tmp_path)
    # Also where it was done before its files were: then that is all that there is to do.
    report = api.resume("last", store=store(tmp_path))
    assert report.status == "done"
    assert report.result["decided"] == len(lines(*parts(tmp_path)))


def test_an_edited_answer_is_found(tmp_path: Path) -> None:
    """An answer that no sample gave is found, in the part that is voted on and in the one that is carried."""
    write_rows(tmp_path / "rows.csv", range(ROWS))
    api.run(job(tmp_path, store={"samples": "all"}))
    with closing(sqlite3.connect(tmp_path / "maker.db")) as connection, connection:
        action = connection.execute("SELECT action FROM maker_step WHERE idx = 7 AND tally <> x''").fetchone()[0]
        edited = action.replace("7 is", "8 is")
        connection.execute("UPDATE maker_step SET action = ? WHERE idx = 7 AND tally <> x''", (edited,))
    assert action != edited
    assert (
        "chain 0.7: its action is not that of the first sample" in queries.verify("last", store=store(tmp_path)).problem
    )


def served(folder: Path, url: str, **settings: Any) -> dict[str, dict[str, Any]]:
    """Return the job with a server that is asked over HTTP."""
    made = job(folder, swarm={"kind": "local"})
    model = {"kind": "openai", "url": url, "name": "m", "concurrency": 4, **settings}
    return made | {"model": model, "limits": {"max_calls": 10_000}}


def refusing(*numbers: int) -> Any:
    """Return a server's script: it refuses some rows as too long, and knows the answer to all others."""

    def script(body: Any) -> FakeReply | tuple[Any, ...]:
        prompt = body["messages"][-1]["content"]
        found = re.search(r"item (\d+)", prompt)
        if found and int(found[1]) in numbers:
            return 400, {"error": {"message": "the prompt is too long"}}
        return 200, chat_completion([truth(prompt).right[0]] * body.get("n", 1))

    return script


@pytest.mark.parametrize("refused", [(4,), (0, 1, 2), (0, 9)])
def test_a_prompt_that_the_server_refuses_stops_no_other(refused: tuple[int, ...], tmp_path: Path) -> None:
    """Rows that are too long for the server fail alone, with its words, also where it refuses them before any other."""
    write_rows(tmp_path / "rows.csv", range(20))
    with FakeServer(refusing(*refused)) as server:
        report = api.run(served(tmp_path, server.url))
    assert report.result == {"rows": 20, "decided": 20 - len(refused), "failed": len(refused)}
    review = lines(tmp_path / "out" / row_files.REVIEW)
    assert [one["row"] for one in review] == list(refused)
    assert all("the prompt is too long" in one["reason"] for one in review)


@pytest.mark.parametrize("refused", [(4,), (0, 1, 2), (0, 9)])
def test_a_prompt_that_two_servers_refuse_fails_once(refused: tuple[int, ...], tmp_path: Path) -> None:
    """A row of which several requests are under way fails once, however many of them are refused."""
    write_rows(tmp_path / "rows.csv", range(20))
    with FakeServer(refusing(*refused)) as server:
        made = served(tmp_path, server.url, max_n=1)
        member = made["model"]
        made["model"] = {"kind": "pool", "members": {"one": member, "other": member | {"concurrency": 2}}}
        report = api.run(made)
    assert report.result == {"rows": 20, "decided": 20 - len(refused), "failed": len(refused)}


def test_a_server_that_refuses_every_prompt_is_told_at_once(tmp_path: Path) -> None:
    """Then the settings are wrong, not the rows: nothing is called failed, and no more rows are asked than tell."""
    write_rows(tmp_path / "rows.csv", range(300))
    with FakeServer(refusing(*range(300))) as server:
        with pytest.raises(ModelUnusable, match="the prompt is too long"):
            api.run(served(tmp_path, server.url))
        assert len({request.body["messages"][-1]["content"] for request in server.requests}) <= DOUBTS
    report = queries.show("last", store=store(tmp_path))
    assert (report.status, report.steps) == ("paused", 0)
    with FakeServer(refusing()) as server:
        report = api.resume("last", [f"model.url={server.url}"], store=store(tmp_path))
    assert report.result == {"rows": 300, "decided": 300}


def test_rows_and_prompts_are_counted_without_a_model(tmp_path: Path) -> None:
    """A survey renders every prompt, counts what cannot be read, and leaves nothing behind."""
    write_rows(tmp_path / "rows.csv", range(40))
    with (tmp_path / "rows.csv").open("a") as file:
        file.write("row-40,one,cell too many\n")
    found = survey_rows(api.load_job(job(tmp_path, task={"system": "Colours."})))
    with (tmp_path / "rows.csv").open(newline="", encoding="utf-8") as file:
        texts = [row[1] for row in list(csv.reader(file))[1:41]]
    lengths = [len(f"Colours.What colour is {text}?") for text in texts]
    assert found == Survey(41, 1, sum(lengths), max(lengths), 2, 256)
    assert (found.calls, found.prompt_tokens, found.most_completion_tokens) == (80, sum(lengths) // 4, 80 * 256)
    assert not (tmp_path / "maker.db").exists()
    with pytest.raises(JobError, match="hanoi is not a map"):
        survey_rows(api.load_job({"task": {"decomposer": "hanoi", "disks": 3}, "model": {"kind": "simulated"}}))


def test_only_the_named_rows_are_asked(tmp_path: Path) -> None:
    """They are numbered among themselves, keep their ids, and are picked from a sample where there is one."""
    write_rows(tmp_path / "rows.csv", range(ROWS))
    report = api.run(job(tmp_path, task={"chosen": packed([3, 17, 399]), "output": ""}))
    assert report.result["rows"] == 3
    assert [one.id for one in results(report.run_id, store=store(tmp_path))] == ["row-3", "row-17", "row-399"]
    drawn = api.run(job(tmp_path, task={"sample": 20, "output": ""}))
    some = api.run(job(tmp_path, task={"sample": 20, "chosen": packed([0, 19]), "output": ""}))
    ids = [one.id for one in results(drawn.run_id, store=store(tmp_path))]
    assert [one.id for one in results(some.run_id, store=store(tmp_path))] == [ids[0], ids[19]]
    assert queries.verify(some.run_id, store=store(tmp_path)).right
