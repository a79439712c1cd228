"""How a fork's children begin, and the row that ends it. Pure."""

from __future__ import annotations

from typing import Any

from maker.core.user_code import call_user_code
from maker.errors import TaskFailed
from maker.plugin import Decomposer
from maker.types import Fork
from maker.voting.messages import ChainAt, Decided
from maker.voting.paths import chain_name
from maker.voting.tally import forked, link


def child_at(fork: ChainAt, number: int, chain: int, epoch: int, *, single: bool) -> ChainAt:
    """Return where a fork's child begins; its state is the fork's to make. ``fork`` is the parent's place."""
    here = (*fork.path, fork.idx, fork.epoch)
    if single:
        return ChainAt(chain, here, number, epoch, forked(fork.digest, fork.idx, fork.epoch), "", single=True)
    return ChainAt(chain, (*here, number), 0, epoch, forked(fork.digest, fork.idx, fork.epoch, number), "")


def opened(decomposer: Decomposer[Any, Any], parent: ChainAt) -> tuple[Fork[Any], Any]:
    """Return the fork that a parent's state asks for, and that state. Raises `TaskFailed`."""
    where = f"chain {chain_name(parent.path)}, step {parent.idx}: {decomposer.name}"
    state = call_user_code(f"{where}: state.read", decomposer.state.read, parent.state)
    fork = call_user_code(f"{where}: next", decomposer.next, state)
    if not isinstance(fork, Fork):
        raise TaskFailed(
            f"{where}.next returned Fork before, and for the same state now {type(fork).__name__}",
            fix="make next() depend on the state only",
        )
    return fork, state


def join_step(fork: ChainAt, count: int, fold: bytes, state: str) -> Decided:
    """Return the row that ends a fork: ``fold`` has taken in the children's last digests, ``state`` is what follows."""
    digest = link(fork.digest, fork.idx, fork.epoch, str(count), fold)
    return Decided(fork.chain, fork.idx, fork.epoch, str(count), b"", 0, digest, state=state, path=fork.path)
