"""What is kept of an election: counts and reasons, packed to a few bytes, and the digest that chains them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from hashlib import blake2b
from itertools import islice
from struct import Struct
from typing import NamedTuple

from maker.types import Flag

_FLAGS = tuple(Flag)
_FLAG_NUMBER = {flag: number for number, flag in enumerate(_FLAGS)}
_STEP = Struct("<QII")
_CHILD = Struct("<QIQ")
DIGEST_BYTES = 16
_LINKS = blake2b(digest_size=DIGEST_BYTES, person=b"maker-step")
"""Copied for each digest: that is quicker than to begin one."""
_BY_PERSON = 1
"""Stands for the rounds where a person has decided: such a step has a count of its own after it."""
CLEAN_BYTES = 6
"""A clean election of one model, in numbers below 128."""


class Source(NamedTuple):
    """The step that a decision was taken from: its chain's key, index and epoch, and how many samples it took."""

    chain: int
    idx: int
    epoch: int
    calls: int


class Person(NamedTuple):
    """Who has decided a step that votes could not settle, and when, in milliseconds since 1970."""

    name: str
    at_ms: int


class Tally(NamedTuple):
    """The count of one decided step.

    ``kind`` is the number of the step class in its decomposer. ``votes`` holds the winner's votes by model.
    ``rivals`` maps each losing candidate's key to its votes by model, ``flags`` each reason to its samples by model.
    Where these votes settled nothing, ``judge`` is the count of the judge's, which elected the winner: its rivals are
    among the others. ``weights`` are what the winner's votes weigh together, and then those of each rival, in
    thousandths; () where the voter does not weigh them. A step that was not voted on, but taken from the memo, cites
    its ``source``: it has no rounds and no votes of any model. Where neither votes nor a judge settled the step, a
    ``person`` has: the votes are those that were cast, for that person's answer and for others, and no margin was won.
    """

    kind: int
    rounds: int
    votes: tuple[int, ...]
    rivals: Mapping[str, tuple[int, ...]]
    flags: Mapping[Flag, tuple[int, ...]]
    judge: Tally | None = None
    weights: tuple[int, ...] = ()
    source: Source | None = None
    person: Person | None = None

    @property
    def won_by(self) -> int:
        """The margin of the election that decided the step: a judge's where there was one, 0 where a person did."""
        return 0 if self.person is not None else (self.judge or self).margin

    @property
    def margin(self) -> int:
        """The winner's votes less those of the strongest rival; below 0 where a judge has overruled them."""
        return sum(self.votes) - max((sum(n) for n in self.rivals.values()), default=0)

    @property
    def disputed(self) -> bool:
        """Whether any valid vote went to another candidate."""
        return bool(self.rivals)

    @property
    def valid(self) -> tuple[int, ...]:
        """The valid votes by model, whoever they are for."""
        return tuple(map(sum, zip(self.votes, *self.rivals.values(), strict=True)))

    @property
    def flagged(self) -> tuple[int, ...]:
        """The flagged samples by model."""
        return tuple(map(sum, zip(*self.flags.values(), strict=True))) if self.flags else (0,) * len(self.votes)

    @property
    def samples(self) -> int:
        """All samples, a judge's too."""
        return sum(self.valid) + sum(self.flagged) + (0 if self.judge is None else self.judge.samples)

    def counts(self, winner: str) -> dict[str, int]:
        """Return each candidate's votes, the winner's first; ``winner`` is its key, which a tally does not hold.

        Nothing of a step that was taken from the memo.
        """
        if self.source is not None:
            return {}
        return {winner: sum(self.votes)} | {key: sum(models) for key, models in self.rivals.items()}

    def weighed(self, winner: str) -> dict[str, int] | None:
        """Return what each candidate's votes weigh, the winner's first, None where they were not weighed."""
        return dict(zip((winner, *self.rivals), self.weights, strict=True)) if self.weights else None

    def reasons(self) -> dict[str, int]:
        """Return the flagged samples by reason."""
        return {str(flag): sum(models) for flag, models in self.flags.items()}


