"""The election: what counts as a vote, what is flagged, and when a step is given up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maker.plugin import More, PydanticCodec, Step, StepClass, Undecidable
from maker.types import Flag, RedFlag, Sample
from maker.voting.election import Election
from maker.voting.red_flags import Candidate, repeats, screen
from voters.first_to_ahead_by_k import FirstToAheadByK, FirstToAheadByKParams
from voters.majority import Majority, MajorityParams


def parse_last_word(text: str) -> str:
    """Read the last word; free text may stand before it."""
    word = text.rsplit(maxsplit=1)[-1]
    if not word.isalpha():
        raise ValueError(f"no word: {word!r}")
    return word


def check(state: str, action: str) -> str | None:
    return f"{action} is not to be said in {state}" if action == "damn" else None


KIND: StepClass[str, str] = StepClass("word", parse=parse_last_word, check=check, max_tokens=8)


class Held:
    """An election with its replies given as texts."""

    def __init__(self, codec: Any, *, k: int = 2, max_votes: int = 100, voter: Any = None) -> None:
        voter = voter or FirstToAheadByK(FirstToAheadByKParams(k=k))
        self.election: Election[str, str] = Election(Step(KIND, "say"), "church", codec, voter, max_votes)

    def hear(self, asked: int, *replies: str | Sample) -> Candidate[str] | More | Undecidable:
        samples = (reply if isinstance(reply, Sample) else Sample(reply, len(reply)) for reply in replies)
        self.election.hear(asked, tuple(samples))
        return self.election.verdict()

    def flags(self) -> dict[Flag, tuple[int, ...]]:
        return dict(self.election.tally(0, next(iter(self.election.counts))).flags)


def test_the_first_request_asks_for_the_least(text_codec: Any) -> None:
    """Before the first vote the election asks for as many as could decide."""
    assert Held(text_codec, k=3).election.verdict() == More(3)


def test_a_winner_comes_with_its_action_and_margin(text_codec: Any) -> None:
    """Two equal votes of two settle a race ahead by two."""
    held = Held(text_codec)
    assert held.hear(2, "yes", "yes") == Candidate("yes", "yes", "yes")
    tally = held.election.tally(7, "yes")
    assert (tally.kind, tally.rounds, tally.votes, tally.rivals, tally.flags) == (7, 1, (2,), {}, {})


def test_a_dispute_asks_for_what_the_leader_lacks(text_codec: Any) -> None:
    """One against one needs two more; the tally then holds both, and two rounds."""
    held = Held(text_codec)
    assert held.hear(2, "yes", "no") == More(2)
    assert held.hear(2, "no", "no") == Candidate("no", "no", "no")
    tally = held.election.tally(0, "no")
    assert (tally.rounds, tally.votes, tally.rivals, tally.margin, tally.disputed) == (2, (3,), {"yes": (1,)}, 2, True)


def test_votes_are_numbered_by_their_place_in_the_step(text_codec: Any) -> None:
    """Every sample, flagged or not, is heard under its number within the step, over all requests."""
    held = Held(text_codec, k=3)
    held.hear(3, "yes", "", "no")
    held.hear(3, "yes", "yes", "42")
    heard = held.election.heard
    assert [one.vote for one in heard] == [0, 1, 2, 3, 4, 5]
    assert [one.outcome if isinstance(one.outcome, str) else one.outcome.reason for one in heard] == [
        "yes", Flag.EMPTY, "no", "yes", "yes", Flag.FORMAT,
    ]  # fmt: skip


def test_surplus_samples_are_not_counted(text_codec: Any) -> None:
    """A server that returns more replies than were asked for decides nothing with the surplus."""
    held = Held(text_codec)
    assert held.hear(2, "yes", "no", "no", "no", "no") == More(2)
    assert held.election.counts == {"yes": 1, "no": 1}
    assert held.election.asked == 2
    assert len(held.election.heard) == 2


def test_fewer_samples_than_asked_still_bring_the_step_forward(text_codec: Any) -> None:
    """A request that comes back short uses up what it asked for, so that a dry model ends at the cap, not never."""
    held = Held(text_codec, k=3, max_votes=9)
    assert held.hear(3, "yes") == More(2)
    assert held.hear(2) == More(2)
    assert held.hear(2, "yes") == More(1)
    assert held.election.asked == 7
    assert held.hear(1) == More(1)
    verdict = held.hear(1)
    assert isinstance(verdict, Undecidable)
    assert held.election.rounds == 5


def test_the_cap_names_votes_and_flags(text_codec: Any) -> None:
    """A step that max_votes ends says how many votes each candidate had, what was flagged, and what was lacking."""
    held = Held(text_codec, k=3, max_votes=7)
    held.hear(3, "yes", "no", "42")
    held.hear(3, "", "no", "yes")
    verdict = held.election.verdict()
    assert isinstance(verdict, Undecidable)
    assert verdict.reason == (
        "max_votes = 7: 2 for yes, 2 for no; flagged: 1 format (no word: '42'), 1 empty; 3 more would be the least"
    )


def test_the_cap_without_a_vote(text_codec: Any) -> None:
    """A cap below the least that could decide, or reached by flags alone, says that there was no valid vote."""
    verdict = Held(text_codec, k=3, max_votes=2).election.verdict()
    assert isinstance(verdict, Undecidable)
    assert verdict.reason == "max_votes = 2: no valid vote; flagged: none; 3 more would be the least"
    held = Held(text_codec, k=1, max_votes=2)
    held.hear(1, "42")
    verdict = held.hear(1, "42")
    assert isinstance(verdict, Undecidable)
    assert "no valid vote; flagged: 2 format (no word: '42'); " in verdict.reason


def test_the_cap_tells_the_reason_of_most_samples_with_a_flag(text_codec: Any) -> None:
    """A long one is cut, the others are counted."""
    held = Held(text_codec, k=1, max_votes=4)
    verdict = held.hear(4, "1", "2", "9" * 90, "2")
    assert isinstance(verdict, Undecidable)
    assert "flagged: 4 format (no word: '2', and 2 other reasons)" in verdict.reason
    held = Held(text_codec, k=1, max_votes=1)
    verdict = held.hear(1, "9" * 90)
    assert isinstance(verdict, Undecidable)
    assert f"(no word: '{'9' * 70}…)" in verdict.reason


def test_the_cap_counts_flagged_samples_and_may_be_met_exactly(text_codec: Any) -> None:
    """A step may take max_votes samples and no more: the last one that is allowed may still decide."""
    held = Held(text_codec, k=2, max_votes=4)
    assert held.hear(2, "yes", "") == More(1)
    assert held.hear(1, "") == More(1)
    assert held.hear(1, "yes") == Candidate("yes", "yes", "yes")
    assert held.election.asked == 4


def test_a_voter_that_gives_up_ends_the_step(text_codec: Any) -> None:
    """Three candidates with a vote each of three: a majority cannot be, and the voter's reason is passed on."""
    held = Held(text_codec, voter=Majority(MajorityParams(n=3)))
    assert held.hear(2, "a", "b") == More(1)
    verdict = held.hear(1, "c")
    assert isinstance(verdict, Undecidable)
    assert "2 of 3" in verdict.reason


