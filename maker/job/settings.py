"""The tables of a job file, each a frozen model; ``[task]`` belongs to the decomposer, ``[model]`` to its kind."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from maker.engine.budget import FIRST_REPLIES, Limits
from maker.job.file import DEFAULT_STORE, DEFAULT_VOTER
from maker.models.settings import GREEDY, MemberSettings, ModelSettings, VllmSettings

AUTO = "auto"
"""Stands for k where a plan is to find it."""
MEMO = "memo"
"""The key of the task's table, and of a fingerprint, that says whose decisions a run takes again."""


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class RunSettings(_Table):
    """The ``[run]`` table. ``on_change`` says what a resume does when the task's code has changed: it refuses."""

    seed: int = 0
    name: str = ""
    on_change: Literal["refuse"] = "refuse"


class PilotFound(_Table):
    """What a pilot found, see `maker.calibration.map_pilot`.

    ``rows`` of ``of`` were voted on twice, ``both`` of them were decided both times, and ``differ`` of these not alike;
    in the whole map at most ``at_most`` of the decided rows would be, with ``confidence``. ``votes`` is the mean of
    valid votes a row that was decided; ``agreement`` the share of rows whose first two valid votes were alike.
    """

    k: int
    rows: int
    of: int
    both: int
    differ: int
    at_most: float
    confidence: float
    votes: float
    agreement: float
    runs: tuple[str, ...]


class PlanFound(_Table):
    """What a plan found, see `maker.plan`: k by step class, and what it says of the whole run.

    ``right`` is the interval (least, estimate, most) of the probability that all steps are right, and ``rests_on`` says
    in words what that is conditional on. ``calibration`` is the key of what it was made from. ``target`` is None where
    a budget was planned for.
    """

    k: dict[str, int]
    target: float | None = None
    right: tuple[float, float, float]
    rests_on: str
    calibration: int


