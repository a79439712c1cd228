"""Slow but sound HTTP servers: how many calls a run loses to timeouts, and what it costs fast ones to prevent that.

A server in a process of its own draws one sample at a time, each in a given time, and draws nothing for clients that
have gone. Each part prints its figures, and the goals that they are held against; the exit code is 1 where one is
missed.

- ``slow``: a map of 100 rows by ``maker run`` with the settings' defaults, at 0.05 and 0.2 seconds a sample, and 0.2
  with ``timeout_s = 6``; with ``--long``, which takes ten minutes, at 2 seconds too;
- ``changes``: servers that become a hundred times slower in the middle, close every connection for 5 seconds, draw
  nothing for 8 of which a request may take 3, and refuse more than two requests at a time (HTTP 429, Retry-After);
- ``shared``: one server for a pool of two members, and for four runs in processes of their own;
- ``fast``: a server that answers all requests at once after 50 ms, asked with a fixed number of requests in flight and
  with one that adapts, in turns.

    python -m benchmarks.speed.slow_server [part …] [--rows 100] [--long]
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.shared.comparing import Goal, print_goals, table
from benchmarks.shared.options import add_parts, make_parser, read_options
from benchmarks.shared.watching import DONE, Refused, exit_with, maker, said, serving
from maker.models.server.concurrency import Concurrency
from maker.models.server.openai import OpenAIModel
from maker.models.server_settings import OpenAISettings
from maker.testing import collect
from maker.types import Request

MOST_LOST = 0.05
"""The share of calls that may be unaccounted: a server that bills may charge them."""
LEAST_KEPT = 0.97
"""The share of a fast server's throughput that an adapting limit keeps."""
VOTES = 3


class Case(NamedTuple):
    """A server and the settings that it is asked with.

    ``least_s`` is what the server needs for a row's samples; it ``stays`` if it goes on answering all the time.
    """

    name: str
    server: tuple[str, ...]
    settings: str = ""
    least_s: float | None = None
    stays: bool = True


SLOW = (
    Case("0.05 s a sample", ("--sample", "0.05"), least_s=0.15),
    Case("0.2 s a sample", ("--sample", "0.2"), least_s=0.6),
    Case("0.2 s a sample, timeout_s = 6", ("--sample", "0.2"), "timeout_s = 6", least_s=0.6),
)
LONG = Case("2 s a sample", ("--sample", "2"), least_s=6.0)
CHANGES = (
    Case("0.01, then 1 s a sample", ("--sample", "0.01", "--after", "150", "--then", "1")),
    Case("closes every connection for 5 s", ("--sample", "0.05", "--after", "150", "--down", "5"), stays=False),
    Case("draws nothing for 8 s, timeout_s = 3", ("--sample", "0.05", "--after", "150", "--silent", "8"),
         "timeout_s = 3", stays=False),
    Case("at most 2 requests at a time, else HTTP 429", ("--sample", "0.05", "--slots", "2", "--most", "2")),
)  # fmt: skip


class Ran(NamedTuple):
    """What a run came to, and what its server counted."""

    report: dict[str, Any]
    took_s: float
    server: dict[str, int]

    @property
    def unaccounted(self) -> int:
        """How many calls were sent for of which nobody says what they cost."""
        return sum(one["untold"] for one in self.report["models"])

    @property
    def lost(self) -> float:
        """The share of the calls that are unaccounted."""
        return self.unaccounted / max(1, self.unaccounted + int(self.report["calls"]))

    @property
    def decided(self) -> int:
        """How many rows have a decision."""
        return int((self.report["result"] or {}).get("decided", 0))


def slow(options: argparse.Namespace, folder: Path) -> list[Goal]:
    """Run a map against servers that draw one sample at a time."""
    cases = (*SLOW, LONG) if options.long else SLOW
    ran = {case: one_run(case, options.rows, folder) for case in cases}
    print_runs(ran)
    goals = goals_of(ran, options.rows)
    for case, found in ran.items():
        assert case.least_s is not None  # noqa: S101 - each of them has it
        share = case.least_s * options.rows / found.took_s
        goals.append(Goal(f"share of the server's time in use, {case.name}", None, share))
    return goals


