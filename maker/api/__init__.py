"""The Python interface: what a program calls to run, resume and read runs.

`sync` is for scripts: each call blocks. `aio` is for services: runs work in threads and are watched from an event
loop. `map_rows` goes from a table to a table, and stands on `sync`: `given_rows` reads what a program gives,
`questions` makes prompts of it, `asked_rows` writes these down for the run, and `map_result` puts the answers beside
the rows. `stages` works through maps with several models, `staged_map` does so from a table to a table, and
`stage_plan` compares them with each model alone.

``import maker`` is lazy: it loads neither ray, vllm nor torch.
"""

from __future__ import annotations

from maker.api.sync import (
    JobLike,
    cancel,
    compare,
    enqueue,
    fork,
    load_job,
    pilot,
    plan,
    planned,
    prune,
    results,
    resume,
    retry,
    run,
    run_unless_held,
    try_steps,
    work_queue,
)

__all__ = [
    "JobLike",
    "cancel",
    "compare",
    "enqueue",
    "fork",
    "load_job",
    "pilot",
    "plan",
    "planned",
    "prune",
    "results",
    "resume",
    "retry",
    "run",
    "run_unless_held",
    "try_steps",
    "work_queue",
]
