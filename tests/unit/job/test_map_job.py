"""Jobs of maps: texts that stand in files, what is shown of long settings, and commands over rows that are broken."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from row_tasks import job, write_rows
from typer.testing import CliRunner, Result

from maker import api
from maker.cli.app import app
from maker.cli.commands.watch import expected_steps
from maker.errors import JobError
from maker.inputs import handle
from maker.job.estimate import estimate_run
from maker.job.file import MOST_SHOWN, MOST_WHOLE, shortened
from maker.job.fingerprint import run_fingerprint
from maker.lifecycle import queries
from maker.testing import FakeServer, chat_completion

SURE = {"p": 1.0, "malformed": 0.0}


@pytest.fixture
def scans(monkeypatch: pytest.MonkeyPatch) -> list[handle.Input]:
    """Return a list that every scan of an input is added to."""
    found: list[handle.Input] = []
    read = handle.Input._read_through

    def counted(self: handle.Input) -> Any:
        found.append(self)
        return read(self)

    monkeypatch.setattr(handle.Input, "_read_through", counted)
    return found


def store(folder: Path) -> str:
    return f"sqlite:///{folder}/maker.db"


def maker(*words: object) -> Result:
    """Run a command in this process."""
    return CliRunner().invoke(app, [str(word) for word in words])


def job_file(folder: Path, model: str = 'kind = "simulated"\np = 1.0', **task: Any) -> Path:
    """Write a job over ``rows.csv``, and return its path."""
    functions = {"check": "row_tasks:answerable", "truth": "row_tasks:truth"}
    settings = {"decomposer": "map", "input": "rows.csv", "template": "Say {{text}}", **functions, **task}
    lines = [f"{name} = {json.dumps(value)}" for name, value in settings.items()]
    path = folder / "job.toml"
    path.write_text("\n".join(["[task]", *lines, "[model]", model, "[store]", f'url = "{store(folder)}"']))
    return path


def broken_rows(folder: Path, broken: int, whole: int) -> None:
    """Write rows of which the first ones have a cell too many."""
    lines = [*(f"b{n},a,b" for n in range(broken)), *(f"r{n},item {n}" for n in range(whole))]
    (folder / "rows.csv").write_text("\n".join(["id,text", *lines, ""]))


@contextmanager
def nobody(*folders: Path) -> Iterator[None]:
    """Lock folders, also for root."""
    for folder in folders:
        folder.chmod(0)
    before = os.geteuid()
    if before == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(before)
        for folder in folders:
            folder.chmod(0o700)


@pytest.mark.parametrize("length", [10, 86, 200, 255, 1000])
def test_a_text_is_no_file_however_long_it_is(length: int, tmp_path: Path) -> None:
    """A file's name is limited in bytes: a text of other letters that would be too long for one is a text."""
    template = "请" * length + "{{text}}"
    loaded = api.load_job(job(tmp_path, task={"template": template, "system": "\0" + "請" * length}))
    assert loaded.settings["task"]["template"] == template


@pytest.mark.posix
def test_a_locked_file_is_told(tmp_path: Path) -> None:
    """A text's file that one may not read, or not even look for, is told in words."""
    (tmp_path / "locked").mkdir()
    (tmp_path / "locked" / "prompt.txt").write_text("{{text}}")
    made = job(tmp_path, task={"template": str(tmp_path / "locked" / "prompt.txt")})
    assert api.load_job(made).settings["task"]["template"] == "{{text}}"
    with (
        nobody(tmp_path / "locked"),
        pytest.raises(JobError, match=r"task\.template: the file .*prompt\.txt cannot be read: Permission denied\n"),
    ):
        api.load_job(made)


