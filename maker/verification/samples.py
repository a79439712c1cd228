"""Compares what is kept of elections, samples and prompts, with the steps that they decided."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Generic, TypeVar

from maker.plugin import Codec, Voter
from maker.store.backend.database import Database
from maker.store.backend.texts import stored
from maker.store.chains import first_chain
from maker.store.log import PromptRow, SampleRow, StepRow, read_prompts, read_samples
from maker.types import Flag, RedFlag, Sample, Step
from maker.voting.red_flags import screen
from maker.voting.tally import Tally, text_digest

R = TypeVar("R", SampleRow, PromptRow)


class Evidence:
    """The kept samples and prompts of one chain, read along with its steps.

    Args:
        database: Where they are.
        chain: Whose they are.
        start: The first step.
        level: Of which steps they must be there: ``none``, ``disputed`` or ``all``.
        codec: How the task's actions are written.

    ``kept`` holds the samples of the step that was looked at last.
    """

    def __init__(self, database: Database, chain: int, start: int, level: str, codec: Codec[Any]) -> None:
        self.kept: list[SampleRow] = []
        self._codec = codec
        self._level = level
        # The first schema kept no prompts, and numbered its chains from 1.
        self._old = chain < first_chain(1)
        self._samples: _Along[SampleRow] = _Along(read_samples(database, chain, start))
        self._prompts: _Along[PromptRow] = _Along(read_prompts(database, chain, start))

    def problem(
        self,
        row: StepRow,
        key: str,
        tally: Tally,
        move: Step[Any, Any],
        state: Any,
        voters: tuple[Voter, Voter | None],
    ) -> str:
        """Say what does not fit a step that was won by the candidate with this key, "" if all does.

        ``voters`` are whose rule the step was decided by, and the judge's where there is one.
        """
        kept = self.kept = self._samples.at(row)
        needed = self._level == "all" or (self._level == "disputed" and bool(tally.rivals or tally.flags))
        if not kept:
            return "its samples are missing" if needed else ""
        if broken := _broken(kept, move):
            return broken
        heard = [(sample.candidate, sample.flag, sample.model) for sample in kept]
        counted = _counted(key, tally)
        votes = counted.total()
        judged = Counter() if tally.judge is None else _counted(key, tally.judge)
        if Counter(heard[:votes]) != counted or Counter(heard[votes:]) != judged:
            return "its samples do not add up to its tally"
        if not (_weigh(kept[:votes], voters[0], tally, key) and _weigh(kept[votes:], voters[1], tally.judge, key)):
            return "the log-probabilities of its samples do not add up to the weights of its tally"
        return self._proposed(row, key, kept, votes, move, state) or self._asked(row, move)

    def stray(self, row: StepRow) -> bool:
        """Say whether samples or a prompt are kept of a step that nobody was asked about."""
        return bool([*self._samples.at(row), *self._prompts.at(row)])

    def _proposed(
        self, row: StepRow, key: str, kept: list[SampleRow], votes: int, move: Step[Any, Any], state: Any
    ) -> str:
        """Say which of a step's samples is not what its text makes it, or that another action should have won.

        Samples beyond so many ``votes`` are a judge's, for whom all that was not proposed is illegal.
        """
        texts = [
            "" if place >= votes and sample.flag == Flag.ILLEGAL else self._judged(sample, move, state)
            for place, sample in enumerate(kept)
        ]
        if None in texts:
            return f"its sample {texts.index(None)} does not say what it is counted for"
        # What wins is what the first sample proposed that voted for the winner; "" where that cannot be said.
        proposed = next(text for text, sample in zip(texts, kept, strict=True) if sample.candidate == key)
        return "" if proposed in ("", row.action) else "its action is not that of the first sample that voted for it"

    def _judged(self, sample: SampleRow, move: Step[Any, Any], state: Any) -> str | None:
        """Return the action that a sample proposes, as text, "" where that cannot be said.

        None where it is not what its text makes it: a vote for its candidate, or flagged for its reason.
        """
        if (sample.candidate is None) == (sample.flag is None):
            return None
        # A text with a sign that was spelled out is not the reply itself; a cut or repeated one reads as a good one.
        if "\\" in (sample.text or "") or sample.flag in (Flag.LENGTH, Flag.REPEAT):
            return ""
        outcome = screen(move.kind, state, Sample(sample.text or "", sample.tokens), self._codec)
        if isinstance(outcome, RedFlag):
            return "" if sample.flag == outcome.reason else None
        return outcome.text if sample.candidate == outcome.key else None

    def _asked(self, row: StepRow, move: Step[Any, Any]) -> str:
        found = [(kept.system, kept.prompt) for kept in self._prompts.at(row)]
        asked = [(stored(move.kind.system), stored(move.prompt))]
        if not found and self._old:
            return ""
        return "" if found == asked else "its prompt is lost or changed"


def _broken(kept: list[SampleRow], move: Step[Any, Any]) -> str:
    """Say which of a step's samples is missing or not as it was written, "" if none is."""
    if [sample.vote for sample in kept] != list(range(len(kept))):
        return "one of its samples is missing"
    for sample in kept:
        if sample.text is None or text_digest(sample.text) != sample.digest:
            return f"the text of its sample {sample.vote} is lost or changed"
        if sample.wording is not None and not _worded(sample, move):
            return f"its sample {sample.vote} was asked in words that are lost, or that its task does not have"
    return ""


def _worded(sample: SampleRow, move: Step[Any, Any]) -> bool:
    """Say whether a sample that was asked in other words was so in some that its class has."""
    system = sample.system
    if system is None or text_digest(system) != sample.wording:
        return False
    return system in [stored(words) for words in move.kind.paraphrases]


def _counted(winner: str, tally: Tally) -> Counter[tuple[str | None, str | None, int]]:
    """Return how many samples of each candidate, or flag, and model a tally counts."""
    found: Counter[tuple[str | None, str | None, int]] = Counter()
    for key, models in ((winner, tally.votes), *tally.rivals.items()):
        found.update({(key, None, model): n for model, n in enumerate(models) if n})
    for flag, models in tally.flags.items():
        found.update({(None, str(flag), model): n for model, n in enumerate(models) if n})
    return found


def _weigh(kept: Sequence[SampleRow], voter: Voter | None, tally: Tally | None, winner: str) -> bool:
    """Say whether votes weigh what a tally says, if it says anything."""
    if tally is None or voter is None or not tally.weights:
        return True
    found: Counter[str] = Counter()
    for sample in kept:
        if sample.candidate is not None:
            found[sample.candidate] += voter.weigh(sample.logprob)
    return found == Counter(tally.weighed(winner))


class _Along(Generic[R]):
    """Rows in order of step and epoch, taken as the steps that they belong to come by."""

    def __init__(self, rows: Iterator[R]) -> None:
        self._rows: Iterator[R] = rows
        self._next: R | None = next(rows, None)

    def at(self, step: StepRow) -> list[R]:
        """Return a step's rows; those of steps before it are passed over."""
        found: list[R] = []
        place = (step.idx, step.epoch)
        while self._next is not None and (at := (self._next.idx, self._next.epoch)) <= place:
            if at == place:
                found.append(self._next)
            self._next = next(self._rows, None)
        return found
