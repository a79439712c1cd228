"""Votes on an answer that is a set: each part that any vote names is a question of its own. Pure.

The ballots are those of whole answers, as a tally holds them: so the same tally gives the same decision, in whatever
order its votes came, and `maker verify` counts the parts again. A part is decided by all votes of the step. One that
has its margin early may lose it again while the step waits for others, and is decided only when all stand at once.

With first-to-ahead-by-k, a part on which a vote is right with probability p is then decided wrongly with a probability
of at most r^k, r = (1-p)/p: with S the right votes on it less the wrong ones, r^S is a martingale whatever the other
parts have to do with it, and so E[r^S] = 1 wherever the step stops (Wald 1945). Alone it would be r^k / (1 + r^k). Of a
step with m parts in question at most m r^k are wrong on average: p = .9, k = 3 and m = 5 give at most .0069.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple

from maker.plugin import Voter
from maker.types import Ballots, Decision, More, OpenPart, Parts, Undecidable

YES, NO = "yes", "no"


class PartsDecision(NamedTuple):
    """What votes on an answer's parts come to.

    ``won`` are the names of the parts that belong to the answer, and ``undecided`` those that votes leave open, both in
    the order of the ballots. ``margin`` is the least one of a decided part, in votes, as `Decision` has it.
    """

    won: tuple[str, ...]
    undecided: tuple[OpenPart, ...]
    margin: int


def decide_parts(
    voter: Voter, parts: Parts[Any], ballots: Ballots, most: int | None
) -> PartsDecision | More | Undecidable:
    """Return what votes on the parts of an answer come to, or how many more could settle it.

    The parts that nobody names are one question more, to which every vote says no: unless that is decided, nothing is.

    Args:
        voter: Decides each part.
        parts: Says which parts a vote names.
        ballots: Votes by the key of the whole answer.
        most: How many more samples there may be; None sets no limit. A part that needs more of them stays undecided.
    """
    counts, weights = ballots
    yes, weighed = Counter[str](), Counter[str]()
    for key, votes in counts.items():
        for name in parts.named(key):
            yes[name] += votes
            if weights is not None:
                weighed[name] += weights[key]
    total, weight = sum(counts.values()), None if weights is None else sum(weights[key] for key in counts)
    others = voter.decide(_ballots(0, total, 0, weight))
    if isinstance(others, Undecidable) or (isinstance(others, More) and not _in_reach(others, most)):
        return others
    verdicts = {name: voter.decide(_ballots(votes, total, weighed[name], weight)) for name, votes in yes.items()}
    lacking = [one.n for one in (others, *verdicts.values()) if isinstance(one, More) and _in_reach(one, most)]
    if lacking:
        return More(max(lacking))
    decided = {name: one for name, one in verdicts.items() if isinstance(one, Decision)}
    return PartsDecision(
        tuple(name for name, one in decided.items() if one.winner == YES),
        tuple(OpenPart(name, votes, total - votes) for name, votes in yes.items() if name not in decided),
        min(one.margin for one in (others, *decided.values()) if isinstance(one, Decision)),
    )


def least_lead(parts: Parts[Any], counts: Mapping[str, int]) -> int:
    """Return by how many votes that part leads, for or against it, on which the votes are closest.

    3 votes that name 1 and 2, and 2 that name 1 alone: 5 to 0 on part 1, 3 to 2 on part 2, so 1.
    """
    yes = Counter[str]()
    for key, votes in counts.items():
        if votes:
            yes.update(dict.fromkeys(parts.named(key), votes))
    total = sum(counts.values())
    return min([total, *(abs(2 * votes - total) for votes in yes.values())])


def _in_reach(verdict: More, most: int | None) -> bool:
    return most is None or verdict.n <= most


def _ballots(yes: int, total: int, weighed: int, weight: int | None) -> Ballots:
    counts = {name: votes for name, votes in ((YES, yes), (NO, total - yes)) if votes}
    if weight is None:
        return Ballots(counts)
    return Ballots(counts, {name: {YES: weighed, NO: weight - weighed}[name] for name in counts})