@pytest.mark.parametrize(
    ("sample", "flag", "detail"),
    [
        (Sample("yes", 8, cut=True), Flag.LENGTH, "cut after 8 tokens"),
        (Sample("", 1), Flag.EMPTY, ""),
        (Sample(" \n\t ", 3), Flag.EMPTY, ""),
        (Sample("say 42", 2), Flag.FORMAT, "no word: '42'"),
        (Sample("damn", 1), Flag.ILLEGAL, "damn is not to be said in church"),
    ],
)
def test_each_flag_with_its_detail(sample: Sample, flag: Flag, detail: str, text_codec: Any) -> None:
    """A sample that is cut, blank, unreadable or against the rules gets no vote, and the reason is kept."""
    assert screen(KIND, "church", sample, text_codec) == RedFlag(flag, detail)
    held = Held(text_codec)
    assert held.hear(2, sample, "yes") == More(1)
    assert held.flags() == {flag: (1,)}
    assert held.election.heard[0].outcome == RedFlag(flag, detail)


def test_a_valid_sample_is_a_candidate(text_codec: Any) -> None:
    """What passes every check becomes a candidate under its canonical key."""
    assert screen(KIND, "church", Sample("I say yes", 3), text_codec) == Candidate("yes", "yes", "yes")


def test_a_cut_sample_is_flagged_even_if_it_can_be_read(text_codec: Any) -> None:
    """The same text is a vote when it ended by itself and LENGTH when it was cut, in either order."""
    for order in ([True, False], [False, True]):
        held = Held(text_codec)
        held.hear(2, *(Sample("yes", 8, cut=cut) for cut in order))
        assert held.election.counts == {"yes": 1}
        assert held.flags() == {Flag.LENGTH: (1,)}


