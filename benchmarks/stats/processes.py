"""Whether plans and monitors keep their word on error processes that they were not made for.

    python -m benchmarks.stats.processes [--runs 200] [--seed 20261130] [--only NAME] [--workers 2]

A run's rows are drawn from a process (`PROCESSES`); a pilot asks some of them, and its replies go through the code of
`maker calibrate` and `maker plan`. Where a plan is made for the target of .95, P(run right) at its margins is computed
for exactly these rows, or simulated where there are several rivals; and one run is simulated, shown to the monitor in
the order in which rows end, `IN_WORK` of them in work at once, with a last look at its end.

- claimed, true: the mean of the plan's estimate of P(run right), and of the exact one. *kept*: the share of plans whose
  exact one is the target or more; *right*: the simulated runs that are right.
- shown, wrong <=: the mean of what the plan shows at 95 %, P(run right) and wrong rows; wrong: the exact expectation of
  these. broken: the plans of which either does not hold.
- alarms: runs with an alarm; *told*: those among the plans that are not kept, and the shares that are broken.

Of ``weighted`` and ``vote.row_error`` the claim is a share of rows (`SHARES`): of wrong ones, and of those that another
vote decides otherwise. Votes of ``weighted`` are shown to the monitor with what their replies report.
"""

from __future__ import annotations

import math
import re
import statistics
import sys
import time
from argparse import Namespace
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from functools import lru_cache, partial
from typing import Any, NamedTuple
from zlib import crc32

import numpy as np
from numpy.random import Generator

from benchmarks.shared.comparing import Goal, number, print_goals, table
from benchmarks.shared.error_processes import (
    FLAGGED,
    IN_WORK,
    Process,
    Reals,
    Rows,
    alike,
    bad_minutes,
    beta,
    changed,
    choose,
    draw_rows,
    drift,
    hear,
    log_normal_odds,
    mixed,
    replies,
)
from benchmarks.shared.options import make_parser, read_options
from benchmarks.shared.races import Ended, failures, hold, moments_of
from benchmarks.shared.tasks import known_steps
from maker.calibration.calibrate import ROUNDS
from maker.calibration.map_pilot import MARGINS, Level, Pair, contested, least_level, sample_size
from maker.calibration.observations import By, Calibration, ClassFound, FateFound, Kept, Reply, Tallies, by_request
from maker.calibration.plan import TARGET, plan_from
from maker.calibration.shown import Shown
from maker.errors import MakerError
from maker.job.job import Job
from maker.job.load import load_job
from maker.plugin import Voter
from maker.sampling.label_sample import refuse_in_order
from maker.stats.dependence import shared_fate
from maker.stats.monitor import Alarm, Monitor
from maker.stats.reported import Odds, surprise
from maker.stats.request_votes import RequestVotes
from maker.stats.vote_tests import PilotSteps, Rule
from maker.types import Flag
from voters.first_to_ahead_by_k import FirstToAheadByK, FirstToAheadByKParams

ROUNDING = 1e-9
"""Of sums of chances."""
TOKENS = 10
"""Of a reply."""
MOST = 1000
"""Replies to one row: ``vote.max_votes``, raised so that no row ends before its vote."""
P = 0.97
"""Of most rows, where nothing else is said."""
ADVERSE = mixed(alike(P), alike(0.45), 1 / 200)
HARD = mixed(alike(0.99), alike(0.45), 1 / 100)


def malformed_where_hard(p: Reals) -> Reals:
    """Return the share of malformed replies: 2 % of an easy row, 90 % of one whose likeliest answer is wrong."""
    return np.where(p < 0.5, 0.9, 0.02)


