"""Steps a second of the whole engine, against a bare loop, LangGraph and DBOS in the same run.

maker is driven as its users drive it: ``maker run`` in a process of its own, with a simulated model that is right
with p = 0.99, first-to-ahead-by-3, the local swarm and a SQLite store. So everything is in the figures but a model:
seeds, elections, checks, digests, journal, ledger, snapshots, progress. The yardsticks hold the same kind of election
in a few lines of plain Python and store the winner, each in a process of its own, so that engines are compared:

- a bare loop: SQLAlchemy's executemany into one SQLite table, once with as many steps a transaction as maker was seen
  to commit, once with a commit a step;
- LangGraph: a StateGraph that loops over one node, with SqliteSaver and ``durability="sync"``;
- DBOS: a workflow of durable steps with a SQLite system database, as it is by itself and with write-ahead logging.

Every line says with which journal and which ``synchronous`` it ran. ``strict`` commits each step before the next one
starts; it is compared with LangGraph and DBOS at the same journal and ``synchronous = FULL``. Steps a second depend on
what else the machine does; the processor's time a step hardly does, and is shown beside them.

    python -m benchmarks.speed.engine [--steps 100000] [--rounds 1] [--chains 1000]

LangGraph and DBOS come with the extra ``bench``; without them the rest is measured.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TypeVar

from benchmarks.shared.comparing import Goal, flush_s, median, number, print_goals, table
from benchmarks.shared.driving import LONG, Ran, drive, modes
from benchmarks.shared.options import make_parser, read_options
from benchmarks.shared.watching import Refused
from benchmarks.shared.yardsticks.outcome import Outcome
from benchmarks.shared.yardsticks.running import Missing, run

BARE, EACH, GRAPH, DBOS, DBOS_WAL = "bare loop", "bare loop, a commit a step", "LangGraph", "DBOS", "DBOS, WAL"
FLOORS = {BARE: 20_000.0, EACH: 500.0, GRAPH: 200.0, DBOS: 60.0, DBOS_WAL: 120.0}
"""Steps a second that a yardstick must reach: about a quarter of what it does on two modest cores of a shared machine
with an SSD. Below that something else holds it back (a throttled processor, a network disk), and a ratio against it
would flatter maker."""
LEAST_FLUSH_S = 20e-6
"""No disk flushes a page in less: a faster one is memory, and there a commit costs nothing that durability costs."""
HEADS = ("steps", "steps/s", "cpu us", "steps a commit", "bytes a step", "peak MB", "last/early")
"""``cpu us`` is what a step takes of a processor: where it is far below the time of a step, the machine was busy or the
disk slow. ``last/early`` is the speed of the last tenth over that of an early part."""

Round = dict[str, Ran | Outcome]
T = TypeVar("T", Ran, Outcome)


def one_round(options: argparse.Namespace, folder: Path, told: dict[str, str]) -> Round:
    """Run everything once; ``told`` takes in what did not run, and why, and is not tried again."""
    results: Round = {}
    for mode in modes(options.chains):
        if _wanted(mode.name, options, told):
            steps = options.strict_steps if mode.durability == "strict" else options.steps
            try:
                results[mode.name] = drive(mode, steps, folder)
            except Refused as refused:
                told[mode.name] = str(refused)
    ours = results.get("group, 1 chain")
    group = max(1, round(ours.per_commit)) if isinstance(ours, Ran) else 1000
    for name, module, words in _yardsticks(options, group):
        if _wanted(name, options, told):
            try:
                results |= _measured(name, module, words, options, folder)
            except (Missing, RuntimeError) as missing:
                told[name] = str(missing)
    return results


def _yardsticks(options: argparse.Namespace, group: int) -> Iterator[tuple[str, str, list[str]]]:
    few = ["--steps", str(options.yardstick_steps)]
    yield BARE, "bare", ["--steps", str(options.steps), "--group", str(group)]
    yield EACH, "bare", [*few, "--group", "1"]
    yield GRAPH, "langgraph_loop", few
    yield DBOS, "dbos_loop", few
    yield DBOS_WAL, "dbos_loop", [*few, "--journal", "wal"]


def _measured(name: str, module: str, words: list[str], options: argparse.Namespace, folder: Path) -> Round:
    """Run a yardstick, and once more with ``synchronous = FULL`` where its own is less."""
    own = run(name, module, *words, folder=folder, cut_off_s=options.cut_off)
    if own.synchronous not in ("OFF", "NORMAL"):
        return {name: own}
    full = f"{name}, FULL"
    words = [*words, "--synchronous", "FULL"]
    return {name: own, full: run(full, module, *words, folder=folder, cut_off_s=options.cut_off)}


def _wanted(name: str, options: argparse.Namespace, told: dict[str, str]) -> bool:
    """Say whether a line is to be measured, and announce it."""
    if name in told or (options.only and not any(name.startswith(word) for word in options.only)):
        return False
    print(f"… {name}", file=sys.stderr, flush=True)
    return True


def print_ours(rounds: Sequence[Round], told: dict[str, str], options: argparse.Namespace) -> None:
    """Print maker's table: medians over the rounds."""
    heads = ("maker", HEADS[0], HEADS[1], "with start", *HEADS[2:])
    fields = ("steps", "speed", "whole_speed", "cpu_us", "per_commit", "bytes_step", "peak_mb", "last_to_early")
    rows = []
    for mode in modes(options.chains):
        found = _of(rounds, mode.name, Ran)
        if found:
            figures = [median([getattr(ran, field) for ran in found]) for field in fields]
            rows.append((mode.name, *map(number, figures)))
    if rows:
        table("maker run, SQLite, journal wal, synchronous FULL", heads, rows)
    for mode in modes(options.chains):
        if mode.name in told:
            print(f"  {mode.name}: did not run: {told[mode.name]}")


