"""The command line that all benchmarks share: every size has a default, and ``--smoke`` makes all of them tiny."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from typing import Any

SMOKE = "--smoke"
NOT_INSTALLED = 77
"""The exit code of a benchmark that needs a package which is not installed; test drivers take it for a skip."""


def make_parser(about: str | None) -> argparse.ArgumentParser:
    """Return a parser whose help is a module's docstring, as it stands there."""
    return argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)


def add_parts(parser: argparse.ArgumentParser, parts: Iterable[str]) -> None:
    """Let the command line say which parts of a benchmark are run, as ``options.parts``: all by default."""
    names = list(parts)

    # Not `choices`: argparse would hold the default, a list, against them.
    def part(word: str) -> str:
        if word not in names:
            raise argparse.ArgumentTypeError(f"there is no part {word}; there are {', '.join(names)}")
        return word

    parser.add_argument(
        "parts", nargs="*", type=part, default=names, metavar="part", help=f"of {', '.join(names)}; all by default"
    )


def read_options(parser: argparse.ArgumentParser, *, needs: Sequence[str] = (), **smoke: Any) -> argparse.Namespace:
    """Add ``--smoke`` to a parser, and return what the command line asks for.

    A smoke run takes seconds: it shows that the benchmark still runs. Its figures are printed and not judged
    (`comparing.print_goals`), and it exits with 0.

    Args:
        parser: Takes every size with a default; a required argument could not be left out of a smoke run.
        needs: Packages that have to be installed. Without one the program says so, and exits with `NOT_INSTALLED`.
        smoke: The defaults of a smoke run by option. What the command line names still counts.
    """
    parser.add_argument(SMOKE, action="store_true", help="tiny sizes: shows that it runs, and judges nothing")
    if SMOKE in sys.argv[1:]:
        parser.set_defaults(**smoke)
    options = parser.parse_args()
    if missing := [name for name in needs if find_spec(name) is None]:
        parser.exit(NOT_INSTALLED, f"{parser.prog} needs {', '.join(missing)}, which is not installed\n")
    return options
