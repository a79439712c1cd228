"""Whole tasks whose right answers are known."""
