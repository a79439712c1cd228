"""A model that errs at a known rate: a pure function of seed and prompt."""

from __future__ import annotations

import math
import time
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Collection, Iterable
from hashlib import blake2b
from itertools import accumulate, repeat
from struct import Struct

from maker.core.user_code import call_user_code, shown
from maker.errors import ContractBroken, ModelUnusable, TaskFailed, extra
from maker.models.interface import Model
from maker.models.settings import SimulatedSettings
from maker.types import Failed, Finished, Oracle, Request, Sample, Truth

_SEED = Struct("<Q")
_DRAWS = Struct("<IIII")
_SCALE = 2**-32
_SAMPLES = blake2b(digest_size=16, person=b"maker-simulated")
_FATES = blake2b(digest_size=16, person=b"maker-fate")
_CONFIDENCES = blake2b(digest_size=16, person=b"maker-confident")
"""What is drawn, as hashes to copy: that is quicker than to begin one."""
MALFORMED = "I am not sure."
SPREAD = 0.8
"""How far the reported probabilities are from p, as a share of the largest possible distance."""
LEAST = 1e-9
"""The probability reported by a sample that is never right."""


class SimulatedModel(Model):
    """Answers from a task's oracle, right with probability p.

    A sample is a function of its seed and its prompt, and of nothing else. A prompt has a token per character, a reply
    a token per character and an end mark.
    """

    def __init__(self, settings: SimulatedSettings, oracle: Oracle | None) -> None:
        if oracle is None:
            raise ModelUnusable(
                "the simulated model needs right answers, and this decomposer has no oracle",
                fix="return one from Decomposer.oracle(), name a function in task.truth if the task takes one, or give"
                ' each run.ask of a workflow its truth; or set model.kind = "vllm" or "openai"',
            )
        # Taken out once: a field of settings is slow to read, and each sample reads six.
        self._latency_s, self._most_n = settings.latency_s, settings.max_n or super().most_n(0)
        self._malformed, self._common, self._logprobs = settings.malformed, settings.common, settings.logprobs
        self._flag_right, self._flag_wrong, self._rivals = settings.flag_right, settings.flag_wrong, settings.rivals
        self._fate = settings.fate
        self._oracle = oracle
        self._chances = _Chances(settings)
        self._shares = list(accumulate(settings.shares)) if settings.shares else None
        self._waiting: deque[tuple[float, Request]] = deque()

    def submit(self, requests: Iterable[Request]) -> None:
        """Accept requests; each is answered ``latency_s`` seconds later."""
        due = time.monotonic() + self._latency_s if self._latency_s else 0.0
        self._waiting += [(due, request) for request in requests]

    def poll(self, wait_s: float) -> list[Finished | Failed]:
        """Answer all that is due."""
        if not self._waiting:
            return []
        if not self._latency_s:
            ready: list[Finished | Failed] = [self._answer(request) for _, request in self._waiting]
            self._waiting.clear()
            return ready
        time.sleep(max(0.0, min(wait_s, self._waiting[0][0] - time.monotonic())))
        now = time.monotonic()
        ready = []
        while self._waiting and self._waiting[0][0] <= now:
            ready.append(self._answer(self._waiting.popleft()[1]))
        return ready

    def cancel(self, ids: Iterable[int]) -> Collection[Failed]:
        """Drop requests; nobody bills them."""
        dropped = set(ids)
        self._waiting = deque(item for item in self._waiting if item[1].id not in dropped)
        return ()

    def most_n(self, model: int) -> int:
        """Return how many replies a request may ask for."""
        return self._most_n

    def close(self) -> None:
        """Forget what is waiting."""
        self._waiting.clear()

    def _answer(self, request: Request) -> Finished | Failed:
        try:
            return call_user_code("the task's oracle", self._told, request)  # type: ignore[no-any-return]
        except TaskFailed as error:
            # It knows nothing of this prompt; of others it may.
            return Failed(request.id, error.message, fix=error.fix, refused=True)

    def _told(self, request: Request) -> Finished:
        truth = self._oracle(request.prompt)
        right = getattr(truth, "right", None)
        if not right or isinstance(right, str):
            raise _no_truth(truth)
        prompt, seed, most = request.prompt.encode(), request.seed, request.max_tokens
        # With another system prompt the common answer is another one, so decorrelated votes do help.
        whole = request.system.encode() + prompt if self._common else prompt
        p = self._chances.of(request.kind, prompt)
        samples = []
        spoken = 0
        places: Iterable[int] = range(seed, seed + request.n)
        if self._fate and _draws(_SEED.pack(seed) + prompt, _FATES)[0] * _SCALE < self._fate:
            places = repeat(seed, request.n)
        for place in places:
            text = self._text(truth, prompt, whole, place, p)
            if text.__class__ is not str:
                raise _no_truth(truth)
            tokens = len(text) + 1
            logprob = self._logprob(truth, prompt, place, text, p) if self._logprobs else None
            cut = tokens > most
            sample = Sample(text[:most], most, True, logprob) if cut else Sample(text, tokens, False, logprob)
            spoken += sample.tokens
            samples.append(sample)
        return Finished(request.id, tuple(samples), len(request.system) + len(request.prompt), spoken)

    def _text(self, truth: Truth, prompt: bytes, whole: bytes, seed: int, p: float) -> str:
        shape, source, luck, pick = _draws(_SEED.pack(seed) + prompt)
        drawn = shape * _SCALE
        if drawn < self._malformed:
            return MALFORMED
        if source * _SCALE < self._common:
            _, _, luck, pick = _draws(whole)
        answers, flagged = truth.right, self._flag_right
        if luck * _SCALE >= p:
            answers, flagged = truth.wrong[: self._rivals] or truth.right, self._flag_wrong
        # Given that the first draw did not flag the sample, the rest of its range is uniform again.
        if flagged and drawn < self._malformed + (1 - self._malformed) * flagged:
            return MALFORMED
        if self._shares is not None and answers is not truth.right:
            ends = self._shares[: len(answers)]
            return answers[bisect_right(ends, pick * _SCALE * ends[-1])]
        return answers[pick % len(answers)]

    def _logprob(self, truth: Truth, prompt: bytes, seed: int, text: str, p: float) -> float:
        """Return the log of a probability; samples that report it are right with that probability."""
        if text == MALFORMED or not 0 < p < 1:
            return math.log(max(p, LEAST))
        right = text in truth.right
        sure = p + (d := SPREAD * min(p, 1 - p))
        # By Bayes: half of all samples are sure ones, of the right ones as many as make `sure` of these right.
        share = sure / (2 * p) if right else (1 - sure) / (2 * (1 - p))
        luck, *_ = _draws(_SEED.pack(seed) + prompt, _CONFIDENCES)
        return math.log(sure if luck * _SCALE < share else p - d)


