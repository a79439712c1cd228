"""Anthropic's Message Batches: the requests go with the batch, and one stream of results is read."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from typing import Any, BinaryIO, ClassVar

from maker.models.batch.http import BatchHttp, decoded_line
from maker.models.batch.parts import name_in
from maker.models.batch.provider import BatchStatus, End, Phase, Provider, Result, Unsure, number_of, text_of
from maker.models.dialects.dialect import AnthropicDialect
from maker.models.dialects.openai_wire import complaint
from maker.models.server.faults import Lost
from maker.models.server.openai_http import content_of
from maker.models.server_settings import AnthropicSettings
from maker.types import Request, SentBatch

EARLY_S = 300.0
"""So much may the provider's clock be behind ours, in seconds."""

_BEFORE, _BETWEEN, _AFTER = b'{"requests":[', b",", b"]}"
_REFUSED = frozenset(
    {"invalid_request_error", "not_found_error", "permission_error", "authentication_error", "request_too_large"}
)
_ENDS = {"canceled": End.UNASKED, "expired": End.UNASKED}


class AnthropicBatches(Provider):
    """Batches of ``/v1/messages/batches``. They have no metadata: one without an id is known by its requests' ids."""

    most_requests: ClassVar[int] = 100_000
    most_bytes: ClassVar[int] = 256_000_000 - len(_BEFORE + _AFTER)

    def __init__(self, settings: AnthropicSettings) -> None:
        self._dialect = AnthropicDialect(settings)
        self._http = BatchHttp(settings)
        self._url = f"{settings.url}/messages/batches"

    def line(self, custom_id: str, request: Request) -> bytes:
        """Return a request with its id, on a line of its own."""
        return content_of({"custom_id": custom_id, "params": self._dialect.body(request)}) + b"\n"

    async def upload(self, lines: BinaryIO, tag: str) -> str:
        """Store nothing: the requests go with the batch."""
        return ""

    async def create(self, batch: SentBatch, lines: BinaryIO) -> BatchStatus:
        """Submit the requests as a batch."""
        return self._status(await self._http.post_lines(self._url, _array(lines), _size(lines)))

    async def find(self, batch: SentBatch) -> BatchStatus | None:
        """Return the batch whose results bear this tag. Raises `Unsure` as long as one like it is being worked on."""
        unsure = False
        async for one in self._newest(batch.begun_at - EARLY_S):
            status = self._status(one)
            if status.total != len(batch.names):
                continue
            if status.phase is Phase.WORKING:
                unsure = True
                continue
            async for result in self.results(status):
                if name_in(batch.tag, result.custom_id):
                    return status
                break
        if unsure:
            raise Unsure
        return None

    async def look(self, batch_id: str) -> BatchStatus:
        """Return how a batch stands."""
        return self._status(await self._http.call("GET", f"{self._url}/{batch_id}"))

    async def cancel(self, batch_id: str) -> BatchStatus:
        """Have a batch ended before its time."""
        return self._status(await self._http.call("POST", f"{self._url}/{batch_id}/cancel"))

    async def results(self, status: BatchStatus) -> AsyncIterator[Result]:
        """Yield the results of a batch."""
        # The address is ours: the key goes to no other that a reply may name.
        async for line in self._http.lines(f"{self._url}/{status.id}/results"):
            found = decoded_line(line)
            if found is not None:
                yield self._result(found)

    async def close(self) -> None:
        """Close all connections."""
        await self._http.close()

    async def _newest(self, since_s: float) -> AsyncIterator[Mapping[str, Any]]:
        """Yield the batches that were created since then, the newest first."""
        async for page in self._http.newest(self._url, "after_id"):
            for one in page:
                if _created_s(one) >= since_s:
                    yield one
            if page and _created_s(page[-1]) < since_s:
                return

    def _status(self, found: Mapping[str, Any]) -> BatchStatus:
        batch_id, said = text_of(found, "id"), text_of(found, "processing_status")
        if not batch_id:
            raise Lost(f"{self._url} gave a batch without an id", fix="")
        counts = found.get("request_counts")
        names = ("processing", "succeeded", "errored", "canceled", "expired")
        total = sum(number_of(counts, name) for name in names)
        return BatchStatus(batch_id, Phase.OVER if said == "ended" else Phase.WORKING, said or "in work", total)

    def _result(self, found: Mapping[str, Any]) -> Result:
        custom_id, result = text_of(found, "custom_id"), found.get("result")
        if not isinstance(result, Mapping):
            return Result(custom_id, None, "it was not answered", End.FAILED)
        kind = text_of(result, "type")
        if kind == "succeeded":
            return Result(custom_id, result.get("message"))
        error = result.get("error")
        inner = error.get("error") if isinstance(error, Mapping) else None
        code = text_of(inner, "type") if isinstance(inner, Mapping) else ""
        words = complaint(error) or f"the batch was {kind}"
        end = _ENDS.get(kind, End.REFUSED if code in _REFUSED else End.FAILED)
        return Result(custom_id, None, self._http.shown(f"{code}: {words}" if code else words), end)


async def _array(lines: BinaryIO) -> AsyncIterator[bytes]:
    """Yield the lines of a file as one JSON object."""
    lines.seek(0)
    before = _BEFORE
    for line in lines:
        yield before + line.removesuffix(b"\n")
        before = _BETWEEN
    yield _AFTER


def _size(lines: BinaryIO) -> int:
    """Return how many bytes `_array` yields: a line's end makes room for what parts it from the next one."""
    return lines.seek(0, os.SEEK_END) - 1 + len(_BEFORE + _AFTER)


def _created_s(found: Mapping[str, Any]) -> float:
    try:
        return datetime.fromisoformat(text_of(found, "created_at")).timestamp()
    except ValueError:
        # What cannot be read is looked at all the same.
        return float("inf")
