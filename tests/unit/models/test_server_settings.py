"""The settings of servers: what is right, what is wrong, and what decides how a model answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pydantic import ValidationError

import maker
from maker.errors import JobError
from maker.job.estimate import estimate_run, votes_per_request
from maker.models.server_settings import AnthropicSettings, OpenAISettings, prices_of
from maker.types import Prices

Job = Callable[..., dict[str, dict[str, Any]]]
OPENAI = {"kind": "openai", "url": "http://127.0.0.1:9/v1", "name": "m"}
ANTHROPIC = {"kind": "anthropic", "name": "m"}


@pytest.mark.parametrize(
    ("model", "says"),
    [
        ({"headers": {"X-Org": "sk-secret value"}}, "X-Org must be the name of the environment variable"),
        ({"headers": {"X Org": "ORG"}}, "no name of an HTTP header"),
        ({"headers": {"Content-Length": "ORG"}}, "must not hold Content-Length, which maker sets itself"),
        ({"headers": {"X-Org": "A", "x-org": "B"}}, "names a header twice"),
        ({"headers": "ORG"}, "model.headers"),
        ({"extra_body": {"temperature": 1}}, "must not hold temperature: set model.temperature"),
        ({"extra_body": {"stream": True}}, "must not hold stream: maker fills it"),
        ({"extra_body": {"top": float("nan")}}, "JSON cannot carry"),
        ({"omit": ["n"]}, "model.omit"),
        ({"omit": "seed"}, "model.omit"),
        ({"omit": ["temperature"], "temperature": 0.5}, "leave one of them out"),
        ({"api_version": "2024?x=1"}, "model.api_version"),
        ({"url": "https://a.openai.azure.com/openai?api-version=2024-10-21"}, "model.api_version"),
        ({"url": "http://127.0.0.1:9/v1/chat/completions"}, "leave /chat/completions out"),
        ({"reasoning_tokens": -1}, "model.reasoning_tokens"),
        ({"cached_price": -1.0}, "model.cached_price"),
        (ANTHROPIC | {"temperature": 1.5}, "less than or equal to 1"),
        (ANTHROPIC | {"temperature": 0.5, "top_p": 0.5}, "leave one of them out"),
        (ANTHROPIC | {"extra_body": {"system": "x"}}, "must not hold system: maker fills it"),
        (ANTHROPIC | {"omit": ["seed"]}, "model.omit"),
        (ANTHROPIC | {"extra_body": {"cache_control": {"type": "ephemeral"}}}, "must not hold cache_control"),
        (ANTHROPIC | {"max_n": 2}, "model.max_n: there is no such setting"),
        (ANTHROPIC | {"name": None}, "model.name"),
    ],
)
def test_wrong_settings_are_told(hanoi: Job, model: dict[str, Any], says: str) -> None:
    """With what is allowed; a value that may be a secret is not shown."""
    job = hanoi() | {"model": OPENAI | model}
    if model.get("kind"):
        job["model"] = model
    with pytest.raises(JobError) as caught:
        maker.load_job(job)
    assert says in str(caught.value)
    assert "sk-secret" not in str(caught.value)


def test_a_program_sees_no_secret_either() -> None:
    with pytest.raises(ValidationError) as caught:
        maker.openai(url="http://127.0.0.1:9/v1", name="m", headers={"Authorization": "Bearer sk-secret"})
    assert "sk-secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("tables", "says"),
    [
        ({"vote": {"voter": "weighted", "error": 0.1}}, "log-probabilities, which Anthropic's interface has not"),
        ({"monitor": {"policy": "decorrelate", "temperature": 1.2}}, "monitor.temperature = 1.2: m does not take it"),
        ({"model": {"temperature": 0.0}}, "all its votes would be identical"),
        (
            {"model": {"omit": ["temperature"]}, "monitor": {"policy": "decorrelate", "temperature": 0.5}},
            "monitor.temperature = 0.5: m does not take it",
        ),
    ],
)
def test_what_a_model_without_it_cannot_do_is_refused(hanoi: Job, tables: dict[str, Any], says: str) -> None:
    job = hanoi() | {"vote": {"k": 3}} | tables | {"model": ANTHROPIC | tables.get("model", {})}
    with pytest.raises(JobError) as caught:
        maker.load_job(job)
    assert says in str(caught.value)


def test_only_what_decides_the_replies_is_part_of_the_identity() -> None:
    """Of what is omitted that is temperature and top_p; without any of the new settings it is as it was."""
    plain = OpenAISettings(url="http://a/v1", name="m")
    assert set(plain.identity()) == {"kind", "name", "temperature", "top_p", "structured", "chat"}
    sent = plain.model_copy(update={"omit": ("seed", "stop", "max_tokens"), "api_version": "1", "headers": {"A": "B"}})
    assert sent.identity() == plain.identity()
    other = plain.model_copy(
        update={"omit": ("top_p", "seed", "temperature"), "extra_body": {"effort": "low"}, "reasoning_tokens": 9}
    )
    added = {"omit": ["temperature", "top_p"], "extra_body": {"effort": "low"}, "reasoning_tokens": 9}
    assert other.identity() == plain.identity() | added


def test_prices() -> None:
    """A million tokens each; what has no price of its own costs as its kind, and a batch is a price of its own."""
    given = {"url": "http://a/v1", "name": "m", "prompt_price": 2.0, "completion_price": 8.0}
    assert prices_of(OpenAISettings(**given)) == Prices(2e-6, 8e-6, 2e-6)
    cached = OpenAISettings(**given, cached_price=0.5)
    assert prices_of(cached) == Prices(2e-6, 8e-6, 0.5e-6)
    assert prices_of(cached, batch=True) == Prices(2e-6, 8e-6, 2e-6)
    half = cached.model_copy(update={"batch_prompt_price": 1.0, "batch_completion_price": 4.0})
    assert prices_of(half, batch=True) == Prices(1e-6, 4e-6, 1e-6)
    assert prices_of(AnthropicSettings(name="m", prompt_price=1.0)) is None
    assert Prices(2.0, 8.0, 0.5).of(10, 3, 4) == 6 * 2 + 4 * 0.5 + 3 * 8
    assert Prices(2.0, 8.0, 3.0).most(10, 3) == 10 * 3 + 3 * 8


def test_an_estimate_has_the_room_to_reason_and_a_request_for_each_vote(hanoi: Job) -> None:
    job = maker.load_job(hanoi() | {"model": ANTHROPIC | {"reasoning_tokens": 1000}})
    plain = maker.load_job(hanoi() | {"model": ANTHROPIC})
    found, without = estimate_run(job), estimate_run(plain)
    assert found is not None
    assert without is not None
    assert found.reply_tokens == without.reply_tokens + 1000
    assert votes_per_request(job) == [1]
    assert found.requests == 3


def test_anthropics_key_has_its_usual_name() -> None:
    settings = maker.anthropic(name="m")
    assert (settings.key_env, settings.url) == ("ANTHROPIC_API_KEY", "https://api.anthropic.com/v1")


def test_which_temperatures_a_model_takes() -> None:
    """Anthropic's take none above 1, and none beside a top_p."""
    plain, beside = AnthropicSettings(name="m"), AnthropicSettings(name="m", top_p=0.9)
    assert [plain.takes(0), plain.takes(1), plain.takes(1.5), beside.takes(0)] == [True, True, False, False]
    assert OpenAISettings(url="http://h/v1", name="m", top_p=0.9).takes(1.5)
    assert not OpenAISettings(url="http://h/v1", name="m", omit=("temperature",)).takes(0)
