"""What is made of the JSON of a reply: tokens, log-probabilities, choices, and why one can get no vote."""

from __future__ import annotations

from typing import Any

import pytest
from openai_calls import request

from maker.models.dialects.openai_reply import MOST_TOKENS, Unreadable, read
from maker.testing import chat_completion, completion
from maker.types import Flag, RedFlag, Sample

PROMPT_BOUND = len("Rules. Move?") + 64


def one(**changes: Any) -> dict[str, Any]:
    """Return a chat's reply of one choice, with changes to its message."""
    body = chat_completion(["A"])
    body["choices"][0]["message"].update(changes)
    return body


def flag(body: Any) -> RedFlag | None:
    """Return the flag of the only sample of a reply."""
    (sample,) = read(body, request(n=1)).samples
    return sample.flag


class TestUsage:
    @pytest.mark.parametrize(
        "count", [None, "20", 20.0, -5, True, float("nan"), float("inf"), 10**30, MOST_TOKENS + 1, [], {}]
    )
    def test_what_cannot_be_read_counts_at_its_upper_bound(self, count: Any) -> None:
        """As with no usage at all: the bytes of the prompt and 64, the bytes of each text and 1, 16 at most."""
        body = completion(["yes", "x" * 50])
        body["usage"] = {"prompt_tokens": count, "completion_tokens": count}
        reply = read(body, request(n=2))
        assert (reply.prompt_tokens, reply.completion_tokens) == (PROMPT_BOUND, 4 + 16)
        assert [sample.tokens for sample in reply.samples] == [4, 16]

    @pytest.mark.parametrize("usage", [None, 7, [1], "many", {}])
    def test_a_usage_that_is_none_counts_at_its_upper_bound(self, usage: Any) -> None:
        reply = read(completion(["yes"]) | {"usage": usage}, request(n=1))
        assert (reply.prompt_tokens, reply.completion_tokens) == (PROMPT_BOUND, 4)

    def test_each_count_stands_by_itself(self) -> None:
        body = completion(["yes"]) | {"usage": {"prompt_tokens": 3, "completion_tokens": None}}
        reply = read(body, request(n=1))
        assert (reply.prompt_tokens, reply.completion_tokens) == (3, 4)

    def test_the_count_of_one_choice_is_not_that_of_three(self) -> None:
        """Two words each make six tokens at least: a server that reports five has counted one choice."""
        text = '{"answer": 7}'
        body = completion([text] * 3) | {"usage": {"prompt_tokens": 7, "completion_tokens": 5}}
        assert read(body, request()).completion_tokens == 3 * (len(text) + 1)

    @pytest.mark.parametrize(
        ("text", "tokens"),
        [
            ("(self", 1), ("don't", 1), ("I don't", 2), ("naïve", 1), ("हिन्दी", 1), ("snake_case", 1), (">", 1),
            ("\N{GRINNING FACE}", 1), ("</td>", 1), ("<table><tr><td>7</td></tr></table>", 7), ("<|im_end|>", 1),
            ("x;\n//", 2),
        ],
    )  # fmt: skip
    def test_what_may_be_few_tokens_is_not_taken_for_more(self, text: str, tokens: int) -> None:
        """Tokenizers of today write contractions, tags, and signs with a line end as one token."""
        body = completion([text]) | {"usage": {"prompt_tokens": 7, "completion_tokens": tokens}}
        assert read(body, request(n=1)).completion_tokens == tokens

    @pytest.mark.parametrize("n", range(2, 9))
    @pytest.mark.parametrize(
        ("text", "tokens"), [('{"tone": "positive"}', 7), ("1AC", 3), ("yes", 1), ("The answer is 42.", 6)]
    )
    def test_the_count_of_one_choice_of_n_never_counts_for_all(self, text: str, tokens: int, n: int) -> None:
        """A request of n replies costs n times what the server reports of one: no less is counted."""
        body = completion([text] * n) | {"usage": {"prompt_tokens": 7, "completion_tokens": tokens}}
        reply = read(body, request(n=n, max_tokens=64))
        assert reply.completion_tokens == n * (len(text) + 1) >= n * tokens
        assert reply.counts_all is False

    @pytest.mark.parametrize(("spoken", "told"), [(3, False), (4, None), (8, None), (9, True)])
    def test_a_count_may_tell_what_it_is_of(self, spoken: int, told: bool | None) -> None:
        """Two texts of a word and a number take four tokens at least, and one of them eight at most."""
        body = completion(["7 boxes", "8 men"]) | {"usage": {"prompt_tokens": 7, "completion_tokens": spoken}}
        assert read(body, request(n=2)).counts_all is told

    def test_a_count_in_doubt_is_read_as_the_server_was_found_to_count(self) -> None:
        """What may be of one choice counts for all of them, until the server is known to count one."""
        body = completion(["1AC"] * 2) | {"usage": {"prompt_tokens": 7, "completion_tokens": 4}}
        assert read(body, request(n=2)).completion_tokens == 4
        assert read(body, request(n=2), counts_all=False).completion_tokens == 8
        assert read(completion(["1AC"]), request(n=1), counts_all=False).completion_tokens == 5

    @pytest.mark.parametrize("text", ['{"a":1,"b":2}', "a.b.c.d", "yes, it is"])
    def test_no_text_has_fewer_tokens_than_words(self, text: str) -> None:
        body = completion([text]) | {"usage": {"prompt_tokens": 7, "completion_tokens": 2}}
        assert read(body, request(n=1)).completion_tokens == min(16, len(text) + 1)

    def test_zero_tokens_for_a_text_and_for_a_prompt_are_no_count(self) -> None:
        body = completion(["yes"]) | {"usage": {"prompt_tokens": 0, "completion_tokens": 0}}
        reply = read(body, request(n=1))
        assert (reply.prompt_tokens, reply.completion_tokens) == (PROMPT_BOUND, 4)

    def test_more_than_was_asked_for_is_believed(self) -> None:
        """Reasoning that is not shown may exceed max_tokens."""
        body = completion(["yes"]) | {"usage": {"prompt_tokens": 7, "completion_tokens": 5000}}
        assert read(body, request(n=1)).completion_tokens == 5000

    def test_a_choice_that_is_more_than_its_text_counts_with_max_tokens(self) -> None:
        body = one(reasoning_content="Let me see")
        del body["usage"]
        assert read(body, request(n=1)).completion_tokens == 16

    def test_half_a_surrogate_has_bytes(self) -> None:
        body = completion(["\ud800"])
        del body["usage"]
        assert read(body, request(n=1)).completion_tokens == 4

    @pytest.mark.parametrize(("cached", "counted"), [(3, 3), (99, 7), (-4, 0), (10**30, 0), (True, 0), ("3", 0)])
    def test_cached_tokens_are_at_most_those_of_the_prompt(self, cached: Any, counted: int) -> None:
        body = completion(["yes"])
        body["usage"]["prompt_tokens_details"] = {"cached_tokens": cached}
        assert read(body, request(n=1)).cached_tokens == counted


