"""The shipped microagents: their cards say what the weights do, and the examples come out right with them."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

import maker
from maker.training.card import CARD
from maker.training.dataset import Dataset, dataset_of
from maker.training.examine import examine

EXAMPLES = Path(__file__).parents[2] / "examples"
AGENTS = sorted(folder.name for folder in (EXAMPLES / "microagents").iterdir())
JOBS = {"multiply": ("multiply.toml",), "compare": ("sort.toml",), "walk": ("connect.toml",),
        "guess": ("connect.toml", "task.form=guess")}  # fmt: skip


def test_all_weights_together_are_below_six_megabytes() -> None:
    assert set(AGENTS) == set(JOBS)
    sizes = [(EXAMPLES / "microagents" / name / "model.safetensors").stat().st_size for name in AGENTS]
    assert sum(sizes) < 6_000_000


@pytest.mark.vllm
@pytest.mark.slow
@pytest.mark.parametrize("name", JOBS)
def test_the_card_says_what_the_weights_do(name: str) -> None:
    """On some of the prompts of the card's exam, or on all there are, the error is the card's within 4 sigma."""
    folder = EXAMPLES / "microagents" / name
    job, *words = JOBS[name]
    task = maker.load_job(EXAMPLES / job, words).decomposer
    (topic,) = dataset_of(task, {}, exam=256).topics
    (now,) = examine(folder, Dataset([replace(topic, extra=())], {}), temperatures=[1.0])
    (card,) = json.loads((folder / CARD).read_text())["classes"]
    assert (now.name, str(now.basis)) == (card["class"], card["basis"])
    (here,), (told,) = now.heats, card["heats"]
    sigma = math.sqrt(told["spread"] * told["error"] * (1 - told["error"]) / now.prompts)
    assert abs(here.error - told["error"]) < 4 * sigma + 1e-3


@pytest.mark.vllm
@pytest.mark.slow
@pytest.mark.parametrize("name", ["multiply", "compare", "walk"])
def test_an_example_comes_out_right(name: str, tmp_path: Path) -> None:
    report = maker.run(EXAMPLES / JOBS[name][0], [f"store.url=sqlite:///{tmp_path}/runs.db", "swarm.kind=local"])
    assert report.status == "done"
    assert report.disputed
    assert maker.verify(report.run_id, store=f"sqlite:///{tmp_path}/runs.db").right
