"""What the live monitor costs: the engine with ``monitor.policy = "warn"`` against ``"off"``, in pairs, in turns.

maker is driven as in `engine.py`. Each round runs every mode twice, watched first in every other round; the table has
medians over the rounds of what the two of a pair differ by: the processor's time a step, which hardly depends on what
else the machine does, and steps a second, which do.

    python benchmarks/monitor_cost.py [--steps 100000] [--rounds 5] [--chains 1000]
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from pathlib import Path

from comparing import Goal, median, number, table
from driving import Mode, Ran, drive, modes

MOST = 3.0
"""Per cent of the engine's throughput that the monitor may take."""

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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--strict-steps", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--chains", type=int, default=1000)
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    wanted = [mode for mode in modes(options.chains) if mode.samples == "disputed"]
    found: dict[str, list[Pair]] = {mode.name: [] for mode in wanted}
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="maker-bench-") as name:
        for turn in range(options.rounds):
            for mode in wanted:
                print(f"… {mode.name}, round {turn + 1}", file=sys.stderr, flush=True)
                steps = options.strict_steps if mode.durability == "strict" else options.steps
                found[mode.name].append(pair(mode, steps, Path(name), watched_first=bool(turn % 2)))
    print(f"medians of {options.rounds} round(s)")
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
    table("more for being watched", ("", "goal", "measured", ""), [goal.row() for goal in goals])
    return 0


if __name__ == "__main__":
    sys.exit(main())
