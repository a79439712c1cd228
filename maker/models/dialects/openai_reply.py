"""Read the replies of OpenAI-compatible servers: samples, why one can get no vote, and what was billed. Pure.

A server may send anything. What cannot be read is never taken for nothing: it counts at its upper bound.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from maker.models.dialects.openai_wire import complaint, shown
from maker.models.interface import most_prompt_tokens
from maker.types import Flag, RedFlag, Request, Sample

MOST_TOKENS = 10**9
"""A server's count above this is none: no request takes as many, and sums of such counts would overflow a database."""

_NATURAL = frozenset({"", "stop", "eos", "eos_token", "end_turn", "stop_sequence", "stop_token", "complete"})
"""How servers spell that a reply came to its own end. One that sends no reason says nothing against it."""

_AT_LIMIT = frozenset({"length", "max_tokens", "model_length"})
_FILTERED = frozenset({"content_filter", "safety", "recitation", "blocklist", "prohibited_content", "spii"})
_TOOL = frozenset({"tool_calls", "tool_call", "tool_use", "function_call"})

_LETTER = r"[A-Za-z_\x80-\U0010ffff]"
_SIGN = r"[!-/:-@\[-^`{-~]"
_PIECES = re.compile(rf"<[^<>\s]{{1,40}}>|{_LETTER}+(?:'{_LETTER}+)*|[0-9]+|{_SIGN}[\r\n]*{_SIGN}(?:{_SIGN}|[\r\n])*")
"""No token of common tokenizers spans two of these: tags, words, numbers, several signs in a row. A single sign adds
nothing, it may be part of a word's token; line ends may be part of that of signs, and so may "don't" be one token. What
is not ASCII counts as a letter."""

_ROUNDING = 1e-6
_TEXT_PARTS = frozenset({"", "text", "output_text"})
_REASONING_PARTS = frozenset({"thinking", "reasoning", "redacted_thinking"})


class Reply(NamedTuple):
    """One HTTP reply: samples in order of index, at most as many as asked for, and the tokens billed for all replies.

    ``cached_tokens`` of the prompt came from a cache, as far as the server reports; ``model`` is the model that the
    server names in its reply, "" if it names none. ``surplus`` counts replies that were sent beside those asked for, or
    again under the same index: they are billed, and cannot vote. ``counts_all`` says whether the server's count of
    tokens is one of all choices; None where this reply does not tell.
    """

    samples: tuple[Sample, ...]
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0
    model: str = ""
    surplus: int = 0
    counts_all: bool | None = None

    @property
    def calls(self) -> int:
        """How many replies are billed."""
        return len(self.samples) + self.surplus


class Unreadable(ValueError):
    """The body does not follow the protocol, and does not tell what was billed."""


def read(
    answer: object, request: Request, *, counts_all: bool = True, reasons: bool = False, stops: Sequence[str] = ()
) -> Reply:
    """Return the samples of a decoded JSON body.

    A server counts the tokens of all choices together. With several choices, each gets as many as it has
    log-probabilities, if these were asked for and add up to the server's count; else each gets an equal share, so that
    the sum is exact and the single counts are not.

    A count counts if it is a whole number of 0 to `MOST_TOKENS` and can be right: no text has fewer tokens than words
    and numbers, no prompt has none. Some servers count one choice of several. Where a count may be either,
    ``counts_all`` says what earlier replies of the server have shown. Without such a count the upper bound counts: the
    bytes of the prompt; for each text its UTF-8 bytes and an end mark, at most ``max_tokens``, and ``max_tokens`` where
    the choice holds more than a text, or the model ``reasons`` where nobody sees it. Where nobody says that it does,
    such reasoning can exceed this.

    A choice without a readable index has that of its place. A text ends before the first of ``stops``: those that the
    server was not told.

    Raises:
        Unreadable: Not an object, or no choices, and no count of the tokens that were billed.
    """
    if not isinstance(answer, Mapping):
        raise Unreadable("the body is not a JSON object")
    usage = answer.get("usage")
    billed: Mapping[str, Any] = usage if isinstance(usage, Mapping) else {}
    listed = answer.get("choices")
    first, repeated = _told_apart(listed if isinstance(listed, list) else [])
    reasons = reasons or bool(_reasoning_tokens(billed))
    choices = [_choice(choice, reasons) for choice in first]
    spoken = _completion_tokens(billed)
    if spoken is None and not any(choice.readable for choice in choices):
        raise Unreadable("the body holds no choices")
    every = choices + [_choice(choice, reasons) for choice in repeated]
    told = _counts_all(every, spoken, request)
    tokens = _shares(every, spoken, request, counts_all=counts_all or told is True)
    prompt = _prompt_tokens(billed, request)
    details = billed.get("prompt_tokens_details")
    cached = count(details, "cached_tokens") if isinstance(details, Mapping) else 0
    samples = tuple(choice.sample(n, stops) for choice, n in zip(choices[: request.n], tokens, strict=False))
    if not samples:
        why = shown(complaint(answer))
        nothing = RedFlag(Flag.NO_TEXT, "the server sent no choices" + (f": {why}" if why else ""))
        samples = (Sample("", 0, flag=nothing),) * request.n
    named = answer.get("model")
    model = named if isinstance(named, str) else ""
    spent = spoken if spoken is not None and not tokens else sum(tokens)
    surplus = max(0, len(tokens) - len(samples))
    return Reply(samples, prompt, spent, min(cached or 0, prompt), model, surplus, told)


