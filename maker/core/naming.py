"""Name the objects that a program holds: by that name a resume in another process finds them again.

The inverse of `maker.core.plugins`. Names are those that a job file would write, so that the fingerprints are the same.
"""

from __future__ import annotations

import hashlib
import sys
import sysconfig
from pathlib import Path
from types import ModuleType
from typing import Any

from maker.core.plugins import MAIN, Plugin, find_named, find_plugin, live, module_name, points_of
from maker.core.user_code import OWN_MODULES, shown
from maker.errors import PluginError

_INSTALLED = {"site-packages", "dist-packages"}


def plugin_of(found: Any, group: str = "") -> Plugin:
    """Return an object with the name by which it is found again.

    An entry point's name where it is one of ``group``; ``path/file.py:Name`` where it stands in a script, or in a
    module beside it; ``module:Name`` in a package or in what is installed. The object is used as it is in this process.

    Raises:
        PluginError: It cannot be found by a name: a lambda or what is local to a function, say.
    """
    for module in _modules(found):
        attribute = _attribute_of(found, module)
        if attribute is None:
            continue
        if point := _entry_point(found, attribute, module, group):
            return find_plugin(group, point, Path())
        file = _file_of(module)
        if file is None:
            return find_named(f"{module_name(module)}:{attribute}", Path())
        OWN_MODULES.add(module.__name__)
        return live(f"{file}:{attribute}", found, file, hashlib.sha256(file.read_bytes()).hexdigest())
    raise PluginError(
        f"{_shown(found)} cannot be found again by a name: {_why(found)}",
        fix="define it at the top level of a module or a script: a resume finds it there",
    )


def _modules(found: Any) -> list[ModuleType]:
    """Return the modules where an object may have a name: its own, and the script, which may have wrapped it."""
    names = dict.fromkeys([str(getattr(found, "__module__", "")), MAIN])
    return [sys.modules[name] for name in names if name in sys.modules]


def _attribute_of(found: Any, module: ModuleType) -> str | None:
    names = dict(vars(module))
    name = getattr(found, "__qualname__", None)
    if isinstance(name, str) and names.get(name) is found:
        return name
    return next((name for name, value in names.items() if value is found), None)


def _entry_point(found: Any, attribute: str, module: ModuleType, group: str) -> str:
    """Return the name of the installed plugin that an object is, "" for none; loads none of another package."""
    package = module.__name__.partition(".")[0]
    for point in points_of(group) if group else ():
        if point.attr == attribute and point.module.partition(".")[0] == package and point.load() is found:
            return point.name
    return ""


def _file_of(module: ModuleType) -> Path | None:
    """Return the file that a module is found by, None where it is found by its own name."""
    file = getattr(module, "__file__", None) or ""
    if not file.endswith(".py") or "." in module_name(module):
        return None
    path = Path(file).resolve()
    return None if _INSTALLED & set(path.parts) or path.is_relative_to(sysconfig.get_path("stdlib")) else path


def _shown(found: Any) -> str:
    name = getattr(found, "__qualname__", None)
    return name if isinstance(name, str) else shown(found)


def _why(found: Any) -> str:
    name = str(getattr(found, "__qualname__", ""))
    if "<locals>" in name:
        return "it is local to a function"
    if "<lambda>" in name:
        return "it is a lambda without a name"
    return f"nothing at the top level of {getattr(found, '__module__', None) or 'a module'} is this object"
