"""Bad input: a clear message that names the thing, exit code 2, no traceback, and nothing created, changed or lost."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import socket
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from processes import Commands

from maker.testing import FakeServer, chat_completion

JOB = """[task]
decomposer = "hanoi"
disks = 4
[model]
kind = "simulated"
p = 0.95
[vote]
voter = "first-to-ahead-by-k"
k = 3
[swarm]
kind = "local"
"""
MANY = Path(__file__).parent / "tasks" / "many.py"
VLLM = 'kind = "vllm"\npath = '
YES = """
from decomposers.function import Done, ask, task


@task(state=int, action=bool)
def yes(state: int):
    return Done("yes") if state == 3 else ask("Is this the question? ")


@yes.start
def _start() -> int:
    return 0


@yes.apply
def _apply(state: int, action: bool) -> int:
    return state + 1
"""


class Bad(NamedTuple):
    """A line of the job file, what it is replaced by, and what the message must say."""

    line: str
    by: str
    says: tuple[str, ...]


BAD = {
    "unknown decomposer": Bad('decomposer = "hanoi"', 'decomposer = "hanio"', ("decomposer 'hanio'", "'hanoi'")),
    "decomposer unlike any": Bad(
        'decomposer = "hanoi"', 'decomposer = "xyz"', ("decomposer 'xyz'", "known: ", "hanoi, map")
    ),
    "no decomposer": Bad('decomposer = "hanoi"', "", ("task.decomposer is missing", "job.toml:1")),
    "no such file plugin": Bad('decomposer = "hanoi"', 'decomposer = "mine.py:Mine"', ("mine.py", "start from")),
    "no such module": Bad('decomposer = "hanoi"', 'decomposer = "nowhere.at_all:Mine"', ("'nowhere.at_all'",)),
    "unknown voter": Bad('voter = "first-to-ahead-by-k"', 'voter = "ahead-by-k"', ("'ahead-by-k'", "'first-to-ahead")),
    "unknown model kind": Bad('kind = "simulated"', 'kind = "simulate"', ("'simulate'", "'simulated'", "job.toml:5")),
    "no model kind": Bad('kind = "simulated"', "", ("model.kind is missing", "simulated, vllm, openai")),
    "unknown swarm kind": Bad('kind = "local"', 'kind = "locla"', ("'locla'", "'local' or 'ray'", "job.toml:11")),
    "unknown table": Bad("[swarm]", "[swarms]", ("[swarms]", "'swarm'", "job.toml:10")),
    "unknown parameter": Bad("disks = 4", "disk = 4", ("task.disk", "'disks'", "job.toml:3")),
    "unknown voter parameter": Bad("k = 3", "kk = 3", ("vote.kk", "'k'", "job.toml:9")),
    "unknown model parameter": Bad("p = 0.95", "pp = 0.95", ("model.pp", "'p'", "job.toml:6")),
    "missing parameter": Bad("disks = 4", "", ("task.disks is missing", "task takes: disks", "job.toml:1")),
    "missing model parameter": Bad(
        'kind = "simulated"\np = 0.95', 'kind = "vllm"', ("model.path is missing", "toml:4")
    ),
    "disks 0": Bad("disks = 4", "disks = 0", ("task.disks = 0", "greater than or equal to 1", "job.toml:3")),
    "disks -1": Bad("disks = 4", "disks = -1", ("task.disks = -1", "greater than or equal to 1", "job.toml:3")),
    "disks 65": Bad("disks = 4", "disks = 65", ("task.disks = 65", "less than or equal to 64", "job.toml:3")),
    'disks "ten"': Bad("disks = 4", 'disks = "ten"', ("task.disks = 'ten'", "valid integer", "job.toml:3")),
    "k 0": Bad("k = 3", "k = 0", ("vote.k = 0", "greater than or equal to 1", "job.toml:9")),
    "p 2": Bad("p = 0.95", "p = 2", ("model.p = 2", "less than or equal to 1", "job.toml:6")),
    "no TOML": Bad("disks = 4", "disks = four", ("job.toml", "line 3")),
    "no model folder": Bad('kind = "simulated"\np = 0.95', f'{VLLM}"nowhere"', ("model.path", "nowhere")),
    "empty model folder": Bad('kind = "simulated"\np = 0.95', f'{VLLM}"empty"', ("empty", "config.json")),
    "model folder without weights": Bad('kind = "simulated"\np = 0.95', f'{VLLM}"half"', ("half", "weights")),
    "no folder for the store": Bad("[swarm]", '[store]\nurl = "sqlite:///no/such.db"\n[swarm]', ("such.db", "folder")),
    "no URL of a store": Bad("[swarm]", '[store]\nurl = "such.db"\n[swarm]', ("store.url", "sqlite:///maker.db")),
}


def told(done: subprocess.CompletedProcess[str], *says: str) -> None:
    """See that a command refused its input in words."""
    assert done.returncode == 2, (done.returncode, done.stdout, done.stderr)
    assert "Traceback" not in done.stdout + done.stderr
    for words in says:
        assert words in done.stderr, f"{words!r} is not in {done.stderr!r}"


def content(folder: Path) -> dict[str, bytes]:
    """Return every file under a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
