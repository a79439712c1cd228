"""Fallback endpoints: who is asked when, and that a run goes on while its first server is away."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import maker
from maker.errors import JobError, ModelUnusable
from maker.lifecycle import queries
from maker.models.server.endpoints import FIRST_AWAY_S, LONGEST_AWAY_S, PATIENCE_S, TRIES, Endpoints
from maker.models.server.openai import OpenAIModel
from maker.models.settings import OpenAISettings
from maker.testing import FakeReply, FakeServer, chat_completion, collect
from maker.types import EndpointChange, Finished, Request


def test_an_endpoint_that_never_answered_is_left_after_three_tries() -> None:
    """A mistyped URL does not hold a run up."""
    endpoints = Endpoints(2)
    assert [endpoints.fail(0, 0.0) for _ in range(TRIES)] == [False, False, True]
    assert (endpoints.choose(0.1), endpoints.choose(FIRST_AWAY_S)) == (1, 0)


def test_tries_of_one_moment_fail_together() -> None:
    """One that has answered is left when it has failed for a while, and an answer in between counts anew."""
    endpoints = Endpoints(2)
    endpoints.answer(0)
    assert not any(endpoints.fail(0, 1.0) for _ in range(20))
    endpoints.answer(0)
    assert not any(endpoints.fail(0, at) for at in (5.0, 5.0, 5.0 + PATIENCE_S - 0.1))
    assert endpoints.fail(0, 5.0 + PATIENCE_S)


def test_one_that_fails_again_is_left_for_longer() -> None:
    """The first try after its return decides; what fails of those under way before changes nothing."""
    endpoints, now, away = Endpoints(2), 0.0, []
    for _ in range(TRIES):
        endpoints.fail(0, now)
    for _ in range(6):
        assert not endpoints.fail(0, now), "it is left already"
        left_at = now
        while endpoints.choose(now) != 0:
            now += 1.0
        away.append(now - left_at)
        assert endpoints.fail(0, now)
    assert away == [60.0, 120.0, 240.0, 480.0, LONGEST_AWAY_S, LONGEST_AWAY_S]
    endpoints.answer(0)
    assert not endpoints.fail(0, now)


def test_a_long_wait_is_no_wait() -> None:
    """A server that asks for more than a moment is left for so long at once."""
    endpoints = Endpoints(2)
    endpoints.answer(0)
    assert not endpoints.fail(0, 0.0, wait_s=1.0)
    assert endpoints.fail(0, 0.0, wait_s=300.0)
    assert (endpoints.choose(299.0), endpoints.choose(300.0)) == (1, 0)


def test_where_all_fail_the_soonest_due_is_asked() -> None:
    """There is always one to ask; alone, an endpoint is never left."""
    endpoints = Endpoints(2)
    assert endpoints.fail(0, 0.0, wait_s=100.0)
    assert endpoints.fail(1, 0.0, wait_s=90.0)
    assert endpoints.choose(1.0) == 1
    alone = Endpoints(1)
    assert not any(alone.fail(0, float(at), wait_s=99.0) for at in range(50))


def unreachable() -> str:
    """Return the URL of a port at which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}/v1"


def even(body: Any) -> FakeReply:
    return FakeReply(200, chat_completion(["even"] * body.get("n", 1)))


def settings(url: str, *others: Any, **model: Any) -> OpenAISettings:
    return OpenAISettings(url=url, name="m", fallbacks=[{"url": other} for other in others], **model)


def ask(model: OpenAIModel, first: int, count: int) -> list[Any]:
    model.submit(Request(first + n, "", "x", 1, n, 8, (), "row") for n in range(count))
    return collect(model, count, within_s=30)


