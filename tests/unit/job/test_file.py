"""Job files: what is read, where each value came from, and which source wins."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from maker.errors import JobError
from maker.job.file import Raw, read_job_file
from maker.job.settings import TABLES

VLLM = """\
# a job
[run]
seed = 7

[task]
decomposer = "hanoi"
disks = 10

[model]
kind = "vllm"
path = "folder/model"
temperature = 1.4

[vote]
k = 3
max_votes = 50
"""


@pytest.fixture
def job_file(tmp_path: Path) -> Path:
    """Return a job file in a folder of its own."""
    path = tmp_path / "jobs" / "job.toml"
    path.parent.mkdir()
    path.write_text(VLLM)
    return path


def test_every_value_knows_its_line(job_file: Path) -> None:
    """The place of a value is file and line; of a table, the line of its header."""
    raw = read_job_file(job_file)
    assert raw.table("task") == {"decomposer": "hanoi", "disks": 10}
    assert raw.place("run", "seed") == f"{job_file}:3"
    assert raw.place("task", "disks") == f"{job_file}:7"
    assert raw.place("model", "temperature") == f"{job_file}:12"
    assert raw.place("model") == f"{job_file}:9"
    assert raw.place("model", "no_such_key") == f"{job_file}:9"
    assert raw.place("limits", "max_calls") == str(job_file)


def test_dotted_keys_know_their_line_too(tmp_path: Path) -> None:
    """A file without table headers is a job file as well."""
    path = tmp_path / "job.toml"
    path.write_text('task.decomposer = "hanoi"\ntask.disks = 3\nvote = { k = 3 }\n')
    raw = read_job_file(path)
    assert raw.place("task", "disks") == f"{path}:2"
    assert raw.place("vote", "k") == f"{path}:3"


def test_a_value_from_elsewhere_says_so(job_file: Path) -> None:
    """Variables and overrides are named as the place of what they set."""
    raw = read_job_file(job_file)
    raw.take_environment({"MAKER_TASK_DISKS": "4", "MAKER_VOTE_MAX_VOTES": "9", "HOME": "/"}, TABLES)
    raw.take_overrides(["vote.k=5"])
    assert raw.place("task", "disks") == "environment MAKER_TASK_DISKS"
    assert raw.place("vote", "max_votes") == "environment MAKER_VOTE_MAX_VOTES"
    assert raw.place("vote", "k") == "command line"
    assert (raw.table("task")["disks"], raw.table("vote")) == (4, {"k": 5, "max_votes": 9})
    origins = raw.origins({"task": {"disks": 0}, "vote": {"k": 0, "max_votes": 0, "voter": ""}, "run": {"seed": 0}})
    assert origins == {
        "task.disks": "environment MAKER_TASK_DISKS", "vote.k": "command line", "vote.voter": "default",
        "vote.max_votes": "environment MAKER_VOTE_MAX_VOTES", "run.seed": f"{job_file}:3", "store.url": "default",
    }  # fmt: skip


def test_the_command_line_wins_over_the_environment(job_file: Path) -> None:
    """File, environment, command line: the later wins."""
    raw = read_job_file(job_file)
    raw.take_environment({"MAKER_TASK_DISKS": "4", "MAKER_RUN_SEED": "8"}, TABLES)
    raw.take_overrides(["task.disks=5"])
    assert (raw.table("task")["disks"], raw.table("run")["seed"]) == (5, 8)


def test_the_store_has_a_short_variable(job_file: Path) -> None:
    """MAKER_STORE is the store's URL, and the command line still wins."""
    raw = read_job_file(job_file)
    raw.take_environment({"MAKER_STORE": "sqlite:///other.db"}, TABLES)
    assert raw.table("store") == {"url": "sqlite:///other.db"}
    assert raw.place("store", "url") == "environment MAKER_STORE"
    raw.take_overrides(["store.url=sqlite:///third.db"])
    assert raw.table("store") == {"url": "sqlite:///third.db"}


def test_other_variables_are_none_of_ours(job_file: Path) -> None:
    """Variables that begin like ours and name no table are left alone."""
    raw = read_job_file(job_file)
    raw.take_environment({"MAKER_HOME": "x", "MAKER_LOG_LEVEL": "debug", "MAKER_": "x", "MAKER_TASK": "x"}, TABLES)
    assert raw.table("task") == {"decomposer": "hanoi", "disks": 10}


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("task.x=3", 3), ("task.x=0.5", 0.5), ("task.x=true", True), ("task.x=hanoi", "hanoi"), ('task.x="3"', "3"),
        ("task.x=[1, 2]", [1, 2]), ("task.x=a=b", "a=b"), ("task.x=", ""), ("task.x=first-to-k", "first-to-k"),
        ("task.x=sqlite:///a.db", "sqlite:///a.db"), (" task . x =3", 3), ("task.x=1_000", 1000),
    ],
)  # fmt: skip
def test_an_override_is_toml_or_a_bare_word(job_file: Path, word: str, value: object) -> None:
    """Values are TOML; what TOML cannot read is a string."""
    raw = read_job_file(job_file)
    raw.take_overrides([word])
    assert raw.table("task")["x"] == value


def test_a_number_longer_than_python_reads(job_file: Path) -> None:
    """In an override it is a text, which the task may refuse; in a file it is told as what else is no TOML."""
    digits = "7" * 5000
    raw = read_job_file(job_file)
    raw.take_overrides([f"task.x={digits}"])
    assert raw.table("task")["x"] == digits
    job_file.write_text(f"[task]\nx = {digits}\n")
    with pytest.raises(JobError, match=r"job\.toml: .*5000 digits") as caught:
        read_job_file(job_file)
    assert "quotation marks" in caught.value.fix


