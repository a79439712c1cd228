"""The million-step run: 20 disks of the Towers of Hanoi with the real microagent, and the same with one vote a step.

    python -m benchmarks.tasks.million chain        # every step waits for the one before: two hours on two cores
    python -m benchmarks.tasks.million tree         # 1,024 segments at a time ("segments given"): half an hour

Starts the run, or goes on with it where it was cut off; then verifies its log, plays its moves by the rules of the game
alone, runs the first 20,000 steps of the same job with ``vote.k=1`` and finds the move where that goes wrong: the
shortest solution is the only one of its length, so a run of as many moves cannot make a wrong one good. Prints a
section for RESULTS.md.
"""

from __future__ import annotations

import argparse
import json
import platform
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.shared.checkout import EXAMPLES, ROOT, environment
from benchmarks.shared.options import make_parser, read_options

MAKER = [sys.executable, "-m", "maker"]
FIRST_SAMPLES = """
    SELECT count(*) FROM maker_sample s JOIN maker_step t ON t.chain = s.chain AND t.idx = s.idx AND t.epoch = s.epoch
    WHERE s.vote = 0 AND (s.candidate IS NULL OR s.candidate <> t.action)
"""
"""Steps whose first sample was flagged or voted for another move than the one that won."""
UNVOTED_STEPS = 20_000
REAL = ["model.compile=true"]
SIMULATED = ["model.kind=simulated", "model.p=0.9"]
"""Settings of the model; a smoke run takes the second ones."""


def main() -> int:
    """Do all of it; 0 if the voted run is right and the unvoted one is wrong."""
    parser = make_parser(__doc__)
    parser.add_argument("form", choices=["chain", "tree"], nargs="?", default="chain")
    parser.add_argument("--disks", type=int, default=20)
    parser.add_argument("--k", type=int, default=4)
    parser.add_argument("--folder", type=Path, default=ROOT, help="where the databases are kept (%(default)s)")
    options = read_options(parser, disks=5, folder=None)
    with TemporaryDirectory() as name:
        options.folder = options.folder or Path(name)
        return compared(options)


def compared(options: argparse.Namespace) -> int:
    """Make both runs and print the section; returns the exit code."""
    shape = [f"task.disks={options.disks}"]
    shape += ["task.form=tree", "swarm.chains=64"] if options.form == "tree" else []
    shape += SIMULATED if options.smoke else REAL
    voted = worked(options.folder / f"million-{options.form}.db", [*shape, f"vote.k={options.k}"])
    problem = checked(voted["store"], options.disks)
    k1 = options.folder / f"million-{options.form}-k1.db"
    # One segment after the other: the moves that are made are then the first ones.
    unvoted = worked(k1, [*shape, "vote.k=1", "swarm.chains=1", "--limit-steps", str(UNVOTED_STEPS)])
    wrong = first_wrong(unvoted["store"], options.disks)
    print("\n".join(section(options, voted, unvoted, problem, wrong)))
    good = voted["status"] == "done" and not problem and wrong is not None
    return 0 if good or options.smoke else 1


def worked(database: Path, words: Sequence[str]) -> dict[str, Any]:
    """Run a job to its end, or go on with it; returns how it stands."""
    store = f"sqlite:///{database}"
    if not database.exists():
        words = ["run", str(EXAMPLES / "hanoi.toml"), "swarm.kind=local", *words]
        subprocess.run([*MAKER, *words, "--store", store], env=environment(), check=False)
    elif show(store)["status"] == "paused" and "--limit-steps" not in words:
        subprocess.run([*MAKER, "resume", "last", "--store", store], env=environment(), check=False)
    shown = show(store)
    # A segment that does not meet the next one lets the run pause: that is how a tree goes wrong.
    if shown["status"] not in ("done", "failed") and not any(end in shown["reason"] for end in ("join of", "as asked")):
        sys.exit(f"the run is {shown['status']}: {shown['reason']}")
    return shown


def show(store: str) -> dict[str, Any]:
    """Return how the newest run of a store stands."""
    report: dict[str, Any] = json.loads(told("show", "last", "--json", "--store", store).stdout)
    return report | {"store": store}