@pytest.mark.parametrize("name", ["prompts/system.txt", "systm.MD", "a/b.yaml", "schema.json", "x.j2"])
@pytest.mark.parametrize("setting", ["system", "template", "schema"])
def test_a_misspelt_file_is_no_text(name: str, setting: str, tmp_path: Path) -> None:
    """What can only be meant as a file, and is not there, is told with the folder that it was looked for in."""
    path = job_file(tmp_path, **{setting: name})
    with pytest.raises(JobError) as caught:
        api.load_job(path)
    assert f"task.{setting}: there is no file {name} in {tmp_path}\n" in str(caught.value)
    with pytest.raises(JobError, match=f"command line: task.system: there is no file {name} in {Path.cwd()}"):
        api.load_job(job_file(tmp_path), [f"task.system={name}"])
    with pytest.raises(JobError, match=rf"there is no file /nowhere/{name}\n"):
        api.load_job(job_file(tmp_path), [f"task.system=/nowhere/{name}"])


@pytest.mark.parametrize(
    "text",
    ["/no_think", "Read notes.txt", "Yes/no.", "{{text}}/{{id}}.txt", "notes.txt\n", "Think.", "yes/no", "回答是/否。"],
)
def test_a_text_with_the_look_of_a_text_is_one(text: str, tmp_path: Path) -> None:
    """Slashes and full stops alone make no file of a text; a line break makes a text of anything."""
    assert api.load_job(job_file(tmp_path, system=text)).settings["task"]["system"] == text


def test_a_stored_text_is_never_looked_for(tmp_path: Path) -> None:
    """What a run was made of stays its text, whatever it looks like."""
    write_rows(tmp_path / "rows.csv", range(30))
    (tmp_path / "system.txt").write_text("other.txt")
    api.run(job_file(tmp_path, system="system.txt"), limit_steps=10)
    (tmp_path / "system.txt").unlink()
    report = api.resume("last", store=store(tmp_path))
    assert (report.status, report.settings["task"]["system"]) == ("done", "other.txt")


def test_bad_rows_at_the_head_stop_no_run(tmp_path: Path) -> None:
    """A run is made of its template, not of a prompt that a row has to be found for."""
    broken_rows(tmp_path, 150, 20)
    assert maker("run", job_file(tmp_path), "limits.max_undecided=200").exit_code == 3
    loaded = api.load_job(job_file(tmp_path))
    assert estimate_run(loaded) is None
    fingerprint = run_fingerprint(loaded)["prompts"]
    broken_rows(tmp_path, 0, 20)
    assert run_fingerprint(api.load_job(job_file(tmp_path)))["prompts"] == fingerprint
    assert run_fingerprint(api.load_job(job_file(tmp_path, template="Tell {{text}}")))["prompts"] != fingerprint
    assert run_fingerprint(api.load_job(job_file(tmp_path, system="Be short.")))["prompts"] != fingerprint
    estimate = estimate_run(api.load_job(job_file(tmp_path)))
    assert estimate is not None
    assert (estimate.steps, estimate.prompt_characters) == (20, len("Say item 0"))


def test_an_estimate_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    """Where the first rows are broken a run on a server begins all the same."""
    broken_rows(tmp_path, 120, 3)
    with FakeServer(lambda body: (200, chat_completion(["red"] * body.get("n", 1)))) as server:
        path = job_file(tmp_path, f'kind = "openai"\nurl = "{server.url}"\nname = "m"')
        done = maker("run", path, "limits.max_undecided=200", "swarm.kind=local", "vote.k=1")
    assert "estimate: unknown: no prompt can be made from the first rows" in done.output
    assert json.loads(maker("ls", "--store", store(tmp_path), "--json").output)["steps"] == 3


@pytest.mark.parametrize("whole", [0, 2])
def test_a_map_of_broken_rows_can_be_counted(whole: int, tmp_path: Path) -> None:
    """`--dry-run` counts rows that cannot be read, also where there are no others."""
    broken_rows(tmp_path, 130, whole)
    found = maker("run", job_file(tmp_path), "--dry-run")
    assert (found.exit_code, (tmp_path / "maker.db").exists()) == (0, False)
    assert f"{130 + whole} rows (130 cannot be read or rendered)" in found.output
    assert json.loads(maker("run", job_file(tmp_path), "--dry-run", "--json").output)["unreadable"] == 130


