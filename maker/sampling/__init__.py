"""Draws the steps that a pilot or a precomputation asks."""
