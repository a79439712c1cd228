"""The statistics of voted steps: formulas, bounds, fits, the monitor. Pure."""
