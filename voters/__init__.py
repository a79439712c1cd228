"""The voters that come with maker."""