class _Choice(NamedTuple):
    """What a choice holds; ``plain`` says that its text is all of it, ``readable`` that it follows the protocol."""

    text: str
    cut: bool = False
    flag: RedFlag | None = None
    logprobs: tuple[float, ...] | None = None
    plain: bool = False
    readable: bool = False

    def sample(self, tokens: int, stops: Sequence[str]) -> Sample:
        logprob = None if self.logprobs is None else sum(self.logprobs)
        text = self.text[: min((at for stop in stops if (at := self.text.find(stop)) >= 0), default=None)]
        # What comes after a stop is no part of the reply, and neither is its being cut there.
        return Sample(text, tokens, self.cut and text == self.text, logprob, self.flag)

    @property
    def least_tokens(self) -> int:
        """How many tokens the text has at least."""
        return max(len(_PIECES.findall(self.text)), len(self.logprobs or ()), int(self.text != ""))

    def most_tokens(self, request: Request) -> int:
        """Return how many tokens the choice takes at most."""
        if not self.plain:
            return request.max_tokens
        return min(len(self.text.encode("utf-8", "surrogatepass")) + 1, request.max_tokens)


def _told_apart(listed: Sequence[object]) -> tuple[list[object], list[object]]:
    """Return the first choice of each index, in the order of these, and all that are sent again."""
    first: dict[int, object] = {}
    repeated = []
    for place, choice in enumerate(listed):
        index = choice.get("index") if isinstance(choice, Mapping) else None
        index = index if type(index) is int else place
        if index in first:
            repeated.append(choice)
        else:
            first[index] = choice
    return [first[index] for index in sorted(first)], repeated


def _choice(choice: object, reasons: bool) -> _Choice:
    if not isinstance(choice, Mapping):
        return _Choice("", flag=RedFlag(Flag.NO_TEXT, f"a choice is {_kind(choice)}"))
    message = choice.get("message", {"content": choice.get("text")})
    if not isinstance(message, Mapping):
        return _Choice("", flag=RedFlag(Flag.NO_TEXT, f"its message is {_kind(message)}"))
    text, unfit, reasoned = _text(message.get("content"))
    more = {name for name, value in message.items() if value and name not in ("role", "content", "name")}
    reason = choice.get("finish_reason")
    ending = reason.lower() if isinstance(reason, str) else "" if reason is None else _kind(reason)
    cut = ending in _AT_LIMIT
    flag = None if cut else _broken_off(ending) or _refusal(message) or unfit
    if flag is None and not text.strip():
        flag = _cut_in_reasoning(message, reasoned or reasons) if cut else _without_answer(message, reasoned)
    return _Choice(
        text,
        cut,
        flag,
        _logprobs(choice.get("logprobs")),
        plain=not (more or reasoned or unfit or reasons),
        readable="message" in choice or "text" in choice,
    )


def _text(content: object) -> tuple[str, RedFlag | None, bool]:
    """Return the text of a message's content, why it is none, and whether there is reasoning beside it."""
    if content is None or isinstance(content, str):
        return content or "", None, False
    if not isinstance(content, list):
        return "", RedFlag(Flag.NO_TEXT, f"its content is {_kind(content)}"), False
    texts, unfit, reasoned = [], None, False
    for part in content:
        kind, text = _part(part)
        if kind in _REASONING_PARTS:
            reasoned = True
        elif kind in _TEXT_PARTS and isinstance(text, str):
            texts.append(text)
        elif kind == "refusal":
            unfit = unfit or RedFlag(Flag.REFUSAL, _shown(text))
        else:
            unfit = unfit or RedFlag(Flag.NO_TEXT, f"its content has a part of type {_shown(kind or _kind(part))}")
    return "".join(texts), unfit, reasoned


def _part(part: object) -> tuple[str, object]:
    """Return the kind of a part of a message's content, and its words."""
    if not isinstance(part, Mapping):
        return "", part
    kind = part.get("type", "")
    kind = kind if isinstance(kind, str) else _kind(kind)
    return kind, part.get("refusal" if kind == "refusal" else "text")


def _broken_off(ending: str) -> RedFlag | None:
    if ending in _NATURAL:
        return None
    if ending in _FILTERED:
        return RedFlag(Flag.CONTENT_FILTER, f"finish_reason {ending}")
    if ending in _TOOL:
        return RedFlag(Flag.TOOL_CALL, f"finish_reason {ending}")
    return RedFlag(Flag.BROKEN, f"finish_reason {_shown(ending)}")


