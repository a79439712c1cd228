"""What user-written code returns and must not is the failure of its chain, named with its step; others go on."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import pytest
from faulty_task import SOUND, STEPS

import maker
from maker.errors import StoreMissing
from maker.store.backend.database import open_database
from maker.store.chains import read_children, read_fork, root_chain
from maker.store.runs import find_run

VOTER = "voters.first_to_ahead_by_k:FirstToAheadByK"
TOLD = {
    "prompt none": "step 1: faulty: the prompt of step class letter, None, cannot be sent: that is NoneType, not text",
    "prompt bytes": "the prompt of step class letter, b'bytes', cannot be sent: that is bytes, not text",
    "prompt half": r"step class letter, 'half \ud83d', cannot be sent: not valid Unicode: surrogates not allowed",
    "kind none": "step 1: faulty asked for None, which is no step class",
    "next none": "step 1: faulty.next returned NoneType",
    "next exits": "step 1: faulty: next raised SystemExit: no more",
    "fork huge": "step 1: faulty forked into 1000000000000000000000000000000 children, and 2,147,483,647 are the most",
    "fork wide": "16,777,216 chains, the most allowed (it forks into 16,777,216 more)",
    "fork single": "step 1: faulty forked with single='no'",
    "parse exits": "step 1: faulty: parse, check or decide raised SystemExit: parse exits",
    "check true": "parse, check or decide: the check of step class letter returned True",
    "check false": "parse, check or decide: the check of step class letter returned False",
    "check dict": "parse, check or decide: the check of step class letter returned {'why': 1}",
    "write number": "parse, check or decide: action.write returned 7: that is int, not text",
    "write bytes": "parse, check or decide: action.write returned b'x': that is bytes, not text",
    "key number": "parse, check or decide: action.key returned 7: that is int, not text",
    "apply exits": "step 1: faulty: apply raised SystemExit: 3",
    "reason none": "step 3: faulty is done with the reason None: that is NoneType, not text",
    "reason object": "step 3: faulty is done with the reason an object of object: that is object, not text",
    "truth none": "step 1: the task's oracle: it returned None",
    "truth empty": "step 1: the task's oracle: it returned Truth(right=(), wrong=())",
    "truth text": "step 1: the task's oracle: it returned Truth(right='text', wrong=())",
    "truth number": "step 1: the task's oracle: it returned Truth(right=(7,), wrong=())",
}
"""What is said of a chain that fails by itself."""
JOINS = {
    "fork child": "step 1 raised TypeError: 'NoneType' object is not callable",
    "join mute": "join of child 0 raised Mute: (its text cannot be made)",
    "then none": "step 1: faulty: state.write after then returned None: that is NoneType, not text",
    "then exits": "step 1: faulty: then raised SystemExit: no more",
}
"""What is said of a chain whose children cannot be made or joined: it waits."""


def job(store: str, *faults: str) -> dict[str, dict[str, Any]]:
    return {
        "task": {"decomposer": "faulty_task:Faulty", "faults": faults},
        "model": {"kind": "simulated", "p": 1.0},
        "vote": {"voter": VOTER, "k": 1, "max_votes": 3},
        "store": {"url": store},
    }


def failures(store: str, faults: tuple[str, ...]) -> dict[str, str]:
    """Return why each chain of the last run stopped, "" for one that is done or waits for its children."""
    with closing(open_database(store, create=False)) as database:
        root = root_chain(database, find_run(database, "last").key)
        fork = read_fork(database, root.key, 0, 0)
        assert fork is not None
        return {faults[chain.number]: chain.reason for chain in read_children(database, fork, root.path)}


def test_each_fault_fails_its_own_chain(store: str) -> None:
    """Every chain that goes wrong is told of with its step and value; the sound ones are decided to their ends."""
    faults = (SOUND, *TOLD, SOUND)
    report = maker.run(job(store, *faults))
    assert (report.status, report.steps >= 2 * STEPS) == ("paused", True)
    reasons = failures(store, faults)
    assert reasons.pop(SOUND) == ""
    for fault, told in TOLD.items():
        assert told in reasons[fault], (fault, reasons[fault])
    made = [record.chain for record in maker.steps("last", store=store)]
    assert [made.count(f"0.{number}") for number in (0, len(faults) - 1)] == [STEPS, STEPS]


@pytest.mark.parametrize("fault", JOINS)
def test_a_join_that_goes_wrong_holds_its_own_parent_up(fault: str, store: str) -> None:
    """The parent waits, with the reason; its neighbours end."""
    report = maker.run(job(store, fault, SOUND))
    assert report.status == "paused"
    assert JOINS[fault] in report.reason
    assert failures(store, (fault, SOUND))[SOUND] == ""


def test_a_reply_that_cannot_be_read_is_a_flag_whatever_its_error_says(store: str) -> None:
    """An error without words, or a rule's reason of a million characters, costs its vote; the reason is cut."""
    for fault, flag in (("parse mute", "format"), ("check long", "illegal")):
        report = maker.run(job(store, fault))
        assert report.status == "paused"
        assert f"no valid vote; flagged: 3 {flag}" in report.reason
        details = [sample.detail for sample in maker.samples("last", 1, chain="0.0", store=store) if sample.flag]
        assert details
        assert all(len(detail) <= 2000 for detail in details)


def test_a_state_that_no_store_takes_is_refused_before_the_run_begins(store: str, monkeypatch: Any) -> None:
    """Nothing is stored of a run whose first state cannot be."""
    for value, told in ((b"[]", "that is bytes, not text"), ("[\ud83d]", "not valid Unicode"), ("\0", "a NUL")):
        monkeypatch.setattr("faulty_task._State.write", lambda self, state, value=value: value)
        with pytest.raises(maker.MakerError, match=rf"faulty: state\.write returned .*: .*{told}"):
            maker.run(job(store, SOUND))
    with pytest.raises(StoreMissing):
        maker.runs(store=store)


def test_a_codec_that_shows_nothing_stops_nobody_who_looks(store: str, monkeypatch: Any) -> None:
    """An action that cannot be shown is told as it is stored: to who watches the run, and to who reads it."""

    def show(self: Any, value: Any) -> Any:
        raise SystemExit("nothing to see")

    monkeypatch.setattr("faulty_task._Action.show", show)
    monkeypatch.setattr("faulty_task._Action.write", lambda self, value: f"<{value}>")
    monkeypatch.setattr("faulty_task._Action.read", lambda self, text: text[1:-1])
    heard: list[Any] = []

    def watch(event: Any) -> None:
        heard.extend(record.action for record in event.records() if record.kind) if hasattr(event, "records") else None

    assert maker.run(job(store, SOUND), on_event=watch).status == "done"
    assert [record.action for record in maker.steps("last", store=store) if record.kind] == heard
    assert heard == ["<x>", f"<{SOUND}>", "<x>"]
