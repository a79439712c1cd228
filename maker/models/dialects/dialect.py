"""How a server is spoken to: the body of one request, and what its reply says. Pure: no network.

A body and a reply are the same whether the request is sent by itself or as one of a batch. A request has its room to
reason already: see `ServerSettings.with_room`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection
from typing import Any, ClassVar, Generic, TypeVar

from maker.models.dialects import anthropic_reply, anthropic_wire, openai_reply, openai_wire
from maker.models.dialects.openai_reply import Reply
from maker.models.server_settings import AnthropicSettings, OpenAISettings, ServerSettings
from maker.types import Request

S = TypeVar("S", bound=ServerSettings)


class Dialect(ABC, Generic[S]):
    """The interface of one kind of server.

    Args:
        settings: The ``[model]`` table.

    Attributes:
        url: The address that requests are posted to.
        wrong_url: What a reply that cannot be read says of ``model.url``.
    """

    wrong_url: ClassVar[str]

    def __init__(self, settings: S) -> None:
        self._settings = settings
        self.url = self.endpoint()

    @abstractmethod
    def endpoint(self) -> str:
        """Return the address that requests are posted to."""

    @abstractmethod
    def headers(self, key: str) -> dict[str, str]:
        """Return the headers that the server wants with each request; ``key`` is "" where it needs none."""

    @abstractmethod
    def body(self, request: Request, *, without: Collection[str] = ()) -> dict[str, Any]:
        """Return the JSON body of one request; fields of ``without`` are left out beside those of ``model.omit``."""

    @abstractmethod
    def read(self, answer: object, request: Request, *, counts_all: bool = True) -> Reply:
        """Return what the decoded JSON body of one reply says. Raises `Unreadable`."""


class OpenAIDialect(Dialect[OpenAISettings]):
    """OpenAI's ``/chat/completions`` and ``/completions``, and Azure's."""

    wrong_url = "model.url must be the base address of an OpenAI-compatible server; it often ends in /v1"

    def endpoint(self) -> str:
        """Return the address that requests are posted to."""
        return openai_wire.endpoint(self._settings)

    def headers(self, key: str) -> dict[str, str]:
        """Return the key in the header that the server looks for it in."""
        if not key:
            return {}
        return {"api-key": key} if self._settings.api_version else {"Authorization": f"Bearer {key}"}

    def body(self, request: Request, *, without: Collection[str] = ()) -> dict[str, Any]:
        """Return the JSON body of one request."""
        return openai_wire.body(request, self._settings, without)

    def read(self, answer: object, request: Request, *, counts_all: bool = True) -> Reply:
        """Return what the decoded JSON body of one reply says. Raises `Unreadable`."""
        settings = self._settings
        stops = request.stop if "stop" in settings.omit else ()
        return openai_reply.read(
            answer, request, counts_all=counts_all, reasons=settings.reasoning_tokens > 0, stops=stops
        )


class AnthropicDialect(Dialect[AnthropicSettings]):
    """Anthropic's ``/messages``."""

    wrong_url = "model.url must be the base address of a server with Anthropic's Messages API; it often ends in /v1"

    def endpoint(self) -> str:
        """Return the address that requests are posted to."""
        return f"{self._settings.url}/messages"

    def headers(self, key: str) -> dict[str, str]:
        """Return the version of the interface, and the key."""
        version = {"anthropic-version": anthropic_wire.VERSION}
        return version | {"x-api-key": key} if key else version

    def body(self, request: Request, *, without: Collection[str] = ()) -> dict[str, Any]:
        """Return the JSON body of one request."""
        return anthropic_wire.body(request, self._settings, without)

    def read(self, answer: object, request: Request, *, counts_all: bool = True) -> Reply:
        """Return what the decoded JSON body of one reply says. Raises `Unreadable`."""
        return anthropic_reply.read(answer, request, reasons=self._settings.reasoning_tokens > 0)


def dialect_of(settings: ServerSettings) -> Dialect[Any]:
    """Return how the server of a ``[model]`` table is spoken to."""
    if isinstance(settings, AnthropicSettings):
        return AnthropicDialect(settings)
    if isinstance(settings, OpenAISettings):
        return OpenAIDialect(settings)
    raise TypeError(f"no dialect for {type(settings).__name__}")
