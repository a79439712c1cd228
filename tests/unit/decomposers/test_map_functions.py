"""A map's own parser, check and truth: functions that the job names, part of what a run is."""

from __future__ import annotations

import json
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from needs import Late

from decomposers.map.answer import AnswerFormat
from maker import api
from maker.core.plugins import find_named
from maker.core.user_code import FILE_MODULE
from maker.engine.trial import Lost, Trial
from maker.errors import JobError, PluginError, RunNotResumable
from maker.job.fingerprint import difference, task_fingerprint
from maker.lifecycle import queries
from maker.lifecycle.rows import RowResult, results

cloudpickle = Late("ray.cloudpickle")

RULES = """\
import json
import re

from maker.plugin import Truth

LIMIT = 9


def read(text):
    found = re.search(r"answer: (.*)", text)
    if not found:
        raise ValueError("no line begins with answer:")
    return {"label": found[1], "size": len(found[1])}


def plausible(row, answer):
    return f"{row['id']} is never blue" if answer["label"] == "blue" else None


def truth(prompt):
    return Truth(("I think.\\nanswer: red",), ("answer: blue", "answer: green"))
"""
SCHEMA = {"type": "object", "properties": {"label": {"enum": ["red", "green", "blue"]}, "size": {"type": "integer"}}}
FUNCTIONS = {"parse": "rules.py:read", "check": "rules.py:plausible", "truth": "rules.py:truth"}
Job = Callable[..., Path]


@pytest.fixture
def job(tmp_path: Path) -> Job:
    """Return a function that writes rules, rows and a job that names the rules; its arguments are of ``[task]``."""

    def write(rules: str = RULES, /, **task: Any) -> Path:
        (tmp_path / "rules.py").write_text(rules)
        (tmp_path / "rows.csv").write_text("id,text\na,one\nb,two\nc,three\n")
        base = {"decomposer": "map", "input": "rows.csv", "template": "Which? {{text}}", "schema": SCHEMA, **FUNCTIONS}
        lines = [f"{name} = {_toml(value)}" for name, value in (base | task).items() if value is not None]
        path = tmp_path / "job.toml"
        model = '[model]\nkind = "simulated"\np = 0.7\nrivals = 2\nmalformed = 0.1'
        path.write_text("\n".join(["[task]", *lines, model, "[vote]", "k = 2", "max_votes = 30"]))
        return path

    return write


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name} = {_toml(member)}" for name, member in value.items()) + "}"
    return json.dumps(value)


def started(job: Path, *words: str, **options: Any) -> queries.RunReport:
    """Run a job with its store beside it."""
    return api.run(job, [f"store.url={where(job)}", *words], **options)


def where(job: Path) -> str:
    return f"sqlite:///{job.parent}/maker.db"


def rows(job: Path) -> list[RowResult]:
    return list(results("last", store=where(job)))


def test_replies_are_read_checked_and_simulated_by_the_jobs_functions(job: Job) -> None:
    """All three are asked: answers are what the parser made of replies, and what the check forbids never wins."""
    path = job()
    report = started(path)
    assert report.result == {"rows": 3, "decided": 3}
    assert [row.answer for row in rows(path)] == [{"label": "red", "size": 3}] * 3
    flags: dict[str, int] = {}
    for step in queries.steps("last", store=where(path)):
        for name, count in step.flags.items():
            flags[name] = flags.get(name, 0) + count
    assert set(flags) == {"format", "illegal"}
    assert queries.verify("last", store=where(path)).right


def test_a_text_or_any_value_is_an_answer_without_a_schema(job: Job) -> None:
    """There the parser returns the answer itself, and the check is given what the parser returned."""
    rules = RULES.replace('return {"label": found[1], "size": len(found[1])}', "return len(found[1])").replace(
        'if answer["label"] == "blue"', "if answer == 4"
    )
    path = job(rules, schema=None)
    assert started(path).status == "done"
    assert [row.answer for row in rows(path)] == [{"answer": 3}] * 3
    assert queries.verify("last", store=where(path)).right