FINE = (
    Process("p-.9", "rows alike, p = .9", (alike(0.9),)),
    Process("p-.99", "rows alike, p = .99", (alike(0.99),)),
    Process("p-.999", "rows alike, p = .999", (alike(0.999),)),
    Process("p-1", "rows alike, p = 1", (alike(1.0),)),
    Process("classes", "three classes, p = .99, .95 and .9", (alike(0.99), alike(0.95), alike(0.9))),
    Process("rivals-4", "p = .3 against four rivals of .175", (alike(0.3),), rivals=4),
    Process("rivals-6", "p = .4 against six rivals of .1", (alike(0.4),), rivals=6),
    Process("whole", "own: 100 rows, p = .999; all of them are piloted", (alike(0.999),), rows=100, piloted=100),
    Process("unlabelled", "own: rows alike, p = .95, unlabelled", (alike(0.95),), labelled=False),
    Process("beta", "p is Beta(19, 1)", (beta(19, 1),)),
)
"""Processes that votes can cope with: they are to be planned. Only the last has rows that are not alike."""
EXCHANGEABLE = (
    Process("adverse", "1 row in 200 has p = .45, others .97", (ADVERSE,)),
    Process("adverse-seen", "the same, and the pilot asks one such row", (ADVERSE,), hard=1),
    Process("adverse-5000", "the same with 2,000 steps of 5,000 piloted", (ADVERSE,), rows=5000, piloted=2000),
    Process("malformed", "1 row in 100 has p = .45 and 90 % malformed replies", (HARD,),
            malformed=malformed_where_hard),
    Process("malformed-5000", "the same with 2,000 steps of 5,000 piloted", (HARD,), rows=5000, piloted=2000,
            malformed=malformed_where_hard),
    Process("one-fate", "with c = .3 all replies of a request are one; p = .95, unlabelled", (alike(0.95),),
            labelled=False, together=0.3),
    Process("whole-adverse", "own: 300 rows, 1 in 200 has p = .45, others .97; all of them are piloted", (ADVERSE,),
            rows=300),
    Process("300,000", "2 rows in 1,000 have p = .3, others .97; 200 of 300,000 are piloted",
            (mixed(alike(P), alike(0.3), 0.002),), rows=300_000, piloted=200),
    Process("far-apart", "own: 90 % of the rows have p = .999, 10 % .7", (mixed(alike(0.999), alike(0.7), 0.1),)),
    Process("log-normal", "own: the odds are log-normal about those of .97, with a deviation of 1.5",
            (log_normal_odds(P, 1.5),)),
    Process("repeats", "own: on 1 row in 20 all votes repeat the first; p = .97", (alike(P),), repeats=0.05),
    Process("late", "own: the last tenth of the rows has p = .7, others .99; rows are piloted at random",
            (mixed(alike(0.99), alike(0.7), 0.1),), late=True),
)  # fmt: skip
"""Processes whose piloted rows are like the others."""
CHANGING = (
    Process("drift", "p falls from .97 to .8 over the run", (alike(P),), course=drift(P, 0.8)),
    Process("bad-minutes", "in 5 % of the minutes p is .5, else .97; the pilot had none", (alike(P),),
            course=bad_minutes(0.05, P, 0.5, seen=False)),
    Process("bad-minutes-seen", "the same, and the pilot had its own", (alike(P),),
            course=bad_minutes(0.05, P, 0.5, seen=True)),
    Process("first-rows", "own: the last 2 % of the rows have p = .45, others .97; the first rows are piloted",
            (mixed(alike(P), alike(0.45), 0.02),), late=True, first=True),
    Process("after-pilot", "own: p is .97 in the pilot, and .9 in the whole run", (alike(P),),
            course=changed(P, 0.9)),
    Process("by-margin", "own: 90 % of the rows have p = .999, 10 % .7, and the easiest rows are piloted",
            (mixed(alike(0.999), alike(0.7), 0.1),), easiest=True),
)  # fmt: skip
"""Processes under which a pilot cannot be like the run."""
PROCESSES = {one.name: one for one in (*FINE, *EXCHANGEABLE, *CHANGING)}
ROW_ERROR = 0.05
SHARES = {
    one.name: one
    for one in (
        Process("weighted", "`weighted` with error = .01: replies report .9, 10 % of the rows are always wrong",
                (mixed(alike(1.0), alike(0.0), 0.1),)),
        Process("weighted-calibrated", "own: `weighted` with error = .01: replies report .9, and each is right with .9",
                (alike(0.9),)),
        Process("row-error", "`vote.row_error` = .05, p = .95", (alike(0.95),)),
        Process("row-error-drift", "the same, p falls to .7 over the run", (alike(0.95),), course=drift(0.95, 0.7)),
        Process("row-error-bursts", "the same, in 10 % of the minutes p is .5", (alike(0.95),),
                course=bad_minutes(0.1, 0.95, 0.5, seen=False)),
    )
}  # fmt: skip
"""Processes whose claim is a share of rows."""
WEIGHTED_K, WEIGHTED_ERROR, REPORTED = 3, 0.01, 0.9
"""What `weighted` comes to where all replies report .9: a race to a lead of three."""


