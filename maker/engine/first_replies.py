"""Whether the first replies of a session bring any valid vote: where none does, something is set wrongly. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from maker.types import Flag, RedFlag

SHOWN_CHARS = 120
ADVICE = {
    Flag.LENGTH: "raise the task's max_tokens",
    Flag.EMPTY: "look at the replies with `maker try`",
    Flag.FORMAT: 'say in the prompt how to answer, or set model.structured = "schema"',
    Flag.REASONING: "raise model.reasoning_tokens or the task's max_tokens, or have the model reason less",
    Flag.ILLEGAL: "see with `maker try` whether the check forbids what is right",
}


class FirstReplies:
    """Counts the replies of all workers until the first valid vote.

    Args:
        most: How many may come in without one.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._flags: Counter[Flag] = Counter()
        self._details: dict[Flag, str] = {}
        self._voted = False

    def note(self, flagged: Sequence[RedFlag], *, voted: bool) -> None:
        """Take in what a worker has heard: what was flagged, and whether there was a valid vote."""
        self._voted = self._voted or voted
        if not self._voted:
            self._flags.update(flag.reason for flag in flagged)
            for flag in flagged:
                self._details.setdefault(flag.reason, flag.detail)

    @property
    def problem(self) -> str:
        """Why the run must not go on, with numbers and what to do; "" while it may."""
        count = self._flags.total()
        if self._voted or count < self._most:
            return ""
        ranked = self._flags.most_common()
        first, _ = ranked[0]
        counted = ", ".join(f"{n:,} {flag}" for flag, n in ranked)
        detail = " ".join(self._details[first].split())[:SHOWN_CHARS]
        example = f"; {first}: {detail}" if detail else ""
        advice = ADVICE.get(first, "look at the replies with `maker try`")
        return (
            f"max_useless = {self._most} is reached: none of the first {count:,} replies is a valid vote ({counted}"
            f"{example}). To mend it, {advice}, and start a new run; `maker try` shows replies as they come"
        )
