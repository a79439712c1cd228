"""Votes on parts of an answer: each part has its own margin, by the tally of whole answers alone."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decomposers.document.state import ReplyCodec, lines_elected, lines_named
from maker.plugin import Ballots, More, OpenPart, Parts, Step, StepClass, Undecidable
from maker.types import Sample
from maker.voting.election import Election
from maker.voting.parts import PartsDecision, decide_parts, least_lead
from maker.voting.red_flags import Candidate
from maker.voting.tally import pack, unpack
from voters.certificate import Certificate, CertificateParams
from voters.first_to_ahead_by_k import FirstToAheadByK, FirstToAheadByKParams
from voters.majority import Majority, MajorityParams
from voters.weighted import Weighted, WeightedParams

LINES: Parts[Any] = Parts(lines_named, lines_elected)
READ: StepClass[None, Any] = StepClass(
    "read",
    parse=lambda text: {"lines": sorted({int(line) for line in text.split() if line != "none"})},
    check=lambda _state, reply: "five is forbidden" if reply["lines"] == [5] else None,
    parts=LINES,
)


def key(*lines: int) -> str:
    return ReplyCodec().key({"lines": list(lines)})


def ahead(k: int) -> FirstToAheadByK:
    return FirstToAheadByK(FirstToAheadByKParams(k=k))


def decided(counts: Mapping[tuple[int, ...], int], *, k: int = 3, most: int | None = None) -> Any:
    return decide_parts(ahead(k), LINES, Ballots({key(*lines): n for lines, n in counts.items()}), most)


@pytest.mark.parametrize(
    ("counts", "k", "most", "expected"),
    [
        # Nobody has voted: the first request is that of a step.
        ({}, 3, None, More(3)),
        # All say that no line helps: the lines that nobody names are decided, 3 to 0.
        ({(): 3}, 3, None, PartsDecision((), (), 3)),
        # Line 1 has 5 to 0, line 2 has 3 to 2 and lacks two votes.
        ({(1, 2): 3, (1,): 2}, 3, None, More(2)),
        # The same where one sample more is allowed: line 2 stays undecided, and the least margin is line 1's.
        ({(1, 2): 3, (1,): 2}, 3, 1, PartsDecision(("1",), (OpenPart("2", 3, 2),), 5)),
        # Three rivals, each named once, and no set leads: by line 1, 2 and 3 have 4 to 2 each.
        ({(1, 2): 2, (2, 3): 2, (1, 3): 2}, 2, None, PartsDecision(("1", "2", "3"), (), 2)),
        # Line 7 is a slip of one sample: 1 to 4 is decided against it; line 1 has 5 to 0.
        ({(1,): 4, (1, 7): 1}, 3, None, PartsDecision(("1",), (), 3)),
        # Lines 1 and 2 lack 3 and 1 votes: whoever asks for 3 may settle both.
        ({(1, 2): 2, (2,): 1, (): 1}, 3, None, More(3)),
        # Of 2 samples that are left the 3 of line 1 cannot come; line 2, 3 to 1, is asked on.
        ({(1, 2): 2, (2,): 1, (): 1}, 3, 2, More(1)),
        # Too few valid votes for anything: as undecided as ever.
        ({(1,): 2}, 3, 0, More(1)),
    ],
)  # fmt: skip
def test_each_line_has_its_own_margin(
    counts: Mapping[tuple[int, ...], int], k: int, most: int | None, expected: Any
) -> None:
    """Tallies worked out by hand: the lines that win, those that stay undecided, and how many votes are lacking."""
    assert decided(counts, k=k, most=most) == expected


def test_the_lead_of_the_closest_line_is_shown() -> None:
    """5 to 0 on line 1 and 3 to 2 on line 2 are a lead of 1; a winner that nobody proposed adds no vote."""
    assert least_lead(LINES, {key(1, 2, 9): 0, key(1, 2): 3, key(1): 2}) == 1
    assert least_lead(LINES, {key(): 4}) == 4


def test_voters_with_other_rules_decide_lines_too() -> None:
    """A majority of 5 has 3 votes for line 1 and 3 against line 2; a certificate takes 11 equal votes at .01."""
    majority = Majority(MajorityParams(n=5))
    tally = Ballots({key(1): 2, key(1, 2): 1, key(): 1})
    assert decide_parts(majority, LINES, tally, None) == PartsDecision(("1",), (), 2)
    certificate = Certificate(CertificateParams(error=0.01))
    assert decide_parts(certificate, LINES, Ballots({key(3): 10}), None) == More(1)
    assert decide_parts(certificate, LINES, Ballots({key(3): 11}), None) == PartsDecision(("3",), (), 11)


def test_weights_are_summed_by_line() -> None:
    """Votes that weigh 3 for {1, 2} and 3 for {1} are 6 to 0 on line 1; on line 2 they are level, and undecided."""
    voter = Weighted(WeightedParams(error=0.01))
    tally = Ballots({key(1, 2): 1, key(1): 1}, {key(1, 2): 3000, key(1): 3000})
    assert decide_parts(voter, LINES, tally, 0) == PartsDecision(("1",), (OpenPart("2", 1, 1),), 2)


class Held:
    """An election by line with replies given as texts: "1 2", or "none"."""

    def __init__(self, *, k: int = 3, max_votes: int = 100) -> None:
        self.election: Election[None, Any] = Election(Step(READ, "?"), None, ReplyCodec(), ahead(k), max_votes)

    def hear(self, *replies: str) -> Candidate[Any] | More | Undecidable:
        self.election.hear(len(replies), tuple(Sample(reply, 1) for reply in replies))
        return self.election.verdict()


def test_a_slice_whose_samples_differ_in_single_lines_is_decided() -> None:
    """No two replies agree, and sets stand at 1 to 1; lines 4 and 9 are in, 5 to 0, and the slips out, 1 to 4."""
    held = Held(k=3)
    assert held.hear("4 9 1", "4 9 2", "4 9 3") == More(2)
    winner = held.hear("4 9 6", "4 9 7")
    assert isinstance(winner, Candidate)
    assert (winner.action, winner.text) == ({"lines": [4, 9]}, '{"lines":[4,9]}')
    tally = held.election.tally(0, winner.key)
    assert (tally.votes, tally.rounds, tally.disputed) == ((0,), 2, True)
    assert tally.rivals == {key(*lines): (1,) for lines in ((1, 4, 9), (2, 4, 9), (3, 4, 9), (4, 6, 9), (4, 7, 9))}
    assert unpack(pack(tally)) == tally


def test_lines_that_stay_undecided_are_named_with_their_votes() -> None:
    """At 5 votes at most, line 2 stands at 3 to 2: the slice has line 1, and says what is open."""
    held = Held(k=3, max_votes=6)
    assert held.hear("1 2", "1 2", "1") == More(2)
    winner = held.hear("1", "1 2")
    assert isinstance(winner, Candidate)
    assert winner.action == {"lines": [1], "undecided": [[2, 3, 2]]}
    assert winner.text == '{"lines":[1],"undecided":[[2,3,2]]}'
    assert winner.key == '{"lines":[1],"undecided":[2]}'


def test_a_slice_with_too_few_votes_stays_undecided() -> None:
    """One valid vote of three decides nothing, not even the lines that nobody named."""
    held = Held(k=3, max_votes=4)
    outcome = held.hear("1", "one", "two")
    assert isinstance(outcome, Undecidable)
    assert outcome.reason.startswith('max_votes = 4: 1 for {"lines":[1]}; flagged: 2 format')


def test_lines_that_are_no_answer_together_leave_it_undecided() -> None:
    """{4, 5} and {5, 6} are allowed, but line 5 alone, which is all that wins, is against the task's rules."""
    held = Held(k=2)
    outcome = held.hear("4 5", "5 6", "5 7", "5 8")
    assert outcome == Undecidable("the parts that won are no answer together: five is forbidden")