def pack(tally: Tally) -> bytes:
    """Write a tally: unsigned LEB128 numbers; a clean election of one model takes 6 bytes.

    Layout: class, rounds, number of models M, M votes, number of rivals, per rival (key length, key in UTF-8,
    M votes), number of flags, per flag (reason number, M samples). A judge's count follows in the same form. Where
    votes were weighed, a 0 stands before M, and after each candidate's votes their weight. A step that was taken from
    the memo is its class, three zeros, and its source: chain, index, epoch, samples. Where a person decided, the class
    stands first, a 1, two zeros, when that was, and who (length, name in UTF-8), and then the count as above.
    """
    kind, rounds, votes, rivals, flags, judge, weights, source, person = tally
    if source is not None:
        return _pack_source(kind, source)
    if person is not None:
        return _pack_person(kind, person) + pack(tally._replace(person=None))
    out = bytearray()
    weighed = iter(weights)
    for number in (kind, rounds, *((0,) if weights else ()), len(votes), *votes, *islice(weighed, 1), len(rivals)):
        _put(out, number)
    for key, counts in rivals.items():
        text = key.encode()
        _put(out, len(text))
        out += text
        for number in (*counts, *islice(weighed, 1)):
            _put(out, number)
    _put(out, len(flags))
    for flag, counts in flags.items():
        _put(out, _FLAG_NUMBER[flag])
        for number in counts:
            _put(out, number)
    return bytes(out) + (pack(judge) if judge is not None else b"")


def pack_clean(kind: int, rounds: int, votes: int) -> bytes:
    """Write the tally of an election of one model in which every sample voted for the winner, as `pack` does."""
    if kind < 128 and rounds < 128 and votes < 128:
        return bytes((kind, rounds, 1, votes, 0, 0))
    return pack(Tally(kind, rounds, (votes,), {}, {}))


def unpack(blob: bytes) -> Tally:
    """Read a packed tally. Raises ``ValueError`` for bytes that `pack` does not write."""
    if len(blob) == CLEAN_BYTES and blob[2] == 1 and blob[4] == blob[5] == 0 and max(blob) < 128:
        return Tally(blob[0], blob[1], (blob[3],), {}, {})
    try:
        numbers = _Reader(blob)
        tally = _read(numbers)
        if numbers.place < len(blob):
            tally = tally._replace(judge=_read(numbers))
    except (IndexError, StopIteration, UnicodeDecodeError) as error:
        raise ValueError(f"no packed tally: {blob.hex()}") from error
    if pack(tally) != blob:
        raise ValueError(f"no packed tally: {blob.hex()}")
    return tally


def _pack_source(kind: int, source: Source) -> bytes:
    out = bytearray()
    for number in (kind, 0, 0, 0, *source):
        _put(out, number)
    return bytes(out)


def _pack_person(kind: int, person: Person) -> bytes:
    out, name = bytearray(), person.name.encode()
    for number in (kind, _BY_PERSON, 0, 0, person.at_ms, len(name)):
        _put(out, number)
    return bytes(out + name)


def _read(numbers: _Reader) -> Tally:
    kind, rounds, models = next(numbers), next(numbers), next(numbers)
    weighed = models == 0
    if weighed:
        models = next(numbers)
        if models == 0 and rounds == _BY_PERSON:
            at_ms = next(numbers)
            person = Person(numbers.text(next(numbers)), at_ms)
            return _read(numbers)._replace(person=person)
        if models == 0:
            return taken(kind, Source(*(next(numbers) for _ in Source._fields)))
    votes = tuple(next(numbers) for _ in range(models))
    weights = [next(numbers)] if weighed else []
    rivals = {}
    for _ in range(next(numbers)):
        key = numbers.text(next(numbers))
        rivals[key] = tuple(next(numbers) for _ in range(models))
        if weighed:
            weights.append(next(numbers))
    flags = {}
    for _ in range(next(numbers)):
        flag = _FLAGS[next(numbers)]
        flags[flag] = tuple(next(numbers) for _ in range(models))
    return Tally(kind, rounds, votes, rivals, flags, None, tuple(weights))


