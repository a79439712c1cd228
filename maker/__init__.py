"""maker executes tasks of many dependent language-model steps by voting on every one of them.

``maker.run(task, model=…)`` or ``maker.run("job.toml")`` is the whole of it for a script; `Service` is for services;
`workflow` makes a task of an async function. Importing this package loads neither ray nor vllm nor torch; a run that
needs them does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from maker.core.moved import install, warn_of

if TYPE_CHECKING:
    from decomposers.workflow import Run, Workflow, workflow
    from maker.api import (
        cancel,
        compare,
        enqueue,
        fork,
        load_job,
        pilot,
        plan,
        prune,
        results,
        resume,
        retry,
        run,
        try_steps,
        work_queue,
    )
    from maker.api.aio import RunHandle, Service, arun
    from maker.api.map_result import MapResult
    from maker.api.map_rows import amap, map
    from maker.api.stage_plan import plan_stages
    from maker.api.stages import StagesReport, resume_stages, run_stages, show_stages, stage_results
    from maker.calibration.calibrate import calibrate
    from maker.calibration.precompute import precompute
    from maker.errors import MakerError
    from maker.job.settings import LimitSettings as Limits
    from maker.job.settings import MonitorSettings as Monitor
    from maker.job.settings import RoleSettings as Role
    from maker.job.settings import SwarmSettings as Swarm
    from maker.lifecycle.limits import limit, limits
    from maker.lifecycle.queries import RunReport, runs, samples, show, steps, verify
    from maker.lifecycle.review import ReviewItem, review
    from maker.lifecycle.waits import OpenWait, answer, settle_effect, waits
    from maker.models.settings import anthropic, openai, pool, simulated, vllm
    from maker.reporting.accept import Acceptance, accept
    from maker.reporting.report import Report, report
    from maker.reporting.rescore import rescore

install()

__version__ = "0.1.0"
__all__ = [
    "Acceptance",
    "Limits",
    "MakerError",
    "MapResult",
    "Monitor",
    "OpenWait",
    "Report",
    "ReviewItem",
    "Role",
    "Run",
    "RunHandle",
    "RunReport",
    "Service",
    "StagesReport",
    "Swarm",
    "Workflow",
    "__version__",
    "accept",
    "amap",
    "answer",
    "anthropic",
    "arun",
    "calibrate",
    "cancel",
    "compare",
    "enqueue",
    "fork",
    "limit",
    "limits",
    "load_job",
    "map",
    "openai",
    "pilot",
    "plan",
    "plan_stages",
    "pool",
    "precompute",
    "prune",
    "report",
    "rescore",
    "results",
    "resume",
    "resume_stages",
    "retry",
    "review",
    "run",
    "run_stages",
    "runs",
    "samples",
    "settle_effect",
    "show",
    "show_stages",
    "simulated",
    "stage_results",
    "steps",
    "try_steps",
    "verify",
    "vllm",
    "waits",
    "work_queue",
    "workflow",
]
_HOMES = {
    "decomposers.workflow": ("Run", "Workflow", "workflow"),
    "maker.api.aio": ("RunHandle", "Service", "arun"),
    "maker.api.map_result": ("MapResult",),
    "maker.api.map_rows": ("amap", "map"),
    "maker.api.sync": (
        "cancel",
        "compare",
        "enqueue",
        "fork",
        "load_job",
        "pilot",
        "plan",
        "prune",
        "results",
        "resume",
        "retry",
        "run",
        "try_steps",
        "work_queue",
    ),
    "maker.api.stage_plan": ("plan_stages",),
    "maker.api.stages": ("StagesReport", "resume_stages", "run_stages", "show_stages", "stage_results"),
    "maker.calibration.calibrate": ("calibrate",),
    "maker.calibration.precompute": ("precompute",),
    "maker.lifecycle.limits": ("limit", "limits"),
    "maker.lifecycle.queries": ("RunReport", "runs", "samples", "show", "steps", "verify"),
    "maker.lifecycle.review": ("ReviewItem", "review"),
    "maker.lifecycle.waits": ("OpenWait", "answer", "settle_effect", "waits"),
    "maker.reporting.accept": ("Acceptance", "accept"),
    "maker.reporting.rescore": ("rescore",),
    "maker.reporting.report": ("Report", "report"),
    "maker.errors": ("MakerError",),
    "maker.job.settings": ("LimitSettings", "MonitorSettings", "RoleSettings", "SwarmSettings"),
    "maker.models.settings": ("anthropic", "openai", "pool", "simulated", "vllm"),
}

_OTHERWISE = {
    "Limits": "LimitSettings", "Monitor": "MonitorSettings", "Role": "RoleSettings", "Swarm": "SwarmSettings",
}  # fmt: skip
"""What is called otherwise at home."""


if not TYPE_CHECKING:
    # A type checker would take any name for one of these.

    def __getattr__(name: str) -> Any:
        if name == "Engine":
            warn_of("maker.Engine", "maker.Service")
            name = "Service"
        if name not in __all__:
            raise AttributeError(f"module 'maker' has no attribute {name!r}")
        import importlib

        name = _OTHERWISE.get(name, name)
        home = next(home for home, names in _HOMES.items() if name in names)
        return getattr(importlib.import_module(home), name)


def __dir__() -> list[str]:
    return sorted(__all__)
