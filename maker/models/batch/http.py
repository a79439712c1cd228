"""Carries what a provider of batches is told and tells: uploads, JSON, and results line by line."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, BinaryIO

import httpx

from maker.models.batch.provider import listed, text_of
from maker.models.server.faults import Lost, Refusal, Unbilled
from maker.models.server.openai_http import UNSENT, Http, decoded

_MOST_BYTES = 4 << 20
"""A reply of JSON may take so many bytes: a page of a hundred batches is far below."""
_LINE_BYTES = 64 << 20
"""So may one line of results: no reply is longer."""
_PAGE = 100
_MOST_PAGES = 20
"""So many pages of batches are looked through for one without an id: the newest come first."""


class BatchHttp(Http):
    """Calls one server. Its failures are `Unbilled`, `Lost` and `Refusal`, as those of single requests."""

    async def call(self, method: str, url: str, *, told: object = None) -> Mapping[str, Any]:
        """Return the JSON object that a call brings; ``told`` is the body to send as JSON."""
        more: dict[str, Any] = {} if told is None else {"json": told}
        return await self._object(method, url, **more)

    async def post_lines(self, url: str, content: AsyncIterator[bytes], size: int) -> Mapping[str, Any]:
        """Return the JSON object that a JSON body of this size brings, which is sent piece by piece."""
        headers = {"Content-Type": "application/json", "Content-Length": str(size)}
        return await self._object("POST", url, content=content, headers=headers)

    async def upload(self, url: str, lines: BinaryIO, name: str, fields: Mapping[str, str]) -> Mapping[str, Any]:
        """Return the JSON object that the upload of a file brings."""
        lines.seek(0)
        return await self._object("POST", url, data=fields, files={"file": (name, lines, "application/jsonl")})

    async def newest(self, url: str, cursor: str) -> AsyncIterator[list[Mapping[str, Any]]]:
        """Yield pages of the batches that are listed at an address, the newest first.

        Args:
            url: The address.
            cursor: The parameter that takes the last id of a page, and asks for what comes after it.
        """
        after, first = "", f"{url}{'&' if '?' in url else '?'}limit={_PAGE}"
        for _ in range(_MOST_PAGES):
            page = await self.call("GET", first + (f"&{cursor}={after}" if after else ""))
            batches = listed(page.get("data"))
            yield batches
            after = next((found for one in reversed(batches) if (found := text_of(one, "id"))), "")
            if not after or page.get("has_more") is not True:
                return

    async def lines(self, url: str) -> AsyncIterator[bytes]:
        """Yield the lines of a file, as the server sends them."""
        async with self._sent("GET", url) as response:
            kept = b""
            async for piece in response.aiter_bytes():
                *whole, kept = (kept + piece).split(b"\n")
                if len(kept) > _LINE_BYTES:
                    raise Refusal(f"{url} has a line of more than {_LINE_BYTES:,} bytes")
                for line in whole:
                    yield line
            yield kept

    async def _object(self, method: str, url: str, **more: Any) -> Mapping[str, Any]:
        async with self._sent(method, url, **more) as response:
            text = await _read(response)
        found = decoded(text)
        if not isinstance(found, Mapping):
            raise Lost(f"{url} answered {response.status_code}, but no JSON object: {self.shown(text)!r}", fix="")
        return found

    @asynccontextmanager
    async def _sent(self, method: str, url: str, **more: Any) -> AsyncIterator[httpx.Response]:
        try:
            async with self._client.stream(method, url, **more) as response:
                if not response.is_success:
                    raise self._refused(response, await _read(response), url)
                yield response
        except UNSENT as error:
            raise Unbilled(self.shown(f"{type(error).__name__}: {error}"), reached=False) from error
        except httpx.RequestError as error:
            raise Lost(self.shown(f"{url}: {type(error).__name__}: {error}"), fix="", cut=True) from error

    def _refused(self, response: httpx.Response, text: str, url: str) -> Unbilled | Lost | Refusal:
        found = self._failure(response, text, {}, url)
        if isinstance(found, Refusal) and response.status_code in (401, 403, 404):
            found.fix += "; batches need rights of their own: without them set model.batch = false"
        return found


async def _read(response: httpx.Response) -> str:
    found = bytearray()
    async for piece in response.aiter_bytes():
        found += piece
        if len(found) > _MOST_BYTES:
            break
    return found.decode("utf-8-sig", "replace")


def decoded_line(line: bytes) -> Mapping[str, Any] | None:
    """Return a line of results as a JSON object, None where it is none."""
    found = decoded(line.decode("utf-8-sig", "replace"))
    return found if isinstance(found, Mapping) else None
