"""A model behind an address whose replies come from an error process: a script for `maker.testing.FakeServer`.

A reply is a pure function of seed, session, row, and how many requests came for the row before: threads that serve
requests in any order draw the same replies.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any
from zlib import crc32

import numpy as np

from benchmarks.shared.error_processes import FLAGGED, IN_WORK, Process, Rows, replies, shifted
from benchmarks.shared.races import moments_of
from maker.calibration.calibrate import ROUNDS

TEMPLATE = "Row {{row}}: which digit?"
DIGITS = tuple(map(str, range(10)))
RIGHT = DIGITS[0]
MALFORMED = "I am not sure."


def reply(digit: str) -> str:
    """Return an answer as the model writes it."""
    return f'{{"digit": "{digit}"}}'


class ErrorScript:
    """Answers completions of `TEMPLATE` as a process has it.

    Args:
        process: What goes wrong.
        rows: The rows of the run, drawn from it.
        asked: The rows that the pilot asks, in its order; () where the process is the same at all times.
        seed: Of all that is drawn.
        logprob: The log-probability that each reply reports, None for none.
    """

    def __init__(
        self, process: Process, rows: Rows, asked: Sequence[int], seed: int, *, logprob: float | None = None
    ) -> None:
        self._process, self._rows, self._logprob = process, rows, logprob
        self._seed = [seed, crc32(process.name.encode())]
        self._place = {row: place for place, row in enumerate(asked)}
        self._in_run = False
        self._requests: Counter[int] = Counter()
        rng = np.random.default_rng([*self._seed, 0])
        pilot = len(asked) * ROUNDS
        self._of_pilot = process.course.draw(rng, pilot) if process.course.seen and pilot else np.zeros(1)
        self._of_run = moments_of(process, rng)

    def begin_run(self) -> None:
        """The pilot is over: from now on the process takes its course over the rows of the run."""
        self._in_run = True
        self._requests.clear()

    def __call__(self, body: Any) -> tuple[int, Any]:
        """Answer a request."""
        row = int(re.search(r"\d+", body["prompt"])[0])  # type: ignore[index]
        if body["temperature"] == 0:
            answers = [self._greedy(row)] * body.get("n", 1)
        else:
            number = self._requests[row]
            self._requests[row] += 1
            answers = self._drawn(row, number, body.get("n", 1))
        texts = [MALFORMED if answer == FLAGGED else reply(DIGITS[answer]) for answer in answers]
        more = {} if self._logprob is None else {"logprobs": {"token_logprobs": [self._logprob]}}
        choices = [{"index": i, "text": text, "finish_reason": "stop"} | more for i, text in enumerate(texts)]
        return 200, {"choices": choices, "usage": {"prompt_tokens": 8, "completion_tokens": 6 * len(texts)}}

    def _drawn(self, row: int, number: int, size: int) -> list[int]:
        rng = np.random.default_rng([*self._seed, self._in_run + 1, row, number])
        p = shifted(self._rows.p[[row]], np.array([self._shift(row, number)]))
        [answers] = replies(self._process, rng, p, self._rows.malformed[[row]], size)
        if self._rows.repeats[row]:
            fate = np.random.default_rng([*self._seed, self._in_run + 1, row]).random() >= self._rows.p[row]
            answers[answers != FLAGGED] = int(fate)
        found: list[int] = answers.tolist()
        return found

    def _shift(self, row: int, number: int) -> float:
        """Return what time adds to the log-odds of a request: all rows in work are asked before one is asked again."""
        if self._in_run:
            moments, moment = self._of_run, row + IN_WORK * number
        else:
            moments, moment = self._of_pilot, self._place.get(row, 0) + len(self._place) * number
        return float(moments[min(moment, len(moments) - 1)])

    def _greedy(self, row: int) -> int:
        """Return the likeliest answer."""
        p = float(self._rows.p[row])
        return int(p < (1 - p) / self._process.rivals)
