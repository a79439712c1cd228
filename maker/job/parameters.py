"""A plugin's parameters as a job writes them: where paths start, what stands in files, the functions they name."""

from __future__ import annotations

import inspect
import stat
from collections.abc import Sequence
from numbers import Integral
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from maker.core.plugins import Plugin, find_named
from maker.core.user_code import call_user_code, not_text, not_unicode, shown
from maker.errors import JobError, PluginError
from maker.job.file import Raw, shortened
from maker.job.problems import Problems
from maker.plugin import Called, Decomposer, Function, OrFile, Place, StepClass, Voter

TEXT_ENDINGS = ("txt", "md", "json", "jinja", "j2", "prompt")


def params_of(plugin: Plugin) -> type[BaseModel]:
    """Return the model of a plugin's parameters. Raises `PluginError` where it has none."""
    params = getattr(plugin.object, "Params", None)
    if not (isinstance(params, type) and issubclass(params, BaseModel)) or not callable(plugin.object):
        raise PluginError(
            f"{plugin.name} is not a plugin: it has no Params",
            fix="name a Decomposer or Voter class, or a task made with decomposers.function",
        )
    return params


def marked(plugin: Plugin, mark: type[Any]) -> dict[str, Any]:
    """Return the marks of a kind that a plugin's parameters carry, by the names that a job writes."""
    fields = params_of(plugin).model_fields.items()
    return {field.alias or name: one for name, field in fields for one in field.metadata if isinstance(one, mark)}


def placed(plugin: Plugin, values: dict[str, Any], raw: Raw) -> dict[str, Any]:
    """Return a task's parameters with what they name: absolute paths, the texts of files, and functions.

    Raises:
        JobError: A file or a function is not there, or cannot be what it is named as.
    """
    found, problems = dict(values), Problems()
    place = {name: f"{raw.place('task', name)}: task.{name}" for name in values}
    for name in marked(plugin, Place):
        value = found.get(name)
        if isinstance(value, str) and value and "://" not in value:
            found[name] = str((raw.base("task", name) / value).resolve())
    for name in marked(plugin, OrFile):
        value = found.get(name)
        if isinstance(value, str) and not raw.is_stored("task", name):
            found[name] = problems.of(_text_of, raw.base("task", name), value, place[name])
    for name, called in marked(plugin, Called).items():
        if name in found:
            found[name] = problems.of(_function, raw, name, found[name], called, place[name])
    problems.refuse()
    return found


def files_of(plugin: Plugin, values: dict[str, Any], raw: Raw) -> dict[str, Path]:
    """Return the files that `placed` reads parameters from, by the parameter."""
    found = {}
    for name in marked(plugin, OrFile):
        value = values.get(name)
        if isinstance(value, str) and value and "\n" not in value and not raw.is_stored("task", name):
            path = raw.base("task", name) / value
            if _is_file(path):
                found[name] = path.resolve()
    return found


def _function(raw: Raw, name: str, value: Any, called: Called, where: str) -> Function:
    """Return the function that a value names. Raises `JobError` where there is none, or it cannot be called so."""
    told = f"{where} = {shortened(repr(value))}"
    try:
        named = find_named(str(value), raw.base("task", name), raw.pinned)
    except PluginError as error:
        raise JobError(f"{told}: {error.message}", fix=error.fix) from error
    if not callable(named.object):
        raise JobError(f"{told}: that is not a function but {shortened(repr(named.object))}")
    call = f"{named.name.rpartition(':')[2]}({', '.join(called.arguments)})"
    try:
        inspect.signature(named.object).bind(*called.arguments)
    except TypeError as error:
        raise JobError(f"{told}: it must be callable as {call}: {error}") from error
    except ValueError:
        # Some that are written in C do not say what they take.
        pass
    return Function(named.name, named.source, named.object)


