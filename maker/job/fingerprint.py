"""What of a job may not change while its run lives: its fingerprints, and in what two of them differ."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from maker.core.plugins import Plugin
from maker.core.user_code import call_user_code
from maker.job.job import Job
from maker.job.parameters import marked
from maker.job.probe import input_parts, prompt_source
from maker.job.settings import MEMO, VoteSettings
from maker.models.folder import checked_folder, folder_digest
from maker.models.settings import PoolSettings, VllmSettings
from maker.plugin import Function, Place
from maker.types import InputPart
from maker.voting.judge import PROMPT
from maker.voting.policy import JUDGE

THINKING = "thinking"
"""The key of a fingerprint that says which marks of thinking a job has named, there only where it has."""
UNWRITTEN: Mapping[str, dict[str, Any]] = {
    "model": {
        "structured": "off", "engine_args": {}, "p_by_class": {}, "rho": 0.0, "rho_by_class": {}, "shares": [],
        "flag_right": 0.0, "flag_wrong": 0.0, "omit": [], "extra_body": {}, "reasoning_tokens": 0,
    },
    "task": {"parse": None, "check": None, "truth": None, "delimiter": "", "quotes": True,
             "by_line": False, "words": 1},
}  # fmt: skip
"""What held in runs whose fingerprints are older than the choice."""

OF_CODE = ("decomposer_source", "voter_source", "prompts", "schemas", "parts", "instance")
"""Parts of a fingerprint that follow from the code of files, and from nothing else that it does not name."""
CODE = ("decomposer", "decomposer_version", "decomposer_source", "voter", "voter_source")
"""Parts of a fingerprint that say which code a run was begun with."""


def code_digest(fingerprint: Mapping[str, Any]) -> bytes:
    """Return a digest of the plugins' code that a fingerprint tells of: other code cannot go on with the run."""
    told = json.dumps({name: fingerprint.get(name) for name in CODE}, sort_keys=True)
    return hashlib.sha256(told.encode("utf-8", "backslashreplace")).digest()[:16]


def without_code(fingerprint: Mapping[str, Any], functions: Collection[str]) -> dict[str, Any]:
    """Return a fingerprint without what follows from the files of code alone; ``functions`` are the task's own.

    The names of plugins stay, and a task's version: who raises it says that older runs cannot go on.
    """
    found = {name: value for name, value in fingerprint.items() if name not in OF_CODE}
    named = dict(fingerprint["task"])
    # Of another job, whose fingerprint is compared all the same, it may be no function.
    named |= {name: named[name].get("function") for name in functions if isinstance(named.get(name), dict)}
    roles = {
        name: {key: value for key, value in role.items() if key != "classes"}
        for name, role in fingerprint.get("roles", {}).items()
    }
    return found | {"task": named} | ({"roles": roles} if roles else {})


def run_fingerprint(job: Job) -> dict[str, Any]:
    """Return what may not change while a run lives: the task's, the seed, and what decides how the model answers.

    ``max_votes`` may: it decides no step, and raising it is how a run goes on that was stuck at it.

    Raises:
        ModelUnusable: The model's folder is not there.
    """
    parts = input_parts(job)
    found = settings_fingerprint(job)
    if parts:
        found["inputs"] = inputs_digest(parts)
    folders = {
        name: folder_digest(checked_folder(member.path))
        for name, member in job.members.items()
        if isinstance(member, VllmSettings)
    }
    if isinstance(job.model, PoolSettings):
        found["model"]["folders"] = folders
    elif folders:
        found["model"]["folder"] = next(iter(folders.values()))
    return found


def settings_fingerprint(job: Job) -> dict[str, Any]:
    """Return what of a run's fingerprint the settings alone decide: all but what its input and model folders hold."""
    found = task_fingerprint(job) | {"seed": job.run.seed, "model": job.model.identity()}
    if job.memo != "off":
        found[MEMO] = job.memo
    if job.vote.thinking is not None:
        found[THINKING] = [list(marks) for marks in job.vote.thinking]
    if job.poll is not None:
        found["poll"] = job.poll.model_dump() | {"labels": _digest(job.poll.labels)}
    if job.foresight is not None:
        found["foresight"] = job.foresight.model_dump() | {"labels": _digest(job.foresight.labels)}
    held = any(getattr(member, "structured", "off") == "schema" for member in job.members.values())
    return found | {"schemas": _schemas(job)} if held else found


