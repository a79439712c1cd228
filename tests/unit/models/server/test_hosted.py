"""Hosted models against servers that refuse what the real ones refuse: what is sent, read, counted and told."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai_calls import Start, request

from maker.errors import ModelUnusable
from maker.models.dialects import anthropic_reply
from maker.models.dialects.dialect import dialect_of
from maker.models.dialects.openai_reply import Unreadable
from maker.models.server.keys import require_keys
from maker.models.server.openai import OpenAIModel
from maker.models.server_settings import AnthropicSettings, OpenAISettings, ServerSettings
from maker.testing import FakeReply, FakeRequest, FakeServer, HostedKind, HostedServer, chat_completion, collect
from maker.types import Failed, Finished, Flag, Request

KEY = "sk-hosted-0123456789"
REASONING = ("max_tokens", "temperature", "top_p", "seed", "stop")
ASKED = request(n=3, stop=("\n",), max_tokens=16)


def settings_for(server: HostedServer, **changes: Any) -> ServerSettings:
    """Return the settings that each kind of server needs."""
    common: dict[str, Any] = {"url": server.url, "name": "tiny", "key_env": "HOSTED_KEY"}
    of_kind: dict[HostedKind, dict[str, Any]] = {
        HostedKind.REASONING: {"omit": REASONING, "reasoning_tokens": 500},
        HostedKind.AZURE: {"api_version": "2024-10-21"},
        HostedKind.GATEWAY: {"headers": {"X-Organization": "HOSTED_ORG"}, "extra_body": {"provider": {"order": ["a"]}}},
        HostedKind.PLAIN: {"omit": ("seed",)},
        HostedKind.ANTHROPIC: {"reasoning_tokens": 500},
    }
    given = common | of_kind[server.kind] | changes
    return AnthropicSettings(**given) if server.kind is HostedKind.ANTHROPIC else OpenAISettings(**given)


def asked(settings: ServerSettings, *requests: Request) -> list[Finished | Failed]:
    """Return what becomes of requests."""
    model = OpenAIModel(settings)
    try:
        model.submit(requests)
        return collect(model, len(requests))
    finally:
        model.close()


def refusal(settings: ServerSettings, one: Request = ASKED) -> Failed:
    """Return how a request fails."""
    (answer,) = asked(settings, one)
    assert isinstance(answer, Failed)
    return answer


@pytest.fixture(autouse=True)
def _keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOSTED_KEY", KEY)
    monkeypatch.setenv("HOSTED_ORG", HostedServer.organization)


@pytest.mark.parametrize("kind", HostedKind)
def test_every_kind_is_asked_as_it_wants_and_its_bill_is_the_count(kind: HostedKind) -> None:
    """Two requests of the same shared part: the second one's is cached. Where there is no usage the count is above."""
    with HostedServer(kind, lambda prompt: "yes", key=KEY) as server:
        settings = settings_for(server)
        one, two = asked(settings, ASKED)[0], asked(settings, ASKED._replace(id=2))[0]
        bill = server.bill
    assert isinstance(one, Finished)
    assert isinstance(two, Finished)
    assert [sample.text for sample in (*one.samples, *two.samples)] == ["yes"] * 6
    counted = [
        bill.calls,
        bill.prompt_tokens,
        bill.completion_tokens,
        bill.cached_tokens,
    ]
    told = [
        6,
        one.prompt_tokens + two.prompt_tokens,
        one.completion_tokens + two.completion_tokens,
        one.cached_tokens + two.cached_tokens,
    ]
    if kind is HostedKind.PLAIN:
        assert [a <= b for a, b in zip(counted, told, strict=True)] == [True] * 4
    else:
        assert told == counted
        assert bill.cached_tokens > 0
    # Nothing is refused but the n of a server that has none.
    assert bill.refused == (2 if kind is HostedKind.REASONING else 0)


