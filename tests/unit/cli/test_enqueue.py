"""``maker enqueue``: as `maker.enqueue`, with the run's id alone on standard output."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

import maker as package
from maker.cli.app import app
from maker.lifecycle import queries

JOB = '[task]\ndecomposer = "hanoi"\ndisks = 3\n[model]\nkind = "simulated"\np = 0.95\n[vote]\nk = 2\n'


def maker(*words: str) -> Result:
    """Run a command in this process."""
    return CliRunner().invoke(app, list(words))


@pytest.fixture
def job(tmp_path: Path) -> str:
    """Return the path of a job file."""
    (tmp_path / "job.toml").write_text(JOB)
    return str(tmp_path / "job.toml")


def test_the_id_alone_is_printed(job: str, store: str) -> None:
    """All that Python takes can be said; standard error says that nobody serves the queue, and how somebody would."""
    words = ["--queue", "orders", "--priority", "3", "--key", "acme", "--run-id", "o-1", "--store", store]
    done = maker("enqueue", job, "task.disks=2", *words)
    assert (done.exit_code, done.stdout) == (0, "o-1\n")
    assert (
        done.stderr
        == f"no worker serves queue 'orders' now; start one with `maker worker --queue orders --store {store}`\n"
    )
    report = queries.show("o-1", store=store)
    place = report.queue
    assert place is not None
    assert (report.status, report.settings["task"]["disks"]) == ("pending", 2)
    assert (place["queue"], place["priority"], place["key"], place["served"]) == ("orders", 3, "acme", False)
    assert maker("enqueue", job, "task.disks=2", *words).stdout == "o-1\n"
    assert len(package.runs(store=store)) == 1
    again = maker("enqueue", job, "task.disks=4", *words)
    assert "is another job's" in again.stderr


def test_a_served_queue_is_not_complained_of(job: str, store: str) -> None:
    """A worker that waits for work counts, and stops counting once it is told to end."""
    stop = threading.Event()
    thread = threading.Thread(target=lambda: package.work_queue(store=store, stop=stop))
    thread.start()
    try:
        deadline = time.monotonic() + 30
        while (done := maker("enqueue", job, "--at", "9000-01-01T00:00+00:00", "--store", store)).stderr:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert "due at 9000-01-01 00:00:00 UTC" in queries.show(done.stdout.strip(), store=store).reason
        assert "no worker" not in queries.show(done.stdout.strip(), store=store).reason
    finally:
        stop.set()
        thread.join(30)
    assert "no worker serves it now" in queries.show(done.stdout.strip(), store=store).reason
    assert "no worker serves queue 'default'" in maker("ls", "--store", store).stdout


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--at", "tomorrow"], "--at 'tomorrow' is no time"),
        (["--at", "2030-01-31T08:00"], "has no time zone"),
        (["--run-id", "last"], "'last' cannot be a run id"),
        (["--queue", " "], "cannot be the name of a queue"),
        (["vote.row_error=0.1"], "row_error"),
    ],
)
def test_what_will_not_do(job: str, store: str, words: list[str], told: str) -> None:
    """Nothing is stored, and the message says what is wrong."""
    done = maker("enqueue", job, *words, "--store", store)
    assert (done.exit_code, done.stdout) == (2, "")
    assert told in done.stderr
    assert "maker.db" in maker("ls", "--store", store).stderr
