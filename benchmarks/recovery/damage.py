"""Resumes of runs whose stored rows were changed at random: refused, or as if nothing had happened.

Runs of several kinds are paused half-way. Of each copy one row is deleted, changed, doubled or swapped with another, in
any table and column that a resume reads, and the copy is resumed. Either the resume is refused before it has written
anything, or the run ends as the undisturbed one does.

    python -m benchmarks.recovery.damage [--changes 300] [--seed 0]
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sqlite3
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import maker
from benchmarks.shared.options import make_parser, read_options
from benchmarks.shared.watching import exit_with
from maker.errors import MakerError, RunDamaged, RunNotResumable
from maker.plugin import Truth
from maker.store.backend import schema

HANGS_S = 30.0
SAME = ("status", "steps", "decided_votes", "decided_flags", "disputed", "digest", "result")
TABLES = [table for table in schema.metadata.sorted_tables if table.name != "maker_calibration"]
ROWS = 24
DIGITS = str.maketrans("0123456789", "1234567890")


class Half(NamedTuple):
    """A run that is paused half-way, and what it comes to undisturbed; of some of these only the result is certain."""

    name: str
    path: Path
    run_id: str
    ends: dict[str, Any]
    certain: tuple[str, ...]


class Change(NamedTuple):
    """A change to a stored row, in words, and what the resume came to: ``refused``, ``same``, or what went wrong."""

    what: str
    came_to: str

    @property
    def wrong(self) -> bool:
        """Whether it was a third thing."""
        return self.came_to not in ("refused", "same")


def truth(prompt: str) -> Truth:
    """Return what is right of a row of the map."""
    number = int(prompt.rsplit(maxsplit=1)[-1])
    return Truth((f"n{number % 3}",), (f"n{(number + 1) % 3}", f"n{(number + 2) % 3}"))


def jobs(folder: Path) -> dict[str, tuple[dict[str, Any], int]]:
    """Return the jobs by name, with the steps to be decided before the pause."""
    (folder / "rows.jsonl").write_text("".join(f'{{"n": {number}}}\n' for number in range(ROWS)))
    model = {"kind": "simulated", "p": 0.75, "malformed": 0.05, "rivals": 2}
    tree = {"decomposer": "benchmarks.shared.tasks.trees:Tree", "shape": 41, "length": 9, "depth": 2, "width": 4}
    rows = {
        "decomposer": "map", "input": str(folder / "rows.jsonl"), "template": "Which is {{n}}",
        "truth": "benchmarks.recovery.damage:truth", "output": "",
    }  # fmt: skip
    made: dict[str, tuple[dict[str, Any], int]] = {
        "chain": ({"task": {"decomposer": "hanoi", "disks": 6, "form": "chain"}, "vote": {"k": 7}}, 37),
        "hanoi": ({"task": {"decomposer": "hanoi", "disks": 6, "form": "tree"}, "vote": {"k": 7}}, 31),
        "tree": ({"task": tree, "vote": {"k": 3, "max_votes": 4}}, 40),
        "map": ({"task": rows, "vote": {"k": 2, "max_votes": 4}}, 13),
        "memo": ({"task": tree | {"repeat": 12, "memo": "run"}, "vote": {"k": 6, "max_votes": 8}}, 40),
    }
    for job, _ in made.values():
        job |= {"model": model, "store": {"samples": "all"}, "swarm": {"chains": 4}, "monitor": {"policy": "warn"}}
    return made


@contextmanager
def many_snapshots() -> Iterator[None]:
    """Let a snapshot be taken at every tenth step, so that short chains have some."""
    with patch("maker.voting.chain.SNAPSHOT_STEPS", 10), patch("maker.verification.replay.SNAPSHOT_STEPS", 10):
        yield


def halves(folder: Path) -> list[Half]:
    """Return paused runs of every kind; some of their steps were undecided and are decided again."""
    found = []
    for name, (job, steps) in jobs(folder).items():
        path = folder / f"{name}.db"
        stored = job | {"store": job["store"] | {"url": f"sqlite:///{path}"}}
        ended = _paused(stored, steps)
        whole = folder / f"{name}-whole.db"
        shutil.copy(path, whole)
        done = maker.resume(ended.run_id, store=f"sqlite:///{whole}")
        if done.status != "done":
            raise RuntimeError(f"{name} does not end: {done.reason}")
        certain = ("status", "steps", "result") if name == "memo" else SAME
        found.append(Half(name, path, ended.run_id, {each: getattr(done, each) for each in certain}, certain))
    return found


def _paused(job: dict[str, Any], steps: int) -> Any:
    """Run a job to a pause, past a step that was undecided and was cut, where there is one."""
    url = job["store"]["url"]
    ended = maker.run(job, limit_steps=steps)
    stop = threading.Event()
    stop.set()
    with suppress(RunNotResumable):
        maker.retry(ended.run_id, store=url, stop=stop)
    ended = maker.resume(ended.run_id, ["vote.max_votes=200"], store=url, limit_steps=5)
    if "limit of" not in ended.reason:
        raise RuntimeError(f"the run is not paused half-way: {ended.reason}")
    return ended


def damaged(half: Half, folder: Path, seed: str) -> Change:
    """Change a copy of a paused run at random, and resume it."""
    path = folder / "damaged.db"
    shutil.copy(half.path, path)
    what = change(path, random.Random(seed))
    before = _content(path)
    url = f"sqlite:///{path}"
    stop = threading.Event()
    timer = threading.Timer(HANGS_S, stop.set)
    timer.start()
    try:
        report = maker.resume(half.run_id, store=url, stop=stop)
    except RunDamaged:
        return Change(what, "refused" if _content(path) == before else "refused after it had written")
    except MakerError as error:
        told = "refused" if _content(path) == before else f"after it had written: {type(error).__name__}: {error}"
        return Change(what, told)
    except Exception as error:  # noqa: BLE001 - that is what is looked for
        return Change(what, f"{type(error).__name__}: {error}")
    finally:
        timer.cancel()
    found = {each: getattr(report, each) for each in half.certain}
    other = {each: (found[each], half.ends[each]) for each in half.certain if found[each] != half.ends[each]}
    return Change(what, f"another log: {other} {report.reason}" if other else "same")


def change(path: Path, rng: random.Random) -> str:
    """Change one row of a store, in one of many ways; returns what was done."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA foreign_keys = OFF")
        while True:
            table = rng.choice(TABLES)
            keys = [key.name for key in table.primary_key]
            columns = [column.name for column in table.columns]
            order = ", ".join(keys)
            rows = connection.execute(f"SELECT {', '.join(columns)} FROM {table.name} ORDER BY {order}").fetchall()  # noqa: S608
            if not rows:
                continue
            row = dict(zip(columns, rng.choice(rows), strict=True))
            way = rng.choice((_delete, _change, _change, _change, _swap, _double))
            before = _content(path)
            try:
                others = [dict(zip(columns, one, strict=True)) for one in rows]
                told = way(connection, table.name, keys, row, others, rng)
            except (sqlite3.Error, OverflowError):
                connection.rollback()
                continue
            connection.commit()
            if _content(path) != before:
                return f"{table.name} {[row[key] for key in keys]}: {told}"


