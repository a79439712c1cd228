"""Trains tiny models for a task's steps, and computes exactly how often they err.

The only package that imports transformers.

A `dataset.Dataset` is what one microagent is taught: for each step class its prompts and its exam. They are made of a
task's lessons and oracle, or of a file of a run's examples (`sft_file`). Training sees the oracle; no run does.
`exact_evaluation` reads the probability of every known reply off a model's logits; `figures` (pure) says what these
come to. `make` puts it together, `card` writes the model's card. docs/training.md says what a user sees.
"""

import os

# Read when torch is loaded, which nothing here does before: its remarks on memory are of no use to anybody. As vLLM's
# start has it (`maker.models.vllm_start`), which would come too late in a process that has trained before.
os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
