"""A pilot is one moment: a model that changes while it is asked is told of, by the calibration and by the plan."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from blind_task import Blind

from maker import api
from maker.calibration.calibrate import calibrate
from maker.calibration.fate import fate_words
from maker.calibration.moment import WHEN_STEADY, change_words
from maker.calibration.observations import Calibration
from maker.calibration.plan import plan
from maker.errors import OutOfReach
from maker.testing import FakeServer, completion
from maker.types import Done, Step, Truth

pytestmark = pytest.mark.plan

STEPS = 120


class Long(Blind):
    """Some steps of a long count."""

    name = "long"

    def sample(self, count: int, seed: int) -> list[int]:
        return list(range(min(count, STEPS)))

    def next(self, state: int) -> Any:
        return Step(self.kind, f"{state} + 1 =") if state < STEPS else Done(state)

    def expected_steps(self) -> int:
        return STEPS

    def oracle(self) -> Any:
        return lambda prompt: Truth((str(int(prompt.split()[0]) + 1),), ())


def asked(tmp_path: Path, wrong: Callable[[int], float]) -> tuple[dict[str, Any], Calibration]:
    """Return a job and its calibration by a server whose replies to request number n are wrong with ``wrong(n)``."""
    numbers, rng = count(), random.Random(7)

    def reply(body: Any) -> tuple[int, Any]:
        share, right = wrong(next(numbers)), int(body["prompt"].split()[0]) + 1
        return 200, completion([str(right + (rng.random() < share)) for _ in range(body.get("n", 1))])

    with FakeServer(reply) as server:
        settings = {
            "task": {"decomposer": f"{__file__}:Long"},
            "model": {"kind": "openai", "url": server.url, "name": "m", "chat": False, "concurrency": 1},
            "vote": {"k": "auto"},
            "store": {"url": f"sqlite:///{tmp_path}/maker.db"},
        }
        return settings, calibrate(settings, steps=STEPS, votes=10).calibration


def test_a_model_that_gets_worse_is_told_of(tmp_path: Path) -> None:
    """The second half is wrong more often: votes of a request are votes of one half, so nothing is planned of them."""
    settings, found = asked(tmp_path, lambda number: 0.03 if number < STEPS else 0.25)
    assert found.drift is not None
    assert found.drift.found
    assert change_words(found).startswith("the model changed during the pilot: on the same steps ")
    assert "of the votes were wrong in its first half, and 2" in change_words(found)
    assert fate_words(api.load_job(settings), found).endswith(f"To plan, {WHEN_STEADY}")
    with pytest.raises(OutOfReach, match=f"share a fate.*\n{WHEN_STEADY}"):
        plan(api.load_job(settings))


def test_a_steady_model_is_not(tmp_path: Path) -> None:
    """The plan says that it takes the model to stay so."""
    settings, found = asked(tmp_path, lambda number: 0.02)
    assert change_words(found) == ""
    assert found.drift is not None
    assert not found.drift.found
    said = plan(api.load_job(settings)).rests_on
    assert said.endswith("and that the model is as it was at the time of the pilot")


def test_bad_minutes_are_told_with_their_steps(tmp_path: Path) -> None:
    """Twenty steps are half wrong in the first half, and twenty others in the second: the halves are alike."""
    _, found = asked(tmp_path, lambda number: 0.5 if 30 <= number < 50 or 200 <= number < 220 else 0.02)
    assert found.stretch is not None
    assert found.stretch.found
    assert (found.stretch.start < 50 and found.stretch.stop > 30) or (
        found.stretch.start < 100 and found.stretch.stop > 80
    )
    assert "asked one after another, " in change_words(found)
