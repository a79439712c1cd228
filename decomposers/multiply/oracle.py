"""What a digit step comes to, for simulated models, training and tests alone: the decomposer never asks it."""

from __future__ import annotations

from decomposers.multiply.prompts import read
from decomposers.multiply.rules import Columns
from maker.plugin import Truth


def truth(prompt: str) -> Truth:
    """Return the sum, and ones that are easily mistaken for it: without an addend, or with a digit off by one."""
    first, second, column, carry = read(prompt)
    product = first * second
    right = product + column + carry
    near = (product + column, product + carry, product, right + 1, right - 1, right + 10, right - 10)
    wrong = dict.fromkeys(one for one in near if one != right and 0 <= one <= 99)
    return Truth([f"{right:02}"], [f"{one:02}" for one in wrong])


def columns_before(first: str, second: str, step: int) -> Columns:
    """Return where the right way stands before a step, without the steps before it.

    After r whole rows the columns hold first * (second mod 10^r). Of row r, whose c columns so far lie over the digits
    from r on, what is below is (those digits mod 10^c) + (first mod 10^c) * its digit: c digits, and the carry.
    Worked: 47 * 36 before step 3: row 1 has done 7 * 3 over the 8 of 282, so 29 is 9 and carry 2, over a 2: 292.
    """
    row, place = divmod(step, len(first))
    ones, power = 10**row, 10**place
    above, below = divmod(int(first) * (int(second) % ones), ones)
    over, under = divmod(above, power)
    carry, done = divmod(under + int(first) % power * int(second[-1 - row]), power)
    value = (over * power + done) * ones + below
    return Columns(step, carry, str(value)[::-1].ljust(len(first) + len(second), "0"))
