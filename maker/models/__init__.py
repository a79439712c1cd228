"""The models: one interface, with three real implementations."""
