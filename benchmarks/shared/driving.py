"""Runs maker in one mode, and says how it did."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import NamedTuple

from benchmarks.shared.checkout import TOWERS
from benchmarks.shared.watching import Pace, Refused, Watched, pace, watch
from benchmarks.shared.yardsticks.database import folded_bytes

DISKS = 20
JOB = """\
[task]
{task}
[model]
kind = "simulated"
p = 0.99
[vote]
k = 3
[swarm]
kind = "local"
{swarm}
[monitor]
policy = "{policy}"
[store]
durability = "{durability}"
samples = "{samples}"
"""
EARLY = (10_000, 20_000)
"""The early part, which the last tenth is compared with; of a run below 10^5 steps, its second tenth."""
LONG = 1_000_000
"""How many steps the goals of a long run speak of; they are judged at no fewer."""


class Mode(NamedTuple):
    """One way to run maker."""

    name: str
    durability: str
    samples: str
    chains: int
    policy: str = "warn"


class Work(NamedTuple):
    """A job file, how many steps it takes, and the limit that says so, None where it ends by itself."""

    job: Path
    steps: int
    limit_steps: int | None


class Ran(NamedTuple):
    """How a run of maker did.

    ``early`` and ``last`` are the paces of parts of it, ``grown_mb`` what its memory grew by after the first 100,000
    steps; None where the run was too short for it.
    """

    steps: int
    speed: float
    whole_speed: float
    cpu_us: float | None
    per_commit: float
    bytes_step: float
    peak_mb: float
    early: Pace | None
    last: Pace | None
    grown_mb: float | None

    @property
    def last_to_early(self) -> float | None:
        """The speed of the last part over that of the early one."""
        return self.last.speed / self.early.speed if self.last and self.early else None

    @property
    def cpu_last_to_early(self) -> float | None:
        """The same by the time of a processor that a step takes, whatever else the machine does."""
        return self.early.cpu_us / self.last.cpu_us if self.last and self.early and self.last.cpu_us else None


def modes(chains: int) -> list[Mode]:
    """Return every way that is measured."""
    many = f"{chains:,} chains"
    return [
        Mode("group, 1 chain", "group", "disputed", 1),
        Mode("group, all votes stored, 1 chain", "group", "all", 1),
        Mode(f"group, {many}", "group", "disputed", chains),
        Mode("strict, 1 chain", "strict", "disputed", 1),
        Mode(f"strict, {many}", "strict", "disputed", chains),
    ]


def drive(mode: Mode, steps: int, folder: Path) -> Ran:
    """Run maker in one mode: one chain of Hanoi that stops after ``steps``, or a fork into chains that end by then.

    Raises `Refused` where the command line does not take the mode, or the run stops before.
    """
    with tempfile.TemporaryDirectory(dir=folder, prefix="maker-") as name:
        home = Path(name)
        work = prepare(mode, steps, home)
        limit = [] if work.limit_steps is None else ["--limit-steps", str(work.limit_steps)]
        watched = watch("run", work.job.name, *limit, folder=home)
        return _ran(watched, work.steps, folded_bytes(home / "maker.db"))


def prepare(mode: Mode, steps: int, home: Path) -> Work:
    """Write the job of a mode into a folder."""
    limit: int | None = None
    if mode.chains == 1:
        task, swarm, limit = f'decomposer = "hanoi"\ndisks = {DISKS}', "", steps
    else:
        moves = max(1, steps // mode.chains)
        task = f'decomposer = "{TOWERS}"\nchains = {mode.chains}\nmoves = {moves}'
        swarm, steps = f"chains = {mode.chains}", moves * mode.chains
    job = home / "job.toml"
    job.write_text(JOB.format(task=task, swarm=swarm, **mode._asdict()))
    return Work(job, steps, limit)


def _ran(watched: Watched, asked: int, size: int) -> Ran:
    report, seen = watched.report, watched.seen
    steps: int = report["steps"]
    if steps < asked:
        raise Refused(f"{steps:,} of {asked:,} steps, then {report['status']}: {report['reason']}")
    first, last = seen[0], seen[-1]
    early = EARLY if steps >= 10 * EARLY[0] else (steps // 10, steps // 5)
    later = [at.rss_mb for at in seen if at.steps >= LONG // 10]
    return Ran(
        steps=steps,
        speed=steps / report["wall_s"],
        whole_speed=steps / watched.command_s,
        cpu_us=whole.cpu_us if (whole := pace(seen, 0, steps)) else None,
        per_commit=(last.steps - first.steps) / max(1, last.commits - first.commits),
        bytes_step=size / steps,
        peak_mb=watched.peak_mb,
        early=pace(seen, *early),
        last=pace(seen, steps - steps // 10, steps),
        grown_mb=max(later) - later[0] if len(later) > 1 and later[0] else None,
    )
