"""The HTTP door against a small real server: refusals, retries, and a key that is never shown."""

from __future__ import annotations

import itertools
import logging
import socket
import time
from datetime import UTC, datetime
from typing import Any

import pytest
from openai_calls import KEY, Start, ask, request

from maker.errors import ModelUnusable
from maker.models.openai import OpenAIModel
from maker.models.openai_wire import retry_after_s
from maker.testing import FakeReply, FakeServer, completion
from maker.types import Failed, Finished, Request


def failure(model: OpenAIModel, one: Request | None = None) -> Failed:
    answer = ask(model, one)
    assert isinstance(answer, Failed)
    return answer


class TestRefusals:
    @pytest.mark.parametrize(
        ("status", "fix"),
        [
            (401, "model.key_env"),
            (403, "model.key_env"),
            (404, "'tiny'"),
            (404, "/v1"),
            (400, "max_n"),
            (422, "[model]"),
        ],
    )
    def test_is_not_retried_and_says_what_to_do(self, start: Start, status: int, fix: str) -> None:
        body = {"error": {"message": "the server's own words"}}
        with FakeServer(lambda _: (status, body)) as server:
            failed = failure(start(server.url))
        assert failed.unusable
        assert fix in failed.fix
        assert str(status) in failed.reason
        assert server.url in failed.reason
        assert "the server's own words" in failed.reason
        assert len(server.requests) == 1

    def test_a_refused_key_names_its_variable(self, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("TEST_KEY", KEY)
        with FakeServer(lambda _: (401, {"message": "no"})) as server:
            assert "TEST_KEY" in failure(start(server.url, key_env="TEST_KEY")).fix

    @pytest.mark.parametrize(
        "body", ["<html>hello " + "x" * 500, "[1, 2]", '{"choices": []}', '{"choices": [7]}', "{}"]
    )
    def test_a_body_that_is_no_answer(self, start: Start, body: str) -> None:
        """The first 200 characters are shown, with URL and status; nothing is retried."""
        with FakeServer(lambda _: (200, body)) as server:
            failed = failure(start(server.url))
        assert failed.unusable
        assert f"{server.url}/chat/completions answered 200" in failed.reason
        assert body[:200] in failed.reason
        assert body[:201] not in failed.reason or len(body) <= 200
        assert len(server.requests) == 1

    def test_after_a_good_answer_a_broken_one_is_no_reason_to_give_up(self, start: Start) -> None:
        replies = iter([(200, completion(["A"])), (200, "oops")])
        with FakeServer(lambda _: next(replies)) as server:
            model = start(server.url, chat=False)
            ask(model)
            assert not failure(model, request(2)).unusable

    def test_tokens_of_a_useless_reply_and_of_the_other_parts_are_counted(self, start: Start) -> None:
        """Part one is good (7 + 15), part two bills 7 + 0 for no choices."""

        def script(body: Any) -> FakeReply:
            if body["seed"] == 100:
                return FakeReply(200, completion(["A", "B", "C"]))
            return FakeReply(200, completion([]), 0.2)

        with FakeServer(script) as server:
            failed = failure(start(server.url, chat=False, max_n=3), request(n=6))
        assert (failed.prompt_tokens, failed.completion_tokens) == (14, 15)


class TestRetries:
    def test_then_success(self, start: Start) -> None:
        replies = iter([(500, "a"), (503, "b"), (200, completion(["A"]))])
        with FakeServer(lambda _: next(replies)) as server:
            assert isinstance(ask(start(server.url, chat=False)), Finished)
        assert len(server.requests) == 3

    def test_a_server_that_never_answered_gets_three_tries(self, start: Start) -> None:
        with FakeServer(lambda _: (500, {"error": "broken inside"})) as server:
            failed = failure(start(server.url, retry_s=60))
        assert failed.unusable
        assert "3 tries" in failed.reason
        assert "HTTP 500: broken inside" in failed.reason
        assert len(server.requests) == 3

    def test_a_refused_connection_fails_fast(self, start: Start) -> None:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            port = unused.getsockname()[1]
        began = time.monotonic()
        failed = failure(start(f"http://127.0.0.1:{port}/v1", retry_s=60))
        assert time.monotonic() - began < 3
        assert failed.unusable
        assert f"127.0.0.1:{port}" in failed.reason
        assert "ConnectError" in failed.reason

    def test_a_server_that_answered_is_retried_for_retry_s(self, start: Start) -> None:
        replies = itertools.chain([(200, completion(["A"]))], itertools.repeat((500, "x")))
        with FakeServer(lambda _: next(replies)) as server:
            model = start(server.url, chat=False, retry_s=4)
            ask(model)
            failed = failure(model, request(2))
        assert not failed.unusable
        assert len(server.requests) > 1 + 3

    def test_retry_after_is_honoured_and_is_a_sign_of_life(self, start: Start) -> None:
        """Four refusals are more than a server that is not there is given."""
        replies = iter(
            [FakeReply(429, "slow", headers={"Retry-After": "0.3"})] * 4 + [FakeReply(200, completion(["A"]))]
        )
        with FakeServer(lambda _: next(replies)) as server:
            assert isinstance(ask(start(server.url, chat=False)), Finished)
        times = [sent.at_s for sent in server.requests]
        assert all(later - earlier >= 0.3 for earlier, later in itertools.pairwise(times))

    def test_a_wait_beyond_retry_s_is_not_begun(self, start: Start) -> None:
        with FakeServer(lambda _: FakeReply(429, "slow", headers={"Retry-After": "3600"})) as server:
            failed = failure(start(server.url))
        assert not failed.unusable
        assert len(server.requests) == 1

    def test_a_slow_server_times_out(self, start: Start) -> None:
        with FakeServer(lambda _: (200, completion(["A"]), 5.0)) as server:
            failed = failure(start(server.url, timeout_s=0.1))
        assert "0.1 s" in failed.reason or "Timeout" in failed.reason

    @pytest.mark.parametrize(
        ("value", "seconds"),
        [(None, None), ("", None), ("soon", None), ("2.5", 2.5), ("-1", 0.0), ("Sat, 01 Jan 2028 00:01:00 GMT", 60.0)],
    )
    def test_the_header_is_seconds_or_a_date(self, value: str | None, seconds: float | None) -> None:
        assert retry_after_s(value, now=datetime(2028, 1, 1, tzinfo=UTC)) == seconds


class TestKey:
    def test_a_missing_variable_is_named(self, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("TEST_KEY", raising=False)
        with pytest.raises(ModelUnusable, match="TEST_KEY"):
            start("http://127.0.0.1:1/v1", key_env="TEST_KEY")

    def test_a_key_that_no_header_can_carry_is_not_shown(self, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("TEST_KEY", "schlüssel")
        with pytest.raises(ModelUnusable, match="TEST_KEY") as caught:
            start("http://127.0.0.1:1/v1", key_env="TEST_KEY")
        assert "schlüssel" not in str(caught.value)

    @pytest.mark.parametrize(
        "reply",
        [
            (401, {"error": {"message": "x" * 190 + f" bad key {KEY}"}}),
            (400, f"x {KEY} y"),
            (500, {"error": KEY}),
            (200, "x" * 195 + KEY),
            (200, {"no": KEY}),
        ],
    )
    def test_is_never_shown(
        self,
        start: Start,
        reply: tuple[int, Any],
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
        capfd: pytest.CaptureFixture[str],
    ) -> None:
        """Not whole, not in part, when the server echoes it; not in a log, nor in a repr."""
        monkeypatch.setenv("TEST_KEY", KEY)
        caplog.set_level(logging.DEBUG)
        with FakeServer(lambda _: reply) as server:
            model = start(server.url, key_env="TEST_KEY")
            failed = failure(model)
        shown = f"{failed} {model!r} {caplog.text} {''.join(capfd.readouterr())}"
        assert "sk-se" not in shown

    def test_a_reply_that_happens_to_hold_the_key_is_left_alone(
        self, start: Start, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Local servers are given keys like EMPTY, which a reply may well contain."""
        monkeypatch.setenv("TEST_KEY", "EMPTY")
        with FakeServer(lambda _: (200, completion(["EMPTY"]))) as server:
            answer = ask(start(server.url, chat=False, key_env="TEST_KEY"), request(n=1))
        assert isinstance(answer, Finished)
        assert answer.samples[0].text == "EMPTY"
