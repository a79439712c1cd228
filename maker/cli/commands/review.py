"""``maker review``: decide what votes have not decided, or label an audit's sample, one row at a time."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from maker.cli.advice import completed
from maker.cli.commands.waits import By, voted
from maker.cli.item_loop import ItemLoop, shown
from maker.cli.keys import read_text
from maker.cli.options import RunId, Store
from maker.cli.output import print
from maker.cli.signals import INTERRUPTED
from maker.errors import BadInput
from maker.job.file import DEFAULT_STORE
from maker.lifecycle.queries import opened, show
from maker.lifecycle.review import ReviewItem
from maker.lifecycle.review import review as read_items
from maker.lifecycle.waits import answer, user
from maker.reporting.audit import Sampled
from maker.reporting.labelling import Labelling
from maker.store.runs import find_run

MOST_KEYS = 9
"""So many candidates have a key of their own on a terminal; the others are typed."""
TYPE = "  your answer, as a reply of the model would be: "


def review(
    run_id: RunId,
    audit: Annotated[
        Path | None, typer.Option("--audit", metavar="FILE", help="Label the rows that `maker audit` drew into FILE.")
    ] = None,
    show_decision: Annotated[
        bool, typer.Option("--show-decision", help="With --audit: show the decision before you answer.")
    ] = False,
    by: By = None,
    store: Store = DEFAULT_STORE,
) -> None:
    """Decide what votes have not decided, one step or row at a time.

    Each decision is stored at once. Stop when you like, and give the same command again to go on.
    """
    if audit is not None:
        _label(run_id, audit, show_decision=show_decision, by=by, store=store)
        return
    if show_decision:
        raise BadInput("--show-decision shows the decisions of an audit", fix="give it with --audit FILE")
    loop = _AnswerLoop(read_items(run_id, store=store), by, store)
    with _ending(lambda: _print_end(loop, run_id, store)):
        loop.run()


def _label(run_id: str, file: Path, *, show_decision: bool, by: str | None, store: str) -> None:
    with opened(store) as database:
        run = find_run(database, run_id)
        loop = _LabelLoop(Labelling(database, run, file), user() if by is None else by, show_decision=show_decision)
        then = completed(f"`maker audit {run.run_id} --labels {shlex.quote(str(file))}`")
        with _ending(lambda: print(f"{_done(loop, 'labelled')}; read the labels with {then}")):
            loop.run()


@contextmanager
def _ending(say: Callable[[], None]) -> Iterator[None]:
    """Say what was done when the block ends, by Ctrl-C too; the end of standard input counts as Ctrl-C."""
    try:
        yield
    except (EOFError, KeyboardInterrupt) as error:
        say()
        raise typer.Exit(INTERRUPTED) from error
    say()


class _AnswerLoop(ItemLoop[ReviewItem]):
    """Takes answers to what votes have not decided."""

    def __init__(self, items: Iterator[ReviewItem], by: str | None, store: str) -> None:
        super().__init__(items)
        self._by = by
        self._store = store

    def page(self, item: ReviewItem) -> str:
        """Return the item's values, its question, the candidates with their votes and keys, and one reply."""
        # Of a row that had votes, the candidates say as much.
        why = f": {shown(item.reason)}" if item.reason and not item.candidates else ""
        head = f"\n{shown(item.name)} ({item.outcome}){why}"
        candidates = (f"  {_key(number)} {shown(voted(one))}" for number, one in enumerate(item.candidates, 1))
        sample = [f"  a reply for the first: {shown(item.sample)}"] if item.sample else []
        return "\n".join((head, *_asked(item.values, item.question), *candidates, *sample))

    def keys(self, item: ReviewItem) -> str:
        """Return the keys of candidates, and that of another answer."""
        count = min(len(item.candidates), MOST_KEYS)
        return f"{'' if not count else '1 choose, ' if count == 1 else f'1-{count} choose, '}t type an answer, "

    def decide(self, item: ReviewItem, key: str) -> bool | None:
        """Store the answer that a key stands for."""
        if key == "t":
            text = read_text(TYPE)
            value = text if text.startswith("@") and text[1:].isdecimal() else f"={text}"
        elif key.isdecimal() and len(key) < 7 and 1 <= int(key) <= len(item.candidates):
            value = f"@{key}"
        else:
            return None
        answer(item.run_id, item.at, value, by=self._by, store=self._store)
        print(f"  decided: {shown(_said(item, value))}")
        return True


class _LabelLoop(ItemLoop[Sampled]):
    """Takes labels of a sample's rows, and shows the decision after them, or when it is asked for."""

    def __init__(self, work: Labelling, by: str, *, show_decision: bool) -> None:
        super().__init__(iter(work))
        self._labelling = work
        self._by = by
        self._always = show_decision
        self._seen: int | None = None

    def page(self, item: Sampled) -> str:
        """Return the row's values and its question, and the decision only where that is asked for."""
        decision = [_decision(item)] if self._shows(item) else []
        return "\n".join(
            (f"\n{shown(item.result.id)}", *_asked(item.values, self._labelling.question(item)), *decision)
        )

    def keys(self, item: Sampled) -> str:
        """Return the keys of a label: y and n once the decision is seen."""
        return "y right, n wrong, " if self._shows(item) else "t type your answer, v view the decision, "

    def decide(self, item: Sampled, key: str) -> bool | None:
        """Write the label that a key stands for."""
        if self._shows(item):
            return self._write(item, right=key == "y") if key in ("y", "n") else None
        if key == "v":
            self._seen = item.result.row
            print(_decision(item))
            return False
        if key != "t":
            return None
        right = self._labelling.is_right(item, read_text(TYPE))
        self._write(item, right=right)
        print(f"  labelled {'right' if right else 'wrong'}\n{_decision(item)}")
        return True

    def _shows(self, item: Sampled) -> bool:
        return self._always or self._seen == item.result.row

    def _write(self, item: Sampled, *, right: bool) -> bool:
        self._labelling.label(item, right=right, by=self._by)
        return True


def _said(item: ReviewItem, value: str) -> str:
    """Return in words what an answer of `maker.answer` is."""
    return item.candidates[int(value[1:]) - 1].key if value.startswith("@") else value[1:]


def _decision(item: Sampled) -> str:
    return f"  the decision: {shown(_text(item.result.answer))}"


def _asked(values: Mapping[str, Any], question: str) -> list[str]:
    lines = [f"  {shown(name)}: {shown(_text(value))}" for name, value in values.items()]
    return [*lines, *([f"  asked: {shown(question)}"] if question else [])]


def _key(number: int) -> str:
    return f"[{number}]" if number <= MOST_KEYS else f"t @{number}:"


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _done(loop: ItemLoop[Any], what: str) -> str:
    skipped = f", {loop.skipped:,} skipped" if loop.skipped else ""
    return f"{loop.decided:,} {what}{skipped}"


def _print_end(loop: _AnswerLoop, run_id: str, store: str) -> None:
    """Say what was done, and the one command that goes on."""
    run = show(run_id, store=store)
    if not loop.seen:
        print(completed(f"run {run.run_id} has nothing to decide; see its state with `maker show {run.run_id}`"))
        return
    goes_on = run.status == "paused" or (run.status == "done" and run.settings["task"].get("output"))
    then = f"go on with `maker resume {run.run_id}`" if goes_on else f"see them with `maker results {run.run_id}`"
    left = f"; {run.missing:,} rows are left" if run.missing else ""
    print(f"{_done(loop, 'decided')}{f'; {completed(then)}' if loop.decided else ''}{left}")