class _Chances:
    """The p of each prompt. Where prompts differ, it is a quantile of a Beta distribution, to double precision."""

    def __init__(self, settings: SimulatedSettings) -> None:
        self._settings = settings
        self._p, self._p_of = settings.p, settings.p_by_class
        self._quantile: Callable[[float, float, float], float] | None = None
        if settings.rho or any(settings.rho_by_class.values()):
            # Half a second to import, and few runs need it.
            with extra("plan", "a simulated model with model.rho"):
                from scipy.special import betaincinv

            self._quantile = betaincinv

    def of(self, kind: str, prompt: bytes) -> float:
        p = self._p_of.get(kind, self._p)
        if self._quantile is None:
            return p
        settings = self._settings
        rho = settings.rho_by_class.get(kind, settings.rho)
        if not rho or not 0 < p < 1:
            return p
        total = 1 / rho - 1
        # The middle of one of 2^64 parts, so that it is neither 0 nor 1.
        rank = int.from_bytes(blake2b(prompt, digest_size=8, person=b"maker-hardness").digest(), "little")
        return float(self._quantile(p * total, (1 - p) * total, (rank + 0.5) * 2**-64))


def _no_truth(truth: object) -> ContractBroken:
    return ContractBroken(
        f"it returned {shown(truth)}", "make it return Truth(right, wrong): right replies, at least one, and wrong ones"
    )


def _draws(key: bytes, kind: blake2b = _SAMPLES) -> tuple[int, int, int, int]:
    drawn = kind.copy()
    drawn.update(key)
    return _DRAWS.unpack(drawn.digest())