def test_numbers_are_the_same_when_a_log_is_verified(job: Job) -> None:
    """A check is given an int or a decimal, of a fresh reply and of the log alike."""
    rules = RULES.replace("len(found[1])", "0.5").replace(
        'if answer["label"] == "blue"', 'if type(answer["size"]).__name__ != "Number"'
    )
    path = job(rules, schema={"type": "object", "properties": {"label": {}, "size": {"type": "number"}}})
    assert started(path).status == "done"
    assert queries.verify("last", store=where(path)).right


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (('if not found:\n        raise ValueError("no line begins with answer:")', ""), "TypeError: 'NoneType'"),
        (('found[1], "size"', 'found[2], "size"'), r"IndexError: no such group (rules.py, line 13)"),
        (
            ('return {"label"', 'x = {"label"'),
            "TypeError: parse must return a dict of the schema's fields, but returned None",
        ),
        (('return {"label": found[1], "size": len(found[1])}', "return {1}"), "but returned {1}"),
        (
            ("return f\"{row['id']} is never blue\" if", "return True if"),
            "check must return a reason or None, but returned True",
        ),
        (("row['id']", "row['ident']"), "KeyError: 'ident' (rules.py, line 17)"),
    ],
)
def test_a_function_that_breaks_is_told_as_the_tasks_own_code(job: Job, change: tuple[str, str], told: str) -> None:
    """Only a ValueError of the parser is the reply's fault; of anything else the line is told."""
    assert change[0] in RULES
    path = job(RULES.replace(*change))
    malformed = int("TypeError: 'NoneType'" in told)
    (tried,) = api.try_steps(path, ["model.p=0", "model.rivals=1", f"model.malformed={malformed}"], count=1)
    assert isinstance(tried, Trial)
    assert isinstance(tried.outcome, Lost)
    assert told in tried.outcome.reason
    assert "parse, check or decide raised" in tried.outcome.reason


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("[" * 33 + "]" * 33, "nested more than 32 deep"),
        (" ", "the reply is only white space"),
        ("nan", "is not a number"),
    ],
)
def test_what_no_answer_can_be_is_a_red_flag_whoever_read_it(value: str, told: str) -> None:
    """A parser may hand on what a model made up: too deep a list, a blank, a number that is none."""
    with pytest.raises(ValueError, match=told):
        AnswerFormat(None).taken(float(value) if value == "nan" else json.loads(value) if "[" in value else value)


@pytest.mark.parametrize(
    ("task", "told", "fix"),
    [
        ({"parse": "rulse.py:read"}, "there is no file ", "start from the job file's folder"),
        ({"parse": "rules.py:raed"}, "has no 'raed'", "did you mean 'read'"),
        ({"parse": "rules.py:LIMIT"}, "that is not a function but 9", ""),
        (
            {"parse": "rules.py:plausible"},
            "it must be callable as plausible(text): missing a required argument: 'answer'",
            "",
        ),
        ({"check": "rules.py:read"}, "it must be callable as read(row, answer): too many positional arguments", ""),
        ({"truth": "rules.py"}, "'rules.py' has no `:name` part", "path/file.py:name"),
        ({"truth": "no_such_module:truth"}, "module 'no_such_module' cannot be imported", "write path/file.py:name"),
        ({"check": 3}, "'3' has no `:name` part", "path/file.py:name"),
        ({"chekc": "rules.py:read"}, "task.chekc: there is no such setting", "did you mean 'check'"),
    ],
)
def test_a_name_that_names_no_such_function_is_told(job: Job, task: dict[str, Any], told: str, fix: str) -> None:
    """With the line of the job, what was looked for where, and near names."""
    with pytest.raises(JobError) as caught:
        api.load_job(job(**task))
    assert told in caught.value.message
    line = {"parse": 6, "check": 7, "truth": 8, "chekc": 9}[name := next(iter(task))]
    assert f"job.toml:{line}: task.{name}" in caught.value.message
    assert fix in caught.value.fix


