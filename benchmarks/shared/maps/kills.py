"""Maps that are killed and go on, held against the same maps undisturbed: rows, files, errors, and what was billed."""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
import time
import urllib.request
from argparse import Namespace
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing
from pathlib import Path
from typing import Any

from benchmarks.shared.comparing import Goal, number, table
from benchmarks.shared.maps.jobs import SIGMAS, Judged, files, judge, simulated, write_job, write_rows
from benchmarks.shared.tasks.parity import MIXED
from benchmarks.shared.watching import DONE, Looks, Refused, failure, maker, serving, watch

USAGE = ("requests", "calls", "prompt_tokens", "completion_tokens")


def killed(options: Namespace, folder: Path) -> list[Goal]:
    """Run a map of the simulated model undisturbed, and once more with kills; returns goals and figures."""
    whole, other = _two(folder, options, simulated())
    undisturbed = watch("run", "job.toml", folder=whole).report
    resumed = with_kills(other, options)
    print_judged("simulated model", judge(files(whole), options.rows), undisturbed, resumed)
    return same("simulated", whole, other, options, undisturbed, resumed)


def served(options: Namespace, folder: Path) -> list[Goal]:
    """Do the same with a model behind HTTP, and compare what maker counted with what the server did."""
    options = Namespace(**vars(options) | {"rows": options.served_rows})
    with server("--p", "0.9") as url:
        model = f"{behind(url)}\n[limits]\nmax_calls = {options.rows * 10}"
        whole, other = _two(folder, options, model)
        undisturbed = watch("run", "job.toml", folder=whole).report
        first = counted(url, reset=True)
        resumed = with_kills(other, options)
        second = counted(url)
    judged = judge(files(whole), options.rows)
    print_judged("a server", judged, undisturbed, resumed)
    rows = [("the server, undisturbed", *_figures(first["served"])), ("maker, undisturbed", *_figures(undisturbed))]
    rows += [("the server, killed", *_figures(second["served"])), ("maker, killed", *_figures(resumed))]
    rows.append(("the server, each request once", *_figures(second["once"])))
    table("what was billed", ("", *(name.replace("_", " ") for name in USAGE)), rows)
    ledger = {name: abs(undisturbed[name] - first["served"][name]) for name in USAGE}
    lost = {name: second["served"][name] - resumed[name] for name in USAGE}
    again = {name: second["served"][name] - second["once"][name] for name in USAGE}
    unlike = sum(second["once"][name] != first["served"][name] for name in USAGE)
    told = sum(not 0 <= lost[name] <= again[name] for name in USAGE)
    beyond = max(0, second["served"]["calls"] - resumed["calls"] - resumed["reserved_calls"])
    print(f"\n  replies that {options.kills} kills lost: {lost['calls']:,} calls, of {again['calls']:,} asked again")
    return [
        *same("served", whole, other, options, undisturbed, resumed),
        _none("served: figures of the ledger that are not the server's, undisturbed", sum(map(bool, ledger.values()))),
        _none("served: figures of the server, each request once, that kills changed", unlike),
        _none("served: figures by which the ledger lacks more than was asked again", told),
        _none("served: calls that are neither in the ledger nor reserved", beyond),
    ]


