"""What of a job's settings does not fit together: told with its place, what is wrong, and what to do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from maker.core.plugins import Plugin, near
from maker.errors import JobError
from maker.job.file import DEFAULT_VOTER, Raw
from maker.job.job import Job
from maker.job.parameters import params_of
from maker.job.problems import Problems
from maker.job.rules import rules_of
from maker.job.settings import (
    AUTO,
    LimitSettings,
    MonitorSettings,
    RoleSettings,
    SwarmSettings,
    VoteSettings,
    gpu_spread,
    swarm_kind,
    worker_gpus,
)
from maker.models.server_settings import AnthropicSettings, ServerSettings, prices_of
from maker.models.settings import (
    MemberSettings,
    PoolSettings,
    SimulatedSettings,
    check_rotation,
    members_of,
)
from maker.plugin import Decomposer, RowDecomposer, Voter
from maker.stats.monitor import rule_of
from maker.voting.policy import JUDGE, Shared


def margins_of(vote: dict[str, Any], raw: Raw) -> tuple[dict[str, Any], dict[str, int]]:
    """Return the ``[vote]`` table with one k, the least, and k by step class where it is said so."""
    k = vote.get("k")
    if k == AUTO:
        return {name: value for name, value in vote.items() if name != "k"}, {}
    if not isinstance(k, Mapping):
        return vote, {}
    place = raw.place("vote", "k")
    if not k:
        raise JobError(f"{place}: vote.k names no step class", fix="name every class, or give one number")
    for name, value in k.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise JobError(f"{place}: vote.k.{name} = {value!r} must be a whole number, 1 or more")
    return vote | {"k": min(k.values())}, dict(k)


def with_margin(vote: VoteSettings, k: bool, margins: Mapping[str, int], raw: Raw) -> VoteSettings:
    """Return the vote's settings, in which a margin of its own makes a pilot's or a plan's out of date."""
    if vote.plan is not None and not raw.is_stored("vote", "plan"):
        raise JobError(
            f"{raw.place('vote', 'plan')}: vote.plan is a result of `maker plan` and cannot be set", fix="leave it out"
        )
    if vote.plan is not None and not (vote.plan.k == margins and raw.is_stored("vote", "voter")):
        vote = vote.model_copy(update={"plan": None})
    for name in ("target", "budget", "consequence"):
        if vote.plan is not None and getattr(vote, name) and not raw.is_stored("vote", name):
            raise JobError(
                f"{raw.place('vote', name)}: vote.{name} comes too late: the run has its planned k already",
                fix="set vote.k, or start a new run",
            )
    place = f"{raw.place('vote', 'row_error')}: vote.row_error"
    if vote.pilot is not None and not raw.is_stored("vote", "pilot"):
        raise JobError(
            f"{raw.place('vote', 'pilot')}: vote.pilot is a pilot's result and cannot be set", fix="leave it out"
        )
    if vote.row_error is None or not k:
        return vote
    if not raw.is_stored("vote", "row_error"):
        raise JobError(
            f"{place} and vote.k exclude each other", fix="leave one of them out; a stored run has its k already"
        )
    kept = raw.is_stored("vote", "k") and raw.is_stored("vote", "voter")
    return vote if kept else vote.model_copy(update={"row_error": None, "pilot": None})


def check_job(job: Job, raw: Raw) -> None:
    """Refuse tables of a job that each are right by themselves and do not go together."""
    problems = Problems()
    problems.of(check_roles, job.model, job.decomposer, job.roles, job.voter_plugin, raw)
    problems.of(check_margins, job.decomposer, job.vote, job.margins, job.roles, raw)
    if job.settings["vote"].get("k") == AUTO:
        problems.of(check_auto, job.voter, job.voter_plugin, job.vote, job.roles, raw)
    problems.of(check_members, job.model, job.monitor, raw)
    problems.of(check_batches, job, raw)
    if job.vote.row_error is not None:
        what = f"{raw.place('vote', 'row_error')}: vote.row_error"
        problems.of(check_row_error, job.decomposer, job.voter_plugin, job.roles, what)
    if job.accept is not None and not isinstance(job.decomposer, RowDecomposer):
        problems.of(_refuse_accept, job.decomposer, raw)
    problems.refuse()


