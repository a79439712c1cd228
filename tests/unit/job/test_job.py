"""Jobs: every setting checked, every wrong one told with where it stands and what is allowed."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from decomposers.hanoi import Hanoi
from maker import api
from maker.errors import BadInput, JobError, MakerError, PluginError
from maker.job.fingerprint import run_fingerprint
from maker.job.rules import prices
from maker.models.settings import SimulatedSettings
from maker.types import Prices, Step
from voters.first_to_ahead_by_k import FirstToAheadByK

JOB = """\
[task]
decomposer = "hanoi"
disks = 4

[model]
kind = "simulated"
p = 0.9

[vote]
k = 3
"""
Job = Callable[..., dict[str, dict[str, Any]]]


@pytest.fixture
def job_file(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes a job file, with some text replaced."""

    def write(old: str = "", new: str = "") -> Path:
        assert old in JOB
        path = tmp_path / "job.toml"
        path.write_text(JOB.replace(old, new, 1))
        return path

    return write


def test_a_job_is_built_with_all_defaults(job_file: Callable[..., Path]) -> None:
    """Settings in effect hold every default, but for the store's URL, and say where each value came from."""
    path = job_file()
    job = api.load_job(path)
    assert isinstance(job.decomposer, Hanoi)
    assert isinstance(job.voter, FirstToAheadByK)
    assert (job.voter.k, job.vote.max_votes, job.run.seed, job.swarm_kind) == (3, 100, 0, "local")
    assert isinstance(job.model, SimulatedSettings)
    assert prices(job) == (Prices(),)
    assert job.settings["task"] == {
        "decomposer": "hanoi", "disks": 4, "form": "chain", "answer": "move", "prompt": "compact",
    }  # fmt: skip
    assert job.settings["vote"] == {"voter": "first-to-ahead-by-k", "max_votes": 100, "extra": 0, "k": 3}
    assert "url" not in job.settings["store"]
    assert job.origins["task.disks"] == f"{path}:3"
    assert (job.origins["run.seed"], job.origins["store.url"]) == ("default", "default")
    names = {f"{table}.{key}" for table, content in job.settings.items() for key in content} | {"store.url"}
    assert set(job.origins) == names


@pytest.mark.parametrize(
    ("old", "new", "message", "fix"),
    [
        ("[vote]", "[votes]", r"job\.toml:9: there is no table \[votes\]", "did you mean 'vote' or 'roles'?"),
        ("disks", "disk", r"job\.toml:3: task\.disk: there is no such setting", "did you mean 'disks'?"),
        ("disks = 4", "disks = 4\npegs = 3", r"job\.toml:4: task\.pegs: there is no such setting", "known: disks"),
        ("disks = 4", "", r"job\.toml:1: task\.disks is missing", "task takes: disks, form, answer, prompt"),
        ("disks = 4", 'disks = "ten"', r"job\.toml:3: task\.disks = 'ten': Input should be a valid integer", ""),
        ("disks = 4", "disks = 0", r"job\.toml:3: task\.disks = 0: Input should be greater", ""),
        ("p = 0.9", "p = 1.1", r"job\.toml:7: model\.p = 1\.1: Input should be less", ""),
        ("p = 0.9", "q = 0.9", r"job\.toml:7: model\.q: there is no such setting", "known: kind, p, rivals"),
        ("k = 3", "k = 0", r"job\.toml:10: vote\.k = 0: Input should be greater", ""),
        ("k = 3", "n = 5", r"job\.toml:10: vote\.n: there is no such setting", "known: k"),
        ("k = 3", "max_vote = 5", r"job\.toml:10: vote\.max_vote: there is no such setting", ""),
        ("k = 3", "max_votes = 0", r"job\.toml:10: vote\.max_votes = 0", ""),
        ("k = 3", 'voter = "majority"\nn = 4', r"job\.toml:11: vote\.n = 4: must be odd", ""),
        (
            '"simulated"',
            '"simulatd"',
            r"job\.toml:6: model\.kind: there is no model kind 'simulatd'",
            "did you mean 's",
        ),
        ('kind = "simulated"', "", r"job\.toml:5: model\.kind is missing", "known: simulated, vllm, openai"),
        ('"hanoi"', '"hanio"', "there is no decomposer 'hanio'", "did you mean 'hanoi'?"),
        ("k = 3", 'voter = "majorty"', "there is no voter 'majorty'", "did you mean 'majority'?"),
        ('decomposer = "hanoi"', "", r"job\.toml:1: task\.decomposer is missing", "name a decomposer"),
        ('decomposer = "hanoi"', "decomposer = 3", r"job\.toml:\d: task\.decomposer", ""),
    ],
)
def test_a_wrong_setting_is_told(job_file: Callable[..., Path], old: str, new: str, message: str, fix: str) -> None:
    """File, line, setting, value, what is wrong with it and what is allowed: all in one message."""
    with pytest.raises(BadInput, match=message) as caught:
        api.load_job(job_file(old, new))
    assert caught.value.fix.startswith(fix)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("table", "values", "message"),
    [
        ("run", {"seed": "x"}, r"run\.seed = 'x'"),
        ("run", {"on_change": "wait"}, r"run\.on_change = 'wait'"),
        ("swarm", {"kind": "slurm"}, r"swarm\.kind = 'slurm'"),
        ("swarm", {"replicas": 2}, r"swarm\.replicas = 2"),
        ("swarm", {"resources": {"TPU": 1}}, r"swarm\.resources = {'TPU': 1.0} needs Ray"),
        ("swarm", {"kind": "ray", "resources": {"cpu": 1}}, r"swarm\.resources .* reserve CPUs with swarm"),
        ("swarm", {"kind": "ray", "resources": {"TPU": 0}}, r"swarm\.resources\.TPU = .* greater than 0"),
        ("store", {"samples": "some"}, r"store\.samples = 'some'"),
        ("store", {"durability": "none"}, r"store\.durability = 'none'"),
        ("limits", {"max_call": 3}, r"limits\.max_call: there is no such setting"),
        ("model", {"latency_s": -1}, r"model\.latency_s = -1"),
    ],
)
def test_every_table_is_checked(hanoi: Job, table: str, values: dict[str, Any], message: str) -> None:
    """A value that is not allowed is refused in every table."""
    with pytest.raises(JobError, match=f"the job: {message}"):
        api.load_job(hanoi(**{table: values}))


