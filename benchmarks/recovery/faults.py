"""What a run keeps of its promises when the server that it asks fails now and then, and is killed.

Each part prints its figures, and the goals that they are held against; the exit code is 1 where one is missed. The
server is `maker.testing.FaultyServer` in this process: it counts what it draws, by itself.

- ``faults``: a map of about 10,000 requests of which one in twenty goes wrong, all kinds together: HTTP 429 and 500,
  too late, closed without a word, cut after the head, half a JSON, another model. The run ends and verifies, its ledger
  is the server's count, and the key is nowhere in what was written;
- ``limits``: a map with ``max_calls``, 16 requests in flight and faults that leave untold what they cost; killed once
  with -9, resumed to its limit, then to its end with a higher one. The server counts what it draws, told or not.

    python -m benchmarks.recovery.faults [part …] [--requests 10000] [--rate 0.05]
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path
from typing import Any

from benchmarks.shared.comparing import Goal, print_goals, table
from benchmarks.shared.maps.jobs import SIGMAS, K, P, files, judge, write_job, write_rows
from benchmarks.shared.options import add_parts, make_parser, read_options
from benchmarks.shared.tasks.parity import truth
from benchmarks.shared.watching import RESTS, Refused, exit_with, failure, maker
from maker.testing import LOST, Fault, FaultyServer, Served

KEY = "sk-benchmark-0123456789abcdef"
KEY_ENV = "FAULTS_KEY"
REQUESTS_A_ROW = 1.42
"""As counted: first-to-ahead-by-3 with samples that are right in nine of ten."""
SHOWN = ("requests", "calls", "prompt_tokens", "completion_tokens", "untold", "retries")


def faults(options: argparse.Namespace, folder: Path) -> list[Goal]:
    """Run a map by a server that fails; compare the ledger with the server's count."""
    rows = round(options.requests / REQUESTS_A_ROW)
    write_rows(folder, rows, broken=False)
    with FaultyServer(reply, rate=options.rate, seed=options.seed, slow_s=2 * options.timeout) as server:
        write_job(folder, behind(server, options), chains=64)
        began = time.perf_counter()
        report = told("run", "job.toml", folder=folder)
        took_s = time.perf_counter() - began
        served = server.served
    verified = told("verify", "last", folder=folder)
    ledger = report["models"][0]
    print_counts(served, ledger)
    wrong = sum(served.faults.values())
    print(f"  {rows:,} rows in {took_s:.0f} s; {wrong:,} faults: {named(served)}")
    judged = judge(files(folder), rows)
    # Every row is an easy one here; of those decided one in 1 + r^k is wrong, whatever the cap (gambler's ruin).
    decided, share = judged.outcomes["decided"], 1 / (1 + (P / (1 - P)) ** K)
    off = abs(judged.wrong.counted - decided * share) / math.sqrt(decided * share * (1 - share))
    amounts = ("calls", "prompt_tokens", "completion_tokens")
    missing = sum(ledger[name] != getattr(served, name) for name in amounts)
    return [
        Goal("requests", None, served.requests),
        Goal("requests that went wrong", None, wrong),
        _none("the run is not done, or does not verify", (report["status"] != "done") + (not verified["whole"])),
        _none("rows without an outcome, in no file, twice or out of order",
              rows - judged.outcomes.total() + judged.lost + judged.twice + judged.astray),
        _none("rows that failed", judged.outcomes["failed"]),
        Goal("wrong among decided, sigmas off theory", SIGMAS, off, least=False),
        _none("retries beside the faults of the server", abs(ledger["retries"] - wrong)),
        _none("HTTP requests that are neither answered nor retried",
              abs(served.requests - ledger["requests"] - ledger["retries"])),
        _none("figures of the ledger that are not what the server told", missing),
        _none("untold calls that the server counts otherwise", abs(ledger["untold"] - served.untold)),
        _none("drawn calls that are neither told nor untold in the ledger",
              max(0, calls(served) - ledger["calls"] - ledger["untold"])),
        _none("files that hold the key", sum(KEY.encode() in file.read_bytes() for file in written(folder))),
    ]  # fmt: skip


