"""The parts of the benchmark of maps."""