def taken(kind: int, source: Source) -> Tally:
    """Return the count of a step that was taken from the memo."""
    return Tally(kind, 0, (), {}, {}, source=source)


def answered(undecided: Tally, winner: str, person: Person) -> Tally:
    """Return the count of a step that a person has decided, from the count of its votes, which nobody won."""
    judge = None if undecided.judge is None else _counted_for(undecided.judge, winner)
    return _counted_for(undecided, winner)._replace(judge=judge, person=person)


def _counted_for(tally: Tally, winner: str) -> Tally:
    """Return a count without a winner as that of a winner, who need not have had a vote."""
    rivals = {key: votes for key, votes in tally.rivals.items() if key != winner}
    votes = tally.rivals.get(winner, tally.votes)
    weighed = dict(zip(tally.rivals, tally.weights[1:], strict=True)) if tally.weights else {}
    weights = (weighed.get(winner, 0), *(weighed[key] for key in rivals)) if weighed else tally.weights
    return tally._replace(votes=votes, rivals=rivals, weights=weights)


def cites(blob: bytes) -> bool:
    """Say whether a packed tally is that of a step that was taken from the memo; of a clean one reads its length."""
    if len(blob) <= CLEAN_BYTES:
        return False
    numbers = _Reader(blob)
    return [next(numbers) for _ in range(4)][1:] == [0, 0, 0]


def by_person(blob: bytes) -> bool:
    """Say whether a packed tally is that of a step that a person decided; of a clean one reads its length."""
    if len(blob) <= CLEAN_BYTES:
        return False
    numbers = _Reader(blob)
    return [next(numbers) for _ in range(4)][1:] == [_BY_PERSON, 0, 0]


def link(before: bytes, index: int, epoch: int, action: str, tally: bytes) -> bytes:
    """Return a step's digest, H(previous digest, index, epoch, action, tally): 16 bytes."""
    text = action.encode()
    whole = b"".join((before, _STEP.pack(index, epoch, len(text)), text, tally))
    linked = _LINKS.copy()
    linked.update(whole)
    return linked.digest()


def genesis(fingerprint: str, path: tuple[int, ...] = ()) -> bytes:
    """Return the digest that a chain's first step is linked to."""
    name = f"{fingerprint}/{'.'.join(map(str, path))}".encode()
    return blake2b(name, digest_size=DIGEST_BYTES, person=b"maker-chain").digest()


def forked(before: bytes, index: int, epoch: int, number: int = 0) -> bytes:
    """Return the digest that the first step of a fork's child is linked to.

    ``before`` is the parent's digest, (``index``, ``epoch``) the parent's step that forks. All children of a fork of
    single steps are linked to that of number 0.
    """
    whole = before + _CHILD.pack(index, epoch, number)
    return blake2b(whole, digest_size=DIGEST_BYTES, person=b"maker-fork").digest()


def based(before: bytes, fingerprint: str) -> bytes:
    """Return the digest that a forked run's first own step is linked to: the step before it, and its fingerprint."""
    return blake2b(before + fingerprint.encode(), digest_size=DIGEST_BYTES, person=b"maker-run").digest()


def folded(before: bytes, child: bytes) -> bytes:
    """Return the digest of a fold with one more child's last digest taken in; it starts from b""."""
    return blake2b(before + child, digest_size=DIGEST_BYTES, person=b"maker-fold").digest()


def text_digest(text: str) -> bytes:
    """Return the digest that a prompt or a reply is stored under."""
    return blake2b(text.encode(), digest_size=DIGEST_BYTES, person=b"maker-text").digest()


def _put(out: bytearray, number: int) -> None:
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)


class _Reader(Iterator[int]):
    def __init__(self, blob: bytes) -> None:
        self._blob = blob
        self.place = 0

    def __next__(self) -> int:
        number, shift = 0, 0
        while True:
            byte = self._blob[self.place]
            self.place += 1
            number |= (byte & 127) << shift
            if byte < 128:
                return number
            shift += 7

    def text(self, length: int) -> str:
        text = self._blob[self.place : self.place + length]
        if len(text) < length:
            raise IndexError(length)
        self.place += length
        return text.decode()
