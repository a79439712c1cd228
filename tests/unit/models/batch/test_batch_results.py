"""What providers may send of a batch, whatever it is: nothing of it ends the run, and nothing is counted twice."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from typing import Any

import pytest

from maker.models.batch.anthropic_batches import AnthropicBatches
from maker.models.batch.hearing import Heard, Hearing
from maker.models.batch.http import decoded_line
from maker.models.batch.openai_batches import OpenAIBatches
from maker.models.batch.parts import Asked, Part, custom_id
from maker.models.batch.provider import End, Phase, Result
from maker.models.dialects.dialect import OpenAIDialect
from maker.models.server.faults import Lost
from maker.models.server_settings import AnthropicSettings, OpenAISettings
from maker.testing import chat_completion
from maker.types import Allowance, Request, SentBatch

SETTINGS = OpenAISettings(url="http://127.0.0.1:1/v1", name="m")
TAG = "run-1"
ODD: tuple[Any, ...] = (None, 0, "", "x", [], {}, [[]], {"a": 1}, True, 1e308, {"data": "x"}, {"error": 5})


def part(seed: int, n: int = 1) -> Part:
    request = Request(seed, "", f"prompt {seed}", n, seed, 16, (), "row")
    return Asked(request, [None] * n).whole()


def heard(results: Iterable[Result], *parts: Part) -> Heard:
    names = tuple(one.name for one in parts)
    batch = SentBatch(1, TAG, "solver", names, Allowance(len(parts), 100 * len(parts), 0.0), 0.0)

    async def stream() -> AsyncIterator[Result]:
        for result in results:
            yield result

    hearing = Hearing(batch, OpenAIDialect(SETTINGS), SETTINGS)
    return asyncio.run(hearing.hear(stream(), {one.name: one for one in parts}))


def reply(*texts: str) -> dict[str, Any]:
    return chat_completion(list(texts)) | {"model": "m"}


def test_a_result_that_comes_twice_counts_once() -> None:
    one = part(5)
    result = Result(custom_id(TAG, one.name), reply("A"))
    found = heard([result, result], one)
    assert (len(found.replies), found.usage.calls, found.usage.requests) == (1, 1, 1)


def test_results_of_others_are_passed_over() -> None:
    one = part(5)
    found = heard([Result(name, reply("A")) for name in ("", "x", f"{TAG}-", "run-2-5-1", f"{TAG}-6-1")], one)
    assert (found.usage.calls, [unheard.part for unheard in found.again]) == (0, [one])


@pytest.mark.parametrize("body", ODD)
def test_a_body_that_is_none_is_asked_again(body: Any) -> None:
    one = part(5, 3)
    found = heard([Result(custom_id(TAG, one.name), body)], one)
    assert [unheard.part for unheard in found.again] == [one]
    assert found.usage.calls == 0


def test_a_reply_without_a_count_costs_no_less_than_it_can() -> None:
    known, unknown = part(5), part(6)
    body = reply("A")
    del body["usage"]
    found = heard([Result(custom_id(TAG, one.name), body) for one in (known, unknown)], known, unknown)
    assert found.usage.prompt_tokens >= 2 * len("prompt 5")
    assert found.usage.completion_tokens >= 2


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("name", ["status", "errors", "request_counts", "metadata", "output_file_id", "error_file_id"])
def test_odd_facts_of_a_batch_are_read_for_none(name: str, odd: Any) -> None:
    provider = OpenAIBatches(SETTINGS)
    status = provider._status({"id": "batch_1", "status": "in_progress", name: odd})
    assert (status.id, status.phase) == ("batch_1", Phase.WORKING)


@pytest.mark.parametrize("odd", ODD)
def test_a_batch_without_an_id_is_no_batch(odd: Any) -> None:
    if odd == "x":
        return
    with pytest.raises(Lost):
        OpenAIBatches(SETTINGS)._status({"id": odd, "status": "completed"})


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("name", ["response", "error", "custom_id"])
def test_odd_lines_are_asked_again(name: str, odd: Any) -> None:
    line: dict[str, Any] = {"custom_id": "a", "response": {"status_code": 0, "body": None}, "error": None, name: odd}
    assert OpenAIBatches(SETTINGS)._result(line).end is End.FAILED


@pytest.mark.parametrize(
    ("status", "end"),
    [
        (200, End.ANSWERED),
        (400, End.REFUSED),
        (404, End.REFUSED),
        (429, End.FAILED),
        (500, End.FAILED),
        (0, End.FAILED),
    ],
)
def test_statuses_of_lines_are_those_of_single_requests(status: int, end: End) -> None:
    line = {"custom_id": "a", "response": {"status_code": status, "body": {"error": {"message": "no"}}}, "error": None}
    assert OpenAIBatches(SETTINGS)._result(line).end is end


def test_no_part_of_a_key_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Words that are cut where a key stands do not show its beginning."""
    monkeypatch.setenv("TEST_KEY", "sk-SECRETSECRETSECRET")
    provider = OpenAIBatches(SETTINGS.model_copy(update={"key_env": "TEST_KEY"}))
    for shown_chars in range(150, 210):
        line = {"custom_id": "a", "error": {"message": "x" * shown_chars + " sk-SECRETSECRETSECRET"}}
        assert "sk-" not in provider._result(line).reason


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("kind", ["succeeded", "errored", "canceled", "expired", "other"])
def test_odd_results_of_messages_end_nothing(kind: str, odd: Any) -> None:
    provider = AnthropicBatches(AnthropicSettings(name="m", key_env=""))
    found = provider._result({"custom_id": "a", "result": {"type": kind, "error": odd, "message": odd}})
    assert found.custom_id == "a"
    assert provider._result({"custom_id": "a", "result": odd}).end is End.FAILED


@pytest.mark.parametrize("line", [b"", b"\n", b"null", b"[1]", b'{"a":', b"\xff\xfe", b"[" * 10_000])
def test_lines_that_are_no_objects_are_none(line: bytes) -> None:
    assert decoded_line(line) is None
    assert decoded_line(json.dumps({"a": 1}).encode()) == {"a": 1}
