"""The ways to answer rows that a comparison knows; a further one is a function more in the table `METHODS`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from maker.errors import BadInput
from maker.job.estimate import requests_for
from maker.job.rules import rules_of, vote_prices
from maker.reporting.comparison.asking import Asked, Drawn, RowAsker, Spending
from maker.voting.policy import SOLVER

VOTES, GREEDY, SINGLE, MEMBERS, CONSISTENCY = "votes", "greedy", "single", "members", "self-consistency"
FEWEST, MOST = 3, 39
"""Samples of self-consistency, an odd number: the fewest that can outvote one, and about the 40 of arXiv 2203.11171."""


class Answers(NamedTuple):
    """What a way answers: by row the key that its answer counts under, None where it has none.

    ``about`` names it in a table, ``called`` in a sentence. ``plain`` says that it asks once for each row. ``spent`` is
    what it alone would have been metered for. ``runs`` are those that its samples are from.
    """

    method: str
    about: str
    called: str
    keys: Mapping[int, str | None]
    spent: Spending
    runs: tuple[str, ...]
    plain: bool = False


Method = Callable[[RowAsker], Iterator[Answers]]
"""Has rows asked, and yields the answers of one way or of several alike; none where the job has no such way."""


def greedy(asker: RowAsker) -> Iterator[Answers]:
    """Answer by one reply at temperature 0."""
    if not asker.members and (asked := asker.ask_greedily()) is not None:
        yield _as_decided(GREEDY, GREEDY, "one greedy call", asked)


def members(asker: RowAsker) -> Iterator[Answers]:
    """Answer by one call of each member of a pool alone: a greedy one where it takes that."""
    for name in asker.members:
        asked = asker.ask_greedily(name)
        how = "one sample" if asked is None else "one greedy call"
        asked = asked or asker.draw(1, asker.rows, member=name)
        yield _as_decided(MEMBERS, name, f"{how} of {name}", asked)


def single(asker: RowAsker) -> Iterator[Answers]:
    """Answer by the first sample of the job's votes."""
    if not asker.members:
        yield _of_samples(
            asker, SINGLE, "k = 1", "one sample", {row: one.samples for row, one in asker.voted.rows.items()}, 1
        )


def self_consistency(asker: RowAsker) -> Iterator[Answers]:
    """Answer by the most frequent of n samples, where n takes as many tokens as the votes do.

    Of several as frequent the one that came first is taken. The samples of the votes are the first ones; what is
    missing is asked for.
    """
    if asker.members or asker.job.voter.least == 1:
        return
    count = equal_samples(asker)
    bank = {row: one.samples for row, one in asker.voted.rows.items()}
    # A row without any sample could not be asked.
    short = [row for row in asker.rows if 0 < len(bank[row]) < count]
    runs = asker.voted.runs
    if short:
        more = asker.draw(count - min(len(bank[row]) for row in short), short)
        bank |= {row: bank[row] + more.rows[row].samples for row in short}
        runs += more.runs
    found = _of_samples(asker, CONSISTENCY, about := f"majority of {count}", about, bank, count)
    yield found._replace(runs=runs)


def votes(asker: RowAsker) -> Iterator[Answers]:
    """Answer as the job does."""
    k = asker.job.settings["vote"].get("k")
    if isinstance(k, Mapping) and len(set(k.values())) == 1:
        k = next(iter(k.values()))
    rule = f"k = {k}" if isinstance(k, int) else asker.job.voter.name
    about = f"pool votes ({rule})" if asker.members else f"votes ({rule})"
    yield _as_decided(VOTES, about, about, asker.voted)


METHODS: Mapping[str, Method] = {
    GREEDY: greedy, MEMBERS: members, SINGLE: single, CONSISTENCY: self_consistency, VOTES: votes,
}  # fmt: skip
"""By name, in the order in which they are told."""


def chosen_methods(names: Sequence[str]) -> tuple[str, ...]:
    """Return the ways that are named, all of them where none is. Raises `BadInput`."""
    if unknown := [name for name in names if name not in METHODS]:
        raise BadInput(f"there is no method {unknown[0]!r}", fix=f"choose from {', '.join(METHODS)}")
    found = tuple(name for name in METHODS if name in names or not names)
    if VOTES not in found or not {GREEDY, MEMBERS, SINGLE} & set(found):
        raise BadInput(
            f"--methods {','.join(names)} leaves nothing to compare: it takes the votes, and one call a row",
            fix=f"name {VOTES} and one of {GREEDY}, {MEMBERS}, {SINGLE}",
        )
    return found


def equal_samples(asker: RowAsker) -> int:
    """Return the odd number of samples a row that comes nearest to the tokens of the job's own votes."""
    drawn = [one for heard in asker.voted.rows.values() for one in heard.samples]
    each = sum(one.tokens for one in drawn) / max(1, len(drawn))

    def off(count: int) -> float:
        tokens = len(asker.rows) * (asker.prompt_tokens * _requests(asker, count) + each * count)
        return abs(tokens - asker.voted.spent.tokens)

    return min(range(FEWEST, MOST + 1, 2), key=off)


def _requests(asker: RowAsker, count: int) -> int:
    return requests_for(asker.job, rules_of(asker.job).roles[SOLVER].rotation, count)


def _as_decided(method: str, about: str, called: str, asked: Asked) -> Answers:
    keys = {row: one.winner for row, one in asked.rows.items()}
    return Answers(method, about, called, keys, asked.spent, asked.runs, plain=method in (GREEDY, MEMBERS))


def _of_samples(
    asker: RowAsker, method: str, about: str, called: str, bank: Mapping[int, Sequence[Drawn]], count: int
) -> Answers:
    """Return what a majority of the first samples answers, and what asking for these alone would have cost."""
    first = {row: samples[:count] for row, samples in bank.items()}
    asked = sum(bool(samples) for samples in first.values())
    requests = asked * _requests(asker, count)
    prompt, spoken = round(requests * asker.prompt_tokens), sum(one.tokens for its in first.values() for one in its)
    prices = vote_prices(asker.job)
    cost = None if prices is None else prices.of(prompt, spoken)
    spent = Spending(asked * count, requests, prompt, spoken, cost)
    keys = {row: most_frequent(samples) for row, samples in first.items()}
    return Answers(method, about, called, keys, spent, asker.voted.runs, plain=count == 1)


def most_frequent(samples: Sequence[Drawn]) -> str | None:
    """Return the key that most samples vote for, of several the one that came first; None where all are flagged."""
    found = Counter(one.key for one in samples if one.key is not None).most_common(1)
    return found[0][0] if found else None
