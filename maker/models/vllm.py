"""Run vLLM's engine in this process: one poll is one engine step.

The engine's core runs in the worker's own process, without the second process and the event loop that vLLM uses by
default: with small models they cost more time than the model.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from threading import get_ident
from typing import Any, NamedTuple

from maker.errors import ModelFailed, ModelUnusable
from maker.models.base_settings import GREEDY
from maker.models.folder import checked_folder
from maker.models.interface import Model
from maker.models.settings import VllmSettings
from maker.models.vllm_start import check_grammars, error_text, has_tiny_weights, import_vllm, pin_thread, start_engine
from maker.types import Failed, Finished, Flag, RedFlag, Request, Sample

_OFF = 'or start a run with model.structured = "off"'
_PROBE = "probe"
_ENDS = frozenset({"stop", "length"})
"""How vLLM calls the ends that a reply comes to. An aborted one is a part of a reply."""
LOST_SHARE = 0.2
"""If the tokenizer loses a larger share of a prompt's characters than this, the model was not made for such prompts."""
SHOWN_CHARS = 120
CONTEXT = 6
"""How many of the prompt's last tokens are decoded together with a reply, to get its text."""
KEPT_TEXTS = 10_000


class _Held(NamedTuple):
    """A step class's schema, and vLLM's constraint for it."""

    schema: Mapping[str, Any]
    constraint: Any


def _finite(logprob: float | None) -> float | None:
    """Return a log-probability, None where a broken model gives none."""
    return logprob if logprob is not None and math.isfinite(logprob) else None