def test_a_bad_job_is_refused(maker: Commands, bad: Bad) -> None:
    """A wrong line of a job file is named with what would be right; no database is made."""
    (maker.folder / "empty").mkdir()
    (maker.folder / "half").mkdir()
    maker.write("half/config.json", "{}")
    assert bad.line in JOB
    maker.write("job.toml", JOB.replace(bad.line, bad.by))
    before = content(maker.folder)
    told(maker.run("run", "job.toml"), *bad.says)
    assert content(maker.folder) == before


def test_a_bad_job_leaves_a_database_as_it_was(maker: Commands) -> None:
    """A refused job changes nothing in a database that is there."""
    maker.write("job.toml", JOB)
    maker.good("run", "job.toml")
    before = content(maker.folder)
    told(maker.run("run", "job.toml", "task.disks=65"), "command line: task.disks = 65")
    assert content(maker.folder) == before


def test_a_bad_value_names_its_variable(maker: Commands) -> None:
    """A wrong value out of the environment is told with its variable; the command line wins over it."""
    maker.write("job.toml", JOB)
    told(maker.run("run", "job.toml", env={"MAKER_TASK_DISKS": "65"}), "environment MAKER_TASK_DISKS", "65")
    assert maker.run("run", "job.toml", "task.disks=3", env={"MAKER_TASK_DISKS": "65"}).returncode == 0


def test_a_missing_job_file_is_refused(maker: Commands) -> None:
    """A job file that is not there is named."""
    told(maker.run("run", "no.toml"), "no.toml", "No such file")
    assert not content(maker.folder)


def test_a_word_that_is_no_override_is_refused(maker: Commands) -> None:
    """An override without a table or without a value is shown with what one looks like."""
    maker.write("job.toml", JOB)
    for word in ("disks=3", "task.disks", "=3"):
        told(maker.run("run", "job.toml", word), repr(word), "table.key=value")


Script = Callable[[Any], tuple[Any, ...]]
SERVERS: dict[str, tuple[Script, tuple[str, ...]]] = {
    "401": (lambda body: (401, {"error": {"message": "no such key"}}), ("401", "no such key", "key_env")),
    "404": (lambda body: (404, {"error": {"message": "no model"}}), ("404", "no model")),
    "500": (lambda body: (500, {"error": {"message": "out of order"}}), ("500", "out of order")),
    "no choices": (lambda body: (200, {"choices": []}), ("200", "choices")),
    "no JSON": (lambda body: (200, "<html>hello</html>"), ("200", "hello")),
    "silent": (lambda body: (200, "", 0.0, {}, -1), ("3 tries", "disconnected")),
    "another model": (
        lambda body: (200, chat_completion(["true"] * body.get("n", 1)) | {"model": "x"}),
        ("model 'x'", "reply_name = 'x'"),
    ),
    "prompt too long": (
        lambda body: (400, {"error": {"message": "maximum context length is 8192 tokens, your messages have 9000"}}),
        ("step 0", "8192 tokens", "9000"),
    ),
}


@pytest.fixture
def asks_yes(maker: Commands) -> Commands:
    """Write a job that asks a server three times whether this is the question."""
    maker.write("yes.py", YES)
    maker.write("job.toml", '[task]\ndecomposer = "yes.py:yes"\n[model]\nkind = "openai"\nname = "m"\n[vote]\nk = 2\n')
    return maker


