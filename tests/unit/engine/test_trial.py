"""Trying a task's first steps: what had come is shown, whatever happens afterwards."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest

from maker import api
from maker.engine.trial import Lost, Trial
from maker.errors import ModelFailed
from maker.lifecycle import control
from maker.testing import FakeReply, FakeServer, completion
from maker.voting.messages import OpenStep


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


def open_steps(job: Any, until: Callable[[OpenStep], bool]) -> OpenStep:
    """Return what a step has heard as soon as that is so; nothing is waited for then."""
    with closing(control.try_steps(api.load_job(job), count=1)) as trials:
        return next(one for one in trials if isinstance(one, OpenStep) and until(one))


def test_replies_are_told_while_others_are_under_way(hanoi: Callable[..., Any]) -> None:
    """Three replies that differ are told while the next request hangs, with how many are to come."""

    def script(body: Any) -> FakeReply:
        return FakeReply(200, completion(["1AC", "1AB", "1AC"]), delay_s=0 if body.get("n", 1) == 3 else 60)

    with FakeServer(script) as server:
        model = {"kind": "openai", "url": server.url, "name": "m", "chat": False}
        step = open_steps(hanoi(3) | {"model": model}, lambda one: len(one.heard.samples) == 3)
    assert (step.idx, step.kind, step.awaited, step.early) == (0, "move", 2, {})
    assert [heard.outcome for heard in step.heard.samples] == ["1AC", "1AB", "1AC"]


def test_replies_are_told_before_those_of_the_votes_before_them(hanoi: Callable[..., Any]) -> None:
    """Where each vote has a request of its own, the first of which hangs, the two others are told all the same."""
    seeds: list[int] = []

    def script(body: Any) -> FakeReply:
        seeds.append(body["seed"])
        return FakeReply(200, completion(["1AC"]), delay_s=60 if body["seed"] == first else 0)

    job = hanoi(3)
    with FakeServer(script) as server:
        model = {"kind": "openai", "url": server.url, "name": "m", "chat": False, "max_n": 1}
        first = -1
        list(api.try_steps(job | {"model": model}, count=1))
        assert len(seeds) == 3
        first = min(seeds)
        step = open_steps(job | {"model": model}, lambda one: len(one.early) == 2)
    assert (step.heard.samples, step.awaited) == ((), 1)
    assert {vote: sample.text for vote, sample in step.early.items()} == {1: "1AC", 2: "1AC"}


def test_try_steps_tells_of_whole_steps_alone(hanoi: Callable[..., Any]) -> None:
    """Programs that iterate over `maker.try_steps` get what they always got, one value a step."""
    with FakeServer(lambda body: FakeReply(200, completion(["1AC"] * body.get("n", 1)), delay_s=0.2)) as server:
        model = {"kind": "openai", "url": server.url, "name": "m", "chat": False}
        tried = list(api.try_steps(hanoi(3) | {"model": model}, count=1))
    assert [type(one) for one in tried] == [Trial]
