"""Maps at odd times: refused before anything was answered, resumed when done, retried twice."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from needs import Late
from row_tasks import job, truth, write_rows

from maker import api
from maker.api.aio import Service
from maker.errors import BadInput, MakerError
from maker.lifecycle import admin, queries, row_files
from maker.lifecycle.events import RunEnded, RunStarted
from maker.lifecycle.rows import follow, results
from maker.plugin import Truth
from maker.testing import FakeReply, FakeServer, chat_completion

fcntl = Late("fcntl")

ROWS = 60


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a part file be for 20 rows."""
    monkeypatch.setattr(row_files, "PART_ROWS", 20)


def store(folder: Path) -> str:
    return f"sqlite:///{folder}/maker.db"


def made(folder: Path, rows: int = ROWS, **tables: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Write rows, and return the job over them."""
    write_rows(folder / "rows.csv", range(rows))
    return job(folder, **tables)


def wide(prompt: str) -> Truth:
    """Return one long object in a wide layout, word for word the same for each sample."""
    found = json.dumps({f"field number {n}": "a value" for n in range(12)}, indent=4)
    return Truth((f"Here is the object that you have asked me for:\n```json\n{found}\n```",), ())


def failing(row: Any, answer: Any) -> str | None:
    """Raise what nobody foresaw."""
    raise KeyError("nothing is so named")


def test_long_replies_that_agree_are_votes(tmp_path: Path) -> None:
    """Layout and set phrases around an answer are no sign of one stream."""
    schema = {"type": "object", "properties": {f"field number {n}": {"type": "string"} for n in range(12)}}
    tables = made(tmp_path, 5, model={"p": 1.0, "malformed": 0.0})
    tables["task"] |= {"truth": "test_map_odd:wide", "schema": schema, "fields": {}, "max_tokens": 1000}
    report = api.run(tables)
    assert (report.result, report.red_flags) == ({"rows": 5, "decided": 5}, 0)


def refusing(status: int, words: str, *numbers: int) -> Any:
    """Return a server's script that refuses some rows, with such words."""

    def script(body: Any) -> FakeReply | tuple[Any, ...]:
        prompt = body["messages"][-1]["content"]
        if any(f"item {number}?" in prompt for number in numbers):
            return status, json.dumps({"error": {"message": words}})
        return 200, chat_completion([truth(prompt).right[0]] * body.get("n", 1))

    return script


def served(folder: Path, url: str) -> dict[str, dict[str, Any]]:
    """Return the job with a server."""
    return job(folder) | {"model": {"kind": "openai", "url": url, "name": "m"}, "swarm": {"chains": 1}}


@pytest.mark.parametrize("limit", [None, 1])
def test_a_first_prompt_that_is_refused_does_not_let_the_run_wait(limit: int | None, tmp_path: Path) -> None:
    """Whether the rows after it can be read or not, are held back or not."""
    (tmp_path / "rows.csv").write_text("id,text\na,item 0\nb,one,too many\n")
    stop = threading.Event()
    timer = threading.Timer(10.0, stop.set)
    timer.start()
    with FakeServer(refusing(400, "too long", 0)) as server, pytest.raises(MakerError, match="too long"):
        api.run(served(tmp_path, server.url), limit_steps=limit, stop=stop)
    timer.cancel()
    assert not stop.is_set()


def test_words_that_no_database_takes_are_spelled_out(database_url: str, tmp_path: Path) -> None:
    """A reason may hold NUL and half a surrogate pair, as a server may say them."""
    from maker.store.backend.database import upgrade_database

    upgrade_database(database_url)
    write_rows(tmp_path / "rows.csv", range(5))
    with FakeServer(refusing(400, "a \0 and a \ud83d", 4)) as server:
        tables = served(tmp_path, server.url) | {"store": {"url": database_url}}
        assert api.run(tables).result == {"rows": 5, "decided": 4, "failed": 1}
    reason = list(results("last", store=database_url))[4].reason
    assert "and a \\ud83d" in reason
    assert "\0" not in reason


def test_task_code_that_always_fails_stops_the_run(tmp_path: Path) -> None:
    """A check that raises for every row is the task's fault, and is told after a few, not row by row to the end."""
    tables = made(tmp_path, 200, swarm={"chains": 4})
    tables["task"]["check"] = "test_map_odd:failing"
    report = api.run(tables)
    assert report.status == "paused"
    assert "KeyError" in report.reason
    assert report.calls < 200


def test_a_done_map_writes_its_files_where_it_is_told(tmp_path: Path) -> None:
    """A resume of a map that is done writes what is missing, also elsewhere, and tells of it as of any run."""
    api.run(made(tmp_path))
    events: list[Any] = []
    api.resume("last", [f"task.output={tmp_path}/there"], store=store(tmp_path), on_event=events.append)
    assert [type(event) for event in events] == [RunStarted, RunEnded]
    here, there = (sorted((tmp_path / name).glob("*.jsonl")) for name in ("out", "there"))
    assert [file.read_bytes() for file in here] == [file.read_bytes() for file in there]
    with pytest.raises(BadInput, match="no table"):
        api.resume("last", ["no.such=1"], store=store(tmp_path))

    async def served() -> str:
        async with Service(store=store(tmp_path)) as engine:
            return (await (await engine.resume("last")).result()).status

    assert asyncio.run(served()) == "done"


def test_nothing_but_its_own_files_is_removed(tmp_path: Path) -> None:
    """What a killed process had begun to write goes; what others keep in the folder stays."""
    tables = made(tmp_path)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "movie.mkv.part").write_text("mine")
    (tmp_path / "out" / "rows-000000000-000000019.jsonl.0123abcd.part").write_text("half")
    api.run(tables)
    assert [file.name for file in (tmp_path / "out").glob("*.part")] == ["movie.mkv.part"]


