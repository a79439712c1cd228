"""How a fork's children begin, and the row that ends it. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from maker.core.user_code import call_user_code
from maker.errors import TaskFailed
from maker.plugin import Decomposer
from maker.types import Effect, Fork, Record, Wait
from maker.voting.messages import ChainAt, Decided
from maker.voting.paths import chain_name
from maker.voting.tally import forked, link

RECORDED: Final = b"recorded"
"""Stands for the tally in the digest of what was recorded: there are no votes."""


def child_at(fork: ChainAt, number: int, chain: int, epoch: int, *, single: bool) -> ChainAt:
    """Return where a fork's child begins; its state is the fork's to make. ``fork`` is the parent's place."""
    here = (*fork.path, fork.idx, fork.epoch)
    if single:
        return ChainAt(chain, here, number, epoch, forked(fork.digest, fork.idx, fork.epoch), "", single=True)
    return ChainAt(chain, (*here, number), 0, epoch, forked(fork.digest, fork.idx, fork.epoch, number), "")


def outside(move: Effect[Any] | Wait[Any]) -> Fork[Any]:
    """Return an effect or a wait as a fork of one child: its only row is the record, and the driver writes it."""

    def join(state: Any, _number: int, record: Mapping[str, Any]) -> Any:
        return move.then(state, Record(**record))

    return Fork(1, child=_as_it_is, join=join)


def _as_it_is(state: Any, _number: int) -> Any:
    return state


def is_outside(fork: Fork[Any]) -> bool:
    """Say whether a fork stands for an effect or a wait."""
    return fork.child is _as_it_is


def recorded(child: ChainAt, record: Record) -> Decided:
    """Return the row that holds what came of an effect or a wait: no votes, and nothing that is to be joined."""
    text = record_text(record)
    digest = link(child.digest, 0, 0, text, RECORDED)
    return Decided(child.chain, 0, 0, text, b"", 0, digest, path=child.path)


def record_text(record: Record) -> str:
    """Return a record as the log holds it: canonical JSON. Raises as ``json.dumps`` does."""
    return json.dumps(record._asdict(), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def opened(decomposer: Decomposer[Any, Any], parent: ChainAt) -> tuple[Fork[Any], Any]:
    """Return the fork that a parent's state asks for, and that state. Raises `TaskFailed`."""
    where = f"chain {chain_name(parent.path)}, step {parent.idx}: {decomposer.name}"
    state = call_user_code(f"{where}: state.read", decomposer.state.read, parent.state)
    fork = call_user_code(f"{where}: next", decomposer.next, state)
    if isinstance(fork, Effect | Wait):
        return outside(fork), state
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
