"""``maker review``: decide what votes have not decided, one step or row at a time."""

from __future__ import annotations

import json
from collections.abc import Iterator

import typer

from maker.cli.advice import completed
from maker.cli.commands.waits import By, voted
from maker.cli.keys import read_key, read_text
from maker.cli.options import RunId, Store
from maker.cli.output import print
from maker.cli.signals import INTERRUPTED
from maker.errors import BadInput
from maker.job.file import DEFAULT_STORE
from maker.lifecycle.queries import show
from maker.lifecycle.review import ReviewItem
from maker.lifecycle.review import review as read_items
from maker.lifecycle.waits import answer

MOST_KEYS = 9
"""So many candidates have a key of their own on a terminal; the others are typed."""
MOST_SHOWN = 2000
"""Characters of a value, a question or a reply that are shown."""


def review(run_id: RunId, by: By = None, store: Store = DEFAULT_STORE) -> None:
    """Decide what votes have not decided, one step or row at a time.

    Each decision is stored at once. Stop when you like, and give the same command again to go on.
    """
    desk = _Desk(read_items(run_id, store=store), by, store)
    try:
        desk.work()
    except EOFError as error:
        raise typer.Exit(INTERRUPTED) from error
    finally:
        _print_end(desk, run_id, store)


class _Desk:
    """Shows one item after the other, and takes the decisions."""

    def __init__(self, items: Iterator[ReviewItem], by: str | None, store: str) -> None:
        self._items = items
        self._by = by
        self._store = store
        self._next: list[ReviewItem] = []
        self._skipped: list[ReviewItem] = []
        self.decided = 0

    @property
    def skipped(self) -> int:
        """How many items are left for later."""
        return len(self._skipped)

    def work(self) -> None:
        """Go through the items until they are over, or the person quits. Raises as `read_key` does."""
        while (item := self._take()) is not None:
            print(_shown(item), flush=True)
            if not self._treat(item):
                return

    def _take(self) -> ReviewItem | None:
        return self._next.pop() if self._next else next(self._items, None)

    def _treat(self, item: ReviewItem) -> bool:
        """Ask until an item is decided or left; returns False to quit."""
        while True:
            key = read_key(_choices(item))
            if key == "q":
                return False
            if key == "s":
                self._skipped.append(item)
                return True
            if key == "b" and self._skipped:
                self._next += [item, self._skipped.pop()]
                return True
            if key == "b":
                print("  no item was skipped before this one")
            elif value := _value(item, key):
                if self._decide(item, value):
                    return True
            else:
                print(f"  {key[:20]!r} is none of the keys")

    def _decide(self, item: ReviewItem, value: str) -> bool:
        """Store a decision; returns whether the item is over."""
        try:
            answer(item.run_id, item.at, value, by=self._by, store=self._store)
        except BadInput as error:
            print(*(f"  {line}" for line in completed(str(error), run_id=item.run_id).splitlines()), sep="\n")
            return bool(error.facts.get("over"))
        self.decided += 1
        return True


def _value(item: ReviewItem, key: str) -> str:
    """Return the answer that a key stands for, "" if it stands for none."""
    if key == "t":
        text = read_text("  your answer, as a reply of the model would be: ")
        return text if text.startswith("@") and text[1:].isdecimal() else f"={text}"
    return f"@{key}" if key.isdecimal() and len(key) < 7 and 1 <= int(key) <= len(item.candidates) else ""


def _shown(item: ReviewItem) -> str:
    head = f"\n{item.name} ({item.outcome}){f': {item.reason}' if item.reason else ''}"
    values = (f"  {name}: {_cut(_text(value))}" for name, value in item.values.items())
    asked = [f"  asked: {_cut(item.question)}"] if item.question else []
    candidates = (f"  {_key(number)} {_cut(voted(one))}" for number, one in enumerate(item.candidates, 1))
    sample = [f"  a reply for the first: {_cut(item.sample)}"] if item.sample else []
    return "\n".join((head, *values, *asked, *candidates, *sample))


def _key(number: int) -> str:
    return f"[{number}]" if number <= MOST_KEYS else f"t @{number}:"


def _choices(item: ReviewItem) -> str:
    count = min(len(item.candidates), MOST_KEYS)
    numbers = "" if not count else "1 choose, " if count == 1 else f"1-{count} choose, "
    return f"{numbers}t type an answer, s skip, b back, q quit: "


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _cut(text: str) -> str:
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}… ({len(text):,} characters)"


def _print_end(desk: _Desk, run_id: str, store: str) -> None:
    """Say what was done, and the one command that goes on."""
    if not desk.decided:
        print("nothing was decided" if desk.skipped else "nothing more to review")
        return
    run = show(run_id, store=store)
    goes_on = run.status == "paused" or (run.status == "done" and run.settings["task"].get("output"))
    then = f"go on with `maker resume {run.run_id}`" if goes_on else f"see them with `maker results {run.run_id}`"
    skipped = f", {desk.skipped:,} skipped" if desk.skipped else ""
    print(f"{desk.decided:,} decided{skipped}; {completed(then)}")
