"""``maker calibrate``: measure how often samples are right, with a pilot on a task's steps."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from itertools import product
from pathlib import Path
from typing import Annotated, Any

import typer

from maker.api import load_job
from maker.calibration.calibrate import LOOKED_AT, VOTES, PilotSize, calibrate, pilot_size, votes_asked
from maker.calibration.fate import fate_words
from maker.calibration.moment import WHEN_STEADY, change_words
from maker.calibration.observations import CONFIDENCE, By, Calibration, ClassFound, Kept, KindFound
from maker.cli.options import AsJson, JobFile, Overrides
from maker.cli.output import print
from maker.cli.pauses import SAME_COMMAND, progress_of
from maker.cli.tables import print_table
from maker.errors import BadInput, JobError
from maker.job.job import Job

BY = {
    By.ORACLE: "right answers come from the task's oracle",
    By.LABELS: "right answers come from your labels",
    By.VOTES: "no right answers are known: the figures are agreement with the answer that most votes give",
}
KINDS = 100
"""Lines of the table of kinds of steps."""
SweepOption = Annotated[
    list[str] | None,
    typer.Option(
        "--sweep", metavar="TABLE.KEY=A,B,…", help="Repeat for each of these values; give it again for another setting."
    ),
]


def calibrate_(
    job: JobFile,
    overrides: Overrides = None,
    steps: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=10_000_000,
            show_default="a quarter of the run's calls, from 100 to 2,000",
            help="Steps to sample of each class.",
        ),
    ] = None,
    votes: Annotated[int, typer.Option(min=1, max=1000, help="Samples to draw for each step, in two halves.")] = VOTES,
    labels: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Steps with their right answers, as JSON lines; see docs/planning.md."),
    ] = None,
    closer: Annotated[
        int, typer.Option(min=0, max=1000, metavar="N", help="Extra samples for each step whose votes differed.")
    ] = 0,
    shuffled: Annotated[
        bool,
        typer.Option("--shuffled", help="The rows are in random order: labels of the first ones are a random sample."),
    ] = False,
    sweep: SweepOption = None,
    as_json: AsJson = False,
) -> None:
    """Measure how often a model is right on each class of steps."""
    label_lines = "" if labels is None else read_labels(labels)
    for words in variants(sweep or []):
        loaded = load_job(job, [*(overrides or []), *words])
        if not label_lines:
            print(f"pilot: {size_line(loaded, steps, votes, closer)}", file=sys.stderr)
        with progress_of(SAME_COMMAND) as progress:
            kept = calibrate(
                loaded, steps=steps, votes=votes, labels=label_lines, closer=closer, shuffled=shuffled,
                on_event=progress.handle,
            )  # fmt: skip
        if as_json:
            print(json.dumps({"calibration": kept.key, "sweep": words} | kept.calibration.model_dump(mode="json")))
        else:
            print_calibration(kept, words, list(loaded.members))
            if line := fate_words(loaded, kept.calibration):
                print(f"  {line}")
            if line := change_words(kept.calibration):
                print(f"  {line}; {WHEN_STEADY}")


def size_line(job: Job, steps: int | None, votes: int, closer: int) -> str:
    """Say how many calls a pilot without labels takes at most, and where its size comes from if nobody has set it."""
    size = pilot_size(job, votes) if steps is None else PilotSize(steps, "")
    most = len(job.decomposer.classes) * size.steps * votes_asked(job, votes)
    more = f", plus {closer:,} for each step whose votes differ" if closer else ""
    why = f"; {size.steps:,} steps of each class: {size.why} (--steps sets another number)" if size.why else ""
    return f"up to {most:,} calls{more}{why}"


def variants(sweep: Iterable[str]) -> list[tuple[str, ...]]:
    """Return the overrides of every combination of the values in ``TABLE.KEY=A,B`` words. Raises `JobError`."""
    keys = []
    for word in sweep:
        key, equals, values = word.partition("=")
        if not (key and equals and all(values.split(","))):
            raise JobError(f"--sweep {word} has no values", fix="write TABLE.KEY=A,B, e.g. model.temperature=0.7,1.0")
        keys.append([f"{key}={value}" for value in values.split(",")])
    return list(product(*keys))


def read_labels(path: Path) -> str:
    """Return the text of a file of labels. Raises `BadInput`."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"the labels {path} cannot be read: {error}", fix="give a file of JSON lines") from error


def print_calibration(kept: Kept, words: Iterable[str], members: Sequence[str]) -> None:
    """Print a calibration by step class; ``members`` are the names of the pool's models."""
    found = kept.calibration
    of = "".join(f", {word}" for word in words)
    each_ms = 1000 * found.seconds / max(1, found.samples)
    took = f"{found.seconds:,.1f} s, {each_ms:.2f} ms each with many at a time"
    print(f"calibration {kept.key}{of}: {found.samples:,} samples in {took}")
    print(f"  {BY[found.by]}{_taken_for_random(found)}")
    share = "p" if found.labelled else "agreement"
    headings = ("class", "steps", "of", share, "95 %", "rival", "correlation", "95 %", "valid", "tokens")
    confidence = 1 - (1 - CONFIDENCE) / max(1, sum(one.steps > 0 for one in found.classes.values()))
    print_table(headings, (_row(name, one, confidence) for name, one in found.classes.items()), indent=2)
    print_parts(found)
    _print_kinds(found)
    _print_flags(found)
    if len(members) > 1:
        _print_members(found, members)
    print(
        f"  all intervals hold together with {CONFIDENCE:.0%} confidence; "
        f"the samples are in {' and '.join(f'run {run}' for run in found.runs)}"
    )


