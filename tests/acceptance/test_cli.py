"""The command line in processes of its own: what it prints, where, and with what exit code."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from processes import Commands

ROOT = Path(__file__).parents[2]
MANY = Path(__file__).parent / "tasks" / "many.py"
HANOI = """
[run]
name = "towers"
[task]
decomposer = "hanoi"
disks = 6
[model]
kind = "simulated"
p = 0.9
[vote]
k = 4
"""
SLOW = """
[task]
decomposer = "hanoi"
disks = 8
[model]
kind = "simulated"
p = 0.95
latency_s = 0.01
"""
SHOWN = {"run_id", "status", "steps", "votes", "red_flags", "calls", "prompt_tokens", "completion_tokens", "wall_s",
         "resumes", "digest", "result"}  # fmt: skip
STEP = {"chain", "step", "class", "action", "votes", "flags", "rounds", "margin", "epoch", "superseded"}
DISKS = 6
MOVES = 2**DISKS - 1


FRESH = [
    "", "--help", "--version", "plugins", "plugins --json", "ls", "ls --json", "show last", "show last --json",
    "steps last", "steps last --json", "verify last", "verify last --json", "export last", "watch last",
    "watch last --json", "run job.toml --print-config", "try job.toml", "resume last", "show nosuch",
    "run nosuch.toml", "nosuch", "retry last", "results last", "audit last", "rescore last vote.k=2",
    "fork nosuch --at 1", "cancel nosuch", "prune nosuch", "db upgrade",
]  # fmt: skip


@pytest.fixture
def hanoi(maker: Commands) -> Commands:
    """Return a folder with a job that is solved in a moment."""
    maker.write("job.toml", HANOI)
    return maker


@pytest.fixture
def solved(hanoi: Commands) -> Commands:
    """Return a folder with a run that is done."""
    hanoi.good("run", "job.toml")
    return hanoi


@pytest.mark.parametrize("words", FRESH)
def test_a_fresh_process_says_the_same(solved: Commands, words: str) -> None:
    """What a command says does not hang on what was imported before: most tests run it where maker is imported."""
    begun, fresh = solved.run(*words.split()), solved.run(*words.split(), fresh=True)
    assert (fresh.returncode, fresh.stdout, fresh.stderr) == (begun.returncode, begun.stdout, begun.stderr)
    assert fresh.stdout + fresh.stderr


def test_a_run_says_what_it_came_to(hanoi: Commands) -> None:
    """`run` prints status, counts, digest, result and the next command to standard output; no traces of a terminal."""
    done = hanoi.run("run", "job.toml", fresh=True)
    run_id = hanoi.json("show", "last")["run_id"]
    assert done.returncode == 0
    assert done.stdout.startswith(f"run {run_id} is done\n  {MOVES} steps, ")
    assert hanoi.json("show", "last")["digest"] in done.stdout
    assert f"maker verify {run_id}" in done.stdout
    assert done.stderr == f"run {run_id} started\n"
    assert "\x1b" not in done.stdout + done.stderr


def test_a_run_as_json(hanoi: Commands) -> None:
    """`run --json` prints the report, one line of it, and what `show --json` says is the same."""
    report = hanoi.json("run", "job.toml")
    assert set(report) >= SHOWN
    shown = hanoi.json("show", "last")
    assert {name: shown[name] for name in report} == report


def test_show(solved: Commands) -> None:
    """`show --json` holds every documented key, with the figures of the run."""
    shown = solved.json("show", "last")
    assert set(shown) >= SHOWN
    assert (shown["status"], shown["steps"], shown["resumes"]) == ("done", MOVES, 0)
    assert shown["votes"] + shown["red_flags"] == shown["calls"]
    assert shown["result"] == {"moves": MOVES, "pegs": "C" * DISKS}
    assert re.fullmatch("[0-9a-f]{32}", shown["digest"])
    assert shown["name"] == "towers"
    text = solved.good("show", "last")
    for part in (shown["run_id"], "(towers): done", "disks = 6", f"{MOVES} steps", shown["digest"], "disputed steps:"):
        assert part in text


def test_steps(solved: Commands) -> None:
    """`steps --json` prints a line a step with every documented key; its counts are those of `show`."""
    lines = [json.loads(line) for line in solved.good("steps", "last", "--json").splitlines()]
    shown = solved.json("show", "last")
    assert all(set(line) == STEP for line in lines)
    assert [line["step"] for line in lines] == list(range(MOVES))
    assert set(lines[0]["action"]) == {"disk", "from", "to"}
    assert sum(sum(line["votes"].values()) for line in lines) == shown["votes"]
    assert sum(sum(line["flags"].values()) for line in lines) == shown["red_flags"]
    for line in lines:
        votes = sorted(line["votes"].values(), reverse=True)
        assert line["margin"] == votes[0] - sum(votes[1:2]) == 4
    assert len(solved.good("steps", "last").splitlines()) == MOVES
    disputed = [json.loads(line) for line in solved.good("steps", "last", "--disputed", "--json").splitlines()]
    assert disputed == [line for line in lines if len(line["votes"]) > 1]
    assert len(disputed) == shown["disputed"] > 0


def test_the_steps_solve_the_task(solved: Commands) -> None:
    """The printed moves, played by the rules on three pegs, bring the tower over."""
    pegs: list[list[int]] = [list(range(DISKS, 0, -1)), [], []]
    for line in solved.good("steps", "last", "--json").splitlines():
        move = json.loads(line)["action"]
        assert pegs[move["from"]].pop() == move["disk"]
        assert not pegs[move["to"]] or pegs[move["to"]][-1] > move["disk"]
        pegs[move["to"]].append(move["disk"])
    assert pegs == [[], [], list(range(DISKS, 0, -1))]


def test_verify(solved: Commands) -> None:
    """`verify` exits 0 for a whole, clean, right log, and says what it counted."""
    shown = solved.json("show", "last")
    assert f"{MOVES} steps re-applied, digest {shown['digest']}" in solved.good("verify", "last")
    found = solved.json("verify", "last")
    assert found == {
        "run_id": shown["run_id"], "steps": MOVES, "digest": shown["digest"], "whole": True, "problem": "",
        "right": True, "not_asked": 0, "reviewed": 0,
    }  # fmt: skip


def test_a_run_that_ends_wrong_fails(hanoi: Commands) -> None:
    """Without votes the job goes wrong: exit 1, `failed`, and no verification."""
    done = hanoi.run("run", "job.toml", "vote.k=1", "task.disks=8")
    assert done.returncode == 1
    assert "is failed: after 255 moves" in done.stdout
    assert hanoi.json("show", "last")["status"] == "failed"
    assert hanoi.run("verify", "last").returncode == 1


def test_ls(solved: Commands) -> None:
    """`ls` lists the newest run first; its ids are whole, so that they can be copied, however narrow the output is."""
    first = solved.json("show", "last")["run_id"]
    solved.good("run", "job.toml", "run.name=again")
    second = solved.json("show", "last")["run_id"]
    listed = [json.loads(line) for line in solved.good("ls", "--json").splitlines()]
    assert [run["run_id"] for run in listed] == [second, first]
    assert all(set(run) >= SHOWN for run in listed)
    lines = solved.good("ls").splitlines()
    assert [line.split()[0] for line in lines] == ["run", second, first]


def test_a_run_is_named_by_its_beginning(solved: Commands) -> None:
    """A run's id, its unique beginning and `last` name the same run."""
    run_id = solved.json("show", "last")["run_id"]
    assert solved.json("show", run_id) == solved.json("show", run_id[:-2]) == solved.json("show", "last")