class TestLogprobs:
    @pytest.mark.parametrize(
        "value", [float("nan"), float("inf"), float("-inf"), -(10**400), "-1", None, True, [], 0.5]
    )
    def test_what_is_no_logarithm_of_a_probability_is_missing(self, value: Any) -> None:
        body = chat_completion(["A"])
        body["choices"][0]["logprobs"] = {"content": [{"logprob": -0.5}, {"logprob": value}]}
        assert read(body, request(n=1)).samples == (Sample("A", 5),)

    def test_a_sum_beyond_all_numbers_is_missing(self) -> None:
        body = chat_completion(["A"])
        body["choices"][0]["logprobs"] = {"content": [{"logprob": -1e308}] * 2}
        assert read(body, request(n=1)).samples == (Sample("A", 5),)

    def test_fewer_log_probabilities_than_tokens_do_not_stand_for_a_count(self) -> None:
        """One for a text of three words is not its number of tokens."""
        body = chat_completion(["one two three"])
        body["choices"][0]["logprobs"] = {"content": [{"logprob": -0.5}]}
        del body["usage"]
        assert read(body, request(n=1)).completion_tokens == 14


class TestChoices:
    def test_surplus_choices_are_billed_and_do_not_vote(self) -> None:
        reply = read(completion(list("ABCDE")), request())
        assert [sample.text for sample in reply.samples] == ["A", "B", "C"]
        assert (reply.calls, reply.surplus, reply.completion_tokens) == (5, 2, 25)

    def test_a_choice_that_is_repeated_has_one_vote(self) -> None:
        body = completion(["A", "A", "A"])
        for choice in body["choices"]:
            choice["index"] = 0
        reply = read(body, request())
        assert [sample.text for sample in reply.samples] == ["A"]
        assert (reply.calls, reply.surplus, reply.completion_tokens) == (3, 2, 15)

    @pytest.mark.parametrize("index", [None, "0", 0.0, False, float("nan")])
    def test_without_an_index_that_can_be_read_the_place_counts(self, index: Any) -> None:
        body = completion(["A", "B", "C"])
        for choice in body["choices"]:
            choice["index"] = index
        reply = read(body, request())
        assert [sample.text for sample in reply.samples] == ["A", "B", "C"]
        assert reply.surplus == 0

    def test_no_choices_with_a_usage_are_flagged_calls(self) -> None:
        """As many as were asked for, so that the step takes its turn with them."""
        reply = read(completion([]) | {"error": {"message": "out of\nmemory"}}, request())
        flagged = RedFlag(Flag.NO_TEXT, "the server sent no choices: out of memory")
        assert reply.samples == (Sample("", 0, flag=flagged),) * 3
        assert (reply.prompt_tokens, reply.completion_tokens, reply.calls) == (7, 0, 3)

    @pytest.mark.parametrize("body", [None, 7, "x", [], {}, {"choices": []}, {"choices": [7]}, {"choices": "yes"}])
    def test_what_follows_no_protocol_and_tells_no_cost_is_unreadable(self, body: Any) -> None:
        with pytest.raises(Unreadable):
            read(body, request())

    def test_one_bad_choice_leaves_the_others_their_votes(self) -> None:
        body = completion(["A", "B", "C"])
        body["choices"][1] = None
        flags = [sample.flag for sample in read(body, request()).samples]
        assert flags == [None, RedFlag(Flag.NO_TEXT, "a choice is null"), None]