def print_parts(found: Calibration) -> None:
    """Say of classes whose answers are voted on part by part what figures of whole answers mean for them."""
    vote, part = ("a vote is right", "is wrong") if found.labelled else ("votes agree", "gets a less frequent answer")
    for name in found.fingerprint.get("parts", ()):
        print(
            f"  {name} is voted on part by part, and these figures are of votes on whole answers: {vote} on a part at"
            f" least as often. With a lead of k a part {part} with a chance of at most ((1-p)/p)^k, where p is that of"
            " votes on the part; add it up over the parts"
        )


def _row(name: str, one: ClassFound, confidence: float) -> tuple[str, ...]:
    from maker.stats.difficulty import fit

    of = "" if one.of is None else f"{one.of:,}"
    if not one.right + one.wrong:
        return name, f"{one.steps:,}", of, "no valid vote", "", "", "", "", f"{one.valid:.4f}", ""
    shown = fit({cell.votes: cell.steps for cell in one.heard}, confidence)
    rival = one.rival / (one.right + one.wrong)
    tokens = f"{one.tokens / one.samples:.1f}"
    correlation = (
        ("", "one vote a step") if not shown.paired else (_share(shown.correlation.estimate), _span(shown.correlation))
    )
    return (
        name, f"{one.steps:,}", of, _share(shown.p.estimate), _span(shown.p), _share(rival), *correlation,
        _share(one.valid), tokens,
    )  # fmt: skip


def _taken_for_random(found: Calibration) -> str:
    """Return what is taken for granted of labels of some of a run's rows, which nothing can show; "" of others."""
    if not any(one.drawn and not one.whole for one in found.classes.values()):
        return ""
    return (
        ", which are taken for a random sample of the run's rows: labels of rows that you chose, by what they hold or"
        " by how sure votes were, show nothing of the others"
    )


def _print_kinds(found: Calibration) -> None:
    rows = [
        (name, kind, f"{one.steps:,}", "some" if one.of is None else f"{one.of:,}", _right_share(one))
        for name, heard in found.classes.items()
        for kind, one in heard.kinds.items()
    ]
    if rows:
        print("  by kind of step, beside about how many the run asks:")
        print_table(("class", "kind", "steps", "of", "p" if found.labelled else "agreement"), rows[:KINDS], indent=2)
        if len(rows) > KINDS:
            print(f"  and {len(rows) - KINDS:,} kinds more: --json tells of all")


def _right_share(one: KindFound) -> str:
    votes = one.right + one.wrong
    return _share(one.right / votes) if votes else "not heard"


def _print_members(found: Calibration, members: Sequence[str]) -> None:
    agreed, differed = ("right", "wrong") if found.labelled else ("agree", "differ")
    for name, one in found.classes.items():
        for member, (right, wrong, flagged) in zip(members, one.models, strict=True):
            share = f" ({_share(right / (right + wrong))} {agreed})" if right + wrong else ""
            print(f"  {name}: {member}: {right:,} {agreed}, {wrong:,} {differed}{share}, {flagged:,} flagged")


def _print_flags(found: Calibration) -> None:
    for name, one in found.classes.items():
        for reason, flag in one.flags.items():
            agreed, differed = ("been right", "wrong") if found.labelled else ("agreed", "differed")
            shares = (
                f"{flag.right:,} of them would have {agreed}, {flag.wrong:,} {differed}, {flag.lost:,} cannot be read"
            )
            print(f"  {name}: {flag.samples:,} flagged as {reason}: {shares}")
        if one.closer:
            print(f"  {name}: {one.looked_at:,} steps whose votes differed got more samples")
        if one.doubted:
            print(f"  {name}: {doubted_line(one, labelled=found.labelled)}")
        if one.greedy is not None:
            right, wrong, flagged = one.greedy
            print(f"  {name}: at temperature 0, once a step: {right:,} right, {wrong:,} wrong, {flagged:,} flagged")


def doubted_line(one: ClassFound, *, labelled: bool = True) -> str:
    """Say on how many steps the right answer did not lead, and what a closer look at them brought.

    Where nobody knows what is right, it is about the answer that the run's own votes decided for.
    """
    answer, wrong = ("right answer", "make the step wrong") if labelled else ("decided answer", "may go either way")
    first = f"on {_steps(one.doubted)} the {answer} did not lead the votes"
    again = one.doubted if one.closer else min(one.doubted, LOOKED_AT)
    some = "all of them" if again == one.doubted else f"the first {again} of them"
    unasked = "" if again == one.doubted else f", {one.doubted - again:,} of them not asked again"
    then = "none" if not one.behind else f"{one.behind:,}{unasked}. Where it never does, votes {wrong}, whatever k is"
    return f"{first}; {some} were asked again, and steps on which it does not lead yet: {then}"


def _steps(number: int) -> str:
    return "1 step" if number == 1 else f"{number:,} steps"


def _share(value: float) -> str:
    return f"{value:.4f}" if value < 0.99 or value == 1 else f"{value:.6f}"


def _span(interval: Any) -> str:
    return f"{_share(interval.low)} to {_share(interval.high)}"
