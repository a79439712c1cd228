"""The tables of a job file, each a frozen model; ``[task]`` belongs to the decomposer, ``[model]`` to its kind."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    field_validator,
)

from maker.engine.budget import FIRST_REPLIES, Limits
from maker.job.file import DEFAULT_STORE, DEFAULT_VOTER
from maker.models.base_settings import GREEDY
from maker.models.settings import MemberSettings, ModelSettings, VllmSettings
from maker.stats.vote_tests import PilotSteps

AUTO = "auto"
"""Stands for k where a plan is to find it."""
LIMIT_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,99}")
"""The key of a shared limit: safe in a shell."""
STAGE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}")
"""The name of a stage: it is part of the id of its run."""
MEMO = "memo"
"""The key of the task's table, and of a fingerprint, that says whose decisions a run takes again."""


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _storable(name: str) -> str:
    """Return a name that every database takes. Raises ``ValueError``."""
    if "\0" in name or any("\ud800" <= character <= "\udfff" for character in name):
        raise ValueError("a name must be text that UTF-8 can write, without zero characters")
    return name


def limit_key(key: str) -> str:
    """Return the key of a shared limit. Raises ``ValueError`` for a text that cannot be one."""
    if key and not LIMIT_KEY.fullmatch(key):
        raise ValueError("use 1 to 100 letters, digits and . _ : / -, the first one a letter or a digit")
    return key


class RunSettings(_Table):
    """The ``[run]`` table.

    Args:
        seed: Every draw of the run comes from it: another seed draws other samples.
        name: What the run is called, in listings and wherever a run can be named. E.g. ``"march"``.
        on_change: What a resume does when the task's or the voter's code has changed. ``refuse`` goes on with no other
            code. ``pin`` goes on with the files of code that the run began with, which the store keeps. ``migrate``
            goes on with the code that is there now.
    """

    seed: int = 0
    name: Annotated[str, AfterValidator(_storable)] = ""
    on_change: Literal["refuse", "pin", "migrate"] = "refuse"


class PilotFound(_Table):
    """What a pilot found, see `maker.calibration.map_pilot`.

    ``rows`` of ``of`` were voted on twice, ``both`` of them were decided both times, and ``differ`` of these not alike;
    in the whole map at most ``at_most`` of the decided rows would be, with ``confidence``. ``votes`` is the mean of
    valid votes a row that was decided; ``agreement`` the share of rows whose first two valid votes were alike.
    ``contested`` are the rows by their first votes, for the run's monitor; None in pilots of older versions.
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
    contested: PilotSteps | None = Field(default=None, exclude_if=lambda value: value is None)


class ShownFound(_Table):
    """What a plan's pilot shows with ``confidence``, whatever the steps are like that it has not heard.

    All steps are right with a probability of at least ``right``; at most ``wrong`` of ``steps`` are decided wrongly, on
    average.
    """

    right: float
    wrong: float
    steps: int
    confidence: float


class PlanFound(_Table):
    """What a plan found, see `maker.plan`: k by step class, and what it says of the whole run.

    ``right`` is the interval (least, estimate, most) of the probability that all steps are right, and ``rests_on`` says
    in words what that is conditional on. ``calibration`` is the key of what it was made from. ``target`` is None where
    a budget was planned for. ``by`` is who said what is right: ``oracle``, ``labels``, or ``votes``, of which agreement
    is all that is known; None in plans of older versions. ``shown`` is None where no one has checked an answer.
    ``contested`` are the pilot's steps by their first votes, by step class, for the run's monitor; {} in plans of older
    versions.
    """

    k: dict[str, int]
    target: float | None = None
    right: tuple[float, float, float]
    rests_on: str
    calibration: int
    by: Literal["oracle", "labels", "votes"] | None = None
    shown: ShownFound | None = None
    contested: dict[str, PilotSteps] = Field(default={}, exclude_if=lambda value: not value)

    @property
    def of_agreement(self) -> bool:
        """Whether it tells of the model's most frequent answers, which no one has checked."""
        return self.by == "votes" or (not self.by and "this is agreement" in self.rests_on)


