"""Give requests their answers, and tell what becomes of batches."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from maker.models.batch.hearing import Refused
from maker.models.batch.parts import Asked, Part
from maker.models.batch.provider import BatchStatus
from maker.models.server_settings import ServerSettings
from maker.types import NO_USAGE, BatchNews, Failed, Finished, SentBatch, Usage

SHOWN_PROBLEMS = 3

Answer: TypeAlias = Callable[[Finished | Failed | BaseException], None]


class Answers:
    """Answers requests; one that nobody waits for gets none.

    Args:
        settings: The ``[model]`` table.
        answer: Is given answers.
        tell: Is told of what becomes of batches.
    """

    def __init__(self, settings: ServerSettings, answer: Answer, tell: Callable[[BatchNews], None]) -> None:
        self._settings = settings
        self._answer = answer
        self._tell = tell

    def finish(self, asked: Asked) -> None:
        """Answer a request, if all of its samples have come."""
        if not asked.dropped and (finished := asked.finished()) is not None:
            self._answer(finished)

    def fail(
        self,
        part: Part,
        reason: str,
        fix: str = "",
        *,
        refused: bool = False,
        unusable: bool = False,
        alone: bool = False,
    ) -> None:
        """Give up a part's request; the facts are those of `Failed`."""
        asked = part.asked
        if not asked.dropped:
            asked.dropped = True
            ends = Failed(asked.request.id, reason, fix, unusable, refused=refused, alone=alone, reached=not unusable)
            self._answer(ends)

    def refuse(self, batch: SentBatch, refused: Refused) -> None:
        """Give up a request that was refused, or that another model has answered."""
        if not refused.another:
            self.fail(refused.part, f"batch {batch.id}: {refused.reason}", refused=True, unusable=True)
            return
        meant = self._settings.reply_name or self._settings.name
        self.fail(
            refused.part,
            f"batch {batch.id} was asked of model {meant!r}, and {refused.reason}; such replies get no vote",
            f"set model.reply_name = {refused.another!r} if that is the model you mean, else correct model.name",
            unusable=True,
        )

    def refuse_all(self, batch: SentBatch, status: BatchStatus, parts: Mapping[str, Part]) -> None:
        """Give up the requests of a batch that was refused, in the provider's words: first the lines that it names."""
        shown = [
            f"line {one.line}: {one.message}" if one.line else one.message or one.code
            for one in status.problems[:SHOWN_PROBLEMS]
        ]
        if more := len(status.problems) - SHOWN_PROBLEMS:
            shown += [f"and {more:,} more problems"] if more > 0 else []
        reason = f"batch {batch.id} was refused as a whole: {'; '.join(shown) or status.said}"
        lines = [one.line - 1 for one in status.problems if 0 < one.line <= len(batch.names)]
        named = [batch.names[line] for line in lines if batch.names[line] in parts]
        ordered = dict.fromkeys(named) | dict.fromkeys(parts)
        fix = "change the [model] table, or what that line asks, as the provider says"
        for name in ordered:
            self.fail(parts[name], reason, fix, unusable=True)

    def tell(self, batch: SentBatch, said: str, usage: Usage = NO_USAGE, **facts: Any) -> None:
        """Tell how a batch stands, in its provider's word, and what it has cost."""
        told = {"batch": batch.id, "requests": len(batch.names), "status": said} | facts
        self._tell(BatchNews(batch.number, batch.state, batch.role, told, usage))
