"""Requests that are lost under way: asked again by the worker, a few times, and their worst case stays spent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from decomposers.hanoi.oracle import move_truth
from maker import api
from maker.lifecycle import queries
from maker.testing import FakeReply, FakeServer, completion

Job = Callable[..., dict[str, dict[str, Any]]]
Script = Callable[[Any], FakeReply]


def right(body: Any) -> FakeReply:
    """Answer rightly: 7 prompt tokens, and 5 a reply."""
    return FakeReply(200, completion([move_truth(body["prompt"]).right[0]] * body.get("n", 1)))


def other(body: Any) -> FakeReply:
    """Answer rightly as another model."""
    reply = right(body)
    return reply._replace(json=reply.json | {"model": "x"})


def silent(body: Any) -> FakeReply:
    """Draw an answer and close the connection."""
    return right(body)._replace(cut=-1)


def in_turn(*scripts: Script) -> Script:
    """Return a script that plays scripts one after another; the last one goes on."""
    left = list(scripts)

    def play(body: Any) -> FakeReply:
        script = left.pop(0) if len(left) > 1 else left[0]
        return script(body)

    return play


def behind(hanoi: Job, url: str, **limits: Any) -> dict[str, dict[str, Any]]:
    """Return a job of seven steps of three votes each, by a server."""
    model = {"kind": "openai", "url": url, "name": "m", "chat": False}
    return hanoi(3, limits=limits) | {"model": model}


def test_a_lost_request_is_asked_again_and_told(hanoi: Job, store: str) -> None:
    """The second request is cut off: eight of seven, three calls unaccounted, their worst case reserved for good."""
    with FakeServer(in_turn(right, silent, right)) as server:
        report = api.run(behind(hanoi, server.url))
        asked = server.requests
    (account,) = queries.show("last", store=store).models
    assert report.status == "done"
    assert (report.calls, report.requests, report.reserved_calls) == (21, 7, 3)
    # The older name is still there.
    assert (account["retries"], account["unaccounted"], account["untold"]) == (1, 3, 3)
    assert (report.prompt_tokens, report.completion_tokens) == (7 * 7, 21 * 5)
    assert len(asked) == 8
    assert asked[1].body == asked[2].body


def test_a_server_that_stops_answering_is_given_up_after_five_tries(hanoi: Job, store: str) -> None:
    """The first request is answered, then none: the run pauses at step 1, with 15 calls unaccounted."""
    with FakeServer(in_turn(right, silent)) as server:
        report = api.run(behind(hanoi, server.url))
        assert len(server.requests) == 6
    assert report.reason.startswith("step 1: ")
    assert "failed 5 tries; the last: RemoteProtocolError" in report.reason
    shown = queries.show("last", store=store)
    (account,) = shown.models
    assert (shown.status, shown.steps, shown.calls, shown.reserved_calls) == ("paused", 1, 3, 15)
    assert (account["requests"], account["retries"], account["unaccounted"]) == (2, 4, 15)


def test_replies_of_another_model_count_as_calls_and_have_no_vote(hanoi: Job, store: str) -> None:
    """The second request is answered by another model: three more calls and their tokens, none of it unaccounted."""
    with FakeServer(in_turn(right, other, right)) as server:
        report = api.run(behind(hanoi, server.url))
    (account,) = queries.show("last", store=store).models
    assert (report.status, report.votes, report.calls, report.requests) == ("done", 21, 24, 7)
    assert (report.prompt_tokens, report.completion_tokens, report.reserved_calls) == (8 * 7, 24 * 5, 0)
    assert (account["retries"], account["unaccounted"]) == (1, 0)


@pytest.mark.parametrize("fault", [silent, other])
def test_what_faults_cost_counts_towards_the_limit(hanoi: Job, fault: Script) -> None:
    """21 calls are enough for seven steps; where three of them are lost, the run stops one request before its end."""
    with FakeServer(in_turn(right, fault, right)) as server:
        report = api.run(behind(hanoi, server.url, max_calls=21))
        assert sum(sent.body.get("n", 1) for sent in server.requests) == 21
    assert report.status == "paused"
    assert report.reason == "limit max_calls = 21: 21 spent or reserved; the next request may take 3"
    assert report.steps == 6


@pytest.mark.parametrize("limit", [3, 4, 21])
def test_what_a_lost_request_has_told_is_not_counted_twice(hanoi: Job, limit: int) -> None:
    """A server without n tells of two replies of the first request, and the third is cut off: three calls, not five."""

    def one(body: Any) -> FakeReply:
        return right(body | {"n": 1})

    with FakeServer(in_turn(one, one, silent, one)) as server:
        report = api.run(behind(hanoi, server.url, max_calls=limit))
        sent = len(server.requests)
    assert report.status == "paused"
    assert report.calls + report.reserved_calls <= limit
    assert sent <= limit
    assert report.reserved_calls == 1
    if limit == 3:
        assert report.reason == "limit max_calls = 3: 3 spent or reserved; the next request may take 3"
