"""What ``maker try`` prints."""

from __future__ import annotations

import json
from collections.abc import Iterable

from maker.chain import Ended, Stuck
from maker.engine.trial import Trial
from maker.job import Job
from maker.tally import unpack
from maker.types import RedFlag


def print_trial(trials: Iterable[Trial | Ended], job: Job) -> bool:
    """Print tried steps as they are decided; returns whether a step was left undecided."""
    stuck = False
    for trial in trials:
        if isinstance(trial, Ended):
            print(f"the task is at its end: {json.dumps(trial.result, ensure_ascii=False)}")
            continue
        print(f"── step {trial.idx} · {trial.kind} " + "─" * 40)
        print(_indent("prompt", trial.system + trial.prompt))
        for heard in trial.heard:
            print(_indent(f"sample {heard.vote}", heard.sample.text))
            if isinstance(heard.outcome, RedFlag):
                detail = f": {heard.outcome.detail}" if heard.outcome.detail else ""
                print(f"           red flag, {heard.outcome.reason}{detail}")
            else:
                print(f"           vote for {heard.outcome}")
        stuck = _print_outcome(trial, job)
    return stuck


def _print_outcome(trial: Trial, job: Job) -> bool:
    if isinstance(trial.outcome, Stuck):
        print(f"  UNDECIDED {trial.outcome.reason}")
        return True
    if trial.outcome is not None:
        tally = unpack(trial.outcome.tally)
        action = job.decomposer.action.show(job.decomposer.action.read(trial.outcome.action))
        rivals = ", ".join(f"{sum(votes)} for {key}" for key, votes in tally.rivals.items()) or "none"
        flags = ", ".join(f"{n} {flag}" for flag, n in tally.flags.items()) or "none"
        print(f"  decided  {json.dumps(action, ensure_ascii=False)}")
        print(f"  tally    {sum(tally.votes)} votes, against: {rivals}; flagged: {flags}; rounds: {tally.rounds}")
    return False


def _indent(title: str, text: str) -> str:
    first, *rest = text.splitlines() or [""]
    return "\n".join([f"  {title:9}{first}", *(f"           {line}" for line in rest)])
