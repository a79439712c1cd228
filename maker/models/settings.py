"""The ``[model]`` table of a job, one class a kind."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, ClassVar, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from maker.types import Prices, Request

GREEDY = 1e-5
"""A temperature below this is greedy decoding: one answer, however often it is asked for."""


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    IDENTITY: ClassVar[frozenset[str]] = frozenset()

    def identity(self) -> dict[str, Any]:
        """Return what decides how a model answers; the rest (where it runs, what it costs) may change in a run."""
        return self.model_dump(include={"kind", *self.IDENTITY})


class _Sampling(_Settings):
    temperature: float = Field(default=1.0, ge=0, le=10)
    top_p: float = Field(default=1.0, gt=0, le=1)
    structured: Literal["off", "schema"] = "off"

    @property
    def greedy(self) -> bool:
        """Whether all replies to a prompt are one, however many are asked for."""
        return self.temperature < GREEDY

    def temperature_of(self, request: Request) -> float:
        """Return the temperature that a request's replies are drawn at: its own, where it has one."""
        return self.temperature if request.temperature is None else request.temperature

    def schema_of(self, request: Request) -> Mapping[str, Any] | None:
        """Return the schema that the replies to a request are held to, None where they are free."""
        return request.schema if self.structured == "schema" else None


class SimulatedSettings(_Settings):
    """A model that knows the task's oracle and errs at a known rate. For tests and rehearsals.

    Args:
        p: Probability that a sample is right.
        p_by_class: The same for steps of the classes that it names.
        rho: How much prompts differ: each has a p of its own, from the Beta distribution with the mean p and this
            intra-class correlation, 1 / (a+b+1). A prompt's p is the quantile at a hash of it, always the same.
        rho_by_class: The same for steps of the classes that it names.
        rivals: How many different wrong answers it draws from; 1 is the worst case that the formulas assume.
        shares: How these share the errors, in proportion: (3, 1) gives the first one three quarters. Evenly, if empty.
        malformed: Share of samples that cannot be parsed, drawn before right or wrong is.
        flag_right: Share of the right samples that cannot be parsed on top of that.
        flag_wrong: Share of the wrong ones.
        common: Share of samples whose answer is the same draw for a prompt, whoever asks: correlated votes.
        logprobs: Tell a log-probability with each sample. Half of them report the probability p + d, the others p - d,
            with d = .8 min(p, 1-p), and they are right as often as they report; the replies are the same as without.
        latency_s: Seconds before a request is answered.
    """

    IDENTITY: ClassVar[frozenset[str]] = frozenset({"p", "rivals", "malformed", "common"})
    LATER: ClassVar[frozenset[str]] = frozenset(
        {"p_by_class", "rho", "rho_by_class", "shares", "flag_right", "flag_wrong"}
    )
    kind: Literal["simulated"] = "simulated"
    p: float = Field(default=0.99, ge=0, le=1)
    rivals: int = Field(default=1, ge=1)
    malformed: float = Field(default=0.0, ge=0, le=1)
    common: float = Field(default=0.0, ge=0, le=1)
    logprobs: bool = False
    latency_s: float = Field(default=0.0, ge=0)
    p_by_class: dict[str, Annotated[float, Field(ge=0, le=1)]] = {}
    rho: float = Field(default=0.0, ge=0, lt=1)
    rho_by_class: dict[str, Annotated[float, Field(ge=0, lt=1)]] = {}
    shares: tuple[Annotated[float, Field(gt=0)], ...] = ()
    flag_right: float = Field(default=0.0, ge=0, le=1)
    flag_wrong: float = Field(default=0.0, ge=0, le=1)

    @model_validator(mode="after")
    def _shared(self) -> SimulatedSettings:
        if self.shares and len(self.shares) != self.rivals:
            raise ValueError(f"{len(self.shares)} shares for {self.rivals} rivals; give one for each, or none")
        return self

    def identity(self) -> dict[str, Any]:
        """Return what decides how it answers; what older runs did not name, where it is not as it was in them."""
        later = self.model_dump(mode="json", include=set(self.LATER), exclude_defaults=True)
        return super().identity() | later