class TestWhatIsSent:
    def test_a_reasoning_model_gets_room_to_reason(self) -> None:
        with HostedServer(HostedKind.REASONING, lambda prompt: "yes") as server:
            asked(settings_for(server, key_env=""), ASKED._replace(n=1))
            (sent,) = server.requests
        assert sent.body == {
            "model": "tiny",
            "max_completion_tokens": 516,
            "messages": [{"role": "system", "content": "Rules. "}, {"role": "user", "content": "Move?"}],
        }

    @pytest.mark.parametrize("ending", ["", "/openai", "/openai/deployments/tiny"])
    def test_azure_is_asked_at_its_deployment(self, ending: str) -> None:
        with HostedServer(HostedKind.AZURE, lambda prompt: "yes", key=KEY) as server:
            (answer,) = asked(settings_for(server, url=server.url + ending), ASKED)
            (sent,) = server.requests
        assert isinstance(answer, Finished)
        assert sent.path == "/openai/deployments/tiny/chat/completions?api-version=2024-10-21"
        assert sent.headers["api-key"] == KEY
        assert "authorization" not in sent.headers

    def test_a_reply_name_is_held_against_azures_replies(self) -> None:
        with HostedServer(HostedKind.AZURE, lambda prompt: "yes", key=KEY) as server:
            failed = refusal(settings_for(server, reply_name="another"))
        assert failed.lost
        assert "'a-model-of-azure'" in failed.reason

    def test_headers_and_fields_of_a_gateway(self) -> None:
        """A header of the user's stands in place of maker's own, whatever its capitals."""
        with HostedServer(HostedKind.GATEWAY, lambda prompt: "yes") as server:
            headers = {"X-Organization": "HOSTED_ORG", "authorization": "HOSTED_KEY"}
            asked(settings_for(server, headers=headers), ASKED)
            (sent,) = server.requests
        assert sent.body["provider"] == {"order": ["a"]}
        assert sent.body["n"] == 3
        assert sent.headers["x-organization"] == "acme"
        assert sent.headers["authorization"] == KEY

    def test_a_message(self) -> None:
        """What is as the interface has it anyway is not sent; a blank stop is not taken, and cuts all the same."""
        with HostedServer(HostedKind.ANTHROPIC, lambda prompt: "yes\nno", key=KEY) as server:
            (answer,) = asked(settings_for(server), ASKED._replace(n=1, stop=("\n", "END")))
            (sent,) = server.requests
        assert isinstance(answer, Finished)
        assert answer.samples[0].text == "yes"
        assert sent.path == "/v1/messages"
        assert (sent.headers["x-api-key"], sent.headers["anthropic-version"]) == (KEY, "2023-06-01")
        assert sent.body == {
            "model": "tiny",
            "max_tokens": 516,
            "system": "Rules. ",
            "messages": [{"role": "user", "content": "Move?"}],
            "stop_sequences": ["END"],
        }

    def test_a_messages_temperature_and_schema(self) -> None:
        """Another temperature is sent; the schema joins what else stands in ``output_config``."""
        schema = {"type": "object", "properties": {}, "required": [], "additionalProperties": False}
        message = {"content": [{"type": "text", "text": "{}"}], "stop_reason": "end_turn", "model": "tiny"}
        with FakeServer(lambda body: (200, message)) as server:
            settings = AnthropicSettings(
                url=server.url, name="tiny", key_env="", temperature=0.5, structured="schema",
                extra_body={"output_config": {"effort": "low"}},
            )  # fmt: skip
            asked(settings, ASKED._replace(n=1, schema=schema))
            (sent,) = server.requests
        assert sent.body["temperature"] == 0.5
        assert sent.body["output_config"] == {"effort": "low", "format": {"type": "json_schema", "schema": schema}}
        assert "x-api-key" not in sent.headers

    def test_stops_that_a_server_does_not_take_cut_here(self) -> None:
        """What comes after one is gone, and that the reply was cut there too."""
        body = chat_completion(["yes\nno", "no", "\n"], finish="length")
        with FakeServer(lambda sent: (200, body)) as server:
            settings = OpenAISettings(url=server.url, name="tiny", omit=("stop",))
            (answer,) = asked(settings, ASKED)
        assert isinstance(answer, Finished)
        assert [(sample.text, sample.cut) for sample in answer.samples] == [("yes", False), ("no", True), ("", False)]


