"""The decomposers that come with maker."""

# Makes old module paths, such as decomposers.recursive_prompts, importable.
import maker  # noqa: F401
