"""Cut what a round asks for into batches, by requests, by bytes, and by what may be spent."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import BinaryIO, NamedTuple

from maker.models.batch.parts import Part, custom_id
from maker.models.batch.provider import Provider
from maker.models.server.faults import Refusal
from maker.types import NOTHING, Allowance


@dataclass(slots=True)
class Most:
    """The most that one batch may hold; it falls where a server refuses one as too large."""

    requests: int
    bytes: int

    def halve(self, parts: int, size: int) -> None:
        """Let batches be half as large as one that was too large."""
        self.requests, self.bytes = min(self.requests, max(1, parts // 2)), min(self.bytes, max(1, size // 2))


class Unfit(NamedTuple):
    """A part that no batch can hold, and why."""

    part: Part
    refusal: Refusal


@dataclass(slots=True)
class Cut:
    """Parts for one batch, as its lines; ``lines`` is a file on disk. ``unfit`` are parts that cannot be sent."""

    tag: str
    lines: BinaryIO
    parts: list[Part] = field(default_factory=list)
    size: int = 0
    worst: Allowance = NOTHING
    unfit: list[Unfit] = field(default_factory=list)


def cut(
    parts: Sequence[Part],
    tag: str,
    provider: Provider,
    most: Most,
    worst_of: Callable[[Part], Allowance],
    left: Allowance,
) -> Cut:
    """Write the first parts as lines of one batch: as many as it may hold and as may be spent.

    All are of one role. It has none where not even one may be spent.
    """
    made = Cut(tag, tempfile.TemporaryFile())  # noqa: SIM115 - its user closes it
    for part in parts:
        worst = made.worst.plus(worst_of(part))
        if len(made.parts) >= most.requests or not left.covers(worst):
            break
        try:
            line = provider.line(custom_id(tag, part.name), part.request)
            if len(line) > most.bytes:
                raise Refusal(
                    f"this prompt cannot be sent: it takes {len(line):,} bytes, and a batch {most.bytes:,} at most",
                    fix="ask a shorter prompt",
                    of_prompt=True,
                )
        except Refusal as refusal:
            made.unfit.append(Unfit(part, refusal))
            continue
        if made.size + len(line) > most.bytes:
            break
        made.lines.write(line)
        made.parts.append(part)
        made.size += len(line)
        made.worst = worst
    return made
