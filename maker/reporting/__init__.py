"""Reports on runs: what was claimed, what was measured, and what that rests on; as an HTML page and as JSON."""