def print_yardsticks(rounds: Sequence[Round], told: dict[str, str]) -> None:
    """Print the yardsticks' table: medians over the rounds."""
    heads = ("yardstick", "journal", "synchronous", *HEADS)
    rows = []
    for name in dict.fromkeys(name for each in rounds for name in each):
        found = _of(rounds, name, Outcome)
        if found:
            fields = ("steps", "speed", "cpu_us", "per_commit", "bytes_step", "peak_mb", "last_to_early")
            figures = [median([getattr(one, field) for one in found]) for field in fields]
            rows.append((name, found[0].journal or "?", found[0].synchronous or "?", *map(number, figures)))
    if rows:
        table("yardsticks", heads, rows)
    for one in (one for each in rounds for one in each.values() if isinstance(one, Outcome) and one.note):
        print(f"  {one.name}: {one.note}")
    for name in (BARE, EACH, GRAPH, DBOS, DBOS_WAL):
        if name in told:
            print(f"  {name}: did not run: {told[name]}")


def goals(rounds: Sequence[Round], options: argparse.Namespace) -> list[Goal]:
    """Return each goal beside what was measured."""
    one, many, strict = "group, 1 chain", f"group, {options.chains:,} chains", "strict, 1 chain"
    ones = _of(rounds, one, Ran)
    paces, grown = median([ran.last_to_early for ran in ones]), median([ran.grown_mb for ran in ones])
    cpu = median([ran.cpu_last_to_early for ran in ones])
    long = f"it takes --steps {LONG}" if options.steps < LONG else ""
    return [
        Goal("group, 1 chain, steps/s", 25_000, _speed(rounds, one)),
        Goal(f"{many}, steps/s", 25_000, _speed(rounds, many)),
        Goal("group, 1 chain / bare loop", None, _ratio(rounds, one, BARE), "x"),
        Goal("group, 1 chain / LangGraph sync", 20, _ratio(rounds, one, GRAPH), "x"),
        Goal("the same by processor time a step", None, _ratio(rounds, one, GRAPH, by_cpu=True), "x"),
        Goal("group, 1 chain / DBOS", 40, _ratio(rounds, one, DBOS), "x"),
        Goal("the same by processor time a step", None, _ratio(rounds, one, DBOS, by_cpu=True), "x"),
        Goal("strict, 1 chain / bare loop, a commit a step", None, _ratio(rounds, strict, EACH), "x"),
        Goal("strict / LangGraph, equal flushes", 1, _ratio(rounds, strict, _full(rounds, GRAPH)), "x"),
        Goal("strict / DBOS, equal flushes", 1, _ratio(rounds, strict, _full(rounds, DBOS_WAL)), "x"),
        Goal("speed, last tenth / steps 10,000 to 20,000", 0.9, None if long else paces, why=long),
        Goal("the same by processor time a step", None, None if long else cpu),
        Goal("memory grows after 100,000 steps by", 50, None if long else grown, " MB", least=False, why=long),
        Goal("bytes a step, database and log", 100, median([ran.bytes_step for ran in ones]), least=False),
    ]


