"""Print the steps that ``maker try`` decides, and each reply as it comes."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from maker.cli.output import print
from maker.cli.silence import Silence, lasting
from maker.engine.trial import Lost, Trial
from maker.job.job import Job
from maker.types import RedFlag, Sample
from maker.voting.election import HeardSample
from maker.voting.messages import Decided, Ended, KeptVotes, OpenStep
from maker.voting.tally import unpack

QUIET_S = 10.0
"""After so many seconds without a reply you are told what is waited for."""


def print_trial(trials: Iterable[Trial | Ended | OpenStep], job: Job, *, as_json: bool) -> bool:
    """Print what comes as it comes, with ``as_json`` one line a step; returns whether any step stayed undecided.

    An interrupt is raised again, once the replies to the step that is open are printed, and how many came in all.
    """
    printer = _JsonPrinter(job) if as_json else _TextPrinter(job)
    counts = _Counts()
    try:
        with Silence(sys.stderr, first_s=QUIET_S, told=counts.awaited) as silence:
            for trial in trials:
                if counts.note(trial):
                    silence.end()
                printer.show(trial)
    except KeyboardInterrupt:
        if counts.open is not None:
            printer.break_off(counts.open)
        print(counts.interrupted(), file=sys.stderr)
        raise
    return counts.stuck


class _Counts:
    """Counts what has come. ``open`` is the step that is being voted on; ``stuck`` says that some step stayed open."""

    def __init__(self) -> None:
        self.open: OpenStep | None = None
        self.stuck = False
        self._began = False
        self._decided = 0
        self._replies = 0

    def note(self, trial: Trial | Ended | OpenStep) -> bool:
        """Take in what a trial has brought; returns whether any of it is new."""
        self._began = True
        if isinstance(trial, OpenStep):
            before, self.open = self.open, trial
            return before is None or (before.idx, _came(before)) != (trial.idx, _came(trial))
        self.open = None
        if isinstance(trial, Trial):
            decided = isinstance(trial.outcome, Decided)
            self.stuck = self.stuck or not decided
            self._decided += decided
            self._replies += len(trial.heard.samples)
        return True

    def awaited(self, quiet_s: float) -> str:
        """Return in words that nothing has come for a while, and what is waited for."""
        waits = "" if self._began else "; the model is being opened"
        # Read once: another thread asks this, and meanwhile the step may be over.
        if (step := self.open) is not None:
            waits = f"; step {step.idx} waits for {_replies(step.awaited)}"
        return f"nothing has come for {lasting(quiet_s)}{waits}"

    def interrupted(self) -> str:
        """Return in words what had come by an interrupt."""
        came, pending = self._replies, ""
        if self.open is not None:
            came += _came(self.open)
            pending = f"; {self.open.awaited:,} more had been asked for and may be billed"
        steps = "1 step" if self._decided == 1 else f"{self._decided:,} steps"
        return f"interrupted: {steps} decided, {_replies(came)} in all{pending}; nothing is stored"


class _TextPrinter:
    """Prints for people. ``_idx`` is the step that is begun on the terminal.

    ``_early`` are its replies that were printed before they counted, with the numbers of their votes. They count under
    lower ones where votes before them are lost, so it is the reply itself that is looked for.
    """

    def __init__(self, job: Job) -> None:
        self._job = job
        self._idx: int | None = None
        self._early: list[tuple[int, Sample]] = []
        self._counted = 0

    def show(self, trial: Trial | Ended | OpenStep) -> None:
        """Print what is new."""
        if isinstance(trial, Ended):
            print(f"done: {trial.result}", flush=True)
        elif isinstance(trial, OpenStep):
            self._begin(trial.idx, trial.kind, trial.heard)
            self._print_replies(trial.heard, trial.early)
        else:
            self._finish(trial)

    def break_off(self, step: OpenStep) -> None:
        """Print that a step was interrupted."""
        self.show(step)
        print("  INTERRUPTED")

    def _begin(self, idx: int, kind: str, heard: KeptVotes) -> None:
        if self._idx != idx:
            self._idx, self._counted = idx, 0
            self._early.clear()
            print(f"── step {idx} · {kind} " + "─" * 40)
            print(_indent("prompt", heard.system + heard.prompt), flush=True)

    def _print_replies(self, heard: KeptVotes, early: Mapping[int, Sample]) -> None:
        """Print the replies that are not on the terminal yet, and what became of those that were not counted before."""
        for one in heard.samples[self._counted :]:
            above = next((vote for vote, sample in self._early if sample is one.sample), None)
            text = one.sample.text if above is None else "(above)" if above == one.vote else f"(above, as {above})"
            print(_indent(f"sample {one.vote}", text))
            print(_fate(one), flush=True)
        self._counted = len(heard.samples)
        for vote, sample in early.items():
            if not any(sample is known for _, known in self._early):
                self._early.append((vote, sample))
                print(_indent(f"sample {vote}", sample.text))
                print(f"{'':11}counts once the replies before it are in", flush=True)

    def _finish(self, trial: Trial) -> None:
        outcome = trial.outcome
        if isinstance(outcome, Lost) and not trial.heard.samples and self._idx != outcome.idx:
            print(f"── row {outcome.idx}: FAILED {outcome.reason}", flush=True)
            return
        if trial.heard.samples:
            self._begin(outcome.idx, trial.kind, trial.heard)
            self._print_replies(trial.heard, {})
        self._idx = None
        if not isinstance(outcome, Decided):
            print(f"  {'FAILED' if isinstance(outcome, Lost) else 'UNDECIDED'} {outcome.reason}", flush=True)
            return
        tally = unpack(outcome.tally)
        rivals = ", ".join(f"{sum(votes)} for {key}" for key, votes in tally.rivals.items()) or "none"
        flags = ", ".join(f"{n} {flag}" for flag, n in tally.reasons().items()) or "none"
        print(f"  decided  {json.dumps(_action(outcome, self._job), ensure_ascii=False)}")
        counted = f"{sum(tally.votes)} votes, against: {rivals}; flagged: {flags}; rounds: {tally.rounds}"
        print(f"  tally    {counted}", flush=True)


class _JsonPrinter:
    """Prints a JSON object a step."""

    def __init__(self, job: Job) -> None:
        self._job = job

    def show(self, trial: Trial | Ended | OpenStep) -> None:
        """Print a step that is over, or the task's result."""
        if isinstance(trial, Trial):
            _print_json(self._facts(trial))
        elif isinstance(trial, Ended):
            _print_json({"result": trial.result})

    def break_off(self, step: OpenStep) -> None:
        """Print what a step had heard when it was interrupted."""
        facts = _asked(step.kind, step.heard)
        facts["samples"] += [_early(sample) for sample in step.early.values()]
        _print_json({"step": step.idx, "failed": "interrupted"} | facts)

    def _facts(self, trial: Trial) -> dict[str, Any]:
        outcome = trial.outcome
        asked = _asked(trial.kind, trial.heard)
        if isinstance(outcome, Lost):
            return {"step": outcome.idx, "failed": outcome.reason} | (asked if trial.heard.samples else {})
        return {
            "step": outcome.idx,
            **asked,
            "action": _action(outcome, self._job) if isinstance(outcome, Decided) else None,
            "undecided": None if isinstance(outcome, Decided) else outcome.reason,
        }


