"""What a map's row costs: time beside a chain's step, memory by size, a resume, and how busy it keeps a server."""

from __future__ import annotations

import os
import shutil
import signal
import time
from argparse import Namespace
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.shared.checkout import TOWERS
from benchmarks.shared.comparing import Goal, median, number, table
from benchmarks.shared.driving import drive, modes
from benchmarks.shared.maps.jobs import simulated, write_job, write_rows
from benchmarks.shared.maps.kills import behind, counted, server
from benchmarks.shared.tasks.parity import MIXED
from benchmarks.shared.watching import DONE, Looks, Refused, failure, maker, pace, watch

CHAINS = 1000
ROW_TO_STEP = 2.5
"""What a row may take of a processor over what a step of a chain takes: it is read, begun, joined and written, too."""
GROWTH_BYTES = 64.0
"""Bytes that peak memory may grow by with each row, at most. What a run keeps of its rows is those without an answer,
four in a hundred here; the rest is what the allocator does not give back."""
LEAST_KILLED, MOST_DONE = 10_000, 0.95
"""A run of fewer rows is over before it can be killed; where more than this share is decided, too little is left."""
RESUME_S = 5.0
"""What a resume may take to its first new row beyond what `maker show` takes, which only starts and reads a row."""
SLOTS, CONCURRENCY = 32, 64
"""How many requests the server that is to be kept busy works on at a time, and how many it is given."""
BUSY, BUSY_TO_CHAINS = 0.9, 0.98
CHAINED = """\
[task]
decomposer = "{towers}"
chains = {chains}
moves = {moves}
[model]
{model}
[swarm]
kind = "local"
chains = {work}
[vote]
k = 3
"""


class Took(NamedTuple):
    """What a command took: seconds, seconds of processor, peak memory in MB."""

    seconds: float
    cpu_s: float
    peak_mb: float


def sizes(options: Namespace, folder: Path) -> list[Goal]:
    """Run, list and verify maps of several sizes; returns how memory grows."""
    lines: list[tuple[str, ...]] = []
    peaks: dict[int, dict[str, float]] = {}
    for rows in sorted(options.sizes):
        home = folder / str(rows)
        write_rows(home, rows)
        write_job(home, simulated(), template=MIXED)
        for words in (("run", "job.toml"), ("results", "last", "--json"), ("verify", "last")):
            took = took_by(home, *words)
            peaks.setdefault(rows, {})[words[0]] = took.peak_mb
            figures = (rows / took.seconds, took.cpu_s / rows * 1e6, took.peak_mb)
            lines.append((f"{rows:,}", words[0], *map(number, figures)))
    table("sizes (whole commands)", ("rows", "command", "rows/s", "processor us a row", "peak MB"), lines)
    *_, before, last = [0, *sorted(peaks)]
    names = ("run", "results", "verify") if before else ()
    return [
        Goal(f"sizes: bytes a row that {name} grows by, from {before:,} rows on", GROWTH_BYTES,
             (peaks[last][name] - peaks[before][name]) * 2**20 / (last - before), least=False)
        for name in names
    ]  # fmt: skip


