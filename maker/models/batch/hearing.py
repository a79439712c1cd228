"""Read the results of a batch: what came of each of its parts, and what all of it has cost."""

from __future__ import annotations

from collections.abc import AsyncIterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from maker.models.batch.parts import Part, name_in, stand_in
from maker.models.batch.provider import End, Result
from maker.models.dialects.dialect import Dialect
from maker.models.dialects.openai_reply import Reply, Unreadable
from maker.models.dialects.openai_wire import is_another
from maker.models.server_settings import ServerSettings
from maker.types import NO_USAGE, Request, SentBatch, Usage


class Unheard(NamedTuple):
    """A part without a reply that may be asked again; ``tried`` says that the server has failed to answer it."""

    part: Part
    reason: str
    tried: bool = False


class Refused(NamedTuple):
    """A part that gets no reply, however often it is asked; ``another`` says that another model has replied."""

    part: Part
    reason: str
    another: str = ""


@dataclass(slots=True)
class Heard:
    """What a batch has brought.

    ``replies`` are those of parts that wait, ``again`` those to be asked again, and ``refused`` those that are not.
    ``usage`` is what all of its requests cost.
    """

    replies: list[tuple[Part, Reply]] = field(default_factory=list)
    again: list[Unheard] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    usage: Usage = NO_USAGE

    @property
    def answered(self) -> int:
        """How many of its requests were answered, and are billed."""
        return self.usage.requests


class Hearing:
    """Reads the results of one batch.

    Args:
        batch: The batch.
        dialect: How its server replies.
        settings: The ``[model]`` table.
    """

    def __init__(self, batch: SentBatch, dialect: Dialect[Any], settings: ServerSettings) -> None:
        self._batch = batch
        self._dialect = dialect
        self._settings = settings
        self._counts_all = True
        # A reply without a count costs what its request may in the mean: in sum no less than all of them can.
        self._mean_prompt = batch.worst.tokens // max(1, len(batch.names))

    async def hear(self, results: AsyncIterable[Result], waiting: Mapping[str, Part]) -> Heard:
        """Return what came of the parts that wait, and what the whole batch has cost."""
        heard, left = Heard(), set(self._batch.names)
        async for result in results:
            name = name_in(self._batch.tag, result.custom_id)
            if name not in left:
                # None of its requests', or answered twice: it counts once.
                continue
            left.discard(name)
            reply = self._take(heard, result, name, waiting.get(name))
            if reply is not None:
                heard.usage = heard.usage.plus(_cost(reply))
        for name in left:
            if (part := waiting.get(name)) is not None:
                heard.again.append(Unheard(part, "it was not answered"))
        return heard

    def _take(self, heard: Heard, result: Result, name: str, part: Part | None) -> Reply | None:
        """Take one result in; returns the reply that is billed."""
        request = stand_in(name, self._mean_prompt) if part is None else part.request
        if result.body is None or request is None:
            if part is not None and result.end is End.REFUSED:
                heard.refused.append(Refused(part, result.reason))
            elif part is not None:
                heard.again.append(Unheard(part, result.reason, tried=result.end is not End.UNASKED))
            return None
        try:
            reply = self._read(result.body, request)
        except Unreadable as error:
            heard.usage = heard.usage.plus(Usage(unaccounted=request.n))
            if part is not None:
                heard.again.append(Unheard(part, f"its reply cannot be read: {error}", tried=True))
            return None
        if part is None:
            return reply
        if is_another(reply.model, self._settings):
            heard.refused.append(Refused(part, f"model {reply.model!r} has replied", reply.model))
        else:
            heard.replies.append((part, reply))
        return reply

    def _read(self, body: object, request: Request) -> Reply:
        reply = self._dialect.read(body, request, counts_all=self._counts_all)
        if reply.counts_all is not None:
            self._counts_all = reply.counts_all
        return reply


def _cost(reply: Reply) -> Usage:
    return Usage(
        reply.calls, reply.prompt_tokens, reply.completion_tokens, requests=1, cached_tokens=reply.cached_tokens
    )
