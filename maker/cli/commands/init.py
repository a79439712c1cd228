"""``maker init``: writes a small job that runs at once, to be made one's own."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Annotated

import typer

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
    print(f"`maker run {shlex.quote(str(folder / 'job.toml'))}` rehearses it; {folder / 'README.md'} says what next")


def write_job(kind: str, folder: Path) -> list[Path]:
    """Write the files of a kind of job; returns their paths.

    Raises:
        BadInput: There is no such kind, the folder holds such files already, or it cannot be written to. Then no file
            is left of it.
    """
    if kind not in KINDS:
        raise BadInput(f"there is no kind of job {kind!r}", fix=near(kind, list(KINDS)))
    texts = {file.name: file.read_text(encoding="utf-8") for file in (TEMPLATES / kind).iterdir() if file.is_file()}
    try:
        if folder.exists() and not folder.is_dir():
            raise BadInput(f"{folder} is no folder", fix="name another one")
        if there := [name for name in sorted(texts) if (folder / name).exists() or (folder / name).is_symlink()]:
            raise BadInput(f"{folder} holds {', '.join(there)}: nothing is overwritten", fix="name another folder")
        folder.mkdir(parents=True, exist_ok=True)
        return _written({folder / name: texts[name] for name in sorted(texts)})
    except OSError as error:
        raise BadInput(
            f"{error.filename or folder} cannot be written: {error.strerror}",
            fix="see to its permissions and to the room on its disk, or name another folder",
        ) from error


def _written(texts: Mapping[Path, str]) -> list[Path]:
    """Write files that are not there yet; of those that it has begun none is left where one cannot be written."""
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