def speed(options: Namespace, folder: Path) -> list[Goal]:
    """Run a map, one chain and a thousand in turns; then kill the map at nine tenths and resume it."""
    found: dict[str, list[float]] = {"map": [], "1 chain": [], f"{CHAINS:,} chains": []}
    cpu: dict[str, list[float | None]] = {name: [] for name in found}
    for turn in range(options.rounds):
        home = folder / f"map-{turn}"
        write_rows(home, options.rows, broken=False)
        write_job(home, simulated(0.99))
        seen = watch("run", "job.toml", folder=home)
        whole = pace(seen.seen, 0, seen.report["steps"])
        found["map"].append(options.rows / seen.report["wall_s"])
        cpu["map"].append(whole and whole.cpu_us)
        for name, mode in zip(list(found)[1:], modes(CHAINS)[0:3:2], strict=True):
            ran = drive(mode, options.rows, folder)
            found[name].append(ran.speed)
            cpu[name].append(ran.cpu_us)
    speeds = {name: median(values) or 0.0 for name, values in found.items()}
    rows = [(name, number(speeds[name]), number(median(cpu[name]))) for name in found]
    table("rows or steps (medians; p = .99, k = 3)", ("", "a second", "processor us each"), rows)
    seconds = resume_s(folder / "resumed", options)
    costs = {name: median(values) for name, values in cpu.items()}
    ratios = {name: costs["map"] / cost if costs["map"] and cost else None for name, cost in costs.items()}
    return [
        *(Goal(f"speed: processor time of a row / of a step of {name}", ROW_TO_STEP, ratios[name], "x", least=False)
          for name in list(found)[1:]),
        *(Goal(f"speed: rows/s / steps/s of {name}", None, speeds["map"] / speeds[name], "x")
          for name in list(found)[1:]),
        Goal("speed: resume at nine tenths, seconds to the first new row beyond `show`",
             RESUME_S, seconds, " s", least=False),
    ]  # fmt: skip


def resume_s(home: Path, options: Namespace) -> float:
    """Kill a map at nine tenths; returns the seconds from its resume to the first new rows, beyond those of `show`."""
    rows = max(options.rows, LEAST_KILLED)
    while (steps := _killed(home, rows)) > rows * MOST_DONE:
        # On a busy machine the kill may come too late to leave any row: a longer run gives it time.
        rows *= 4
        shutil.rmtree(home)
    with closing(Looks(home / "maker.db")) as looks:
        shown = took_by(home, "show", "last").seconds
        began = time.perf_counter()
        with maker("resume", "last", folder=home) as process:
            looks.until(steps + 1, process)
            return time.perf_counter() - began - shown


def _killed(home: Path, rows: int) -> int:
    """Kill a map when nine tenths of its rows are decided; returns how many were by then."""
    write_rows(home, rows)
    write_job(home, simulated(0.99))
    with closing(Looks(home / "maker.db")) as looks:
        with maker("run", "job.toml", folder=home) as process:
            looks.until(rows * 9 // 10, process)
            process.send_signal(signal.SIGKILL)
            process.wait()
        # What it had committed when the signal came.
        return looks.until(0, process)


def waiting(options: Namespace, folder: Path) -> list[Goal]:
    """Give a server of few slots a map, and chains; returns how busy each kept it."""
    busy: dict[str, float] = {}
    with server("--p", "0.99", "--latency", str(options.latency), "--slots", str(SLOTS)) as url:
        home = folder / "map"
        write_rows(home, options.asked, broken=False)
        write_job(home, behind(url, CONCURRENCY))
        busy["map"] = _busy(home, url)
        home = folder / "chains"
        home.mkdir()
        chains = min(CHAINS, options.asked)
        shape = {"towers": TOWERS, "chains": chains, "moves": options.asked // chains, "work": 256}
        (home / "job.toml").write_text(CHAINED.format(**shape, model=behind(url, CONCURRENCY)))
        busy["chains"] = _busy(home, url)
    rows = [(name, number(share)) for name, share in busy.items()]
    table(f"a server of {SLOTS} slots that answers in {options.latency:g} s", ("", "share of its slots in use"), rows)
    return [
        Goal("waiting: share of the server's slots that a map uses", BUSY, busy["map"], "x"),
        Goal("waiting: map / chains", BUSY_TO_CHAINS, busy["map"] / busy["chains"], "x"),
    ]


def _busy(home: Path, url: str) -> float:
    """Run a job; returns which share of its slots the server used from the first request to the last reply."""
    watch("run", "job.toml", folder=home)
    found: dict[str, Any] = counted(url, reset=True)
    return float(found["busy_s"] / SLOTS / (found["last_s"] - found["first_s"]))


def took_by(folder: Path, *words: str) -> Took:
    """Run a command to its end, and say what it took. Raises `Refused` where it fails."""
    began = time.perf_counter()
    with maker(*words, folder=folder) as process:
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in DONE:
        raise Refused(failure(folder, process))
    return Took(time.perf_counter() - began, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)
