"""What several benchmarks use; no benchmark is in it."""
