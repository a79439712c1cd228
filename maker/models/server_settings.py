"""Settings of models that a server answers for, over HTTP: what the server is, what it takes, and what it costs."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

from maker.models.base_settings import SamplingSettings
from maker.types import Prices, Request

Price = Annotated[float | None, Field(ge=0)]

_VARIABLE = "[A-Za-z_][A-Za-z0-9_]*"
_HEADER = "[A-Za-z0-9!#$%&'*+.^_`|~-]+"
_OWN_HEADERS = frozenset(
    {"accept-encoding", "connection", "content-length", "content-type", "cookie", "host", "transfer-encoding"}
)
"""Headers that say how a request is carried: another value would break it."""
_FIRST_STORED = (
    "temperature", "top_p", "structured", "kind", "url", "name", "key_env", "fallbacks", "chat", "logprobs",
    "reply_name", "max_n",
)  # fmt: skip
"""The order in which runs have these settings stored: other bytes would part them from their calibrations."""
_ENDPOINTS = ("/chat/completions", "/completions", "/messages", "/responses")


def _unset(value: object) -> bool:
    """Say whether a setting is as in runs of versions that did not have it: it is not stored then."""
    return value is None or value in ("", (), {})


def _base_url(url: str) -> str:
    """Return a base URL as it is used. Raises ``ValueError``."""
    if not url.startswith(("http://", "https://")):
        raise ValueError("must begin with http:// or https://")
    if "api-version=" in url:
        raise ValueError("must not contain a query; give its api-version as model.api_version")
    if set("@?#") & set(url):
        raise ValueError("must not contain a user, password or query, for it is stored; use key_env")
    url = url.rstrip("/")
    for end in _ENDPOINTS:
        if url.endswith(end):
            raise ValueError(f"must be the base address: leave {end} out")
    return url


def _key_variable(key_env: str) -> str:
    """Return the name of an environment variable, "" for none. Raises ``ValueError``."""
    if key_env and not re.fullmatch(_VARIABLE, key_env):
        raise ValueError("must be the name of the variable that holds the key, not the key itself")
    return key_env


BaseUrl = Annotated[str, AfterValidator(_base_url)]
KeyVariable = Annotated[str, AfterValidator(_key_variable)]


class FallbackEndpoint(BaseModel):
    """Another server of the same model: its base URL, and the variable of its key where that is another one."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)
    url: BaseUrl
    key_env: KeyVariable | None = None


