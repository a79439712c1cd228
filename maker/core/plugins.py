"""Find decomposers and voters: by entry point, by ``path/file.py:Name`` or by ``module:Name``.

`maker.core.naming` is the inverse: it names an object that a program holds.
"""

from __future__ import annotations

import difflib
import hashlib
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from contextvars import ContextVar
from functools import lru_cache
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.metadata import Distribution, EntryPoint, EntryPoints, entry_points
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, NamedTuple

from maker.core.user_code import FILE_MODULE, ends_the_program, words_of
from maker.errors import DISTRIBUTION, BadInput, PluginError

DECOMPOSERS = "maker.decomposers"
VOTERS = "maker.voters"
MAIN = "__main__"
NOTHING_KEPT: Mapping[str, str] = {}


class Plugin(NamedTuple):
    """A plugin that was found. ``source`` is its file's SHA-256, "" for a plugin from an entry point."""

    name: str
    object: Any
    file: str
    distribution: str
    source: str

    @property
    def ours(self) -> bool:
        """Whether it comes with maker."""
        return self.distribution.partition(" ")[0] == DISTRIBUTION


_LOADING: ContextVar[Path | None] = ContextVar("loading", default=None)
"""The file whose code is executed because a job or a run names it."""
LIVE: dict[str, Plugin] = {}
"""What this process holds of a file, by its name: found as it is, as long as the file is the same.

A file that was imported is not loaded a second time: its classes would be other classes.
"""


def find_plugin(group: str, name: str, base: Path, kept: Mapping[str, str] = NOTHING_KEPT) -> Plugin:
    """Return the plugin with a name.

    Args:
        group: `DECOMPOSERS` or `VOTERS`.
        name: An entry point's name, ``path/file.py:Name`` or ``module:Name``.
        base: The folder that a relative path starts from.
        kept: Contents of files, by their whole paths, that stand in for what is on disk.

    Raises:
        PluginError: It is unknown (near matches are named), provided by two distributions, or broken.
    """
    if ":" in name:
        return find_named(name, base, kept)
    what = group.removeprefix("maker.").removesuffix("s")
    points = [point for point in points_of(group) if point.name == name]
    if not points:
        raise _unknown(what, name, sorted({point.name for point in points_of(group)}))
    if len(homes := {(point.value, _distribution(point)) for point in points}) > 1:
        offers = " and ".join(sorted(f"{home} ({value})" for value, home in homes))
        raise PluginError(f"{what} {name!r} is provided by two packages: {offers}", fix="uninstall one of them")
    return _from_point(points[0])


def find_named(name: str, base: Path, kept: Mapping[str, str] = NOTHING_KEPT) -> Plugin:
    """Return the object that ``path/file.py:Name`` or ``module:Name`` names; a relative path starts from ``base``.

    What is ``kept`` of files, by their whole paths, stands in for what is on disk.

    Raises:
        PluginError: There is no such file, module or name (near ones are named), or its code cannot be loaded.
    """
    place, colon, attribute = name.rpartition(":")
    if not colon:
        raise PluginError(f"{name!r} has no `:name` part", fix="write path/file.py:name, or package.module:name")
    if not place.endswith(".py"):
        return _from_module(place, attribute)
    if (body := kept.get(str(base / place))) is not None:
        return _from_kept(base / place, attribute, body.encode())
    return _from_file(base / place, attribute)


def list_plugins(group: str) -> list[Plugin | PluginError]:
    """Return every installed plugin of a group, by name; a broken one as its error."""
    found: list[Plugin | PluginError] = []
    for name in sorted({point.name for point in points_of(group)}):
        try:
            found.append(find_plugin(group, name, Path()))
        except PluginError as error:
            found.append(error)
    return found


def near(name: str, known: list[str]) -> str:
    """Return a hint for a wrong name: the known names close to it, or all of them."""
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    return f"did you mean {' or '.join(map(repr, close))}?" if close else f"known: {', '.join(known) or 'none'}"