def test_plugins(maker: Commands) -> None:
    """`plugins` lists decomposers and voters with file and distribution."""
    found = [json.loads(line) for line in maker.good("plugins", "--json").splitlines()]
    assert all(set(plugin) == {"kind", "name", "file", "distribution"} for plugin in found)
    names = {(plugin["kind"], plugin["name"]) for plugin in found}
    assert names >= {("decomposer", "hanoi"), ("voter", "first-to-ahead-by-k"), ("voter", "first-to-k")}
    assert names >= {("voter", "majority")}
    assert all(Path(plugin["file"]).is_file() for plugin in found)
    assert all(plugin["distribution"].startswith("maker-executor ") for plugin in found)
    text = maker.good("plugins")
    assert all(plugin["name"] in text and plugin["file"] in text for plugin in found)


def test_print_config(hanoi: Commands) -> None:
    """`--print-config` prints every value with its origin: file and line, variable, command line or default."""
    words = ["run", "job.toml", "vote.k=5", "--print-config"]
    done = hanoi.run(*words, "--json", env={"MAKER_MODEL_P": "0.8", "MAKER_STORE": "sqlite:///other.db"})
    config = json.loads(done.stdout)
    expected = {
        "task.disks": (6, "job.toml:6"),
        "model.p": (0.8, "environment MAKER_MODEL_P"),
        "vote.k": (5, "command line"),
        "vote.max_votes": (100, "default"),
        "store.url": ("sqlite:///other.db", "environment MAKER_STORE"),
        "run.name": ("towers", "job.toml:3"),
    }
    assert {name: (config[name]["value"], config[name]["origin"]) for name in expected} == expected
    assert config["swarm.kind"]["value"] == "local"
    lines = hanoi.good(*words).splitlines()
    assert ["task.disks", "6", "job.toml:6"] in [line.split() for line in lines]
    assert [path.name for path in hanoi.folder.iterdir()] == ["job.toml"]


