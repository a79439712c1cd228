"""What a user reads of runs whose errors nobody knows, and the sentence on it that keeps them from being misled.

    python -m benchmarks.stats.pages [--only NAME] [--out DIR] [--seed 20261130] [--run 0]

For one drawing of each process of `benchmarks.stats.processes`, a map over its rows asks a model behind an address.
The commands are typed as a user would: `maker calibrate`, with labels of the piloted rows where the process has some;
`maker plan`; `maker run` with the monitor on; `maker report` without labels. A refusal ends the page. All that the
commands print is the page, with the part of the report that holds its number.

For each process `SENTENCES` names what has to stand on that page. The line that holds it is printed, with the command
whose line it is; a page without it is a goal that is missed. With --out the pages are kept.
"""

from __future__ import annotations

import csv
import html
import json
import math
import re
import subprocess
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from benchmarks.shared.checkout import TASKS, environment
from benchmarks.shared.comparing import Goal, print_goals
from benchmarks.shared.error_processes import Process, Rows, choose, draw_rows
from benchmarks.shared.error_server import DIGITS, RIGHT, TEMPLATE, ErrorScript, reply
from benchmarks.shared.options import make_parser, read_options
from benchmarks.stats.processes import MOST, PROCESSES, REPORTED, ROW_ERROR, SHARES, WEIGHTED_ERROR, drawn
from maker.calibration.plan import TARGET
from maker.testing import FakeServer

HUGE = 100_000
"""Of a run of so many rows the plan alone is made."""
SMOKE = ("p-.99", "unlabelled", "row-error")
JOB = """\
[task]
decomposer = "{task}"
input = "rows.csv"
template = "{template}"
schema = {{type = "object", properties = {{digit = {{enum = {digits}}}}}, required = ["digit"]}}
{kinds}
[model]
kind = "openai"
url = "{url}"
name = "digits"
chat = false
{logprobs}
[vote]
{vote}
max_votes = {most}
"""


class Sentence(NamedTuple):
    """What a line of a page has to hold, as regular expressions: of a run, and of a refusal.

    Of a process that is not to be refused, or not to be planned, the other is None: such a page is a miss.
    """

    run: str | None
    refusal: str | None = None


SHOWN = "shown at 95 %: at most"
BEHIND = "the right answer does not lead the votes"
OPEN = "the pilot does not show that any margin k reaches"
SENTENCES = {
    **dict.fromkeys(("p-.9", "p-.99", "p-.999", "p-1", "classes", "rivals-6", "whole"), Sentence(SHOWN)),
    "rivals-4": Sentence(SHOWN, OPEN),
    "unlabelled": Sentence("no one has checked an answer, so nothing is known of right answers"),
    **dict.fromkeys(("beta", "far-apart", "log-normal", "late"), Sentence(SHOWN, f"{OPEN}|{BEHIND}")),
    **dict.fromkeys(("adverse", "adverse-seen", "adverse-5000", "malformed", "malformed-5000", "whole-adverse",
                     "300,000", "repeats"), Sentence(SHOWN, BEHIND)),
    "one-fate": Sentence(None, "votes of one request share a fate"),
    "drift": Sentence(r"alarm: .*\(drift\)"),
    "bad-minutes": Sentence(r"alarm: .*\((drift|bursts)\)"),
    "bad-minutes-seen": Sentence(r"alarm: .*\((drift|bursts)\)", "votes of one request share a fate"),
    "first-rows": Sentence(None, "a sample by order shows nothing of the other rows"),
    "weighted": Sentence(r"alarm: .*\(confidence\)"),
    "weighted-calibrated": Sentence("if on every step replies are right as often as they report"),
    "row-error": Sentence("cannot see an error that all votes on a row share"),
    "row-error-drift": Sentence(r"alarm: .*\(drift\)"),
    "row-error-bursts": Sentence(r"alarm: .*\((drift|bursts)\)"),
}  # fmt: skip
"""By process. A stable part of each: what is said of a run, or why there is none."""


class Page(NamedTuple):
    """What each command printed, in their order; ``command`` is as it was typed."""

    parts: Sequence[tuple[str, str]]
    refused: bool

    def text(self) -> str:
        """Return it as it stands on a terminal."""
        return "\n".join(f"$ {command}\n{printed}" for command, printed in self.parts)

    def line(self, sought: str) -> tuple[str, str] | None:
        """Return the first line that a regular expression fits, and the command that printed it."""
        for command, printed in self.parts:
            for line in printed.splitlines():
                if re.search(sought, line):
                    return command, line.strip()
        return None