def _text_of(base: Path, value: str, where: str) -> str:
    """Return the text of the file that a value names, else the value itself. Raises `JobError` for a misspelt name."""
    if not value or "\n" in value:
        return value
    try:
        if _is_file(base / value):
            return (base / value).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise JobError(f"{where}: the file {value} cannot be read as UTF-8 text: {error}") from error
    except OSError as error:
        raise JobError(
            f"{where}: the file {shortened(value)} cannot be read: {error.strerror}",
            fix="check the permissions of the file and its folders, or name another file",
        ) from error
    if _means_a_file(value):
        looked = "" if Path(value).is_absolute() else f" in {base}"
        raise JobError(
            f"{where}: there is no file {shortened(value)}{looked}",
            fix="correct the path; if you mean a text, end it with a line break",
        )
    return value


def _means_a_file(text: str) -> bool:
    """Say whether a text is one word with the ending of a text's file, or with folders and any ending."""
    _, dot, ending = text.rpartition(".")
    if not (dot and ending.isascii() and ending.isalnum()) or len(text.split()) > 1 or "{" in text:
        return False
    return ending.lower() in TEXT_ENDINGS or "/" in text or "\\" in text


def _is_file(path: Path) -> bool:
    """Say whether a path is that of a file. Raises ``PermissionError`` where one may not look."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except PermissionError:
        raise
    except (OSError, ValueError):
        # A text need not be a path at all: too long for one, say, or with a NUL in it.
        return False


def built(plugin: Plugin, params: BaseModel, interface: type[Any]) -> Any:
    """Return a plugin made from its parameters. Raises `PluginError` where it is not what its interface says."""
    made = call_user_code(f"{plugin.name}: making it", plugin.object, params)
    needed = ("name", "version", "classes", "state", "action") if interface is Decomposer else ("name",)
    if missing := [name for name in needed if not hasattr(made, name)]:
        raise PluginError(
            f"{plugin.name} has no {', '.join(missing)}", fix=f"define it; see maker.plugin.{interface.__name__}"
        )
    if not isinstance(made, interface):
        raise PluginError(
            f"{plugin.name} is not a {interface.__name__.lower()}",
            fix=f"make it a maker.plugin.{interface.__name__}",
        )
    if isinstance(made, Decomposer):
        _check_classes(plugin.name, made.classes)
    else:
        _check_voter(plugin.name, made)
    return made


def _check_voter(name: str, voter: Voter) -> None:
    """Refuse a voter that does not say when it can decide. Raises `PluginError`, or `TaskFailed` for its own code."""
    least, margin = call_user_code(f"{name}: least and race_margin", lambda: (voter.least, voter.race_margin))
    for what, found in (("least", least), ("race_margin", 1 if margin is None else margin)):
        if not isinstance(found, Integral) or int(found) < 1:
            raise PluginError(f"{name}: {what} is {shown(found)}, no whole number of at least 1", fix="correct it")


def _check_classes(name: str, classes: Any) -> None:
    """Refuse step classes that no step can be asked with. Raises `PluginError`."""
    if not isinstance(classes, Sequence) or not all(isinstance(kind, StepClass) for kind in classes):
        raise PluginError(
            f"{name}: classes is {shown(classes)}, and must hold step classes alone", fix="make it a tuple of StepClass"
        )
    for kind in classes:
        texts = {"name": (kind.name,), "system": (kind.system,), "paraphrases": kind.paraphrases}
        wrong = {part: ", ".join(filter(None, map(_no_prompt, its))) for part, its in texts.items()}
        wrong["parse"] = "" if callable(kind.parse) else f"{shown(kind.parse)} cannot be called"
        wrong["check"] = "" if callable(kind.check) else f"{shown(kind.check)} cannot be called"
        whole = isinstance(kind.max_tokens, Integral) and int(kind.max_tokens) >= 1
        wrong["max_tokens"] = "" if whole else f"{shown(kind.max_tokens)} is no whole number of at least 1"
        for part, problem in wrong.items():
            if problem:
                raise PluginError(f"{name}: step class {shown(kind.name)}: {part}: {problem}", fix="correct it")


def _no_prompt(text: Any) -> str:
    problem = not_text(text) or not_unicode(text)
    return f"{shown(text)}: {problem}" if problem else ""