class VllmSettings(_Sampling):
    """A model folder that vLLM runs in the worker's own process.

    Args:
        path: A folder with config.json, weights and tokenizer.
        temperature: Sampling temperature.
        top_p: Nucleus sampling; 1 leaves every token in.
        structured: ``schema`` lets vLLM draw only what can still become a reply that matches the step class's JSON
            schema; ``off``, and steps of a class without a schema, leave replies free. A schema tells nothing of what
            it asks for: the prompt still has to. Fields come in the schema's order.
        chat: Render prompts with the tokenizer's chat template; else the shared part and the rest are joined as text.
        logprobs: Tell the log-probability of each reply, that of its tokens before temperature and top_p.
        dtype: vLLM's dtype.
        max_model_len: Longest prompt and reply together, in tokens; None leaves it to the model's configuration.
        memory_share: Share of the GPU's memory that the engine may take; on a CPU, of the machine's.
        kv_cache_gib: On a CPU, the key-value cache in GiB.
        compile: Compile the model: faster steps, half a minute later to start.
        tensor_parallel: How many GPUs of one node the model is spread over.
        engine_args: Further arguments of vLLM's engine by their own names, as in ``{max_num_seqs = 64}``.
    """

    IDENTITY: ClassVar[frozenset[str]] = frozenset(
        {"temperature", "top_p", "structured", "chat", "dtype", "engine_args"}
    )
    kind: Literal["vllm"] = "vllm"
    path: str
    chat: bool = False
    logprobs: bool = False
    dtype: str = "auto"
    max_model_len: int | None = Field(default=None, ge=16)
    memory_share: float = Field(default=0.9, gt=0, le=1)
    kv_cache_gib: int = Field(default=1, ge=1)
    compile: bool = True
    tensor_parallel: int = Field(default=1, ge=1)
    engine_args: dict[str, Any] = {}

    def engine(self) -> dict[str, Any]:
        """Return what an engine is started with; the rest is said with each request."""
        return self.model_dump(exclude={"temperature", "top_p", "structured", "chat", "logprobs"})


class OpenAISettings(_Sampling):
    """Any OpenAI-compatible server.

    Args:
        url: Base URL up to and including the version, as in ``http://127.0.0.1:8000/v1``.
        name: The model's name on the server.
        key_env: Name of the environment variable that holds the key; the key itself is never stored.
        temperature: Sampling temperature.
        top_p: Nucleus sampling; 1 leaves every token in.
        structured: ``schema`` asks the server to hold replies to the step class's JSON schema, in a ``response_format``
            that is marked strict; ``off``, and steps of a class without a schema, ask for none. OpenAI's own API takes
            only schemas whose every object requires all of its properties and has ``additionalProperties = false``,
            and refuses others. Without ``chat``, vLLM's server is known to take it; a server that knows no such field
            refuses it, or ignores it and replies as it likes.
        chat: Ask ``/chat/completions``; else ``/completions`` with the raw text.
        logprobs: Ask for the log-probabilities of the tokens that were drawn; a server that offers none sends none, or
            refuses.
        reply_name: What the model is called in replies, where a server calls it otherwise than it is asked for (an
            alias, a deployment). A reply of another model is billed and gets no vote.
        max_n: Most replies that one HTTP request may ask for. A server that ignores or refuses ``n`` is noticed, and
            asked for one at a time from then on.
        concurrency: Most HTTP requests in flight.
        requests_per_minute: Most HTTP requests in any minute, each try counted. Like ``concurrency`` this holds for
            each worker by itself: with four workers behind one key give each a quarter of what the key allows.
        tokens_per_minute: Most tokens in any minute, prompt and reply together; what a request may cost at most counts
            until its reply tells.
        timeout_s: Seconds before one HTTP request is given up; it may be billed all the same.
        retry_s: Seconds for which a server that has answered before is retried when it fails; a longer Retry-After is
            not waited for.
        prompt_price: Price of a million prompt tokens, in any currency.
        completion_price: Price of a million completion tokens, in the same currency.
    """

    IDENTITY: ClassVar[frozenset[str]] = frozenset({"name", "temperature", "top_p", "structured", "chat"})
    kind: Literal["openai"] = "openai"
    url: str
    name: str
    key_env: str = ""
    chat: bool = True
    logprobs: bool = False
    reply_name: str = ""
    max_n: int = Field(default=128, ge=1)
    concurrency: int = Field(default=64, ge=1)
    requests_per_minute: int | None = Field(default=None, ge=1)
    tokens_per_minute: int | None = Field(default=None, ge=1)
    timeout_s: float = Field(default=120.0, gt=0)
    retry_s: float = Field(default=120.0, ge=0)
    prompt_price: float | None = Field(default=None, ge=0)
    completion_price: float | None = Field(default=None, ge=0)

    @field_validator("url")
    @classmethod
    def _is_url(cls, url: str) -> str:
        if not url.startswith(("http://", "https://")):
            raise ValueError("must begin with http:// or https://")
        if set("@?#") & set(url):
            raise ValueError("must not contain a user, password or query, for it is stored; use key_env")
        return url.rstrip("/")

    @field_validator("key_env")
    @classmethod
    def _is_variable(cls, key_env: str) -> str:
        if key_env and not re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", key_env):
            raise ValueError("must be the name of the variable that holds the key, not the key itself")
        return key_env