@pytest.mark.parametrize("fault", SERVERS)
def test_a_server_that_never_works_is_told(asks_yes: Commands, fault: str) -> None:
    """A server that answers only errors: exit 2 with its address and words; the run goes on once it is mended."""
    script, says = SERVERS[fault]
    mended = False
    with FakeServer(
        lambda body: (200, chat_completion(["true"] * body.get("n", 1))) if mended else script(body)
    ) as server:
        done = asks_yes.run("run", "job.toml", f"model.url={server.url}")
        told(done, server.url, *says)
        assert asks_yes.json("show", "last")["status"] == "paused"
        mended = True
        asks_yes.good("resume", "last")
    asks_yes.good("verify", "last")


def test_a_server_that_refuses_is_told(asks_yes: Commands) -> None:
    """Nobody listens at the address: exit 2 within seconds, with the address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{probe.getsockname()[1]}/v1"
        began = time.monotonic()
        told(asks_yes.run("run", "job.toml", f"model.url={url}"), url, "model.retry_s")
        assert time.monotonic() - began < 15


def test_a_missing_key_is_told(asks_yes: Commands) -> None:
    """The variable that should hold the key is not set: it is named."""
    url = "model.url=http://127.0.0.1:9/v1"
    told(asks_yes.run("run", "job.toml", url, "model.key_env=NO_SUCH_KEY"), "NO_SUCH_KEY", "not set")


def without_override() -> None:
    """Take root's right to write where nobody may write from the process that is about to start."""
    if os.geteuid() == 0:
        for capability in (1, 2):
            assert ctypes.CDLL(None, use_errno=True).prctl(24, capability, 0, 0, 0) == 0, ctypes.get_errno()


@pytest.fixture
def locked(maker: Commands) -> Iterator[Callable[[], None]]:
    """Return a function that makes the folder and its files read-only; undone after the test."""

    def lock() -> None:
        for path in maker.folder.iterdir():
            path.chmod(0o444)
        maker.folder.chmod(0o555)

    yield lock
    maker.folder.chmod(0o755)


def test_a_read_only_database_is_told(maker: Commands, locked: Callable[[], None]) -> None:
    """A database that takes no writes: exit 2 names it, says what to do, and it stays as it was."""
    maker.write("job.toml", JOB)
    maker.good("run", "job.toml")
    locked()
    before = content(maker.folder)
    done = maker.run("run", "job.toml", preexec_fn=without_override)
    told(done, "maker.db", "writable")
    assert content(maker.folder) == before


def test_a_folder_that_takes_no_database_is_told(maker: Commands, locked: Callable[[], None]) -> None:
    """No database is there and none can be made: exit 2 names it."""
    maker.write("job.toml", JOB)
    locked()
    told(maker.run("run", "job.toml", preexec_fn=without_override), "maker.db", "cannot be opened", "writable")


COMMANDS = [("run", "job.toml"), ("resume", "last"), ("ls",), ("show", "last"), ("steps", "last"), ("verify", "last")]


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: words[0])
def test_a_file_that_is_no_database_is_told(maker: Commands, words: tuple[str, ...]) -> None:
    """A file of something else: every command says so and leaves it as it was."""
    maker.write("job.toml", JOB)
    maker.database.write_text("This is no database, but a letter to a friend.\n" * 100)
    before = content(maker.folder)
    told(maker.run(*words), "maker.db", "not a SQLite database")
    assert content(maker.folder) == before


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: words[0])
def test_a_newer_schema_is_told(maker: Commands, words: tuple[str, ...]) -> None:
    """A database that a newer maker wrote: every command names both schemas and leaves it as it was."""
    maker.write("job.toml", JOB)
    maker.good("run", "job.toml")
    connection = sqlite3.connect(maker.database)
    with connection:
        connection.execute("UPDATE maker_schema_version SET version_num = '9999'")
    connection.close()
    before = content(maker.folder)
    told(maker.run(*words), "schema 9999", "upgrade maker")
    assert content(maker.folder) == before


@pytest.mark.parametrize("words", [words for words in COMMANDS if words[0] != "run"], ids=lambda words: words[0])
def test_a_missing_database_is_told(maker: Commands, words: tuple[str, ...]) -> None:
    """No database: whatever reads one says how to name another, and makes none."""
    told(maker.run(*words), "maker.db", "--store", "MAKER_STORE")
    assert not content(maker.folder)


@pytest.mark.parametrize("command", ["resume", "show", "steps", "verify"])
def test_a_missing_run_is_told(maker: Commands, command: str) -> None:
    """A run that does not exist is named, and the database stays as it was."""
    maker.write("job.toml", JOB)
    maker.good("run", "job.toml")
    before = content(maker.folder)
    told(maker.run(command, "20200101-000000-abcdef"), "20200101-000000-abcdef", "maker ls")
    assert content(maker.folder) == before


