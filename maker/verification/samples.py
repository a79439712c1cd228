"""Compare the stored samples and prompts with the steps that they decided."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Generic, TypeVar

from maker.plugin import Codec, Voter
from maker.store.backend.texts import stored
from maker.store.chains import first_chain
from maker.store.log import PromptRow, SampleRow, StepRow
from maker.store.together import Together
from maker.types import Flag, RedFlag, Sample, Step
from maker.voting.red_flags import screen
from maker.voting.tally import Tally, text_digest
from maker.voting.thinking import AS_IT_IS, Thinking

R = TypeVar("R", SampleRow, PromptRow)


class Evidence:
    """The kept samples and prompts of one chain, read along with its steps.

    Args:
        reader: Reads the chain.
        chain: The chain's key.
        start: The first step.
        level: Which steps must have samples: ``none``, ``disputed`` or ``all``.
        codec: Writes the task's actions.
        thinking: Takes off replies what is no answer.
        changed: Whether the run has gone on with other code. A person may then have decided a step that earlier code
            had asked about: its samples are counted, and nobody reads them anew.

    ``kept`` holds the samples of the step that was checked last.
    """

    def __init__(
        self,
        reader: Together,
        chain: int,
        start: int,
        level: str,
        codec: Codec[Any],
        thinking: Thinking,
        *,
        changed: bool = False,
    ) -> None:
        self.kept: list[SampleRow] = []
        self._codec = codec
        self._thinking = thinking
        self._level = level
        self._changed = changed
        # The first schema kept no prompts, and numbered its chains from 1.
        self._old = chain < first_chain(1)
        self._samples: _Along[SampleRow] = _Along(reader.samples(chain, start))
        self._prompts: _Along[PromptRow] = _Along(reader.prompts(chain, start))

    def problem(
        self,
        row: StepRow,
        key: str,
        tally: Tally,
        move: Step[Any, Any],
        state: Any,
        voters: tuple[Voter, Voter | None],
    ) -> str:
        """Return what does not fit a step that the candidate with this key won; "" if all does.

        ``voters`` are the voter that decided the step, and the judge's voter if there is one.
        """
        kept = self.kept = self._samples.at(row)
        needed = self._level == "all" or (self._level == "disputed" and bool(tally.rivals or tally.flags))
        needed = needed or tally.person is not None
        if not kept:
            return "its samples are missing" if needed else ""
        if broken := _broken(kept, move):
            return broken
        outcomes = [(sample.candidate, sample.flag, sample.model) for sample in kept]
        counted = _counted(key, tally)
        votes = counted.total()
        judged = Counter() if tally.judge is None else _counted(key, tally.judge)
        if Counter(outcomes[:votes]) != counted or Counter(outcomes[votes:]) != judged:
            return "its samples do not add up to its tally"
        if not (_weigh(kept[:votes], voters[0], tally, key) and _weigh(kept[votes:], voters[1], tally.judge, key)):
            return "the log-probabilities of its samples do not add up to the weights of its tally"
        if tally.person is not None and self._changed:
            return ""
        # A person answers in words of their own.
        words = row.action if tally.person is None else None
        return self._proposed(words, key, kept, votes, move, state) or self._asked(row, move)

    def stray(self, row: StepRow) -> bool:
        """Say whether samples or a prompt are stored for a step that asked no model."""
        return bool([*self._samples.at(row), *self._prompts.at(row)])

    def _proposed(
        self, action: str | None, key: str, kept: list[SampleRow], votes: int, move: Step[Any, Any], state: Any
    ) -> str:
        """Return which sample does not match its own text, or that another action should have won; "" if all fits.

        ``action`` is the step's, which is to be in the words of a sample; None where it need not be.

        Samples after the first ``votes`` are a judge's, for whom every answer that was not proposed is illegal.
        """
        texts = [
            ""
            if place >= votes and sample.flag == Flag.ILLEGAL
            else self._judged(sample, move, state, action if sample.candidate == key else None)
            for place, sample in enumerate(kept)
        ]
        if None in texts:
            return f"its sample {texts.index(None)} does not give the vote that it is counted as"
        # The action is the one proposed by the first sample that voted for the winner; "" if it cannot be read, or if
        # votes by part elect what no sample has proposed.
        proposed = next((text for text, sample in zip(texts, kept, strict=True) if sample.candidate == key), "")
        if action is None or proposed in ("", action):
            return ""
        return "its action is not that of the first sample for the winner"

    def _judged(self, sample: SampleRow, move: Step[Any, Any], state: Any, action: str | None) -> str | None:
        """Return the action that a sample proposes, as text; "" if that is unknown. Of two readings, ``action``.

        None if the sample does not match its text: its text gives another candidate, or another red flag.
        """
        if (sample.candidate is None) == (sample.flag is None):
            return None
        # A text with escaped characters is not the reply itself; a cut or repeated reply may parse as a good one.
        if "\\" in (sample.text or "") or (sample.flag is not None and not Flag(sample.flag).told_by_text):
            return ""
        told, kind = Sample(sample.text or "", sample.tokens), move.kind
        # Logs of older versions were made before there was a rule about thinking, and maybe by another parser.
        before = kind if kind.read_before is None else replace(kind, parse=kind.read_before)
        proposed = None
        for read, thinking in ((kind, self._thinking), (before, AS_IT_IS)):
            outcome = screen(read, state, told, self._codec, thinking)
            if isinstance(outcome, RedFlag):
                if sample.flag == outcome.reason:
                    return ""
            elif sample.candidate == outcome.key:
                if action in (None, outcome.text):
                    return outcome.text
                proposed = proposed or outcome.text
        return proposed

    def _asked(self, row: StepRow, move: Step[Any, Any]) -> str:
        found = [(kept.system, kept.prompt) for kept in self._prompts.at(row)]
        asked = [(stored(move.kind.system), stored(move.prompt))]
        if not found and self._old:
            return ""
        return "" if found == asked else "its prompt is lost or changed"


def _broken(kept: list[SampleRow], move: Step[Any, Any]) -> str:
    """Return which of a step's samples is missing or was changed; "" if none is."""
    if [sample.vote for sample in kept] != list(range(len(kept))):
        return "one of its samples is missing"
    for sample in kept:
        if sample.text is None or text_digest(sample.text) != sample.digest:
            return f"the text of its sample {sample.vote} is lost or changed"
        if sample.wording is not None and not _worded(sample, move):
            return f"its sample {sample.vote} had a system prompt that is lost, or that its task does not have"
    return ""