def changes(options: argparse.Namespace, folder: Path) -> list[Goal]:
    """Run a map against servers that change, or refuse, in the middle."""
    ran = {case: one_run(case, options.rows, folder) for case in CHANGES}
    print_runs(ran)
    # Of a server that goes away nobody gets back what is under way.
    stays = {case: found for case, found in ran.items() if case.stays}
    missing = sum(options.rows - found.decided for case, found in ran.items() if not case.stays)
    return [*goals_of(stays, options.rows), _none("rows without a decision, server away for a while", missing)]


def shared(options: argparse.Namespace, folder: Path) -> list[Goal]:
    """Let several models, and several processes, ask one slow server."""
    case = Case("a pool of two on one server", ("--sample", "0.05"), "timeout_s = 6")
    with server(*case.server) as url:
        members = "".join(f"\n[model.members.{name}]\n{settings(url, case)}" for name in ("one", "two"))
        ran = {case: run(folder / "pool", options.rows, f'[model]\nkind = "pool"\n{members}', url)}
    each = Case("four processes on one server", ("--sample", "0.05"), "timeout_s = 6")
    with server(*each.server) as url, ExitStack() as stack:
        began, running = time.perf_counter(), []
        for number in range(4):
            place = folder / str(number)
            write_job(place, options.rows, f"[model]\n{settings(url, each)}")
            output = stack.enter_context((place / "output.txt").open("w+"))
            running.append(stack.enter_context(maker("run", "job.toml", "--json", folder=place, output=output)))
        for number, process in enumerate(running):
            process.wait()
            report = read_report(folder / str(number), process.returncode)
            name = f"{each.name}, {number + 1}"
            ran[each._replace(name=name)] = Ran(report, time.perf_counter() - began, counted(url))
    print_runs(ran)
    return goals_of(ran, options.rows)


