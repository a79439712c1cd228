"""Servers of other kinds: such as take no n, answer as another model, tell log-probabilities, or limit a minute."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from openai_calls import Start, ask, request

from maker.models.dialects.openai_wire import is_another
from maker.models.settings import OpenAISettings
from maker.testing import FakeReply, FakeServer, chat_completion, collect, completion
from maker.types import Failed, Finished, Sample


def one_only(body: Any) -> FakeReply:
    """Ignore n: one choice, which names its seed."""
    return FakeReply(200, completion([str(body["seed"])]))


def one_or_nothing(body: Any) -> FakeReply:
    """Refuse n above 1."""
    if "n" in body:
        return FakeReply(400, {"error": {"message": "n must be 1"}})
    return one_only(body)


class TestN:
    @pytest.mark.parametrize(
        ("script", "asked", "retries"), [(one_only, [3, 1, 1], 0), (one_or_nothing, [3, 1, 1, 1], 1)]
    )
    def test_a_server_that_takes_no_n_is_asked_for_one_at_a_time(
        self, start: Start, script: Any, asked: list[int], retries: int
    ) -> None:
        """The request is completed with shifted seeds, and later ones are to be for one reply."""
        with FakeServer(script) as server:
            model = start(server.url, chat=False)
            assert model.most_n(0) == 128
            answer = ask(model)
            assert model.most_n(0) == 1
            later = ask(model, request(2, n=2, seed=7))
        assert answer == Finished(1, tuple(Sample(str(100 + i), 5) for i in range(3)), 21, 15, 0, retries)
        assert isinstance(later, Finished)
        assert [sample.text for sample in later.samples] == ["7", "8"]
        assert [sent.body.get("n", 1) for sent in server.requests] == [*asked, 1, 1]

    def test_a_refusal_of_the_prompt_is_none_of_n(self, start: Start) -> None:
        with FakeServer(lambda _: (400, {"error": {"message": "too long"}})) as server:
            model = start(server.url, chat=False)
            answer = ask(model)
            assert model.most_n(0) == 128
        assert isinstance(answer, Failed)
        assert (answer.refused, answer.retries, answer.calls) == (True, 1, 0)
        assert [sent.body.get("n", 1) for sent in server.requests] == [3, 1]

    def test_a_server_that_has_taken_n_is_not_doubted(self, start: Start) -> None:
        """One that has sent three for three, and then one for three, is asked no more for these."""
        replies = iter([["A", "B", "C"], ["A"]])
        with FakeServer(lambda _: (200, completion(next(replies)))) as server:
            model = start(server.url, chat=False)
            ask(model)
            answer = ask(model, request(2))
            assert model.most_n(0) == 128
        assert isinstance(answer, Finished)
        assert len(answer.samples) == 1
        assert len(server.requests) == 2

    def test_the_worst_case_is_a_prompt_for_each_reply_until_n_is_known_to_be_taken(self, start: Start) -> None:
        """12 bytes and 64 for a chat's frame, 16 tokens a reply: 3 x 92 before, 76 + 48 after."""
        with FakeServer(lambda _: (200, completion(["A", "B", "C"]))) as server:
            model = start(server.url, chat=False)
            assert model.worst_tokens(request()) == 3 * 92
            ask(model)
            assert model.worst_tokens(request()) == 76 + 48
            assert model.worst_tokens(request(n=4)) == 4 * 92

    def test_what_is_lost_on_the_way_leaves_the_replies_before_it_told(self, start: Start) -> None:
        """Of three asked one by one the second is cut off: one call of 7 and 5 tokens is told."""
        with FakeServer(lambda body: (*one_only(body)[:4], -1 if body["seed"] == 101 else None)) as server:
            answer = ask(start(server.url, chat=False))
        assert isinstance(answer, Failed)
        assert (answer.lost, answer.calls, answer.prompt_tokens, answer.completion_tokens) == (True, 1, 7, 5)


