"""maker executes tasks of up to millions of dependent language-model steps without an error."""

from __future__ import annotations

__version__ = "0.1.0"
