"""A run whose first replies bring no valid vote pauses early, whatever its task, and says what to change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from row_tasks import job, write_rows

from maker import api
from maker.engine.first_replies import FirstReplies
from maker.lifecycle import queries
from maker.testing import FakeServer, chat_completion
from maker.types import Flag, RedFlag

RIGHT = '{"label": "red", "why": "so"}'
CUT = RedFlag(Flag.LENGTH, "cut after 64 tokens")


def behind(folder: Path, url: str, rows: int = 200, **tables: Any) -> dict[str, dict[str, Any]]:
    """Return a map of rows that a server is asked."""
    write_rows(folder / "rows.csv", range(rows))
    model = {"kind": "openai", "url": url, "name": "m", "concurrency": 8}
    return job(folder, vote={"k": 2, "max_votes": 8}, swarm={"chains": 8}, **tables) | {"model": model}


def test_counts_of_several_workers_come_together() -> None:
    """Sixty replies of one worker and forty of another are a hundred; a vote that anybody has heard ends it."""
    first = FirstReplies(100)
    first.note([CUT] * 60, voted=False)
    first.note([RedFlag(Flag.FORMAT, "no JSON")] * 39, voted=False)
    assert first.problem == ""
    first.note([CUT], voted=False)
    assert first.problem == (
        "max_useless = 100 is reached: none of the first 100 replies is a valid vote (61 length, 39 format; length: cut"
        " after 64 tokens). To mend it, raise the task's max_tokens, and start a new run; `maker try` shows replies as"
        " they come"
    )
    voted = FirstReplies(100)
    voted.note([CUT] * 99, voted=True)
    voted.note([CUT] * 99, voted=False)
    assert voted.problem == ""


@pytest.mark.parametrize(
    ("text", "finish", "flag", "advice"),
    [
        ("I think so.", "stop", "format", "say in the prompt"),
        ('{"label": ', "length", "length", "raise the task's max"),
    ],
)
def test_a_map_without_a_valid_vote_pauses(tmp_path: Path, text: str, finish: str, flag: str, advice: str) -> None:
    """Of 1,600 calls about a hundred are spent; flags of rejected rows count; a resume counts anew."""
    with FakeServer(lambda body: (200, chat_completion([text] * body.get("n", 1), finish=finish))) as server:
        report = api.run(behind(tmp_path, server.url))
        assert (report.status, report.steps) == ("paused", 0)
        assert report.reason.startswith("limit max_useless = 100 is reached: none of the first 1")
        assert f"{flag})" in report.reason or f"{flag};" in report.reason
        assert advice in report.reason
        # All replies that were heard count, also those of steps that were cut off.
        assert 100 <= report.red_flags <= report.calls
        assert 100 <= report.calls <= 500
        again = api.resume(report.run_id, store=report_store(tmp_path))
        assert again.reason.startswith("limit max_useless = 100 is reached")
        assert 200 <= again.calls <= 1000
    assert queries.verify(report.run_id, store=report_store(tmp_path)).problem == ""


def test_a_resume_goes_on_where_replies_have_become_useful(tmp_path: Path) -> None:
    """Every row is decided or rejected once: none is lost by the early stop, none is asked twice after its outcome."""
    useful = False

    def answer(body: Any) -> tuple[int, Any]:
        return 200, chat_completion([RIGHT if useful else "no"] * body.get("n", 1))

    with FakeServer(answer) as server:
        report = api.run(behind(tmp_path, server.url, rows=100))
        useful = True
        done = api.resume(report.run_id, store=report_store(tmp_path))
    assert done.status == "done"
    assert done.result["rows"] == 100
    assert done.result["decided"] + done.result.get("rejected", 0) == 100
    # What was heard before the stop makes rows without a valid vote, of eight replies each; a resume adds none.
    assert done.red_flags == report.red_flags
    assert done.missing == done.result.get("rejected", 0) <= report.red_flags // 8


def test_a_limit_of_its_own(tmp_path: Path) -> None:
    """The setting moves the bound."""
    with FakeServer(lambda body: (200, chat_completion(["no"] * body.get("n", 1)))) as server:
        report = api.run(behind(tmp_path, server.url, limits={"max_useless": 20}))
    assert report.reason.startswith("limit max_useless = 20 is reached")
    assert report.calls <= 120


def report_store(folder: Path) -> str:
    """Return the store of a job in a folder."""
    return f"sqlite:///{folder}/maker.db"