class Planned(NamedTuple):
    """One plan, and what came of it: P(run right) and the expected wrong rows, both exact.

    ``shown`` is what the pilot shows of either, None where no one has checked an answer.
    """

    claimed: float
    true: float
    wrong: float
    right: bool
    shown: Shown | None
    k: int
    votes: float
    alarms: tuple[str, ...]

    @property
    def kept(self) -> bool:
        """Whether the target is reached in truth."""
        return self.true >= TARGET

    @property
    def broken(self) -> bool:
        """Whether what was shown is not so."""
        return self.shown is not None and (self.true < self.shown.right - ROUNDING or self.wrong > self.shown.wrong)


class Share(NamedTuple):
    """One run whose claim is a share of rows, at most; and what is true."""

    claimed: float
    true: float
    k: int
    votes: float
    alarms: tuple[str, ...]

    @property
    def broken(self) -> bool:
        """Whether more than what was claimed is so."""
        return self.true > self.claimed


@lru_cache(maxsize=1)
def job_of(process: Process) -> Job:
    """Return the job whose steps a process's rows are."""
    steps = np.bincount(np.arange(process.rows) % len(process.laws)).tolist()
    return load_job(
        {
            "task": {"decomposer": f"{known_steps.__file__}:Known", "steps": steps},
            "model": {"kind": "simulated"},
            "vote": {"k": "auto", "target": TARGET, "max_votes": MOST},
            "store": {"url": "sqlite://"},
        }
    )