def write_files(folder: Path, name: str, process: Process, rows: Rows, labelled: Sequence[int], url: str) -> None:
    """Write the job, its rows and the labels."""
    with (folder / "rows.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("row", "kind"), *enumerate(rows.kind.tolist())])
    labels = [{"child": row, "reply": reply(RIGHT)} for row in labelled]
    (folder / "labels.jsonl").write_text("".join(f"{json.dumps(one)}\n" for one in labels))
    kinds = len(process.laws)
    vote = f'k = "auto"\ntarget = {TARGET}'
    if name.startswith("row-error"):
        vote = f"row_error = {ROW_ERROR}"
    elif name.startswith("weighted"):
        vote = f'voter = "weighted"\nerror = {WEIGHTED_ERROR}'
    job = JOB.format(
        task="map" if kinds == 1 else f"{TASKS / 'kinds.py'}:Kinds", template=TEMPLATE,
        digits=json.dumps(DIGITS[: process.rivals + 1]), kinds="" if kinds == 1 else f"kinds = {kinds}", url=url,
        logprobs="logprobs = true" if name.startswith("weighted") else "", vote=vote, most=MOST,
    )  # fmt: skip
    (folder / "job.toml").write_text(job)


def commands(name: str, process: Process) -> Iterator[str]:
    """Yield what a user types."""
    if name in PROCESSES:
        pilot = "--labels labels.jsonl" if process.labelled else f"--steps {process.piloted}"
        yield f"maker calibrate job.toml {pilot} --votes {process.votes}"
        yield "maker plan job.toml"
    if process.rows < HUGE:
        yield "maker run job.toml"
        yield "maker report last --out report.html"


def read_page(name: str, options: Namespace, folder: Path) -> Page:
    """Draw a process's rows, type the commands in a folder, and return what they print."""
    process, rng, rows = drawn(name, options.seed, options.run)
    if options.smoke:
        process = replace(process, rows=options.rows, piloted=options.rows // 2)
        rows = draw_rows(process, rng)
    asked = choose(process, rng, rows).tolist() if name in PROCESSES else []
    script = ErrorScript(
        process, rows, asked, options.seed, logprob=math.log(REPORTED) if name.startswith("weighted") else None
    )
    parts = []
    with FakeServer(script) as server:
        write_files(folder, name, process, rows, asked, server.url)
        for command in commands(name, process):
            if command.startswith("maker run") and not name.startswith("row-error"):
                script.begin_run()
            code, printed = typed(command, folder, script)
            parts.append((command, printed))
            if code not in (0, 3):
                return Page(parts, refused=True)
    if (folder / "report.html").exists():
        parts.append(("(the page that it wrote)", number_of((folder / "report.html").read_text())))
    return Page(parts, refused=False)


def typed(command: str, folder: Path, script: ErrorScript) -> tuple[int, str]:
    """Run a command; returns its exit code and all that it prints. The run begins where its pilot is told."""
    lines = []
    env = {name: value for name, value in environment().items() if not name.startswith("MAKER_")}
    with subprocess.Popen(
        [sys.executable, "-um", *command.split()], cwd=folder, env=env, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None  # noqa: S101 - it is a pipe
        for line in process.stdout:
            if line.startswith("pilot: k = "):
                script.begin_run()
            lines.append(line)
    return process.returncode, "".join(lines)


def number_of(page: str) -> str:
    """Return the text of the part of a report that holds its number, as lines."""
    _, _, rest = page.partition("<h2>One number for the whole run")
    part, _, _ = rest.partition("<h2>What was measured")
    text = re.sub(r"</(?:p|li|h\d)>", "\n", "<h2>One number for the whole run" + part)
    lines = (" ".join(html.unescape(re.sub("<[^>]*>", "", line)).split()) for line in text.splitlines())
    return "".join(f"{line}\n" for line in lines if line)


def judge(name: str, page: Page) -> tuple[str, str] | None:
    """Return the line that keeps a reader from being misled, and the command that prints it."""
    sentence = SENTENCES[name]
    sought = sentence.refusal if page.refused else sentence.run
    return None if sought is None else page.line(sought)


def main() -> int:
    """Read the pages; print a sentence for each."""
    parser = make_parser(__doc__)
    names = [*PROCESSES, *SHARES]
    parser.add_argument("--only", action="append", choices=names, metavar="NAME", help=f"of {', '.join(names)}")
    parser.add_argument("--out", type=Path, help="a folder for the pages")
    parser.add_argument("--seed", type=int, default=20261130)
    parser.add_argument("--run", type=int, default=0, help="which drawing of each process")
    parser.add_argument("--rows", type=int, default=100, help="of each run in a smoke run")
    options = read_options(parser, only=list(SMOKE))
    goals = []
    for name in options.only or names:
        began = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            page = read_page(name, options, Path(folder))
        took = time.perf_counter() - began
        if options.out is not None:
            options.out.mkdir(parents=True, exist_ok=True)
            (options.out / f"{name}.txt").write_text(page.text())
        found = judge(name, page)
        ended = "refused" if page.refused else "planned, not run" if len(page.parts) == 2 else "run"
        print(f"\n{name} ({(PROCESSES | SHARES)[name].about}): {ended}, {took:.0f} s")
        print(f"  {found[0]}: {found[1]}" if found else "  NO SENTENCE", flush=True)
        goals.append(Goal(f"{name}: the sentence stands there", 1, float(found is not None)))
    return print_goals(goals, options)


if __name__ == "__main__":
    sys.exit(main())
