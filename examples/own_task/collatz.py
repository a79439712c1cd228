"""A task of plain functions: follow the Collatz sequence down to 1, one model step at a time."""

from __future__ import annotations

import re

from decomposers.function import Ask, Done, Truth, ask, task


@task(state=list[int], action=int)
def collatz(state: list[int]) -> Ask | Done:
    """Ask for the number that follows the newest one, until it is 1."""
    if state[-1] == 1:
        return Done({"length": len(state), "highest": max(state)})
    return ask(
        f"If {state[-1]} is even, halve it; if it is odd, multiply it by 3 and add 1. Answer with the number alone.",
        check=lambda number: None if number > 0 else "the sequence holds positive numbers only",
        max_tokens=12,
    )


@collatz.start
def _start(number: int = 27) -> list[int]:
    return [number]


@collatz.apply
def _apply(state: list[int], action: int) -> list[int]:
    return [*state, action]


@collatz.oracle
def _oracle(prompt: str) -> Truth:
    """Let the simulated model rehearse the task; a real model needs none of this."""
    number = int(re.findall(r"\d+", prompt)[0])
    right = number // 2 if number % 2 == 0 else 3 * number + 1
    return Truth((str(right),), (str(right + 1), str(right + 2)))
