"""``python -m maker``."""

from __future__ import annotations

from maker.cli import main

main()