class VoteSettings(_Table):
    """The ``[vote]`` table; what it does not name here goes to the voter.

    ``k`` is the voter's, and may be given by step class, as in ``{move = 3, check = 5}``; ``"auto"`` leaves it to the
    plan that the task's calibration allows, for ``target``, the wanted probability that the whole run is right; or, for
    a ``budget`` of so many valid votes on average, the margins that make it as probable as may be. In either a
    wrong step counts as much as its class's ``consequence``, 1 unless said. What was planned is left in ``plan``.
    ``max_votes`` is the most samples, flagged ones included, that one step may take. ``row_error`` is said of a map in
    place of ``k``: the share of its decided rows that another vote would decide otherwise, at most; a pilot over some
    of the rows finds the margin, and leaves what it found in ``pilot``. ``extra`` is how many votes more than could
    settle a step are asked for at once: they are billed, counted where they are needed, and can save a round.
    ``thinking`` names marks between which a model thinks aloud, beside those that `maker.voting.thinking` knows; an
    empty list says that no reply holds any.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    voter: str = DEFAULT_VOTER
    max_votes: int = Field(default=100, ge=1, le=100_000)
    extra: int = Field(default=0, ge=0, le=1000)
    row_error: float | None = Field(default=None, gt=0, lt=1)
    pilot: PilotFound | None = None
    target: float | None = Field(default=None, gt=0, lt=1)
    budget: int | None = Field(default=None, ge=1)
    consequence: dict[str, Annotated[float, Field(gt=0)]] = Field(default={}, exclude_if=lambda value: not value)
    plan: PlanFound | None = None
    thinking: tuple[tuple[str, str], ...] | None = None

    @field_validator("thinking")
    @classmethod
    def _are_marks(cls, thinking: tuple[tuple[str, str], ...] | None) -> tuple[tuple[str, str], ...] | None:
        for opening, closing in thinking or ():
            if not opening.strip() or not closing.strip() or opening == closing:
                raise ValueError('needs pairs of different marks, like [["<scratch>", "</scratch>"]]')
        return thinking


class PollSettings(_Table):
    """The ``[poll]`` table of a pilot: ``votes`` votes are asked of each step. `maker.calibration.calibrate` writes it.

    ``steps`` are drawn of each class, with the run's seed, if no ``labels`` name them: JSON lines, as
    `maker.sampling.labels.parse_labels` reads them.
    """

    votes: int = Field(ge=1, le=1000)
    steps: int = Field(ge=1, le=10_000_000)
    labels: str = ""


class ForesightSettings(_Table):
    """The ``[foresight]`` table of a run that decides steps ahead of time. `maker.calibration.precompute` writes it.

    ``steps`` are drawn of each class, with the run's seed, if no ``labels`` name them: JSON lines, as
    `maker.sampling.labels.parse_labels` reads them.
    """

    steps: int = Field(ge=1, le=10_000_000)
    labels: str = ""


class RoleSettings(_Table):
    """A table ``[roles.NAME]``: how the steps of a role are decided, where that is not as ``[vote]`` says.

    ``rotation`` names members of the pool, as that of the pool itself does. The role ``judge`` is asked about steps
    that votes could not settle, and told ``prompt`` before the candidates; without its table there is no judge.
    """

    rotation: tuple[str, ...] = ()
    k: int | None = Field(default=None, ge=1, le=1000)
    max_votes: int | None = Field(default=None, ge=1, le=100_000)
    extra: int | None = Field(default=None, ge=0, le=1000)
    prompt: str = ""


class SwarmSettings(_Table):
    """The ``[swarm]`` table. ``kind`` defaults to ray for vllm and to local for the other models.

    Under Ray there are ``replicas`` workers, ``auto`` being one for every GPU, and up to ``max_replicas`` where there
    is work for more; ``cpus``, ``gpus`` and ``resources``, by Ray's names, are what each reserves of one node; without
    ``gpus``, a vLLM worker reserves as many as its model is spread over, one where there is any. ``address`` is that of
    a Ray cluster; without it RAY_ADDRESS counts, or a Ray is started that ends with the run. ``chains`` is how many
    steps a worker has in work at a time, where the task forks.
    """

    kind: Literal["local", "ray"] | None = None
    replicas: Annotated[int, Field(ge=1, le=10_000)] | Literal["auto"] = 1
    max_replicas: int | None = Field(default=None, ge=1, le=10_000)
    address: str = ""
    cpus: float = Field(default=1.0, ge=0)
    gpus: float | None = Field(default=None, ge=0)
    resources: dict[str, Annotated[float, Field(gt=0)]] = {}
    chains: int = Field(default=256, ge=1, le=100_000)

    @field_validator("resources")
    @classmethod
    def _are_others(cls, resources: dict[str, float]) -> dict[str, float]:
        if named := sorted({"cpu", "gpu"} & {name.lower() for name in resources}):
            raise ValueError(f"reserve {named[0].upper()}s with swarm.{named[0]}s instead")
        return resources


class StoreSettings(_Table):
    """The ``[store]`` table.

    ``durability``: ``group`` commits what was decided many steps at a time; a crash loses the last moments' steps,
    which are decided again. ``strict`` commits each step before its chain's next one is begun. ``samples`` says of
    which steps the raw samples and the prompt are kept.
    """

    url: str = DEFAULT_STORE
    durability: Literal["group", "strict"] = "group"
    samples: Literal["none", "disputed", "all"] = "disputed"


class LimitSettings(_Table):
    """The ``[limits]`` table: of a whole run, all its resumes together.

    ``max_undecided`` is how many rows of a map may stay without a good decision. ``max_useless`` is how many replies
    may come in without a single valid vote, from the beginning of the run and of each resume.
    """

    max_calls: int | None = Field(default=None, ge=1)
    max_tokens: int | None = Field(default=None, ge=1)
    max_cost: float | None = Field(default=None, gt=0)
    max_wall_s: float | None = Field(default=None, gt=0)
    max_undecided: int | None = Field(default=None, ge=0)
    max_useless: int = Field(default=FIRST_REPLIES, ge=1, exclude_if=lambda value: value == FIRST_REPLIES)

    def limits(self) -> Limits:
        """Return the limits as the engine takes them."""
        return Limits(**self.model_dump())


class MonitorSettings(_Table):
    """The ``[monitor]`` table: what is done where the votes of a step class are not what voting needs.

    ``policy``: ``warn`` tells of it; ``pause`` pauses the run as well; ``decorrelate`` has votes asked in ways that
    differ, from then on: in the class's own words and its paraphrases in turn, at the model's ``temperature`` and this
    one in turn, of the rotation's models and ``members`` of the pool beside them; ``off`` watches nothing.
    """

    policy: Literal["warn", "decorrelate", "pause", "off"] = "warn"
    temperature: float | None = Field(default=None, ge=GREEDY, le=10)
    members: tuple[str, ...] = ()


def swarm_kind(members: Iterable[MemberSettings], swarm: SwarmSettings) -> Literal["local", "ray"]:
    """Return where the workers of these models run: what vLLM runs in has a process of its own, unless told not to."""
    return swarm.kind or ("ray" if gpu_spread(members) else "local")


def gpu_spread(members: Iterable[MemberSettings]) -> int:
    """Return over how many GPUs a worker's models are spread at most; 0 where none of them is vLLM's."""
    return max((member.tensor_parallel for member in members if isinstance(member, VllmSettings)), default=0)


def worker_gpus(members: Iterable[MemberSettings], swarm: SwarmSettings) -> float | None:
    """Return how many GPUs a worker with these models reserves; None for one where there is any."""
    spread = gpu_spread(members)
    if spread == 0:
        return 0.0
    return swarm.gpus if swarm.gpus is not None or spread == 1 else float(spread)


TABLES: dict[str, Any] = {
    "run": RunSettings,
    "task": dict,
    "model": ModelSettings,
    "vote": VoteSettings,
    "roles": dict[str, RoleSettings],
    "swarm": SwarmSettings,
    "store": StoreSettings,
    "limits": LimitSettings,
    "poll": PollSettings,
    "foresight": ForesightSettings,
    "monitor": MonitorSettings,
}