def task_fingerprint(job: Job) -> dict[str, Any]:
    """Return what a log can be verified with: task, prompts, voter, and their code."""
    decomposer, voter = job.decomposer_plugin, job.voter_plugin
    # Of the plugin: a pilot's own decomposer stands in for the task's.
    instance = sorted(getattr(decomposer.object, "instance", ()))
    beside = {"decomposer", MEMO, *marked(decomposer, Place)}
    task = {key: value for key, value in job.settings["task"].items() if key not in beside}
    task |= {name: {"function": _short(one), "source": one.source} for name, one in job.functions.items()}
    vote = {key: value for key, value in job.settings["vote"].items() if key not in VoteSettings.model_fields}
    return (
        {
            "decomposer": _short(decomposer),
            "decomposer_version": job.decomposer.version,
            "decomposer_source": decomposer.source,
            "prompts": _prompts(job),
            "task": task,
            **({"instance": instance} if instance else {}),
            "voter": _short(voter),
            "voter_source": voter.source,
            "vote": vote,
        }
        | ({"roles": roles} if (roles := _roles(job)) else {})
        | ({"parts": parts} if (parts := _parts(job)) else {})
    )


def calibration_fingerprint(job: Job) -> dict[str, Any]:
    """Return what of a run's fingerprint decides how samples of its steps come out: voters and seeds do not.

    A job is planned by the calibrations that have its own. Raises as `run_fingerprint` does.
    """
    return of_samples(run_fingerprint(job))


def of_samples(fingerprint: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of a run's fingerprint decides how samples come out, as `calibration_fingerprint` does of a job's."""
    beside = ("seed", "voter", "voter_source", "vote", "roles", "poll", MEMO)
    found = {name: value for name, value in fingerprint.items() if name not in beside}
    roles = fingerprint.get("roles", {})
    rotations = {name: role["rotation"] for name, role in roles.items() if role.get("rotation")}
    return found | ({"rotations": rotations} if rotations else {})


def inputs_digest(parts: Iterable[InputPart]) -> str:
    """Return one digest of all input files as they were when a run began."""
    return hashlib.sha256("".join(map(repr, map(tuple, parts))).encode("utf-8", "backslashreplace")).hexdigest()[:32]


def difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Say where two fingerprints differ, "" if they do not.

    What only one of them names was not looked at then, but for what is known to have held: see `UNWRITTEN`. Roles and
    marks of thinking are named where there are any, so that those of both must be alike, and the memo where it is not
    off.
    """
    had, has = before.get("roles", {}), now.get("roles", {})
    lines = [] if had == has else [f"roles were {had!r}, are {has!r}"]
    said, says = before.get(MEMO, "off"), now.get(MEMO, "off")
    lines += [] if said == says else [f"memo was {said!r}, is {says!r}"]
    marks, mark = before.get(THINKING), now.get(THINKING)
    lines += [] if marks == mark else [f"vote.thinking was {_marks(marks)}, is {_marks(mark)}"]
    lines += _differences(before, now)
    return "; ".join(lines)


def _marks(told: Any) -> str:
    return "not set" if told is None else repr(told)


def _differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    lines = []
    for name in sorted((before.keys() & now.keys()) - {"roles", MEMO, THINKING}):
        old, new, unwritten = before[name], now[name], UNWRITTEN.get(name, {})
        if isinstance(old, dict) and isinstance(new, dict):
            if inner := _differences(unwritten | old, unwritten | new):
                lines.append(f"{name}: {'; '.join(inner)}")
        elif old != new:
            lines.append(f"{name} was {old!r}, is {new!r}")
    return lines


def _roles(job: Job) -> dict[str, Any]:
    """Return what of the roles decides steps."""
    return {
        name: {"k": table.k, "rotation": list(table.rotation), "classes": _classes_of(job, name)}
        | ({"prompt": table.prompt or PROMPT} if name == JUDGE else {})
        for name, table in job.roles.items()
        if name == JUDGE or table.k is not None or table.rotation
    }


def _classes_of(job: Job, role: str) -> list[str]:
    return [kind.name for kind in job.decomposer.classes if kind.role == role]


def _parts(job: Job) -> list[str]:
    """Return the names of the step classes whose answers are voted on part by part."""
    return [kind.name for kind in job.decomposer.classes if kind.parts is not None]


def _prompts(job: Job) -> str:
    kinds = [
        (kind.name, kind.system, kind.max_tokens, kind.stop, *([kind.paraphrases] if kind.paraphrases else []))
        for kind in job.decomposer.classes
    ]
    told = repr((kinds, prompt_source(job)))
    return hashlib.sha256(told.encode("utf-8", "backslashreplace")).hexdigest()[:16]


def _schemas(job: Job) -> str:
    kinds = [(kind.name, kind.schema and dict(kind.schema)) for kind in job.decomposer.classes]
    told: str = call_user_code(f"{job.decomposer.name}: a schema as JSON", partial(json.dumps, kinds, sort_keys=True))
    return hashlib.sha256(told.encode()).hexdigest()[:16]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _short(code: Plugin | Function) -> str:
    """Return the name of a plugin or a function without the folder of its file, which may move."""
    return Path(code.name).name if code.source else code.name