def _here(keys: list[str]) -> str:
    return " AND ".join(f"{key} = ?" for key in keys)


def _delete(connection: Any, table: str, keys: list[str], row: Any, _rows: Any, _rng: Any) -> str:
    connection.execute(f"DELETE FROM {table} WHERE {_here(keys)}", [row[key] for key in keys])  # noqa: S608
    return "deleted"


def _change(connection: Any, table: str, keys: list[str], row: Any, rows: Any, rng: random.Random) -> str:
    name = rng.choice(list(row))
    value = _other(row[name], [one[name] for one in rows], rng)
    sql = f"UPDATE {table} SET {name} = ? WHERE {_here(keys)}"  # noqa: S608
    connection.execute(sql, [value, *(row[key] for key in keys)])
    return f"{name} was {row[name]!r:.80}, is {value!r:.80}"


def _swap(connection: Any, table: str, keys: list[str], row: Any, rows: Any, rng: random.Random) -> str:
    """Give two rows each other's content, or one cell of it."""
    other = rng.choice(rows)
    names = [name for name in row if name not in keys] or keys
    names = rng.choice((names, [rng.choice(names)]))
    for one, two in ((row, other), (other, row)):
        sql = f"UPDATE {table} SET {', '.join(f'{name} = ?' for name in names)} WHERE {_here(keys)}"  # noqa: S608
        connection.execute(sql, [*(two[name] for name in names), *(one[key] for key in keys)])
    return f"{', '.join(names)} swapped with {[other[key] for key in keys]}"


