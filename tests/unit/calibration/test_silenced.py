"""What a pilot keeps of steps that red flags silence."""

from __future__ import annotations

from maker.calibration.observations import ClassFound, FlagCell, Reply, Tallies
from maker.types import Flag


def test_flagged_samples_are_counted_by_step() -> None:
    """A server's errors and repeated words are no sign of a hard step; older calibrations have no such counts."""
    tallies = Tallies(1)
    unread = Reply(None, Flag.FORMAT, 1)
    for replies in (
        [unread] * 3,
        [Reply("a", None, 1), Reply("b", None, 1), Reply(None, Flag.BROKEN, 1)],
        [unread] * 3,
    ):
        tallies.add(replies, {"a"})
    found = tallies.found(None, None)
    assert found.flagged == (FlagCell(0, 0, 3, 2), FlagCell(1, 1, 0, 1))
    assert ClassFound.model_validate(found.model_dump(exclude={"flagged"})).flagged == ()
