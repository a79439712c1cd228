"""Ray against the local swarm: steps a second of the same run with a simulated model.

    python -m benchmarks.speed.swarms [--steps 100000] [--rounds 3]

The two take turns. The speed is that between the first and the last commit, so that Ray's start does not count.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time

import maker
from benchmarks.shared.comparing import Goal, number, print_goals, table
from benchmarks.shared.options import make_parser, read_options
from maker.lifecycle.events import Event, StepsDecided

KINDS = ("local", "ray")


def main() -> int:
    """Measure both, print medians and their ratio."""
    parser = make_parser(__doc__)
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--chains", type=int, default=1, help="chains of the run: 1, or a power of two")
    parser.add_argument("--rounds", type=int, default=3)
    options = read_options(parser, steps=10_000, rounds=1)
    found: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for _ in range(options.rounds):
        for kind in KINDS:
            found[kind].append(speed(kind, options.steps, options.chains))
            print(f"{kind}: {found[kind][-1]:,.0f} steps/s", file=sys.stderr)
    local, ray = (statistics.median(found[kind]) for kind in KINDS)
    table("steps a second (medians)", ("swarm", "steps/s"), [("local", number(local)), ("ray", number(ray))])
    print_goals([Goal("local / ray", 1.3, local / ray, "x", least=False)], options)
    return 0


def speed(kind: str, steps: int, chains: int) -> float:
    """Run so many steps; returns the steps a second between the first and the last commit."""
    commits: list[tuple[float, int]] = []

    def note(event: Event) -> None:
        if isinstance(event, StepsDecided):
            commits.append((time.perf_counter(), event.steps))

    shape = {"disks": 24} if chains == 1 else {"disks": 24, "form": "tree", "segment": 24 - chains.bit_length() + 1}
    with tempfile.TemporaryDirectory() as folder:
        maker.run(
            {
                "task": {"decomposer": "hanoi", **shape},
                "model": {"kind": "simulated", "p": 0.99},
                "vote": {"k": 3},
                "swarm": {"kind": kind, "chains": chains},
                "store": {"url": f"sqlite:///{folder}/swarms.db"},
            },
            limit_steps=steps,
            on_event=note,
        )
    (began, _), (ended, _) = commits[0], commits[-1]
    return sum(count for _, count in commits[1:]) / (ended - began)


if __name__ == "__main__":
    sys.exit(main())