class ServerSettings(SamplingSettings):
    """What the settings of all servers have in common.

    Args:
        name: The model's name on the server. E.g. ``"qwen3-8b"``.
        key_env: Name of the environment variable that holds the key; the key itself is never stored. E.g.
            ``"MY_KEY"``.
        fallbacks: Other servers of the same model, asked in turn where the one before fails; each with the variable of
            its key where that is another one. E.g. ``[{url = "https://b.example/v1", key_env = "B_KEY"}]``.
        headers: Further HTTP headers, each with the name of the environment variable that holds its value; the value is
            never stored. E.g. ``{X-Organization = "MY_ORGANIZATION"}``.
        extra_body: Further fields of each request, as the server documents them. They are stored: keep secrets out.
            E.g. ``{reasoning_effort = "low"}``.
        reasoning_tokens (tokens): How long a model may reason, where its server counts reasoning that it does not send
            as part of the reply: each reply may take so many tokens beside the `max_tokens` of its step class, and
            limits cover them. A reply that ends within its reasoning has the red flag `reasoning`. E.g. ``4000``.
        reply_name: The model's name in replies, if the server uses another name there (an alias, a deployment). A reply
            of another model is billed and gets no vote. E.g. ``"qwen3-8b-awq"``.
        concurrency: Most HTTP requests in flight. Each worker begins with two, and goes up to this number while more of
            them bring more replies; it sends fewer where replies come near ``timeout_s`` or later.
        requests_per_minute (requests a minute): Most HTTP requests in any minute; every try counts. Like
            ``concurrency``, it holds for each worker on its own: with four workers on one key, give each a quarter of
            what the key allows. E.g. ``500``.
        tokens_per_minute (tokens a minute): Most tokens in any minute, prompt and reply together; a request counts with
            the most that it may cost until its reply gives the real number. E.g. ``200000``.
        timeout_s (seconds): When an HTTP request is given up; it may be billed all the same. Give a slow server more
            than it needs for all replies of a request.
        retry_s (seconds): How long a failing server is retried, if it has answered before; a longer Retry-After is not
            waited for.
        prompt_price (per million tokens): Price of prompt tokens, in any currency. E.g. ``0.15``.
        cached_price (per million tokens): Price of prompt tokens that the server reports as read from its cache;
            ``prompt_price`` by default. E.g. ``0.075``.
        completion_price (per million tokens): Price of completion tokens, in the same currency; reasoning is among
            them. E.g. ``0.6``.
        batch_prompt_price (per million tokens): Price of prompt tokens of what is sent in a batch; ``prompt_price`` by
            default. E.g. ``0.075``.
        batch_completion_price (per million tokens): Price of completion tokens of what is sent in a batch;
            ``completion_price`` by default. E.g. ``0.3``.
        batch: Send requests in batches, which the provider answers within hours and at a lower price: docs/batches.md.
        batch_requests (requests): Most requests of one batch; what the provider takes by default: 50,000 of an
            OpenAI-compatible server, 100,000 of Anthropic's. E.g. ``10000``.
        batch_bytes (bytes): Most bytes of one batch; what the provider takes by default, 200 MB and 256 MB. E.g.
            ``100000000``.
        batch_poll_s (seconds): How often a provider is asked how a batch stands.
        batch_wait_s (seconds): For how long a process waits for batches with nothing else to do. Then the run rests,
            and `maker resume` or a queue's worker looks again. By default `maker run` and `maker resume` wait as long
            as it takes, and a queue's worker does not wait at all. E.g. ``0``.
    """

    # A program sees pydantic's own errors: a password in a URL must not be in them.
    model_config = ConfigDict(hide_input_in_errors=True)
    IDENTITY: ClassVar[frozenset[str]] = frozenset({"name", "temperature", "top_p", "structured"})
    LATER: ClassVar[frozenset[str]] = frozenset({"extra_body", "reasoning_tokens"})
    OWN_FIELDS: ClassVar[Mapping[str, str]] = {}
    """Fields of a request that maker fills, each with what says so in the ``[model]`` table, "" where nothing does."""

    url: BaseUrl
    name: str
    key_env: KeyVariable = ""
    fallbacks: tuple[FallbackEndpoint, ...] = Field(default=(), exclude_if=_unset)
    omit: tuple[str, ...] = Field(default=(), exclude_if=_unset)
    headers: dict[str, str] = Field(default={}, exclude_if=_unset)
    extra_body: dict[str, Any] = Field(default={}, exclude_if=_unset)
    reasoning_tokens: int = Field(default=0, ge=0, le=10**6, exclude_if=lambda tokens: not tokens)
    reply_name: str = ""
    concurrency: int = Field(default=64, ge=1)
    requests_per_minute: int | None = Field(default=None, ge=1)
    tokens_per_minute: int | None = Field(default=None, ge=1)
    timeout_s: float = Field(default=120.0, gt=0)
    retry_s: float = Field(default=120.0, ge=0)
    prompt_price: Price = None
    cached_price: Price = Field(default=None, exclude_if=_unset)
    completion_price: Price = None
    batch_prompt_price: Price = Field(default=None, exclude_if=_unset)
    batch_completion_price: Price = Field(default=None, exclude_if=_unset)
    batch: bool = Field(default=False, exclude_if=lambda batch: not batch)
    batch_requests: int | None = Field(default=None, ge=1, exclude_if=_unset)
    batch_bytes: int | None = Field(default=None, ge=1, exclude_if=_unset)
    batch_poll_s: float = Field(default=60.0, gt=0, le=3600, exclude_if=lambda seconds: seconds == 60)
    batch_wait_s: float | None = Field(default=None, ge=0, exclude_if=_unset)

    @property
    def takes_temperature(self) -> bool:
        """Whether the server can be told a temperature."""
        return "temperature" not in self.omit

    @property
    def seeded(self) -> bool:
        """Whether requests carry a seed, so that the server can draw the same replies again."""
        return False

    @property
    def most_n(self) -> int:
        """How many replies one HTTP request may ask for."""
        return 1

    def endpoints(self) -> list[Self]:
        """Return the settings of each server, the first one first."""
        alone = self.model_copy(update={"fallbacks": ()})
        others = [
            {"url": one.url, "key_env": self.key_env if one.key_env is None else one.key_env} for one in self.fallbacks
        ]
        return [alone, *(alone.model_copy(update=other) for other in others)]

    def with_room(self, request: Request) -> Request:
        """Return a request whose ``max_tokens`` leaves room to reason: so it is sent, counted and read."""
        return request._replace(max_tokens=request.max_tokens + self.reasoning_tokens)

    def identity(self) -> dict[str, Any]:
        """Return the settings that decide how it answers, with what is left out of requests and decides it too."""
        # What else is omitted is sent in another way, or decides no probability.
        omitted = sorted({"temperature", "top_p"} & set(self.omit))
        return super().identity() | ({"omit": omitted} if omitted else {})

    @model_serializer(mode="wrap")
    def _in_order(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        told: dict[str, Any] = handler(self)
        return {name: told[name] for name in _FIRST_STORED if name in told} | told

    @field_validator("headers")
    @classmethod
    def _are_headers(cls, headers: dict[str, str]) -> dict[str, str]:
        for name, variable in headers.items():
            if not re.fullmatch(_HEADER, name):
                raise ValueError("holds what is no name of an HTTP header")
            if name.lower() in _OWN_HEADERS:
                raise ValueError(f"must not hold {name}, which maker sets itself")
            if not re.fullmatch(_VARIABLE, variable):
                raise ValueError(
                    f"{name} must be the name of the environment variable that holds the header's value, not the value"
                )
        if len({name.lower() for name in headers}) < len(headers):
            raise ValueError("names a header twice: capitals do not tell headers apart")
        return headers

    @field_validator("extra_body")
    @classmethod
    def _is_body(cls, extra: dict[str, Any]) -> dict[str, Any]:
        try:
            json.dumps(extra, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ValueError("holds what JSON cannot carry: a date, or a number that is none") from error
        for name, setting in cls.OWN_FIELDS.items():
            if name in extra:
                raise ValueError(f"must not hold {name}: " + (f"set {setting}" if setting else "maker fills it"))
        return extra

    @model_validator(mode="after")
    def _omitted(self) -> ServerSettings:
        for name in ("temperature", "top_p"):
            if name in self.omit and name in self.model_fields_set and getattr(self, name) != 1:
                raise ValueError(
                    f"model.omit says that {name} is not sent, and model.{name} = {getattr(self, name):g} sets it; "
                    "leave one of them out"
                )
        return self


class OpenAISettings(ServerSettings):
    """Any OpenAI-compatible server.

    Args:
        url: Base URL with the version; with ``api_version``, the address of the Azure resource. E.g.
            ``"http://127.0.0.1:8000/v1"``.
        temperature: Sampling temperature.
        top_p: Nucleus sampling; 1 keeps every token.
        structured: ``schema`` asks the server for replies that match the step class's JSON schema, with a strict
            ``response_format``; ``off``, and a class without a schema, ask for none. OpenAI's own API accepts only
            schemas in which every object requires all of its properties and has ``additionalProperties = false``.
            Without ``chat``, vLLM's server is known to support it; a server that does not know the field refuses it or
            ignores it.
        omit: Fields that the server refuses, and that are not sent. Without ``max_tokens`` the limit is sent as
            ``max_completion_tokens``; without ``temperature`` and ``top_p`` the server's own hold; without ``stop``
            maker cuts replies off itself; without ``seed`` no vote can be drawn again. If a server refuses one of them,
            maker says which to name. E.g. ``["seed"]``.
        api_version: Version of Azure's API. With it requests go to Azure's deployment ``name``, and the key into the
            header ``api-key``. E.g. ``"2024-10-21"``.
        chat: Use ``/chat/completions``; else ``/completions`` with the raw text.
        logprobs: Ask for the log-probabilities of the drawn tokens; a server without them sends none, or refuses.
        max_n: Most replies that one HTTP request may ask for. If a server ignores or refuses ``n``, maker notices, and
            asks it for one reply at a time from then on.
    """

    IDENTITY: ClassVar[frozenset[str]] = ServerSettings.IDENTITY | {"chat"}
    OWN_FIELDS: ClassVar[Mapping[str, str]] = {
        "model": "model.name", "messages": "", "prompt": "", "n": "model.max_n", "seed": "run.seed", "stream": "",
        "temperature": "model.temperature", "top_p": "model.top_p", "max_tokens": "", "max_completion_tokens": "",
        "stop": "", "logprobs": "model.logprobs", "response_format": "model.structured",
    }  # fmt: skip
    kind: Literal["openai"] = "openai"
    omit: tuple[Literal["max_tokens", "temperature", "top_p", "seed", "stop"], ...] = Field(
        default=(), exclude_if=_unset
    )
    api_version: str = Field(default="", pattern="^[A-Za-z0-9._-]*$", exclude_if=_unset)
    chat: bool = True
    logprobs: bool = False
    max_n: int = Field(default=128, ge=1)

    @property
    def seeded(self) -> bool:
        """Whether requests carry a seed, so that the server can draw the same replies again."""
        return "seed" not in self.omit

    @property
    def most_n(self) -> int:
        """How many replies one HTTP request may ask for."""
        return self.max_n


class AnthropicSettings(ServerSettings):
    """Anthropic's Messages API, or a server with the same interface. It has no seeds: no vote can be drawn again.

    Args:
        url: Base URL with the version.
        key_env: Name of the environment variable that holds the key; the key itself is never stored. Clear it for a
            server that needs none.
        temperature: Sampling temperature, 1 at most. 1 is the API's own and is not sent: some models refuse it.
        top_p: Nucleus sampling; 1 keeps every token and is not sent.
        structured: ``schema`` asks for replies that match the step class's JSON schema (``output_config``); ``off``,
            and a class without a schema, ask for none.
        omit: ``temperature`` says that the model refuses another one than its own: then none is tried. E.g.
            ``["temperature"]``.
    """

    OWN_FIELDS: ClassVar[Mapping[str, str]] = {
        "model": "model.name", "messages": "", "system": "", "max_tokens": "", "stop_sequences": "", "stream": "",
        "temperature": "model.temperature", "top_p": "model.top_p",
    }  # fmt: skip
    logprobs: ClassVar[bool] = False
    kind: Literal["anthropic"] = "anthropic"
    url: BaseUrl = "https://api.anthropic.com/v1"
    key_env: KeyVariable = "ANTHROPIC_API_KEY"
    temperature: float = Field(default=1.0, ge=0, le=1)
    omit: tuple[Literal["temperature"], ...] = Field(default=(), exclude_if=_unset)

    def takes(self, temperature: float) -> bool:
        """Say whether the model can be told this temperature: none above 1, and none beside a ``top_p``."""
        return super().takes(temperature) and temperature <= 1 and self.top_p == 1

    @field_validator("extra_body")
    @classmethod
    def _writes_no_cache(cls, extra: dict[str, Any]) -> dict[str, Any]:
        if "cache_control" in extra:
            raise ValueError("must not hold cache_control: what it costs to write a cache has no price here")
        return extra

    @model_validator(mode="after")
    def _one_of_both(self) -> AnthropicSettings:
        if self.temperature != 1 and self.top_p != 1:
            raise ValueError("Anthropic's models take a temperature or a top_p, not both; leave one of them out")
        return self


def seeded_in(table: Mapping[str, Any]) -> bool:
    """Say whether a model's votes can be drawn again, by its table as a run has stored it."""
    return table.get("kind") != "anthropic" and "seed" not in table.get("omit", ())


def prices_of(model: object, *, batch: bool = False) -> Prices | None:
    """Return the prices of a model's tokens, None if they are not set; with ``batch`` those of what is sent in one."""
    if not isinstance(model, ServerSettings):
        return None
    return prices_in(model.model_dump(), batch=batch)


def prices_in(table: Mapping[str, Any], *, batch: bool = False) -> Prices | None:
    """Return the same of a model's table, as a run has stored it."""
    prompt, cached, completion = (table.get(name) for name in ("prompt_price", "cached_price", "completion_price"))
    if prompt is None or completion is None:
        return None
    if not batch:
        return Prices.per_million(prompt, completion, cached)
    read, written = table.get("batch_prompt_price"), table.get("batch_completion_price")
    return Prices.per_million(prompt if read is None else read, completion if written is None else written)
