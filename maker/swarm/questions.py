"""Questions that a worker's chains vote on where decisions are taken again, and the chains that wait for an answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

from maker.voting.chain import ChainRunner
from maker.voting.memo import Known, Memo, Remembered
from maker.voting.messages import Decided
from maker.voting.tally import Source

Runner: TypeAlias = ChainRunner[Any, Any]


class OpenQuestions:
    """Says which chain votes on a question, and which go on when it is answered. ``memo`` is what is known already."""

    def __init__(self) -> None:
        self.memo = Memo()
        self._followers: dict[bytes, list[Runner]] = {}

    def begin(self, runner: Runner) -> None:
        """Take note that a chain votes on its question, if its answer is to be remembered."""
        if runner.question:
            self.memo.asked.add(runner.question)

    def follow(self, question: bytes, runner: Runner) -> None:
        """Let a chain wait for the answer that another one votes on."""
        self._followers.setdefault(question, []).append(runner)

    def answer(self, runner: Runner, decided: Decided) -> Sequence[Runner]:
        """Remember what a chain has decided; returns the chains that can go on.

        Call it once the step is reported: whatever cites it is reported, and committed, after it.
        """
        if decided.memo:
            source = Source(decided.chain, decided.idx, decided.epoch, decided.calls)
            self.memo.learn([Remembered(decided.memo, Known(decided.action, source))])
        return self.release(runner)

    def release(self, runner: Runner) -> Sequence[Runner]:
        """Return the chains that wait for a chain's answer: it is decided, or another one has to vote."""
        if not runner.question:
            return ()
        self.memo.asked.discard(runner.question)
        followers = self._followers.pop(runner.question, ())
        runner.question = b""
        return followers

    def clear(self) -> None:
        """Forget who votes and who waits; what is known stays."""
        self._followers.clear()
        self.memo.asked.clear()