def limits(options: argparse.Namespace, folder: Path) -> list[Goal]:
    """Kill a run on its way to ``max_calls``, resume it to the limit, raise that, and resume it to its end."""
    rows = max(60, round(options.requests / REQUESTS_A_ROW / 8))
    first, second = rows * 2, rows * 8
    write_rows(folder, rows, broken=False)
    drawn: list[int] = []
    with FaultyServer(
        reply, rate=options.rate, seed=options.seed, faults=LOST | {Fault.BROKEN}, slow_s=2 * options.timeout
    ) as server:
        model = behind(server, options)
        write_job(folder, f"{model}\n[limits]\nmax_calls = {first}", chains=16)
        with maker("run", "job.toml", folder=folder) as process:
            kill_at = first * random.Random(options.seed).uniform(0.3, 0.6)
            while calls(server.served) < kill_at:
                if process.poll() is not None:
                    raise Refused(failure(folder, process))
                time.sleep(0.001)
            process.send_signal(signal.SIGKILL)
            process.wait()
        drawn.append(calls(server.served))
        paused = told("resume", "last", folder=folder)
        drawn.append(calls(server.served))
        done = told("resume", "last", f"limits.max_calls={second}", folder=folder)
        drawn.append(calls(server.served))
        served = server.served
    verified = told("verify", "last", folder=folder)
    ledger = done["models"][0]
    print_counts(served, ledger)
    reserved = f"{paused['reserved_calls']:,} and {done['reserved_calls']:,}"
    at = f"killed at {drawn[0]:,} calls, paused at {drawn[1]:,}, done at {drawn[2]:,}"
    print(f"  {rows:,} rows; {at}; reserved for good: {reserved}")
    print(f"  {paused['reason']}")
    unaccounted = served.calls + served.untold - done["calls"] - done["reserved_calls"]
    return [
        Goal("calls that the server drew before the kill", None, drawn[0]),
        Goal("calls that it drew at the limit", first, drawn[1], least=False),
        _none("the limit did not pause the run", paused["status"] != "paused" or "max_calls" not in paused["reason"]),
        Goal("calls that it drew at the end", second, drawn[2], least=False),
        _none("the run is not done, or does not verify", (done["status"] != "done") + (not verified["whole"])),
        _none("drawn calls that are neither in the ledger nor reserved", max(0, unaccounted)),
    ]


PARTS: dict[str, Callable[[argparse.Namespace, Path], list[Goal]]] = {"faults": faults, "limits": limits}


def reply(prompt: str, seed: int) -> str:
    """Return what a seed draws: the right answer in nine of ten."""
    luck = int.from_bytes(blake2b(f"{seed} {prompt}".encode(), digest_size=4).digest(), "big") / 2**32
    known = truth(prompt)
    return str(known.right[0] if luck < P else known.wrong[0])


def behind(server: FaultyServer, options: argparse.Namespace) -> str:
    """Return the model's table."""
    return (
        f'kind = "openai"\nurl = "{server.url}"\nname = "m"\nkey_env = "{KEY_ENV}"\nchat = false\n'
        f"concurrency = 32\ntimeout_s = {options.timeout}"
    )


def told(*words: str, folder: Path) -> dict[str, Any]:
    """Run a command with ``--json`` to its end; returns what it says. Raises `Refused`."""
    with (folder / "output.txt").open("w+") as output:
        with maker(*words, "--json", folder=folder, output=output) as process:
            process.wait()
        output.seek(0)
        printed = output.read()
    if process.returncode not in RESTS or not printed.strip():
        raise Refused(failure(folder, process))
    found: dict[str, Any] = json.loads(printed)
    return found


def written(folder: Path) -> list[Path]:
    """Return all files of a run: database, output, what was printed, temporary files."""
    return [file for file in folder.rglob("*") if file.is_file()]


def calls(served: Served) -> int:
    """Return all samples that were drawn."""
    return served.calls + served.untold


def named(served: Served) -> str:
    """Return the faults by kind."""
    return ", ".join(f"{served.faults[kind]} {kind.value}" for kind in Fault if kind in served.faults)


def print_counts(served: Served, ledger: dict[str, Any]) -> None:
    """Print the ledger beside the server's own count."""
    own = served._asdict() | {"retries": sum(served.faults.values())}
    rows = [(who, *(f"{found[name]:,}" for name in SHOWN)) for who, found in (("server", own), ("ledger", ledger))]
    table("counted", ("", *(name.replace("_", " ") for name in SHOWN)), rows)


def _none(what: str, count: int) -> Goal:
    return Goal(what, 0, int(count), least=False)


def main() -> int:
    """Measure and print; returns the exit code."""
    parser = make_parser(__doc__)
    add_parts(parser, PARTS)
    parser.add_argument("--requests", type=int, default=10_000, help="about so many (%(default)s); limits: an eighth")
    parser.add_argument("--rate", type=float, default=0.05, help="the share of requests that go wrong (%(default)s)")
    parser.add_argument("--timeout", type=float, default=8.0, help="model.timeout_s, beyond which a reply is too late")
    parser.add_argument("--seed", type=int, default=20262)
    options = read_options(parser, requests=300, timeout=1.0)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    goals: list[Goal] = []
    for part in options.parts:
        print(f"… {part}", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory(prefix="maker-faults-") as name:
            folder = Path(name)
            (folder / "tmp").mkdir()
            os.environ |= {KEY_ENV: KEY, "TMPDIR": str(folder / "tmp")}
            goals += [goal._replace(what=f"{part}: {goal.what}") for goal in PARTS[part](options, folder)]
    return print_goals(goals, options)


if __name__ == "__main__":
    exit_with(main)
