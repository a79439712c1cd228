"""Puts a run's report together, and writes it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any

from maker.core.atomic import refuse_taken, replacing, telling_unwritable
from maker.lifecycle.queries import RunReport, codec_of, opened, store_url, whole_report
from maker.reporting.audit import Audit
from maker.reporting.claims import Claim, claimed
from maker.reporting.counts import KEPT, Alarmed, Gathered, gather
from maker.reporting.decision_rules import Ruled, ruled
from maker.reporting.disputes import MOST_RESTING, Dispute, Resting, disputes, resting_chains
from maker.reporting.figures import (
    CONFIDENCE,
    ClassFigures,
    FlagCount,
    ModelShare,
    Whole,
    agreement,
    class_figures,
    flags,
    whole,
)
from maker.reporting.labels import judge_labels
from maker.store.backend.database import shown_url
from maker.store.log import count_cuts, count_outcomes
from maker.store.runs import find_run
from maker.types import Outcome

DISTRIBUTION = "maker-executor"
NAME = "maker-report"
VERSION = 1
BAD_ENDS = (Outcome.WRONG, Outcome.REFUSED)
ALARM = "alarm"
"""The kind of an event by which the monitor tells of an alarm, while the run goes on."""


@dataclass(frozen=True, slots=True)
class Report:
    """What was claimed of a run, what was measured, and what that rests on; docs/report.md explains each part.

    ``truth`` says in sentences what is known of right and wrong, ``told`` are alarms that the monitor raised while the
    run went on, ``alarms`` those of the monitor over the log as it stands. ``disputed`` are the first of
    ``disputed_steps`` steps, those with most doubt. ``outcomes`` counts rows without a good decision, ``resting`` are
    chains that came to rest before their end, ``cuts`` counts parts of the run that were decided anew. ``reused`` steps
    were taken from the memo; ``outside`` of the decisions were made by other runs, and are counted as this one's.
    """

    run: RunReport
    version: str
    began_s: float
    changed_s: float
    made_s: float
    store: str
    claim: Claim
    whole: Whole
    truth: tuple[str, ...]
    told: tuple[Mapping[str, Any], ...]
    alarms: tuple[Alarmed, ...]
    rules: tuple[Ruled, ...]
    classes: tuple[ClassFigures, ...]
    flags: tuple[FlagCount, ...]
    models: tuple[ModelShare, ...]
    disputed_steps: int
    disputed: tuple[Dispute, ...]
    outcomes: Mapping[str, int]
    resting: tuple[Resting, ...]
    cuts: int
    reused: int
    outside: int
    audit: Audit | None

    @property
    def steps(self) -> int:
        """All live steps, those of a run that this one was forked off too."""
        return self.decisions - self.outside + self.reused

    @property
    def decisions(self) -> int:
        """How many different decisions the steps rest on: each was voted on once, and may have been taken often."""
        return sum(one.steps for one in self.classes)

    @property
    def votes(self) -> int:
        """All valid votes of these decisions, without a judge's."""
        return sum(one.valid_votes for one in self.classes)

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON."""
        told = {name: getattr(self, name) for name in self.__slots__ if name not in ("run", "version", "audit")}
        head = {"format": NAME, "version": VERSION, "maker": self.version, "run": self.run.to_json()}
        rest: dict[str, Any] = {name: _plain(value) for name, value in told.items()}
        return head | rest | {"audit": None if self.audit is None else self.audit.to_json()}


def report(run_id: str, *, store: str | None = None, labels: Path | None = None, disputed: int = KEPT) -> Report:
    """Report on a run: reads its log once, in memory that does not grow with it. Blocks; changes nothing.

    Args:
        run_id: A run's id, its unique beginning, or ``last``.
        store: The database of runs, else that of MAKER_STORE.
        labels: A labelled sample of a map's rows, as `maker.reporting.labels.judge_labels` reads it.
        disputed: So many disputed steps are told with their samples, 1,000 at most.

    Raises:
        RunNotFound, StoreUnusable: There is no such run, or no such store.
        BadInput: The labels do not fit the run.
        StoreFailed: A step cannot be read.
        MakerError: The run was retried meanwhile.
    """
    audit = None if labels is None else judge_labels(run_id, labels, store=store)
    with opened(store) as database:
        run = find_run(database, run_id if audit is None else audit.run_id)
        told = whole_report(database, run.run_id)
        found = gather(database, run)
        outcomes = {name: n for name, n in count_outcomes(database, run.key).items() if name != Outcome.AGAIN}
        classes = _classes(found)
        shown = tuple(disputes(database, run, codec_of(run), found.doubted[:disputed]))
        resting = tuple(resting_chains(database, run))
        cuts = count_cuts(database, run.key)
    alarms = tuple(event for event in told.events if event["kind"] == ALARM)
    rules = tuple(
        dict.fromkeys([ruled(run, kind) for kind in range(len(run.classes))] + [one.ruled for one in classes])
    )
    number = whole(classes, _outside(outcomes, resting), _against(told, alarms, found.alarms, outcomes, audit))
    return Report(
        run=told, version=version(DISTRIBUTION), began_s=run.created_at, changed_s=run.updated_at, made_s=time.time(),
        store=shown_url(store_url(store)), claim=claimed(run.settings["vote"], rules),
        whole=number, truth=_truth(told, audit), told=alarms, alarms=tuple(found.alarms), rules=rules, classes=classes,
        flags=tuple(flags(found.groups)), models=tuple(agreement(found.groups)),
        disputed_steps=sum(one.disputed.found for one in classes), disputed=shown, outcomes=outcomes, resting=resting,
        cuts=cuts, reused=found.reused, outside=found.outside, audit=audit,
    )  # fmt: skip


def write(text: str, out: Path | IO[bytes], *, force: bool = False) -> None:
    """Write a report to a file, which takes its name when it is whole, or to a stream, which is flushed.

    Raises:
        BadInput: The file is there already, and is not to be replaced (``force``), or cannot be made.
        MakerError: It cannot be written to its end.
        BrokenPipeError: Nobody reads the stream any more.
    """
    # Half of a surrogate pair has no UTF-8: in JSON it is an escape, and the page spells it out before.
    content = text.encode("utf-8", "backslashreplace")
    with telling_unwritable(out):
        if isinstance(out, Path):
            refuse_taken(out, force=force)
            with replacing(out, lambda: refuse_taken(out, force=force)) as file:
                file.write(content)
        else:
            out.write(content)
            out.flush()


def _classes(found: Gathered) -> tuple[ClassFigures, ...]:
    """Return the figures of each class; each gets its part of the risk that an interval is wrong."""
    fitted = sum(one.ruled.k is not None and one.ruled.k > 1 and one.steps > one.judged for one in found.groups)
    confidence = 1 - (1 - CONFIDENCE) / max(1, fitted)
    return tuple(class_figures(one, confidence) for one in found.groups)


def _outside(outcomes: Mapping[str, int], resting: Sequence[Resting]) -> list[str]:
    found = [f"{name} rows ({n:,})" for name, n in sorted(outcomes.items()) if name not in BAD_ENDS]
    if resting:
        more = " or more" if len(resting) >= MOST_RESTING else ""
        found.append(f"steps that nothing has settled ({len(resting):,}{more})")
    return found


def _against(
    told: RunReport,
    alarms: Sequence[Mapping[str, Any]],
    found: Sequence[Alarmed],
    outcomes: Mapping[str, int],
    audit: Audit | None,
) -> list[str]:
    """Return what speaks against the number for the whole run."""
    against = []
    if alarms:
        against.append(
            f"the monitor alarmed while the run went on ({len(alarms):,} times): votes are not as the number takes them"
        )
    if found:
        kinds = sorted({str(one.alarm.statistic) for one in found})
        against.append(
            f"the monitor alarms over the log ({', '.join(kinds)}): votes of a step are not independent, or steps are"
            " not alike"
        )
    if told.status == "failed":
        against.append("the task itself says that it missed its goal: some step was wrong, or the goal out of reach")
    if ended := sum(outcomes.get(name, 0) for name in BAD_ENDS):
        against.append(f"{ended:,} decided rows ended wrong by the task's own word")
    if audit is not None and audit.whole.wrong:
        against.append(f"{audit.whole.wrong:,} of {audit.whole.labelled:,} labelled rows are wrong")
    return against


def _truth(told: RunReport, audit: Audit | None) -> tuple[str, ...]:
    found = []
    if told.status == "done":
        found.append(
            "The task ended well by its own word (Done.ok). How much it looked at before it said so, the task's code"
            " knows; if it checks nothing, this says nothing."
        )
    elif told.status == "failed":
        found.append(f"The task ended wrong by its own word: {told.reason or 'it gives no reason'}.")
    else:
        found.append(f"The run is {told.status}: the task has not had its say on what came of it.")
    if audit is not None:
        one = audit.whole
        found.append(
            f"Labels: {one.wrong:,} of {one.labelled:,} labelled rows are wrong; at most {one.at_most:.2%} of"
            f" {one.decided:,} decided rows are, with a confidence of {audit.confidence:.0%}, if the labels are right."
        )
    else:
        found.append("No labels were given: no step was compared with what is right.")
    found.append("That votes agree is agreement, and not accuracy.")
    return tuple(found)


def _plain(value: Any) -> Any:
    """Return a value as JSON: tuples with names as objects."""
    if hasattr(value, "_asdict"):
        return {name: _plain(one) for name, one in value._asdict().items()}
    if hasattr(value, "__dataclass_fields__"):
        return {name: _plain(getattr(value, name)) for name in value.__dataclass_fields__}
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, (list, tuple)) else value
