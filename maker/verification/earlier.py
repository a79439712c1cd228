"""Check steps that earlier code of the task has decided: digests, links and tallies, without that code.

The state at which the present code took over is rebuilt as the resume did it: from the newest snapshot before, and the
actions after it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from maker.core.user_code import call_user_code
from maker.plugin import Decomposer
from maker.store.chains import first_chain
from maker.store.code import DONE_BEFORE, CodeChange, CodePlace, fingerprint_text
from maker.store.log import CutRow, StepRow, epoch_at
from maker.store.runs import RunRow
from maker.voting.tally import based


class _Unknown(NamedTuple):
    """Stands for a state that earlier code alone could make."""


UNKNOWN: Any = _Unknown()
WINNER = "\0the winner"
"""Stands for the key of a step's winner, which earlier code alone could write."""


@dataclass(frozen=True, slots=True)
class Earlier:
    """Which steps of a run earlier code has decided, and where the root chain's digest takes in other code.

    ``same_voter`` says that the votes were counted as they are now.
    """

    change: CodeChange | None = None
    root: int = 0
    links: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    whole: bool = False
    same_voter: bool = True

    @classmethod
    def of(cls, run: RunRow, *, whole: bool) -> Earlier:
        """Return what is earlier in a run; with ``whole``, all of it."""
        links: dict[int, tuple[str, ...]] = {}
        for change, fingerprint in zip(run.changes, _prints(run)[1:], strict=True):
            if change.linked:
                links[change.root_idx] = (*links.get(change.root_idx, ()), fingerprint_text(fingerprint))
        voters = [[one.get(name) for name in ("voter_source", "vote", "roles", "parts")] for one in _prints(run)]
        same = not whole and all(one == voters[-1] for one in voters)
        return cls(run.changes[-1] if run.changes else None, first_chain(run.key), links, whole, same)

    def place(self, chain: int) -> CodePlace | None:
        """Return how far earlier code has come in a chain, None if nowhere."""
        if self.whole:
            return DONE_BEFORE
        return None if self.change is None else self.change.place(chain)

    def linked(self, chain: int, index: int, digest: bytes) -> bytes:
        """Return what the step of a chain is linked to: the digest before it, and the code that took over there."""
        for fingerprint in self.links.get(index, ()) if chain == self.root else ():
            digest = based(digest, fingerprint)
        return digest


def _prints(run: RunRow) -> list[dict[str, Any]]:
    return [*(one.fingerprint for one in run.changes), run.fingerprint]


@dataclass(slots=True)
class Behind:
    """A replay of one chain that has not come to the present code yet.

    Args:
        place: How far earlier code has come in it.
        state: The newest snapshot that was passed, as text, None before the first.
        actions: Those since.
    """

    place: CodePlace
    state: str | None = None
    actions: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, place: CodePlace | None, cuts: list[CutRow]) -> Behind | None:
        """Return it for a chain; None if all its live steps are those of the present code."""
        if place is None or (place.idx and place.idx < DONE_BEFORE.idx and epoch_at(cuts, place.idx - 1) > place.epoch):
            return None
        return cls(place)

    def caught_up(self, where: str, decomposer: Decomposer[Any, Any], first: Any) -> Any:
        """Return the state where the present code took over; ``first`` is that of the chain's beginning."""
        state = first
        if self.state is not None:
            state = call_user_code(f"{where}: state.read", decomposer.state.read, self.state)
        for action in self.actions:
            state = call_user_code(f"{where}: apply", _applied, decomposer, state, action)
        return state


def _applied(decomposer: Decomposer[Any, Any], state: Any, action: str) -> Any:
    return decomposer.apply(state, decomposer.action.read(action))


def is_before(place: CodePlace | None, row: StepRow) -> bool:
    """Say whether a child in a fork of single steps is earlier code's."""
    return place is not None and place.decided(row)
