"""Check a run's log without a model: replay every step and compare it with what is stored."""