def _double(connection: Any, table: str, keys: list[str], row: Any, _rows: Any, rng: random.Random) -> str:
    name = rng.choice(keys)
    twin = row | {name: _other(row[name], [], rng)}
    marks = ", ".join("?" * len(twin))
    connection.execute(f"INSERT INTO {table} ({', '.join(twin)}) VALUES ({marks})", list(twin.values()))  # noqa: S608
    return f"doubled at {name} = {twin[name]!r}"


def _other(value: Any, values: list[Any], rng: random.Random) -> Any:
    """Return another value: near it, of another row, cut short, of another type, or none at all."""
    ways: list[Any] = [None, "", "x", 0, 1, *values[:3]]
    if isinstance(value, int | float):
        ways += [value + 1, value - 1, value + 10, value * 1000 + 7, -value]
    elif isinstance(value, str):
        place = rng.randrange(len(value)) if value else 0
        ways += [value[:place], value[:place] + chr(ord(value[place]) ^ 1) + value[place + 1 :] if value else "y"]
        ways += [value.translate(DIGITS)]
        ways += [value + "}", "{}", "null"]
    elif isinstance(value, bytes):
        place = rng.randrange(len(value)) if value else 0
        ways += [value[:place], bytes([*value[:place], value[place] ^ 1, *value[place + 1 :]]) if value else b"y", b""]
    return rng.choice(ways)


def _content(path: Path) -> list[Any]:
    """Return all rows of a store but those that say who looks at it."""
    with closing(sqlite3.connect(path)) as connection:
        return [connection.execute(f"SELECT * FROM {table.name}").fetchall() for table in TABLES]  # noqa: S608


def changes(folder: Path, seed: int, count: int) -> Iterator[tuple[str, Change]]:
    """Yield so many changes, each with its name, in turns of the kinds of runs."""
    with many_snapshots():
        found = halves(folder)
        for number in range(count):
            half = found[number % len(found)]
            yield f"seed {seed}, change {number} ({half.name})", damaged(half, folder, f"{seed}/{number}")


def read_command_line() -> argparse.Namespace:
    """Return what the command line asks for."""
    parser = make_parser(__doc__)
    parser.add_argument("--changes", type=int, default=300, help="how many changes")
    parser.add_argument("--seed", type=int, default=0, help="what they are drawn from")
    return read_options(parser, changes=10)


def main() -> int:
    """Change and resume; returns 1 if a resume came to a third thing."""
    options = read_command_line()
    counts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(prefix="maker-bench-") as name:
        for told, one in changes(Path(name), options.seed, options.changes):
            counts["a third thing" if one.wrong else one.came_to] += 1
            if one.wrong:
                print(f"{told}: {one.what}\n  {one.came_to[:600]}", file=sys.stderr, flush=True)
    print(json.dumps(dict(counts), sort_keys=True))
    return 1 if counts["a third thing"] else 0


if __name__ == "__main__":
    exit_with(main)
