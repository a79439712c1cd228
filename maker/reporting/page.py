"""Render a report as one HTML page: no script, no network, and all text of models is escaped."""

from __future__ import annotations

import json
import shlex
import unicodedata
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from maker.lifecycle.queries import children_called
from maker.reporting.chances import chance, span
from maker.reporting.disputes import ShownSample
from maker.reporting.figures import Bar, ClassFigures, Tail
from maker.reporting.report import Report
from maker.reporting.svg import MOST, Column, plot
from maker.types import money

SHOWN = 50
"""How many disputed steps are on the page; the JSON has more."""
SHOWN_SAMPLES = 12
SHOWN_CHARACTERS = 400
SHOWN_LINES = 30
"""How many workers and events are on the page: the last ones."""


def page(report: Report) -> str:
    """Return a report as HTML text."""
    environment = Environment(
        loader=PackageLoader("maker.reporting"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {
        "number": lambda value: f"{value:,}", "chance": chance, "span": span, "shown": shown, "when": when,
        "percent": lambda value: f"{value:.2%}", "figure": figure, "json": _json, "money": money,
    }  # fmt: skip
    where = f" --store {shlex.quote(report.store)}"
    template = environment.get_template("report.html")
    return template.render(
        report=report, run=report.run, votes_plot=votes_plot, tails_plot=tails_plot, version=report.version,
        group_samples=group_samples, where=where, command=f"maker report {report.run.run_id}{where}", most=SHOWN,
        most_samples=SHOWN_SAMPLES, lines=SHOWN_LINES,
        children=children_called(report.run),
    )  # fmt: skip


def votes_plot(one: ClassFigures) -> Markup:
    """Return the plot of valid votes a step."""
    bars: list[Bar] = list(one.votes)
    rest = bars[MOST:]
    columns = [Column(str(bar.number), bar.steps, bar.expected) for bar in bars[:MOST]]
    if rest:
        expected = None if rest[0].expected is None else sum(bar.expected or 0.0 for bar in rest)
        columns.append(Column(f"≥{rest[0].number}", sum(bar.steps for bar in rest), expected))
    title = f"valid votes a step, class {shown(one.ruled.kind)}: steps found as bars, steps expected as marks"
    return plot(columns, title, "valid votes of a step")


def tails_plot(one: ClassFigures) -> Markup:
    """Return the plot of steps with so many losing votes or more."""
    tails: Sequence[Tail] = one.tails[: MOST + 1]
    columns = [Column(f"≥{tail.losing}", tail.found, tail.expected) for tail in tails]
    title = f"steps with at least so many losing votes, class {shown(one.ruled.kind)}: found as bars, expected as marks"
    return plot(columns, title, "losing votes of a step")


class SampleGroup(NamedTuple):
    """``times`` identical samples of a step; ``sample`` is the first of them."""

    times: int
    sample: ShownSample


def group_samples(samples: Sequence[ShownSample]) -> list[SampleGroup]:
    """Return samples grouped by text, outcome and model, in the order of the first of each group."""
    found: dict[ShownSample, int] = {}
    first: dict[ShownSample, ShownSample] = {}
    for one in samples:
        key = one._replace(vote=0)
        found[key] = found.get(key, 0) + 1
        first.setdefault(key, one)
    return [SampleGroup(count, first[key]) for key, count in found.items()]


def figure(value: float) -> str:
    """Return a figure to three digits: 0.142, 1,230."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def when(seconds: float) -> str:
    """Return a time: UTC, to the second."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"


def shown(text: str | None, most: int = SHOWN_CHARACTERS) -> str:
    """Return a text that is safe to show: shortened, with control and direction characters as escapes."""
    if text is None:
        return "(lost)"
    cut = f"{text[:most]}… ({len(text) - most:,} characters more)" if len(text) > most else text
    return "".join(_spelled(sign) for sign in cut)


def _spelled(sign: str) -> str:
    if sign in "\n\t" or unicodedata.category(sign) not in ("Cc", "Cf", "Cs"):
        return sign
    return sign.encode("ascii", "backslashreplace").decode() if ord(sign) > 127 else f"\\x{ord(sign):02x}"


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)