def _refuse_accept(decomposer: Decomposer[Any, Any], raw: Raw) -> None:
    raise JobError(
        f"{raw.place('accept')}: [accept] is about rows, and {decomposer.name} has none",
        fix="leave the table out, or ask rows with the decomposer map",
    )


def check_money(model: MemberSettings | PoolSettings, limits: LimitSettings, raw: Raw) -> None:
    """Refuse a limit of money where a model has no prices."""
    unpriced = [name for name, member in members_of(model).items() if prices_of(member) is None]
    if limits.max_cost is not None and unpriced:
        of = f" of {', '.join(unpriced)}" if isinstance(model, PoolSettings) else ""
        raise JobError(
            f"{raw.place('limits', 'max_cost')}: limits.max_cost needs prices{of}",
            fix="set model.prompt_price and model.completion_price, per million tokens",
        )


def check_shared(model: MemberSettings | PoolSettings, limits: LimitSettings, raw: Raw) -> None:
    """Refuse a shared limit where no model is on a server."""
    if limits.shared and not any(isinstance(member, ServerSettings) for member in members_of(model).values()):
        raise JobError(
            f"{raw.place('limits', 'shared')}: limits.shared is for models on servers, and the job has none",
            fix="leave it out, as limits.shared= on a command line, or set model.kind",
        )


def check_row_error(
    decomposer: Decomposer[Any, Any], voter: Plugin, roles: Mapping[str, RoleSettings], what: str
) -> None:
    """Refuse a row error for what is no map, or where something else decides its margin."""
    if not isinstance(decomposer, RowDecomposer):
        raise JobError(f"{what} is for maps over rows, and {decomposer.name} is not one", fix="set vote.k instead")
    if "k" not in params_of(voter).model_fields:
        raise JobError(
            f"{what} finds k, but the voter {voter.name} has no k",
            fix="leave it out, or use the voter first-to-ahead-by-k",
        )
    for name, table in roles.items():
        if name == JUDGE or table.k is not None:
            raise JobError(
                f"{what} finds one k for all steps, but roles.{name} decides otherwise",
                fix="leave one of them out, or set vote.k instead",
            )


def check_swarm(model: MemberSettings | PoolSettings, swarm: SwarmSettings, raw: Raw) -> None:
    """Refuse what a local swarm has not, and fewer GPUs than a model is spread over."""
    members = members_of(model).values()
    local = swarm_kind(members, swarm) == "local"
    for_ray = [key for key in ("max_replicas", "address", "resources") if getattr(swarm, key)]
    if swarm.replicas != 1:
        for_ray.insert(0, "replicas")
    if local and for_ray:
        key = for_ray[0]
        raise JobError(
            f"{raw.place('swarm', key)}: swarm.{key} = {getattr(swarm, key)!r} needs Ray; a local swarm has one worker",
            fix='set swarm.kind = "ray"',
        )
    gpus, spread = worker_gpus(members, swarm), gpu_spread(members)
    if not local and spread > 1 and gpus is not None and gpus < spread:
        raise JobError(
            f"{raw.place('swarm', 'gpus')}: swarm.gpus = {gpus:g}, but model.tensor_parallel = {spread} needs {spread}",
            fix="leave swarm.gpus out; a worker then reserves as many GPUs as its model needs",
        )


def check_margins(
    decomposer: Decomposer[Any, Any],
    vote: VoteSettings,
    margins: Mapping[str, int],
    roles: Mapping[str, RoleSettings],
    raw: Raw,
) -> None:
    """Refuse margins of classes that the task has not, those that are left out, and two ways to say one thing."""
    known = [kind.name for kind in decomposer.classes]
    for key, named in (("k", margins), ("consequence", vote.consequence)):
        for name in named:
            if name not in known:
                place = raw.place("vote", f"{key}.{name}")
                raise JobError(
                    f"{place}: vote.{key}.{name}: {decomposer.name} has no such class", fix=near(name, known)
                )
    if not margins:
        return
    if missing := [name for name in known if name not in margins]:
        raise JobError(
            f"{raw.place('vote', 'k')}: vote.k has no value for the step class {missing[0]!r}",
            fix=f"give a k for each class: {', '.join(known)}",
        )
    for name, table in roles.items():
        if name == JUDGE and table.k is None:
            raise JobError(
                f"{raw.place('roles', name)}: roles.{name}.k is missing, and vote.k by class does not set it",
                fix=f"set roles.{name}.k",
            )
        if name != JUDGE and table.k is not None:
            raise JobError(
                f"{raw.place('roles', name)}: roles.{name}.k and vote.k by class exclude each other",
                fix="leave one of them out",
            )


