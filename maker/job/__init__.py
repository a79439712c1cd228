"""A job: from a TOML file or a mapping to checked settings and built plugins.

`load` reads one, by way of `file`, `resolve` and `validate`; `job` says what it is then. What is asked of a job has a
module each: `rules` how its steps are decided, `fingerprint` what may not change, `estimate` what it will take, `probe`
what its task begins with, and `variants` which jobs follow from it.
"""

from __future__ import annotations

from maker.core.moved import moved_names

__getattr__ = moved_names(
    "maker.job", "maker.job.job", "maker.job.settings", "maker.job.fingerprint", "maker.job.probe"
)
