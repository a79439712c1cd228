"""What a run must keep to go on with the code it began with; refuses, at the start, code that cannot be kept."""

from __future__ import annotations

import ast
import importlib.util
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import suppress
from hashlib import sha256
from importlib.metadata import packages_distributions
from pathlib import Path

from maker.core.plugins import Plugin
from maker.core.user_code import unfit
from maker.errors import JobError
from maker.job.job import Job
from maker.plugin import Function
from maker.store.code import Source

MOST_BYTES = 1_000_000
"""Of one file of code."""
OURS = ("maker", "decomposers", "voters")
FIX = 'set run.on_change = "refuse" or "migrate"'


def pinned_sources(job: Job) -> tuple[Source, ...]:
    """Return the files of a job's code that its run keeps; () unless the job says ``on_change = "pin"``.

    A file is kept by itself: what it imports is not. So it may import installed packages alone.

    Raises:
        JobError: Some of the code stands in no file of its own, imports a file beside it, or is too large.
    """
    if job.run.on_change != "pin":
        return ()
    found = {}
    for setting, code in _code_of(job):
        if (file := _file_of(setting, code)) is not None:
            found[str(file)] = Source(str(file), _body(setting, file, code.source))
    return tuple(found.values())


def _code_of(job: Job) -> Iterator[tuple[str, Plugin | Function]]:
    yield "task.decomposer", job.decomposer_plugin
    yield "vote.voter", job.voter_plugin
    for name, function in job.functions.items():
        yield f"task.{name}", function


def _file_of(setting: str, code: Plugin | Function) -> Path | None:
    """Return the file that code stands in, None for code of maker's own. Raises `JobError` for other code."""
    place = code.name.rpartition(":")[0]
    if place.endswith(".py"):
        return Path(place)
    if isinstance(code, Plugin) and code.ours:
        return None
    if place.partition(".")[0] in OURS:
        return None
    what = "a notebook or an interactive session" if place == "__main__" else "an installed module"
    raise _refused(setting, code.name, f"it stands in {what}", "write it as path/file.py:Name, or")


def _body(setting: str, file: Path, source: str) -> str:
    """Return a file's content, as the job has loaded it. Raises `JobError`."""
    content = file.read_bytes() if file.is_file() else b""
    if sha256(content).hexdigest() != source:
        raise _refused(setting, str(file), "the file has changed since it was loaded", "start the program anew, or")
    if len(content) > MOST_BYTES:
        raise _refused(setting, str(file), f"it has {len(content):,} bytes, and {MOST_BYTES:,} are kept at most")
    try:
        body = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _refused(setting, str(file), "it is not UTF-8 text", "save it as UTF-8, or") from error
    if problem := unfit(body):
        raise _refused(setting, str(file), problem)
    if beside := next(_imported_files(body, file), ""):
        raise _refused(
            setting, str(file), f"it imports {beside}, a file that is not kept with it",
            "put what it needs into the one file, or install it as a package, or",
        )  # fmt: skip
    return body


def _refused(setting: str, shown: str, why: str, first: str = "") -> JobError:
    return JobError(
        f'run.on_change = "pin": {setting} = {shown} cannot be pinned: {why}',
        fix=" ".join(filter(None, (first, FIX))),
        setting="run.on_change",
    )


def _imported_files(body: str, file: Path) -> Iterator[str]:
    """Yield the modules that a file imports, wherever in it, and that are neither installed nor Python's own."""
    for node in ast.walk(ast.parse(body)):
        if isinstance(node, ast.ImportFrom) and node.level:
            yield f"{'.' * node.level}{node.module or ''}"
        elif isinstance(node, ast.ImportFrom | ast.Import):
            names = [node.module] if isinstance(node, ast.ImportFrom) else [one.name for one in node.names]
            yield from (name for name in names if name and not _is_installed(name.partition(".")[0], file))


def _is_installed(name: str, file: Path) -> bool:
    if name in OURS or name in sys.stdlib_module_names:
        return True
    if (file.parent / f"{name}.py").exists() or (file.parent / name / "__init__.py").exists():
        return False
    spec = None
    with suppress(ImportError, ValueError):
        spec = importlib.util.find_spec(name)
    # What is not there cannot be imported either: it stands in a `try`, say.
    if spec is None or spec.origin in (None, "built-in", "frozen"):
        return True
    folders = {sysconfig.get_path(one) for one in ("purelib", "platlib", "stdlib")}
    return any(Path(str(spec.origin)).is_relative_to(one) for one in folders) or name in packages_distributions()