def check_auto(voter: Voter, plugin: Plugin, vote: VoteSettings, roles: Mapping[str, RoleSettings], raw: Raw) -> None:
    """Refuse ``vote.k = "auto"`` where the formulas do not hold, or something else says a margin or another aim."""
    place = f'{raw.place("vote", "k")}: vote.k = "auto"'
    if raw.stored and not raw.is_stored("vote", "k"):
        raise JobError(
            f"{place}: a stored run has its k already, and so has a fork of it", fix="set vote.k to a number"
        )
    if vote.target is not None and vote.budget is not None:
        raise JobError(f"{place}: vote.target and vote.budget exclude each other", fix="leave one of them out")
    if voter.race_margin is None or "k" not in params_of(plugin).model_fields:
        raise JobError(
            f"{place} needs {DEFAULT_VOTER} or another race to a lead of k, not {plugin.name}",
            fix="leave vote.k or vote.voter out",
        )
    for name, table in roles.items():
        if table.k is not None or name == JUDGE:
            raise JobError(f"{place}: roles.{name} decides otherwise", fix="leave it out, or set vote.k to a number")


def check_votes(job: Job, raw: Raw) -> None:
    """Refuse a margin that the votes of a role cannot reach, and votes that would all be one reply."""
    rules, members = rules_of(job), list(job.members.items())
    roles = dict(rules.roles) if rules.judge is None else {**rules.roles, JUDGE: rules.judge.role}
    decided = list(roles.items())
    decided += [(kind.role, rules.of(kind)) for kind in job.decomposer.classes if kind.name in rules.voters]
    for role, (voter, most, rotation, _) in decided:
        table, key = ("roles", f"{role}.max_votes") if role in job.roles else ("vote", "max_votes")
        if voter.least > most:
            raise JobError(
                f"{raw.place(table, key)}: {table}.{key} = {most}: {voter.name} needs at least {voter.least}"
            )
        for name, member in (members[number] for number in rotation):
            if voter.weighs and isinstance(member, AnthropicSettings):
                raise JobError(
                    f"{raw.place('vote', 'voter')}: {voter.name} weighs votes by log-probabilities, which Anthropic's"
                    f" interface has not (model {name})",
                    fix="use a voter that only counts votes, or another model",
                )
            if voter.weighs and not member.logprobs:
                key = f"members.{name}.logprobs" if isinstance(job.model, PoolSettings) else "logprobs"
                raise JobError(
                    f"{raw.place('model', key)}: model.{key} = false: {voter.name} weighs votes by log-probabilities",
                    fix=f"set model.{key} = true, or use a voter that only counts votes",
                )
            if isinstance(member, SimulatedSettings) or not member.greedy or voter.least == 1:
                continue
            key = f"members.{name}.temperature" if isinstance(job.model, PoolSettings) else "temperature"
            raise JobError(
                f"{raw.place('model', key)}: model.{key} = {member.temperature:g}: all its votes would be identical",
                fix="raise the temperature, or set vote.k = 1 to run without votes",
            )


def check_batches(job: Job, raw: Raw) -> None:
    """Refuse batches where there are none."""
    for name, member in members_of(job.model).items():
        if not isinstance(member, ServerSettings) or not member.batch:
            continue
        pool = isinstance(job.model, PoolSettings)
        place = f"{raw.place('model', f'members.{name}.batch' if pool else 'batch')}: model.batch"
        if pool:
            raise JobError(f"{place}: a member of a pool cannot ask in batches", fix=f"leave it out of member {name}")
        if job.limits.shared:
            raise JobError(
                f"{place}: batches keep to no shared limit, and limits.shared names {job.limits.shared!r}",
                fix="leave limits.shared out; limits.max_cost and the other limits of the run hold",
            )
        if job.swarm_kind != "local":
            raise JobError(
                f"{place}: batches are asked by one local worker, and swarm.kind is {job.swarm_kind!r}",
                fix='leave swarm.kind out, or set it to "local": no process need be there while a batch is out',
            )


