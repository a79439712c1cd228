"""The page of a report: whole, without anything from elsewhere, and nothing that was said in a run is markup in it."""

from __future__ import annotations

import re
from collections.abc import Callable
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from row_tasks import job as row_job
from row_tasks import write_rows

from maker import api
from maker.plugin import Decomposer, Oracle, Params, Step, Truth
from maker.reporting.chances import chance, span
from maker.reporting.disputes import ShownSample
from maker.reporting.fit import Range
from maker.reporting.page import MOST, SHOWN, figure, group_samples, page, shown, votes_plot
from maker.reporting.report import report
from maker.reporting.svg import Column, plot

pytestmark = pytest.mark.plan

Job = Callable[..., dict[str, dict[str, Any]]]
EVIL = "<script>alert(1)</script><img src=x onerror=alert(1)>'\"&\u202e\x1b[31m"
VOID = {"meta", "link", "br", "img", "input"}


class Page(HTMLParser):
    """Reads a page: its tags must close in order, and none may run or fetch anything."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()
        self.text: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        for name, _ in attrs:
            assert not name.startswith("on"), f"{tag} has {name}"
            assert name not in ("src", "href", "action", "data", "style"), f"{tag} has {name}"
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


class Scripted(Decomposer[int, str]):
    """Asks for texts, of which some are markup: in prompts, replies, candidates, names and results."""

    name = "scripted"
    version = 1
    Params = Params

    def __init__(self, base: Any, kind: str) -> None:
        from maker.plugin import PydanticCodec, StepClass

        self.state = PydanticCodec(int)
        self.action = PydanticCodec(str)
        self.kind: StepClass[int, str] = StepClass(kind, parse=str, system=EVIL, max_tokens=200)
        self.classes = (self.kind,)

    def start(self) -> int:
        return 0

    def next(self, state: int) -> Any:
        from maker.plugin import Done

        return Step(self.kind, f"{EVIL} {state}") if state < 60 else Done({EVIL: EVIL})

    def apply(self, state: int, action: str) -> int:
        return state + 1

    def oracle(self) -> Oracle:
        return lambda prompt: Truth((f"right {EVIL}",), (f"wrong {EVIL}", f"</pre>{EVIL}"))


class Evil(Scripted):
    """Is what a job can name."""

    def __init__(self, params: Any) -> None:
        super().__init__(params, f"kind {EVIL}")


def plots(text: str) -> list[ElementTree.Element]:
    return [parsed(found) for found in re.findall(r"<svg.*?</svg>", text, re.DOTALL)]


def parsed(drawn: str) -> ElementTree.Element:
    return ElementTree.fromstring(drawn)  # noqa: S314 - it is our own


def test_nothing_that_was_said_is_markup(store: str) -> None:
    """Replies, prompts, names, classes and results that are markup stand on the page as text."""
    api.run({
        "run": {"name": EVIL.replace("\x1b", "")}, "task": {"decomposer": "test_page:Evil"},
        "model": {"kind": "simulated", "p": 0.7, "malformed": 0.2}, "vote": {"k": 3, "max_votes": 1000},
        "store": {"url": store},
    })  # fmt: skip
    found = report("last", store=store)
    assert found.disputed
    text = page(found)
    read = Page(text)
    assert not read.seen & {"script", "img", "iframe", "object", "link", "base", "form"}
    whole = "".join(read.text)
    assert "<script>alert(1)</script>" in whole
    assert "onerror=alert(1)" in whole
    for sign in ("\u202e", "\x1b"):
        assert sign not in text
    assert "\\u202e" in whole
    assert "http" not in re.sub(r"http-equiv", "", text)
    assert "url(" not in text
    assert "@import" not in text


@pytest.mark.parametrize("vote", [{"k": 3}, {"k": 1}, {"voter": "majority", "n": 3}])
def test_the_page_of_any_run(hanoi: Job, store: str, vote: dict[str, Any]) -> None:
    """It is well formed, and its plots are, whatever can be said of the run."""
    job = hanoi(7)
    api.run(job | {"vote": vote})
    found = report("last", store=store)
    text = page(found)
    Page(text)
    first, second = plots(text)
    (one,) = found.classes
    assert len(first.findall(".//rect")) == sum(bar.steps > 0 for bar in one.votes)
    assert len(second.findall(".//rect")) == sum(tail.found > 0 for tail in one.tails)
    assert bool(first.findall(".//path")) == (one.fit is not None)
    assert found.run.run_id in text
    assert found.run.digest in text
    assert f"maker report {found.run.run_id}" in text


def test_a_run_without_a_step(hanoi: Job, store: str) -> None:
    """There is a page of it: the number is not shown, and there is no plot."""
    api.run(hanoi(5, model={"p": 0.5}, vote={"k": 5, "max_votes": 6}))
    text = page(report("last", store=store))
    Page(text)
    assert "not shown" in text
    assert "no step is decided by votes" in text
    assert not plots(text)


def test_rows_of_which_none_is_decided(tmp_path: Path, store: str) -> None:
    """There is a page of that too, with how the votes stood."""
    write_rows(tmp_path / "rows.csv", range(20))
    api.run(row_job(
        tmp_path, store={"url": store}, task={"output": ""}, model={"kind": "simulated", "p": 0.9},
        vote={"k": 9, "max_votes": 9},
    ) | {"model": {"kind": "simulated", "p": 0.01, "rivals": 2}})  # fmt: skip
    found = report("last", store=store)
    (one,) = found.classes
    assert (one.steps, one.cut) == (0, 20)
    text = page(found)
    Page(text)
    assert "undecided rows (20)" in text


def test_a_number_that_is_not_to_be_believed(hanoi: Job, store: str) -> None:
    """It is not shown where the monitor alarms, struck where the task says that it went wrong, and stands where not."""
    api.run(hanoi(6))
    assert "<del>" not in page(report("last", store=store))
    api.run(hanoi(7, model={"p": 0.85}, vote={"k": 2, "max_votes": 1000}))
    text = page(report("last", store=store))
    assert "<del>" in text
    assert "Do not rely on this number" in text
    api.run(hanoi(9, model={"p": 0.62}, vote={"k": 3, "max_votes": 1000}))
    text = page(report("last", store=store))
    assert "<del>" not in text
    assert "not shown" in text


def test_it_does_not_grow_with_the_run(hanoi: Job, store: str) -> None:
    """So many disputed steps are on the page, and no more."""
    api.run(hanoi(9, model={"p": 0.7}, vote={"k": 4, "max_votes": 1000}))
    found = report("last", store=store)
    text = page(found)
    assert len(found.disputed) > SHOWN
    assert text.count("<article>") == SHOWN


def test_plots_place_what_they_show() -> None:
    """On a logarithmic axis, ten times as many steps are always as much higher, and nothing leaves the plot."""
    drawn = parsed(plot([Column(str(n), 10.0**n, 10.0**n / 2) for n in range(5)], "t", "x"))
    bars = drawn.findall(".//rect")
    heights = [float(bar.get("height", "nan")) for bar in bars]
    gaps = [b - a for a, b in pairwise(heights)]
    assert gaps == pytest.approx([gaps[0]] * 4, abs=0.2)
    assert all(float(bar.get("y", "nan")) >= 0 for bar in bars)
    told = [title.text for title in drawn.iter("title")]
    assert told[2] == "2: 100 steps, 50 expected"
    empty = parsed(plot([], "t", "x"))
    assert not empty.findall(".//rect")


def test_many_numbers_of_votes(hanoi: Job, store: str) -> None:
    """Bars beyond those that can be read are put together into a last one: no step is left out."""
    api.run(hanoi(9, model={"p": 0.56}, vote={"k": 9, "max_votes": 5000}))
    (one,) = report("last", store=store).classes
    assert len(one.votes) > MOST
    told = [title.text or "" for title in parsed(votes_plot(one)).iter("title")]
    counted = [int(re.sub(r"\D", "", text.partition(":")[2].partition(" steps")[0])) for text in told]
    assert len(told) == MOST + 1
    assert sum(counted) == one.steps


def test_samples_that_are_alike() -> None:
    """They are one line, in the order of their first."""
    said = [
        ShownSample(0, "a", "a", None, "", "m"),
        ShownSample(1, "b", "b", None, "", "m"),
        ShownSample(2, "a", "a", None, "", "m"),
    ]
    assert [(one.times, one.sample.vote) for one in group_samples(said)] == [(2, 0), (1, 1)]


def test_how_figures_are_written() -> None:
    """What tells numbers apart is kept: 1 - 2.3e-07 is not 1."""
    assert chance(1.0) == "1"
    assert chance(1 - 2.3e-7) == "1 − 2.3e-07"
    assert chance(1 - 1e-16) == "1 − less than 1e-15"
    assert chance(0.87123) == "0.8712"
    assert chance(1e-12) == "1e-12"
    assert span(Range(0.5, 0.75, 1.0)) == "0.5 to 1"
    assert figure(1234.5) == "1,234"
    assert figure(0.14159) == "0.142"


def test_texts_are_shown_and_not_obeyed() -> None:
    """Signs that a page or a terminal would obey are spelled out; what is long is cut, and says so."""
    assert shown("a\x00b\x1b[0m\u202ec\ud83d") == "a\\x00b\\x1b[0m\\u202ec\\ud83d"
    assert shown("é 漢 😀\n\t") == "é 漢 😀\n\t"
    assert shown("x" * 500, 400) == "x" * 400 + "… (100 characters more)"
    assert shown(None) == "(lost)"
