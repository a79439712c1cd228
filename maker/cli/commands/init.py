"""``maker init``: write a small example job that runs at once."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Annotated

import typer

from maker.cli.output import print
from maker.core.plugins import near
from maker.errors import BadInput

TEMPLATES = files("maker.cli.commands") / "templates"
KINDS = ("map", "function", "chain")
HELP = "map: one answer per row of a table. function: a list of questions. chain: steps that depend on each other."


def init(
    kind: Annotated[str, typer.Argument(metavar="KIND", help=HELP)],
    folder: Annotated[Path, typer.Argument(metavar="[FOLDER]", help="Folder to write the job to.")] = Path(),
) -> None:
    """Write a small example job that runs at once, for you to edit."""
    for path in write_job(kind, folder):
        print(f"wrote {path}")
    print(
        f"try it with `maker run {shlex.quote(str(folder / 'job.toml'))}`; {folder / 'README.md'} gives the next steps"
    )


def write_job(kind: str, folder: Path) -> list[Path]:
    """Write the files of a kind of job; returns their paths.

    Raises:
        BadInput: There is no such kind, the folder holds such files already, or it cannot be written to. No file is
            left behind.
    """
    if kind not in KINDS:
        raise BadInput(f"there is no kind of job {kind!r}", fix=near(kind, list(KINDS)))
    texts = {file.name: file.read_text(encoding="utf-8") for file in (TEMPLATES / kind).iterdir() if file.is_file()}
    try:
        if folder.exists() and not folder.is_dir():
            raise BadInput(f"{folder} is not a folder", fix="give another one")
        if there := [name for name in sorted(texts) if (folder / name).exists() or (folder / name).is_symlink()]:
            raise BadInput(
                f"{folder} already holds {', '.join(there)}; nothing was overwritten", fix="give another folder"
            )
        folder.mkdir(parents=True, exist_ok=True)
        return _written({folder / name: texts[name] for name in sorted(texts)})
    except OSError as error:
        raise BadInput(
            f"{error.filename or folder} cannot be written: {error.strerror}",
            fix="check its permissions and the free disk space, or give another folder",
        ) from error


def _written(texts: Mapping[Path, str]) -> list[Path]:
    """Write new files; if one cannot be written, removes those that it has begun."""
    begun: list[Path] = []
    try:
        for path, text in texts.items():
            with path.open("x", encoding="utf-8") as file:
                begun.append(path)
                file.write(text)
    except BaseException:
        for path in begun:
            path.unlink()
        raise
    return begun
