"""The interface of a provider of batches, and what it says of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping
from enum import StrEnum
from typing import Any, BinaryIO, ClassVar, NamedTuple

from maker.types import Request, SentBatch


class Phase(StrEnum):
    """How far a provider is with a batch."""

    WORKING = "working"
    OVER = "over"
    """Its results can be read, of as many requests as were answered."""
    REFUSED = "refused"
    """It was refused as a whole: nothing of it was asked."""


class End(StrEnum):
    """How a request of a batch has ended."""

    ANSWERED = "answered"
    UNASKED = "unasked"
    """The batch was over before its turn: it can be asked again."""
    FAILED = "failed"
    """The server has failed to answer it: it can be asked again."""
    REFUSED = "refused"
    """It will be refused whenever it is asked."""


class Problem(NamedTuple):
    """What a provider says of a batch that it refuses; ``line`` counts its requests from 1, 0 where it names none."""

    line: int
    code: str
    message: str


class BatchStatus(NamedTuple):
    """What a provider says of a batch.

    ``said`` is its own word for how it stands, ``total`` how many requests it counts. ``results`` says where they can
    be read, in the provider's terms.
    """

    id: str
    phase: Phase
    said: str
    total: int = 0
    problems: tuple[Problem, ...] = ()
    results: tuple[str, ...] = ()


class Result(NamedTuple):
    """What came of one request of a batch, by its custom id.

    ``body`` is the decoded reply, None where there is none; ``reason`` says why, and ``end`` what is to be done.
    """

    custom_id: str
    body: object = None
    reason: str = ""
    end: End = End.ANSWERED


class Unsure(Exception):
    """A batch that is being worked on may be the one that is looked for: that shows when it is over."""


class Provider(ABC):
    """How a kind of server takes batches.

    What it raises is `maker.models.server.faults`': `Unbilled` and `Lost` may be tried again, a `Refusal` not.

    Attributes:
        most_requests: Most requests of a batch.
        most_bytes: Most bytes of its requests together.
    """

    most_requests: ClassVar[int]
    most_bytes: ClassVar[int]

    @abstractmethod
    def line(self, custom_id: str, request: Request) -> bytes:
        """Return a request as a line of a batch. Raises `Refusal` where it cannot be written."""

    @abstractmethod
    async def upload(self, lines: BinaryIO, tag: str) -> str:
        """Store a batch's lines at the provider, and return the file's id; "" where they go with the batch itself."""

    @abstractmethod
    async def create(self, batch: SentBatch, lines: BinaryIO) -> BatchStatus:
        """Submit a batch, once. It may have been submitted where this raises `Lost`, or the server has failed."""

    @abstractmethod
    async def find(self, batch: SentBatch) -> BatchStatus | None:
        """Return the batch with this tag, if the provider has it: its id is not known. Raises `Unsure`."""

    @abstractmethod
    async def look(self, batch_id: str) -> BatchStatus:
        """Return how a batch stands."""

    @abstractmethod
    async def cancel(self, batch_id: str) -> BatchStatus:
        """Have a batch ended before its time; what it has answered can be read once it is over."""

    @abstractmethod
    def results(self, status: BatchStatus) -> AsyncIterator[Result]:
        """Yield the results of a batch that is over, in any order."""

    @abstractmethod
    async def close(self) -> None:
        """Close all connections."""


def text_of(found: Mapping[str, Any], name: str) -> str:
    """Return a text of a JSON object, "" where it is none."""
    value = found.get(name)
    return value if isinstance(value, str) else ""


def number_of(found: object, name: str) -> int:
    """Return a whole number of a JSON object, 0 where it is none."""
    value = found.get(name) if isinstance(found, Mapping) else None
    return value if type(value) is int and value >= 0 else 0


def listed(found: object) -> list[Mapping[str, Any]]:
    """Return the JSON objects of a list, none where it is no list."""
    return [one for one in found if isinstance(one, Mapping)] if isinstance(found, list) else []
