"""What is wrong with a job: collected, to be told all at once."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from maker.errors import JobError, PluginError

Problem = JobError | PluginError


class Problems:
    """Collects the problems of checks that do not depend on each other."""

    def __init__(self) -> None:
        self._found: list[Problem] = []

    @contextmanager
    def collecting(self) -> Iterator[None]:
        """Take in the problems that end the block."""
        try:
            yield
        except (JobError, PluginError) as error:
            self._found += error.facts.get("problems", [error])

    def of(self, check: Callable[..., Any], *arguments: Any) -> Any:
        """Return what a check returns; None if it finds a problem."""
        with self.collecting():
            return check(*arguments)
        return None

    def refuse(self) -> None:
        """Raise what was found, if anything was: what is checked next needs all that was checked so far."""
        if self._found:
            raise together(self._found)


def together(problems: Sequence[Problem]) -> Problem:
    """Return one error for several problems, each with its place and what to do; a single one as it is."""
    if len(problems) == 1:
        return problems[0]
    problems = sorted(problems, key=_line)
    told = [str(problem).replace("\n", "\n  ") for problem in problems]
    return JobError("\n".join([f"the job has {len(problems)} problems", *told]), problems=problems)


def _line(problem: Problem) -> int:
    """Return the line that a problem is in; those in no file come first."""
    found = re.match(r"[^\n]*?:(\d+): ", problem.message)
    return int(found[1]) if found else 0