def test_a_wrong_override_names_the_command_line(job_file: Callable[..., Path]) -> None:
    """What was typed is told as typed."""
    with pytest.raises(JobError, match=r"^command line: task\.disks = 'many'"):
        api.load_job(job_file(), ["task.disks=many"])
    with pytest.raises(JobError, match=r"^command line: there is no table \[tasks\]"):
        api.load_job(job_file(), ["tasks.disks=3"])


def test_a_wrong_variable_is_named(job_file: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """A value from the environment is told with its variable."""
    monkeypatch.setenv("MAKER_TASK_DISKS", "many")
    with pytest.raises(JobError, match=r"^environment MAKER_TASK_DISKS: task\.disks = 'many'"):
        api.load_job(job_file())
    assert api.load_job(job_file(), ["task.disks=5"]).settings["task"]["disks"] == 5


def test_another_model_may_be_chosen_for_a_rehearsal(tmp_path: Path) -> None:
    """A simulated model over a file for vLLM takes none of vLLM's settings with it."""
    path = tmp_path / "job.toml"
    path.write_text(JOB.replace('kind = "simulated"\np = 0.9', 'kind = "vllm"\npath = "m"\ntemperature = 1.3'))
    for words in (["model.p=0.8", "model.kind=simulated"], ["model.kind=simulated", "model.p=0.8"]):
        job = api.load_job(path, words)
        assert job.model == SimulatedSettings(p=0.8)
        assert job.swarm_kind == "local"


def test_another_voter_may_be_chosen(job_file: Callable[..., Path]) -> None:
    """A file that sets k for the default voter can be run with a majority."""
    job = api.load_job(job_file(), ["vote.voter=majority"])
    assert job.settings["vote"] == {"voter": "majority", "max_votes": 100, "extra": 0, "n": 5}


def test_a_models_folder_is_relative_to_the_job_file(tmp_path: Path, working_directory: Path) -> None:
    """A path in the file starts from the file; on the command line from the working directory."""
    path = tmp_path / "job.toml"
    path.write_text(JOB.replace('kind = "simulated"\np = 0.9', 'kind = "vllm"\npath = "m"'))
    assert api.load_job(path).settings["model"]["path"] == str(tmp_path / "m")
    assert api.load_job(path, ["model.path=n"]).settings["model"]["path"] == str(working_directory / "n")


def test_a_tasks_file_is_relative_to_the_job_file(tmp_path: Path, working_directory: Path) -> None:
    """A decomposer in a file beside the job file is found from anywhere."""
    source = Path(__file__).parents[3] / "decomposers" / "hanoi" / "task.py"
    (tmp_path / "mine.py").write_text(source.read_text())
    path = tmp_path / "job.toml"
    path.write_text(JOB.replace('"hanoi"', '"mine.py:Hanoi"'))
    job = api.load_job(path)
    assert job.settings["task"]["decomposer"] == f"{tmp_path}/mine.py:Hanoi"
    assert run_fingerprint(job)["decomposer_source"] == job.decomposer_plugin.source != ""
    with pytest.raises(PluginError, match=f"there is no file {working_directory}/mine.py"):
        api.load_job(path, ["task.decomposer=mine.py:Hanoi"])


def test_the_fingerprint_holds_what_may_not_change(hanoi: Job) -> None:
    """Task, voter, seed and the model's error process are in it; where the work is done and its limits are not."""

    def fingerprint(**tables: Mapping[str, Any]) -> dict[str, Any]:
        return run_fingerprint(api.load_job(hanoi(**tables)))

    base = fingerprint()
    same = [
        {"limits": {"max_calls": 5}}, {"model": {"latency_s": 1.0}}, {"swarm": {"cpus": 2.0}}, {"run": {"name": "x"}},
        {"store": {"url": "sqlite:///other.db"}}, {"swarm": {"kind": "ray"}},
        {"store": {"samples": "all"}}, {"vote": {"max_votes": 7}},
    ]  # fmt: skip
    other = [
        {"run": {"seed": 1}}, {"task": {"disks": 5}}, {"task": {"answer": "move+state"}}, {"model": {"p": 0.8}},
        {"vote": {"k": 4}}, {"model": {"malformed": 0.1}}, {"vote": {"voter": "first-to-k"}},
        {"model": {"rivals": 2}},
    ]  # fmt: skip
    assert [tables for tables in same if fingerprint(**tables) != base] == []
    assert [tables for tables in other if fingerprint(**tables) == base] == []


def test_a_tasks_first_prompt_is_part_of_its_fingerprint(hanoi: Job) -> None:
    """A task that does not say what its prompts are made of keeps the digest that older runs were stored with."""
    job = api.load_job(hanoi())
    kinds = [(kind.name, kind.system, kind.max_tokens, kind.stop) for kind in job.decomposer.classes]
    first = job.decomposer.next(job.decomposer.start())
    assert isinstance(first, Step)
    assert job.decomposer.prompts() is None
    assert run_fingerprint(job)["prompts"] == sha256(repr((kinds, first.prompt)).encode()).hexdigest()[:16]


@pytest.mark.parametrize("name", ["Job", "MEMO", "UNWRITTEN", "LOOKED_AT", "difference", "inputs_digest"])
def test_names_of_the_module_that_became_a_package_are_found(name: str) -> None:
    """A plugin that imports from ``maker.job`` goes on working, and is told where the name is now."""
    with pytest.warns(FutureWarning, match=rf"maker\.job\.{name} has moved: import maker\.job\.\w+\.{name} instead"):
        assert getattr(importlib.import_module("maker.job"), name) is not None


def test_a_loaded_job_is_taken_as_it_is(hanoi: Job) -> None:
    """A job that was checked once is not checked again."""
    job = api.load_job(hanoi())
    assert api.load_job(job) is job


def test_overrides_of_a_loaded_job_are_not_dropped(hanoi: Job) -> None:
    """Overrides cannot change a job that is loaded: they are refused, never ignored."""
    job = api.load_job(hanoi())
    with pytest.raises(MakerError):
        api.load_job(job, ["task.disks=5"])


@pytest.mark.parametrize(
    "name",
    [
        "voters.majority:Majority",
        "decomposers.hanoi:HanoiParams",
        "decomposers.hanoi:ENGLISH_TOKENS",
        "json:loads",
    ],
)
def test_what_is_no_decomposer_is_refused(hanoi: Job, name: str) -> None:
    """A class that is found and is no decomposer is told as none."""
    with pytest.raises(BadInput):
        api.run({**hanoi(2), "task": {"decomposer": name}})


def test_what_is_no_voter_is_refused(hanoi: Job) -> None:
    """A decomposer is no voter."""
    with pytest.raises(BadInput):
        api.run({**hanoi(2), "vote": {"voter": "decomposers.hanoi:Hanoi", "disks": 3}})


@pytest.mark.parametrize("what", ["__init__", "start", "oracle", "expected_steps"])
def test_a_task_that_raises_before_its_first_step_is_told(hanoi: Job, tmp_path: Path, store: str, what: str) -> None:
    """An error in a task's own code is told as the task's, whichever of its methods raises it."""
    (tmp_path / "mine.py").write_text(
        "from decomposers.hanoi import Hanoi\n"
        f"class Mine(Hanoi):\n    def {what}(self, *arguments):\n        raise KeyError('lost')\n"
    )
    job = hanoi(2, task={"decomposer": f"{tmp_path}/mine.py:Mine"})
    with pytest.raises(MakerError, match="KeyError: 'lost'"):
        api.run(job)


def test_a_refused_job_leaves_no_store_behind(hanoi: Job, tmp_path: Path) -> None:
    """A job that cannot be run as it is changes nothing: no database is made for it."""
    job = hanoi(2)
    job["model"] = {"kind": "vllm", "path": str(tmp_path / "no model")}
    with pytest.raises(BadInput):
        api.run(job)
    assert not (tmp_path / "maker.db").exists()


def test_secrets_in_a_url_are_refused(hanoi: Job) -> None:
    """A server's address may hold no password: it would be stored."""
    job = hanoi(2)
    job["model"] = {"kind": "openai", "url": "http://user:secret@host/v1", "name": "m"}
    with pytest.raises(JobError, match="must not contain a user, password or query") as caught:
        api.load_job(job)
    assert caught.value.facts == {"setting": "model.url"}
