"""Finds how many votes a job needs: pilots, plans, forecasts and precomputed answers."""

from __future__ import annotations

from maker.core.moved import moved_names

__getattr__ = moved_names("maker.calibration", "maker.calibration.observations")
