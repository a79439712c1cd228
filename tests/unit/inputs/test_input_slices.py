"""Texts in slices: together they are the text, whatever the blocks and the encoding."""

from __future__ import annotations

import pickle
import random
from pathlib import Path

import pytest

from maker.errors import BadInput
from maker.inputs.handle import Input


def text_of(seed: int, length: int, alphabet: str) -> str:
    rng = random.Random(seed)
    return "".join(rng.choices(alphabet, k=length))


def slices(path: Path, size: int, encoding: str = "utf-8") -> list[str]:
    found = Input(str(path), encoding=encoding, slice=size)
    found.scan()
    rows = [found.row(i).values["text"] for i in range(len(found))]
    # In another order, from another process: what a worker reads.
    other = pickle.loads(pickle.dumps(found))  # noqa: S301 - our own
    assert [other.row(i).values["text"] for i in reversed(range(len(rows)))] == rows[::-1]
    return rows


@pytest.mark.parametrize(
    ("alphabet", "encoding"),
    [("ab c\n", "utf-8"), ("aé漢😀 \n", "utf-8"), ("ab", "utf-8"), ("a\r\n", "utf-8"), ("aé \n", "utf-16-le")],
)
@pytest.mark.parametrize("size", [8, 100, 4000])
def test_slices_are_the_text(tmp_path: Path, alphabet: str, encoding: str, size: int) -> None:
    path = tmp_path / "text.txt"
    # Longer than a chunk of 256 KiB: slices and characters go on from one to the next.
    text = text_of(size, 40 * size if size < 4000 else 300_000, alphabet)
    path.write_bytes(text.encode(encoding))
    rows = slices(path, size, encoding)
    assert "".join(rows) == text
    assert all(len(row) <= size for row in rows)
    assert all(len(row) >= 13 * size // 16 for row in rows[:-1])


def test_a_slice_ends_at_a_line_or_a_word(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text("word " * 1000 + "\n" + "a line of some words\n" * 300)
    for row in slices(path, 400)[:-1]:
        assert row[-1].isspace()
    assert slices(path, 400)[-2].endswith("\n")


def test_what_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes("naïve".encode("latin-1") * 100)
    with pytest.raises(BadInput, match="cannot be read as utf-8"):
        slices(path, 100)
    path.write_bytes(b"some text\0\0\0and more")
    with pytest.raises(BadInput, match="it holds zero bytes"):
        slices(path, 100)
    path.write_bytes(b"")
    with pytest.raises(BadInput, match="holds no rows"):
        slices(path, 100)
    table = tmp_path / "table.csv"
    table.write_text("a\n1\n")
    with pytest.raises(BadInput, match="only text can be read in slices"):
        slices(table, 100)


def test_the_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    """In a folder of many, it is said which one, and where in it, however far that is."""
    (tmp_path / "a.txt").write_text("good text\n" * 100)
    (tmp_path / "b.txt").write_bytes(b"good text\n" * 100_000 + "naïve".encode("latin-1"))
    with pytest.raises(
        BadInput, match=r"b\.txt cannot be read as utf-8: invalid continuation byte at its byte 1,000,002"
    ):
        Input(str(tmp_path), slice=100).scan()
    (tmp_path / "b.txt").write_bytes(b"good text\n" * 100_000 + b"\0")
    with pytest.raises(BadInput, match=r"b\.txt cannot be read as utf-8: it holds zero bytes at its byte 1,000,000"):
        Input(str(tmp_path), slice=100).scan()


def test_a_text_that_changed_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text("one two three\n" * 100)
    before = Input(str(path), slice=100)
    parts = before.scan()
    path.write_text("one two three\n" * 99 + "one two four!\n")
    with pytest.raises(BadInput, match="changed since the run began"):
        Input(str(path), slice=100, known=parts, grow=False).scan()