def points_of(group: str) -> EntryPoints:
    """Return the installed entry points of a group."""
    return _scanned(tuple(sys.path))[group]


@lru_cache(maxsize=8)
def _scanned(path: tuple[str, ...]) -> dict[str, EntryPoints]:
    """Return entry points by group, cached: reading them in two hundred distributions takes a tenth of a second."""
    points = entry_points()
    return {group: points.select(group=group) for group in (DECOMPOSERS, VOTERS)}


def _from_point(point: EntryPoint) -> Plugin:
    try:
        loaded = point.load()
    except BaseException as error:
        if ends_the_program(error):
            raise
        package = point.module.partition(".")[0]
        won = getattr(sys.modules.get(package), "__file__", None) or "a folder without __init__.py"
        raise PluginError(
            f"plugin {point.name!r} of {_distribution(point)} cannot be loaded: {words_of(error)}",
            fix=f"`import {package}` finds {won}; if that is not the installed package, rename the file that hides it",
        ) from error
    return Plugin(point.name, loaded, _file(loaded), _distribution(point), "")


def main_file() -> Path | None:
    """Return the Python file that this process runs, None where it runs another thing: a notebook, say."""
    file = getattr(sys.modules.get(MAIN), "__file__", None) or ""
    return Path(file).resolve() if file.endswith(".py") else None


def _from_main(attribute: str) -> Plugin:
    """Return what a notebook or an interactive session has defined: its source is that of the cells."""
    main = sys.modules[MAIN]
    if not hasattr(main, attribute):
        raise PluginError(
            f"{attribute!r} was defined in a notebook or an interactive session, and this process has no {attribute!r}",
            fix="run the code that defines it here, then resume here; put it into a file to resume anywhere",
        )
    found = getattr(main, attribute)
    source = _cells(found)
    return Plugin(f"{MAIN}:{attribute}", found, "a session", "", source and hashlib.sha256(source.encode()).hexdigest())


def _cells(found: Any) -> str:
    """Return the source of an object that stands in no file, as far as the session keeps it."""
    of_class = vars(found).values() if isinstance(found, type) else (getattr(found, "function", found),)
    texts = []
    for function in filter(inspect.isfunction, of_class):
        try:
            texts.append(inspect.getsource(function))
        except OSError:
            return ""
    return "".join(texts)


def _from_module(module: str, attribute: str) -> Plugin:
    main = sys.modules.get(MAIN)
    if module == MAIN:
        return _from_main(attribute)
    if module == getattr(getattr(main, "__spec__", None), "name", None):
        # `python -m module` runs it: imported by its name, it would run a second time.
        module = MAIN
    try:
        loaded = importlib.import_module(module)
    except BaseException as error:
        if ends_the_program(error):
            raise
        raise PluginError(
            f"module {module!r} cannot be imported: {type(error).__name__}: {words_of(error)}",
            fix="install it, or write path/file.py:name",
        ) from error
    file = getattr(loaded, "__file__", None)
    source = hashlib.sha256(Path(file).read_bytes()).hexdigest() if file and file.endswith(".py") else ""
    return Plugin(
        f"{module_name(loaded)}:{attribute}", _attribute(loaded, attribute, module), file or "built in", "", source
    )


def _from_file(path: Path, attribute: str) -> Plugin:
    path = path.resolve()
    if not path.is_file():
        raise PluginError(
            f"there is no file {path}", fix="correct the path; paths in a job file start from the job file's folder"
        )
    content = path.read_bytes()
    source = hashlib.sha256(content).hexdigest()
    if path == main_file():
        # Loaded as a module, the script that runs would run a second time.
        return live(f"{path}:{attribute}", _attribute(sys.modules[MAIN], attribute, str(path)), path, source)
    known = LIVE.get(f"{path}:{attribute}")
    if known is not None and known.source == source:
        return known
    module = _imported(path, _module_of(path, source), content)
    return Plugin(f"{path}:{attribute}", _attribute(module, attribute, str(path)), str(path), "", source)


