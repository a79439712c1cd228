"""A microagent of the foundry on vLLM: what is drawn there is what the exact checker read off."""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path

import pytest

from decomposers.hanoi import Hanoi, HanoiParams
from maker.models.settings import VllmSettings
from maker.models.vllm import VllmModel
from maker.testing import collect
from maker.training.dataset import dataset_of
from maker.training.make import make
from maker.training.recipe import Recipe
from maker.types import Finished, Request

DRAWN = 4000
TEMPERATURE = 1.5


@pytest.mark.slow
@pytest.mark.vllm
def test_vllm_draws_what_was_read_off(tmp_path: Path) -> None:
    """Of 4,000 replies to each of two prompts as many are right, or a rival, as were expected, within 4 sigma."""
    if importlib.util.find_spec("vllm") is None:
        pytest.skip("vLLM is not installed")
    from maker.training.building import read_model
    from maker.training.exact_evaluation import evaluate_exactly

    course = dataset_of(Hanoi(HanoiParams(disks=4)), {}, exam=20)
    recipe = Recipe(steps=150, batch=48, rate=1e-2, slip=0.2, hidden=32, layers=2, heads=2)
    make(course, recipe, tmp_path / "model")
    (topic,) = course.topics
    prompts = topic.exam[:2]
    exact = evaluate_exactly(read_model(tmp_path / "model"), prompts, topic.grouped, [TEMPERATURE])[TEMPERATURE]
    settings = VllmSettings(path=str(tmp_path / "model"), compile=False, memory_share=0.2, temperature=TEMPERATURE)
    model = VllmModel([settings])
    try:
        model.submit(Request(i, "", prompt, DRAWN, i << 32, 8, (), "move") for i, prompt in enumerate(prompts))
        answers = sorted((one for one in collect(model, 2, within_s=300) if isinstance(one, Finished)), key=_id)
    finally:
        model.close()
    for answer, prompt, right, rivals in zip(answers, prompts, exact.right, exact.rivals, strict=True):
        question = topic.grouped(prompt)
        texts = [sample.text for sample in answer.samples]
        wrong = {text for group in question.rivals for text in group}
        assert 0.02 < rivals < 0.9
        for chance, count in (
            (right, sum(text in question.right for text in texts)),
            (rivals, sum(text in wrong for text in texts)),
        ):
            assert abs(count - DRAWN * chance) < 4 * math.sqrt(DRAWN * chance * (1 - chance))


def _id(answer: Finished) -> int:
    return answer.id