class TestContent:
    def test_the_text_parts_of_a_list_are_joined(self) -> None:
        """Reasoning is none of the answer."""
        parts = [
            {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]},
            {"type": "text", "text": '{"a"'},
            {"type": "output_text", "text": ": 1}"},
        ]
        (sample,) = read(one(content=parts), request(n=1)).samples
        assert (sample.text, sample.flag) == ('{"a": 1}', None)

    @pytest.mark.parametrize(
        ("content", "detail"),
        [
            ([{"type": "text", "text": "A"}, {"type": "image_url"}], "its content has a part of type image_url"),
            ([7], "its content has a part of type a number"),
            ([{"type": "text", "text": 7}], "its content has a part of type text"),
            ({"text": "A"}, "its content is an object"),
            (7, "its content is a number"),
            (False, "its content is true or false"),
        ],
    )
    def test_content_of_another_kind_is_flagged(self, content: Any, detail: str) -> None:
        assert flag(one(content=content)) == RedFlag(Flag.NO_TEXT, detail)

    @pytest.mark.parametrize(
        ("changes", "reason", "detail"),
        [
            ({"content": None, "refusal": "I can\u2019t\nhelp"}, Flag.REFUSAL, "I can\u2019t help"),
            ({"content": [{"type": "refusal", "refusal": "No"}]}, Flag.REFUSAL, "No"),
            ({"content": None, "tool_calls": [{"function": {"name": "search"}}]}, Flag.TOOL_CALL, "search"),
            ({"content": None, "tool_calls": [{"function": 7}]}, Flag.TOOL_CALL, ""),
            ({"content": None, "function_call": {"name": "look"}}, Flag.TOOL_CALL, "look"),
            ({"content": "", "reasoning_content": "A"}, Flag.REASONING, "reasoning, and no answer after it"),
            ({"content": " ", "reasoning": "A"}, Flag.REASONING, "reasoning, and no answer after it"),
            ({"content": [{"type": "thinking"}]}, Flag.REASONING, "reasoning, and no answer after it"),
        ],
    )
    def test_each_cause_of_an_empty_reply_has_its_flag(
        self, changes: dict[str, Any], reason: Flag, detail: str
    ) -> None:
        assert flag(one(**changes)) == RedFlag(reason, detail)

    def test_a_blank_reply_is_left_to_the_red_flagger(self) -> None:
        assert flag(one(content=None)) is None

    @pytest.mark.parametrize("more", [{"reasoning_content": "hm"}, {"tool_calls": []}, {"refusal": None}])
    def test_an_answer_beside_something_else_votes(self, more: dict[str, Any]) -> None:
        assert flag(one(**more)) is None


class TestEnds:
    @pytest.mark.parametrize("reason", [None, "stop", "eos_token", "stop_sequence", "STOP", "end_turn"])
    def test_a_natural_end_votes(self, reason: Any) -> None:
        body = completion(["A"])
        body["choices"][0]["finish_reason"] = reason
        assert read(body, request(n=1)).samples == (Sample("A", 5),)

    @pytest.mark.parametrize("reason", ["length", "max_tokens", "model_length"])
    def test_a_token_limit_is_a_cut(self, reason: str) -> None:
        assert read(completion(["A"], finish=reason), request(n=1)).samples == (Sample("A", 5, cut=True),)

    @pytest.mark.parametrize(
        ("reason", "found"),
        [
            ("content_filter", RedFlag(Flag.CONTENT_FILTER, "finish_reason content_filter")),
            ("SAFETY", RedFlag(Flag.CONTENT_FILTER, "finish_reason safety")),
            ("tool_calls", RedFlag(Flag.TOOL_CALL, "finish_reason tool_calls")),
            ("error", RedFlag(Flag.BROKEN, "finish_reason error")),
            ("abort", RedFlag(Flag.BROKEN, "finish_reason abort")),
            ("never heard of", RedFlag(Flag.BROKEN, "finish_reason never heard of")),
            (7, RedFlag(Flag.BROKEN, "finish_reason a number")),
        ],
    )
    def test_what_the_server_broke_off_gets_no_vote(self, reason: Any, found: RedFlag) -> None:
        body = completion(["A"])
        body["choices"][0]["finish_reason"] = reason
        assert flag(body) == found
