"""A report as one page of HTML: no script, no network, and everything that a model said is escaped."""

from __future__ import annotations

import json
import shlex
import unicodedata
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from maker.reporting.disputes import Said
from maker.reporting.figures import Bar, ClassFigures, Tail
from maker.reporting.fit import Range
from maker.reporting.report import Report
from maker.reporting.svg import MOST, Column, plot
from maker.stats.monitor import FIRST_LOOK

SHOWN = 50
"""So many disputed steps are on the page; the JSON has more."""
SHOWN_SAMPLES = 12
SHOWN_CHARACTERS = 400
SHOWN_LINES = 30
"""Of workers and of events, the last ones."""
SURE = 1e-15
"""Closer to 1 than this a probability is not told from it."""


def page(report: Report) -> str:
    """Return a report as a page."""
    environment = Environment(
        loader=PackageLoader("maker.reporting"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {
        "number": lambda value: f"{value:,}", "chance": chance, "span": span, "shown": shown, "when": when,
        "percent": lambda value: f"{value:.2%}", "figure": figure, "json": _json,
    }  # fmt: skip
    where = f" --store {shlex.quote(report.store)}"
    template = environment.get_template("report.html")
    return template.render(
        report=report, run=report.run, votes_plot=votes_plot, tails_plot=tails_plot, version=report.version,
        alike_samples=alike_samples, where=where, command=f"maker report {report.run.run_id}{where}", most=SHOWN,
        most_samples=SHOWN_SAMPLES, lines=SHOWN_LINES, first_look=FIRST_LOOK,
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


class Alike(NamedTuple):
    """So many samples of a step that are alike: ``said`` is the first of them."""

    times: int
    said: Said


def alike_samples(samples: Sequence[Said]) -> list[Alike]:
    """Return samples that say the same, and were taken alike, as one; in the order of their first."""
    found: dict[Said, int] = {}
    first: dict[Said, Said] = {}
    for one in samples:
        key = one._replace(vote=0)
        found[key] = found.get(key, 0) + 1
        first.setdefault(key, one)
    return [Alike(count, first[key]) for key, count in found.items()]


def chance(value: float) -> str:
    """Return a probability in words that keep what is telling: .87, 1 − 2.3e-07."""
    if value >= 1:
        return "1"
    if 1 - value < SURE:
        return f"1 − less than {SURE:g}"
    return f"1 − {1 - value:.2g}" if value > 0.999 else f"{value:.4g}"


def span(value: Range) -> str:
    """Return an interval of probabilities."""
    return f"{chance(value.low)} to {chance(value.high)}"


def figure(value: float) -> str:
    """Return a figure to three digits: 0.142, 1,230."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def when(seconds: float) -> str:
    """Return a time: UTC, to the second."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"


def shown(text: str | None, most: int = SHOWN_CHARACTERS) -> str:
    """Return a text as a page can show it: shortened, with control and direction signs spelled out."""
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