def _print_json(facts: dict[str, Any]) -> None:
    print(json.dumps(facts, ensure_ascii=False), flush=True)


def _asked(kind: str, heard: KeptVotes) -> dict[str, Any]:
    samples = [_sample(one) for one in heard.samples]
    return {"class": kind, "system": heard.system, "prompt": heard.prompt, "samples": samples}


def _sample(heard: HeardSample) -> dict[str, Any]:
    flag = heard.outcome if isinstance(heard.outcome, RedFlag) else None
    facts = {
        "text": heard.sample.text,
        "candidate": None if flag else heard.outcome,
        "flag": str(flag.reason) if flag else None,
        "detail": flag.detail if flag else "",
    }
    return facts if heard.sample.logprob is None else facts | {"logprob": heard.sample.logprob}


def _early(sample: Sample) -> dict[str, Any]:
    return {"text": sample.text, "candidate": None, "flag": None, "detail": "not counted yet"}


def _action(decided: Decided, job: Job) -> Any:
    codec = job.decomposer.action
    return codec.show(codec.read(decided.action))


def _fate(heard: HeardSample) -> str:
    """Return in a line what became of a sample."""
    if isinstance(heard.outcome, RedFlag):
        detail = f": {heard.outcome.detail}" if heard.outcome.detail else ""
        return f"{'':11}red flag, {heard.outcome.reason}{detail}"
    logprob = heard.sample.logprob
    weight = "" if logprob is None else f" (log-probability {logprob:.4f})"
    return f"{'':11}vote for {heard.outcome}{weight}"


def _replies(count: int) -> str:
    return "1 reply" if count == 1 else f"{count:,} replies"


def _came(step: OpenStep) -> int:
    return len(step.heard.samples) + len(step.early)


def _indent(title: str, text: str) -> str:
    """Return a text under its title: all of its lines begin in one column, also after a long title."""
    first, *rest = text.splitlines() or [""]
    head = f"  {title:8} "
    return "\n".join([f"{head}{first}", *(f"{'':{len(head)}}{line}" for line in rest)])
