"""What the simulated models of this example may reply: what is right of a row, and what is wrong."""

from __future__ import annotations

import re

from maker.plugin import Truth


def truth(prompt: str) -> Truth:
    """Say whether the number in a prompt is divisible by 7."""
    number = re.search(r"[0-9]+", prompt)
    divisible = number is not None and int(number[0]) % 7 == 0
    return Truth(("yes",), ("no",)) if divisible else Truth(("no",), ("yes",))
