"""The HTTP model against a small real server: what is sent, what is made of the replies, and its life."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from openai_calls import KEY, Start, ask, request

from maker.errors import ModelUnusable
from maker.testing import FakeReply, FakeServer, chat_completion, collect, completion
from maker.types import Finished, Sample


def wait_for(true: Callable[[], bool]) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + 5
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.005)


class TestWhatIsSent:
    def test_chat(self, start: Start) -> None:
        """Chat sends the shared part as the system message."""
        with FakeServer(lambda body: (200, chat_completion(["A", "B", None]))) as server:
            answer = ask(start(server.url, temperature=0.5, top_p=0.9), request(stop=("\n",)))
        assert answer == Finished(1, (Sample("A", 5), Sample("B", 5), Sample("", 5)), 7, 15)
        (sent,) = server.requests
        assert sent.path == "/v1/chat/completions"
        assert "authorization" not in sent.headers
        assert sent.body == {
            "model": "tiny",
            "n": 3,
            "seed": 100,
            "temperature": 0.5,
            "top_p": 0.9,
            "max_tokens": 16,
            "stop": ["\n"],
            "messages": [{"role": "system", "content": "Rules. "}, {"role": "user", "content": "Move?"}],
        }

    def test_an_empty_system_part_makes_no_message(self, start: Start) -> None:
        with FakeServer(lambda body: (200, chat_completion(["A"]))) as server:
            ask(start(server.url), request(system="", n=1))
        assert server.requests[0].body["messages"] == [{"role": "user", "content": "Move?"}]

    def test_completions(self, start: Start) -> None:
        """Without chat both parts are joined, and no stop is sent where there is none."""
        with FakeServer(lambda body: (200, completion(["A"]))) as server:
            ask(start(server.url, chat=False), request(n=1, seed=2**63 + 5))
        (sent,) = server.requests
        assert sent.path == "/v1/completions"
        assert sent.body["prompt"] == "Rules. Move?"
        assert sent.body["seed"] == 5
        assert "stop" not in sent.body
        assert "messages" not in sent.body

    def test_the_key_goes_into_the_header(self, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("TEST_KEY", KEY + "\n")
        with FakeServer(lambda body: (200, completion(["A"]))) as server:
            ask(start(server.url, chat=False, key_env="TEST_KEY"), request(n=1))
        assert server.requests[0].headers["authorization"] == f"Bearer {KEY}"

    def test_a_proxy_of_the_environment_is_not_asked_for_loopback(
        self, start: Start, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
        monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
        with FakeServer(lambda body: (200, chat_completion(["A"]))) as server:
            assert isinstance(ask(start(server.url), request(n=1)), Finished)

    def test_no_more_than_concurrency_at_once(self, start: Start) -> None:
        """It begins with two, and goes up to what the setting allows."""
        lock = threading.Lock()
        inside = most = 0

        def script(body: Any) -> FakeReply:
            nonlocal inside, most
            with lock:
                inside += 1
                most = max(most, inside)
            time.sleep(0.02)
            with lock:
                inside -= 1
            return FakeReply(200, chat_completion(["A"]))

        with FakeServer(script) as server:
            model = start(server.url, concurrency=3)
            model.submit(request(i, n=1) for i in range(12))
            collect(model, 12)
        assert most == 3


class TestReplies:
    def test_choices_are_ordered_by_index(self, start: Start) -> None:
        body = completion(["A", "B", "C"])
        body["choices"].reverse()
        with FakeServer(lambda _: (200, body)) as server:
            answer = ask(start(server.url, chat=False))
        assert isinstance(answer, Finished)
        assert [sample.text for sample in answer.samples] == ["A", "B", "C"]

    def test_tokens_are_shared_out_evenly_and_add_up(self, start: Start) -> None:
        body = completion(["A", "B", "C"])
        body["usage"]["completion_tokens"] = 11
        with FakeServer(lambda _: (200, body)) as server:
            answer = ask(start(server.url, chat=False))
        assert isinstance(answer, Finished)
        assert [sample.tokens for sample in answer.samples] == [4, 4, 3]
        assert answer.completion_tokens == 11

    def test_without_usage_bytes_are_counted(self, start: Start) -> None:
        """Upper bounds: bytes and an end mark, at most max_tokens; prompt bytes and 64."""
        body = completion(["é", "x" * 50])
        del body["usage"]
        with FakeServer(lambda _: (200, body)) as server:
            answer = ask(start(server.url, chat=False))
        assert isinstance(answer, Finished)
        assert [sample.tokens for sample in answer.samples] == [3, 16]
        assert (answer.prompt_tokens, answer.completion_tokens) == (12 + 64, 19)

    def test_a_server_that_counts_one_reply_of_several_is_found_out(self, start: Start) -> None:
        """Its count in doubt is believed until one cannot be right, and again after one that can be of all alone."""
        counts = iter([4, 4, 4, 9, 4])

        def script(body: Any) -> FakeReply:
            return FakeReply(
                200, completion(["1AC"] * body.get("n", 1)) | {"usage": {"completion_tokens": next(counts)}}
            )

        with FakeServer(script) as server:
            model = start(server.url, chat=False)
            found = [ask(model, request(i, n=n)).completion_tokens for i, n in enumerate((2, 3, 2, 3, 2))]
        assert found == [4, 3 * 4, 2 * 4, 9, 4]

    def test_prompt_tokens_from_a_cache_are_told(self, start: Start) -> None:
        body = completion(["A"], prompt_tokens=100)
        body["usage"]["prompt_tokens_details"] = {"cached_tokens": 64}
        with FakeServer(lambda _: (200, body)) as server:
            answer = ask(start(server.url, chat=False), request(n=1))
        assert isinstance(answer, Finished)
        assert (answer.prompt_tokens, answer.cached_tokens) == (100, 64)

    def test_cut_is_the_finish_reason_length(self, start: Start) -> None:
        with FakeServer(lambda _: (200, completion(["A"], finish="length"))) as server:
            answer = ask(start(server.url, chat=False), request(n=1))
        assert isinstance(answer, Finished)
        assert answer.samples == (Sample("A", 5, cut=True),)

    @pytest.mark.parametrize(("texts", "kept"), [(["A", "B"], ["A", "B"]), (list("ABCDE"), list("ABC"))])
    def test_fewer_choices_are_delivered_and_more_are_not(
        self, start: Start, texts: list[str], kept: list[str]
    ) -> None:
        with FakeServer(lambda _: (200, completion(texts))) as server:
            answer = ask(start(server.url, chat=False))
        assert isinstance(answer, Finished)
        assert [sample.text for sample in answer.samples] == kept

    def test_many_requests_each_once(self, start: Start) -> None:
        with FakeServer(lambda body: (200, completion([body["prompt"]]))) as server:
            model = start(server.url, chat=False)
            model.submit(request(i, system="", prompt=str(i), n=1) for i in range(200))
            got = collect(model, 200)
            assert model.poll(0.05) == []
        texts = {answer.id: answer.samples[0].text for answer in got if isinstance(answer, Finished)}
        assert texts == {i: str(i) for i in range(200)}


class TestLife:
    def test_cancelled_requests_are_not_answered(self, start: Start) -> None:
        with FakeServer(lambda body: (200, completion(["A"]), 0.3 if body["seed"] == 1 else 0.0)) as server:
            model = start(server.url, chat=False)
            model.submit([request(1, seed=1), request(2, seed=2), request(3, seed=1)])
            model.cancel([1, 77])
            assert {answer.id for answer in collect(model, 2)} == {2, 3}
            model.cancel([2, 3])
            assert model.poll(0.1) == []

    def test_only_what_was_sent_may_cost_something(self, start: Start) -> None:
        """Of ten, two are under way and eight wait for them."""
        with FakeServer(lambda _: (200, completion(["A"]), 30.0)) as server:
            model = start(server.url, chat=False, concurrency=2)
            model.submit(request(i) for i in range(10))
            wait_for(lambda: len(server.requests) == 2)
            costs = model.cancel(range(10))
            time.sleep(0.05)
            assert len(server.requests) == 2
        assert [(cost.calls, cost.unaccounted, cost.retries) for cost in costs] == [(0, 3, 0)] * 2

    def test_what_waits_for_a_limit_costs_nothing(self, start: Start) -> None:
        with FakeServer(lambda _: (200, completion(["A", "B", "C"]))) as server:
            model = start(server.url, chat=False, requests_per_minute=1)
            model.submit([request(1), request(2)])
            collect(model, 1)
            assert model.cancel([1, 2]) == []
            assert len(server.requests) == 1

    def test_what_was_answered_and_not_heard_costs_what_it_cost(self, start: Start) -> None:
        with FakeServer(lambda _: (200, completion(["A", "B", "C", "D"]))) as server:
            model = start(server.url, chat=False)
            model.submit([request(1)])
            wait_for(lambda: model._results.qsize() == 1)
            (cost,) = model.cancel([1])
        assert (cost.calls, cost.prompt_tokens, cost.completion_tokens, cost.unaccounted) == (4, 7, 20, 0)

    def test_of_replies_asked_for_one_by_one_those_not_asked_for_cost_nothing(self, start: Start) -> None:
        """One choice for three; of the two others the first is under way."""
        with FakeServer(lambda body: (200, completion(["A"]), 30.0 if body.get("n", 1) == 1 else 0.0)) as server:
            model = start(server.url, chat=False)
            model.submit([request(1)])
            wait_for(lambda: len(server.requests) == 2)
            (cost,) = model.cancel([1])
        assert (cost.calls, cost.prompt_tokens, cost.completion_tokens, cost.unaccounted) == (1, 7, 5, 1)

    def test_what_waits_to_be_sent_again_is_a_request_and_costs_nothing(self, start: Start) -> None:
        with FakeServer(lambda _: FakeReply(429, "slow", headers={"Retry-After": "3"})) as server:
            model = start(server.url, chat=False)
            model.submit([request(1)])
            wait_for(lambda: bool(server.requests))
            time.sleep(0.1)
            (cost,) = model.cancel([1])
        assert (cost.calls, cost.unaccounted, cost.retries) == (0, 0, 0)

    def test_cancel_after_arrival_and_before_poll(self, start: Start) -> None:
        with FakeServer(lambda _: (200, completion(["A"]))) as server:
            model = start(server.url, chat=False)
            model.submit([request(1)])
            time.sleep(0.3)
            model.cancel([1])
            assert model.poll(0.1) == []

    def test_poll_returns_at_once_with_nothing_open_and_waits_otherwise(self, start: Start) -> None:
        with FakeServer(lambda _: (200, completion(["A"]), 1.0)) as server:
            model = start(server.url, chat=False)
            began = time.monotonic()
            assert model.poll(5) == []
            assert time.monotonic() - began < 0.5
            model.submit([request(1)])
            assert model.poll(0.1) == []
            assert 0.1 <= time.monotonic() - began < 0.9
            assert len(model.poll(5)) == 1

    def test_close_twice_with_requests_in_flight_leaves_no_thread(self, start: Start) -> None:
        with FakeServer(lambda _: (200, completion(["A"]), 30.0)) as server:
            model = start(server.url, chat=False, max_n=1)
            model.submit([request(1), request(2)])
            time.sleep(0.1)
            began = time.monotonic()
            model.close()
            model.close()
            assert time.monotonic() - began < 2
        assert not [thread for thread in threading.enumerate() if thread.name == "maker-openai"]

    def test_a_url_that_cannot_be_read(self, start: Start) -> None:
        with pytest.raises(ModelUnusable, match="is not a URL: "):
            start("http://host:port/v1")
