"""How one step is decided, and the chain of such steps. Pure: no I/O, no clock, no randomness."""