def test_try(hanoi: Commands) -> None:
    """`try` prints prompts, samples, votes, flags and tallies of the first steps, and stores nothing."""
    text = hanoi.good("try", "job.toml", "-n", "3", "model.malformed=0.3")
    assert len(re.findall(r"── step \d · move", text)) == 3
    assert len(re.findall(r"^  prompt   ", text, re.MULTILINE)) == 3
    samples = re.findall(r"^  sample \d+ ", text, re.MULTILINE)
    votes = re.findall(r"^ +vote for ", text, re.MULTILINE)
    flags = re.findall(r"^ +red flag, (length|format)", text, re.MULTILINE)
    assert len(samples) == len(votes) + len(flags)
    assert len(votes) >= 12
    assert flags
    assert len(re.findall(r"^  decided  {", text, re.MULTILINE)) == 3
    assert len(re.findall(r"^  tally    \d votes, against: ", text, re.MULTILINE)) == 3
    assert [path.name for path in hanoi.folder.iterdir()] == ["job.toml"]


def test_try_says_where_no_vote_could_settle_a_step(hanoi: Commands) -> None:
    """`try` exits 1 at a step that stays undecided, and shows why."""
    done = hanoi.run("try", "job.toml", "model.malformed=1", "vote.max_votes=8")
    assert done.returncode == 1
    assert "UNDECIDED max_votes = 8" in done.stdout


def test_limit_steps_and_resume(hanoi: Commands) -> None:
    """A run broken off by --limit-steps and resumed, twice, is the run that nobody broke off."""
    hanoi.good("run", "job.toml")
    whole, steps = hanoi.json("show", "last"), hanoi.good("steps", "last", "--json")
    done = hanoi.run("run", "job.toml", "--limit-steps", "10")
    assert done.returncode == 5
    assert "is paused: reached the limit of 10 steps" in done.stdout
    assert "maker resume" in done.stdout
    assert hanoi.run("verify", "last").returncode == 1
    assert hanoi.run("resume", "last", "--limit-steps", "20").returncode == 5
    assert hanoi.json("show", "last")["steps"] == 30
    hanoi.good("resume", "last")
    again = hanoi.json("show", "last")
    same = ("status", "steps", "votes", "red_flags", "calls", "requests", "digest", "result")
    assert {name: again[name] for name in same} == {name: whole[name] for name in same}
    assert again["resumes"] == 2
    assert hanoi.good("steps", "last", "--json") == steps


def test_a_stuck_run_pauses_and_says_where(hanoi: Commands) -> None:
    """A step that no vote settles pauses the run: exit 6, with the step, its class and the votes."""
    done = hanoi.run("run", "job.toml", "model.p=0.5", "vote.max_votes=6")
    assert done.returncode == 6
    assert re.search(r"is paused: step \d+ \(move\) is undecided: max_votes = 6: \d for ", done.stdout)