def calibrated(process: Process, rng: Generator, rows: Rows) -> Calibration:
    """Hold the pilot: in each of its rounds one request for every step."""
    asked = choose(process, rng, rows)
    if process.labelled:
        refuse_in_order(asked.tolist(), process.rows)
    heard = hear(process, rng, rows, asked, ROUNDS)
    right = {"0"} if process.labelled else None
    tallies, requests = [Tallies(1) for _ in process.laws], []
    for row, answers in zip(asked.tolist(), heard.tolist(), strict=True):
        told = [_reply(answer, ROUNDS * place // process.votes) for place, answer in enumerate(answers)]
        tallies[rows.kind[row]].add(told, right)
        requests.append(by_request(told, right))
    return Calibration(
        by=By.LABELS if process.labelled else By.VOTES, votes=process.votes, classes=dict(_found(process, tallies)),
        fate=_fate(requests), requests=ROUNDS * len(asked), prompt_tokens=TOKENS * ROUNDS * len(asked), seconds=1.0,
        runs=(), fingerprint={},
    )  # fmt: skip


def _fate(requests: Sequence[Sequence[RequestVotes]]) -> FateFound | None:
    found = shared_fate(requests)
    if found is None:
        return None
    low, estimate, high = found.correlation
    return FateFound(steps=found.steps, correlation=(low, estimate, high), chance=found.chance)


def _reply(answer: int, round_: int) -> Reply:
    return Reply(None if answer == FLAGGED else str(answer), Flag.FORMAT if answer == FLAGGED else None, TOKENS,
                 round=round_)  # fmt: skip


def _found(process: Process, tallies: Sequence[Tallies]) -> Iterator[tuple[str, ClassFound]]:
    of = np.bincount(np.arange(process.rows) % len(tallies)).tolist()
    for kind, one in enumerate(tallies):
        yield f"c{kind}", one.found(of[kind], None, drawn=process.labelled)


def alarms_of(
    rules: Sequence[Rule | None], pilot: Mapping[int, PilotSteps], rows: Rows, ended: Ended
) -> tuple[str, ...]:
    """Show a run to the monitor, beside its pilot; return the alarms until its end, a last look among them."""
    monitor = Monitor(rules, IN_WORK, pilot)
    for row in ended.order.tolist():
        monitor.observe(int(rows.kind[row]), int(ended.winner[row]), int(ended.rival[row]), row)
    found = monitor.look() + monitor.rest((), ended=True)
    return _statistics(found)


def alarms_by_odds(ended: Ended) -> tuple[str, ...]:
    """Do the same with votes that weigh by what their replies report, `REPORTED` each."""
    monitor, logprob = Monitor([Odds()], IN_WORK), math.log(REPORTED)
    for row in ended.order.tolist():
        votes = [("winner", logprob)] * int(ended.winner[row]) + [("rival", logprob)] * int(ended.rival[row])
        monitor.observe_reported(0, surprise(votes))
    return _statistics(monitor.look() + monitor.rest((), ended=True))


def _statistics(found: Sequence[Alarm]) -> tuple[str, ...]:
    return tuple(sorted({str(alarm.statistic) for alarm in found}))


def drawn(name: str, seed: int, place: int) -> tuple[Process, Generator, Rows]:
    """Return a process, what is drawn from next, and the rows of its run of that number."""
    rng = np.random.default_rng([seed, crc32(name.encode()), place])
    process = (PROCESSES | SHARES)[name]
    rows = draw_rows(process, rng)
    while process.hard is not None and (rows.p < 0.5).sum() < process.hard:
        rows = draw_rows(process, rng)
    return process, rng, rows


def judge(name: str, seed: int, place: int) -> Planned | str:
    """Draw rows and a pilot; plan, and hold the plan against the truth. A refusal is its reason."""
    process, rng, rows = drawn(name, seed, place)
    try:
        plan = plan_from(job_of(process), Kept(1, calibrated(process, rng, rows)))
    except MakerError as refused:
        return re.sub(r"[-\d.,]*\d", "#", refused.message.removeprefix("calibration 1: "))
    by_class = [plan.margins.k[f"c{kind}"] for kind in range(len(process.laws))]
    k = np.array(by_class)[rows.kind]
    shifts = moments_of(process, rng)
    wrong = failures(process, rows, k, shifts)
    ended = hold(process, rng, rows, k, shifts, most=MOST)
    rules = [Rule(one) if one > 1 else None for one in by_class]
    pilot = {int(name.removeprefix("c")): one for name, one in plan.found().contested.items()}
    with np.errstate(divide="ignore"):
        true = float(np.exp(np.log1p(-wrong).sum()))
    return Planned(
        plan.margins.right.estimate, true, float(wrong.sum()),
        bool(ended.right.all()), plan.shown, max(by_class), ended.votes / process.rows,
        alarms_of(rules, pilot, rows, ended),
    )  # fmt: skip


def judge_share(name: str, seed: int, place: int) -> Share | str:
    """Draw rows and, for a row error, a pilot; hold the claim against the truth."""
    process, rng, rows = drawn(name, seed, place)
    weighted = name.startswith("weighted")
    if weighted:
        k, claimed = WEIGHTED_K, WEIGHTED_ERROR
    else:
        found, pilot = row_error_pilot(process, rng, rows)
        if found.at_most > ROW_ERROR:
            return "out of reach"
        k, claimed = found.k, found.at_most
    margins, shifts = np.full(process.rows, k), moments_of(process, rng)
    wrong = failures(process, rows, margins, shifts)
    ended = hold(process, rng, rows, margins, shifts, most=MOST)
    if weighted:
        return Share(claimed, float(wrong.mean()), k, ended.votes / process.rows, alarms_by_odds(ended))
    alarms = alarms_of([Rule(k) if k > 1 else None], {0: pilot} if pilot else {}, rows, ended)
    return Share(claimed, float(np.mean(2 * wrong * (1 - wrong))), k, ended.votes / process.rows, alarms)


class RowsPiloted(NamedTuple):
    """What a pilot for a row error shows of its margin, and what the monitor compares the run with."""

    level: Level
    contested: PilotSteps | None


def row_error_pilot(process: Process, rng: Generator, rows: Rows) -> RowsPiloted:
    """Vote on a sample of the rows twice, as `maker.calibration.map_pilot.pilot` does."""
    size = sample_size(process.rows, ROW_ERROR)
    for k in MARGINS:
        asked = np.sort(rng.choice(process.rows, size, replace=False))
        twice = [replies(process, rng, rows.p[asked], rows.malformed[asked], MOST).astype(str).tolist() for _ in "12"]
        pairs = [Pair(*pair) for pair in zip(*twice, strict=True)]
        found = least_level(pairs, _voter, k, ROW_ERROR)
        if found.at_most <= ROW_ERROR:
            break
    return RowsPiloted(found, contested(pairs, found.k))


def _voter(k: int) -> Voter:
    return FirstToAheadByK(FirstToAheadByKParams(k=k))


def show_plans(found: Mapping[str, Sequence[Planned | str]]) -> None:
    """Print a line for each process, and why plans were refused."""
    heads = ("process", "planned", "claimed", "true", "kept", "right", "shown", "wrong <=", "wrong", "broken", "k",
             "votes a step", "alarms", "told")  # fmt: skip
    lines = []
    for name, judged in found.items():
        plans = [one for one in judged if isinstance(one, Planned)]
        unkept = [one for one in plans if not one.kept]
        lines.append(
            (
                name,
                f"{len(plans)}/{len(judged)}",
                _mean([one.claimed for one in plans]),
                _mean([one.true for one in plans]),
                _part(one.kept for one in plans),
                _part(one.right for one in plans),
                _mean([one.shown.right for one in plans if one.shown]),
                _rows([one.shown.wrong for one in plans if one.shown]),
                _rows([one.wrong for one in plans]),
                _part(one.broken for one in plans),
                _middle([one.k for one in plans]),
                _middle([one.votes for one in plans]),
                _part(bool(one.alarms) for one in plans),
                _part(bool(one.alarms) for one in unkept),
            )
        )
    table("plans", heads, lines)
    print("\nprocesses, refusals and alarms")
    for name, judged in found.items():
        print(f"  {name}: {PROCESSES[name].about}")
        for reason, times in Counter(one for one in judged if isinstance(one, str)).most_common(3):
            print(f"    refused {times} times: {reason[:200]}")
        raised = Counter(alarm for one in judged if isinstance(one, Planned) for alarm in one.alarms)
        if raised:
            print(f"    alarms: {', '.join(f'{alarm} {times}' for alarm, times in raised.most_common())}")


def show_shares(found: Mapping[str, Sequence[Share | str]]) -> None:
    """Print a line for each process whose claim is a share of rows."""
    lines = []
    for name, judged in found.items():
        kept = [one for one in judged if isinstance(one, Share)]
        lines.append(
            (
                name,
                f"{len(kept)}/{len(judged)}",
                _mean([one.claimed for one in kept]),
                _mean([one.true for one in kept]),
                _part(one.broken for one in kept),
                _middle([one.k for one in kept]),
                _middle([one.votes for one in kept]),
                _part(bool(one.alarms) for one in kept),
                _part(bool(one.alarms) for one in kept if one.broken),
            )
        )
    heads = ("share of rows", "planned", "at most", "true", "broken", "k", "votes a step", "alarms", "told")
    table("shares", heads, lines)
    for name in found:
        print(f"  {name}: {SHARES[name].about}")


def _mean(values: Sequence[float]) -> str:
    return f"{statistics.fmean(values):.4f}" if values else "-"


def _rows(values: Sequence[float]) -> str:
    return number(statistics.fmean(values)) if values else "-"


def _middle(values: Sequence[float]) -> str:
    return number(statistics.median(values)) if values else "-"


def _part(said: Iterable[bool]) -> str:
    each = list(said)
    return f"{sum(each)}/{len(each)}" if each else "-"


def goals(found: Mapping[str, Sequence[Planned | str]]) -> Iterator[Goal]:
    """Yield what is to hold for each process, beside what was measured."""
    for process in (*FINE, *EXCHANGEABLE):
        judged = found.get(process.name, ())
        if plans := [one for one in judged if isinstance(one, Planned)]:
            broken = statistics.fmean(one.broken for one in plans)
            yield Goal(f"{process.name}: shown at 95 %, and broken", 8, 100 * broken, " %", least=False)
    for process in FINE:
        if judged := found.get(process.name, ()):
            refused = statistics.fmean(isinstance(one, str) for one in judged)
            yield Goal(f"{process.name}: refused", 5, 100 * refused, " %", least=False)
    quiet = [one for process in FINE[:-1] for one in found.get(process.name, ()) if isinstance(one, Planned)]
    if quiet:
        alarmed = statistics.fmean(bool(one.alarms) for one in quiet)
        yield Goal("false alarms where rows are alike", 1, 100 * alarmed, " %", least=False)
    for process in CHANGING:
        judged = found.get(process.name, ())
        if misled := [one for one in judged if isinstance(one, str) or not one.kept]:
            told = statistics.fmean(isinstance(one, str) or bool(one.alarms) for one in misled)
            yield Goal(f"{process.name}: refused or alarmed where it breaks", 90, 100 * told, " %")


def share_goals(found: Mapping[str, Sequence[Share | str]]) -> Iterator[Goal]:
    """Yield what is to hold of the processes whose claim is a share of rows."""
    for name, judged in found.items():
        shares = [one for one in judged if isinstance(one, Share)]
        if broken := [one for one in shares if one.broken]:
            told = statistics.fmean(bool(one.alarms) for one in broken)
            yield Goal(f"{name}: alarmed where it breaks", 90, 100 * told, " %")
        elif shares:
            alarmed = statistics.fmean(bool(one.alarms) for one in shares)
            yield Goal(f"{name}: alarmed, with nothing broken", 1, 100 * alarmed, " %", least=False)


def main() -> int:
    """Judge the processes; print plans, shares and goals."""
    parser = make_parser(__doc__)
    names = [*PROCESSES, *SHARES]
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--seed", type=int, default=20261130)
    parser.add_argument("--only", action="append", choices=names, metavar="NAME", help=f"of {', '.join(names)}")
    parser.add_argument("--workers", type=int, default=2)
    options = read_options(parser, runs=1)
    print(f"{options.runs} runs each, seed {options.seed}; target {TARGET}")
    wanted = options.only or names
    with ProcessPoolExecutor(options.workers) as pool:
        plans = {name: _all(pool, judge, name, options) for name in PROCESSES if name in wanted}
        shares = {name: _all(pool, judge_share, name, options) for name in SHARES if name in wanted}
    if plans:
        show_plans(plans)
    if shares:
        show_shares(shares)
    return print_goals([*goals(plans), *share_goals(shares)], options)


def _all(pool: Executor, judged: Callable[[str, int, int], Any], name: str, options: Namespace) -> list[Any]:
    began = time.perf_counter()
    found = list(pool.map(partial(judged, name, options.seed), range(options.runs), chunksize=5))
    print(f"{name}: {time.perf_counter() - began:.0f} s", file=sys.stderr)
    return found


if __name__ == "__main__":
    sys.exit(main())
