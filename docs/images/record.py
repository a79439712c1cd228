"""Records maker in a terminal and draws what it shows as docs/images/run.svg: a real run with the embedded model.

python docs/images/record.py            # from the repository, with vLLM installed; about a minute
"""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
OUT = Path(__file__).with_name("run.svg")
COMMANDS = (
    "maker run examples/hanoi.toml task.disks=8",
    "maker steps last --disputed",
    "maker verify last",
)
COLUMNS, ROWS = 104, 40
LONGEST_S = 0.5
"""Seconds that a frame is shown at most, so that nobody waits for the model to open."""
CONTROL = re.compile(r"\x1b\[([?\d;]*)([A-Za-z])|\r|\n|[^\x1b\r\n]+")
STYLE = """
text { font: 13px ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; fill: #d8dee9; white-space: pre }
.typed { fill: #a3be8c }
"""


class Frame(NamedTuple):
    """What the terminal shows, from a moment on, in seconds since the recording began."""

    at: float
    lines: tuple[str, ...]


class Screen:
    """A terminal as far as maker's output needs one: lines, carriage returns, cursor up, erased lines."""

    def __init__(self) -> None:
        self.lines = [""]
        self._row = 0
        self._column = 0

    def write(self, text: str) -> None:
        """Take in what a program prints."""
        for found in CONTROL.finditer(text):
            told, argument, command = found[0], found[1], found[2]
            if told == "\r":
                self._column = 0
            elif told == "\n":
                self._row += 1
                if self._row == len(self.lines):
                    self.lines.append("")
            elif command == "A":
                self._row = max(0, self._row - int(argument or 1))
            elif command == "K":
                self.lines[self._row] = ""
            elif command is None:
                line = self.lines[self._row].ljust(self._column)
                self.lines[self._row] = line[: self._column] + told + line[self._column + len(told) :]
                self._column += len(told)


def printed(command: str, folder: Path) -> Iterator[str]:
    """Run a command of maker in a pseudo-terminal; yield what it prints, as it comes. Raises where it fails."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    words = [sys.executable, "-m", *command.split()]
    environment = os.environ | {"MAKER_STORE": f"sqlite:///{folder}/maker.db", "TERM": "xterm", "COLUMNS": str(COLUMNS)}
    process = subprocess.Popen(  # noqa: S603 - the commands are those above
        words, cwd=ROOT, env=environment, stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    while True:
        try:
            found = os.read(ours, 65536)
        except OSError:
            # Linux says so when the last program has closed the terminal.
            break
        if not found:
            break
        yield found.decode(errors="replace")
    os.close(ours)
    if process.wait() != 0:
        raise SystemExit(f"{command} ended with exit code {process.returncode}")


def record(folder: Path) -> list[Frame]:
    """Return what the terminal showed, a frame for each change of it."""
    screen, began = Screen(), time.monotonic()
    frames: list[Frame] = []
    for command in COMMANDS:
        screen.write(f"$ {command}\r\n")
        for text in printed(command, folder):
            screen.write(text)
            lines = tuple(line.rstrip() for line in screen.lines)
            if not frames or frames[-1].lines != lines:
                frames.append(Frame(time.monotonic() - began, lines))
    return frames


def thinned(frames: list[Frame]) -> list[Frame]:
    """Return the frames without those in which only the waiting time moved on."""
    kept: list[Frame] = []
    for frame in frames:
        shown = re.sub(r"… \d+ s", "…", "\n".join(frame.lines))
        if not kept or re.sub(r"… \d+ s", "…", "\n".join(kept[-1].lines)) != shown:
            kept.append(frame)
    return kept


def drawn(frames: list[Frame]) -> str:
    """Return the frames as an SVG that plays once; a viewer that plays nothing shows the last frame."""
    height = 18 * max(len(frame.lines) for frame in frames) + 20
    width = 8 * COLUMNS + 24
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" xml:space="preserve" viewBox="0 0 {width} {height}" role="img">',
        f"<title>{escape('; '.join(COMMANDS))}</title>",
        f"<style>{STYLE}</style>",
        f'<rect width="{width}" height="{height}" rx="6" fill="#20242c"/>',
    ]
    start = 0.0
    for frame, after in zip(frames, [*frames[1:], None], strict=True):
        length = LONGEST_S if after is None else min(LONGEST_S, after.at - frame.at)
        # A viewer without animation shows the last frame: it is visible from the start, and only a player hides it.
        last = after is None
        turns = [_turn(0, 0.0)] if last else []
        turns += [_turn(1, start)] + ([] if last else [_turn(0, start + length)])
        parts.append(f'<g opacity="{int(last)}">{"".join(turns)}')
        for number, line in enumerate(frame.lines):
            kind = ' class="typed"' if line.startswith("$ ") else ""
            if line:
                parts.append(f'<text x="12" y="{18 * number + 24}"{kind}>{escape(line)}</text>')
        parts.append("</g>")
        start += length
    return "\n".join([*parts, "</svg>", ""])


def _turn(opacity: int, at: float) -> str:
    return f'<set attributeName="opacity" to="{opacity}" begin="{at:.2f}s" fill="freeze"/>'


def main() -> None:
    """Record, and write the SVG."""
    with tempfile.TemporaryDirectory() as folder:
        frames = thinned(record(Path(folder)))
    OUT.write_text(drawn(frames), encoding="utf-8")
    print(f"{OUT}: {len(frames)} frames, {OUT.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
