"""The models that benchmarks ask."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any


def microagent(folder: Path, options: Namespace, **settings: Any) -> dict[str, Any]:
    """Return a microagent's ``[model]`` table.

    In a smoke run a simulated model stands in for it: an engine takes ten seconds to start, and these benchmarks
    measure what voting makes of a model, whichever it is.
    """
    if options.smoke:
        return {"kind": "simulated", "p": 0.98, "latency_s": 0.01}
    return {"kind": "vllm", "path": str(folder), **settings}