def test_a_file_that_cannot_be_loaded_is_told_with_the_setting(job: Job) -> None:
    """The setting that names it, and what is wrong with it."""
    with pytest.raises(JobError, match=r"task\.parse = 'rules\.py:read': .* cannot be loaded: ZeroDivisionError"):
        api.load_job(job(RULES + "1 / 0\n"))


def test_a_changed_file_is_refused_by_name(job: Job) -> None:
    """A run goes on with the functions that it was started with, or not at all; with a copy elsewhere it does."""
    path = job()
    assert started(path, limit_steps=1).status == "paused"
    path.with_name("rules.py").write_text(RULES.replace("never blue", "no blue"))
    with pytest.raises(RunNotResumable, match=r"task: check: source was '\w+', is '\w+'; parse: source was"):
        api.resume("last", store=where(path))
    path.with_name("rules.py").write_text(RULES)
    with pytest.raises(RunNotResumable, match=r"task: check: function was 'rules\.py:plausible', is 'other\.py:read'"):
        path.with_name("other.py").write_text("def read(row, answer):\n    return None\n")
        api.resume("last", [f"task.check={path.parent}/other.py:read"], store=where(path))


def test_a_moved_file_is_the_same(job: Job) -> None:
    """Where the code lies is no part of a run, as with a decomposer's file."""
    path = job()
    started(path, limit_steps=1)
    there = path.parent / "elsewhere"
    there.mkdir()
    path.with_name("rules.py").rename(there / "rules.py")
    with pytest.raises(JobError, match=r"run .*: task\.parse = .*: there is no file"):
        api.resume("last", store=where(path))
    words = [f"task.{name}={there}/{function}" for name, function in FUNCTIONS.items()]
    assert api.resume("last", words, store=where(path)).status == "done"
    assert queries.verify("last", store=where(path)).right


def test_a_function_that_was_not_there_is_another_task(job: Job) -> None:
    """Neither a run that had none, nor one from before there were any, goes on with one."""
    path = job(check=None)
    started(path, limit_steps=1)
    word = f"task.check={path.parent}/rules.py:plausible"
    with pytest.raises(RunNotResumable, match=r"check was None, is \{'function': 'rules\.py:plausible'"):
        api.resume("last", [word], store=where(path))
    now = task_fingerprint(api.load_job(job()))
    assert difference({"task": {"input": "rows.csv"}}, now).startswith("task: check was None, is")


def test_functions_of_an_installed_module(job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module's functions are named as a decomposer of a module is, and its file's content counts too."""
    package = tmp_path / "site" / "own_package"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "rules.py").write_text(RULES)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    names = {name: f"own_package.{function.replace('.py', '')}" for name, function in FUNCTIONS.items()}
    loaded = api.load_job(job(**names))
    assert loaded.settings["task"]["parse"] == "own_package.rules:read"
    told = task_fingerprint(loaded)["task"]["parse"]
    assert told == {"function": "own_package.rules:read", "source": find_named(names["parse"], tmp_path).source}
    assert started(job(**names)).status == "done"


def test_settings_name_functions_and_workers_get_them(job: Job) -> None:
    """What is stored is their names; to another process they go by value, for it cannot import a job's file."""
    loaded = api.load_job(job())
    folder = job().parent
    assert {name: loaded.settings["task"][name] for name in FUNCTIONS} == {
        name: f"{folder}/{function}" for name, function in FUNCTIONS.items()
    }
    for name, module in list(sys.modules.items()):
        if name.startswith(FILE_MODULE):
            cloudpickle.register_pickle_by_value(module)
    again = pickle.loads(cloudpickle.dumps(loaded.decomposer))  # noqa: S301 - our own
    assert again.classes[0].parse("answer: green") == {"label": "green", "size": 5}


def test_a_name_without_a_colon_is_none() -> None:
    """Only decomposers and voters have names of their own."""
    with pytest.raises(PluginError, match="'read' has no `:name` part"):
        find_named("read", Path())
