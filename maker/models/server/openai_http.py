"""Post one request to a server and read its reply, or classify the failure."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Collection, Mapping
from http.cookiejar import CookieJar, DefaultCookiePolicy
from traceback import format_tb
from typing import Any

import httpx

from maker.core.logs import logger
from maker.errors import ModelUnusable
from maker.inputs.nesting import written_too_deep
from maker.models.dialects.dialect import dialect_of
from maker.models.dialects.openai_reply import Reply, Unreadable
from maker.models.dialects.openai_wire import complaint, is_another, retry_after_s, shown
from maker.models.dialects.refusals import advice, refused_field
from maker.models.server.bounded_body import ENCODING, Unfit, most_bytes, read_body
from maker.models.server.concurrency import TOO_LATE
from maker.models.server.faults import Lost, Refusal, Unbilled
from maker.models.server.keys import read_headers, read_key
from maker.models.server_settings import ServerSettings
from maker.types import Request

PASSING = frozenset({408, 409, 425, 429})
"""Statuses that a later try may not get, like all of 500 and above."""

_GATEWAY = frozenset({504, 524})
"""A gateway timed out on the server behind it, which may have drawn the replies and bill them."""

_OF_THE_PROMPT = frozenset({400, 413, 422})
"""Statuses that another prompt may not get, for example if this one is too long."""

_OF_N = frozenset({400, 422})
"""Statuses that a request for a single reply may not get."""

UNSENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError, httpx.UnsupportedProtocol)
_CONNECT_S = 5.0
_SECRET_CHARS = 6
"""A shorter value of a header hides nothing, and may stand in any sentence."""

_log = logger(__name__)


class Http:
    """Posts requests to one server.

    Args:
        settings: The ``[model]`` table. Its key and headers are read from their environment variables now.

    Raises:
        ModelUnusable: A variable is not set, or the URL cannot be read.
    """

    def __init__(self, settings: ServerSettings) -> None:
        self._dialect = dialect_of(settings)
        self.url, self.base = self._dialect.url, settings.url
        self._settings = settings
        key, further = read_key(settings.key_env), read_headers(settings.headers)
        self._secrets = ([key] if key else []) + [value for value in further.values() if len(value) >= _SECRET_CHARS]
        headers = httpx.Headers(self._dialect.headers(key))
        # Whatever their capitals, further ones stand in place of maker's own.
        headers.update(further)
        # Some servers count the tokens of one reply of several, and one reply in a few shows it.
        self._counts_all = True
        self._client = _client(settings, headers)

    async def post(self, request: Request, sends: Callable[[], None], *, without: Collection[str] = ()) -> Reply:
        """Return the reply to a request, or raise `Unbilled`, `Lost` or `Refusal`: whatever the server sends.

        Calls ``sends`` right before the first byte leaves. A request is not sent where it raises. Fields of ``without``
        are left out.
        """

        async def trace(event: str, _: object) -> None:
            if event.endswith("send_request_headers.started"):
                sends()

        fields = self._dialect.body(request, without=without)
        content = content_of(fields)
        headers = {"Content-Type": "application/json"}
        try:
            # httpx's own timeouts restart with each read: a server that drips bytes would never trigger them.
            async with (
                asyncio.timeout(self._settings.timeout_s),
                self._client.stream(
                    "POST", self.url, content=content, headers=headers, extensions={"trace": trace}
                ) as response,
            ):
                return await self._answer(response, request, fields)
        except (Unbilled, Lost, Refusal):
            raise
        except TimeoutError as error:
            raise self._lost(f"{TOO_LATE}{self._settings.timeout_s:g} s", late=True) from error
        except UNSENT as error:
            raise Unbilled(self.shown(f"{type(error).__name__}: {error}"), reached=False) from error
        except httpx.RequestError as error:
            raise self._lost(self.shown(f"{type(error).__name__}: {error}"), cut=True) from error
        except Exception as error:
            # A server may send what neither maker nor the libraries below it have thought of. That is a failure of one
            # request: raised on, it would end the run.
            _log.debug("a reply cannot be read", error=type(error).__name__, at=format_tb(error.__traceback__))
            raise self._lost(self.shown(f"its reply cannot be read: {type(error).__name__}: {error}")) from error

    async def close(self) -> None:
        """Close all connections."""
        await self._client.aclose()

    async def _answer(self, response: httpx.Response, request: Request, fields: Mapping[str, Any]) -> Reply:
        most = most_bytes(request, self._settings)
        try:
            raw = await read_body(response.aiter_raw(), response.headers.get("content-encoding", ""), most)
        except Unfit as error:
            if response.is_success:
                fix = f"check what answers at {self._settings.url}: it does not do what was asked of it"
                raise Lost(f"{self.url} answered {response.status_code}, but {error}", fix=fix) from error
            raise self._failure(response, str(error), fields) from error
        # JSON is UTF-8, whatever charset the server names.
        text = raw.decode("utf-8-sig", "replace")
        if not response.is_success:
            raise self._failure(response, text, fields)
        return self._read(response, text, request)

    def _read(self, response: httpx.Response, text: str, request: Request) -> Reply:
        try:
            reply = self._dialect.read(decoded(text), request, counts_all=self._counts_all)
        except Unreadable as error:
            what = f"{self.url} answered {response.status_code}, but {error}: {self.shown(text)!r}"
            raise Lost(what, fix=self._dialect.wrong_url) from error
        if reply.counts_all is not None:
            self._counts_all = reply.counts_all
        if is_another(reply.model, self._settings):
            named, meant = self.shown(reply.model), self._settings.reply_name or self._settings.name
            raise Lost(
                f"{self.url} answered as model {named!r}, but was asked for {meant!r}; such replies get no vote",
                fix=f"set model.reply_name = {named!r} if that is the model you mean, else correct model.name",
                reply=reply,
            )
        return reply

    def _failure(
        self, response: httpx.Response, text: str, fields: Mapping[str, Any], url: str = ""
    ) -> Unbilled | Lost | Refusal:
        status, answer = response.status_code, decoded(text)
        message = self.shown(complaint(answer) or text)
        if status in _GATEWAY:
            return self._lost(f"HTTP {status}: {message}", late=True)
        if status in PASSING or status >= 500:
            wait_s = retry_after_s(response.headers.get("retry-after"))
            # A server that answers "too many" or "later" is up.
            alive = status == 429 or wait_s is not None
            what = f"HTTP {status}: {message}" + (f" (Retry-After: {wait_s:g} s)" if wait_s else "")
            return Unbilled(what, wait_s=wait_s, alive=alive, crowded=status == 429)
        field = refused_field(answer, message, fields) if status in _OF_N else ""
        return Refusal(
            f"{url or self.url} refused the request: HTTP {status}: {message}",
            fix=advice(status, message, self._settings, [field] if field else []),
            unusable=True,
            of_prompt=status in _OF_THE_PROMPT and not field,
            of_n=status in _OF_N and field in ("", "n"),
            field=field,
            too_large=status == 413,
        )

    def _lost(self, what: str, *, late: bool = False, cut: bool = False) -> Lost:
        fix = f"check that a server runs at {self._settings.url}, or raise model.timeout_s"
        return Lost(what, fix=fix, late=late, cut=cut)

    def shown(self, text: str) -> str:
        """Return the beginning of a server's words, without what is secret."""
        # Hide the key first: once the text is joined and cut, a part of the key could remain unrecognised.
        for secret in self._secrets:
            text = text.replace(secret, "[key]").replace(json.dumps(secret)[1:-1], "[key]")
        return shown(text)


