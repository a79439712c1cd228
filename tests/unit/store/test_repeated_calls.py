"""What `retried` repeats, and what it leaves behind."""

from __future__ import annotations

import gc

import pytest

from maker.errors import StoreFailed
from maker.store.backend import database as databases
from maker.store.backend.database import retried


def test_a_call_that_fails_for_now_is_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    """The database is locked twice, and its server is lost once: the fourth try brings the result."""
    monkeypatch.setattr(databases, "FIRST_PAUSE_S", 0.0)
    faults = [StoreFailed("locked", fix="", locked=True), StoreFailed("locked", fix="", locked=True)]
    faults.append(StoreFailed("lost", fix="", lost=True))

    @retried
    def write(value: int, *, more: int) -> int:
        if faults:
            raise faults.pop()
        return value + more

    assert write(1, more=2) == 3


def test_another_failure_is_raised_at_once() -> None:
    """A full disk stays full: nothing is tried twice."""
    tries = []

    @retried
    def write() -> None:
        tries.append(1)
        raise StoreFailed("the disk is full", fix="")

    with pytest.raises(StoreFailed, match="the disk is full"):
        write()
    assert len(tries) == 1


def test_what_stays_locked_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    """After `LOCKED_S` seconds the last error is raised."""
    monkeypatch.setattr(databases, "FIRST_PAUSE_S", 0.001)
    monkeypatch.setattr(databases, "LOCKED_S", 0.05)

    @retried
    def write() -> None:
        raise StoreFailed("locked", fix="", locked=True)

    with pytest.raises(StoreFailed, match="locked"):
        write()


def test_calls_leave_nothing_for_the_garbage_collection() -> None:
    """What a call leaves in circles is walked and freed by a thread that holds up all others of a service."""

    @retried
    def write() -> int:
        return 1

    write()
    gc.collect()
    gc.disable()
    try:
        for _ in range(200):
            write()
        assert gc.collect() < 100
    finally:
        gc.enable()
