"""What the live monitor costs, in two ways, with the modes of `speed/engine.py`.

- Its share of a run: the processor's time within `VoteMonitor.note`, over that of the whole process, within one run;
  both wait for the same machine, so that this holds on a busy one too. What the counts cost the database is not in it.
- Pairs: ``maker run`` with ``monitor.policy = "warn"`` against ``"off"``, watched first in every other round: medians
  of what the two differ by, and each round. Everything is in it; on a busy machine noise is larger than the cost.

    python -m benchmarks.speed.monitor_cost [--steps 100000] [--rounds 5] [--chains 1000]
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.shared.comparing import Goal, median, number, print_goals, table
from benchmarks.shared.driving import Mode, Ran, drive, modes, prepare
from benchmarks.shared.options import make_parser, read_options
from maker import api
from maker.store.entry import Entry
from maker.store.vote_monitor import Noted, VoteMonitor

MOST = 3.0
"""Per cent of the engine's throughput that the monitor may take."""


class Clock:
    """Adds up the processor's time that the monitors of this process take, in ``took_s``."""

    def __init__(self) -> None:
        self.took_s = 0.0
        note = VoteMonitor.note

        def clocked(monitor: VoteMonitor, entries: Sequence[Entry]) -> Noted:
            began = time.thread_time()
            try:
                return note(monitor, entries)
            finally:
                self.took_s += time.thread_time() - began

        VoteMonitor.note = clocked  # type: ignore[assignment, method-assign]


def share(clock: Clock, mode: Mode, steps: int, folder: Path) -> float:
    """Run a mode in this process; return the per cent of the processor's time that the monitor took."""
    with tempfile.TemporaryDirectory(dir=folder, prefix="maker-") as name:
        work = prepare(mode, steps, Path(name))
        clock.took_s = 0.0
        began = time.process_time()
        api.run(work.job, [f"store.url=sqlite:///{name}/maker.db"], limit_steps=work.limit_steps)
        return 100 * clock.took_s / (time.process_time() - began)


Pair = tuple[Ran, Ran]
"""The same work, not watched and watched."""


def pair(mode: Mode, steps: int, folder: Path, *, watched_first: bool) -> Pair:
    """Run a mode both ways, one after the other."""
    policies = ("warn", "off") if watched_first else ("off", "warn")
    ran = {policy: drive(mode._replace(policy=policy), steps, folder) for policy in policies}
    return ran["off"], ran["warn"]


def more(pairs: list[Pair], *, by_cpu: bool) -> list[float]:
    """Return by how many per cent a step takes longer where it is watched, for each pair."""
    if by_cpu:
        return [(on.cpu_us / off.cpu_us - 1) * 100 for off, on in pairs if off.cpu_us and on.cpu_us]
    return [(off.speed / on.speed - 1) * 100 for off, on in pairs]


def main() -> int:
    """Measure and print."""
    parser = make_parser(__doc__)
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--strict-steps", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--chains", type=int, default=1000)
    parser.add_argument("--no-pairs", action="store_true", help="only the monitor's share of a run")
    parser.add_argument("--folder", type=Path)
    options = read_options(parser, steps=500, strict_steps=100, rounds=1, chains=10)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    clock = Clock()
    wanted = [mode for mode in modes(options.chains) if mode.samples == "disputed"]
    found: dict[str, list[Pair]] = {mode.name: [] for mode in wanted}
    shares: dict[str, list[float]] = {mode.name: [] for mode in wanted}
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="maker-bench-") as name:
        for turn in range(options.rounds):
            for mode in wanted:
                print(f"… {mode.name}, round {turn + 1}", file=sys.stderr, flush=True)
                steps = options.strict_steps if mode.durability == "strict" else options.steps
                shares[mode.name].append(share(clock, mode, steps, Path(name)))
                if options.no_pairs:
                    continue
                found[mode.name].append(pair(mode, steps, Path(name), watched_first=bool(turn % 2)))
    print(f"medians of {options.rounds} round(s), load {os.getloadavg()[0]:.1f}")
    told = [Goal(name, MOST, median(each), " %", least=False) for name, each in shares.items()]
    print_goals(told, options, title="the monitor's share of the processor's time")
    for name, each in shares.items():
        print(f"  {name}: {', '.join(f'{one:.2f}' for one in sorted(each))} % in each round")
    if options.no_pairs:
        return 0
    rows, goals = [], []
    for mode_name, pairs in found.items():
        off, on = ([one[side] for one in pairs] for side in (0, 1))
        figures = [median([ran.cpu_us for ran in side]) for side in (off, on)]
        figures += [median([ran.speed for ran in side]) for side in (off, on)]
        spread = ", ".join(f"{one:+.1f}" for one in sorted(more(pairs, by_cpu=True)))
        rows.append((mode_name, *map(number, figures), spread))
        for what, by_cpu in (("processor", True), ("time", False)):
            most = median(more(pairs, by_cpu=by_cpu))
            goals.append(Goal(f"{mode_name}, {what} a step", MOST, most, " %", least=False))
    table("off, and watched", ("", "cpu us off", "watched", "steps/s off", "watched", "% more cpu, each round"), rows)
    print_goals(goals, options, title="more for being watched")
    return 0


if __name__ == "__main__":
    sys.exit(main())