def check_members(model: MemberSettings | PoolSettings, monitor: MonitorSettings, raw: Raw) -> None:
    """Refuse members of a pool that there are not."""
    _check_turns(model, monitor.members, f"{raw.place('monitor', 'members')}: monitor.members")


def _check_turns(model: MemberSettings | PoolSettings, turns: tuple[str, ...], place: str) -> None:
    """Refuse turns of members that there are not."""
    if turns and not isinstance(model, PoolSettings):
        raise JobError(f"{place}: the job has one model only", fix='leave it out, or set model.kind = "pool"')
    try:
        check_rotation(turns, members_of(model))
    except ValueError as error:
        raise JobError(f"{place}: {error}") from error


def check_ways(job: Job, raw: Raw) -> None:
    """Refuse a policy that the job has no way to carry out, and ways that are none."""
    monitor, rules, members = job.monitor, rules_of(job), list(job.members.items())
    if monitor.policy != "decorrelate":
        return
    place = f"{raw.place('monitor', 'policy')}: monitor.policy"
    kinds = Shared.of(job.decomposer, rules).kinds
    for one in job.decomposer.classes:
        kind = kinds[one.name]
        if isinstance(rule_of(kind.role.voter, kind.turns), str):
            # Without a statistic there is no alarm that anything could follow from.
            continue
        varied = kind.varied(one, rules.others)
        asked = [members[number] for number in varied.role.rotation]
        warm = {member.temperature for _, member in asked if not isinstance(member, SimulatedSettings)}
        other = monitor.temperature
        if other is not None and (fixed := [one for one, member in asked if not _takes(member, other)]):
            raise JobError(
                f"{raw.place('monitor', 'temperature')}: monitor.temperature = {other:g}: {fixed[0]} does not take it",
                fix="leave it out; other models (monitor.members) and paraphrases make votes differ as well",
            )
        if monitor.temperature is not None and warm <= {monitor.temperature}:
            raise JobError(
                f"{raw.place('monitor', 'temperature')}: monitor.temperature = {monitor.temperature:g}: "
                + ("the models have that temperature already" if warm else "a simulated model has no temperature"),
                fix="choose another temperature, or leave it out",
            )
        if greedy := [name for name, member in asked if not isinstance(member, SimulatedSettings) and member.greedy]:
            raise JobError(
                f"{raw.place('monitor', 'members')}: monitor.members: all votes of {greedy[0]} would be identical",
                fix="raise its temperature, or name another member",
            )
        if varied.turns == kind.turns:
            raise JobError(
                f'{place} = "decorrelate": steps of class {one.name} have no second prompt, model or temperature',
                fix="set monitor.temperature or monitor.members, or give the class paraphrases of its `system`;"
                ' or set monitor.policy = "pause"',
            )


def _takes(member: MemberSettings, temperature: float) -> bool:
    """Say whether a model can be told a temperature; a simulated one has none."""
    return isinstance(member, SimulatedSettings) or member.takes(temperature)


def check_roles(
    model: MemberSettings | PoolSettings,
    decomposer: Decomposer[Any, Any],
    roles: Mapping[str, RoleSettings],
    voter: Plugin,
    raw: Raw,
) -> None:
    """Refuse roles that no step has, members that the pool has not, and what only a judge or a voter with a k takes."""
    known = sorted({kind.role for kind in decomposer.classes} | {JUDGE})
    for name, table in roles.items():
        place = f"{raw.place('roles', name)}: roles.{name}"
        if name not in known:
            raise JobError(f"{place}: {decomposer.name} has no steps of that role", fix=near(name, known))
        _check_turns(model, table.rotation, f"{place}.rotation")
        if table.k is not None and "k" not in params_of(voter).model_fields:
            raise JobError(f"{place}.k: the voter {voter.name} has no k", fix="leave it out")
        if table.prompt and name != JUDGE:
            raise JobError(
                f"{place}.prompt: only roles.judge takes a prompt",
                fix="leave it out; the task writes the prompts of its steps",
            )
