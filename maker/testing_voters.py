"""What must hold of every voter, for the tests of whoever writes one."""

from __future__ import annotations

import itertools
import pickle
import random
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from maker.plugin import Ballots, Decision, More, Verdict, Voter

SMALL = 6
"""Every tally of up to so many votes, for up to three candidates, that a race can come to."""
REACH = 6
"""Every course of so many further votes is tried; of longer ones, those that are all for one candidate."""
LONGEST = 60
"""Votes after which a race is left as it is: two equal answers may never part."""
MODELS = ((1.0,), (0.9, 0.1), (0.6, 0.4), (0.5, 0.5), (0.4, 0.2, 0.2, 0.2))
RACES = 4
NEW = "a candidate that nobody has voted for"


class Checked(NamedTuple):
    """What `check_voter` has looked at: different tallies, and how many of them were decided, with and without rivals.

    Args:
        tallies: All of them.
        decided: Those with a winner.
        disputed: Those with a winner and a rival.
    """

    tallies: int
    decided: int
    disputed: int


def check_voter(voter: Voter, *, seed: int = 0) -> Checked:
    """Hold a voter to its contract, on small tallies and in races of simulated votes.

    It takes up to some 200,000 calls of ``decide``. Held are:

    - A verdict depends on the tally alone: not on the order of its votes, on earlier calls, or on the process (a voter
      is pickled to the workers). The tally is left as it is.
    - A `Decision` names a candidate with more votes than any other, and by how many.
    - `More` names the fewest further votes that could settle it: none of the courses of fewer does, one of that many
      does. After `Undecidable` nothing is asked, so nothing is looked at.
    - ``least`` is the first request, and as many equal votes decide: so a model that never errs is done with it.

    Courses of over `REACH` further votes are tried for one candidate at a time only.

    Args:
        voter: An instance, with the parameters that are to be tried; one for each that makes a difference.
        seed: Of the races' votes.

    Raises:
        AssertionError: With the tally, and what is wrong there.
    """
    check_least(voter)
    sent: Voter = pickle.loads(pickle.dumps(voter))  # noqa: S301 - the voter's own
    tallies = list(dict.fromkeys([*_small(voter), *_raced(voter, random.Random(seed))]))
    decided = disputed = 0
    for tally in tallies:
        # Named the other way round as well: neither the first nor the last name may win for its name.
        check_tally(voter, _named(tally[::-1]))
        verdict = check_tally(voter, counts := _named(tally))
        _require(sent.decide(Ballots(counts)) == verdict, counts, "a pickled voter judges otherwise")
        won = isinstance(verdict, Decision)
        decided, disputed = decided + won, disputed + (won and len(tally) > 1)
    return Checked(len(tallies), decided, disputed)


def check_least(voter: Voter) -> None:
    """Check that ``least`` is the first request, and that as many equal votes, and no fewer, decide."""
    least, first = voter.least, voter.decide(Ballots({}))
    if not isinstance(first, More) or first.n != least:
        raise AssertionError(f"least is {least}, but without votes the verdict is {first}")
    _check_courses(voter, first, {})
    counts = {"a": least}
    verdict = voter.decide(Ballots(counts))
    _require(verdict == Decision("a", least), counts, f"least is {least}, but as many equal votes give {verdict}")


def check_tally(voter: Voter, counts: Mapping[str, int]) -> Verdict:
    """Check the verdict on one tally, and return it. Raises ``AssertionError`` as `check_voter` does."""
    given = dict(counts)
    verdict = voter.decide(Ballots(given))
    _require(list(given.items()) == list(counts.items()), counts, f"the tally was changed to {given}")
    for order in (counts, dict([*counts.items()][::-1]), dict(sorted(counts.items(), key=lambda item: item[1]))):
        again = voter.decide(Ballots(dict(order)))
        _require(again == verdict, counts, f"{verdict} in this order, {again} as {dict(order)}")
    if isinstance(verdict, Decision):
        _check_decision(verdict, counts)
    elif isinstance(verdict, More):
        _check_courses(voter, verdict, counts)
    return verdict


def _check_decision(verdict: Decision, counts: Mapping[str, int]) -> None:
    _require(verdict.winner in counts, counts, f"{verdict.winner!r} wins without a vote")
    margin = counts[verdict.winner] - max((n for key, n in counts.items() if key != verdict.winner), default=0)
    _require(margin > 0, counts, f"{verdict.winner!r} wins and does not lead")
    _require(verdict.margin == margin, counts, f"a margin of {verdict.margin}, but the winner leads by {margin}")


def _check_courses(voter: Voter, verdict: More, counts: Mapping[str, int]) -> None:
    """Check that no course of fewer votes settles it, and that one of as many as are asked for does."""
    _require(verdict.n >= 1, counts, f"{verdict}: a voter that is not done must ask for at least one vote")
    for further in range(1, verdict.n):
        for course in _courses(counts, further):
            _require(not _elects(voter, counts, course), counts, f"{verdict}, but {dict(course)} more would settle it")
    settled = any(_elects(voter, counts, course) for course in _courses(counts, verdict.n))
    _require(settled, counts, f"{verdict}, but no {verdict.n} votes settle it")


def _courses(counts: Mapping[str, int], further: int) -> Iterator[Sequence[tuple[str, int]]]:
    """Yield what so many further votes may be, for the three strongest candidates and a new one."""
    candidates = [*sorted(counts, key=lambda key: -counts[key])[:3], NEW]
    for key in candidates:
        yield ((key, further),)
    if further > REACH:
        return
    for course in itertools.combinations_with_replacement(candidates, further):
        if course[0] != course[-1]:
            yield tuple((key, course.count(key)) for key in dict.fromkeys(course))


def _elects(voter: Voter, counts: Mapping[str, int], course: Sequence[tuple[str, int]]) -> bool:
    after = dict(counts)
    for key, votes in course:
        after[key] = after.get(key, 0) + votes
    return isinstance(voter.decide(Ballots(after)), Decision)


def _small(voter: Voter) -> Iterator[tuple[int, ...]]:
    """Yield every small tally that a race can come to: one whose votes but the last have settled nothing."""
    going: set[tuple[int, ...]] = {()}
    for _ in range(SMALL):
        # A flagged sample is no vote, so that tallies within a request are seen as well.
        after = {_with(tally, place) for tally in going for place in range(min(3, len(tally) + 1))}
        yield from sorted(after)
        going = {tally for tally in after if _goes_on(voter, tally)}


def _raced(voter: Voter, rng: random.Random) -> Iterator[tuple[int, ...]]:
    """Yield the tallies of races of simulated votes."""
    for shares in MODELS:
        for _ in range(RACES):
            votes = [0] * len(shares)
            tally: tuple[int, ...] = ()
            while sum(tally) < LONGEST and _goes_on(voter, tally):
                votes[rng.choices(range(len(shares)), shares)[0]] += 1
                tally = tuple(sorted(filter(None, votes), reverse=True))
                yield tally


def _with(tally: tuple[int, ...], place: int) -> tuple[int, ...]:
    votes = [*tally, 0]
    votes[place] += 1
    return tuple(sorted(filter(None, votes), reverse=True))


def _goes_on(voter: Voter, tally: tuple[int, ...]) -> bool:
    return isinstance(voter.decide(Ballots(_named(tally))), More)


def _named(tally: tuple[int, ...]) -> dict[str, int]:
    return dict(zip("abcd", tally, strict=False))


def _require(holds: bool, counts: Mapping[str, int], wrong: str) -> None:
    if not holds:
        raise AssertionError(f"with the votes {dict(counts)}: {wrong}")
