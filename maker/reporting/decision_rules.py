"""Find the rule that decided the steps of a class, from the stored run alone: the task's code is not needed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from maker.core.plugins import VOTERS, find_plugin
from maker.core.user_code import call_user_code
from maker.errors import MakerError
from maker.job.parameters import built, params_of
from maker.job.pilot_steps import pilot_steps
from maker.plugin import Promise, Voter
from maker.stats.monitor import rule_of
from maker.stats.reported import Odds
from maker.stats.vote_tests import PilotSteps, Rule
from maker.store.runs import RunRow
from maker.store.vote_monitor import monitored_classes
from maker.voting.policy import JUDGE

ONLY_LIVE = (
    "a report cannot watch it, because the log does not hold the probabilities that replies report; the monitor does so"
    " during the run"
)


class DecisionRule(NamedTuple):
    """How the steps of a class were decided.

    Args:
        run_id: The run that decided them.
        kind: The class's name.
        voter: The voter's name.
        said: Its parameters, as in ``k = 3``.
        k: The margin of the race that decides them, None for a voter that decides by something else.
        error: The error that the voter was given or promises, None if there is none.
        turns: How many votes until it is the same model's turn again.
        rule: How the monitor watches such steps in a stored log, or why it has no statistic for them.
        lost: Why the voter's code is unavailable, "" if it is at hand.
        promise: What the voter promises for each step, None if it promises nothing.
        by_parts: Whether answers are voted on part by part: then ``k`` and ``promise`` are about each part.
        pilot: The steps of the pilot that k rests on, which the monitor compares the run's with; None without one.
    """

    run_id: str
    kind: str
    voter: str
    said: str
    k: int | None
    error: float | None
    turns: int
    rule: Rule | str
    lost: str = ""
    promise: Promise | None = None
    by_parts: bool = False
    pilot: PilotSteps | None = None


def decision_rule(run: RunRow, kind: int) -> DecisionRule:
    """Return how a run decides the steps of a class, by the class's number."""
    name = run.classes[kind] if kind < len(run.classes) else f"class {kind}"
    # Roles that differ from the rest are part of what the run is, with the classes that they decide.
    roles = run.fingerprint.get("roles", {}).items()
    own: dict[str, Any] = next((role for key, role in roles if key != JUDGE and name in role.get("classes", ())), {})
    model, vote = run.settings["model"], run.settings["vote"]
    turns = len(own.get("rotation") or model.get("rotation") or model.get("members") or (0,))
    k = own.get("k") or vote.get("k")
    given = {**vote, "k": k[name] if isinstance(k, Mapping) and name in k else k}
    shown = str(vote["voter"]).rpartition(":")[2]
    if run.settings.get("poll"):
        why = "the run is a pilot, which draws votes on steps and decides none"
        return DecisionRule(run.run_id, name, "none", "", None, None, turns, why, why)
    try:
        voter, said = _voter(given)
    except (MakerError, ValidationError, KeyError):
        why = f"voter {vote['voter']} is not installed here, so what it promises is unknown"
        return DecisionRule(run.run_id, name, shown, "", None, None, turns, why, why)
    promise: Promise | None = call_user_code(f"{voter.name}: promise", voter.promise, name)
    error = said.get("error") if promise is None else promise.error
    words = ", ".join(f"{key} = {value}" for key, value in said.items())
    if voter.race_margin is not None and "k" not in said:
        words += f" (a margin of {voter.race_margin})"
    by_parts = name in run.fingerprint.get("parts", ())
    rule = rule_of(voter, turns, by_parts=by_parts)
    checked = ONLY_LIVE if isinstance(rule, Odds) else rule
    pilot = None if _decorrelated(run, name) else pilot_steps(run.settings, name, voter.race_margin)
    return DecisionRule(
        run.run_id, name, voter.name, words, voter.race_margin, error, turns, checked, promise=promise,
        by_parts=by_parts, pilot=pilot,
    )  # fmt: skip


def _decorrelated(run: RunRow, name: str) -> bool:
    """Say whether the votes of a class are asked in other ways than they were: then those of a pilot were not."""
    return any(one["decorrelated"] for one in monitored_classes(run.monitor, run.classes) if one["class"] == name)


def _voter(vote: Mapping[str, Any]) -> tuple[Voter, dict[str, Any]]:
    plugin = find_plugin(VOTERS, vote["voter"], Path.cwd())
    params = params_of(plugin)
    given = {name: vote[name] for name in params.model_fields if vote.get(name) is not None}
    voter: Voter = built(plugin, params.model_validate(given), Voter)
    return voter, given


def models_of(run: RunRow) -> tuple[str, ...]:
    """Return the names of a run's models, by number."""
    model = run.settings["model"]
    return tuple(model.get("members") or ()) or (run.accounts[0].model if run.accounts else str(model["kind"]),)