class PoolSettings(_Settings):
    """Several models that vote in one election.

    Args:
        members: Each member's own settings, under its name.
        rotation: Vote i of a step is asked of member ``rotation[i % len(rotation)]``: a name that stands there twice
            has twice the votes. By default all members, in the order in which they are written.
        away: What becomes of the votes of a member that cannot be asked any more: ``pause`` the run, or ``pass`` them
            on to the next in the rotation, until the run is resumed.
    """

    kind: Literal["pool"] = "pool"
    members: dict[str, Annotated[SimulatedSettings | VllmSettings | OpenAISettings, Field(discriminator="kind")]]
    rotation: tuple[str, ...] = ()
    away: Literal["pause", "pass"] = "pause"

    @field_validator("members")
    @classmethod
    def _some(cls, members: dict[str, Any]) -> dict[str, Any]:
        if not members:
            raise ValueError("a pool needs members; write a table [model.members.NAME] for each")
        return members

    @model_validator(mode="after")
    def _known(self) -> PoolSettings:
        check_rotation(self.rotation, self.members)
        return self

    def identity(self) -> dict[str, Any]:
        """Return what decides how its votes fall: its members, in order, and whose turn it is when."""
        members = [[name, member.identity()] for name, member in self.members.items()]
        return {"kind": self.kind, "members": members, "rotation": list(self.rotation)}


def check_rotation(rotation: Iterable[str], members: Iterable[str]) -> None:
    """Raise ``ValueError`` for a name in a rotation that no member has."""
    for name in rotation:
        if name not in members:
            raise ValueError(f"there is no member {name!r}; there are {', '.join(members)}")


MemberSettings: TypeAlias = SimulatedSettings | VllmSettings | OpenAISettings
ModelSettings = Annotated[MemberSettings | PoolSettings, Field(discriminator="kind")]
MODEL_KINDS: dict[str, type[BaseModel]] = {
    "simulated": SimulatedSettings,
    "vllm": VllmSettings,
    "openai": OpenAISettings,
    "pool": PoolSettings,
}


def members_of(model: MemberSettings | PoolSettings) -> dict[str, MemberSettings]:
    """Return models by name, in the order of their numbers."""
    if isinstance(model, PoolSettings):
        return dict(model.members)
    return {model.name if isinstance(model, OpenAISettings) else model.kind: model}


def prices_of(model: MemberSettings) -> Prices | None:
    """Return what a model's tokens cost, None where that is not said."""
    if not isinstance(model, OpenAISettings):
        return None
    return Prices.per_million(model.prompt_price, model.completion_price)
