"""The seed rule: which random numbers a sample is drawn with follows from its place in the run alone."""

from __future__ import annotations

from hashlib import blake2b
from struct import Struct
from typing import Protocol

_PLACE = Struct("<QIII")


class Seeds(Protocol):
    """Where the seeds of a step's votes come from."""

    def at(self, index: int, epoch: int, phase: int, vote: int) -> int:
        """Return the seed of the request whose first reply is vote number ``vote`` (0-based) of a step."""
        ...


class ChainSeeds:
    """The seeds of one chain: H(run seed, chain path, step index, epoch, phase, vote).

    Hashes, because vLLM gives reply i of a request the request's seed + i: consecutive base seeds would share replies.
    The result stays below 2^62, so that seed + i fits a signed 64-bit integer.

    Args:
        run_seed: The run's seed, any integer.
        path: The child numbers that lead from the root chain to this one; () for the root.
    """

    def __init__(self, run_seed: int, path: tuple[int, ...] = ()) -> None:
        name = f"{run_seed}/{'.'.join(map(str, path))}".encode()
        self._base = blake2b(name, digest_size=8, person=b"maker-seed")

    def at(self, index: int, epoch: int, phase: int, vote: int) -> int:
        """Return the seed of the request whose first reply is vote number ``vote`` (0-based) of a step."""
        place = self._base.copy()
        place.update(_PLACE.pack(index, epoch, phase, vote))
        return int.from_bytes(place.digest(), "little") >> 2


class QuestionSeeds:
    """The seeds of one question: H(run seed, question, epoch, phase, vote).

    Where decisions are taken again, whoever asks first must not matter: a step's place is no part of them.

    Args:
        run_seed: The run's seed, any integer.
        question: What is asked, see `maker.voting.memo.question`.
    """

    def __init__(self, run_seed: int, question: bytes) -> None:
        name = f"{run_seed}/".encode() + question
        self._base = blake2b(name, digest_size=8, person=b"maker-ask-seed")

    def at(self, index: int, epoch: int, phase: int, vote: int) -> int:
        """Return the seed of the request whose first reply is vote number ``vote`` of a step, wherever it stands."""
        place = self._base.copy()
        place.update(_PLACE.pack(0, epoch, phase, vote))
        return int.from_bytes(place.digest(), "little") >> 2
