"""The batches of OpenAI-compatible servers: a file of requests is uploaded, and files of results are read."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any, BinaryIO, ClassVar

from maker.models.batch.http import BatchHttp, decoded_line
from maker.models.batch.provider import BatchStatus, End, Phase, Problem, Provider, Result, listed, number_of, text_of
from maker.models.dialects.dialect import OpenAIDialect
from maker.models.dialects.openai_wire import batch_url, complaint
from maker.models.server.faults import Lost
from maker.models.server.openai_http import PASSING, content_of
from maker.models.server_settings import OpenAISettings
from maker.types import Request, SentBatch

TAG = "maker_batch"
"""The key of a batch's metadata that holds its tag."""

_OVER = frozenset({"completed", "expired", "cancelled", "canceled"})
_REFUSED = frozenset({"failed"})
_UNASKED = frozenset({"batch_expired", "batch_cancelled"})


class OpenAIBatches(Provider):
    """Batches of ``/v1/files`` and ``/v1/batches``."""

    most_requests: ClassVar[int] = 50_000
    most_bytes: ClassVar[int] = 200_000_000

    def __init__(self, settings: OpenAISettings) -> None:
        self._settings = settings
        self._dialect = OpenAIDialect(settings)
        self._http = BatchHttp(settings)
        self._endpoint = "/chat/completions" if settings.chat else "/completions"
        if not settings.api_version:
            self._endpoint = f"/v1{self._endpoint}"

    def line(self, custom_id: str, request: Request) -> bytes:
        """Return a request as a line of the file."""
        body = self._dialect.body(request)
        return content_of({"custom_id": custom_id, "method": "POST", "url": self._endpoint, "body": body}) + b"\n"

    async def upload(self, lines: BinaryIO, tag: str) -> str:
        """Upload the file; returns its id."""
        url = batch_url(self._settings, "files")
        found = await self._http.upload(url, lines, f"{tag}.jsonl", {"purpose": "batch"})
        if not text_of(found, "id"):
            raise Lost(f"{url} took a file and gave it no id", fix="")
        return text_of(found, "id")

    async def create(self, batch: SentBatch, lines: BinaryIO) -> BatchStatus:
        """Submit an uploaded file as a batch."""
        told = {
            "input_file_id": batch.file,
            "endpoint": self._endpoint,
            "completion_window": "24h",
            "metadata": {TAG: batch.tag},
        }
        return self._status(await self._http.call("POST", batch_url(self._settings, "batches"), told=told))

    async def find(self, batch: SentBatch) -> BatchStatus | None:
        """Return the batch with this tag, or of this file, if there is one among the newest."""
        async for page in self._http.newest(batch_url(self._settings, "batches"), "after"):
            for one in page:
                ours = _tag(one) == batch.tag or text_of(one, "input_file_id") == batch.file
                if ours and text_of(one, "id"):
                    return self._status(one)
        return None

    async def look(self, batch_id: str) -> BatchStatus:
        """Return how a batch stands."""
        return self._status(await self._http.call("GET", batch_url(self._settings, f"batches/{batch_id}")))

    async def cancel(self, batch_id: str) -> BatchStatus:
        """Have a batch ended before its time."""
        return self._status(await self._http.call("POST", batch_url(self._settings, f"batches/{batch_id}/cancel")))

    async def results(self, status: BatchStatus) -> AsyncIterator[Result]:
        """Yield the lines of the files of results and of errors."""
        for file in status.results:
            async for line in self._http.lines(batch_url(self._settings, f"files/{file}/content")):
                found = decoded_line(line)
                if found is not None:
                    yield self._result(found)

    async def close(self) -> None:
        """Close all connections."""
        await self._http.close()

    def _status(self, found: Mapping[str, Any]) -> BatchStatus:
        batch_id, said = text_of(found, "id"), text_of(found, "status").lower()
        if not batch_id:
            raise Lost(f"{self._settings.url} gave a batch without an id", fix="")
        results = tuple(file for name in ("output_file_id", "error_file_id") if (file := text_of(found, name)))
        phase = Phase.OVER if said in _OVER else Phase.WORKING
        if said in _REFUSED:
            phase = Phase.OVER if results else Phase.REFUSED
        counts = found.get("request_counts")
        return BatchStatus(
            batch_id, phase, said or "in work", number_of(counts, "total"), self._problems(found), results
        )

    def _problems(self, found: Mapping[str, Any]) -> tuple[Problem, ...]:
        errors = found.get("errors")
        named = listed(errors.get("data") if isinstance(errors, Mapping) else errors)
        return tuple(
            Problem(number_of(one, "line"), text_of(one, "code"), self._http.shown(text_of(one, "message")))
            for one in named
        )

    def _result(self, found: Mapping[str, Any]) -> Result:
        custom_id, response, error = text_of(found, "custom_id"), found.get("response"), found.get("error")
        if not isinstance(response, Mapping):
            end = End.UNASKED if isinstance(error, Mapping) and error.get("code") in _UNASKED else End.FAILED
            return Result(custom_id, None, self._http.shown(_words(error) or "it was not answered"), end)
        status, body = number_of(response, "status_code"), response.get("body")
        if 200 <= status < 300:
            return Result(custom_id, body)
        words = complaint(body) or _words(error) or "it was not answered"
        refused = 400 <= status < 500 and status not in PASSING
        end = End.REFUSED if refused else End.FAILED
        return Result(custom_id, None, self._http.shown(f"HTTP {status}: {words}"), end)


def _tag(found: Mapping[str, Any]) -> str:
    metadata = found.get("metadata")
    return text_of(metadata, TAG) if isinstance(metadata, Mapping) else ""


def _words(error: object) -> str:
    if not isinstance(error, Mapping):
        return error if isinstance(error, str) else ""
    return text_of(error, "message") or text_of(error, "code")
