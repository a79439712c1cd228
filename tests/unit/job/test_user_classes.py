"""Step classes that no step could be asked with are refused when the job is read, with the part that is wrong."""

from __future__ import annotations

from typing import Any

import pytest
from faulty_task import Faulty

import maker
from maker.errors import PluginError
from maker.plugin import StepClass
from voters.majority import Majority

JOB = {
    "task": {"decomposer": "faulty_task:Faulty", "faults": ["sound"]},
    "model": {"kind": "simulated"},
    "vote": {"k": 1},
}


@pytest.mark.parametrize(
    ("classes", "told"),
    [
        (None, "Faulty: classes is None, and must hold step classes alone"),
        (("letter",), r"classes is \('letter',\), and must hold"),
        ((StepClass(7, str),), "step class 7: name: 7: that is int, not text"),  # type: ignore[arg-type]
        ((StepClass("a", None),), "step class 'a': parse: None cannot be called"),  # type: ignore[arg-type]
        ((StepClass("a", str, check=True),), "check: True cannot be called"),  # type: ignore[arg-type]
        ((StepClass("a", str, system="\ud83d"),), "system: .*not valid Unicode"),
        ((StepClass("a", str, system=None),), "system: None: that is NoneType, not text"),  # type: ignore[arg-type]
        ((StepClass("a", str, paraphrases=("x", b"y")),), "paraphrases: b'y': that is bytes"),  # type: ignore[arg-type]
        ((StepClass("a", str, max_tokens=0),), "max_tokens: 0 is no whole number of at least 1"),
        ((StepClass("a", str, max_tokens="9"),), "max_tokens: '9' is no whole number"),  # type: ignore[arg-type]
    ],
)
def test_a_step_class_that_is_none_is_refused(classes: Any, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before, such a class ended a run with a raw error, or went out to a server."""
    monkeypatch.setattr(Faulty, "classes", property(lambda self: classes, lambda self, value: None), raising=False)
    with pytest.raises(maker.MakerError, match=told) as caught:
        maker.load_job(JOB)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [("least", None, "least is None"), ("least", 0, "least is 0"), ("race_margin", "3", "race_margin is '3'")],
)
def test_a_voter_that_does_not_say_when_it_decides_is_refused(
    name: str, value: Any, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plan, a limit and the monitor rest on these numbers."""
    monkeypatch.setattr(Majority, name, value)
    with pytest.raises(PluginError, match=f"majority: {told}, no whole number of at least 1"):
        maker.load_job({**JOB, "vote": {"voter": "majority", "n": 3}})