class VllmModel(Model):
    """Runs a model folder in this process.

    Do not rely on replaying replies: the order of sums can change with the other requests in a batch, and with it the
    reply to a seed and a prompt. A request is answered when all of its samples are complete. At temperature 0 all
    replies of a request are the same by definition: one is drawn, billed once, and delivered n times. A process can
    have only one: closing an engine tears down state that vLLM keeps for the whole process.

    Args:
        variants: The ``[model]`` table; in a pool, those of the members that differ only in how they sample.

    Raises:
        ModelUnusable: There is no such folder, a part of the model is missing, vLLM is not installed or refuses the
            model, or it cannot constrain replies to schemas and must.
    """

    def __init__(self, variants: Sequence[VllmSettings]) -> None:
        self._variants = variants
        settings = variants[0]
        self._path = settings.path
        folder = checked_folder(settings.path)
        self._vllm = import_vllm()
        if any(one.structured == "schema" for one in variants):
            check_grammars()
        self._held: dict[str, _Held] = {}
        self._check_sampling()
        # The thread that is limited to one OpenMP thread; None if the engine may use all cores.
        self._pinned: int | None = None
        if self._vllm.on_cpu and has_tiny_weights(folder):
            self._pinned = pin_thread()
        self._engine: Any = start_engine(self._vllm, settings, folder)
        self._tokenizer = self._engine.get_tokenizer()
        self._open: dict[str, Request] = {}
        self._texts: dict[tuple[tuple[int, ...], tuple[int, ...]], str] = {}
        # Step classes whose prompts the tokenizer was found to represent.
        self._fitting: set[str] = set()
        self._refused: list[Failed] = []
        if any(one.chat for one in variants) and not getattr(self._tokenizer, "chat_template", None):
            self.close()
            raise ModelUnusable(
                f"the tokenizer of {folder} has no chat template, and model.chat is true",
                fix="set model.chat = false, or add a chat_template to the folder's tokenizer_config.json",
                path=str(folder),
            )

    def submit(self, requests: Iterable[Request]) -> None:
        """Give requests to the engine; one that it refuses fails on its own, at the next poll."""
        for request in requests:
            try:
                prompt = {"type": "token", "prompt_token_ids": self._encode(request)}
                self._engine.add_request(str(request.id), prompt, self._sampling(request))
            except self._vllm.refusals as error:
                self._refused.append(self._refusal(request, error))
            else:
                self._open[str(request.id)] = request

    def poll(self, wait_s: float) -> list[Finished | Failed]:
        """Run one engine step, if anything is open, and return what it completed.

        ``wait_s`` is ignored: a step takes its milliseconds, and nothing outside is waited for.
        """
        answers: list[Finished | Failed] = list(self._refused)
        self._refused.clear()
        if not self._open:
            return answers
        if self._pinned not in (None, get_ident()):
            # OpenMP's thread count belongs to the calling thread, and the engine aborts a step whose count differs.
            self._pinned = pin_thread()
        try:
            outputs = self._engine.step()
        except Exception as error:
            raise ModelFailed(
                f"vLLM's engine stopped with {len(self._open)} requests open: {error_text(error)}",
                fix="resume the run to start a fresh engine; if it happens again, lower model.memory_share",
                path=self._path,
            ) from error
        answers.extend(self._finished(output) for output in outputs if output.finished)
        return answers

    def cancel(self, ids: Iterable[int]) -> Collection[Failed]:
        """Abort requests; unknown and finished ids are ignored. Nobody bills them."""
        dropped = {str(i) for i in ids}
        self._refused = [failed for failed in self._refused if str(failed.id) not in dropped]
        aborted = [i for i in dropped if self._open.pop(i, None) is not None]
        if aborted:
            self._engine.abort_request(aborted)
        return ()

    def close(self) -> None:
        """Shut the engine down and let go of it. May be called again."""
        engine, self._engine = self._engine, None
        self._tokenizer = None
        if engine is None:
            return
        self._open.clear()
        engine.engine_core.shutdown()

    def _encode(self, request: Request) -> list[int]:
        tokenizer = self._tokenizer
        if not self._variants[request.model].chat:
            text = request.system + request.prompt
            if request.kind not in self._fitting:
                self._check_fit(request.kind, text)
            return list(tokenizer.encode(text))
        messages = [{"role": "user", "content": request.prompt}]
        if request.system:
            messages.insert(0, {"role": "system", "content": request.system})
        text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        # The template has written the special tokens.
        return list(tokenizer.encode(text, add_special_tokens=False))

    def _check_fit(self, kind: str, text: str) -> None:
        """Raise `ModelUnusable` if the model's tokenizer loses much of a step class's first prompt."""
        characters = Counter("".join(text.split()))
        try:
            written = self._tokenizer.decode(self._tokenizer.encode(text))
        except Exception as error:
            raise self._misfit(kind, error_text(error)) from error
        lost = characters - Counter(written)
        if lost.total() > LOST_SHARE * characters.total():
            raise self._misfit(kind, f"its tokenizer has no {' '.join(sorted(lost))[:SHOWN_CHARS]}")
        self._fitting.add(kind)

    def _misfit(self, kind: str, why: str) -> ModelUnusable:
        return ModelUnusable(
            f"prompts of step class {kind} do not fit the model in {self._path}: {why}",
            fix="use a model whose tokenizer has these characters; all members of a pool get the same prompts",
            path=self._path,
        )

    def _sampling(self, request: Request) -> Any:
        # Sequence i is drawn with seed + i: vLLM's ParentRequest gives each child its own seed that way.
        settings = self._variants[request.model]
        temperature = settings.temperature_of(request)
        return self._vllm.sampling_params(
            n=1 if temperature < GREEDY else request.n,
            seed=request.seed,
            temperature=temperature,
            top_p=settings.top_p,
            max_tokens=request.max_tokens,
            stop=list(request.stop),
            # vLLM needs the growing text only to find stop texts; without them, equal replies are decoded once, below.
            detokenize=bool(request.stop),
            # 0: log-probabilities of the drawn tokens only.
            logprobs=0 if settings.logprobs else None,
            structured_outputs=self._constraint(request),
            output_kind=self._vllm.final_only,
            # The engine need not copy parameters that are used once: saves 3 % of a step with 64 chains.
            skip_clone=True,
        )

    def _constraint(self, request: Request) -> Any:
        schema = self._variants[request.model].schema_of(request)
        if schema is None:
            return None
        held = self._held.get(request.kind)
        # One constraint for all steps of a class, as text: vLLM would serialise a dictionary again for each reply.
        if held is None or held.schema is not schema:
            held = self._held[request.kind] = _Held(schema, self._vllm.constraint(json=json.dumps(dict(schema))))
        return held.constraint

    def _check_sampling(self) -> None:
        # vLLM's limits are narrower than ours and change with its version: check once, before every request fails.
        try:
            for number in range(len(self._variants)):
                self._sampling(Request(0, "", "", 1, 0, 1, (), "", model=number))
        except self._vllm.refusals as error:
            raise ModelUnusable(
                f"vLLM refuses these sampling settings: {error}", fix="change model.temperature or model.top_p"
            ) from error

    def _refusal(self, request: Request, error: Exception) -> Failed:
        if (fault := self._schema_fault(request)) is not None:
            return Failed(
                request.id,
                f"vLLM cannot hold replies to the schema of step class {request.kind}: {fault}",
                fix=f"remove from the schema what vLLM does not take, {_OFF}",
                unusable=True,
            )
        return Failed(
            request.id,
            f"vLLM refused a prompt of step class {request.kind}: {error}",
            fix="shorten the prompt, or raise model.max_model_len as far as the model allows",
            refused=True,
        )

    def _schema_fault(self, request: Request) -> Exception | None:
        """Return vLLM's error about a request's schema, None if it accepts the schema."""
        if self._variants[request.model].schema_of(request) is None:
            return None
        # Its errors do not say whether they are about the prompt or the schema: try the schema with a harmless prompt.
        try:
            sampling = self._sampling(request._replace(n=1, max_tokens=1))
            self._engine.add_request(_PROBE, {"type": "token", "prompt_token_ids": [0]}, sampling)
        except self._vllm.refusals as error:
            return error
        self._engine.abort_request([_PROBE])
        return None

    def _finished(self, output: Any) -> Finished | Failed:
        request = self._open.pop(output.request_id)
        context = () if request.stop else tuple(output.prompt_token_ids[-CONTEXT:])
        samples = tuple(
            Sample(
                choice.text if request.stop else self._text(context, choice),
                len(choice.token_ids),
                choice.finish_reason == "length",
                _finite(choice.cumulative_logprob),
                None if choice.finish_reason in _ENDS else RedFlag(Flag.BROKEN, f"vLLM: {choice.finish_reason}"),
            )
            for choice in sorted(output.outputs, key=lambda choice: choice.index)
        )
        spoken = sum(sample.tokens for sample in samples)
        if any(choice.finish_reason == "error" for choice in output.outputs):
            return self._broken_off(request, len(output.prompt_token_ids), spoken)
        if self._variants[request.model].temperature_of(request) < GREEDY:
            samples *= request.n
        # vLLM reports the last reply's count: the first reply has put the prompt into the cache for the others.
        cached = output.num_cached_tokens or 0
        return Finished(request.id, samples, len(output.prompt_token_ids), spoken, cached)

    def _text(self, context: tuple[int, ...], choice: Any) -> str:
        """Return a reply's text, decoded after the prompt's last tokens: a token's leading blank depends on them."""
        # The token that ends a reply is not part of it.
        tokens = tuple(choice.token_ids[:-1] if choice.finish_reason == "stop" else choice.token_ids)
        text = self._texts.get((context, tokens))
        if text is None:
            before, whole = (
                self._tokenizer.decode(ids, skip_special_tokens=True) for ids in (context, context + tokens)
            )
            if len(self._texts) >= KEPT_TEXTS:
                self._texts.clear()
            # Drop a character that the token limit has cut in two.
            text = self._texts[context, tokens] = whole[len(before) :].rstrip("\N{REPLACEMENT CHARACTER}")
        return text

    def _broken_off(self, request: Request, prompt_tokens: int, spoken: int) -> Failed:
        reason, fix = f"vLLM broke off a request of step class {request.kind}", "resume the run"
        if self._variants[request.model].schema_of(request) is not None:
            reason += ": it cannot make a grammar of the class's schema, or no token can continue a matching reply"
            fix = f"check that the model can write what the schema asks for, {_OFF}"
        return Failed(request.id, reason, fix, prompt_tokens=prompt_tokens, completion_tokens=spoken)
