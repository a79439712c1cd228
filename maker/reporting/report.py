"""Assemble a run's report, and write it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any

from maker.core.atomic import refuse_taken, replacing, write_errors
from maker.errors import DISTRIBUTION
from maker.job.fingerprint import of_samples
from maker.lifecycle.events import VoteBudgetOver, budget_line
from maker.lifecycle.queries import RunReport, children_called, opened, store_url, task_of, whole_report
from maker.lifecycle.rows import REVIEWED
from maker.reporting.accept import accepted_lines
from maker.reporting.audit import Audit
from maker.reporting.claims import Claim, claimed
from maker.reporting.comparison.kept import comparison_line, comparison_of
from maker.reporting.counts import KEPT, ClassAlarm, LogCounts, count_log
from maker.reporting.decision_rules import DecisionRule, decision_rule
from maker.reporting.disputes import MOST_STOPPED, Dispute, StoppedChain, disputes, resting_chains
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
from maker.reporting.label_statements import error_share, statements
from maker.reporting.labels import holds_sample, judge_labels
from maker.reporting.row_labels import LabelCheck, LabelFile, check_labels, read_row_labels
from maker.stats.vote_tests import Statistic
from maker.store.backend.database import Database, shown_url
from maker.store.log import count_cuts
from maker.store.referrals import count_open
from maker.store.reviews import reviews_of
from maker.store.runs import RunRow, find_run
from maker.store.unresolved import count_outcomes, unresolved_flags
from maker.types import Outcome

NAME = "maker-report"
VERSION = 1
_APART = ("run", "version", "audit", "labelled")
"""What of a report is written as JSON in a form of its own."""
BAD_ENDS = (Outcome.WRONG, Outcome.REFUSED)
ALARM = "alarm"
"""The kind of the event that the monitor writes during the run when it raises an alarm."""
NOT_AS_ASSUMED = (
    "votes of a step are not independent, or steps are not alike; these votes do not tell which, and the number needs"
    " independent ones"
)
AGREE_TOO_MUCH = (
    "votes agree more than the probabilities that replies report allow, so do not rely on the voter's `error`"
)
"""What alarms of the monitor mean for the number, and for what was claimed."""


@dataclass(frozen=True, slots=True)
class Report:
    """What was claimed of a run, what was measured, and the evidence; docs/report.md explains each part.

    ``labelled`` is what labels of rows say, ``lead`` the same in sentences, which come first: None and () without
    any. ``truth`` says in sentences what is known about right and wrong. ``told`` are alarms that the monitor raised
    during the run, ``alarms`` those it raises over the stored log. ``disputed`` are the first of ``disputed_steps``
    steps, those with most doubt. ``outcomes`` counts rows without a good decision of votes; those that people have
    decided beside the log are ``reviewed``. ``unresolved_flags`` counts the flagged samples of steps without a
    decision, by reason; ``resting`` are chains that stopped before their end, ``cuts``
    counts parts of the run that were decided again. ``reused`` steps were taken from the memo; ``outside`` of the
    decisions were made by other runs, and are counted as this one's. ``answered`` steps were decided by people, after
    votes had elected nobody: no other figure counts them as decided. ``budget`` says what a budget of votes has
    bought, "" where there is none, or it is not over.
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
    alarms: tuple[ClassAlarm, ...]
    rules: tuple[DecisionRule, ...]
    classes: tuple[ClassFigures, ...]
    flags: tuple[FlagCount, ...]
    models: tuple[ModelShare, ...]
    disputed_steps: int
    disputed: tuple[Dispute, ...]
    outcomes: Mapping[str, int]
    resting: tuple[StoppedChain, ...]
    unresolved_flags: Mapping[str, int]
    cuts: int
    reused: int
    outside: int
    answered: int
    audit: Audit | None
    labelled: LabelCheck | None
    lead: tuple[str, ...]
    budget: str

    @property
    def steps(self) -> int:
        """All live steps, with those shared with the run that this one was forked from."""
        return self.decisions - self.outside + self.reused + self.answered

    @property
    def decisions(self) -> int:
        """How many distinct decisions the steps use: each was voted on once, and may be reused often."""
        return sum(one.steps for one in self.classes)

    @property
    def votes(self) -> int:
        """All valid votes of these decisions, without a judge's."""
        return sum(one.valid_votes for one in self.classes)

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON."""
        parts = {
            name: getattr(self, name) for name in self.__slots__ if name not in ("run", "version", "audit", "labelled")
        }
        head = {"format": NAME, "version": VERSION, "maker": self.version, "run": self.run.to_json()}
        rest: dict[str, Any] = {name: _plain(value) for name, value in parts.items()}
        rest["audit"] = None if self.audit is None else self.audit.to_json()
        if self.labelled is not None:
            rest["labelled"] = self.labelled.to_json() | {"error": error_share(self.labelled)._asdict()}
        return head | rest


def report(
    run_id: str, *, store: str | None = None, labels: Path | LabelFile | None = None, disputed: int = KEPT
) -> Report:
    """Return a report on a run. Reads its log once, in constant memory. Blocks; changes nothing.

    Args:
        run_id: A run's id, its unique beginning, or ``last``.
        store: The database of runs, else that of MAKER_STORE.
        labels: Labels of a map's rows, by their ids, as `maker.reporting.row_labels` reads them; or a labelled sample,
            as `maker.reporting.labels.judge_labels` does.
        disputed: How many disputed steps to include with their samples, 1,000 at most.

    Raises:
        RunNotFound, StoreUnusable: There is no such run, or no such store.
        BadInput: The labels do not fit the run.
        StoreFailed: A step cannot be read.
        MakerError: The run was retried meanwhile.
    """
    file = LabelFile(labels) if isinstance(labels, Path) else labels
    audit = judge_labels(run_id, file.path, store=store) if file is not None and holds_sample(file.path) else None
    with opened(store) as database:
        run = find_run(database, run_id if audit is None else audit.run_id)
        labelled = None
        if file is not None and audit is None:
            labelled = check_labels(database, run, read_row_labels(database, run, file))
        shown_run = whole_report(database, run.run_id)
        found = count_log(database, run)
        outcomes = _outcomes(database, run, shown_run.reviewed)
        classes = _classes(found)
        shown = tuple(disputes(database, run, task_of(run), found.doubted[:disputed]))
        resting = tuple(resting_chains(database, run))
        left_flags = unresolved_flags(database, run.key)
        asked = count_open(database, run.key)
        cuts = count_cuts(database, run.key)
        compared = comparison_of(database, of_samples(run.fingerprint))
    alarms = tuple(event for event in shown_run.events if event["kind"] == ALARM)
    rules = tuple(
        dict.fromkeys([decision_rule(run, kind) for kind in range(len(run.classes))] + [one.ruled for one in classes])
    )
    against = _against(shown_run, outcomes, audit, labelled)
    number = whole(
        classes,
        _outside(shown_run, outcomes, resting, (asked, found.answered)),
        against,
        _alarmed(alarms, found.alarms),
    )
    lead = _lead(number, audit, labelled)
    return Report(
        run=shown_run, version=version(DISTRIBUTION), began_s=run.created_at, changed_s=run.updated_at,
        made_s=time.time(), store=shown_url(store_url(store)),
        claim=claimed(run.settings["vote"], rules, alarmed=bool(alarms or found.alarms)), whole=number,
        truth=_truth(shown_run, lead, compared), told=alarms, alarms=tuple(found.alarms), rules=rules, classes=classes,
        flags=tuple(flags(found.groups)), models=tuple(agreement(found.groups)),
        disputed_steps=sum(one.disputed.found for one in classes), disputed=shown, outcomes=outcomes, resting=resting,
        unresolved_flags=left_flags, cuts=cuts, reused=found.reused, outside=found.outside, answered=found.answered,
        audit=audit,
        labelled=labelled, lead=lead, budget=_bought(shown_run.events),
    )  # fmt: skip


def write(text: str, out: Path | IO[bytes], *, force: bool = False) -> None:
    """Write a report to a file, which appears when it is complete, or to a stream, which is flushed.

    Raises:
        BadInput: The file exists already and ``force`` is not set, or it cannot be created.
        MakerError: It cannot be written to its end.
        BrokenPipeError: Nobody reads the stream any more.
    """
    # Half of a surrogate pair has no UTF-8: JSON writes it as an escape, and the page has spelled it out already.
    content = text.encode("utf-8", "backslashreplace")
    with write_errors(out):
        if isinstance(out, Path):
            refuse_taken(out, force=force)
            with replacing(out, lambda: refuse_taken(out, force=force)) as file:
                file.write(content)
        else:
            out.write(content)
            out.flush()


def _outcomes(database: Database, run: RunRow, reviewed: int) -> dict[str, int]:
    """Count rows without a good decision of votes by outcome, and apart those that people have decided all the same."""
    found = Counter({name: n for name, n in count_outcomes(database, run.key).items() if not Outcome(name).open})
    found.subtract(Counter(one.outcome for one in reviews_of(database, run.key)))
    found[REVIEWED] = reviewed
    return {name: n for name, n in found.items() if n}


def _classes(found: LogCounts) -> tuple[ClassFigures, ...]:
    """Return the figures of each class; the risk that an interval is wrong is divided over them."""
    fitted = sum(one.ruled.k is not None and one.ruled.k > 1 and one.steps > one.judged for one in found.groups)
    confidence = 1 - (1 - CONFIDENCE) / max(1, fitted)
    return tuple(class_figures(one, confidence) for one in found.groups)


def _outside(
    run: RunReport, outcomes: Mapping[str, int], resting: Sequence[StoppedChain], referred: tuple[int, int]
) -> list[str]:
    """Return what the number for the run leaves out. ``referred`` steps people are asked about, and have decided."""
    what = children_called(run)
    found = [f"{name} {what} ({n:,})" for name, n in sorted(outcomes.items()) if name not in BAD_ENDS]
    if run.settings["task"]["decomposer"] == "document" and run.status == "done":
        parted = sum("lines" in one for one in run.result.get("missing", ()))
        found += [f"undecided lines of slices ({parted:,} slices, which the result names)"] if parted else []
    asked, answered = referred
    if asked:
        found.append(f"steps that people are asked about ({asked:,})")
    if answered:
        found.append(f"steps that people decided ({answered:,})")
    if resting:
        more = " or more" if len(resting) >= MOST_STOPPED else ""
        found.append(f"unresolved steps ({len(resting):,}{more})")
    return found


def _bought(events: Sequence[Mapping[str, Any]]) -> str:
    over = [one for one in events if one["kind"] == VoteBudgetOver.kind]
    return budget_line(over[-1]) if over else ""


def _alarmed(told: Sequence[Mapping[str, Any]], found: Sequence[ClassAlarm]) -> str:
    """Say which alarms of the vote monitor contradict what the number for the run assumes; "" if there are none."""
    # The number rests on the run's own votes, and on no pilot.
    told = [one for one in told if one.get("statistic") != Statistic.SHIFT]
    found = [one for one in found if one.alarm.statistic != Statistic.SHIFT]
    kinds = {str(one.get("statistic", "?")) for one in told} | {str(one.alarm.statistic) for one in found}
    if not kinds:
        return ""
    where = [f"{len(told):,} during the run"] * bool(told) + [f"{len(found):,} over its log"] * bool(found)
    meanings = [AGREE_TOO_MUCH] * (Statistic.CONFIDENCE in kinds)
    meanings += [NOT_AS_ASSUMED] * bool(kinds - {Statistic.CONFIDENCE})
    return f"the vote monitor raised alarms ({', '.join(sorted(kinds))}; {' and '.join(where)}): {'; '.join(meanings)}"


def _against(
    run: RunReport, outcomes: Mapping[str, int], audit: Audit | None, labelled: LabelCheck | None
) -> list[str]:
    """Return the evidence against the number for the whole run."""
    against = []
    if run.status == "failed":
        against.append("the task reports that it missed its goal: a step was wrong, or the goal cannot be reached")
    if ended := sum(outcomes.get(name, 0) for name in BAD_ENDS):
        against.append(f"the task reports {ended:,} decided rows as wrong")
    if audit is not None and audit.whole.wrong:
        against.append(f"{audit.whole.wrong:,} of {audit.whole.labelled:,} labelled rows are wrong")
    if labelled is not None and labelled.wrong:
        against.append(f"{labelled.wrong:,} of {labelled.decided:,} labelled rows that are decided are wrong")
    return against


def _lead(whole: Whole, audit: Audit | None, labelled: LabelCheck | None) -> tuple[str, ...]:
    """Return what labels say, which is said first; () without any."""
    if labelled is not None:
        return statements(labelled, whole)
    return () if audit is None else (_audited(audit), *_expected(audit, whole))


def _expected(audit: Audit, whole: Whole) -> tuple[str, ...]:
    """Return what votes alone lead to expect beside what the labels of a sample do; () where either is not known."""
    one = audit.whole
    if whole.wrong is None or one.estimate is None:
        return ()
    expected = whole.wrong.value / whole.steps * one.decided
    return (
        f"Votes alone lead to expect {expected:.1f} wrong ones of these {one.decided:,}; the labels,"
        f" {one.estimate * one.decided:.1f}.",
    )


def _audited(audit: Audit) -> str:
    one = audit.whole
    return (
        f"Labels: {one.wrong:,} of {one.labelled:,} labelled rows are wrong; at most {one.at_most:.2%} of"
        f" {one.decided:,} decided rows are, with a confidence of {audit.confidence:.0%}, if the labels are right."
    )


def _truth(run: RunReport, lead: Sequence[str], compared: Mapping[str, Any] | None) -> tuple[str, ...]:
    found = []
    if run.status == "done":
        found.append(
            "The task reports success (Done.ok). That is worth as much as the check in the task's code; if it checks"
            " nothing, it means nothing."
        )
    elif run.status == "failed":
        found.append(f"The task reports failure: {run.reason or 'it gives no reason'}.")
    else:
        found.append(f"The run is {run.status}: the task has not reported success or failure.")
    found.append(lead[0] if lead else "This report was given no labels, so it compares no step with a right answer.")
    found.append("Agreement among votes is not accuracy.")
    found += [] if compared is None else [comparison_line(compared)]
    return (*found, *accepted_lines(run.events))


def _plain(value: Any) -> Any:
    """Return a value as JSON: tuples with names as objects."""
    if hasattr(value, "_asdict"):
        return {name: _plain(one) for name, one in value._asdict().items()}
    if hasattr(value, "__dataclass_fields__"):
        return {name: _plain(getattr(value, name)) for name in value.__dataclass_fields__}
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, (list, tuple)) else value