def _worded(sample: SampleRow, move: Step[Any, Any]) -> bool:
    """Say whether the system prompt of a sample is one of its class's paraphrases."""
    system = sample.system
    if system is None or text_digest(system) != sample.wording:
        return False
    return system in [stored(words) for words in move.kind.paraphrases]


def _counted(winner: str, tally: Tally) -> Counter[tuple[str | None, str | None, int]]:
    """Return how many samples a tally counts, by candidate or flag, and model."""
    found: Counter[tuple[str | None, str | None, int]] = Counter()
    for key, models in ((winner, tally.votes), *tally.rivals.items()):
        found.update({(key, None, model): n for model, n in enumerate(models) if n})
    for flag, models in tally.flags.items():
        found.update({(None, str(flag), model): n for model, n in enumerate(models) if n})
    return found


def _weigh(kept: Sequence[SampleRow], voter: Voter | None, tally: Tally | None, winner: str) -> bool:
    """Say whether the votes have the weights that a tally holds, if it holds any."""
    if tally is None or voter is None or not tally.weights:
        return True
    found: Counter[str] = Counter()
    for sample in kept:
        if sample.candidate is not None:
            found[sample.candidate] += voter.weigh(sample.logprob)
    return found == Counter(tally.weighed(winner))


class _Along(Generic[R]):
    """Rows in order of step and epoch, read in step with the steps that they belong to."""

    def __init__(self, rows: Iterator[R]) -> None:
        self._rows: Iterator[R] = rows
        self._next: R | None = next(rows, None)

    def at(self, step: StepRow) -> list[R]:
        """Return a step's rows, and skip those of earlier steps."""
        found: list[R] = []
        place = (step.idx, step.epoch)
        while self._next is not None and (at := (self._next.idx, self._next.epoch)) <= place:
            if at == place:
                found.append(self._next)
            self._next = next(self._rows, None)
        return found
