"""What the command line prints steers no terminal, and what its streams do not accept is told in a sentence."""

from __future__ import annotations

import ast
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import maker.cli
from maker.cli import output, tables
from maker.cli.advice import completed, store_words
from maker.cli.logs import _as_text
from maker.cli.progress import Progress
from maker.errors import OutputFailed

EVIL = "\x1b]52;c;cHduZWQ=\x07\x1b[2J\x9b31m\r\u202egnp.exe\u2066[red]:smile:\x7f"
HOME = Path(maker.cli.__file__).parent
STEERS = "\x1b\x07\x9b\r\u202e\u2066\x7f"


def test_every_module_of_the_command_line_prints_by_it() -> None:
    """The built-in `print` would write what it is given."""
    for path in HOME.rglob("*.py"):
        tree = ast.parse(path.read_text())
        used = any(isinstance(node, ast.Name) and node.id == "print" for node in ast.walk(tree))
        imported = any(
            isinstance(node, ast.ImportFrom)
            and node.module == "maker.cli.output"
            and "print" in {one.name for one in node.names}
            for node in tree.body
        )
        assert not used or imported or path.name == "output.py", path
        text = path.read_text()
        assert "sys.stdout.write" not in text and "typer.echo" not in text and "click.echo" not in text, path


def test_what_is_printed_is_text(capsys: pytest.CaptureFixture[str]) -> None:
    """In lines, tables and progress; markup and emoji codes stay as they are."""
    output.print(EVIL, 1, "a\tb\nc")
    tables.print_table(("id", "what"), [(EVIL, "x")], indent=2)
    stream = io.StringIO()
    progress = Progress(stream)
    progress._print(EVIL)
    shown = capsys.readouterr().out
    for said in (*shown.split(" 1 a\tb\nc\n"), stream.getvalue()):
        assert not any(one in said for one in STEERS)
        assert "\\u001b]52" in said and "\\u009b31m" in said and "\\u202e" in said and "[red]:smile:" in said


@settings(max_examples=200)
@given(
    st.recursive(st.text() | st.integers(), lambda one: st.lists(one) | st.dictionaries(st.text(), one), max_leaves=5)
)
def test_json_keeps_its_value(value: object) -> None:
    text = output.as_text(json.dumps(value, ensure_ascii=False))
    assert json.loads(text) == value
    assert not any(one in text for one in STEERS)


def test_a_logged_event_is_text() -> None:
    shown = str(_as_text(None, "info", {"event": EVIL, "row": {"id": [EVIL]}}))
    assert not any(one in shown for one in STEERS)


def test_an_encoding_that_cannot_write_a_text_leaves_json_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii"))
    output.set_up()
    value = {"x": "é漢😀", "half": "\ud800"}
    output.print(json.dumps(value, ensure_ascii=False), flush=True)
    assert json.loads(written.getvalue().decode("ascii")) == value


class Terminal(io.TextIOWrapper):
    """A stream that says that it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_data_on_a_terminal_is_text_and_elsewhere_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    data = json.dumps({"x": "é\x9b31m"}, ensure_ascii=False).encode()
    for kind, shown in ((Terminal, data.replace(b"\xc2\x9b", b"\\u009b")), (io.TextIOWrapper, data)):
        written = io.BytesIO()
        monkeypatch.setattr(sys, "stdout", kind(written, encoding="utf-8"))
        stream = output.binary_output()
        for at in range(len(data)):
            stream.write(data[at : at + 1])
        stream.flush()
        assert written.getvalue() == shown


class Full(io.StringIO):
    """A stream that accepts nothing."""

    def write(self, text: str) -> int:
        raise OSError(28, "No space left on device")


def test_standard_output_that_is_full_is_told_and_standard_error_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", Full())
    with pytest.raises(OutputFailed, match="standard output cannot be written: No space left on device"):
        output.print("x")
    monkeypatch.setattr(sys, "stderr", Full())
    output.print("x", file=sys.stderr)
    monkeypatch.setattr(sys, "stdout", None)
    output.print("x")


def _run(command: str) -> subprocess.CompletedProcess[str]:
    script = f'maker() {{ {sys.executable} -m maker "$@"; }}; {command}'
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", script],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.posix
def test_a_full_disk_is_a_sentence_and_a_reader_that_has_gone_is_silent() -> None:
    """Written at once or at the end, the exit code says it; nothing is told of when the interpreter ends."""
    full = _run("maker --version >/dev/full")
    assert (full.returncode, full.stdout) == (1, "")
    assert full.stderr.startswith("maker: standard output cannot be written: No space left on device\n")
    assert full.stderr.count("\n") == 2
    gone = _run("maker plugins | true")
    assert (gone.returncode, gone.stderr) in ((output.BROKEN_PIPE, ""), (0, ""))
    closed = _run("maker --version >&-")
    assert (closed.returncode, closed.stderr) == (0, "")


def test_a_store_in_a_suggested_command_can_be_pasted() -> None:
    assert store_words("sqlite:////tmp/a b.db") == " --store 'sqlite:////tmp/a b.db'"
    assert completed("`maker ls`", store="sqlite:////tmp/a b.db") == "`maker ls --store 'sqlite:////tmp/a b.db'`"
