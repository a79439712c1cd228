"""What models, workers and events of a run look like in a terminal."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from maker.cli.output import as_text, print, writing
from maker.lifecycle.events import AlarmRaised, VoteBudgetOver, budget_line
from maker.types import money

WIDE = 160
MOST = 20
"""How many workers and events are shown; all of them are in the JSON."""


def print_table(headings: Sequence[str], rows: Iterable[Sequence[str]], indent: int = 0) -> None:
    """Print rows under headings, at least `WIDE` columns wide: a narrow terminal must not cut ids that you copy."""
    table = Table(box=None, pad_edge=False)
    for number, heading in enumerate(headings):
        table.add_column(" " * indent * (not number) + heading, no_wrap=True, overflow="ignore")
    for first, *others in rows:
        table.add_row(*(Text(as_text(cell)) for cell in (" " * indent + first, *others)))
    console = Console()
    console.width = max(console.width, WIDE)
    with writing(sys.stdout):
        console.print(table, markup=False, highlight=False)


def print_models(models: Sequence[Mapping[str, Any]]) -> None:
    """Print what each model did in each role."""
    counted = ("calls", "votes", "flags", "prompt tokens", "cached", "completion", "retries", "unaccounted")
    priced = any(one["cost"] is not None for one in models)
    rows = []
    for one in models:
        cached = one["cached_tokens"] / one["prompt_tokens"] if one["prompt_tokens"] else 0.0
        counts = [f"{one[name]:,}" for name in ("calls", "votes", "red_flags", "prompt_tokens")]
        counts += [f"{cached:.1%}", *(f"{one[name]:,}" for name in ("completion_tokens", "retries", "unaccounted"))]
        cost = [] if not priced else ["" if one["cost"] is None else money(one["cost"])]
        rows.append((one["model"], one["role"], *counts, *cost))
    print_table(("model", "role", *counted, *(["cost"] if priced else [])), rows, indent=2)
    for name in dict.fromkeys(one["model"] for one in models if not one["seeded"]):
        print(f"  the votes of {name} were drawn without seeds: they cannot be drawn again")


def print_workers(workers: Sequence[Mapping[str, Any]]) -> None:
    """Print what each worker did; ``2.0`` is worker 0 of the run's session 2."""
    rows = []
    for one in workers[-MOST:]:
        counts = (f"{one[name]:,}" for name in ("steps", "calls", "prompt_tokens", "completion_tokens"))
        rows.append(
            (f"{one['session']}.{one['number']}", one["place"], *counts, one["gone"] and f"lost: {one['gone']}")
        )
    print_table(("worker", "place", "steps", "calls", "prompt tokens", "completion", ""), rows, indent=2)
    _print_left_out(len(workers))


def print_events(events: Sequence[Mapping[str, Any]]) -> None:
    """Print the last stored events of a run, with their time in UTC."""
    for one in events[-MOST:]:
        facts = {name: value for name, value in one.items() if name not in ("at", "kind")}
        shown = ", ".join(f"{name} {json.dumps(value, ensure_ascii=False)}" for name, value in facts.items())
        print(f"  {datetime.fromtimestamp(one['at'], UTC):%Y-%m-%d %H:%M:%S} {one['kind']}: {shown}")
    _print_left_out(len(events))


def print_alarms(events: Sequence[Mapping[str, Any]]) -> None:
    """Print the vote monitor's alarms among a run's events."""
    for one in events:
        if one["kind"] == AlarmRaised.kind:
            level = f"p <= {one['p']:.2g}, alarm level {one['level']:.2g}"
            print(f"  alarm: steps of class {one['step_class']} ({one['statistic']}): {one['text']} ({level})")


def print_budget(events: Sequence[Mapping[str, Any]]) -> None:
    """Print what a run's budget of votes has bought, where it is over."""
    over = [one for one in events if one["kind"] == VoteBudgetOver.kind]
    if over:
        print(f"  {budget_line(over[-1])}")


def print_watched(classes: Sequence[Mapping[str, Any]], policy: str) -> None:
    """Print which step classes the vote monitor watches, and why it does not watch the others."""
    if policy == "off":
        print("  monitor off")
        return
    for one in classes:
        if one["unwatched"]:
            state = f"not watched: {one['unwatched']}"
        elif one["losing_votes"] is None:
            state = f"votes that weigh differ on {one['contested']:,} of {one['steps']:,} steps"
        else:
            state = f"{one['losing_votes']:,} losing votes on {one['contested']:,} of {one['steps']:,} steps"
        print(f"  monitor {one['class']}: {state}{'; its votes are decorrelated' if one['decorrelated'] else ''}")


def _print_left_out(there: int) -> None:
    if there > MOST:
        print(f"    and {there - MOST:,} earlier ones; --json shows all")
