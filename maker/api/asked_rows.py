"""The rows of a map as its run has them: what each is asked, in files that another process can read as well.

A row is what it is asked. So rows may be given again in another order, with more of them or fewer: those that are
asked what a row of the run was asked are that row, and the others are new.
"""

from __future__ import annotations

import json
from array import array
from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import IO, NamedTuple

from maker.api.given_rows import GivenRows
from maker.api.questions import Question
from maker.core.atomic import replacing
from maker.core.locks import locked_folder
from maker.errors import BadInput
from maker.inputs.handle import Input
from maker.inputs.parts import BrokenRow
from maker.types import InputPart

PROMPT = "_prompt"
"""The only column of the files: a row's whole prompt."""
NOT_ASKED = -1


class AskedRows(NamedTuple):
    """Where the given rows are in the run.

    Args:
        places: For each row its number in the run, `NOT_ASKED` for one that cannot be asked.
        reasons: Why not, by the row's number among those given.
        new: How many rows the run has not asked before.
    """

    places: array[int]
    reasons: dict[int, str]
    new: int


@contextmanager
def rows_folder(folder: Path) -> Iterator[None]:
    """Create the folder of a map's rows, and keep it for this process while the block lasts. Raises `BadInput`."""
    with ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            stack.enter_context(locked_folder(folder))
        except BlockingIOError as error:
            raise BadInput(
                f"another process is in a call of maker.map with the name {folder.name!r}",
                fix="wait until it ends, or give another name",
            ) from error
        except OSError as error:
            raise BadInput(
                f"the folder {folder}, for what the rows are asked, cannot be made: {error.strerror}",
                fix="put the store where files can be written",
            ) from error
        yield


def ask_rows(given: GivenRows, question: Question, folder: Path, known: Sequence[InputPart], name: str) -> AskedRows:
    """Write what rows are asked to the folder, those alone that the run has not asked; return where all of them are.

    Args:
        given: The rows.
        question: What they are asked.
        folder: The folder; what is in it beside the known files was written by a call that did not come to use it.
        known: The files that the run has read; none where there is no run yet.
        name: The run.

    Raises:
        BadInput: No row can be asked, or none of those given is one of the run's.
    """
    for left in folder.glob("rows-*.jsonl*"):
        if left.name not in {part.name for part in known}:
            left.unlink()
    asked = _known_places(folder, known) if known else {}
    first = sum(part.rows for part in known)
    places, reasons, new = array("q"), dict[int, str](), 0
    with ExitStack() as stack:
        file: IO[bytes] | None = None
        for number, row in enumerate(given.read(question.columns)):
            try:
                prompt = _prompt_of(question, number, row)
            except ValueError as error:
                places.append(NOT_ASKED)
                reasons[number] = str(error)
                continue
            if waiting := asked.get(_digest(prompt)):
                places.append(waiting.popleft())
                continue
            file = file or stack.enter_context(replacing(folder / f"rows-{first:012}.jsonl"))
            file.write(json.dumps({PROMPT: prompt}, ensure_ascii=False).encode() + b"\n")
            places.append(first + new)
            new += 1
        _refuse_unlike(places, reasons, new, first, name)
    return AskedRows(places, reasons, new)


def _refuse_unlike(places: Sequence[int], reasons: dict[int, str], new: int, first: int, name: str) -> None:
    if len(reasons) == len(places):
        raise BadInput(f"no row can be asked: row 0: {reasons[0]}", fix="correct the rows or the prompt")
    if first and new == len(places) - len(reasons):
        raise BadInput(
            f"run {name} has asked {first:,} rows: none of the {new:,} given now is asked what one of them was",
            fix="give another name to ask another prompt or other rows; to add rows, give those of the run as well",
        )


def _known_places(folder: Path, known: Sequence[InputPart]) -> dict[bytes, deque[int]]:
    """Return the numbers of a run's rows by what they are asked. Raises `BadInput` where its files have changed."""
    files = Input(str(folder), known=known, grow=False)
    files.scan()
    found: dict[bytes, deque[int]] = defaultdict(deque)
    for number in range(len(files)):
        found[_digest(files.row(number).values[PROMPT])].append(number)
    return dict(found)


def _prompt_of(question: Question, number: int, row: object) -> str:
    if isinstance(row, BrokenRow):
        raise row
    return question.of(number, row)  # type: ignore[arg-type]


def _digest(prompt: str) -> bytes:
    return blake2b(prompt.encode(), digest_size=16, person=b"maker-map-prompt").digest()