def told(*words: str) -> subprocess.CompletedProcess[bytes]:
    """Run a maker command; returns what it printed, and how it ended."""
    return subprocess.run([*MAKER, *words], env=environment(), stdout=subprocess.PIPE, check=False)


def checked(store: str, disks: int) -> str:
    """Verify a log, and play its moves by rules that share no code with maker; returns "" or what is wrong."""
    verified = told("verify", "last", "--store", store)
    if verified.returncode:
        return verified.stdout.decode().strip()
    with steps_of(store) as steps:
        check = [sys.executable, str(EXAMPLES / "check_hanoi.py"), str(disks)]
        played = subprocess.run(check, stdin=steps.stdout, stdout=subprocess.PIPE, check=False)
    return "" if played.returncode == 0 else played.stdout.decode().strip()


def steps_of(store: str) -> subprocess.Popen[bytes]:
    """Start the command that prints every step of the newest run of a store."""
    words = ["steps", "last", "--json", "--store", store]
    return subprocess.Popen([*MAKER, *words], env=environment(), stdout=subprocess.PIPE)


def first_wrong(store: str, disks: int) -> int | None:
    """Return the first move (from 0) that is not the shortest solution's, None if there is none."""
    with steps_of(store) as steps:
        assert steps.stdout is not None  # noqa: S101 - it is a pipe
        found = None
        for number, (line, (source, target)) in enumerate(zip(steps.stdout, solution(disks), strict=False)):
            action = json.loads(line)["action"]
            if found is None and (action["from"], action["to"]) != (source, target):
                found = number
    return found


def solution(disks: int) -> Iterator[tuple[int, int]]:
    """Yield the shortest solution's moves as pegs, in closed form: move t, from t & (t-1) to (t | (t-1)) + 1, mod 3.

    That leads an odd tower to peg 2 and an even one to peg 1, whose names are then exchanged.
    """
    names = (0, 1, 2) if disks % 2 else (0, 2, 1)
    for move in range(1, 2**disks):
        yield names[(move & (move - 1)) % 3], names[((move | (move - 1)) + 1) % 3]


def section(
    options: argparse.Namespace, voted: dict[str, Any], unvoted: dict[str, Any], problem: str, wrong: int | None
) -> list[str]:
    """Return a section for RESULTS.md."""
    form = "every step waits for the one before" if options.form == "chain" else "segments given"
    rows: list[tuple[str, ...]] = [("", f"k = {options.k}", "k = 1"), ("---", "---", "---")]
    for name in ("status", "steps", "votes", "disputed", "red_flags", "calls", "prompt_tokens", "completion_tokens"):
        rows.append((name.replace("_", " "), *(_number(run[name]) for run in (voted, unvoted))))
    rows.append(("first samples that were wrong or flagged", _number(first_errors(voted)), "not known: not voted on"))
    rows.append(("wall time", *(f"{run['wall_s'] / 60:.1f} min" for run in (voted, unvoted))))
    rows.append(("resumes", *(str(run["resumes"]) for run in (voted, unvoted))))
    rows.append(("final digest", *(run["digest"] for run in (voted, unvoted))))
    told = "verifies; every move legal, tower on the last peg" if not problem else f"**{problem}**"
    rows.append(("check", told, "right throughout" if wrong is None else f"goes wrong at move {wrong:,} (from 0)"))
    head = f"### {options.disks} disks, form = {options.form} ({form}), {datetime.now(UTC):%Y-%m-%d}"
    return [head, "", hardware(), "", *(f"| {' | '.join(row)} |" for row in rows), ""]


def first_errors(run: dict[str, Any]) -> int:
    """Count the steps whose first sample would have been wrong."""
    with sqlite3.connect(run["store"].removeprefix("sqlite:///")) as connection:
        count: int = connection.execute(FIRST_SAMPLES).fetchone()[0]
    return count


def hardware() -> str:
    """Say what this machine is."""
    cpus = Path("/proc/cpuinfo").read_text().split("model name\t: ") if Path("/proc/cpuinfo").exists() else [""]
    name = cpus[1].splitlines()[0] if len(cpus) > 1 else platform.processor()
    return f"{max(1, len(cpus) - 1)} cores of {name}, Python {platform.python_version()}, no GPU."


def _number(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


if __name__ == "__main__":
    sys.exit(main())