def test_one_process_writes_to_a_folder(tmp_path: Path) -> None:
    """Another one is told, and the first one's files stay as they are."""
    api.run(made(tmp_path))
    lock = os.open(tmp_path / "out", os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    with pytest.raises(BadInput, match="another process writes"):
        api.resume("last", store=store(tmp_path))
    os.close(lock)
    assert api.resume("last", store=store(tmp_path)).status == "done"


def test_a_second_retry_of_the_same_run_is_told_which_goes_on(tmp_path: Path) -> None:
    """It leaves no run behind that could not go on."""
    first = api.run(made(tmp_path, vote={"max_votes": 3}))
    second = api.retry("last", ["vote.max_votes=4"], outcomes=["undecided"], store=store(tmp_path))
    with pytest.raises(BadInput, match=f"holds the files of run {second.run_id}"):
        api.retry(first.run_id, outcomes=["undecided"], store=store(tmp_path))
    assert len(queries.runs(store=store(tmp_path))) == 2


@pytest.mark.parametrize("folder", ["rows.csv", "rows.csv/out"])
def test_a_folder_that_cannot_be_made_leaves_no_run(folder: str, tmp_path: Path) -> None:
    """Where the files would go is seen to before the run is made."""
    with pytest.raises(BadInput, match="output folder"):
        api.run(made(tmp_path, task={"output": str(tmp_path / folder)}))
    assert not (tmp_path / "maker.db").exists()


def test_a_file_that_fails_at_the_very_end_leaves_a_run_that_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What has ended stays so, whatever becomes of its files."""

    def full(*_: Any) -> Any:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(row_files, "review_line", full)
        with pytest.raises(MakerError, match="No space left"):
            api.run(made(tmp_path))
    assert queries.show("last", store=store(tmp_path)).status == "done"
    assert queries.verify("last", store=store(tmp_path)).right
    api.resume("last", store=store(tmp_path))
    assert (tmp_path / "out" / row_files.REVIEW).exists()


def test_a_retry_that_is_not_over_tells_no_old_outcomes(tmp_path: Path) -> None:
    """Rows that are asked again are told once it is settled what becomes of them."""
    api.run(made(tmp_path, 200, vote={"max_votes": 3}))
    old = list(results("last", store=store(tmp_path)))
    first = next(one.row for one in old if one.outcome != "decided")
    reading_url = store(tmp_path)
    following = admin.another_round("last", ("undecided", "rejected"), ["vote.max_votes=100"], store=reading_url)
    api.resume(following.run_id, store=reading_url, limit_steps=1)
    some = list(follow("last", store=reading_url))
    assert first <= len(some) < len(old)
    api.resume("last", store=reading_url)
    whole = list(follow("last", store=reading_url))
    settled = {one.row for one in some}
    assert [one for one in whole if one.row in settled] == some
    assert {one.outcome for one in whole} == {"decided"}
    assert len(whole) == len(old)


def test_new_rows_are_written_while_the_run_goes_on(tmp_path: Path) -> None:
    """The files of rows that have come since appear as they are settled, like those of a first run."""
    api.run(made(tmp_path, 50))
    write_rows(tmp_path / "rows.csv", range(50, 400), more=True)
    following = admin.another_round("last", ("new",), store=store(tmp_path))
    report = api.resume(following.run_id, store=store(tmp_path), limit_steps=200)
    assert report.status == "paused"
    assert len(list((tmp_path / "out").glob("rows-*.jsonl"))) > 8
    api.resume("last", store=store(tmp_path))
    files = sorted((tmp_path / "out").glob("rows-*.jsonl"))
    told = [json.loads(line)["id"] for file in files for line in file.read_text().splitlines()]
    decided = [one.id for one in results("last", store=store(tmp_path)) if one.outcome == "decided"]
    assert told == decided


def test_a_run_whose_record_of_its_input_is_gone_does_not_verify(tmp_path: Path) -> None:
    """Without what its files were, nobody can say that they are the same."""
    api.run(made(tmp_path))
    with closing(sqlite3.connect(tmp_path / "maker.db")) as connection, connection:
        connection.execute("DELETE FROM maker_input_part")
    assert "input files" in queries.verify("last", store=store(tmp_path)).problem
