"""Tasks that are there to be measured."""
