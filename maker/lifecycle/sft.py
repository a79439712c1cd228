"""Export a verified run's steps as training examples: JSON lines of prompt, answer, losing answers and votes.

docs/training.md describes the format.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from contextlib import suppress
from functools import cache
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any, NamedTuple

from maker.core.atomic import refuse_taken, replacing, write_errors
from maker.core.user_code import FIX_PARSE, call_user_code
from maker.errors import BadInput
from maker.lifecycle.events import step_record
from maker.lifecycle.queries import opened, verify_steps
from maker.plugin import Codec, vote_key
from maker.store.backend.database import Database
from maker.store.log import SampleRow
from maker.store.runs import RunRow, find_run, run_at
from maker.types import StepClass
from maker.verification.replay import ReplayedStep
from maker.verification.verifier import Verified
from maker.voting.thinking import Thinking

FIX = "export another run: only a run that is done and verifies (`maker verify {run}`) gives training examples"


class ExportedExamples(NamedTuple):
    """What `export_examples` wrote. ``left_out`` steps have no stored text that parses to their action."""

    run_id: str
    steps: int
    left_out: int


def export_examples(
    run_id: str, out: Path | IO[bytes], *, store: str | None = None, force: bool = False
) -> ExportedExamples:
    """Write a run's steps as training examples to a file or a binary stream, in constant memory. Blocks.

    The run is verified on the way; if it is not done or does not verify, no file appears and nothing is written to the
    stream. Superseded steps and steps that ended wrong are left out.

    Raises:
        BadInput: The run does not verify, or has no examples; the file exists already or cannot be created.
        RunNotFound, StoreUnusable: There is no such run, or no such store.
        MakerError: The disk is full.
        BrokenPipeError: Nobody reads the stream any more.
    """
    if isinstance(out, Path):
        refuse_taken(out, force=force)
    with opened(store) as database, write_errors(out, fix="free some disk space, and export the run again"):
        run = find_run(database, run_id)
        if isinstance(out, Path):
            with replacing(out, lambda: refuse_taken(out, force=force)) as file:
                return _write(database, run, file)
        with TemporaryFile() as file:
            done = _write(database, run, file)
            file.seek(0)
            shutil.copyfileobj(file, out)
            out.flush()
            return done


def _write(database: Database, run: RunRow, file: IO[bytes]) -> ExportedExamples:
    writer = _ExampleWriter(database, file)
    verified = verify_steps(database, run, writer.step)
    if not verified.right:
        raise _refusal(run, verified)
    if not writer.steps:
        why = "it has decided no step"
        if writer.reused:
            why = f"all {writer.reused:,} steps were taken from the memo; export the runs that decided them"
        if writer.left_out:
            why = f"none of its {writer.left_out:,} decided steps has a reply that parses to the decided action"
        raise BadInput(
            f"run {run.run_id} has no training examples: {why}",
            fix='start a run that keeps its replies with store.samples = "all", or export another run',
        )
    return ExportedExamples(run.run_id, writer.steps, writer.left_out)


def _refusal(run: RunRow, verified: Verified) -> BadInput:
    if verified.problem:
        return BadInput(f"run {run.run_id} does not verify: {verified.problem}", fix=FIX.format(run=run.run_id))
    why = f": {run.reason}" if run.reason else ""
    fix = "export a run that is done" if run.status == "failed" else f"finish it with `maker resume {run.run_id}`"
    return BadInput(f"run {run.run_id} is {run.status}, not done{why}", fix=fix)


class _ExampleWriter:
    """Writes steps as lines, and counts those that it leaves out."""

    def __init__(self, database: Database, file: IO[bytes]) -> None:
        self.steps = 0
        self.left_out = 0
        self.reused = 0
        self._file = file
        self._run_id = cache(lambda key: run_at(database, key).run_id)

    def step(self, replayed: ReplayedStep) -> None:
        """Write a step; one taken from the memo is skipped: the run that decided it has the example."""
        run, path, row, tally, asked, codec, kept, thinking = replayed
        if tally.source is not None:
            self.reused += 1
            return
        kind = asked.kind
        record = step_record((kind.name,), None, path, row)._replace(kind=kind.name)
        where = f"run {self._run_id(run)}, chain {record.chain}, step {record.step}"
        winner: str = call_user_code(f"{where}: its action", lambda: vote_key(codec, codec.read(row.action)))
        reader = _Reader(where, kind, codec)
        answer = reader.first(_texts(kept, winner, thinking), row.action, written=row.action)
        if answer is None:
            self.left_out += 1
            return
        rivals = {key: votes for key, votes in record.votes.items() if key not in (winner, row.action)}
        losing = [(reader.first(_texts(kept, key, thinking), key, key=key), votes) for key, votes in rivals.items()]
        line = {
            "class": kind.name,
            "system": kind.system,
            "prompt": asked.prompt,
            "answer": answer,
            "negatives": [{"answer": text, "votes": votes} for text, votes in losing if text is not None],
            "votes": sum(record.votes.values()),
            "margin": record.margin,
            "run": self._run_id(run),
            "chain": record.chain,
            "step": record.step,
        }
        if record.answered:
            line["answered"] = record.answered
        # Half of a surrogate pair has no UTF-8, but a JSON escape.
        self._file.write(json.dumps(line, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n")
        self.steps += 1


class _Reader(NamedTuple):
    """Parses replies as the step's class does."""

    where: str
    kind: StepClass[Any, Any]
    codec: Codec[Any]

    def first(
        self, texts: Iterable[str], spare: str, *, written: str | None = None, key: str | None = None
    ) -> str | None:
        """Return the first text that parses to the action ``written``, or that votes for ``key``; None if none does.

        ``spare`` is tried last: the canonical text of the action itself.
        """
        for text in (*texts, spare):
            what = f"{self.where}: {self.kind.name}: parse"
            if call_user_code(what, self._means, text, written, key, fix=FIX_PARSE):
                return text
        return None

    def _means(self, text: str, written: str | None, key: str | None) -> bool:
        # Runs of older versions may have been read otherwise.
        for parse in (self.kind.parse, self.kind.read_before or self.kind.parse):
            with suppress(ValueError, RecursionError):
                action = parse(text)
                if self.codec.write(action) == written or vote_key(self.codec, action) == key:
                    return True
        return False


def _texts(kept: Iterable[SampleRow], key: str, thinking: Thinking) -> list[str]:
    """Return the answers of the stored replies that voted for a candidate, without those whose text was escaped."""
    # Characters that no database takes are stored as escapes, with a backslash: such a text is not the reply itself.
    texts = (one.text for one in kept if one.candidate == key and one.text and "\\" not in one.text)
    answers = []
    for text in texts:
        # What cannot be told from its thinking teaches nothing: runs of old versions read it whole.
        with suppress(ValueError):
            answers.append(thinking.answer(text))
    return answers
