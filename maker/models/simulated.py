"""A model that errs at a known rate: a pure function of seed and prompt."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Iterable
from hashlib import blake2b
from struct import Struct

from maker.errors import ModelUnusable
from maker.models.door import Model
from maker.models.settings import SimulatedSettings
from maker.owned import own
from maker.types import Failed, Finished, Oracle, Request, Sample, Truth

_SEED = Struct("<Q")
_DRAWS = Struct("<IIII")
_SCALE = 2**-32
MALFORMED = "I am not sure."
SPREAD = 0.8
"""How far what samples report lies from p, as a part of how far it could."""
LEAST = 1e-9
"""What a sample reports that is never right."""


class SimulatedModel(Model):
    """Answers from a task's oracle, right with probability p.

    A sample is a function of its seed and its prompt: nothing else can change it. Prompt tokens are counted as
    characters, a reply's as its characters and an end mark.
    """

    def __init__(self, settings: SimulatedSettings, oracle: Oracle | None) -> None:
        if oracle is None:
            raise ModelUnusable(
                "the simulated model needs a task that knows its truth, and this decomposer has no oracle",
                fix='return one from Decomposer.oracle(), or choose model.kind = "vllm" or "openai"',
            )
        self._settings = settings
        self._oracle = oracle
        self._waiting: deque[tuple[float, Request]] = deque()

    def submit(self, requests: Iterable[Request]) -> None:
        """Take requests in; each is answered ``latency_s`` seconds later."""
        due = time.monotonic() + self._settings.latency_s if self._settings.latency_s else 0.0
        self._waiting.extend((due, request) for request in requests)

    def poll(self, wait_s: float) -> list[Finished | Failed]:
        """Answer all that is due."""
        if not self._waiting:
            return []
        if not self._settings.latency_s:
            ready: list[Finished | Failed] = [self._answer(request) for _, request in self._waiting]
            self._waiting.clear()
            return ready
        time.sleep(max(0.0, min(wait_s, self._waiting[0][0] - time.monotonic())))
        now = time.monotonic()
        ready = []
        while self._waiting and self._waiting[0][0] <= now:
            ready.append(self._answer(self._waiting.popleft()[1]))
        return ready

    def cancel(self, ids: Iterable[int]) -> None:
        """Drop requests."""
        dropped = set(ids)
        self._waiting = deque(item for item in self._waiting if item[1].id not in dropped)

    def close(self) -> None:
        """Forget what is waiting."""
        self._waiting.clear()

    def _answer(self, request: Request) -> Finished:
        truth = own("the task's oracle", self._oracle, request.prompt)
        prompt, seed, most = request.prompt.encode(), request.seed, request.max_tokens
        # In other words it is another prompt, of which all have another answer in common.
        whole = request.system.encode() + prompt if self._settings.common else prompt
        samples = []
        spoken = 0
        for place in range(seed, seed + request.n):
            text = self._text(truth, prompt, whole, place)
            tokens = len(text) + 1
            told = self._logprob(truth, prompt, place, text) if self._settings.logprobs else None
            sample = Sample(text, tokens, False, told) if tokens <= most else Sample(text[:most], most, True, told)
            spoken += sample.tokens
            samples.append(sample)
        return Finished(request.id, tuple(samples), len(request.system) + len(request.prompt), spoken)

    def _text(self, truth: Truth, prompt: bytes, whole: bytes, seed: int) -> str:
        settings = self._settings
        shape, source, luck, pick = _draws(_SEED.pack(seed) + prompt)
        if shape * _SCALE < settings.malformed:
            return MALFORMED
        if source * _SCALE < settings.common:
            _, _, luck, pick = _draws(whole)
        answers = truth.right
        if luck * _SCALE >= settings.p:
            answers = truth.wrong[: settings.rivals] or truth.right
        return answers[pick % len(answers)]

    def _logprob(self, truth: Truth, prompt: bytes, seed: int, text: str) -> float:
        """Return the logarithm of a probability with which samples that report it are right."""
        p = self._settings.p
        if text == MALFORMED or not 0 < p < 1:
            return math.log(max(p, LEAST))
        right = text in truth.right
        sure = p + (d := SPREAD * min(p, 1 - p))
        # By Bayes: half of all samples are sure ones, of the right ones as many as make `sure` of these right.
        share = sure / (2 * p) if right else (1 - sure) / (2 * (1 - p))
        luck, *_ = _draws(_SEED.pack(seed) + prompt, b"maker-confident")
        return math.log(sure if luck * _SCALE < share else p - d)


def _draws(key: bytes, person: bytes = b"maker-simulated") -> tuple[int, int, int, int]:
    return _DRAWS.unpack(blake2b(key, digest_size=16, person=person).digest())
