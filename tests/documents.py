"""Reads the documents of the repository: their code blocks with their marks, and their links."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
PAGES = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md")))
_FENCE = re.compile(
    r"(?:^<!-- (?P<mark>[^\n]*) -->\n+)?^```(?P<kind>\w*)\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE
)
_LINK = re.compile(r"\]\(([^)\s]+)\)")


class Block(NamedTuple):
    """A code block: its page, the line it begins at, its language, the comment before it, and its text."""

    page: Path
    line: int
    kind: str
    mark: str
    text: str

    @property
    def where(self) -> str:
        """The place, as a test's name."""
        return f"{self.page.name}:{self.line}"


def blocks(page: Path) -> Iterator[Block]:
    """Yield the fenced code blocks of a page."""
    text = page.read_text(encoding="utf-8")
    for found in _FENCE.finditer(text):
        line = text.count("\n", 0, found.start("text"))
        yield Block(page, line, found["kind"], found["mark"] or "", found["text"])


def marked(kind: str, mark: str) -> list[Block]:
    """Return the blocks of all pages of one language that bear a mark."""
    return [block for page in PAGES for block in blocks(page) if (block.kind, block.mark) == (kind, mark)]


def links(page: Path) -> list[str]:
    """Return where the links of a page lead within the repository; links in code are none."""
    text = re.sub(r"`[^`\n]*`", "", _FENCE.sub("", page.read_text(encoding="utf-8")))
    return [link for link in _LINK.findall(text) if "://" not in link and not link.startswith("mailto:")]


def names(page: Path) -> set[str]:
    """Return the names of maker's modules and what is in them, as in `maker.stats.race.least_k`, of a page's text."""
    text = _FENCE.sub("", page.read_text(encoding="utf-8"))
    return set(re.findall(r"`(maker(?:\.\w+){2,})", text))


def anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub gives the headings of a page."""
    text = _FENCE.sub("", page.read_text(encoding="utf-8"))
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
