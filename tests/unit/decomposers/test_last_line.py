"""Short answers on the last line of a reply: of several different ones none is taken."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decomposers.common.last_line import AnyLastLine, LastLine
from decomposers.connect import Connect
from decomposers.hanoi import Hanoi
from decomposers.multiply import Multiply
from decomposers.sort import Sort
from maker.plugin import StepClass

ENGLISH = {"prompt": "english"}
KINDS: dict[str, tuple[StepClass[Any, Any], list[str]]] = {
    "hanoi": (Hanoi(Hanoi.Params(disks=3, **ENGLISH)).classes[0], ["1AC", "1AB", "2BC"]),
    "hanoi, compact": (Hanoi(Hanoi.Params(disks=3)).classes[0], ["1AC", "1AB", "2BC"]),
    "hanoi, with pegs": (
        Hanoi(Hanoi.Params(disks=3, answer="move+state", **ENGLISH)).classes[0], ["1AC CAA", "1AB BAA", "2BC AAC"],
    ),
    "multiply": (Multiply(Multiply.Params(a=12, b=34, **ENGLISH)).classes[0], ["17", "05", "7"]),
    "sort": (Sort(Sort.Params(items=[3, 1, 2], **ENGLISH)).classes[0], ["<", ">", "="]),
    "connect": (Connect(Connect.Params(depth=2, **ENGLISH)).classes[0], ["1", "2", "+", "-"]),
}  # fmt: skip


@pytest.mark.parametrize("name", KINDS)
def test_prose_may_stand_before_the_answer_and_no_other_answer(name: str) -> None:
    """The first or the last of several would be a guess; the same one twice is none."""
    kind, answers = KINDS[name]
    first, second = answers[:2]
    wanted = kind.parse(second)
    for reply in (second, f" {second}\n", f"{first} is wrong.\n\n  {second} \n", f"{second}\nSo:\n{second}"):
        assert kind.parse(reply) == wanted
    for reply in (f"{first}\n{second}", f"{first}\nno, wait\n{second}", "\n".join(answers)):
        with pytest.raises(ValueError, match=r"several answers|not a|write"):
            kind.parse(reply)
        assert kind.read_before is not None
        assert kind.read_before(reply) == kind.read_before(reply.rpartition("\n")[2])
    for reply in ("", f"{second}\nThat is all.", f"```\n{second}\n```", f"It is {second}"):
        with pytest.raises(ValueError, match=r"."):
            kind.parse(reply)


@given(st.lists(st.sampled_from(["1", "2", " 3 ", "x", "", "1 2"]), max_size=5))
def test_the_answer_is_the_only_one(lines: list[str]) -> None:
    """What is read is the last line, and every other line that can be read says the same."""
    reply = "\n".join(lines)
    readable = {int(line) for line in lines if line.strip().isdigit()}
    try:
        found = LastLine(int)(reply)
    except ValueError:
        assert len(readable) > 1 or not reply.strip().rpartition("\n")[2].strip().isdigit()
    else:
        assert readable == {found}
        assert AnyLastLine(int)(reply) == found
