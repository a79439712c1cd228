"""The files that a job's texts were read from: a run keeps the texts, and a resume says which files have changed."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

from maker.job.job import Job
from maker.lifecycle.events import FileChanged
from maker.store.backend.database import Database
from maker.store.entry import StoredEvent
from maker.store.runs import RunRow, find_run, read_events

KIND = "files_read"


def files_read(job: Job) -> list[StoredEvent]:
    """Return the event that a new run keeps of the files of its job; [] if it names none."""
    found = {name: {"file": str(path), "digest": _digest(path)} for name, path in job.files.items()}
    return [StoredEvent(KIND, found)] if found else []


def changed_files(database: Database, run: RunRow) -> Iterator[FileChanged]:
    """Yield the files that do not hold any more what the run, or the one that it was forked from, has read in them."""
    first: RunRow | None = run
    while first is not None:
        for event in read_events(database, first.key):
            if event["kind"] == KIND:
                for name, facts in event.items():
                    if isinstance(facts, dict) and _digest(Path(facts["file"])) != facts["digest"]:
                        yield FileChanged(run.run_id, name, facts["file"])
                return
        first = None if first.forked_from is None else find_run(database, first.forked_from)


def _digest(path: Path) -> str:
    """Return a digest of a file's content, "" if it cannot be read."""
    try:
        return sha256(path.read_bytes()).hexdigest()[:32]
    except OSError:
        return ""