def test_a_trial_goes_on_past_rows_without_an_answer(tmp_path: Path) -> None:
    """`maker try` tells broken rows and undecided ones, goes on to the next, and exits 1; each counts as one tried."""
    broken_rows(tmp_path, 1, 10)
    content = (tmp_path / "rows.csv").read_text()
    (tmp_path / "rows.csv").write_text(content.replace("item 1\n", "item 1 is unanswerable\n"))
    done = maker("try", job_file(tmp_path), "-n", "4")
    assert done.exit_code == 1
    heads = [line[:8] for line in done.output.splitlines() if line.startswith("──")]
    assert heads == ["── row 0", "── step ", "── step ", "── step "]
    assert "── row 0: FAILED" in done.output
    assert "row 0 of rows.csv has 3 fields" in done.output
    assert (done.output.count("UNDECIDED"), done.output.count("  decided  ")) == (1, 2)
    assert "done: None" not in done.output
    told = [json.loads(line) for line in maker("try", job_file(tmp_path), "-n", "4", "--json").output.splitlines()]
    assert [one["step"] for one in told] == [0, 1, 2, 3]
    assert "3 fields" in told[0]["failed"]
    assert [one.get("action") is None for one in told] == [True, False, True, False]


def test_a_trial_ends_with_the_rows(tmp_path: Path) -> None:
    """Rows that are all broken are told, as many as were to be tried, or as there are."""
    broken_rows(tmp_path, 3, 0)
    assert maker("try", job_file(tmp_path)).output.count("FAILED") == 3
    assert maker("try", job_file(tmp_path), "-n", "2").output.count("FAILED") == 2
    broken_rows(tmp_path, 0, 3)
    assert maker("try", job_file(tmp_path)).exit_code == 0


def test_a_trial_stops_where_no_row_can_be_asked(tmp_path: Path) -> None:
    """What the model does is no row's fault: it is told once."""
    write_rows(tmp_path / "rows.csv", range(5))
    with FakeServer(lambda _: (401, {"error": {"message": "no such key"}})) as server:
        path = job_file(tmp_path, f'kind = "openai"\nurl = "{server.url}"\nname = "m"')
        done = maker("try", path)
    assert (done.exit_code, done.output.count("no such key")) == (2, 1)


def test_a_trial_tells_a_wrong_column_as_a_run_does(tmp_path: Path) -> None:
    """An input that does not fit is told by name before anything is asked."""
    write_rows(tmp_path / "rows.csv", range(5))
    path = job_file(tmp_path, template="{{colour}}")
    told = [maker(command, path).output for command in ("try", "run")]
    assert told[0] == told[1]
    assert "names {{colour}}, and the input has no such column" in told[0]


def test_a_wrong_task_is_told_without_a_value(tmp_path: Path) -> None:
    """What is wrong with a whole table is no value of one setting."""
    with pytest.raises(JobError, match=r"^the job: task: template names no column"):
        api.load_job(job(tmp_path, task={"template": "What is it?"}))


def test_a_long_value_is_told_short(tmp_path: Path) -> None:
    """A schema's file that is no JSON is told with its beginning; one that is wrong in part, with that part."""
    (tmp_path / "schema.json").write_text('{"properties": ' + json.dumps({f"n{n}": {} for n in range(3000)}))
    with pytest.raises(JobError, match="neither a file nor a JSON schema") as caught:
        api.load_job(job_file(tmp_path, schema="schema.json"))
    assert len(str(caught.value)) < 500
    fields = {f"field-{n}": {"vote": "carry"} for n in range(100)} | {"last": {"vote": "number", "tolerance": "few"}}
    with pytest.raises(JobError, match=r"task\.fields\.last\.tolerance = 'few'"):
        api.load_job(job(tmp_path, task={"fields": fields}))
    assert shortened("x" * MOST_WHOLE) == "x" * MOST_WHOLE
    assert shortened("x" * 5000) == "x" * MOST_SHOWN + "… (5,000 characters)"


