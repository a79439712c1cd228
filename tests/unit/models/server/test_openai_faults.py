"""The HTTP model against a small real server: refusals, retries, and a key that is never shown."""

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
from maker.models.dialects.openai_wire import retry_after_s
from maker.models.server.openai import OpenAIModel
from maker.testing import FakeReply, FakeServer, collect, completion
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
            (400, "[model]"),
            (422, "prompt"),
        ],
    )
    def test_is_not_retried_and_says_what_to_do(self, start: Start, status: int, fix: str) -> None:
        body = {"error": {"message": "the server's own words"}}
        with FakeServer(lambda _: (status, body)) as server:
            failed = failure(start(server.url), request(n=1))
        assert failed.unusable
        assert not failed.lost
        assert fix in failed.fix
        assert str(status) in failed.reason
        assert server.url in failed.reason
        assert "the server's own words" in failed.reason
        assert len(server.requests) == 1

    def test_a_refused_key_names_its_variable(self, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("TEST_KEY", KEY)
        with FakeServer(lambda _: (401, {"message": "no"})) as server:
            assert "TEST_KEY" in failure(start(server.url, key_env="TEST_KEY")).fix

    def test_a_prompt_that_no_json_can_carry_is_refused_before_it_is_sent(self, start: Start) -> None:
        """Half a surrogate pair is no Unicode. It is this prompt's fault alone, and costs nothing."""
        with FakeServer(lambda _: (200, completion(["A"]))) as server:
            failed = failure(start(server.url), request(n=1, prompt="\ud800"))
        assert (failed.refused, failed.lost, failed.calls, failed.unaccounted) == (True, False, 0, 0)
        assert server.requests == []


class TestLost:
    """Tries that were sent and brought nothing: they come back at once, as they may be billed."""

    @pytest.mark.parametrize(
        "reply",
        [
            FakeReply(200, completion(["A"]), cut=-1),
            FakeReply(200, completion(["A"]), cut=0),
            FakeReply(200, completion(["A"]), cut=30),
            FakeReply(200, '{"choices": [{"index": 0, "te'),
            FakeReply(200, completion(["A"]), delay_s=5.0),
            FakeReply(504, "<html>Gateway Time-out</html>"),
        ],
        ids=["silent", "head", "half a body", "half a JSON", "late", "a gateway's timeout"],
    )
    def test_comes_back_as_lost_and_is_answered_when_asked_again(self, start: Start, reply: FakeReply) -> None:
        replies = iter([reply, FakeReply(200, completion(["A", "B", "C"]))])
        with FakeServer(lambda _: next(replies)) as server:
            # Only a late reply meets it: a busy machine takes its time for the others.
            model = start(server.url, chat=False, timeout_s=2.0 if reply.delay_s else 30.0)
            failed = failure(model)
            assert (failed.lost, failed.unusable, failed.retries, failed.calls) == (True, False, 0, 0)
            assert (failed.prompt_tokens, failed.completion_tokens) == (0, 0)
            assert isinstance(ask(model), Finished)
        assert len(server.requests) == 2

    @pytest.mark.parametrize(
        ("body", "headers", "words"),
        [
            ("[" * 100_000, {}, "not a JSON object"),
            ('{"choices": ' + "9" * 5000 + "}", {}, "not a JSON object"),
            ('"\\ud800"', {}, "not a JSON object"),
            ('{"choices": [], "usage": {"completion_tokens": null}}', {}, "no choices"),
            (completion(["A"]), {"Content-Encoding": "gzip"}, "not gzip"),
            (completion(["A"]), {"Content-Encoding": "br"}, "packed as 'br'"),
            (" " * (3 << 20), {}, "takes more than"),
        ],
        ids=["deep", "a huge number", "half a surrogate", "no count", "no gzip", "another packing", "too long"],
    )
    def test_a_broken_reply_is_the_failure_of_its_request(
        self, start: Start, body: Any, headers: dict[str, str], words: str
    ) -> None:
        """Three replies were sent for, and nobody says what they cost. The next request is answered."""
        replies = iter([FakeReply(200, body, headers=headers), FakeReply(200, completion(["A"]))])
        with FakeServer(lambda _: next(replies)) as server:
            model = start(server.url, chat=False)
            failed = failure(model)
            assert isinstance(ask(model, request(2, n=1)), Finished)
        assert (failed.lost, failed.calls, failed.unaccounted) == (True, 0, 3)
        assert words in failed.reason
        assert failed.reason.encode()

    def test_a_server_that_is_up_again_is_asked_however_long_nobody_asked_it(self, start: Start) -> None:
        """It cut off four in a row, long after its last answer; what it sends then is of no use, or good."""
        good, cut = FakeReply(200, completion(["A"])), FakeReply(200, completion(["A"]), cut=0)
        replies = iter([good, cut, cut, cut, cut, FakeReply(200, "{"), good])
        with FakeServer(lambda _: next(replies)) as server:
            model = start(server.url, chat=False, retry_s=0.2)
            answers = []
            for i in range(7):
                answers.append(isinstance(ask(model, request(i, n=1)), Finished))
                time.sleep(0.25 if i in (0, 5) else 0.0)
        assert answers == [True, False, False, False, False, False, True]

    @pytest.mark.parametrize("charset", ["rot13", "idna", "hex", "utf-16", "foo"])
    def test_json_is_utf_8_whatever_the_server_says(self, start: Start, charset: str) -> None:
        headers = {"Content-Type": f"application/json; charset={charset}"}
        with FakeServer(lambda _: FakeReply(200, completion(["é"]), headers=headers)) as server:
            answer = ask(start(server.url, chat=False), request(n=1))
        assert isinstance(answer, Finished)
        assert answer.samples[0].text == "é"

    def test_a_cookie_spoils_no_later_request(self, start: Start) -> None:
        """None is kept: no header could carry this one."""
        with FakeServer(lambda _: FakeReply(200, completion(["A"]), headers={"Set-Cookie": "a=\xff"})) as server:
            model = start(server.url, chat=False)
            assert all(isinstance(ask(model, request(i, n=1)), Finished) for i in (1, 2))
            assert not any("cookie" in sent.headers for sent in server.requests)

    def test_a_fault_that_nobody_thought_of_is_the_failure_of_its_request(
        self, start: Start, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def read(*_: object, **__: object) -> None:
            raise KeyError("unheard of")

        monkeypatch.setattr("maker.models.dialects.openai_reply.read", read)
        with FakeServer(lambda _: (200, completion(["A"]))) as server:
            failed = failure(start(server.url, chat=False))
        assert (failed.lost, failed.unaccounted) == (True, 3)
        assert "KeyError: 'unheard of'" in failed.reason

    def test_who_asks_again_waits_a_while_and_longer_each_time(self, start: Start) -> None:
        """Any pause is .1 s at least; a request that met no loss has none."""
        with FakeServer(lambda body: (200, completion(["A"]), 0.0, {}, -1 if body["seed"] == 1 else None)) as server:
            model = start(server.url, chat=False)
            for _ in range(3):
                assert failure(model, request(1, n=1, seed=1)).lost
            times = [sent.at_s for sent in server.requests]
            began = time.monotonic()
            assert isinstance(ask(model, request(2, n=1, seed=2)), Finished)
            assert time.monotonic() - began < 0.1
        assert all(later - earlier >= 0.1 for earlier, later in itertools.pairwise(times))

    @pytest.mark.parametrize(
        "body", ["<html>hello " + "x" * 500, "[1, 2]", '{"choices": []}', '{"choices": [7]}', "{}"]
    )
    def test_a_server_of_which_nothing_else_is_heard_is_unusable_after_three(self, start: Start, body: str) -> None:
        """The first 200 characters are shown, with URL and status."""
        with FakeServer(lambda _: (200, body)) as server:
            model = start(server.url)
            assert [failure(model).unusable for _ in range(2)] == [False, False]
            failed = failure(model)
        assert failed.unusable
        assert failed.lost
        assert "3 tries" in failed.reason
        assert f"{server.url}/chat/completions answered 200" in failed.reason
        assert body[:200] in failed.reason
        assert body[:201] not in failed.reason or len(body) <= 200
        assert "/v1" in failed.fix

    def test_a_server_that_never_answers_in_time_is_unusable_after_three(self, start: Start) -> None:
        with FakeServer(lambda _: (200, completion(["A"]), 5.0)) as server:
            model = start(server.url, timeout_s=0.1)
            for _ in range(2):
                assert not failure(model).unusable
            failed = failure(model)
        assert failed.unusable
        assert "0.1 s" in failed.reason
        assert "model.timeout_s" in failed.fix

    def test_after_a_good_answer_no_loss_is_a_reason_to_give_up(self, start: Start) -> None:
        replies = itertools.chain([(200, completion(["A", "B", "C"]))], itertools.repeat((200, "oops")))
        with FakeServer(lambda _: next(replies)) as server:
            model = start(server.url, chat=False)
            ask(model)
            assert not any(failure(model, request(2)).unusable for _ in range(4))


class TestRetries:
    def test_then_success(self, start: Start) -> None:
        replies = iter([(500, "a"), (503, "b"), (200, completion(["A"]))])
        with FakeServer(lambda _: next(replies)) as server:
            answer = ask(start(server.url, chat=False), request(n=1))
        assert isinstance(answer, Finished)
        assert (answer.retries, answer.prompt_tokens, answer.completion_tokens) == (2, 7, 5)
        assert len(server.requests) == 3

    def test_a_server_that_never_answered_gets_three_tries(self, start: Start) -> None:
        with FakeServer(lambda _: (500, {"error": "broken inside"})) as server:
            failed = failure(start(server.url, retry_s=60))
        assert failed.unusable
        assert (failed.lost, failed.retries) == (False, 2)
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
            assert isinstance(ask(start(server.url, chat=False), request(n=1)), Finished)
        times = [sent.at_s for sent in server.requests]
        assert all(later - earlier >= 0.3 for earlier, later in itertools.pairwise(times))

    def test_a_wait_beyond_retry_s_is_not_begun(self, start: Start) -> None:
        with FakeServer(lambda _: FakeReply(429, "slow", headers={"Retry-After": "3600"})) as server:
            failed = failure(start(server.url))
        assert not failed.unusable
        assert "Retry-After: 3600 s" in failed.reason
        assert len(server.requests) == 1

    def test_too_many_requests_hold_back_all_others(self, start: Start) -> None:
        """Whoever is asked second waits as well; one try of his is enough."""
        replies = iter([FakeReply(429, "slow", headers={"Retry-After": "0.5"})])
        with FakeServer(lambda _: next(replies, FakeReply(200, completion(["A"])))) as server:
            model = start(server.url, chat=False)
            model.submit([request(1, n=1)])
            while not server.requests:
                time.sleep(0.01)
            time.sleep(0.1)
            model.submit([request(2, n=1)])
            answers = collect(model, 2)
        assert {answer.id: answer.retries for answer in answers} == {1: 1, 2: 0}
        first, *others = (sent.at_s for sent in server.requests)
        assert all(later - first >= 0.5 for later in others)

    @pytest.mark.parametrize(
        ("value", "seconds"),
        [
            (None, None),
            ("", None),
            ("soon", None),
            ("2.5", 2.5),
            ("-1", 0.0),
            ("nan", None),
            ("inf", None),
            ("1e400", None),
            ("Sat, 01 Jan 2028 00:01:00 GMT", 60.0),
            ("Sat, 01 Jan 99999999 00:01:00 GMT", None),
            ("Sat, 01 Jan 2028 00:01:00 +99999999999999999999", None),
            ("Sat, 01 Jan 2028 00:01:00 +99999999", None),
        ],
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