def _of(rounds: Sequence[Round], name: str, kind: type[T]) -> list[T]:
    return [found for each in rounds if isinstance(found := each.get(name), kind)]


def _full(rounds: Sequence[Round], name: str) -> str:
    """Return the yardstick's line with ``synchronous = FULL``: one of its own where its default is less."""
    return own if any((own := f"{name}, FULL") in each for each in rounds) else name


def _speed(rounds: Sequence[Round], name: str) -> float | None:
    return median([found.speed if (found := each.get(name)) else None for each in rounds])


def _ratio(rounds: Sequence[Round], ours: str, theirs: str, *, by_cpu: bool = False) -> float | None:
    pairs = [(each[ours], each[theirs]) for each in rounds if ours in each and theirs in each]
    if by_cpu:
        return median([other.cpu_us / mine.cpu_us if mine.cpu_us and other.cpu_us else None for mine, other in pairs])
    return median([mine.speed / other.speed if other.speed else None for mine, other in pairs])


def proves_nothing(rounds: Sequence[Round], flush: float) -> list[str]:
    """Return why this run proves nothing; empty where it does prove something."""
    slow = [(name, found, floor) for name, floor in FLOORS.items()
            if (found := _speed(rounds, name)) is not None and found < floor]  # fmt: skip
    why = [f"{name} reached {found:,.0f} steps/s, and below {floor:,.0f} something else held it back"
           for name, found, floor in slow]  # fmt: skip
    if flush < LEAST_FLUSH_S:
        why.append(f"a flush took {flush * 1e6:.0f} us: this folder is no disk; name another one with --folder")
    return why


def versions() -> str:
    """Return the versions of what is compared."""
    found = []
    for name in ("maker-executor", "sqlalchemy", "langgraph", "langgraph-checkpoint-sqlite", "dbos"):
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            found.append(f"{name} is not installed")
    return ", ".join(found)


def read_command_line() -> argparse.Namespace:
    """Return what the command line asks for."""
    parser = make_parser(__doc__)
    parser.add_argument(
        "--steps", type=int, default=100_000, help="steps of each run in group durability, 10^4 to 10^6"
    )
    parser.add_argument("--strict-steps", type=int, default=10_000, help="steps of each run in strict durability")
    parser.add_argument("--yardstick-steps", type=int, default=10_000, help="steps of each yardstick that commits each")
    parser.add_argument("--chains", type=int, default=1000, help="chains in the modes with many")
    parser.add_argument(
        "--rounds", type=int, default=1, help="how often everything is run, in turns; medians are shown"
    )
    parser.add_argument(
        "--cut-off", type=float, default=120.0, metavar="S", help="seconds after which a yardstick is cut off"
    )
    parser.add_argument(
        "--only", nargs="+", metavar="NAME", help="only lines whose names begin so, as in: group LangGraph"
    )
    parser.add_argument("--folder", type=Path, help="where the databases go; the system's temporary folder by default")
    return read_options(parser, steps=500, strict_steps=100, yardstick_steps=100, chains=10)


def main() -> int:
    """Measure and print; returns the exit code."""
    options = read_command_line()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    rounds: list[Round] = []
    told: dict[str, str] = {}
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="maker-bench-") as name:
        flush = flush_s(Path(name))
        for _ in range(options.rounds):
            rounds.append(one_round(options, Path(name), told))
    print(versions())
    print(f"medians of {options.rounds} round(s); writing and flushing a page takes {flush * 1e6:.0f} us here")
    print_ours(rounds, told, options)
    print_yardsticks(rounds, told)
    print_goals(goals(rounds, options), options)
    why = [] if options.smoke else proves_nothing(rounds, flush)
    for reason in why:
        print(f"\nthis run proves nothing: {reason}")
    return 1 if why else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