def test_an_answer_that_was_said_is_taken_as_it_was_said() -> None:
    """Where all agree it is a clean step, of one request and as many votes as a whole answer takes."""
    held = Held(k=3)
    winner = held.hear("2 1", "1 2", "1 2")
    assert isinstance(winner, Candidate)
    assert winner.action == {"lines": [1, 2]}
    assert held.election.clean
    assert held.election.tally(0, winner.key).votes == (3,)


@given(st.lists(st.frozensets(st.integers(1, 5)), max_size=12), st.integers(1, 4), st.integers(0, 6), st.randoms())
def test_the_order_of_votes_does_not_matter(votes: list[frozenset[int]], k: int, most: int, rng: random.Random) -> None:
    """Shuffled votes elect the same lines; each that is decided leads by k, each that is not does not."""
    found = decided(Counter(tuple(sorted(vote)) for vote in votes), k=k, most=most)
    rng.shuffle(votes)
    again = decided(Counter(tuple(sorted(vote)) for vote in votes), k=k, most=most)
    if not isinstance(found, PartsDecision):
        assert again == found
        return
    assert (set(again.won), set(again.undecided), again.margin) == (set(found.won), set(found.undecided), found.margin)
    lead = {line: 2 * sum(line in vote for vote in votes) - len(votes) for line in frozenset().union(*votes)}
    undecided = {int(part.name) for part in found.undecided}
    assert {int(line) for line in found.won} == {line for line, by in lead.items() if by >= k}
    assert undecided == {line for line, by in lead.items() if abs(by) < k}


def test_a_line_is_wrong_no_more_often_than_stated() -> None:
    """Each vote is right on a line with .8: of 8,000 at k = 3 at most r^3 = 1/64 are wrong, 125 + 4 sigma; seed 5."""
    rng, wrong = random.Random(5), 0
    for _ in range(2000):
        votes: Counter[tuple[int, ...]] = Counter()
        verdict: Any = More(3)
        while isinstance(verdict, More):
            for _ in range(verdict.n):
                # Lines 1 and 2 belong to the answer, 3 and 4 do not.
                votes[tuple(line for line in (1, 2, 3, 4) if (rng.random() < 0.8) == (line < 3))] += 1
            verdict = decided(votes, k=3)
        wrong += len({"1", "2"} ^ set(verdict.won))
    assert 0 < wrong <= 125 + 4 * 125**0.5
