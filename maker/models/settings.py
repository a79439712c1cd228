"""The ``[model]`` table of a job, one class a kind."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeAlias

from pydantic import BaseModel, Field, field_validator, model_validator

from maker.models.base_settings import SamplingSettings, Settings
from maker.models.server_settings import AnthropicSettings, OpenAISettings, ServerSettings


class SimulatedSettings(Settings):
    """A model that knows the task's oracle and errs at a known rate. For tests and trial runs.

    Args:
        p: Probability that a sample is right.
        p_by_class: The same by step class, for the classes that it names. E.g. ``{move = 0.9}``.
        rho: How much difficulty varies: each prompt has its own p, from the Beta distribution with mean p and this
            intra-class correlation, 1 / (a+b+1). A prompt's p is the quantile at its hash, so it never changes.
        rho_by_class: The same by step class, for the classes that it names. E.g. ``{move = 0.1}``.
        rivals: How many different wrong answers there are; 1 is the worst case that the formulas assume.
        shares: How the wrong answers share the errors: [3, 1] gives the first of two ``rivals`` three quarters. Evenly,
            if empty. E.g. ``[1]``.
        malformed: Share of samples that cannot be parsed; drawn before right or wrong is.
        flag_right: Share of the right samples that cannot be parsed on top of that.
        flag_wrong: Share of the wrong samples that cannot be parsed on top of that.
        common: Share of samples that give the same answer to a prompt, whoever asks: correlated votes.
        logprobs: Give a log-probability with each sample. Half of them report the probability p + d, the others p - d,
            with d = .8 min(p, 1-p), and are right as often as they report. The replies do not change.
        fate: Share of requests whose replies are all the same: votes of one request share a fate.
        max_n: Most replies that one request asks for; without it all that are wanted. E.g. ``1``.
        latency_s (seconds): How long a request takes.
    """

    IDENTITY: ClassVar[frozenset[str]] = frozenset({"p", "rivals", "malformed", "common"})
    LATER: ClassVar[frozenset[str]] = frozenset(
        {"p_by_class", "rho", "rho_by_class", "shares", "flag_right", "flag_wrong", "fate"}
    )
    kind: Literal["simulated"] = "simulated"
    p: float = Field(default=0.99, ge=0, le=1)
    rivals: int = Field(default=1, ge=1)
    malformed: float = Field(default=0.0, ge=0, le=1)
    common: float = Field(default=0.0, ge=0, le=1)
    logprobs: bool = False
    latency_s: float = Field(default=0.0, ge=0)
    p_by_class: dict[str, Annotated[float, Field(ge=0, le=1)]] = Field(default={})
    rho: float = Field(default=0.0, ge=0, lt=1)
    rho_by_class: dict[str, Annotated[float, Field(ge=0, lt=1)]] = Field(default={})
    shares: tuple[Annotated[float, Field(gt=0)], ...] = ()
    flag_right: float = Field(default=0.0, ge=0, le=1)
    flag_wrong: float = Field(default=0.0, ge=0, le=1)
    fate: float = Field(default=0.0, ge=0, le=1, exclude_if=lambda value: not value)
    max_n: int | None = Field(default=None, ge=1, exclude_if=lambda value: value is None)

    @model_validator(mode="after")
    def _shared(self) -> SimulatedSettings:
        if self.shares and len(self.shares) != self.rivals:
            raise ValueError(f"{len(self.shares)} shares for {self.rivals} rivals; give one for each, or none")
        return self


class VllmSettings(SamplingSettings):
    """A model folder that vLLM runs in the worker's own process.

    Args:
        path: A folder with config.json, weights and tokenizer. E.g. ``"models/qwen"``.
        temperature: Sampling temperature.
        top_p: Nucleus sampling; 1 keeps every token.
        structured: ``schema`` lets vLLM draw only tokens that can still lead to a reply that matches the step class's
            JSON schema; ``off`` leaves replies free, and so does a class without a schema. The model does not see the
            schema: the prompt must ask for the fields. Fields come in the schema's order.
        chat: Render prompts with the tokenizer's chat template; else the shared part and the rest are joined as text.
        logprobs: Give the log-probability of each reply: its tokens' before temperature and top_p.
        dtype: vLLM's dtype.
        max_model_len (tokens): Longest prompt and reply together; without it the model's configuration says. E.g.
            ``8192``.
        memory_share: Share of the GPU's memory that the engine may use; on a CPU, of the machine's memory.
        kv_cache_gib (GiB): On a CPU, the size of the key-value cache.
        compile: Compile the model: steps are faster, and the start takes half a minute longer.
        tensor_parallel (GPUs): How many GPUs of one node share the model.
        engine_args: Further arguments of vLLM's engine under their own names. E.g. ``{max_num_seqs = 64}``.
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
    engine_args: dict[str, Any] = Field(default={})

    def engine(self) -> dict[str, Any]:
        """Return the settings that an engine is started with; the rest goes with each request."""
        return self.model_dump(exclude={"temperature", "top_p", "structured", "chat", "logprobs"})