def _refusal(message: Mapping[str, Any]) -> RedFlag | None:
    refusal = message.get("refusal")
    return RedFlag(Flag.REFUSAL, _shown(refusal)) if refusal else None


def _without_answer(message: Mapping[str, Any], reasoned: bool) -> RedFlag | None:
    """Return what a message without a text holds instead, None if it holds nothing."""
    calls = message.get("tool_calls") or message.get("function_call")
    if calls:
        return RedFlag(Flag.TOOL_CALL, _shown(", ".join(_called(calls))))
    if reasoned or _reasoning(message):
        return RedFlag(Flag.REASONING, "reasoning, and no answer after it")
    return None


def _cut_in_reasoning(message: Mapping[str, Any], reasoned: bool) -> RedFlag | None:
    """Return the flag of a message that was cut before its text began, None if nothing says that it was reasoning."""
    if not (reasoned or _reasoning(message)):
        return None
    return RedFlag(Flag.REASONING, "cut off within its reasoning: raise model.reasoning_tokens")


def _reasoning(message: Mapping[str, Any]) -> bool:
    """Say whether there is reasoning beside a message's content."""
    return any(message.get(name) for name in ("reasoning_content", "reasoning", "thinking"))


def _called(calls: object) -> Iterable[str]:
    """Yield the names of the functions that are called, as far as there are any."""
    for call in calls if isinstance(calls, list) else [calls]:
        function = call.get("function", call) if isinstance(call, Mapping) else None
        name = function.get("name") if isinstance(function, Mapping) else None
        if isinstance(name, str):
            yield name


def _shown(value: object) -> str:
    return shown(value) if isinstance(value, str) else _kind(value)


def _kind(value: object) -> str:
    """Name a JSON value that is of the wrong kind."""
    if isinstance(value, Mapping):
        return "an object"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, str):
        return "a text"
    return "null" if value is None else "true or false" if isinstance(value, bool) else "a number"


def _logprobs(field: object) -> tuple[float, ...] | None:
    """Return the log-probability of each token from a chat's or a completion's field; None if one is none."""
    if not isinstance(field, Mapping):
        return None
    listed = field.get("content", field.get("token_logprobs"))
    if not isinstance(listed, list):
        return None
    values = [_logprob(one.get("logprob") if isinstance(one, Mapping) else one) for one in listed]
    numbers = tuple(value for value in values if value is not None)
    return numbers if len(numbers) == len(values) and math.isfinite(sum(numbers)) else None


def _logprob(value: object) -> float | None:
    """Return a finite number, never above 0 by more than a rounding error; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) and number <= _ROUNDING else None


def _counts_all(choices: Sequence[_Choice], spoken: int | None, request: Request) -> bool | None:
    """Say whether a server's count is one of all of several choices, or of one alone; None where it may be either."""
    if spoken is None or len(choices) < 2:
        return None
    if spoken < sum(choice.least_tokens for choice in choices):
        return False
    return True if spoken > max(choice.most_tokens(request) for choice in choices) else None


def _shares(choices: Sequence[_Choice], spoken: int | None, request: Request, *, counts_all: bool) -> list[int]:
    """Return the tokens of each choice; they add up to the server's count, if that can be right."""
    if not choices:
        return []
    doubtful = len(choices) > 1 and not counts_all
    if spoken is None or doubtful or spoken < sum(choice.least_tokens for choice in choices):
        bounds = [choice.most_tokens(request) for choice in choices]
        if spoken is None or spoken <= sum(bounds):
            return bounds
    known = [len(choice.logprobs) for choice in choices if choice.logprobs is not None]
    if len(known) == len(choices) and spoken == sum(known):
        return known
    share, rest = divmod(spoken, len(choices))
    return [share + (i < rest) for i in range(len(choices))]


def _prompt_tokens(billed: Mapping[str, Any], request: Request) -> int:
    return count(billed, "prompt_tokens") or most_prompt_tokens(request)


def _completion_tokens(billed: Mapping[str, Any]) -> int | None:
    """Return the server's count of all that was drawn.

    Some servers count reasoning beside ``completion_tokens``, and their total says so.
    """
    spoken, prompt, total = (count(billed, name) for name in ("completion_tokens", "prompt_tokens", "total_tokens"))
    reasoning = _reasoning_tokens(billed)
    if reasoning and spoken is not None and prompt is not None and total == prompt + spoken + reasoning:
        return spoken + reasoning
    return spoken


def _reasoning_tokens(billed: Mapping[str, Any]) -> int | None:
    details = billed.get("completion_tokens_details")
    return count(details, "reasoning_tokens") if isinstance(details, Mapping) else None


def count(usage: Mapping[str, Any], name: str) -> int | None:
    """Return a server's count; None if it is none."""
    value = usage.get(name)
    return value if type(value) is int and 0 <= value <= MOST_TOKENS else None