def fast(options: argparse.Namespace, folder: Path) -> list[Goal]:
    """Ask a server that answers everything at once, with an adapting limit and with a fixed one, in turns."""
    speeds: dict[type[Concurrency], list[float]] = {Concurrency: [], Fixed: []}
    with server("--sample", str(options.latency), "--slots", "1000") as url:
        for turn in range(2 * options.rounds):
            # Which of them comes first changes from round to round: a machine is faster or slower for a while.
            kind = (Concurrency, Fixed)[(turn + turn // 2) % 2]
            speeds[kind].append(speed(url, kind, options.requests))
    rows = [(kind.__name__, *(f"{one:,.0f}" for one in found)) for kind, found in speeds.items()]
    table("requests a second", ("", *map(str, range(1, options.rounds + 1))), rows)
    adapting, fixed = speeds[Concurrency], speeds[Fixed]
    kept = statistics.median(one / other for one, other in zip(adapting, fixed, strict=True))
    return [Goal("throughput kept by adapting, median of the rounds", LEAST_KEPT, kept)]


PARTS: dict[str, Callable[[argparse.Namespace, Path], list[Goal]]] = {
    "slow": slow, "changes": changes, "shared": shared, "fast": fast,
}  # fmt: skip


class Fixed(Concurrency):
    """As many requests at once as may be, whatever becomes of them."""

    def __init__(self, most: int, timeout_s: float) -> None:
        super().__init__(most, timeout_s)
        self.limit = self.proven = most

    def _end_round(self, now_s: float) -> None:
        """Change nothing."""


def speed(url: str, kind: type[Concurrency], requests: int) -> float:
    """Return the requests a second that a model has answered, with the limit of this kind."""
    settings = OpenAISettings(url=url, name="m")
    model = OpenAIModel(settings)
    model._concurrency = kind(settings.concurrency, settings.timeout_s)
    began = time.perf_counter()
    model.submit(Request(i, "", "Which tone?", 1, i, 16, (), "row") for i in range(requests))
    collect(model, requests, within_s=600.0)
    took_s = time.perf_counter() - began
    model.close()
    return requests / took_s


def one_run(case: Case, rows: int, folder: Path) -> Ran:
    """Run a case against a server of its own."""
    print(f"… {case.name}", file=sys.stderr, flush=True)
    with server(*case.server) as url:
        return run(folder / case.name.replace(" ", "-"), rows, f"[model]\n{settings(url, case)}", url)


def run(folder: Path, rows: int, model: str, url: str) -> Ran:
    """Run a map of so many rows to its end."""
    write_job(folder, rows, model)
    began = time.perf_counter()
    with (
        (folder / "output.txt").open("w") as output,
        maker("run", "job.toml", "--json", folder=folder, output=output) as process,
    ):
        process.wait()
    took_s = time.perf_counter() - began
    return Ran(read_report(folder, process.returncode), took_s, counted(url))


def settings(url: str, case: Case) -> str:
    """Return a model's table: all but the address is as it is by default, or as the case sets it."""
    return f'kind = "openai"\nurl = "{url}"\nname = "m"\nstructured = "schema"\n{case.settings}\n'


def write_job(folder: Path, rows: int, model: str) -> None:
    """Write a map of short rows."""
    folder.mkdir(parents=True)
    (folder / "rows.csv").write_text("id,text\n" + "".join(f"{row},note {row}\n" for row in range(rows)))
    answer = {
        "type": "object",
        "properties": {"tone": {"enum": ["positive", "negative"]}},
        "required": ["tone"],
        "additionalProperties": False,
    }
    (folder / "answer.json").write_text(json.dumps(answer))
    (folder / "job.toml").write_text(
        '[task]\ndecomposer = "map"\ninput = "rows.csv"\nid_column = "id"\ntemplate = "Tone of {{text}}?"\n'
        f'schema = "answer.json"\noutput = "out"\n\n[vote]\nk = {VOTES}\n\n[store]\nurl = "sqlite:///maker.db"\n\n{model}'
    )


def read_report(folder: Path, code: int) -> dict[str, Any]:
    """Return what a run has printed."""
    printed = (folder / "output.txt").read_text()
    if code not in (*DONE, 7) or not printed.strip():
        raise Refused(said(folder) or f"exit code {code}")
    found: dict[str, Any] = json.loads(printed)
    return found


def server(*words: str) -> AbstractContextManager[str]:
    """Start a server; gives its address."""
    return serving("shared.slow_http", *words)


def counted(url: str) -> dict[str, int]:
    """Return what a server has counted."""
    with urllib.request.urlopen(url) as reply:  # noqa: S310 - our own server
        found: dict[str, int] = json.load(reply)
    return found


def print_runs(ran: dict[Case, Ran]) -> None:
    """Print what became of each run."""
    heads = ("", "status", "rows", "seconds", "calls", "unaccounted", "at once", "HTTP 429", "drawn in vain")
    rows = []
    for case, found in ran.items():
        report, took_s, served = found
        counts = (report["calls"], found.unaccounted, served["most_at_once"], served["refused"], served["wasted"])
        cells = (f"{one:,}" for one in counts)
        rows.append((case.name, report["status"], f"{found.decided:,}", f"{took_s:.1f}", *cells))
    table("runs", heads, rows)


def goals_of(ran: dict[Case, Ran], rows: int) -> list[Goal]:
    """Return the goals of every run: all rows, and few calls that nobody accounts for."""
    missing = sum(rows - found.decided for found in ran.values())
    worst = max(found.lost for found in ran.values())
    return [
        _none("rows without a decision", missing),
        Goal("calls unaccounted, in the worst run", MOST_LOST, worst, least=False),
    ]


def _none(what: str, count: int) -> Goal:
    return Goal(what, 0, count, least=False)


def main() -> int:
    """Measure and print; returns the exit code."""
    parser = make_parser(__doc__)
    add_parts(parser, PARTS)
    parser.add_argument("--rows", type=int, default=100)
    parser.add_argument("--long", action="store_true", help="at 2 s a sample too: ten minutes for 100 rows")
    parser.add_argument("--latency", type=float, default=0.05, help="seconds that the fast server takes")
    parser.add_argument("--requests", type=int, default=5000, help="of each turn in `fast`")
    parser.add_argument("--rounds", type=int, default=5)
    options = read_options(parser, rows=6, requests=100, rounds=1)
    goals: list[Goal] = []
    with tempfile.TemporaryDirectory(prefix="maker-slow-") as folder:
        for part in options.parts:
            goals += PARTS[part](options, Path(folder) / part)
    return print_goals(goals, options)


if __name__ == "__main__":
    exit_with(main)