def _module_of(path: Path, source: str) -> str:
    # The name contains the source's hash, so that a changed file is loaded again and not taken from the cache.
    # A dot in it would stand for a package.
    return f"{FILE_MODULE}{path.stem.replace('.', '_')}_{source[:12]}"


def _from_kept(path: Path, attribute: str, content: bytes) -> Plugin:
    """Return what a file's kept content defines: what is loaded already, if the file holds the same."""
    source = hashlib.sha256(content).hexdigest()
    with suppress(OSError):
        if path.read_bytes() == content:
            return _from_file(path, attribute)
    # A path that no file has: what reads sources, as tracebacks do, must not find what stands there by now.
    module = _imported(Path(f"{path}@{source[:12]}"), _module_of(path, source), content)
    return Plugin(f"{path}:{attribute}", _attribute(module, attribute, str(path)), str(path), "", source)


def live(name: str, found: Any, file: Path, source: str) -> Plugin:
    """Keep an object of this process as a plugin; its source is what the file held when it was first named."""
    known = LIVE.get(name)
    if known is None or known.object is not found:
        LIVE[name] = Plugin(name, found, str(file), "", source)
    return LIVE[name]


def module_name(module: ModuleType) -> str:
    """Return the name that a module is imported by: that of `python -m` too."""
    spec = getattr(module, "__spec__", None)
    return spec.name if module.__name__ == MAIN and spec is not None else module.__name__


def _imported(path: Path, name: str, content: bytes) -> ModuleType:
    """Return a file's module, executed once and whole.

    The import system sees to that: a thread that asks for a module which another one executes waits for it, a module
    whose code fails leaves nothing behind, and modules that import one another do not wait for ever.
    """
    _FILES.offer(name, path, content)
    loading = _LOADING.set(path)
    try:
        return importlib.import_module(name)
    except BaseException as error:
        if ends_the_program(error):
            raise
        if type(error).__name__ == "_DeadlockError" and name in sys.modules:
            # Two threads execute files that load one another: as in any circle of imports, this one gets what there is.
            return sys.modules[name]
        raise PluginError(f"{path} cannot be loaded: {type(error).__name__}: {words_of(error)}") from error
    finally:
        _LOADING.reset(loading)


def refuse_while_loading() -> None:
    """Raise `BadInput` in a file that is loaded for what it defines: a resume would start the script's run anew."""
    if (path := _LOADING.get()) is not None:
        raise BadInput(
            f"{path.name} works on a run while it is loaded for what it defines",
            fix='put what the script does below `if __name__ == "__main__":`',
        )


class _Source(SourceFileLoader):
    """Executes the content that was read: not what the file holds by now, nor a cache of what it once held."""

    def __init__(self, name: str, path: Path, content: bytes) -> None:
        super().__init__(name, str(path))
        self._content = content

    def get_code(self, fullname: str) -> CodeType:
        return self.source_to_code(self._content, self.path)

    def get_data(self, path: Any) -> bytes:
        return self._content


class _FileModules(MetaPathFinder):
    """Finds the modules of files that jobs name."""

    def __init__(self) -> None:
        self._loaders: dict[str, _Source] = {}

    def offer(self, name: str, path: Path, content: bytes) -> None:
        """Let a file be imported by a name."""
        if self not in sys.meta_path:
            sys.meta_path.append(self)
        self._loaders.setdefault(name, _Source(name, path, content))

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        loader = self._loaders.get(fullname)
        return None if loader is None else importlib.util.spec_from_file_location(fullname, loader.path, loader=loader)


_FILES = _FileModules()


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
    return _title(point.dist) if point.dist else "an unknown distribution"


@lru_cache(256)
def _title(distribution: Distribution) -> str:
    # Each look reads and parses the distribution's whole metadata. Entry points of two distributions may be equal.
    return f"{distribution.name} {distribution.version}"


def _file(loaded: Any) -> str:
    return str(getattr(sys.modules.get(getattr(loaded, "__module__", "")), "__file__", "?"))
