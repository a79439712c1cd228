"""A job: from a TOML file or a mapping to checked settings and built plugins."""

from __future__ import annotations

from maker.core.moved import moved_names

__getattr__ = moved_names("maker.job", "maker.job.job")
