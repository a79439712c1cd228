"""The HTTP model against a real vLLM server."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module

import pytest

from maker.models.dialects.openai_wire import body
from maker.models.server.openai import OpenAIModel
from maker.models.settings import OpenAISettings
from maker.models.vllm_start import import_vllm
from maker.testing import collect
from maker.types import Failed, Finished, Request, Sample

pytestmark = pytest.mark.vllm

PROMPT = "-1AC"
"""No prompt the model was trained on: at temperature 2 hardly two replies are the same, so that seeds show."""


def request(i: int, *, n: int = 3, seed: int = 100, prompt: str = PROMPT, max_tokens: int = 8) -> Request:
    return Request(i, "", prompt, n, seed, max_tokens, (), "move")


def settings(url: str, *, name: str = "hanoi") -> OpenAISettings:
    return OpenAISettings(url=url, name=name, chat=False, temperature=2.0)


@pytest.fixture
def model(vllm_server: str) -> Iterator[OpenAIModel]:
    opened = OpenAIModel(settings(vllm_server))
    yield opened
    opened.close()


def finished(model: OpenAIModel, one: Request) -> Finished:
    model.submit([one])
    (answer,) = collect(model, 1, within_s=60)
    assert isinstance(answer, Finished), answer
    return answer


def texts(samples: tuple[Sample, ...]) -> list[str]:
    return [sample.text for sample in samples]


def test_n_samples_with_their_tokens(model: OpenAIModel) -> None:
    answer = finished(model, request(1, n=5))
    assert len(answer.samples) == 5
    assert answer.prompt_tokens == len(PROMPT)
    assert answer.completion_tokens == sum(sample.tokens for sample in answer.samples)
    assert len(set(texts(answer.samples))) > 1


def test_a_reply_at_its_limit_is_cut(model: OpenAIModel) -> None:
    answer = finished(model, request(1, n=2, max_tokens=1))
    assert all(sample.cut and sample.tokens == 1 for sample in answer.samples)


def test_the_same_seed_draws_the_same_and_others_draw_others(model: OpenAIModel) -> None:
    first = finished(model, request(1, n=30))
    assert finished(model, request(2, n=30)).samples == first.samples
    assert texts(finished(model, request(3, n=30, seed=9000)).samples) != texts(first.samples)


def test_requests_for_one_each_draw_what_one_for_all_does(model: OpenAIModel) -> None:
    """Sequence i of a request is drawn with seed + i, so that a server that takes no n draws the same."""
    whole = finished(model, request(1, n=5))
    singles = [finished(model, request(2 + i, n=1, seed=100 + i)) for i in range(5)]
    assert [sample.text for one in singles for sample in one.samples] == texts(whole.samples)


def test_log_probabilities_are_told_for_each_token(vllm_server: str) -> None:
    """Their number is that of the tokens, which the server counts for all samples together; each is at most 0."""
    asking = OpenAIModel(settings(vllm_server).model_copy(update={"logprobs": True}))
    try:
        answer = finished(asking, request(1, n=5))
    finally:
        asking.close()
    assert all(sample.logprob is not None and sample.logprob < 0 for sample in answer.samples)
    assert answer.completion_tokens == sum(sample.tokens for sample in answer.samples)
    assert all(sample.tokens == len(sample.text) + (not sample.cut) for sample in answer.samples)


def test_many_at_once(model: OpenAIModel) -> None:
    model.submit(request(i, seed=1000 * i) for i in range(40))
    got = collect(model, 40, within_s=120)
    assert {answer.id for answer in got} == set(range(40))
    assert all(isinstance(answer, Finished) for answer in got)


def test_a_wrong_name_is_unusable(vllm_server: str) -> None:
    wrong = OpenAIModel(settings(vllm_server, name="nobody"))
    try:
        wrong.submit([request(1)])
        (answer,) = collect(wrong, 1, within_s=60)
    finally:
        wrong.close()
    assert isinstance(answer, Failed)
    assert answer.unusable
    assert "404" in answer.reason
    assert "nobody" in answer.fix


def test_an_over_long_prompt_shows_the_servers_words(model: OpenAIModel) -> None:
    model.submit([request(1, prompt="A" * 500)])
    (answer,) = collect(model, 1, within_s=60)
    assert isinstance(answer, Failed)
    assert "128" in answer.reason


@pytest.mark.parametrize(("chat", "name"), [(True, "ChatCompletion"), (False, "Completion")])
def test_the_server_reads_a_schema_in_either_request(chat: bool, name: str) -> None:
    """Its own reader of requests is asked: the tests' model has no chat template, and its alphabet no braces."""
    schema = {"type": "object", "properties": {"b": {"type": "string"}, "a": {"type": "integer"}}}
    import_vllm()  # As maker does it: the first import in a process settles for good how loud vLLM and torch are.
    module = "chat_completion" if chat else "completion"
    reader = getattr(import_module(f"vllm.entrypoints.openai.{module}.protocol"), f"{name}Request")
    asked = settings("http://localhost/v1").model_copy(update={"chat": chat, "structured": "schema"})
    read = reader.model_validate(body(request(1)._replace(schema=schema), asked)).extract_structured_outputs()
    assert read.json == schema
    assert reader.model_validate(body(request(1), asked)).extract_structured_outputs() is None
