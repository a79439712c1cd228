"""What ``maker try`` prints."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from maker.chain import Ended, Stuck
from maker.election import HeardSample
from maker.engine.trial import Trial
from maker.job import Job
from maker.tally import unpack
from maker.types import RedFlag


def print_trial(trials: Iterable[Trial | Ended], job: Job, *, as_json: bool) -> bool:
    """Print tried steps as they are decided; returns whether a step was left undecided."""
    stuck = False
    for trial in trials:
        if isinstance(trial, Ended):
            print(json.dumps({"result": trial.result}, ensure_ascii=False) if as_json else f"done: {trial.result}")
        elif as_json:
            print(json.dumps(_as_json(trial, job), ensure_ascii=False))
        else:
            _print(trial, job)
        stuck = isinstance(trial, Trial) and isinstance(trial.outcome, Stuck)
    return stuck


def _print(trial: Trial, job: Job) -> None:
    print(f"── step {trial.outcome.idx} · {trial.kind} " + "─" * 40)
    print(_indent("prompt", trial.heard.system + trial.heard.prompt))
    for heard in trial.heard.samples:
        print(_indent(f"sample {heard.vote}", heard.sample.text))
        if isinstance(heard.outcome, RedFlag):
            detail = f": {heard.outcome.detail}" if heard.outcome.detail else ""
            print(f"           red flag, {heard.outcome.reason}{detail}")
        else:
            print(f"           vote for {heard.outcome}")
    if isinstance(trial.outcome, Stuck):
        print(f"  UNDECIDED {trial.outcome.reason}")
        return
    tally = unpack(trial.outcome.tally)
    rivals = ", ".join(f"{sum(votes)} for {key}" for key, votes in tally.rivals.items()) or "none"
    flags = ", ".join(f"{n} {flag}" for flag, n in tally.flags.items()) or "none"
    print(f"  decided  {json.dumps(_action(trial, job), ensure_ascii=False)}")
    print(f"  tally    {sum(tally.votes)} votes, against: {rivals}; flagged: {flags}; rounds: {tally.rounds}")


def _as_json(trial: Trial, job: Job) -> dict[str, Any]:
    stuck = isinstance(trial.outcome, Stuck)
    return {
        "step": trial.outcome.idx,
        "class": trial.kind,
        "system": trial.heard.system,
        "prompt": trial.heard.prompt,
        "samples": [_sample(heard) for heard in trial.heard.samples],
        "action": None if stuck else _action(trial, job),
        "undecided": trial.outcome.reason if isinstance(trial.outcome, Stuck) else None,
    }


def _sample(heard: HeardSample) -> dict[str, Any]:
    flag = heard.outcome if isinstance(heard.outcome, RedFlag) else None
    return {
        "text": heard.sample.text,
        "candidate": None if flag else heard.outcome,
        "flag": str(flag.reason) if flag else None,
        "detail": flag.detail if flag else "",
    }


def _action(trial: Trial, job: Job) -> Any:
    assert not isinstance(trial.outcome, Stuck)  # noqa: S101 - both callers have looked
    codec = job.decomposer.action
    return codec.show(codec.read(trial.outcome.action))


def _indent(title: str, text: str) -> str:
    first, *rest = text.splitlines() or [""]
    return "\n".join([f"  {title:9}{first}", *(f"           {line}" for line in rest)])
