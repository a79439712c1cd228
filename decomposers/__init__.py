"""The decomposers that come with maker."""
