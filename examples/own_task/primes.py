"""A task that forks: which numbers up to a limit are prime? Every number is a child of its own, and one step."""

from __future__ import annotations

import re

from pydantic import BaseModel

from decomposers.function import Ask, Done, Fork, Truth, ask, task


class State(BaseModel):
    """The root has a limit, and primes once its children are joined; a child has a number, and says if it is prime."""

    limit: int = 0
    primes: list[int] | None = None
    number: int = 0
    prime: bool | None = None


@task(state=State, action=str)
def primes(state: State) -> Ask | Done | Fork[State]:
    """Hand every number to a child, and end when all are joined."""
    if state.prime is not None:
        return Done(state.prime)
    if state.number:
        return ask(f"Is {state.number} a prime number? Answer yes or no.", check=_yes_or_no, max_tokens=4)
    if state.primes is not None:
        return Done({"primes": state.primes})
    return Fork(state.limit, child=_child, join=_join, single=True)


def _child(state: State, index: int) -> State:
    return State(number=index + 1)


def _join(state: State, index: int, prime: bool) -> State:
    if state.primes is None:
        state.primes = []
    if prime:
        state.primes.append(index + 1)
    return state


def _yes_or_no(answer: str) -> str | None:
    return None if answer in ("yes", "no") else "the answer is yes or no"


@primes.start
def _start(limit: int = 100) -> State:
    return State(limit=limit)


@primes.apply
def _apply(state: State, action: str) -> State:
    return State(number=state.number, prime=action == "yes")


@primes.oracle
def _oracle(prompt: str) -> Truth:
    """Let the simulated model rehearse the task."""
    number = int(re.findall(r"\d+", prompt)[0])
    prime = number > 1 and all(number % divisor for divisor in range(2, int(number**0.5) + 1))
    return Truth(("yes",), ("no",)) if prime else Truth(("no",), ("yes",))
