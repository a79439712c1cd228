"""How large an installation without extras is, how long it takes, and how soon a command answers there.

    python -m benchmarks.speed.install [--times 10] [--python python3.11]

Builds the wheel, installs it with its dependencies into a new environment of ``--python``, and asks there for what a
user meets first: each command so many times in processes of their own, one after the other. The size is that of all
files in the environment, as ``du`` counts them: pip's own are among them.

A smoke run builds and installs nothing: it times the commands in this environment.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from benchmarks.shared.comparing import Goal, number, print_goals, table
from benchmarks.shared.options import make_parser, read_options
from benchmarks.shared.watching import exit_with

ROOT = Path(__file__).parents[2]
MB = 1 << 20
COMMANDS = {
    "python -c pass": ("-c", "pass"),
    "import maker": ("-c", "import maker"),
    "maker --help": ("-m", "maker", "--help"),
    "maker --version": ("-m", "maker", "--version"),
    "maker ls --help": ("-m", "maker", "ls", "--help"),
}


def install(python: str, folder: Path) -> tuple[str, float]:
    """Build the wheel and install it into a new environment; return its Python, and how long the installation took."""
    subprocess.run([sys.executable, "-m", "build", "--wheel", "--outdir", str(folder), str(ROOT)], check=True,
                   stdout=subprocess.DEVNULL)  # fmt: skip
    (wheel,) = folder.glob("*.whl")
    subprocess.run([python, "-m", "venv", str(folder / "venv")], check=True)
    own = str(folder / "venv" / "bin" / "python")
    began = time.perf_counter()
    subprocess.run([own, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", str(wheel)], check=True)
    return own, time.perf_counter() - began


def disk_bytes(folder: Path) -> int:
    """Return how much room a folder takes on the disk."""
    return sum(path.lstat().st_blocks * 512 for path in folder.rglob("*"))


def packages(python: str) -> list[str]:
    """Return the names of the packages in an environment."""
    code = "import importlib.metadata as m; print(*sorted({d.name for d in m.distributions()}))"
    return subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.split()


class Took(NamedTuple):
    """Median times of a command in ms: from start to end of its process, and of the processor."""

    wall: float
    processor: float


def time_command(python: str, words: tuple[str, ...], times: int, folder: Path) -> Took:
    """Return the median times of a command."""
    walls, processors = [], []
    for _ in range(times):
        began, used = time.perf_counter(), os.times()
        subprocess.run([python, *words], cwd=folder, stdout=subprocess.DEVNULL, check=True)
        walls.append(1000 * (time.perf_counter() - began))
        now = os.times()
        spent = now.children_user + now.children_system - used.children_user - used.children_system
        processors.append(1000 * spent)
    return Took(statistics.median(walls), statistics.median(processors))


def main() -> int:
    """Measure and print; returns the exit code."""
    parser = make_parser(__doc__)
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--python", default=sys.executable)
    options = read_options(parser, times=1)
    goals = []
    with tempfile.TemporaryDirectory() as name:
        # In a smoke run the checkout need not be installed: it is found in the working directory.
        python, folder = sys.executable, ROOT if options.smoke else Path(name)
        if not options.smoke:
            python, took_s = install(options.python, Path(name))
            names, size = packages(python), disk_bytes(Path(name) / "venv") / MB
            print(f"installed in {took_s:.1f} s: {' '.join(names)}")
            goals += [
                Goal("an environment with maker in it", 100, size, " MB", least=False),
                Goal("packages in it", None, float(len(names))),
            ]
        took = {shown: time_command(python, words, options.times, folder) for shown, words in COMMANDS.items()}
    rows = [(shown, number(one.wall), number(one.processor)) for shown, one in took.items()]
    table("commands", ("command", "median ms", "of the processor, ms"), rows)
    goals += [
        Goal("import maker", 150, took["import maker"].wall, " ms", least=False),
        Goal("maker --help", 300, took["maker --help"].wall, " ms", least=False),
    ]
    return print_goals(goals, options)


if __name__ == "__main__":
    exit_with(main)
