"""Seals: a digest of what a row holds, stored in the row, so that a resume can tell a changed row from a right one.

A step is sealed by its own digest, which links it to the step before. What a resume takes from other rows has a column
``seal``: snapshots, forks, chains, outcomes, the memo and runs. Rows that an older version has written have none, and
are taken as they are. People's answers beside the log are sealed too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any, Final, NamedTuple

SEAL_BYTES: Final = 16
COUNTED: Final = {"steps": 1, "votes": 3, "red_flags": 7, "disputed": 31, "reused": 127, "saved": 8191}
"""What each count of a run weighs in its column ``counted``: a sum that is kept beside the counts, to check them."""

HOW: Final = ("model", "swarm", "store")
"""Tables of a run's settings that say how and where it is worked on. What of a model decides is in the fingerprint."""


def asked(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of a run's settings it was asked to do: who starts it again under its id must ask for the same.

    What becomes of it when its code changes may be said anew whenever it goes on.
    """
    found = {table: content for table, content in settings.items() if table not in HOW}
    # As runs have it that began before there was a choice: their digests stay what they are.
    return found | ({"run": found["run"] | {"on_change": "refuse"}} if "on_change" in found.get("run", {}) else {})


def asked_digest(settings: Mapping[str, Any]) -> bytes:
    """Return a digest of what a run was asked to do."""
    return _seal(("begun",), json.dumps(asked(settings), sort_keys=True))


def snapshot_seal(chain: int, idx: int, epoch: int, before: bytes, state: str) -> bytes:
    """Return the seal of a snapshot; ``before`` is the digest of the step before it."""
    return _seal(("snapshot", chain, idx, epoch, before), state)


def fork_seal(
    chain: int, idx: int, epoch: int, children: int, joined: int, digest: bytes, state: str, *, single: bool
) -> bytes:
    """Return the seal of a fork: how many children there are, how many are joined, and to what."""
    return _seal(("fork", chain, idx, epoch, children, bool(single), joined, digest), state)


class Place(NamedTuple):
    """Where a chain stands: the parent's key, step and epoch that it forked at, and its number among the children."""

    parent: int | None
    at: int
    fork_epoch: int
    number: int


ROOT_PLACE = Place(None, 0, 0, 0)


def chain_seal(key: int, place: Place, status: str, result: str | None) -> bytes:
    """Return the seal of a chain: where it stands, its status, and its result as stored JSON.

    How far it is follows from its steps.
    """
    return _seal(("chain", key, *place, status), "null" if result is None else result)


def outcome_seal(chain: int, idx: int, epoch: int, outcome: str) -> bytes:
    """Return the seal of the outcome of a child without a good decision."""
    return _seal(("outcome", chain, idx, epoch), outcome)


def review_seal(
    run: int, key: tuple[int, ...], row: int, outcome: str, tally: bytes, tokens: int, answer: str
) -> bytes:
    """Return the seal of a person's answer to a row that votes have not decided; ``key`` is that of its step."""
    return _seal(("review", run, *key, row, outcome, tally, tokens), answer)


def memo_seal(space: bytes, question: bytes, chain: int, idx: int, epoch: int, calls: int, action: str) -> bytes:
    """Return the seal of a decision in the memo, with the action that its step holds."""
    return _seal(("memo", space, question, chain, idx, epoch, calls), action)


def run_seal(run_id: str, settings: str, fingerprint: str, classes: str) -> bytes:
    """Return the seal of a run's row: what it was begun with, as stored JSON."""
    return _seal(("run", run_id, len(settings), len(fingerprint)), settings + fingerprint + classes)


def change_seal(run: int, number: int, last: int, fingerprint: str, places: str) -> bytes:
    """Return the seal of a change of a run's code: what held until then, and where the run stood."""
    return _seal(("change", run, number, last, len(fingerprint)), fingerprint + places)


def weighed(counts: dict[str, Any]) -> Any:
    """Return what counts come to in the column ``counted``; they may be numbers, or columns of the database."""
    return sum(weight * counts[name] for name, weight in COUNTED.items())


def _seal(head: tuple[Any, ...], text: str) -> bytes:
    whole = repr(head).encode() + text.encode("utf-8", "surrogatepass")
    return blake2b(whole, digest_size=SEAL_BYTES, person=b"maker-seal").digest()
