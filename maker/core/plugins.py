"""Find decomposers and voters: by entry point, by ``path/file.py:Name`` or by ``module:Name``."""

from __future__ import annotations

import difflib
import hashlib
import importlib
import importlib.util
import sys
from functools import lru_cache
from importlib.metadata import EntryPoint, EntryPoints, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from maker.errors import PluginError

DECOMPOSERS = "maker.decomposers"
VOTERS = "maker.voters"
FILE_MODULE = "maker_file_"
"""Prefix of the names of modules that were loaded from a ``path/file.py``."""


class Plugin(NamedTuple):
    """A plugin that was found. ``source`` is its file's SHA-256, "" for a plugin from an entry point."""

    name: str
    object: Any
    file: str
    distribution: str
    source: str


def find_plugin(group: str, name: str, base: Path) -> Plugin:
    """Return the plugin with a name.

    Args:
        group: `DECOMPOSERS` or `VOTERS`.
        name: An entry point's name, ``path/file.py:Name`` or ``module:Name``.
        base: The folder that a relative path starts from.

    Raises:
        PluginError: It is unknown (near matches are named), provided by two distributions, or broken.
    """
    if ":" in name:
        return find_named(name, base)
    what = group.removeprefix("maker.").removesuffix("s")
    points = [point for point in _points(group) if point.name == name]
    if not points:
        raise _unknown(what, name, sorted({point.name for point in _points(group)}))
    if len(homes := {(point.value, _distribution(point)) for point in points}) > 1:
        offers = " and ".join(sorted(f"{home} ({value})" for value, home in homes))
        raise PluginError(f"{what} {name!r} is provided by two packages: {offers}", fix="uninstall one of them")
    return _from_point(points[0])


def find_named(name: str, base: Path) -> Plugin:
    """Return the object that ``path/file.py:Name`` or ``module:Name`` names; a relative path starts from ``base``.

    Raises:
        PluginError: There is no such file, module or name (near ones are named), or its code cannot be loaded.
    """
    place, colon, attribute = name.rpartition(":")
    if not colon:
        raise PluginError(f"{name!r} has no `:name` part", fix="write path/file.py:name, or package.module:name")
    return _from_file(base / place, attribute) if place.endswith(".py") else _from_module(place, attribute)


def list_plugins(group: str) -> list[Plugin | PluginError]:
    """Return every installed plugin of a group, by name; a broken one as its error."""
    found: list[Plugin | PluginError] = []
    for name in sorted({point.name for point in _points(group)}):
        try:
            found.append(find_plugin(group, name, Path()))
        except PluginError as error:
            found.append(error)
    return found


def near(name: str, known: list[str]) -> str:
    """Return a hint for a wrong name: the known names close to it, or all of them."""
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    return f"did you mean {' or '.join(map(repr, close))}?" if close else f"known: {', '.join(known) or 'none'}"


def _points(group: str) -> EntryPoints:
    return _scanned(group, tuple(sys.path))


@lru_cache(maxsize=8)
def _scanned(group: str, path: tuple[str, ...]) -> EntryPoints:
    """Return a group's entry points, cached: finding them among two hundred distributions takes a tenth of a second."""
    return entry_points(group=group)


def _from_point(point: EntryPoint) -> Plugin:
    try:
        loaded = point.load()
    except Exception as error:
        package = point.module.partition(".")[0]
        won = getattr(sys.modules.get(package), "__file__", None) or "a folder without __init__.py"
        raise PluginError(
            f"plugin {point.name!r} of {_distribution(point)} cannot be loaded: {error}",
            fix=f"`import {package}` finds {won}; if that is not the installed package, rename the file that hides it",
        ) from error
    return Plugin(point.name, loaded, _file(loaded), _distribution(point), "")


def _from_module(module: str, attribute: str) -> Plugin:
    try:
        loaded = importlib.import_module(module)
    except Exception as error:
        raise PluginError(
            f"module {module!r} cannot be imported: {type(error).__name__}: {error}",
            fix="install it, or write path/file.py:name",
        ) from error
    file = getattr(loaded, "__file__", None)
    source = hashlib.sha256(Path(file).read_bytes()).hexdigest() if file and file.endswith(".py") else ""
    return Plugin(f"{module}:{attribute}", _attribute(loaded, attribute, module), file or "built in", "", source)


def _from_file(path: Path, attribute: str) -> Plugin:
    path = path.resolve()
    if not path.is_file():
        raise PluginError(
            f"there is no file {path}", fix="correct the path; paths in a job file start from the job file's folder"
        )
    source = hashlib.sha256(path.read_bytes()).hexdigest()
    # The name contains the source's hash, so that a changed file is loaded again and not taken from the cache.
    name = f"{FILE_MODULE}{path.stem}_{source[:12]}"
    module = sys.modules.get(name) or _execute(path, name)
    return Plugin(f"{path}:{attribute}", _attribute(module, attribute, str(path)), str(path), "", source)


def _execute(path: Path, name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise PluginError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise PluginError(f"{path} cannot be loaded: {type(error).__name__}: {error}") from error
    return module


def _attribute(module: ModuleType, attribute: str, shown: str) -> Any:
    try:
        return getattr(module, attribute)
    except AttributeError as error:
        names = [name for name in vars(module) if not name.startswith("_")]
        raise PluginError(f"{shown} has no {attribute!r}", fix=near(attribute, names)) from error


def _unknown(what: str, name: str, known: list[str]) -> PluginError:
    fix = f"{near(name, known)} You can also name a file: path/file.py:Name"
    return PluginError(f"there is no {what} {name!r}", fix=fix, name=name)


def _distribution(point: EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist else "an unknown distribution"


def _file(loaded: Any) -> str:
    return str(getattr(sys.modules.get(getattr(loaded, "__module__", "")), "__file__", "?"))