class TestOtherModel:
    def test_its_replies_are_billed_and_do_not_vote(self, start: Start) -> None:
        replies = iter(["another", "tiny-2028-01-01"])
        with FakeServer(lambda _: (200, completion(["A", "B", "C"]) | {"model": next(replies)})) as server:
            model = start(server.url, chat=False)
            failed = ask(model)
            answer = ask(model)
        assert isinstance(failed, Failed)
        assert (failed.lost, failed.unusable, failed.calls) == (True, False, 3)
        assert (failed.prompt_tokens, failed.completion_tokens) == (7, 15)
        assert "'another'" in failed.reason
        assert "'tiny'" in failed.reason
        assert "model.reply_name = 'another'" in failed.fix
        assert isinstance(answer, Finished)

    def test_a_server_that_never_is_the_right_one_is_unusable_after_three(self, start: Start) -> None:
        with FakeServer(lambda _: (200, completion(["A", "B", "C"]) | {"model": "another"})) as server:
            model = start(server.url, chat=False)
            failures = [ask(model) for _ in range(3)]
        assert [isinstance(failed, Failed) and failed.unusable for failed in failures] == [False, False, True]

    @pytest.mark.parametrize(
        ("told", "name", "reply_name", "other"),
        [
            ("gpt-4o-mini-2024-07-18", "gpt-4o-mini", "", False),
            ("Qwen2", "qwen2-instruct", "", False),
            ("/models/llama-3", "meta/llama-3", "", False),
            ("", "tiny", "", False),
            ("gpt-4o-mini", "our-deployment", "", True),
            ("gpt-4o-mini-2024-07-18", "our-deployment", "gpt-4o-mini", False),
            ("tiny", "tiny", "large", True),
        ],
    )
    def test_names(self, told: str, name: str, reply_name: str, other: bool) -> None:
        settings = OpenAISettings(url="http://x/v1", name=name, reply_name=reply_name)
        assert is_another(told, settings) is other


class TestLogprobs:
    def test_of_a_chat_are_asked_for_and_added_up(self, start: Start) -> None:
        """Each choice has as many tokens as it has log-probabilities: 1 and 2, of 3."""
        body = chat_completion(["A", "BC"])
        body["usage"]["completion_tokens"] = 3
        for choice, values in zip(body["choices"], ([-0.5], [-0.25, -1.0]), strict=True):
            choice["logprobs"] = {"content": [{"token": "t", "logprob": value} for value in values]}
        with FakeServer(lambda _: (200, body)) as server:
            answer = ask(start(server.url, logprobs=True), request(n=2))
        assert isinstance(answer, Finished)
        assert answer.samples == (Sample("A", 1, logprob=-0.5), Sample("BC", 2, logprob=-1.25))
        assert server.requests[0].body["logprobs"] is True

    def test_of_a_completion(self, start: Start) -> None:
        """Where they do not add up to the server's count, the shares are equal."""
        body = completion(["A", "B"])
        body["choices"][0]["logprobs"] = {"tokens": ["A"], "token_logprobs": [-0.5]}
        body["choices"][1]["logprobs"] = None
        with FakeServer(lambda _: (200, body)) as server:
            answer = ask(start(server.url, chat=False, logprobs=True), request(n=2))
        assert isinstance(answer, Finished)
        assert answer.samples == (Sample("A", 5, logprob=-0.5), Sample("B", 5))
        assert server.requests[0].body["logprobs"] == 0

    def test_are_not_asked_for_otherwise(self, start: Start) -> None:
        with FakeServer(lambda _: (200, completion(["A"]))) as server:
            ask(start(server.url, chat=False), request(n=1))
        assert "logprobs" not in server.requests[0].body


class TestLimits:
    def test_requests_beyond_a_minutes_wait(self, start: Start) -> None:
        """Of four at two a minute, two are sent; the others are still to come."""
        with FakeServer(lambda _: (200, completion(["A"]))) as server:
            model = start(server.url, chat=False, requests_per_minute=2)
            model.submit(request(i, n=1) for i in range(4))
            collect(model, 2)
            assert model.poll(0.5) == []
        assert len(server.requests) == 2

    def test_real_tokens_make_room_for_more(self, start: Start) -> None:
        """A request may cost 92 tokens and costs 12: at 120 a minute they go one by one, and the fourth has to wait."""
        with FakeServer(lambda _: (200, completion(["A"]), 0.2)) as server:
            model = start(server.url, chat=False, tokens_per_minute=120)
            model.submit(request(i, n=1) for i in range(4))
            collect(model, 3)
            assert model.poll(0.5) == []
        times = [sent.at_s for sent in server.requests]
        assert len(times) == 3
        assert all(later - earlier >= 0.2 for earlier, later in itertools.pairwise(times))
