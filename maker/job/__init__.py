"""A job: from a TOML file or a mapping to checked settings and built plugins.

`file` reads raw settings, each with its origin: command line before environment before file. `settings` has a frozen
model for each table. `parameters` resolves what a task's parameters name: paths, texts of files, functions. `resolve`
builds decomposer and voter. `validate` says what does not fit together. `job.Job` is the result, and knows what of it
is part of what a run is.

Wherever a plugin's name is expected, ``path/file.py:Name`` and ``module:Name`` are allowed. A file plugin's source is
part of the run's fingerprint. A task's functions (``Called``: parser, check, what a simulated model knows) are named
by the job; their code is in the fingerprint too.
"""

from __future__ import annotations

from maker.core.moved import moved_names

__getattr__ = moved_names("maker.job", "maker.job.job")