MemberSettings: TypeAlias = SimulatedSettings | VllmSettings | OpenAISettings | AnthropicSettings


class PoolSettings(Settings):
    """Several models that vote on the same steps.

    Args:
        members: Each member's own settings, in a table ``[model.members.NAME]``. E.g. ``{one = {kind = "simulated"}}``.
        rotation: Vote i of a step is asked of member ``rotation[i % len(rotation)]``; a name that is there twice has
            twice the votes. By default all members, in the order in which they are written. E.g. ``["one"]``.
        away: What to do when a member becomes unavailable: ``pause`` the run, or ``pass`` its votes on to the next in
            the rotation, until the run is resumed.
    """

    kind: Literal["pool"] = "pool"
    members: dict[str, Annotated[MemberSettings, Field(discriminator="kind")]]
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
        """Return the settings that decide its votes: its members, in order, and their rotation."""
        members = [[name, member.identity()] for name, member in self.members.items()]
        return {"kind": self.kind, "members": members, "rotation": list(self.rotation)}


def check_rotation(rotation: Iterable[str], members: Iterable[str]) -> None:
    """Raise ``ValueError`` if a rotation names a member that does not exist."""
    for name in rotation:
        if name not in members:
            raise ValueError(f"there is no member {name!r}; there are {', '.join(members)}")


ModelSettings = Annotated[MemberSettings | PoolSettings, Field(discriminator="kind")]
MODEL_KINDS: dict[str, type[BaseModel]] = {
    "simulated": SimulatedSettings,
    "vllm": VllmSettings,
    "openai": OpenAISettings,
    "anthropic": AnthropicSettings,
    "pool": PoolSettings,
}


simulated = SimulatedSettings
"""The model of `maker.run`, by keywords: ``maker.simulated(p=0.97)``."""
openai = OpenAISettings
"""The same of a server: ``maker.openai(url="http://127.0.0.1:8000/v1", name="qwen3-8b")``."""
anthropic = AnthropicSettings
"""The same of Anthropic's API: ``maker.anthropic(name="claude-sonnet-5")``."""


def vllm(
    path: str | Path, *, temperature: float = 1.0, top_p: float = 1.0, structured: Literal["off", "schema"] = "off",
    chat: bool = False, logprobs: bool = False, dtype: str = "auto", max_model_len: int | None = None,
    memory_share: float = 0.9, kv_cache_gib: int = 1, compile: bool = True, tensor_parallel: int = 1,
    engine_args: Mapping[str, object] | None = None,
) -> VllmSettings:  # fmt: skip
    """Return a model folder for vLLM as the model of `maker.run`. The arguments are those of `VllmSettings`."""
    return VllmSettings(
        path=str(path), temperature=temperature, top_p=top_p, structured=structured, chat=chat, logprobs=logprobs,
        dtype=dtype, max_model_len=max_model_len, memory_share=memory_share, kv_cache_gib=kv_cache_gib,
        compile=compile, tensor_parallel=tensor_parallel, engine_args=dict(engine_args or {}),
    )  # fmt: skip


def pool(
    members: Mapping[str, MemberSettings], *, rotation: Iterable[str] = (), away: Literal["pause", "pass"] = "pause"
) -> PoolSettings:
    """Return several models, by name, as the model of `maker.run`. The arguments are those of `PoolSettings`."""
    return PoolSettings(members=dict(members), rotation=tuple(rotation), away=away)


def members_of(model: MemberSettings | PoolSettings) -> dict[str, MemberSettings]:
    """Return models by name, in the order of their numbers."""
    if isinstance(model, PoolSettings):
        return dict(model.members)
    return {model.name if isinstance(model, ServerSettings) else model.kind: model}
