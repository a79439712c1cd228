"""Reads a job's raw settings: a TOML file, the environment and overrides, each value with its origin."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from maker.core.plugins import near
from maker.errors import JobError
from maker.job.problems import Problems, together

STORE_VARIABLE = "MAKER_STORE"
SELECTORS = {"task": "decomposer", "model": "kind", "vote": "voter"}
"""The key that says what the rest of its table is about: chosen anew, the table starts anew."""
DEFAULT_STORE = "sqlite:///maker.db"
DEFAULT_VOTER = "first-to-ahead-by-k"
KEPT = {"max_votes", "on_undecided", "thinking"}
MOST_SHOWN = 80
MOST_WHOLE = 160
"""Characters of a value that is shown to people as it is, as most paths are; of a longer one, a schema, say, so many as
`MOST_SHOWN`."""


class Raw:
    """Settings as they were written, before any check. Later sources win: file, environment, command line.

    Args:
        values: The settings that a file or a stored run holds, or that a program gave.
        base: What relative paths in ``values`` start from.
        shown: What to call that source in messages.
        text: The file's text, in which lines are looked up.
        stored: The values are those of a run: a selector chosen anew (a task's file that has moved, say) leaves the
            rest of its table as it is.
        kept: The files of code that the run keeps, by their paths.
    """

    def __init__(
        self,
        values: Mapping[str, Any],
        *,
        base: Path,
        shown: str,
        text: str = "",
        stored: bool = False,
        kept: Mapping[str, str] | None = None,
    ) -> None:
        self.stored = stored
        self._kept = kept or {}
        self._base = base
        self._shown = shown
        self._lines = _lines(text)
        self._values: dict[str, dict[str, Any]] = {}
        self._origins: dict[str, str] = {}
        for table, content in values.items():
            if not isinstance(content, Mapping):
                raise JobError(
                    f"{self._line(table)}: {table} is outside of any table",
                    fix="put it below a table heading like [task]",
                )
            self._values[table] = dict(content)
            for key in content:
                self._origins[f"{table}.{key}"] = self._line(table, key)

    def take_environment(self, environment: Mapping[str, str], tables: Iterable[str]) -> None:
        """Take ``MAKER_TABLE_KEY`` variables in, and MAKER_STORE as the store's URL."""
        known = set(tables)
        found = sorted(environment.items(), key=lambda item: not item[0].endswith(("_KIND", "_VOTER", "_DECOMPOSER")))
        for name, value in found:
            table, _, key = name.removeprefix("MAKER_").lower().partition("_")
            if name == STORE_VARIABLE:
                self._set("store", "url", value, f"environment {name}")
            elif name.startswith("MAKER_") and table in known and key:
                self._set(table, key, _value(value), f"environment {name}")

    def take_overrides(self, overrides: Iterable[str]) -> None:
        """Take ``table.key=value`` words in. Values are TOML; bare words are strings. Raises `JobError`."""
        problems = Problems()
        settings: list[_Override] = [problems.of(_override, word) for word in overrides]
        problems.refuse()
        # Selectors first, whatever the order of the words: they empty their table.
        for one in sorted(settings, key=lambda setting: SELECTORS.get(setting.table) != setting.key):
            self._set(one.table, one.key, one.value, "command line")

    def take_tables(self, tables: Mapping[str, Mapping[str, Any]], whole: Iterable[str], origin: str) -> None:
        """Take settings of a program in, over those of before; of the tables that are ``whole`` nothing is left."""
        for table, content in tables.items():
            if table in whole:
                self._values[table] = dict(content)
                kept = {name: place for name, place in self._origins.items() if not name.startswith(f"{table}.")}
                self._origins = kept | {f"{table}.{key}": origin for key in content}
                continue
            # A selector first: it empties its table.
            for key in sorted(content, key=lambda key: SELECTORS.get(table) != key):
                self._set(table, key, content[key], origin)

    def table(self, name: str) -> dict[str, Any]:
        """Return a table, empty where nobody wrote it."""
        return dict(self._values.get(name, {}))

    def check_tables(self, known: list[str]) -> None:
        """Raise `JobError` for tables that nobody knows."""
        unknown = [
            JobError(f"{self.place(table)}: there is no table [{table}]", fix=near(table, known))
            for table in self._values
            if table not in known
        ]
        if unknown:
            raise together(unknown)

    def place(self, table: str, key: str = "") -> str:
        """Return where a value stands: ``job.toml:7``, a variable, or the command line."""
        name = f"{table}.{key}"
        if name in self._origins:
            return self._origins[name]
        if any(path == table or path.startswith(f"{table}.") for path in self._lines):
            return self._line(table, key)
        origins = {origin for known, origin in self._origins.items() if known.startswith(f"{table}.")}
        return origins.pop() if len(origins) == 1 else self._line(table)

    def base(self, table: str, key: str) -> Path:
        """Return what a relative path starts from: the job file's folder, or the working directory."""
        origin = self._origin(table, key)
        return self._base if origin == self._shown or origin.startswith(f"{self._shown}:") else Path.cwd()

    @property
    def pinned(self) -> Mapping[str, str]:
        """The files of code that stand in for those on disk, by their paths; {} unless the settings say ``pin``."""
        return self._kept if self._values.get("run", {}).get("on_change") == "pin" else {}

    def is_stored(self, table: str, key: str) -> bool:
        """Say whether a value is that of a stored run, which names no file any more."""
        return self.stored and self._origins.get(f"{table}.{key}") == self._shown

    def origins(self, settings: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
        """Return the origin of every setting in effect."""
        names = [f"{table}.{key}" for table, content in settings.items() for key in content]
        return {name: self._origins_of(name) for name in [*names, "store.url"]}

    def _origins_of(self, name: str) -> str:
        """Return where a value was set, and where parts of it were."""
        found = [self._origins[name]] if name in self._origins else []
        parts = {place: None for known, place in self._origins.items() if known.startswith(f"{name}.")}
        return ", ".join([*found, *(place for place in parts if place not in found)]) or "default"

    def _origin(self, table: str, key: str) -> str:
        """Return where a value was set, or the table that it is in, "" where neither was."""
        while (name := f"{table}.{key}") not in self._origins:
            key, dot, _ = key.rpartition(".")
            if not dot:
                return ""
        return self._origins[name]

    def _set(self, table: str, key: str, value: Any, origin: str) -> None:
        values = self._values.setdefault(table, {})
        before = values.get(key, DEFAULT_VOTER if key == "voter" else value)
        if SELECTORS.get(table) == key and before != value and not self.stored:
            for old in set(values) - KEPT:
                del values[old]
                self._origins.pop(f"{table}.{old}", None)
        *tables, last = key.split(".")
        for name in tables:
            inner = values.get(name)
            if not isinstance(inner, Mapping):
                # What stood there in place of a table is gone.
                self._origins.pop(f"{table}.{name}", None)
            values[name] = values = dict(inner) if isinstance(inner, Mapping) else {}
        values[last] = value
        self._origins[f"{table}.{key}"] = origin

    def _line(self, table: str, key: str = "") -> str:
        """Find the line that a key is written on, or what it is within; its table's where the key is not found."""
        name = f"{table}.{key}" if key else table
        while name:
            for path, number in self._lines.items():
                if path == name or path.startswith(f"{name}."):
                    return f"{self._shown}:{number}"
            name = name.rpartition(".")[0]
        return self._shown


def _lines(text: str) -> dict[str, int]:
    """Return the line of each table and each key, by their dotted names."""
    found: dict[str, int] = {}
    table = ""
    for number, line in enumerate(text.splitlines(), 1):
        if header := re.match(r"\s*\[+\s*([\w.\"\s-]+?)\s*\]", line):
            table = _plain(header[1])
            found.setdefault(table, number)
        elif key := re.match(r"\s*([\w.\"\s-]+?)\s*=", line):
            found.setdefault(f"{table}.{_plain(key[1])}".lstrip("."), number)
    return found


def _plain(name: str) -> str:
    return ".".join(part.strip().strip('"') for part in name.split("."))


class Written(NamedTuple):
    """What a job says before anything is checked: its tables, and what `Raw` takes beside them."""

    tables: Mapping[str, Any]
    base: Path
    shown: str
    text: str = ""

    def raw(self, tables: Mapping[str, Any]) -> Raw:
        """Return these tables as settings that were written there. Raises `JobError`."""
        return Raw(tables, base=self.base, shown=self.shown, text=self.text)


def read_job_file(path: Path) -> Raw:
    """Read a job file as settings. Raises `JobError` with the line that cannot be read."""
    written = written_file(path)
    return written.raw(written.tables)


def written_file(path: Path) -> Written:
    """Read a job file as it is written. Raises `JobError` with the line that cannot be read."""
    try:
        text = path.read_text(encoding="utf-8")
        return Written(tomllib.loads(text), path.parent.resolve(), str(path), text)
    except OSError as error:
        raise JobError(f"the job file {path} cannot be read: {error.strerror}", fix="give a TOML file") from error
    except UnicodeDecodeError as error:
        raise JobError(f"the job file {path} is not UTF-8 text: {error.reason}", fix="give a TOML file") from error
    except ValueError as error:
        # No TOML; or, without a place, a number longer than Python reads.
        raise JobError(
            f"{path}: {error}", fix='a job file is TOML; strings need quotation marks: decomposer = "hanoi"'
        ) from error


class _Override(NamedTuple):
    table: str
    key: str
    value: Any


def _override(word: str) -> _Override:
    name, equals, value = word.partition("=")
    table, dot, key = name.partition(".")
    if not (equals and dot and table and key):
        raise JobError(f"{word!r} is not an override", fix="write table.key=value, e.g. vote.k=3")
    return _Override(table.strip(), key.strip(), _value(value))


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except ValueError:
        return text


def shortened(text: str) -> str:
    """Return a value's text for a line that people read; of a long one the beginning, and how long it is."""
    return text if len(text) <= MOST_WHOLE else f"{text[:MOST_SHOWN]}… ({len(text):,} characters)"
