"""The models: one door, three real implementations."""
