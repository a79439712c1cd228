"""The engine: drives a run to its end, keeps its budget, finds where it stands, verifies its log."""
