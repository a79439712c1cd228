"""Commands that messages suggest, completed so that you can paste them."""

from __future__ import annotations

import inspect
import os
import re
import shlex
from collections.abc import Callable, Mapping
from typing import Any

from maker.cli.known import known
from maker.engine.causes import BATCHES, DOUBTFUL, Cause, cause_of
from maker.job.file import DEFAULT_STORE, STORE_VARIABLE
from maker.lifecycle.queries import RunReport, limit_override, shared_limit_words, timeout_override
from maker.store.backend.database import shown_url

_CAP = re.compile(r"\bmax_votes = (\d+): ")
_SUGGESTED = re.compile(r"`maker ([a-z]+)( [^`]*)?`")


def completed(text: str, **facts: Any) -> str:
    """Return a message whose suggested commands name the run, the job and the store that this command works on.

    Lower layers write `maker resume`, RUN and JOB: they do not know how the command was called. ``facts`` win over
    what is known of the command.
    """
    from maker.cli.app import COMMANDS

    about = known() | {name: fact for name, fact in facts.items() if fact}

    def complete(found: re.Match[str]) -> str:
        command = COMMANDS.get(found[1])
        return found[0] if command is None else f"`maker {found[1]}{_words(found[2] or '', command.load(), about)}`"

    return _SUGGESTED.sub(complete, text)


def next_step(report: RunReport) -> str:
    """Return in words how a paused run goes on; where a plain resume would pause again, with what changes that."""
    if override := limit_override(report) or timeout_override(report):
        return f"continue with `maker resume {report.run_id} {override}`"
    if words := shared_limit_words(report):
        return f"allow more with `maker limit {words}`, then continue with `maker resume {report.run_id}`"
    if cause_of(report.reason) == Cause.WAITS:
        return _when_it_waits(report)
    if cause_of(report.reason) == Cause.UNDECIDED:
        more = _more_votes(report.reason, report.settings)
        vote_on = f"vote on with `maker resume {report.run_id} {' '.join(more)}`, or " if more else ""
        return f"{vote_on}draw new samples with `maker retry {report.run_id}`"
    return f"continue with `maker resume {report.run_id}`"


def _when_it_waits(report: RunReport) -> str:
    resume = f"`maker resume {report.run_id}`"
    if DOUBTFUL.match(report.reason):
        return f"then continue with {resume}"
    if report.reason.startswith(BATCHES):
        return f"look again with {resume}, in minutes or hours; a queue's worker does it by itself"
    see = f"see it with `maker waits {report.run_id}`, answer with `maker answer {report.run_id}`"
    return f"{see}, then go on with {resume}"


def _more_votes(reason: str, settings: Mapping[str, Any]) -> list[str]:
    """Return overrides that double the caps of votes which an undecided step's reason names; [] if it names none."""
    met = {int(most) for most in _CAP.findall(reason)}
    caps = {"vote.max_votes": settings["vote"]["max_votes"]}
    caps |= {f"roles.{name}.max_votes": table.get("max_votes") for name, table in settings.get("roles", {}).items()}
    return [f"{name}={2 * most}" for name, most in caps.items() if most in met]


def store_words(store: str) -> str:
    """Return the ``--store`` option that a suggested command needs; "" where the default store is the one meant."""
    if store == (os.environ.get(STORE_VARIABLE) or DEFAULT_STORE):
        return ""
    return f" --store {shlex.quote(shown_url(store))}"


def _words(words: str, command: Callable[..., Any], about: Mapping[str, Any]) -> str:
    takes = inspect.signature(command).parameters
    run, job, store = (about.get(name) if name in takes else None for name in ("run_id", "job", "store"))
    if run is not None:
        words = re.sub(r"\bRUN\b", run, words)
        words = words if re.match(r" +[^-\s]", words) else f" {run}{words}"
    if job is not None:
        words = re.sub(r"\bJOB\b", lambda _: shlex.quote(str(job)), words)
    return words if store is None or "--store" in words else words + store_words(store)