def test_a_misspelt_setting_is_told_by_its_name_in_a_job(tmp_path: Path) -> None:
    """What is suggested, and what is listed, can be written."""
    made = job(tmp_path)
    made["task"]["shcema"] = made["task"].pop("schema")
    with pytest.raises(JobError, match=r"task\.shcema: there is no such setting") as caught:
        api.load_job(made)
    assert caught.value.fix.startswith("did you mean 'schema'")
    del made["task"]["shcema"], made["task"]["template"]
    with pytest.raises(JobError, match="template is missing") as caught:
        api.load_job(made)
    assert ", schema, " in caught.value.fix


def test_long_settings_are_printed_short(tmp_path: Path) -> None:
    """`--print-config` and `show` print a line a setting that can be read; as JSON nothing is left out."""
    write_rows(tmp_path / "rows.csv", range(3))
    schema = {"type": "object", "properties": {f"n{n}": {"type": "string"} for n in range(900)}}
    (tmp_path / "schema.json").write_text(json.dumps(schema))
    (tmp_path / "prompt.txt").write_text("Question\n" * 500 + "{{text}}")
    path = job_file(tmp_path, schema="schema.json", template="prompt.txt")
    words = ("run", path, "--print-config")
    assert max(map(len, maker(*words).output.splitlines())) < 300
    assert json.loads(maker(*words, "--json").output)["task.schema"]["value"] == schema
    maker("run", path, "vote.max_votes=3", "vote.k=1")
    shown = maker("show", "last", "--store", store(tmp_path))
    assert shown.exit_code == 0
    assert max(map(len, shown.output.splitlines())) < 2000


def test_half_a_surrogate_pair_is_printed_as_its_escape(tmp_path: Path) -> None:
    """Rows that are no Unicode end no command; what is printed as JSON is JSON."""
    (tmp_path / "task.py").write_text(
        "from maker.plugin import Truth\n"
        "def truth(prompt):\n    return Truth(('é',), ('è',))\ndef check(row, answer):\n    return None\n"
    )
    (tmp_path / "rows.jsonl").write_text('{"id": "a\\ud83d", "text": "item 1"}\n{"id": "b\\udfff"}\n')
    path = job_file(tmp_path, truth="task.py:truth", check="task.py:check", input="rows.jsonl", id_column="id")
    api.run(path)
    words = ["results", "last"]
    for more in ([], ["--json"]):
        line = [sys.executable, "-m", "maker", *words, "--store", store(tmp_path), *more]
        done = subprocess.run(line, capture_output=True, encoding="utf-8", check=False, timeout=120)
        assert (done.returncode, done.stderr) == (0, "")
        lines = done.stdout.splitlines()
        assert r"a\ud83d" in lines[0]
        assert r"b\udfff" in lines[1]
        if more:
            assert json.loads(lines[0])["id"] == "a\ud83d"
            assert "é" in lines[0]


def test_a_resumed_input_is_read_through_no_oftener_than_it_must(tmp_path: Path, scans: list[handle.Input]) -> None:
    """What the command line needs to know of a run's rows beforehand it takes from the store."""
    write_rows(tmp_path / "rows.csv", range(60))
    api.run(job(tmp_path, model=SURE), limit_steps=20)
    scans.clear()
    api.resume("last", store=store(tmp_path), limit_steps=5)
    alone = len(scans)
    scans.clear()
    assert maker("resume", "last", "--limit-steps", "5", "--store", store(tmp_path)).exit_code == 5
    assert len(scans) == alone


def test_a_watched_input_is_not_read(tmp_path: Path, scans: list[handle.Input]) -> None:
    """Whoever watches a run sees how many rows it has, and reads none of them."""
    write_rows(tmp_path / "rows.csv", range(60))
    api.run(job(tmp_path, model=SURE), limit_steps=20)
    write_rows(tmp_path / "rows.csv", range(60, 90), more=True)
    scans.clear()
    with queries.opened(store(tmp_path)) as database:
        assert expected_steps(database, queries.show("last", store=store(tmp_path))) == 60
    assert not scans