def content_of(fields: Mapping[str, Any]) -> bytes:
    """Return a body as it is sent. Raises `Refusal` where it holds what cannot be."""
    try:
        return json.dumps(fields, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
    except ValueError as error:
        raise Refusal(
            f"this prompt cannot be sent: {error}", fix="take what is not valid Unicode out of it", of_prompt=True
        ) from error


def decoded(text: str) -> object:
    """Return what a JSON text holds, None where it is none, or too deeply nested."""
    try:
        return None if written_too_deep(text) else json.loads(text)
    except (ValueError, RecursionError):
        return None


def _client(settings: ServerSettings, headers: Mapping[str, str]) -> httpx.AsyncClient:
    try:
        host = httpx.URL(settings.url).host
    except httpx.InvalidURL as error:
        raise ModelUnusable(f"model.url = {settings.url!r} is not a URL: {error}") from error
    return httpx.AsyncClient(
        headers={"Accept-Encoding": ENCODING, **headers},
        # Cookies of one reply would go out with all later requests, and no header can carry some of them.
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
        # A failing connection must time out before the whole request does: only then it is known not to be billed.
        timeout=httpx.Timeout(settings.timeout_s, connect=min(settings.timeout_s / 2, _CONNECT_S)),
        limits=httpx.Limits(max_connections=settings.concurrency, max_keepalive_connections=settings.concurrency),
        # A proxy from the environment cannot reach this machine's loopback.
        trust_env=not (host in ("localhost", "::1") or host.startswith("127.")),
    )