def test_what_its_server_says_of_a_reply_outranks_its_text(text_codec: Any) -> None:
    """A good vote that a filter broke off is flagged, though an equal text has voted before."""
    held = Held(text_codec, k=3)
    filtered = RedFlag(Flag.CONTENT_FILTER, "content_filter")
    assert held.hear(3, "yes", Sample("yes", 2, flag=filtered), "yes") == More(1)
    assert [heard.outcome for heard in held.election.heard] == ["yes", filtered, "yes"]
    assert held.flags() == {Flag.CONTENT_FILTER: (1,)}


def test_repeated_free_text_is_one_stream() -> None:
    """Word-for-word equal replies with 64 characters beyond their key are no agreement; shorter ones are."""
    assert repeats("x" * 64 + "yes", "yes")
    assert not repeats("x" * 63 + "yes", "yes")
    assert not repeats("yes", "yes")


def test_a_long_reply_votes_once(text_codec: Any) -> None:
    """The first of two equal long replies votes, the second is a repeat; another wording of the same answer votes."""
    long = "thinking " * 8 + "yes"
    assert len(long) - len("yes") == 72
    held = Held(text_codec, k=3)
    assert held.hear(3, long, long, "well " + long) == More(1)
    assert held.election.counts == {"yes": 2}
    assert held.flags() == {Flag.REPEAT: (1,)}
    repeat = held.election.heard[1].outcome
    assert repeat == RedFlag(Flag.REPEAT, "75 characters, identical to an earlier sample")


def test_a_repeat_is_found_across_requests(text_codec: Any) -> None:
    """The earlier sample may be of an earlier request of the step."""
    long = "thinking " * 8 + "yes"
    held = Held(text_codec, k=2)
    assert held.hear(1, long) == More(1)
    assert held.hear(1, long) == More(1)
    assert held.flags() == {Flag.REPEAT: (1,)}


def test_short_equal_replies_agree(text_codec: Any) -> None:
    """Short replies must be equal to agree: they are never repeats."""
    held = Held(text_codec, k=3)
    assert held.hear(3, "so yes", "so yes", "so yes") == Candidate("yes", "yes", "yes")


def test_a_repeated_bad_reply_keeps_its_own_reason(text_codec: Any) -> None:
    """A long reply that cannot be read is FORMAT each time it comes: the first reason found is the one that counts."""
    long = "thinking " * 8 + "42"
    held = Held(text_codec, k=2)
    held.hear(3, long, long, "yes")
    assert held.flags() == {Flag.FORMAT: (2,)}


REPLIES = st.sampled_from(["yes", "no", "so yes", "42", "", "damn", "thinking " * 8 + "yes", "thinking " * 8 + "no"])


@given(st.lists(st.lists(REPLIES, max_size=6), max_size=6), st.integers(1, 3))
def test_every_sample_is_a_vote_or_a_flag(rounds: Sequence[Sequence[str]], k: int) -> None:
    """Votes and flags together are the samples heard, the margin of a winner is at least k, and the cap holds."""
    cap = 20
    held = Held(PydanticCodec(str), k=k, max_votes=cap)
    heard = 0
    for replies in rounds:
        verdict = held.election.verdict()
        if not isinstance(verdict, More):
            break
        assert held.election.asked + verdict.n <= cap
        heard += min(len(replies), verdict.n)
        held.hear(verdict.n, *replies)
    counts = held.election.counts
    flagged = sum(isinstance(one.outcome, RedFlag) for one in held.election.heard)
    assert sum(counts.values()) + flagged == heard == len(held.election.heard)
    verdict = held.election.verdict()
    if isinstance(verdict, Candidate):
        rivals = [n for key, n in counts.items() if key != verdict.key]
        assert counts[verdict.key] - max(rivals, default=0) >= k


def test_the_winner_keeps_the_first_action_of_its_key(text_codec: Any) -> None:
    """Actions are the same vote exactly when they are written the same; the first one's action is applied."""

    class Lower(type(text_codec)):  # type: ignore[misc]
        def write(self, value: str) -> str:
            return value.lower()

    held = Held(Lower())
    assert held.hear(2, "Yes", "YES") == Candidate("yes", "yes", "Yes")
