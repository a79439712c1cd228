"""Trying a task's first steps: what had come is shown, whatever happens afterwards."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from maker import api
from maker.engine.trial import Lost, Trial
from maker.errors import ModelFailed
from maker.testing import FakeReply, FakeServer, completion


def test_replies_that_had_come_are_shown_before_the_error(hanoi: Callable[..., Any]) -> None:
    """The first request brings three votes that differ, all later ones nothing: the three are told, then the error."""
    asked = []

    def script(body: Any) -> FakeReply:
        asked.append(body)
        if len(asked) > 1:
            return FakeReply(500, {"error": {"message": "broken inside"}})
        return FakeReply(200, completion(["1AC", "1AB", "1AC"]))

    with FakeServer(script) as server:
        model = {"kind": "openai", "url": server.url, "name": "m", "chat": False, "retry_s": 0.2}
        loaded = api.load_job(hanoi(3) | {"model": model})
        trials = api.try_steps(loaded, count=2)
        trial = next(trials)
        assert isinstance(trial, Trial)
        assert isinstance(trial.outcome, Lost)
        assert [heard.sample.text for heard in trial.heard.samples] == ["1AC", "1AB", "1AC"]
        assert (trial.kind, trial.outcome.idx) == ("move", 0)
        assert "broken inside" in trial.outcome.reason
        with pytest.raises(ModelFailed, match="broken inside"):
            next(trials)