def test_limits_are_kept(hanoi: Commands) -> None:
    """A run stops before it would pass its limit: exit 4; with a higher one it goes on to the same end."""
    hanoi.good("run", "job.toml")
    whole = hanoi.json("show", "last")
    done = hanoi.run("run", "job.toml", "limits.max_calls=200")
    assert done.returncode == 4
    assert "limit max_calls = 200" in done.stdout
    assert 150 < hanoi.json("show", "last")["calls"] <= 200
    hanoi.good("resume", "last", "limits.max_calls=100000")
    assert hanoi.json("show", "last")["digest"] == whole["digest"]


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM], ids=lambda sign: sign.name)
def test_an_interrupted_run_is_paused(maker: Commands, sign: signal.Signals) -> None:
    """Ctrl-C and SIGTERM: exit 130 within seconds, paused with what was decided; a resume ends as if undisturbed."""
    maker.write("job.toml", SLOW)
    maker.good("run", "job.toml", "model.latency_s=0")
    digest = maker.json("show", "last")["digest"]
    maker.forget()
    process = maker.start("run", "job.toml")
    maker.wait_for(20, process)
    began = time.monotonic()
    process.send_signal(sign)
    assert process.wait(timeout=30) == 130, maker.output()
    assert time.monotonic() - began < 5
    assert "Traceback" not in maker.output()
    shown = maker.json("show", "last")
    assert (shown["status"], shown["reason"]) == ("paused", "interrupted")
    assert f"maker resume {shown['run_id']}" in maker.output()
    assert 20 <= shown["steps"] < 255
    assert not maker.left()
    maker.good("resume", "last", "model.latency_s=0")
    assert maker.json("show", "last")["digest"] == digest
    maker.good("verify", "last")


def test_interrupted_while_it_starts(maker: Commands) -> None:
    """Ctrl-C at any moment of the start: exit 130 or death by the signal, no database that the next run cannot use."""
    maker.write("job.toml", SLOW)
    for moment in (0.1, 0.3, 0.5, 0.7, 0.9):
        process = maker.start("run", "job.toml")
        time.sleep(moment)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) in (130, -signal.SIGTERM), maker.output()
    maker.good("run", "job.toml", "model.latency_s=0")
    maker.good("verify", "last")


def test_a_dead_process_does_not_hold_its_run(maker: Commands) -> None:
    """After kill -9 the next process takes the run over at once, without waiting for the lease to run out."""
    maker.write("job.toml", SLOW)
    process = maker.start("run", "job.toml")
    maker.wait_for(10, process)
    process.kill()
    process.wait()
    shown = maker.json("show", "last")
    assert shown["status"] == "paused"
    assert "its process is gone" in shown["reason"]
    began = time.monotonic()
    maker.good("resume", "last", "model.latency_s=0")
    assert time.monotonic() - began < 10
    maker.good("verify", "last")


@pytest.mark.slow
def test_plain_lines_where_there_is_no_terminal(maker: Commands) -> None:
    """A long run prints a plain line of progress now and then, without control characters."""
    maker.write("job.toml", SLOW)
    done = maker.run("run", "job.toml", "model.latency_s=0.04")
    assert done.returncode == 0
    assert "\x1b" not in done.stdout + done.stderr
    assert "\r" not in done.stdout + done.stderr
    progress = [line for line in done.stderr.splitlines() if "steps/s" in line]
    assert progress, done.stderr
    form = r"\d+ of 255 steps, \d+ steps/s, [\d.]+ votes a step, \d+ flags, \d+ disputed, \d+:\d\d left"
    assert all(re.fullmatch(form, line) for line in progress), progress


