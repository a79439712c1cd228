"""Finds how many votes a job needs: pilots, plans, forecasts and precomputed answers.

`find_margins` is the one place that finds k: for ``vote.k = "auto"`` from a calibration, for ``vote.row_error`` from a
pilot of the map (`map_pilot`). ``"auto"`` stands in the settings until a plan replaces it by k by class: what a run is
started with names its margins.

**Pilots.** `calibrate` holds a pilot as a run of another task, `maker.sampling.pilot.PilotTask`. So limits, workers,
kills, resumes and the ledger are the engine's own. What was observed is read from the kept samples. The table
``maker_calibration`` keeps the counts, under what of the job's fingerprint decides how samples come out.

**Plans.** `plan` finds the calibration that fits a job and turns it into a `maker.stats.risk.RiskBudget` for each
class. `readings` says who its wrong votes may be for. `maker.stats.margins.cheapest` picks the margins; `forecast` says
what they come to: votes, tokens, money, and how sure the run is.

**Precompute.** `precompute` is a run of another task, `maker.sampling.precompute.PrecomputeTask`. It forks into drawn
steps as single steps, which the job's own rules decide. Its fingerprint has the same cache namespace as the job's.
"""

from __future__ import annotations

from maker.core.moved import moved_names

__getattr__ = moved_names("maker.calibration", "maker.calibration.observations")
