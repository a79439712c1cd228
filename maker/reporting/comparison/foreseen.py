"""What a comparison will take: counted from the labelled rows' prompts, before anything is asked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from maker.job.estimate import survey_rows
from maker.job.rules import vote_prices
from maker.reporting.comparison.asking import RowAsker
from maker.reporting.comparison.compare import LabelledJob
from maker.reporting.comparison.methods import CONSISTENCY, GREEDY, MEMBERS, chosen_methods


class Foreseen(NamedTuple):
    """What a comparison takes at least: no disagreement, no red flag, and nothing asked before.

    ``completion_tokens`` are the most that these calls may bring. ``cost`` is the least and the most for these calls,
    None without prices. With ``consistency`` about as many tokens more are taken as the votes take, at most.
    """

    rows: int
    calls: int
    prompt_tokens: int
    completion_tokens: int
    cost: tuple[float, float] | None
    consistency: bool


def foresee(given: LabelledJob, methods: Sequence[str] = ()) -> Foreseen:
    """Return what a comparison will take. Reads the labelled rows, and asks nothing. Raises as `compare` does."""
    names, asker = chosen_methods(methods), RowAsker(given.job, given.rows)
    survey = survey_rows(asker.own_job(given.rows))
    once = survey.prompt_tokens // survey.requests
    greedy = GREEDY in names and not asker.members and asker.can_be_greedy()
    alone = len(asker.members) * (MEMBERS in names) + greedy
    calls = survey.calls + alone * survey.rows
    prompt, most = survey.prompt_tokens + alone * once, calls * survey.reply_tokens
    prices = vote_prices(given.job)
    cost = None if prices is None else (prices.of(prompt, calls), prices.of(prompt, most))
    shared = CONSISTENCY in names and not asker.members and survey.votes > 1
    return Foreseen(survey.rows, calls, prompt, most, cost, shared)