@pytest.mark.parametrize(
    "failing",
    [
        lambda _: FakeReply(500, {"error": "broken"}),
        lambda _: FakeReply(429, {"error": "full"}, headers={"Retry-After": "60"}),
        lambda _: FakeReply(200, "", cut=-1),
    ],
    ids=["500", "429", "cut"],
)
def test_requests_go_to_the_next_one(failing: Callable[[Any], FakeReply]) -> None:
    """A server that answered and then fails: the other answers all, within seconds, and it is told once."""
    fails = False
    with FakeServer(lambda body: failing(body) if fails else even(body)) as first, FakeServer(even) as second:
        model = OpenAIModel(settings(first.url, second.url, timeout_s=5, retry_s=20))
        try:
            assert all(isinstance(reply, Finished) for reply in ask(model, 0, 3))
            assert (second.requests, model.changes()) == ([], [])
            fails = True
            answers, number = [], 100
            while not any(isinstance(one, Finished) for one in answers):
                answers = ask(model, number, 1)
                number += 1
                assert number < 130
            assert all(isinstance(reply, Finished) for reply in ask(model, 1000, 5))
            changes = [one for one in model.changes() if isinstance(one, EndpointChange)]
            assert [(one.url, one.before) for one in changes] == [(second.url, first.url)]
            assert changes[0].reason
            before = len(first.requests)
            ask(model, 2000, 5)
            assert len(first.requests) == before
        finally:
            model.close()


def test_a_run_whose_first_server_is_not_there(tmp_path: Path) -> None:
    """It goes on with the second, whose key is another one. The event says who answered; a resume may change both."""
    store = f"sqlite:///{tmp_path}/maker.db"
    (tmp_path / "rows.csv").write_text("number\n" + "".join(f"{number}\n" for number in range(20)))
    gone = unreachable()
    with pytest.MonkeyPatch.context() as patch, FakeServer(even) as second:
        patch.setenv("FIRST_KEY", "first")
        patch.setenv("SECOND_KEY", "second")
        made = {
            "task": {"decomposer": "map", "input": str(tmp_path / "rows.csv"), "template": "Is {{number}} even?"},
            "model": {
                "kind": "openai", "url": gone, "name": "m", "key_env": "FIRST_KEY",
                "fallbacks": [{"url": second.url, "key_env": "SECOND_KEY"}],
            },
            "vote": {"k": 1},
            "store": {"url": store},
        }  # fmt: skip
        report = maker.run(made, limit_steps=10)
        assert report.steps == 10
        (event,) = [one for one in queries.show(report.run_id, store=store).events if one["kind"] == "endpoint_changed"]
        assert (event["url"], event["before"], event["model"]) == (second.url, gone, "m")
        assert "Connect" in event["reason"]
        assert {one.headers["authorization"] for one in second.requests} == {"Bearer second"}
        assert maker.resume(report.run_id, [f'model.url="{second.url}"', "model.fallbacks=[]"], store=store).status == (
            "done"
        )


def test_all_of_them_away_is_told_soon() -> None:
    """Where no endpoint has ever answered, a run fails in seconds and says so."""
    model = OpenAIModel(settings(unreachable(), unreachable()))
    try:
        (failed,) = ask(model, 0, 1)
        assert "failed 6 tries" in failed.reason
        assert failed.unusable
    finally:
        model.close()


@pytest.mark.parametrize(
    ("fallbacks", "why"),
    [
        ([{"url": "b.example"}], "must begin with http"),
        ([{"url": "https://me:secret@b.example"}], "user, password or query"),
        ([{"url": "https://b.example", "key_env": "sk-123"}], "name of the variable"),
        ([{"url": "https://b.example", "name": "other"}], "name"),
        (["https://me:secret@b.example"], "fallbacks"),
        ([{"url": "https://b.example/v1/messages"}], "leave /messages out"),
    ],
)
def test_what_cannot_be_a_fallback(fallbacks: list[Any], why: str) -> None:
    """Told by its place, and without what may be secret."""
    model = {"kind": "openai", "url": "http://127.0.0.1:1/v1", "name": "m", "fallbacks": fallbacks}
    with pytest.raises(JobError, match=why) as raised:
        maker.load_job({"task": {"decomposer": "hanoi", "disks": 3}, "model": model, "vote": {"k": 1}})
    assert "secret" not in str(raised.value)


def test_a_fallbacks_key_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told when the model is opened, not when the first server fails."""
    monkeypatch.delenv("B_KEY", raising=False)
    with pytest.raises(ModelUnusable, match="B_KEY"):
        OpenAIModel(
            OpenAISettings(
                url="http://127.0.0.1:1/v1", name="m", fallbacks=[{"url": "http://127.0.0.1:2/v1", "key_env": "B_KEY"}]
            )
        )