def same(
    name: str, whole: Path, other: Path, options: Namespace, undisturbed: dict[str, Any], resumed: dict[str, Any]
) -> list[Goal]:
    """Return the goals that hold whatever model it was."""
    expected, found = files(whole), files(other)
    judged = judge(found, options.rows)
    differ = sum(expected.get(one) != found.get(one) for one in expected.keys() | found.keys())
    asked_for = Counter(json.loads(line)["outcome"] for line in said_by(other, "results", "last", "--json"))
    verified = said_by(other, "verify", "last")
    told = {**judged.outcomes, "rows": options.rows}
    return [
        _none(f"{name}: rows that have no outcome", options.rows - judged.outcomes.total()),
        _none(f"{name}: rows in no file, twice, or out of order", judged.lost + judged.twice + judged.astray),
        _none(f"{name}: files that kills changed, of {len(expected)}", differ),
        _none(f"{name}: outcomes of `results` or `show` that are not the files'",
              (asked_for != judged.outcomes) + (resumed["result"] != told)),
        _none(f"{name}: digests that kills changed", int(undisturbed["digest"] != resumed["digest"])),
        _none(f"{name}: kills without a resume", options.kills - resumed["resumes"]),
        _none(f"{name}: logs that do not verify", int(not any("verifies" in line for line in verified))),
        Goal(f"{name}: wrong among decided, sigmas off theory", SIGMAS, judged.wrong.sigmas, least=False),
        Goal(f"{name}: undecided, sigmas off theory", SIGMAS, judged.undecided.sigmas, least=False),
    ]  # fmt: skip


def with_kills(folder: Path, options: Namespace) -> dict[str, Any]:
    """Run a job, kill it so many times at random moments, and resume it to its end; returns how it stands."""
    draw, words = random.Random(options.seed), ("run", "job.toml")
    moments = sorted(draw.sample(range(options.rows // 20, options.rows * 17 // 20), options.kills))
    with closing(Looks(folder / "maker.db")) as looks:
        for resumes, steps in enumerate(moments):
            with maker(*words, folder=folder) as process:
                looks.until(steps, process, resumes)
                time.sleep(draw.random() / 10)
                process.send_signal(signal.SIGKILL)
                process.wait()
            words = ("resume", "last")
    return watch(*words, folder=folder).report


def print_judged(model: str, judged: Judged, undisturbed: dict[str, Any], resumed: dict[str, Any]) -> None:
    """Print what became of the rows."""
    print(f"\n{model}: {dict(judged.outcomes)}")
    for name, off in (("wrong among decided", judged.wrong), ("undecided", judged.undecided)):
        print(f"  {name}: {off.counted:,}; theory {off.promised:,.1f}, {off.sigmas:.1f} sigma")
    speeds = [f"{sum(judged.outcomes.values()) / one['wall_s']:,.0f}" for one in (undisturbed, resumed)]
    print(f"  rows a second: {speeds[0]} undisturbed, {speeds[1]} with {resumed['resumes']} kills")


def said_by(folder: Path, *words: str) -> Iterator[str]:
    """Yield the lines that a command prints. Raises `Refused` where it fails."""
    with maker(*words, folder=folder, output=subprocess.PIPE) as process:
        yield from process.stdout or ()
        if process.wait() not in DONE:
            raise Refused(failure(folder, process))


def server(*words: str) -> AbstractContextManager[str]:
    """Start the server; gives its address."""
    return serving("shared.maps.server", *words)


def behind(url: str, concurrency: int = 16) -> str:
    """Return the model's table of a server."""
    return f'kind = "openai"\nurl = "{url}/v1"\nname = "map-server"\nchat = false\nconcurrency = {concurrency}'


def counted(url: str, *, reset: bool = False) -> dict[str, Any]:
    """Return what a server has counted since it was started or reset."""
    with urllib.request.urlopen(f"{url}/counted") as reply:  # noqa: S310 - our own server
        found: dict[str, Any] = json.load(reply)
    if reset:
        urllib.request.urlopen(f"{url}/reset", data=b"{}").close()  # noqa: S310
    return found


def _two(folder: Path, options: Namespace, model: str) -> tuple[Path, Path]:
    """Return two folders with the same job, over rows of which some are hard and some hopeless."""
    whole, other = folder / "whole", folder / "killed"
    write_rows(whole, options.rows)
    write_job(whole, model, template=MIXED)
    shutil.copytree(whole, other)
    return whole, other


def _figures(found: dict[str, Any]) -> list[str]:
    return [number(found[name]) for name in USAGE]


def _none(what: str, count: int) -> Goal:
    return Goal(what, 0, count, least=False)