def test_a_live_display_on_a_terminal(maker: Commands) -> None:
    """On a terminal the display is alive: drawn in place several times a second, and gone at the end."""
    maker.write("job.toml", SLOW)
    ours, theirs = pty.openpty()
    env = {name: value for name, value in maker.env.items() if name not in ("NO_COLOR", "CI")}
    maker.env = env | {"TERM": "xterm-256color", "COLUMNS": "150", "LINES": "40"}
    process = maker.start("run", "job.toml", stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    shown = read_terminal(ours, process)
    assert process.wait(timeout=60) == 0
    draws = re.findall(r"(\d+) of 255 steps, [\d,]+ steps/s, [\d.]+ votes a step, \d+ flags, \d+ disputed", shown)
    assert len(set(draws)) >= 3, shown[-2000:]
    assert "\x1b[2K" in shown
    assert "left" in shown
    assert "is done" in shown.rpartition("\x1b[2K")[2]


def read_terminal(terminal: int, process: subprocess.Popen[str]) -> str:
    """Return all that a process writes to its terminal until it ends."""
    parts = []
    while True:
        ready, _, _ = select.select([terminal], [], [], 1.0)
        try:
            part = os.read(terminal, 65536) if ready else b""
        except OSError:
            # The other end is closed: Linux says so with an input/output error.
            break
        if not part and process.poll() is not None:
            break
        parts.append(part)
    os.close(terminal)
    return b"".join(parts).decode(errors="replace")


@pytest.mark.parametrize(
    "words", ["steps last --json", "steps last", "ls", "show last", "run job.toml", "try job.toml"]
)
def test_a_closed_pipe_is_no_crash(solved: Commands, words: str) -> None:
    """Output cut off by `head` ends a command without a traceback."""
    command = f"{shlex.quote(sys.executable)} -m maker {words} 2>errors.txt | head -1"
    done = subprocess.run(
        ["sh", "-c", command], cwd=solved.folder, env=solved.env, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.count("\n") == 1
    errors = (solved.folder / "errors.txt").read_text()
    assert "Traceback" not in errors
    assert "BrokenPipe" not in errors


def test_a_pipe_that_closes_in_the_middle_is_no_crash(maker: Commands) -> None:
    """A reader that stops long before the last of many lines ends `steps` without a traceback."""
    maker.write("job.toml", HANOI)
    maker.good("run", "job.toml", "task.disks=12")
    test_a_closed_pipe_is_no_crash(maker, "steps last --json")


def test_another_store(hanoi: Commands) -> None:
    """--store, MAKER_STORE and [store] say where runs are kept, relative to the working directory."""
    (hanoi.folder / "jobs").mkdir()
    hanoi.write("jobs/job.toml", HANOI)
    hanoi.good("run", "jobs/job.toml", "--store", "sqlite:///a.db")
    assert hanoi.run("run", "jobs/job.toml", env={"MAKER_STORE": "sqlite:///b.db"}).returncode == 0
    hanoi.write("jobs/job.toml", HANOI + '[store]\nurl = "sqlite:///c.db"\n')
    hanoi.good("run", "jobs/job.toml")
    for name in "abc":
        assert (hanoi.folder / f"{name}.db").is_file()
        hanoi.good("verify", "last", "--store", f"sqlite:///{name}.db")
    assert hanoi.run("show", "last", env={"MAKER_STORE": "sqlite:///b.db"}).returncode == 0
    assert not hanoi.database.exists()


def test_paths_in_a_job_file_are_relative_to_it(maker: Commands) -> None:
    """A file plugin named in a job file is looked for beside it; one on the command line, in the working directory."""
    (maker.folder / "jobs").mkdir()
    shutil.copy(MANY, maker.folder / "jobs" / "many.py")
    job = '[task]\ndecomposer = "many.py:Many"\nsteps = 5\n[model]\nkind = "simulated"\n[vote]\nk = 1\n'
    maker.write("jobs/job.toml", job)
    maker.good("run", "jobs/job.toml")
    words = ("task.decomposer=jobs/many.py:Many", "task.steps=5")
    maker.good("run", "jobs/job.toml", *words)
    assert maker.run("run", "jobs/job.toml", "task.decomposer=other.py:Many", "task.steps=5").returncode == 2
    maker.good("verify", "last")


def test_help_and_version(maker: Commands) -> None:
    """`--help` names every command; `--version` prints the version; nothing at all prints the help."""
    text = maker.good("--help")
    for command in ("run", "resume", "try", "ls", "show", "steps", "verify", "plugins", "doctor"):
        assert re.search(rf"^ *{command} +\w", text, re.MULTILINE), command
    assert re.fullmatch(r"\d+\.\d+\.\d+\S*\n", maker.good("--version"))
    nothing = maker.run()
    assert "Usage" in nothing.stdout + nothing.stderr


def test_verbose_logs_events(hanoi: Commands) -> None:
    """`-v` logs the run's events to standard error, each with the run's id."""
    done = hanoi.run("-v", "run", "job.toml")
    run_id = hanoi.json("show", "last")["run_id"]
    for event in ("run_started", "run_ended"):
        assert re.search(rf"{event}.*{run_id}", done.stderr), done.stderr


def test_doctor(maker: Commands) -> None:
    """`doctor --json` prints a finding a line, each with a state and what to do."""
    found = [json.loads(line) for line in maker.run("doctor", "--json", fresh=True).stdout.splitlines()]
    assert {finding["what"] for finding in found} >= {"python", "ray", "vllm", "decomposers", "voters", "store", "disk"}
    assert {finding["state"] for finding in found} <= {"ok", "missing", "broken"}
    assert all(finding["fix"] for finding in found if finding["state"] != "ok")


def test_own_tasks_run(examples: Commands) -> None:
    """Every job of examples/own_task runs from a copy and verifies."""
    jobs = sorted((examples.folder / "examples" / "own_task").glob("*.toml"))
    assert jobs
    for job in jobs:
        examples.good("run", str(job.relative_to(examples.folder)))
        examples.good("verify", "last")
