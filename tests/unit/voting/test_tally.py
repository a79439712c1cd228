"""The packed tally and the digests that link a chain's steps."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maker.types import Flag
from maker.voting.tally import (
    DIGEST_BYTES,
    Person,
    Source,
    Tally,
    answered,
    by_person,
    cites,
    genesis,
    link,
    pack,
    pack_clean,
    taken,
    unpack,
)

NUMBER = st.integers(0, 2**40)


@st.composite
def tallies(draw: st.DrawFn) -> Tally:
    """Draw any tally: some models, some rivals with odd keys, some flags, weighed or not."""
    models = draw(st.integers(1, 4))
    votes = st.tuples(*[NUMBER] * models)
    keys = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)
    rivals = draw(st.dictionaries(keys, votes, max_size=5))
    return Tally(
        draw(NUMBER),
        draw(NUMBER),
        draw(votes),
        rivals,
        draw(st.dictionaries(st.sampled_from(Flag), votes, max_size=5)),
        weights=draw(st.just(()) | st.tuples(*[NUMBER] * (len(rivals) + 1))),
    )


@given(tallies())
def test_round_trip(tally: Tally) -> None:
    """What is packed is read back, in the same order of rivals and flags."""
    found = unpack(pack(tally))
    assert found == tally
    assert list(found.rivals) == list(tally.rivals)
    assert list(found.flags) == list(tally.flags)


@given(NUMBER, NUMBER, NUMBER)
def test_a_clean_tally_has_one_form(kind: int, rounds: int, votes: int) -> None:
    """An election in which every sample voted for the winner is packed alike, with a `Tally` made of it or without."""
    tally = Tally(kind, rounds, (votes,), {}, {})
    assert pack_clean(kind, rounds, votes) == pack(tally)
    assert unpack(pack_clean(kind, rounds, votes)) == tally


@given(tallies(), tallies())
def test_a_judges_count_follows_in_the_same_form(tally: Tally, judge: Tally) -> None:
    """Votes and a judge's may be weighed, either or both."""
    whole = tally._replace(judge=judge)
    assert unpack(pack(whole)) == whole


@given(tallies(), st.binary(min_size=1, max_size=3))
def test_trailing_bytes_are_refused(tally: Tally, more: bytes) -> None:
    """Bytes after a tally are no part of any."""
    with pytest.raises(ValueError, match="no packed tally"):
        unpack(pack(tally) + more)


@given(tallies(), st.data())
def test_a_truncated_tally_is_refused(tally: Tally, data: st.DataObject) -> None:
    """No beginning of a packed tally is one."""
    blob = pack(tally)
    with pytest.raises(ValueError, match="no packed tally"):
        unpack(blob[: data.draw(st.integers(0, len(blob) - 1))])


@given(st.binary(max_size=40))
def test_any_bytes_are_a_tally_or_a_value_error(blob: bytes) -> None:
    """Damaged bytes are told as ``ValueError``, never as anything else."""
    try:
        tally = unpack(blob)
    except ValueError:
        return
    assert isinstance(tally, Tally)


@pytest.mark.parametrize(
    "blob",
    [
        bytes([0, 1, 1, 3, 0, 1, 100, 1]),
        bytes([0, 1, 1, 3, 1, 1, 0xFF, 1, 0]),
        bytes([0, 1, 1, 3, 1, 0x80, 0x80, 0x80, 0x80, 0x10, 97, 1, 0]),
    ],
    ids=["a flag that there is not", "a key that is no UTF-8", "a key longer than the bytes"],
)
def test_damaged_contents_are_refused(blob: bytes) -> None:
    """An unknown flag, a key that is no text and a key that ends beyond the bytes are refused."""
    with pytest.raises(ValueError, match="no packed tally"):
        unpack(blob)


@pytest.mark.parametrize(
    "blob",
    [
        bytes([0x80, 0, 1, 1, 3, 0, 0]),
        bytes([0, 1, 1, 3, 2, 1, 97, 1, 1, 97, 2, 0]),
        bytes([0, 1, 1, 3, 0, 2, 0, 1, 0, 2]),
    ],
    ids=["a padded number", "a rival twice", "a flag twice"],
)
def test_only_what_is_packed_is_unpacked(blob: bytes) -> None:
    """Bytes that no tally is packed to are refused."""
    with pytest.raises(ValueError, match="tally"):
        unpack(blob)


def test_a_clean_election_takes_six_bytes() -> None:
    """The layout is part of every stored log: it may not change unseen."""
    assert pack(Tally(0, 1, (3,), {}, {})) == bytes([0, 1, 1, 3, 0, 0])
    disputed = Tally(1, 2, (300,), {"1AB": (1,)}, {Flag.REPEAT: (2,), Flag.LENGTH: (1,)})
    assert pack(disputed) == bytes([1, 2, 1, 0xAC, 2, 1, 3]) + b"1AB" + bytes([1, 2, 4, 2, 0, 1])


def test_weights_stand_after_the_votes_that_they_are_of() -> None:
    """A 0 in the place of the models says that there are weights: no other tally begins so."""
    weighed = Tally(0, 1, (3,), {}, {}, weights=(6591,))
    assert pack(weighed) == bytes([0, 1, 0, 1, 3, 0xBF, 0x33, 0, 0])
    assert weighed.weighed("a") == {"a": 6591}
    disputed = Tally(1, 2, (4,), {"1AB": (1,)}, {}, weights=(7000, 0))
    assert pack(disputed) == bytes([1, 2, 0, 1, 4, 0xD8, 0x36, 1, 3]) + b"1AB" + bytes([1, 0, 0])
    assert disputed.weighed("a") == {"a": 7000, "1AB": 0}
    assert Tally(0, 1, (3,), {}, {}).weighed("a") is None