class TestRefusals:
    def test_all_that_a_reasoning_model_refuses_is_told_at_once(self) -> None:
        """It is asked without, until it answers: one reply is billed, and gets no vote. Then nothing is sent."""
        with HostedServer(HostedKind.REASONING, lambda prompt: "yes") as server:
            settings = settings_for(server, omit=(), key_env="")
            model = OpenAIModel(settings)
            model.submit([ASKED])
            (failed,) = collect(model, 1)
            sent = len(server.requests)
            model.submit([ASKED._replace(id=2)])
            (again,) = collect(model, 1)
            model.close()
            bill = server.bill
            assert len(server.requests) == sent
        assert isinstance(failed, Failed)
        assert isinstance(again, Failed)
        assert 'set model.omit = ["max_tokens", "temperature", "top_p", "seed", "stop"]' in failed.fix
        assert "cannot be drawn again" in failed.fix
        assert (failed.unusable, failed.refused, failed.lost) == (True, False, False)
        assert (failed.calls, failed.prompt_tokens, failed.completion_tokens) == (1, *bill[3:6:2])
        assert (again.fix, again.calls) == (failed.fix, 0)

    def test_what_is_omitted_already_stays_omitted(self) -> None:
        with HostedServer(HostedKind.REASONING, lambda prompt: "yes") as server:
            failed = refusal(settings_for(server, omit=("max_tokens", "top_p", "stop"), key_env=""))
        assert 'set model.omit = ["max_tokens", "temperature", "top_p", "seed", "stop"]' in failed.fix

    @pytest.mark.parametrize(
        ("kind", "changes", "fix"),
        [
            (HostedKind.PLAIN, {"omit": ()}, 'model.omit = ["seed"]'),
            (HostedKind.ANTHROPIC, {"temperature": 0.5}, "and leave model.temperature out"),
            (HostedKind.ANTHROPIC, {"temperature": 0.5}, 'model.omit = ["temperature"]'),
            (HostedKind.ANTHROPIC, {"top_p": 0.5}, "leave model.top_p out"),
            (HostedKind.ANTHROPIC, {"extra_body": {"effort": "low"}}, "take effort out of model.extra_body"),
            (HostedKind.ANTHROPIC, {"key_env": ""}, "model.key_env"),
            (HostedKind.GATEWAY, {"headers": {}}, "name it in model.headers"),
            (HostedKind.GATEWAY, {"headers": {}, "key_env": ""}, "name it in model.headers"),
            (HostedKind.AZURE, {"api_version": ""}, "for an Azure deployment set model.api_version"),
            (
                HostedKind.AZURE,
                {"name": "o", "url": "{url}/openai/deployments/tiny"},
                "model.api_version = '2024-10-21'",
            ),
        ],
    )
    def test_each_names_its_setting(self, kind: HostedKind, changes: dict[str, Any], fix: str) -> None:
        with HostedServer(kind, lambda prompt: "yes", key=KEY) as server:
            if "url" in changes:
                changes = changes | {"url": changes["url"].format(url=server.url)}
            failed = refusal(settings_for(server, **changes))
        assert fix in failed.fix
        assert failed.unusable
        assert KEY not in failed.reason + failed.fix

    def test_a_server_that_only_streams(self) -> None:
        with FakeServer(lambda _: (400, {"error": {"message": "Only streaming requests are supported."}})) as server:
            failed = refusal(OpenAISettings(url=server.url, name="m"))
        assert "does not take them in streams" in failed.fix

    def test_a_server_with_anthropics_interface_asked_as_openais(self) -> None:
        said = {"type": "error", "error": {"type": "authentication_error", "message": "x-api-key header is required"}}
        with FakeServer(lambda _: (401, said)) as server:
            failed = refusal(OpenAISettings(url=server.url, name="m"))
        assert 'model.kind = "anthropic"' in failed.fix

    @pytest.mark.parametrize(
        "said",
        [
            {"error": {"message": "max_tokens is too large: 516. At most 100 tokens are left.", "param": "max_tokens"}},
            {"error": {"message": "This model's maximum context length is 8 tokens; lower max_tokens"}},
            {"error": {"message": "temperature must be between 0 and 2"}},
            {"error": {"message": "content not allowed: it asks to raise the temperature and to sow a seed"}},
            {"error": {"message": "Unsupported value: 'messages[0].role' does not support 'system'"}},
        ],
    )
    def test_a_value_or_a_prompt_that_is_refused_is_no_field(self, said: Any) -> None:
        """Another prompt may be answered: nothing is to be omitted."""
        with FakeServer(lambda _: (400, said)) as server:
            failed = refusal(OpenAISettings(url=server.url, name="m"), ASKED._replace(n=1))
        assert failed.refused
        assert "model.omit" not in failed.fix

    @pytest.mark.parametrize(
        ("status", "said", "omit"),
        [
            (422, {"detail": [{"type": "extra_forbidden", "loc": ["body", "seed"], "msg": "Extra inputs"}]}, "seed"),
            (400, {"error": {"message": "top_p: Extra inputs are not permitted"}}, "top_p"),
            (400, {"error": "`temperature` and `top_p` cannot both be specified for this model."}, "temperature"),
            (400, {"message": "property 'seed' is unsupported"}, "seed"),
            (400, {"message": "temperature is not supported by this model"}, "temperature"),
        ],
    )
    def test_how_servers_say_that_they_take_no_field(self, status: int, said: Any, omit: str) -> None:
        with FakeServer(lambda body: (status, said) if omit in body else (200, chat_completion(["A"]))) as server:
            failed = refusal(OpenAISettings(url=server.url, name="m"))
        assert f'model.omit = ["{omit}"]' in failed.fix

    @pytest.mark.parametrize(
        ("changes", "field", "fix"),
        [
            ({"logprobs": True, "omit": ("seed",)}, "logprobs", "set model.logprobs = false"),
            ({"omit": ("max_tokens",)}, "max_completion_tokens", "take max_tokens out of model.omit"),
        ],
    )
    def test_what_other_settings_ask_for(self, changes: dict[str, Any], field: str, fix: str) -> None:
        """What was omitted before is not named again."""
        said = {"error": {"message": f"Unsupported parameter: '{field}'", "param": field}}
        with FakeServer(lambda body: (400, said) if field in body else (200, chat_completion(["A"]))) as server:
            failed = refusal(OpenAISettings(url=server.url, name="m", **changes))
        assert failed.fix == fix

    def test_a_prompt_that_is_refused_while_fields_are_looked_for(self) -> None:
        """What was found until then is told."""

        def script(body: Any) -> FakeReply:
            if "seed" in body:
                return FakeReply(400, {"error": {"message": "Unsupported parameter: seed"}})
            return FakeReply(400, {"error": {"message": "the prompt is too long"}})

        with FakeServer(script) as server:
            failed = refusal(OpenAISettings(url=server.url, name="m"))
        assert 'set model.omit = ["seed"]' in failed.fix

    def test_no_header_is_shown(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A server that repeats what it was sent gives nothing away."""
        monkeypatch.setenv("HOSTED_ORG", "header-secret-99")
        said = {"error": {"message": f"no such organization: header-secret-99, key {KEY}"}}
        with FakeServer(lambda _: (403, said)) as server:
            headers = {"X-Organization": "HOSTED_ORG"}
            failed = refusal(OpenAISettings(url=server.url, name="m", key_env="HOSTED_KEY", headers=headers))
        assert "no such organization: [key], key [key]" in failed.reason

    def test_a_header_whose_variable_is_not_set(self) -> None:
        settings = OpenAISettings(url="http://127.0.0.1:9/v1", name="m", headers={"X-Organization": "NOT_SET_AT_ALL"})
        with pytest.raises(ModelUnusable, match="NOT_SET_AT_ALL, which model"):
            OpenAIModel(settings)


@pytest.mark.parametrize("kind", HostedKind)
def test_bodies_and_replies_need_no_connection(kind: HostedKind) -> None:
    """As in a batch of requests: what a server made of a body is read by whoever has the body and the settings."""
    with HostedServer(kind, lambda prompt: "yes") as server:
        settings = settings_for(server)
        dialect, one = dialect_of(settings), settings.with_room(ASKED._replace(n=1))
        url = urlsplit(dialect.url)
        headers = dialect.headers(KEY) | {"x-organization": server.organization}
        body = json.loads(json.dumps(dialect.body(one)))
        sent = FakeRequest(f"{url.path}?{url.query}".rstrip("?"), headers, body, 0.0)
        answered = server.reply_to(sent)
        assert answered.status == 200
        reply = dialect.read(answered.json, one)
        assert [sample.text for sample in reply.samples] == ["yes"]
        assert reply.completion_tokens == server.bill.completion_tokens or kind is HostedKind.PLAIN


class TestReasoning:
    @pytest.mark.parametrize("kind", [HostedKind.REASONING, HostedKind.ANTHROPIC])
    def test_a_reply_that_is_cut_in_its_reasoning_is_told_apart(self, kind: HostedKind) -> None:
        """It takes all its room and has no text: a red flag of its own, that says what to raise."""
        with HostedServer(kind, lambda prompt: "yes", reasons=(100, 120), key=KEY) as server:
            (answer,) = asked(settings_for(server, reasoning_tokens=50), ASKED._replace(n=1))
            bill = server.bill
        assert isinstance(answer, Finished)
        (sample,) = answer.samples
        assert sample.flag is not None
        assert (sample.flag.reason, sample.tokens, bill.completion_tokens) == (Flag.REASONING, 66, 66)
        assert "model.reasoning_tokens" in sample.flag.detail

    def test_reasoning_that_the_server_reports_needs_no_setting_to_be_seen(self) -> None:
        with HostedServer(HostedKind.REASONING, lambda prompt: "yes", reasons=(100, 120)) as server:
            (answer,) = asked(settings_for(server, reasoning_tokens=0, key_env=""), ASKED._replace(n=1))
        assert isinstance(answer, Finished)
        assert answer.samples[0].flag is not None
        assert answer.samples[0].flag.reason is Flag.REASONING

    def test_a_reply_that_is_cut_after_it_began_is_cut(self) -> None:
        with HostedServer(HostedKind.REASONING, lambda prompt: "yes" * 10, reasons=(50, 50)) as server:
            (answer,) = asked(settings_for(server, reasoning_tokens=40, key_env=""), ASKED._replace(n=1))
        assert isinstance(answer, Finished)
        (sample,) = answer.samples
        assert (sample.text, sample.cut, sample.flag) == ("yesyes", True, None)

    def test_it_is_covered_before_it_is_spent(self, start: Start) -> None:
        """12 bytes and 64 for a chat's frame, and 16 + 500 tokens a reply."""
        model = start("http://127.0.0.1:9/v1", reasoning_tokens=500)
        assert model.reply_tokens(ASKED) == 516
        assert model.worst_tokens(ASKED) == 3 * (76 + 516)

    def test_without_a_usage_it_counts_with_all_its_room(self) -> None:
        """Nobody sees how long the model reasoned: a text of three bytes may have taken all of 516 tokens."""
        body = chat_completion(["yes"])
        del body["usage"]
        with FakeServer(lambda _: (200, body)) as server:
            settings = OpenAISettings(url=server.url, name="tiny", reasoning_tokens=500)
            (answer,) = asked(settings, ASKED._replace(n=1))
        assert isinstance(answer, Finished)
        assert answer.completion_tokens == 516

    def test_reasoning_counted_beside_the_completion_is_added(self) -> None:
        """The total says that it is beside, not within: 7 + 5 + 40."""
        usage = {"prompt_tokens": 7, "completion_tokens": 5, "completion_tokens_details": {"reasoning_tokens": 40}}
        replies = iter([{**usage, "total_tokens": 52}, {**usage, "total_tokens": 12}])
        with FakeServer(lambda _: (200, chat_completion(["yes"]) | {"usage": next(replies)})) as server:
            settings = OpenAISettings(url=server.url, name="tiny")
            counts = [asked(settings, ASKED._replace(n=1))[0].completion_tokens for _ in range(2)]
        assert counts == [45, 5]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
PART = st.fixed_dictionaries({"type": st.sampled_from(["text", "thinking", "tool_use"]), "text": JSON}) | JSON
MESSAGES = JSON | st.fixed_dictionaries(
    {"content": st.lists(PART) | JSON},
    optional={
        "stop_reason": st.sampled_from(["end_turn", "max_tokens", "refusal"]) | JSON,
        "stop_details": st.fixed_dictionaries({"explanation": JSON}) | JSON,
        "usage": st.dictionaries(st.sampled_from(["input_tokens", "output_tokens", "cache_read_input_tokens"]), JSON)
        | JSON,
        "model": JSON,
    },
)


class TestMessages:
    """Replies of Anthropic's interface that are not what they should be."""

    @given(MESSAGES)
    def test_whatever_is_sent_is_a_sample_or_unreadable(self, answer: Any) -> None:
        """A sample that may vote has come to its own end; counts are never below nothing."""
        try:
            reply = anthropic_reply.read(answer, ASKED._replace(n=1))
        except Unreadable:
            return
        assert reply.calls == 1
        assert 0 <= reply.cached_tokens <= reply.prompt_tokens
        assert reply.completion_tokens >= 0
        (sample,) = reply.samples
        ended = isinstance(answer, dict) and answer.get("stop_reason") in ("end_turn", None, "")
        assert ended or sample.cut or sample.flag is not None or not sample.text.strip()

    @pytest.mark.parametrize(
        ("changes", "flag"),
        [
            ({"stop_reason": "refusal", "content": []}, Flag.REFUSAL),
            ({"stop_reason": "refusal", "stop_details": {"explanation": "no"}}, Flag.REFUSAL),
            ({"stop_reason": "tool_use", "content": [{"type": "tool_use", "name": "f"}]}, Flag.TOOL_CALL),
            ({"stop_reason": "pause_turn"}, Flag.BROKEN),
            ({"content": [{"type": "thinking", "thinking": "so"}]}, Flag.REASONING),
            ({"content": [{"type": "image"}]}, Flag.NO_TEXT),
            ({"stop_reason": ["odd"]}, Flag.BROKEN),
        ],
    )
    def test_have_the_flags_of_all_replies(self, changes: dict[str, Any], flag: Flag) -> None:
        good = {"content": [{"type": "text", "text": "yes"}], "stop_reason": "end_turn", "usage": {}}
        with FakeServer(lambda _: (200, good | changes)) as server:
            (answer,) = asked(AnthropicSettings(url=server.url, name="m", key_env=""), ASKED._replace(n=1))
        assert isinstance(answer, Finished)
        assert answer.samples[0].flag is not None
        assert answer.samples[0].flag.reason is flag

    def test_a_full_context_is_a_cut(self) -> None:
        body = {"content": [{"type": "text", "text": "ye"}], "stop_reason": "model_context_window_exceeded"}
        with FakeServer(lambda _: (200, body)) as server:
            (answer,) = asked(AnthropicSettings(url=server.url, name="m", key_env=""), ASKED._replace(n=1))
        assert isinstance(answer, Finished)
        assert answer.samples[0].cut

    @pytest.mark.parametrize("usage", [None, [], {"input_tokens": "7"}, {"input_tokens": -1, "output_tokens": True}])
    def test_a_usage_that_is_none_counts_at_its_upper_bound(self, usage: Any) -> None:
        body = {"content": [{"type": "text", "text": "yes"}], "stop_reason": "end_turn", "usage": usage}
        with FakeServer(lambda _: (200, body)) as server:
            (answer,) = asked(AnthropicSettings(url=server.url, name="m", key_env=""), ASKED._replace(n=1))
        assert isinstance(answer, Finished)
        assert (answer.prompt_tokens, answer.completion_tokens) == (76, 4)

    @pytest.mark.parametrize("body", [[], {}, {"content": "yes"}, "yes", {"error": {"message": "odd"}}])
    def test_what_is_no_message_is_lost(self, body: Any) -> None:
        with FakeServer(lambda _: (200, body)) as server:
            failed = refusal(AnthropicSettings(url=server.url, name="m", key_env=""), ASKED._replace(n=1))
        assert failed.lost
        assert "Messages API" in failed.fix

    def test_another_models_reply_is_billed_with_its_cache(self) -> None:
        usage = {"input_tokens": 5, "cache_read_input_tokens": 40, "cache_creation_input_tokens": 2, "output_tokens": 3}
        body = {"content": [{"type": "text", "text": "yes"}], "stop_reason": "end_turn", "model": "x", "usage": usage}
        with FakeServer(lambda _: (200, body)) as server:
            failed = refusal(AnthropicSettings(url=server.url, name="m", key_env=""), ASKED._replace(n=1))
        assert (failed.calls, failed.prompt_tokens, failed.cached_tokens, failed.completion_tokens) == (1, 47, 40, 3)


@pytest.mark.parametrize("kind", HostedKind)
def test_a_fallback_is_asked_as_the_first_one_is(kind: HostedKind, monkeypatch: pytest.MonkeyPatch) -> None:
    """At its own address with its own key; headers, fields and what is omitted are those of the model."""
    monkeypatch.setenv("SECOND_KEY", "sk-second-0123456789")
    with (
        FakeServer(lambda _: FakeReply(503, {"error": "down"})) as down,
        HostedServer(kind, lambda prompt: "yes", key="sk-second-0123456789") as second,
    ):
        fallbacks = [{"url": second.url, "key_env": "SECOND_KEY"}]
        (answer,) = asked(settings_for(second, url=down.url, fallbacks=fallbacks), ASKED)
    assert isinstance(answer, Finished)
    assert [sample.text for sample in answer.samples] == ["yes"] * 3


def test_keys_of_all_servers_and_headers_are_asked_for_before_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is missing is told by its variable, whichever kind of server wants it."""
    fallbacks = [{"url": "http://127.0.0.1:2/v1", "key_env": "SECOND_KEY"}]
    member = AnthropicSettings(
        name="m", key_env="HOSTED_KEY", fallbacks=fallbacks, headers={"X-Organization": "HOSTED_ORG"}
    )
    monkeypatch.delenv("SECOND_KEY", raising=False)
    with pytest.raises(ModelUnusable, match="SECOND_KEY"):
        require_keys([member])
    monkeypatch.setenv("SECOND_KEY", "sk-second-0123456789")
    require_keys([member])
    monkeypatch.delenv("HOSTED_ORG")
    with pytest.raises(ModelUnusable, match="HOSTED_ORG"):
        require_keys([member])