def test_a_run_that_is_over_is_not_resumed(maker: Commands) -> None:
    """Resuming what is done, or failed, is refused and changes nothing."""
    maker.write("job.toml", JOB)
    maker.good("run", "job.toml")
    before = content(maker.folder)
    told(maker.run("resume", "last"), "is done", "cannot be resumed")
    assert content(maker.folder) == before
    assert maker.run("run", "job.toml", "model.p=0").returncode == 1
    told(maker.run("resume", "last"), "is failed", "cannot be resumed")


CHANGES = {
    "task.disks=5": ("disks was 4, is 5",),
    "run.seed=7": ("seed was 0, is 7",),
    "vote.k=2": ("k was 3, is 2",),
    "vote.voter=first-to-k": ("voter was 'first-to-ahead-by-k', is 'first-to-k'",),
    "model.p=0.9": ("p was 0.95, is 0.9",),
}


def test_another_task_does_not_go_on_with_a_run(maker: Commands) -> None:
    """Resuming with another task, seed, voter or model is refused with the difference; the run stays as it was."""
    maker.write("job.toml", JOB)
    assert maker.run("run", "job.toml", "--limit-steps", "5").returncode == 5
    before = content(maker.folder)
    for word, says in CHANGES.items():
        told(maker.run("resume", "last", word), "another task", *says)
        assert content(maker.folder) == before
    maker.good("resume", "last")


def test_changed_code_does_not_go_on_with_a_run(maker: Commands) -> None:
    """Resuming after the file plugin was edited is refused; with the old code back it goes on."""
    source = MANY.read_text()
    maker.write("many.py", source)
    maker.write("job.toml", JOB.replace('"hanoi"\ndisks = 4', '"many.py:Many"\nsteps = 40').replace("k = 3", "k = 1"))
    assert maker.run("run", "job.toml", "--limit-steps", "5").returncode == 5
    before = maker.database.read_bytes()
    maker.write("many.py", source + "\n# edited\n")
    told(maker.run("resume", "last"), "another task", "decomposer_source")
    (maker.folder / "many.py").unlink()
    told(maker.run("resume", "last"), "many.py", "no file")
    assert maker.database.read_bytes() == before
    maker.write("many.py", source)
    maker.good("resume", "last")
    maker.good("verify", "last")


def test_two_processes_do_not_work_on_one_run(maker: Commands) -> None:
    """The second process on a run is refused with the name of the first; the first goes on undisturbed."""
    maker.write("job.toml", JOB.replace("p = 0.95", "p = 1\nlatency_s = 0.2"))
    first = maker.start("run", "job.toml")
    maker.wait_for(1, first)
    told(maker.run("resume", "last"), "is working on run", f"process {first.pid}", socket.gethostname())
    assert first.wait(timeout=60) == 0, maker.output()
    assert maker.json("show", "last")["resumes"] == 0
    maker.good("verify", "last")


def full_disk() -> None:
    """Let no file of the process that is about to start grow beyond 600 kB: what a full disk does to a database."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (600_000, 600_000))


def test_a_full_disk_pauses_a_run(maker: Commands) -> None:
    """The disk fills up while a run writes: exit 7 with what to do; committed steps stay, and a resume goes on."""
    task = f"'{MANY}:Many'\nsteps = 8000"
    maker.write("job.toml", JOB.replace('"hanoi"\ndisks = 4', task).replace("k = 3", "k = 1"))
    maker.good("run", "job.toml")
    undisturbed = maker.json("show", "last")
    maker.forget()
    done = maker.run("run", "job.toml", preexec_fn=full_disk)
    assert done.returncode == 7, (done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    assert "maker.db" in done.stderr
    assert "disk" in done.stderr
    assert "maker resume" in done.stderr
    shown = maker.json("show", "last")
    print(f"{shown['steps']} of {undisturbed['steps']} steps were committed")
    assert shown["status"] == "paused"
    assert 0 < shown["steps"] < undisturbed["steps"]
    assert "steps verify" in maker.run("verify", "last").stdout
    maker.good("resume", "last")
    maker.good("verify", "last")
    same = ("steps", "votes", "red_flags", "disputed", "digest", "result")
    finished = maker.json("show", "last")
    assert {name: finished[name] for name in same} == {name: undisturbed[name] for name in same}
