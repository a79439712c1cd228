"""The format of an export follows the name of its file, or the name is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from maker.cli.commands.export import Kind, _check_name
from maker.errors import BadInput


@pytest.mark.parametrize(
    ("name", "kind"),
    [("run.jsonl", None), ("run.NDJSON", None), ("run", None), ("run.parquet", None), ("run.jsonl", "sft"),
     ("run.txt", "jsonl"), ("run", "parquet"), ("run.bin", "parquet"), ("run.parquet", "parquet")],
)  # fmt: skip
def test_names_that_say_what_a_file_holds(name: str, kind: Kind | None) -> None:
    _check_name(Path(name), kind)


@pytest.mark.parametrize(
    ("name", "kind", "fix"),
    [
        ("x.csv", None, "x.csv would hold JSON lines or Parquet, .*\nname it FILE.jsonl or FILE.parquet"),
        ("run.json", None, "name it FILE.jsonl"),
        ("run.csv", "jsonl", "run.csv would hold JSON lines, "),
        ("run.parquet", "jsonl", "name it FILE.jsonl"),
        ("run.parquet", "sft", "name it FILE.jsonl"),
        ("run.jsonl", "parquet", "run.jsonl would hold Parquet, "),
        ("run.jsonl.gz", None, "name it FILE.jsonl"),
    ],
)
def test_a_name_that_promises_another_format_is_refused(name: str, kind: Kind | None, fix: str) -> None:
    with pytest.raises(BadInput, match=fix.replace(".", r"\.").replace(r"\.*", ".*")):
        _check_name(Path(name), kind)
