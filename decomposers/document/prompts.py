"""What is asked of a slice, of findings, and of them all; and how replies are read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from decomposers.common.strict_json import object_in
from decomposers.document.text import Finding, numbered

FOLLOW_UP = 300
"""The most characters of a question that is asked on the way."""
ANSWER = 1000
"""The most characters of an answer."""

EXAMPLE = "[2, 5]"
"""The numbers of sentences in the examples."""
READ = f"""\
You read one slice of a long text. Its sentences are numbered. Name those that help to answer the question: all that \
the answer could rest on, nothing else. Most slices hold none.
Reply with JSON alone: {{"lines": {EXAMPLE}}}, or {{"lines": []}} where no sentence helps.
"""
NARROW = f"""\
These sentences were found in a long text. Keep those that the question needs most, half of them at most.
Reply with JSON alone, their numbers: {{"lines": {EXAMPLE}}}.
"""
SETTLE = """\
Answer a question about a long text by what was found in it. If something is missing that another look through the \
text could find, ask for it; the finder knows nothing but the question that you ask.
Reply with JSON alone: {"answer": "..."}, as short as may be, or {"ask": "..."}.
"""
SETTLE_LAST = """\
Answer a question about a long text by what was found in it.
Reply with JSON alone: {"answer": "..."}, as short as may be.
"""
"""Where the text is read no more, so that nothing can be asked for."""
COUNT = """\
You read one slice of a long text. Count what the question asks for, as far as it stands in this slice.
Reply with JSON alone: {"count": 0}.
"""
EXTRACT = """\
You read one slice of a long text. List what the question asks for, as far as it stands in this slice.
Reply with JSON alone: {"items": [...]}, or {"items": []}; every item is an object that matches this JSON schema:
"""

Find = Callable[[str], dict[str, Any]]
"""Finds the object of a reply's text."""
Reply = dict[str, Any]
"""A reply's object: ``lines``, ``answer`` or ``ask``, ``count``, ``items``."""


def fitting(system: str, sentences: int, most: int) -> str:
    """Return what is asked of numbered sentences, with an example that so many allow where ``most`` may be named."""
    numbers = [number for number in (2, 5) if number <= sentences][:most] or [1]
    return system.replace(EXAMPLE, str(numbers))


def of_slice(question: str, number: int, slices: int, text: str) -> str:
    """Return what is asked of a slice."""
    return f"Question: {question}\n\nSlice {number + 1} of {slices}:\n{text}"


def of_findings(asked: Sequence[str], findings: Sequence[Finding]) -> str:
    """Return what is asked of some findings."""
    return f"{_questions(asked)}\nFound:\n{numbered(finding.text for finding in findings)}"


def of_all(asked: Sequence[str], findings: Sequence[Finding], *, last: bool) -> str:
    """Return what is asked when the text has been read; ``last`` says that it is read no more."""
    over = "The text is not read again: answer.\n" if last else ""
    found = numbered(finding.text for finding in findings) or "nothing\n"
    return f"{_questions(asked)}{over}\nFound:\n{found}"


def _questions(asked: Sequence[str]) -> str:
    return f"Question: {asked[0]}\n" + "".join(f"Asked since: {question}\n" for question in asked[1:])


def read_lines(text: str, find: Find = object_in) -> Reply:
    """Return the numbers of a reply, sorted, each once. Raises ``ValueError`` for any other."""
    lines = _only(find(text), "lines")
    if not isinstance(lines, list) or not all(type(line) is int for line in lines):
        raise ValueError("lines is not a list of numbers")
    return {"lines": sorted(set(lines))}


def read_settled(text: str, find: Find = object_in) -> Reply:
    """Return the answer of a reply, or what it asks. Raises ``ValueError`` for any other."""
    found = find(text)
    name = "ask" if "ask" in found else "answer"
    said = _only(found, name)
    if not isinstance(said, str) or not said.strip() or "\0" in said:
        raise ValueError(f"{name} is not a text")
    return {name: " ".join(said.split())}


def read_count(text: str, find: Find = object_in) -> Reply:
    """Return the count of a reply. Raises ``ValueError`` for any other, a negative one too."""
    count = _only(find(text), "count")
    if type(count) is not int or count < 0:
        raise ValueError("count is not a whole number, 0 or more")
    return {"count": count}


def read_items(violation: Callable[[Mapping[str, Any]], str | None], text: str, find: Find = object_in) -> Reply:
    """Return the items of a reply. Raises ``ValueError`` for any other, or where one is against its schema."""
    items = _only(find(text), "items")
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise ValueError("items is not a list of objects")
    for number, item in enumerate(items):
        if broken := violation(item):
            raise ValueError(f"items[{number}]: {broken}")
    return {"items": items}


def _only(found: Mapping[str, Any], name: str) -> Any:
    if found.keys() != {name}:
        raise ValueError(f"the reply must be an object with the key {name!r} and no other")
    return found[name]
