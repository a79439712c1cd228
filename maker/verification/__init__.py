"""Checks a run's log without a model: replays every step and compares it with what is stored."""
