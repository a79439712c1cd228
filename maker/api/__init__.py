"""The Python interface: what a program calls to run, resume and read runs."""

from __future__ import annotations

from maker.api.sync import JobLike, load_job, pilot, planned, resume, retry, run, try_steps

__all__ = ["JobLike", "load_job", "pilot", "planned", "resume", "retry", "run", "try_steps"]