def test_margin_and_dispute() -> None:
    """The margin is over the strongest rival, votes of all models together."""
    tally = Tally(0, 1, (2, 3), {"a": (1, 0), "b": (1, 1)}, {})
    assert (tally.margin, tally.disputed) == (3, True)
    assert (tally._replace(rivals={}).margin, tally._replace(rivals={}).disputed) == (5, False)


def test_the_link_changes_with_every_argument() -> None:
    """A step's digest depends on the digest before, the index, the epoch, the action and the tally."""
    base = (b"b" * 16, 1, 0, "1AC", b"tally")
    others = [
        (b"c" * 16, 1, 0, "1AC", b"tally"),
        (b"b" * 16, 2, 0, "1AC", b"tally"),
        (b"b" * 16, 1, 1, "1AC", b"tally"),
        (b"b" * 16, 1, 0, "1AB", b"tally"),
        (b"b" * 16, 1, 0, "1AC", b"tallx"),
        # The border between action and tally is part of it.
        (b"b" * 16, 1, 0, "1A", b"Ctally"),
        (b"b" * 16, 1, 0, "1ACt", b"ally"),
        # Index and epoch are apart too.
        (b"b" * 16, 1 << 32, 0, "1AC", b"tally"),
        (b"b" * 16, 0, 1, "1AC", b"tally"),
    ]
    digests = {link(*arguments) for arguments in [base, *others]}
    assert len(digests) == len(others) + 1
    assert {len(digest) for digest in digests} == {DIGEST_BYTES}


def test_a_link_is_stable() -> None:
    """Digests are compared with printed ones: the same step gives the same digest in every version."""
    assert link(b"\0" * 16, 0, 0, "1AC", bytes([0, 1, 1, 3, 0, 0])).hex() == STEP
    assert genesis("fingerprint").hex() == CHAIN


STEP = "90d9b977b0589adf6c6fcef0fb7a0c6a"
CHAIN = "4e6bad4385e6bffccd5f95106e7d4bf8"


def test_genesis_changes_with_fingerprint_and_path() -> None:
    """Every chain of every task starts from a digest of its own."""
    arguments = [("a", ()), ("b", ()), ("a", (0,)), ("a", (1,)), ("a", (0, 1)), ("a", (1, 0)), ("a", (10,))]
    assert len({genesis(*one) for one in arguments}) == len(arguments)


PERSONS = st.builds(Person, st.text(st.characters(exclude_categories=["Cs"]), max_size=200), NUMBER)


@given(tallies(), tallies() | st.none(), PERSONS)
def test_who_decided_stands_before_the_count(tally: Tally, judge: Tally | None, person: Person) -> None:
    """The count follows in its own form, a judge's after it; no margin was won."""
    whole = tally._replace(judge=judge, person=person)
    packed = pack(whole)
    assert unpack(packed) == whole
    assert by_person(packed)
    assert not cites(packed)
    assert whole.won_by == 0
    assert packed.endswith(pack(tally._replace(judge=judge)))


@given(tallies(), tallies() | st.none())
def test_no_other_count_is_taken_for_a_persons(tally: Tally, judge: Tally | None) -> None:
    """Neither an election's, a judge's nor one from the memo: logs of older versions read as they did."""
    assert not by_person(pack(tally._replace(judge=judge)))
    assert not by_person(pack(taken(tally.kind, Source(1, 2, 3, 4))))


def test_a_persons_answer_moves_its_votes_to_the_front() -> None:
    """Votes and their weights, a judge's too; an answer that nobody voted for has none."""
    judge = Tally(2, 1, (0, 0), {"b": (1, 0), "a": (0, 1)}, {})
    votes = Tally(2, 3, (0, 0), {"a": (2, 0), "b": (1, 1)}, {Flag.EMPTY: (0, 1)}, judge, (0, 40, 20))
    person = Person("ann", 1_700_000_000_000)
    chosen = answered(votes, "b", person)
    assert chosen == Tally(
        2, 3, (1, 1), {"a": (2, 0)}, {Flag.EMPTY: (0, 1)}, judge._replace(votes=(1, 0), rivals={"a": (0, 1)}),
        (20, 40), person=person,
    )  # fmt: skip
    assert chosen.weighed("b") == {"b": 20, "a": 40}
    own = answered(votes, "c", person)
    assert (own.votes, own.rivals, own.weights) == ((0, 0), votes.rivals, (0, 40, 20))
    assert own.samples == votes.samples == chosen.samples == 7
    assert pack(Tally(1, 1, (5,), {}, {}, person=Person("é", 128))) == bytes(
        [1, 1, 0, 0, 128, 1, 2, 0xC3, 0xA9, 1, 1, 1, 5, 0, 0]
    )


@pytest.mark.parametrize(
    "damaged",
    [
        bytes([1, 1, 0, 0, 5, 9, 97]),  # a name that ends early
        bytes([1, 1, 0, 0, 5, 1, 97]),  # no count
        bytes([1, 1, 0, 0, 5, 1, 97, 2, 1, 1, 5, 0, 0]),  # a count of another class
        bytes([1, 1, 0, 0, 5, 1, 97, 1, 1, 0, 0, 5, 1, 97, 1, 1, 1, 5, 0, 0]),  # two persons
        bytes([1, 2, 0, 0, 5, 1, 97, 1, 1, 1, 5, 0, 0]),  # a form that there is not
    ],
)
def test_a_damaged_form_is_refused(damaged: bytes) -> None:
    """Bytes that nobody packs are no count."""
    with pytest.raises(ValueError, match="no packed tally"):
        unpack(damaged)