class VoteSettings(_Table):
    """The ``[vote]`` table; what it does not name here goes to the voter.

    ``k`` is the voter's, and may be given by step class, as in ``{move = 3, check = 5}``; ``"auto"`` leaves it to the
    plan that the task's calibration allows, for a target or a budget.

    Args:
        voter: Who decides: the name of a voter, or ``file.py:Name``.
        max_votes (samples): The most samples, flagged ones included, that one step may take.
        thinking: Pairs of marks between which a model thinks aloud, beside those that `maker.voting.thinking` knows; an
            empty list says that no reply holds any. E.g. ``[["<scratch>", "</scratch>"]]``.
        extra (votes): How many votes more than could settle a step are asked for at once: they are billed, counted
            where they are needed, and can save a round.
        row_error (share of rows): For a map, in place of ``k``: the share of its decided rows that another vote would
            decide otherwise, at most, with a confidence of 95 %. A pilot over some of the rows finds the margin. E.g.
            ``0.01``.
        pilot: What the pilot for ``row_error`` found. maker writes it; it cannot be set.
        target (probability): With ``k = "auto"``: the wanted probability that the whole run is right. E.g. ``0.99``.
        budget (votes): For a map: so many votes, flagged ones included, for all rows together; those first that decide
            most. With ``k = "auto"``, in place of ``target``: so many valid votes, on average, for the margins that
            make it as probable as may be that the run is right. E.g. ``100000``.
        budget_cost (the currency of your prices): For a map, in place of ``budget``: what the votes for all rows
            together may cost; it needs prices. E.g. ``12.5``.
        consequence: How much a wrong step of a class counts, 1 unless said. E.g. ``{move = 2}``.
        plan: What the plan for ``k = "auto"`` found. maker writes it; it cannot be set.
        on_undecided: What becomes of a step whose votes elect nobody within ``max_votes``: ``leave`` pauses the run
            there, and leaves a row of a map undecided; ``ask`` has a person decide, see ``maker waits``.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    voter: str = DEFAULT_VOTER
    max_votes: int = Field(default=100, ge=1, le=100_000)
    extra: int = Field(default=0, ge=0, le=1000)
    row_error: float | None = Field(default=None, gt=0, lt=1)
    pilot: PilotFound | None = None
    target: float | None = Field(default=None, gt=0, lt=1)
    budget: int | None = Field(default=None, ge=1)
    budget_cost: float | None = Field(default=None, gt=0)
    consequence: dict[str, Annotated[float, Field(gt=0)]] = Field(default={}, exclude_if=lambda value: not value)
    plan: PlanFound | None = None
    thinking: tuple[tuple[str, str], ...] | None = None
    on_undecided: Literal["leave", "ask"] = Field(default="leave", exclude_if=lambda value: value == "leave")

    @field_validator("thinking")
    @classmethod
    def _are_marks(cls, thinking: tuple[tuple[str, str], ...] | None) -> tuple[tuple[str, str], ...] | None:
        for opening, closing in thinking or ():
            if not opening.strip() or not closing.strip() or opening == closing:
                raise ValueError('needs pairs of different marks, like [["<scratch>", "</scratch>"]]')
        return thinking


class PollSettings(_Table):
    """The ``[poll]`` table of a pilot: ``votes`` votes are asked of each step. `maker.calibration.calibrate` writes it.

    They are asked in each of ``rounds`` rounds, of which each begins when all steps have had the one before.
    ``steps`` are drawn of each class, with the run's seed, if no ``labels`` name them: JSON lines, as
    `maker.sampling.labels.parse_labels` reads them. With ``by_kind`` some are of every kind that the task names.
    """

    votes: int = Field(ge=1, le=1000)
    steps: int = Field(ge=1, le=10_000_000)
    labels: str = ""
    # Settings and fingerprints of older pilots, which know neither of these, stay what they are.
    by_kind: bool = Field(default=False, exclude_if=lambda value: not value)
    rounds: int = Field(default=1, ge=1, exclude_if=lambda value: value == 1)


class ForesightSettings(_Table):
    """The ``[foresight]`` table of a run that decides steps ahead of time. `maker.calibration.precompute` writes it.

    ``steps`` are drawn of each class, with the run's seed, if no ``labels`` name them: JSON lines, as
    `maker.sampling.labels.parse_labels` reads them.
    """

    steps: int = Field(ge=1, le=10_000_000)
    labels: str = ""


class RoleSettings(_Table):
    """A table ``[roles.NAME]``: how the steps of a role are decided, where that is not as ``[vote]`` says.

    The role ``judge`` is asked about steps that votes could not settle; without its table there is no judge.

    Args:
        rotation: Members of the pool that the role asks, in turn, as the rotation of the pool itself. E.g.
            ``["small", "large"]``.
        k (votes): The margin, or what else the voter calls k. E.g. ``3``.
        max_votes (samples): The most samples that one step may take. E.g. ``50``.
        extra (votes): How many votes more than could settle a step are asked for at once. E.g. ``1``.
        prompt: What a judge is told before the candidates. E.g. ``"Which answer is right?"``.
    """

    rotation: tuple[str, ...] = ()
    k: int | None = Field(default=None, ge=1, le=1000)
    max_votes: int | None = Field(default=None, ge=1, le=100_000)
    extra: int | None = Field(default=None, ge=0, le=1000)
    prompt: str = ""


class SwarmSettings(_Table):
    """The ``[swarm]`` table.

    Args:
        kind: Where the workers run. By default ray for vllm, and local for the other models. E.g. ``"ray"``.
        replicas (workers): How many workers there are under Ray; ``"auto"`` is one for every GPU.
        max_replicas (workers): Up to so many, where there is work for more. E.g. ``8``.
        address: Address of a Ray cluster, HOST:PORT. Without it RAY_ADDRESS counts, or a Ray is started that ends with
            the run. E.g. ``"10.0.0.5:6379"``.
        cpus (CPUs): What each worker reserves of one node.
        gpus (GPUs): What each worker reserves of one node; by default as many as a vLLM model is spread over. E.g.
            ``0.5``.
        resources: Further resources that each worker reserves of one node, by Ray's names. E.g. ``{big_memory = 1}``.
        chains (chains): How many steps a worker has in work at a time, where the task forks.
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

    Args:
        url: Database of the run.
        durability: ``group`` commits what was decided many steps at a time; a crash loses the last moments' steps,
            which are decided again. ``strict`` commits each step before its chain's next one is begun.
        samples: Of which steps the raw samples and the prompt are kept.
    """

    url: str = DEFAULT_STORE
    durability: Literal["group", "strict"] = "group"
    samples: Literal["none", "disputed", "all"] = "disputed"


class LimitSettings(_Table):
    """The ``[limits]`` table: of a whole run, all its resumes together.

    Args:
        max_calls (calls): Most samples that may be drawn. E.g. ``100000``.
        max_tokens (tokens): Most tokens, prompts and replies together. E.g. ``50000000``.
        max_cost (the currency of your prices): Most that the tokens may cost; it needs prices. E.g. ``20.0``.
        max_wall_s (seconds): Most time that the run may be worked on. E.g. ``3600``.
        max_undecided (rows): How many rows of a map may stay without a good decision. E.g. ``100``.
        max_useless (replies): How many replies may come in without a single valid vote, from the beginning of the run
            and of each resume.
        shared: The key of a limit that all workers of the store share: `maker limit` says what it allows. E.g.
            ``"acme-gpt4o"``.
    """

    max_calls: int | None = Field(default=None, ge=1)
    max_tokens: int | None = Field(default=None, ge=1)
    max_cost: float | None = Field(default=None, gt=0)
    max_wall_s: float | None = Field(default=None, gt=0)
    max_undecided: int | None = Field(default=None, ge=0)
    max_useless: int = Field(default=FIRST_REPLIES, ge=1, exclude_if=lambda value: value == FIRST_REPLIES)
    shared: Annotated[str, Field(exclude_if=lambda value: not value), AfterValidator(limit_key)] = ""

    def limits(self) -> Limits:
        """Return the limits as the engine takes them."""
        return Limits(**self.model_dump(exclude={"shared"}))


class MonitorSettings(_Table):
    """The ``[monitor]`` table: what is done where the votes of a step class are not what voting needs.

    Args:
        policy: ``warn`` tells of it; ``pause`` pauses the run as well; ``decorrelate`` has votes asked in ways that
            differ, from then on: in the class's own words and its paraphrases in turn, at the model's temperature and
            ``temperature`` in turn, of the rotation's models and ``members`` beside them; ``off`` watches nothing.
        temperature: The other temperature. E.g. ``1.2``.
        members: Further members of the pool. E.g. ``["large"]``.
    """

    policy: Literal["warn", "decorrelate", "pause", "off"] = "warn"
    temperature: float | None = Field(default=None, ge=GREEDY, le=10)
    members: tuple[str, ...] = ()


class AcceptSettings(_Table):
    """The ``[accept]`` table of a map: which of its decided rows are accepted, once it is done.

    Args:
        error (share of rows): The share of the accepted rows that is wrong at most. E.g. ``0.01``.
        confidence (probability): With which no more are wrong.
        labels: A labelled sample of ``maker audit``, or right answers by the ids of rows drawn at random; a path. E.g.
            ``"labels.csv"``.
        by: What rules order rows by; several share the risk. E.g. ``["votes", "logprob"]``.
        shuffled: The rows stand in random order, so that labels of the first ones are a random sample.
    """

    error: float = Field(gt=0, lt=1)
    confidence: float = Field(default=0.95, gt=0, lt=1)
    labels: str = ""
    by: tuple[Literal["votes", "models", "logprob"], ...] = Field(default=("votes",), min_length=1)
    shuffled: bool = False


def _stage_name(name: str) -> str:
    if not STAGE_NAME.fullmatch(name):
        raise ValueError("use 1 to 40 letters, digits, dashes and underscores, the first one a letter or a digit")
    return name


class StageSettings(_Table):
    """A table ``[[stage]]`` of a map: a model that is asked what the stage before leaves; the first is asked all rows.

    Args:
        name: What the stage is called. E.g. ``"cheap"``.
        model: Its model, as the table ``[model]`` says it. E.g. ``{kind = "simulated", p = 0.9}``.
        vote: How it votes, where that is not as ``[vote]`` says. E.g. ``{k = 4}``.
    """

    name: Annotated[str, AfterValidator(_stage_name)]
    model: dict[str, Any]
    vote: dict[str, Any] = {}


class StagesSettings(_Table):
    """The table ``[stages]`` of a run that is one stage of several. `maker.job.stages` writes it.

    ``number`` is that of the stage, from 0, and ``first`` the id of the first one's run. ``all`` are the stages with
    every setting of their models and votes. ``tuning`` are the rows whose labels have said what stages keep.
    Answers of all stages are written to ``output``, in a format.
    """

    number: int = Field(ge=0)
    first: str
    all: tuple[StageSettings, ...]
    tuning: tuple[int, ...] = ()
    output: str = ""
    output_format: str = "jsonl"

    def run_id(self, number: int) -> str:
        """Return the id of a stage's run."""
        return f"{self.first}.{self.all[number].name}" if number else self.first


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
    "accept": AcceptSettings,
    "stages": StagesSettings,
}