@pytest.mark.parametrize("word", ["", "disks=3", "task.disks", "=3", ".disks=3", "task.=3", "hanoi", "task disks 3"])
def test_what_is_no_override(job_file: Path, word: str) -> None:
    """A word without table, key or value is refused, with an example."""
    with pytest.raises(JobError, match="is not an override") as caught:
        read_job_file(job_file).take_overrides([word])
    assert "table.key=value" in caught.value.fix


OVERRIDES = ["model.kind=simulated", "model.p=0.9", "model.rivals=2"]


@pytest.mark.parametrize("words", list(itertools.permutations(OVERRIDES)))
def test_another_kind_of_model_drops_the_files_settings(job_file: Path, words: tuple[str, ...]) -> None:
    """A model chosen anew takes nothing of the old one with it, in whatever order the overrides come."""
    raw = read_job_file(job_file)
    raw.take_overrides(words)
    assert raw.table("model") == {"kind": "simulated", "p": 0.9, "rivals": 2}
    assert raw.place("model", "p") == "command line"


def test_the_environment_chooses_a_model_too(job_file: Path) -> None:
    """A selector among variables comes first, whatever the names of the others."""
    raw = read_job_file(job_file)
    raw.take_environment({"MAKER_MODEL_P": "0.8", "MAKER_MODEL_KIND": "simulated"}, TABLES)
    assert raw.table("model") == {"kind": "simulated", "p": 0.8}


def test_the_same_choice_again_keeps_the_settings(job_file: Path) -> None:
    """Naming the kind that the file has already drops nothing."""
    raw = read_job_file(job_file)
    raw.take_overrides(["model.temperature=2", "model.kind=vllm"])
    assert raw.table("model") == {"kind": "vllm", "path": "folder/model", "temperature": 2}


def test_another_voter_keeps_the_cap(tmp_path: Path) -> None:
    """Parameters belong to a voter, the cap to the election: another voter drops k and keeps max_votes."""
    path = tmp_path / "job.toml"
    path.write_text('[vote]\nvoter = "first-to-k"\nk = 4\nmax_votes = 50\n')
    raw = read_job_file(path)
    raw.take_overrides(["vote.voter=majority", "vote.n=5"])
    assert raw.table("vote") == {"voter": "majority", "n": 5, "max_votes": 50}


def test_another_voter_than_the_default_drops_the_defaults_parameters(job_file: Path) -> None:
    """A file that leaves the voter out has chosen the default one: k is that voter's, not the new one's."""
    raw = read_job_file(job_file)
    raw.take_overrides(["vote.voter=majority"])
    assert raw.table("vote") == {"voter": "majority", "max_votes": 50}


def test_paths_start_from_where_they_were_written(job_file: Path, working_directory: Path) -> None:
    """A path in a file starts from the file's folder, one from the command line or a variable from where we stand."""
    raw = read_job_file(job_file)
    assert raw.base("model", "path") == job_file.parent
    raw.take_environment({"MAKER_TASK_DECOMPOSER": "a.py:A"}, TABLES)
    raw.take_overrides(["model.path=other"])
    assert raw.base("model", "path") == working_directory
    assert raw.base("task", "decomposer") == working_directory


def test_a_relative_job_file_has_an_absolute_base(job_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder of a job file is known for good, whatever the working directory becomes."""
    monkeypatch.chdir(job_file.parent)
    assert read_job_file(Path("job.toml")).base("model", "path") == job_file.parent


def test_an_unknown_table_is_named_with_its_line(tmp_path: Path) -> None:
    """A table that nobody knows is refused, with the one that was meant."""
    path = tmp_path / "job.toml"
    path.write_text("[task]\n[modle]\nkind = 3\n")
    with pytest.raises(JobError, match=r"job\.toml:2: there is no table \[modle\]") as caught:
        read_job_file(path).check_tables(list(TABLES))
    assert caught.value.fix == "did you mean 'model' or 'roles'?"


def test_a_setting_outside_a_table_is_named_with_its_line(tmp_path: Path) -> None:
    """A key above all tables is refused where it stands."""
    path = tmp_path / "job.toml"
    path.write_text("\ndisks = 10\n[task]\n")
    with pytest.raises(JobError, match=r"job\.toml:2: disks is outside of any table"):
        read_job_file(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[task]\ndisks = ten\n", r"job\.toml: .*line 2"),
        (b"[task\n", r"job\.toml: "),
        (b"[task]\na = 1\na = 2\n", r"job\.toml: "),
        (b"\xff\xfe", "is not UTF-8 text"),
    ],
)
def test_a_file_that_cannot_be_read_says_why(tmp_path: Path, content: bytes, message: str) -> None:
    """Broken TOML and what is not UTF-8 text are told with the file, and the line where there is one."""
    path = tmp_path / "job.toml"
    path.write_bytes(content)
    with pytest.raises(JobError, match=message):
        read_job_file(path)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    """A file that is not there, and a folder, are told by name."""
    for path in (tmp_path / "nowhere.toml", tmp_path):
        with pytest.raises(JobError, match="cannot be read"):
            read_job_file(path)


def test_an_empty_file_is_a_job_without_settings(tmp_path: Path) -> None:
    """Nothing is read from an empty file; what is missing is told when the job is resolved."""
    path = tmp_path / "job.toml"
    path.write_text("")
    assert read_job_file(path).table("task") == {}


def test_tables_of_a_program() -> None:
    """A program's own mapping is copied, and its values are told as the job's."""
    values = {"task": {"disks": 3}}
    raw = Raw(values, base=Path(), shown="the job")
    raw.take_overrides(["task.disks=4"])
    assert values == {"task": {"disks": 3}}
    assert raw.place("task", "disks") == "command line"
    assert raw.place("run") == "the job"
