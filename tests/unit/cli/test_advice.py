"""Commands that messages suggest: whoever pastes one gets on."""

from __future__ import annotations

import ast
import io
import re
import shlex
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from row_tasks import job, write_rows
from typer.testing import CliRunner, Result

import maker as package
from maker import api
from maker.cli.advice import completed
from maker.cli.app import COMMANDS, app
from maker.cli.progress import Progress
from maker.errors import ModelUnusable
from maker.lifecycle import queries
from maker.testing import FakeReply, FakeServer, chat_completion

LIMITS: dict[str, dict[str, Any]] = {
    "max_calls": {"limits": {"max_calls": 8}},
    "max_tokens": {"limits": {"max_tokens": 200}},
    "max_wall_s": {"limits": {"max_wall_s": 1e-6}},
}
PLACEHOLDERS = {"RUN", "JOB"}


def maker(*words: str) -> Result:
    """Run a command in this process."""
    return CliRunner().invoke(app, list(words))


def suggested(text: str) -> list[list[str]]:
    """Return the words of each command that a text suggests, as a shell reads them."""
    return [shlex.split(words) for words in re.findall(r"`maker ([^`]*)`", text)]


def suggestions(source: str) -> Iterator[list[str]]:
    """Yield the words of the commands that a module's messages suggest; docstrings may be general."""
    if "`maker " not in source:
        return
    tree = ast.parse(source)
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            text = "".join(part.value if isinstance(part, ast.Constant) else "…" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            text = node.value
        else:
            continue
        yield from (words.split() for words in re.findall(r"`maker ([a-z…][^`\n]*)`", text))


@pytest.mark.parametrize("limit", LIMITS)
def test_what_a_limit_advises_gets_on(hanoi: Callable[..., Any], store: str, limit: str) -> None:
    """A run at a limit suggests a resume with a higher one; pasted, again and again, it ends the run."""
    report = api.run(hanoi(**LIMITS[limit]))
    assert report.status == "paused"
    assert report.reason.startswith(f"limit {limit} ")
    for _ in range(30):
        before = report
        [words] = suggested(maker("watch", report.run_id, "--store", store).output)
        assert words[2].startswith(f"limits.{limit}=")
        maker(*words)
        report = queries.show(report.run_id, store=store)
        assert report.steps > before.steps
        if report.status == "done":
            return
    raise AssertionError(f"still {report.status}: {report.reason}")


def test_what_a_limit_needs_is_in_the_advice(hanoi: Callable[..., Any]) -> None:
    """A limit far below what a single request takes is raised at once to what it takes."""
    report = api.run(hanoi(limits={"max_tokens": 1}))
    need = int(re.findall(r"may take (\d+)", report.reason)[0])
    assert int(queries.limit_override(report).partition("=")[2]) >= need > 1


def test_an_undecided_step_advises_more_votes(hanoi: Callable[..., Any], store: str) -> None:
    """A plain resume would stop at the same step: both commands that would not are named."""
    report = api.run(hanoi(vote={"k": 9, "max_votes": 10}, model={"p": 0.6}))
    more, again = suggested(maker("watch", report.run_id, "--store", store).output)
    assert more == ["resume", report.run_id, "vote.max_votes=20", "--store", store]
    assert again == ["retry", report.run_id, "--store", store]


def test_an_undecided_step_advises_the_cap_of_its_role(hanoi: Callable[..., Any], store: str) -> None:
    """Where a role has its own cap, raising the common one would change nothing; pasted, the advice draws more."""
    report = api.run(hanoi(vote={"k": 9}, roles={"solver": {"max_votes": 10}}, model={"p": 0.6}))
    more, _ = suggested(maker("watch", report.run_id, "--store", store).output)
    assert more == ["resume", report.run_id, "roles.solver.max_votes=20", "--store", store]
    maker(*more)
    assert queries.show(report.run_id, store=store).calls > report.calls


def test_a_server_that_is_too_slow_advises_more_time(tmp_path: Path, store: str) -> None:
    """It answers 20 rows at once, and takes 0.8 s from then on, with 0.5 s allowed: four times as much is enough.

    The command says when it sends fewer requests at once, and no row is given up.
    """
    asked = count()

    def script(body: Any) -> FakeReply:
        text = '{"label": "red", "why": "so"}'
        return FakeReply(200, chat_completion([text] * body.get("n", 1)), delay_s=0.8 if next(asked) >= 20 else 0.0)

    write_rows(tmp_path / "rows.csv", range(40))
    with FakeServer(script) as server:
        model = {"kind": "openai", "url": server.url, "name": "m", "timeout_s": 0.5}
        table = job(tmp_path, vote={"k": 2, "max_votes": 4}, store={"url": store})
        del table["task"]["check"]
        progress = Progress(stream := io.StringIO())
        report = api.run(table | {"model": model}, on_event=progress.handle)
        lines = stream.getvalue().splitlines()
        assert (report.status, report.missing) == ("paused", 0)
        [words] = suggested(maker("watch", report.run_id, "--store", store).output)
        assert words[:3] == ["resume", report.run_id, "model.timeout_s=2"]
        maker(*words)
    assert queries.show(report.run_id, store=store).status == "done"
    assert any("model m gets 1 request at a time on worker 0 instead of" in line for line in lines)
    assert any(line.endswith("answers faster: no reply within 0.5 s") for line in lines)


def test_a_message_names_run_job_and_store() -> None:
    """What lower layers cannot know is filled in; a command that does not take it stays as it is."""
    facts = {"run_id": "20260101-000000-aaaaaa", "job": Path("my jobs/a.toml"), "store": "sqlite:///other.db"}
    assert suggested(completed("see `maker steps --disputed`, `maker fork RUN --at 0`, `maker plugins`", **facts)) == [
        ["steps", "20260101-000000-aaaaaa", "--disputed", "--store", "sqlite:///other.db"],
        ["fork", "20260101-000000-aaaaaa", "--at", "0", "--store", "sqlite:///other.db"],
        ["plugins"],
    ]
    assert suggested(completed("with `maker calibrate JOB`", **facts)) == [["calibrate", "my jobs/a.toml"]]
    assert completed("`maker resume`, `maker nothing`") == "`maker resume`, `maker nothing`"


def test_an_error_names_the_store_that_was_given(hanoi: Callable[..., Any], store: str) -> None:
    """`maker ls` in an error lists the store that the failing command read."""
    api.run(hanoi())
    done = maker("show", "nosuch", "--store", store)
    assert done.exit_code == 2
    assert suggested(done.output) == [["ls", "--store", store]]


def test_every_suggested_command_exists() -> None:
    """No message suggests a command that is not there, or a placeholder that nothing fills in."""
    folder = Path(package.__file__).parent
    found = [(path, words) for path in folder.rglob("*.py") for words in suggestions(path.read_text(encoding="utf-8"))]
    assert len(found) > 50
    for path, (name, *others) in found:
        assert "…" in name or name in {*COMMANDS, "db"}, (path, name)
        assert {word for word in others if word.isupper()} <= PLACEHOLDERS, (path, name, others)


def test_a_missing_key_leaves_no_run(hanoi: Callable[..., Any], store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable of the key is looked up before there is a run, and before a paused one is taken over."""
    monkeypatch.delenv("KEY_OF_NONE", raising=False)
    model = {"kind": "openai", "url": "http://127.0.0.1:9/v1", "name": "m", "key_env": "KEY_OF_NONE"}
    job = hanoi() | {"model": model}
    with pytest.raises(ModelUnusable, match="KEY_OF_NONE"):
        api.run(job)
    assert not Path(store.removeprefix("sqlite:///")).exists()
    monkeypatch.setenv("KEY_OF_NONE", "secret")
    with pytest.raises(ModelUnusable, match=r"127\.0\.0\.1"):
        api.run(job | {"model": model | {"retry_s": 0}})
    before = queries.show("last", store=store)
    monkeypatch.delenv("KEY_OF_NONE")
    with pytest.raises(ModelUnusable, match="KEY_OF_NONE"):
        api.resume("last", store=store)
    assert queries.show("last", store=store) == before
