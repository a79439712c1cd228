"""What a run's log says of how sure a row's answer is: signals, by which rules order rows from strict to loose."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Any

from maker.core.user_code import call_user_code
from maker.lifecycle.rows import Settled, result, tally_of
from maker.plugin import vote_key
from maker.reporting.audit import least_margin
from maker.reporting.counts import doubt
from maker.stats.acceptance import Score
from maker.store.log import read_votes
from maker.voting.tally import Tally

STEP = 1000
"""Mean log-probabilities are told apart by steps of one part in so many: finer ones would make a rule of each row."""
LAST = 1.0
"""The doubt of a row that its votes did not decide: a judge did, or a person whose answer was taken from the memo."""


class Signal(StrEnum):
    """What rows are ordered by."""

    VOTES = "votes"
    """Doubt by the valid votes and the least margin, the answer's or that of one of its fields."""
    MODELS = "models"
    """The share of a pool's models that vote mostly for other answers; then doubt."""
    LOGPROB = "logprob"
    """The mean log-probability of the replies that voted for the answer, the largest first; then doubt."""


NEEDS = {
    Signal.MODELS: "a run with a pool of models",
    Signal.LOGPROB: 'a run with model.logprobs = true and store.samples = "all"',
}
"""What a signal needs beside votes."""


def scores_of(settled: Settled, signals: Iterable[Signal]) -> dict[Signal, Score | None]:
    """Return how unsure a decided row is by each signal; None where its log does not say it."""
    assert settled.step is not None  # noqa: S101 - a decided row has a step
    tally = tally_of(settled.round.database, settled.step)
    by_votes = _doubt(settled, tally)
    return {signal: _score(signal, settled, tally, by_votes) for signal in signals}


def _score(signal: Signal, settled: Settled, tally: Tally, by_votes: float) -> Score | None:
    if signal == Signal.VOTES:
        return (by_votes,)
    if signal == Signal.MODELS:
        return (_dissent(tally), by_votes) if len(tally.votes) > 1 else None
    found = _mean_logprob(settled)
    return None if found is None else (-round(found * STEP), by_votes)


def said(signal: Signal, found: Score) -> str:
    """Return a rule that accepts rows up to a score, in words."""
    *first, by_votes = found
    votes = f"doubt by votes up to {by_votes:.3g}"
    if signal == Signal.VOTES:
        return votes
    if signal == Signal.MODELS:
        return f"at most {first[0]:.0%} of the models for other answers, there with {votes}"
    return f"mean log-probability of at least {-first[0] / STEP:.3f}"


def _doubt(settled: Settled, tally: Tally) -> float:
    """Return the doubt of a report; a field of the answer that leads by less counts in the answer's place."""
    if tally.judge is not None or tally.person is not None:
        return LAST
    votes = sum(tally.votes)
    lead = least_margin(result(settled, "")) if tally.disputed else votes
    return doubt(votes, votes - lead)


def _dissent(tally: Tally) -> float:
    """Return the share of the models with a vote that have most of theirs for others than the answer."""
    cast = [(won, valid) for won, valid in zip(tally.votes, tally.valid, strict=True) if valid]
    return sum(2 * won < valid for won, valid in cast) / len(cast)


def _mean_logprob(settled: Settled) -> float | None:
    """Return the mean log-probability of a row's votes for its answer; None if one is not on record."""
    step, round_ = settled.step, settled.round
    assert step is not None  # noqa: S101 - a decided row has a step
    codec: Any = round_.decomposer.action
    winner = call_user_code(f"row {settled.row}: its action", lambda: vote_key(codec, codec.read(step.action)))
    kept = read_votes(round_.database, round_.chain.key, settled.child, settled.child + 1)
    found = [one.logprob for one in kept if one.epoch == step.epoch and one.candidate == winner]
    known = [one for one in found if one is not None]
    return sum(known) / len(known) if known and len(known) == len(found) else None
