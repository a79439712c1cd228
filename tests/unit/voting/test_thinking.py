"""Thinking aloud is never the answer: what is taken off a reply, and what makes it unreadable."""

from __future__ import annotations

import json
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maker.plugin import Step, StepClass
from maker.types import Flag, RedFlag, Sample
from maker.voting.election import Election
from maker.voting.red_flags import Candidate, screen
from maker.voting.thinking import AS_IT_IS, KNOWN, OnlyThinking, Thinking
from voters.first_to_ahead_by_k import FirstToAheadByK, FirstToAheadByKParams

PAIRS = [
    ("<think>", "</think>"),
    ("<Thinking>", "</thinking >"),
    ("<reasoning>", "</reasoning>"),
    ("<thought>", "</thought>"),
    ("<seed:think>", "</seed:think>"),
    ("<mm:think>", "</mm:think>"),
    ("<ifm|think_faster>", "</ifm|think_faster>"),
    ("<think:high>", "</think:high>"),
    ("◁think▷", "◁/think▷"),
    ("[THINK]", "[/THINK]"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
    ("<|plamo:begin_think:plamo|>", "<|plamo:end_think:plamo|>"),
    ("<|open|>think<|sep|>", "<|close|>think<|sep|>"),
    ("<unused94>thought", "<unused95>"),
    ("<|channel>thought", "<channel|>"),
    ("<|channel|>analysis<|message|>", "<|end|><|start|>assistant<|channel|>final<|message|>"),
    ("<|channel|>commentary<|message|>", "<|end|><|start|>assistant<|channel|>final<|message|>"),
]
"""What models print around their thinking."""

PROSE = st.text(st.characters(exclude_characters="<>[]{}◁▷|", exclude_categories=["Cs"]), max_size=40)
INK = PROSE.map(str.strip).filter(bool)


@given(pair=st.sampled_from(PAIRS), draft=PROSE, answer=INK, blank=st.sampled_from(["", "\n", "\n\n", " "]))
def test_only_what_follows_the_thinking_is_the_answer(
    pair: tuple[str, str], draft: str, answer: str, blank: str
) -> None:
    """Whatever a model thinks, drafts of an answer too, in one block or two, or opened by the chat template."""
    opening, closing = pair
    draft = f'{draft}\n```json\n{{"label": "ham"}}\n```\nno {{'
    block = f"{opening}{draft}{closing}"
    for reply in (
        f"{block}{blank}{answer}",
        f"{blank}{block}{blank}{block}{answer}",
        f"{draft}{closing}{blank}{answer}",
    ):
        assert KNOWN.answer(reply) == answer


@pytest.mark.parametrize(("opening", "closing"), PAIRS)
def test_thinking_that_does_not_end_is_told_by_its_mark(opening: str, closing: str) -> None:
    """Nobody can say where the answer would be."""
    with pytest.raises(OnlyThinking, match="its thinking does not end"):
        KNOWN.answer(f'{opening}draft: {{"label": "ham"}}')
    with pytest.raises(OnlyThinking):
        KNOWN.answer(f'{opening}a{closing}\n{opening}draft: {{"label": "ham"}}')
    assert KNOWN.answer(f"{opening}a{closing}\nb") == KNOWN.answer(f"a{closing}b") == "b"
    assert KNOWN.is_all(f"{opening}draft")
    assert KNOWN.is_all(f"{opening}draft{closing}")
    assert not KNOWN.is_all(f"{opening}draft{closing}so")


@given(PROSE)
def test_a_reply_without_marks_stays_as_it_is(reply: str) -> None:
    """To the last blank."""
    assert KNOWN.answer(reply) == reply


@pytest.mark.parametrize(
    "reply", ["a < b > c", "<thinker>", "[1, [2]]", "I think so", "analysis: no", "<b>think</b>", "\n 1AC ", "<think/>"]
)
def test_what_only_looks_like_a_mark_is_text(reply: str) -> None:
    """Signs, lists and other tags."""
    assert KNOWN.answer(reply) == reply


@pytest.mark.parametrize("mark", ["<think>", "</think>", "<reasoning>", "[THINK]"])
def test_a_mark_in_inline_code_is_spoken_of(mark: str) -> None:
    """In an answer and in thinking; what stands otherwise between backticks is a mark."""
    answer = f"Put `{mark}` around it, `{mark}`"
    assert KNOWN.answer(answer) == answer
    assert KNOWN.answer(f"`{mark}`") == f"`{mark}`"
    assert KNOWN.answer(f"<think>not `{mark}` yet</think>\n{answer}") == answer
    assert KNOWN.answer(f"not `{mark}` yet</think>\n{answer}") == answer
    assert KNOWN.answer("`draft`</think>`spam`") == "`spam`"


def test_marks_in_the_texts_of_a_json_answer_are_text() -> None:
    """A reply that is one object or list is an answer from end to end, and is not cut in two."""
    for quote in ("<think>", "</think>", "<think>draft</think>", "assistantfinal"):
        answer = json.dumps({"quote": f"it says {quote} there"})
        assert KNOWN.answer(answer) == answer
        assert KNOWN.answer(f" \n{answer}\n") == f" \n{answer}\n"
        assert KNOWN.answer(f"<think>so</think>\n{answer}") == answer


@pytest.mark.parametrize(
    "reply",
    [
        "Sure. <think>draft</think> spam",
        "Use <think>x</think> tags",
        'spam\n<think>was that right?</think>{"label": "ham"}',
        "<think>a</think>Close it with </think> then",
        'Here: {"quote": "<think>x</think>"}',
    ],
)
def test_a_mark_in_the_midst_of_an_answer_makes_it_unreadable(reply: str) -> None:
    """Taken off, it would change an answer that quotes it; left there, thinking might be read: no part is taken."""
    with pytest.raises(ValueError, match="stands within the answer"):
        KNOWN.answer(reply)


def test_a_job_names_marks_of_its_own_or_none() -> None:
    """Further marks hold to the letter, beside the known ones; without any, replies are what they are."""
    own = Thinking((("<scratch>", "</scratch>"), ("Here is my thought process:", "Here is my response:")))
    for thinking in (own, pickle.loads(pickle.dumps(own))):  # noqa: S301 - our own
        assert thinking.answer("<scratch>1</scratch>2") == "2"
        assert thinking.answer("Here is my thought process: 1. Here is my response: 2") == "2"
        assert thinking.answer("<think>1</think>2") == "2"
    assert KNOWN.answer("<scratch>1</scratch>2") == "<scratch>1</scratch>2"
    assert AS_IT_IS.answer("<think>1</think>2") == "<think>1</think>2"


@pytest.mark.parametrize(
    "reply",
    ["<think>" * 30_000, "<think></think>" * 20_000, "[THINK]" * 30_000, "{" * 100_000 + "</think>", "<" * 200_000],
    ids=["openings", "blocks", "brackets", "braces", "signs"],
)
def test_a_hostile_reply_is_read_in_one_pass(reply: str) -> None:
    """A hundred thousand marks take well under a second, where looking from each to the end would take minutes."""
    try:
        KNOWN.answer(reply)
    except ValueError as error:
        assert len(str(error)) < 100


# --- what becomes of a sample ---

KIND: StepClass[None, str] = StepClass("word", parse=str.strip, max_tokens=64)
VERBATIM: StepClass[None, str] = StepClass("word", parse=str.strip, max_tokens=64, verbatim=True)


def test_no_parser_sees_thinking(text_codec: object) -> None:
    """The class's own parser gets the answer alone; what has none is flagged in words of its own."""

    def outcome(text: str, *, cut: bool = False) -> object:
        return screen(KIND, None, Sample(text, 9, cut), text_codec)  # type: ignore[arg-type]

    assert outcome("<think>ham</think>\nspam") == Candidate("spam", "spam", "spam")
    assert outcome("<think>ham") == RedFlag(Flag.REASONING, "its thinking does not end: <think> has no </think>")
    assert outcome("<think>spam</think>\n ") == RedFlag(Flag.REASONING, "nothing follows its thinking")
    assert outcome("<think>ham", cut=True) == RedFlag(
        Flag.LENGTH, "cut after 9 tokens in its thinking: raise max_tokens"
    )
    assert outcome("<think>ham</think> spa", cut=True) == RedFlag(Flag.LENGTH, "cut after 9 tokens")


@pytest.mark.parametrize("kind", [KIND, VERBATIM])
def test_thinking_repeated_word_for_word_is_one_stream(kind: StepClass[None, str], text_codec: object) -> None:
    """Two that think the same at length are one sample, also where replies are the action; other thinking agrees."""
    voter = FirstToAheadByK(FirstToAheadByKParams(k=3))
    election: Election[None, str] = Election(Step(kind, "?"), None, text_codec, voter, 9)  # type: ignore[arg-type]
    long = "so it must be ham, or is it " * 4
    replies = [f"<think>{long}</think>spam", f"<think>{long}</think>spam", f"<think>{long} no</think>spam", "spam"]
    election.hear(4, [Sample(reply, 9) for reply in replies])
    assert election.counts == {"spam": 3}
    flags = [one.outcome.reason for one in election.heard if isinstance(one.outcome, RedFlag)]
    assert flags == [Flag.REPEAT]
