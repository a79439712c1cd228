"""Print the steps that ``maker try`` decides."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from maker.cli.output import print
from maker.engine.trial import Lost, Trial
from maker.job.job import Job
from maker.types import RedFlag
from maker.voting.election import HeardSample
from maker.voting.messages import Decided, Ended
from maker.voting.tally import unpack


def print_trial(trials: Iterable[Trial | Ended], job: Job, *, as_json: bool) -> bool:
    """Print each step when it is decided; returns whether any step stayed undecided."""
    stuck = False
    for trial in trials:
        if isinstance(trial, Ended):
            print(json.dumps({"result": trial.result}, ensure_ascii=False) if as_json else f"done: {trial.result}")
        elif as_json:
            print(json.dumps(_as_json(trial, job), ensure_ascii=False))
        else:
            _print(trial, job)
        stuck = stuck or (isinstance(trial, Trial) and not isinstance(trial.outcome, Decided))
    return stuck


def _print(trial: Trial, job: Job) -> None:
    if isinstance(trial.outcome, Lost) and not trial.heard.samples:
        print(f"── row {trial.outcome.idx}: FAILED {trial.outcome.reason}")
        return
    print(f"── step {trial.outcome.idx} · {trial.kind} " + "─" * 40)
    print(_indent("prompt", trial.heard.system + trial.heard.prompt))
    for heard in trial.heard.samples:
        print(_indent(f"sample {heard.vote}", heard.sample.text))
        if isinstance(heard.outcome, RedFlag):
            detail = f": {heard.outcome.detail}" if heard.outcome.detail else ""
            print(f"           red flag, {heard.outcome.reason}{detail}")
        else:
            logprob = heard.sample.logprob
            weight = "" if logprob is None else f" (log-probability {logprob:.4f})"
            print(f"           vote for {heard.outcome}{weight}")
    if not isinstance(trial.outcome, Decided):
        print(f"  {'FAILED' if isinstance(trial.outcome, Lost) else 'UNDECIDED'} {trial.outcome.reason}")
        return
    tally = unpack(trial.outcome.tally)
    rivals = ", ".join(f"{sum(votes)} for {key}" for key, votes in tally.rivals.items()) or "none"
    flags = ", ".join(f"{n} {flag}" for flag, n in tally.reasons().items()) or "none"
    print(f"  decided  {json.dumps(_action(trial.outcome, job), ensure_ascii=False)}")
    print(f"  tally    {sum(tally.votes)} votes, against: {rivals}; flagged: {flags}; rounds: {tally.rounds}")


def _as_json(trial: Trial, job: Job) -> dict[str, Any]:
    outcome = trial.outcome
    asked = {
        "class": trial.kind,
        "system": trial.heard.system,
        "prompt": trial.heard.prompt,
        "samples": [_sample(heard) for heard in trial.heard.samples],
    }
    if isinstance(outcome, Lost):
        return {"step": outcome.idx, "failed": outcome.reason} | (asked if trial.heard.samples else {})
    return {
        "step": outcome.idx,
        **asked,
        "action": _action(outcome, job) if isinstance(outcome, Decided) else None,
        "undecided": None if isinstance(outcome, Decided) else outcome.reason,
    }


def _sample(heard: HeardSample) -> dict[str, Any]:
    flag = heard.outcome if isinstance(heard.outcome, RedFlag) else None
    facts = {
        "text": heard.sample.text,
        "candidate": None if flag else heard.outcome,
        "flag": str(flag.reason) if flag else None,
        "detail": flag.detail if flag else "",
    }
    return facts if heard.sample.logprob is None else facts | {"logprob": heard.sample.logprob}


def _action(decided: Decided, job: Job) -> Any:
    codec = job.decomposer.action
    return codec.show(codec.read(decided.action))


def _indent(title: str, text: str) -> str:
    """Return a text under its title: all of its lines begin in one column, also after a long title."""
    first, *rest = text.splitlines() or [""]
    head = f"  {title:8} "
    return "\n".join([f"{head}{first}", *(f"{'':{len(head)}}{line}" for line in rest)])
