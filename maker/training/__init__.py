"""Microagents: tiny models that are trained on a task's steps, and an exact measure of what they do."""

import os

# Read when torch is loaded, which nothing here does before: its remarks on memory are of no use to anybody. As vLLM's
# start has it (`maker.models.vllm_start`), which would come too late in a process that has trained before.
os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
