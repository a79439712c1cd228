"""The figures on the pages about planning, the monitor, row errors, reports and voters: each is computed anew here.

A figure that stands in the table of another test (`test_voters_certified`, `test_weighted`, `test_fit`,
`test_row_labels`) or that a benchmark prints, as its page says, is not repeated.
"""

from __future__ import annotations

import math
import statistics
from pathlib import Path

import pytest
from documents import ROOT, Block, blocks
from row_tasks import job as row_job
from row_tasks import write_rows
from scipy.stats import hypergeom
from split_pilots import drawn
from typer.testing import CliRunner

from maker import api
from maker.calibration import calibrate, map_pilot, readings
from maker.calibration.map_pilot import sample_size
from maker.calibration.observations import CHANCE
from maker.calibration.unheard import Unheard, unheard_words
from maker.cli.app import app
from maker.errors import OutOfReach
from maker.job.plan_words import OTHERWISE, UNUSUAL, WRONG, row_error_line, shown_line
from maker.job.settings import ShownFound, SwarmSettings
from maker.models.simulated import SPREAD
from maker.reporting import counts, disputes
from maker.reporting import page as report_page
from maker.sampling import kinds
from maker.stats import close_pairs, losing_votes, monitor, random_sample, vote_tests
from maker.stats.margins import Margins, cheapest
from maker.stats.monitor import Alarm, Monitor
from maker.stats.paired import mcnemar
from maker.stats.race import least_k, run_right, votes_per_step
from maker.stats.reported import Odds, surprise
from maker.stats.risk import RiskBudget
from maker.stats.several_rivals import SeveralRivals, split_failure
from maker.stats.shown import doubt, sample_loss

pytestmark = pytest.mark.plan

DOCS = ROOT / "docs"


def bare(number: str) -> str:
    """Return a number as the pages write it: .5 and 2.3e-5, not 0.5 and 2.3e-05."""
    return number.replace("e-0", "e-").removeprefix("0")


def text_of(page: str) -> str:
    """Return a page's text in one line."""
    return " ".join((DOCS / f"{page}.md").read_text(encoding="utf-8").split())


# --- what commands print ---


def prints(block: Block) -> bool:
    return block.kind == "text" and block.text.startswith("$ maker ")


@pytest.mark.parametrize("page", ["planning", "monitor"])
def test_commands_print_what_the_page_shows(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of each command in a block, the output has every line that the block shows, blanks and line breaks aside."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("MAKER_STORE", f"sqlite:///{tmp_path}/maker.db")
    shown = 0
    for block in blocks(DOCS / f"{page}.md"):
        if block.mark == "test" and block.kind == "sh":
            for line in block.text.splitlines():
                said(line.partition("#")[0])
        if prints(block):
            command, *lines = block.text.splitlines()
            printed = said(command.removeprefix("$ "))
            assert [line for line in lines if " ".join(line.split()) not in printed] == [], block.where
            shown += 1
    assert shown


def said(command: str) -> str:
    """Return what a command prints, in one line."""
    maker, *words = command.split()
    assert maker == "maker"
    return " ".join(CliRunner().invoke(app, words).output.split())


# --- planning ---


def up(wrong: float, steps: int = 1000) -> str:
    """Return what a plan says that is shown."""
    return shown_line(ShownFound(right=0.0, wrong=wrong, steps=steps, confidence=0.95)).removeprefix("shown at 95 %: ")


def most(wrong: float) -> str:
    """Return a number of steps as a plan rounds it."""
    return up(wrong).split()[2]


def test_what_a_pilot_shows() -> None:
    """0 of 300 doubtful at k = 3, and half of the rows labelled: one bound of two takes half of the risk."""
    page = text_of("planning")
    assert f"`{up(1000 * doubt({(10, 0): 300}, 3, 0.95).share)}` is no worse than the truth" in page
    labelled = {(10, 0): 500}
    own, endless = sample_loss(labelled, 5, 0.975, of=1000), 1000 * doubt(labelled, 5, 0.95).share
    said = f"leave {most(own)} wrong ones at k = 5, where an endless run would leave {most(endless)}"
    assert f"500 of 1,000 rows, all right, {said}" in page
    assert f"a step of p = {bare(f'{0.05 ** (1 / 10):.2f}')} may still hide" in page
    # Many rows, or a pilot that takes a share of few.
    assert math.pow(0.995, 300) == pytest.approx(2 / 9, abs=1e-3)
    assert hypergeom.pmf(0, 300_000, 1500, 300) == pytest.approx(2 / 9, abs=1e-3)
    assert (
        "Where 1 row in 200 has a wrong likeliest answer, a pilot of 300 rows misses such rows in 2 pilots of 9" in page
    )


def test_margins_of_two_kinds_of_steps() -> None:
    """900 steps at p = .99 and 100 at p = .7, at k = 3 and 9, and at 9 for all."""

    def told(easy: int, hard: int) -> tuple[str, str]:
        right = run_right(0.99, easy, 900) * run_right(0.7, hard, 100)
        votes = 900 * votes_per_step(0.99, easy) + 100 * votes_per_step(0.7, hard)
        return bare(f"{right:.4f}"), f"{votes:,.0f}"

    (right, votes), (other, more) = told(3, 9), told(9, 9)
    page = text_of("planning")
    assert f"are all right with {right} for {votes} votes at k = 3 and 9." in page
    assert f"With k = 9 for all it takes {more} votes for {other}." in page


def test_several_rivals() -> None:
    """The bound at k = 9, the words for a pilot of 300 steps with 10 votes, and k for pilots with 60."""
    page = text_of("planning")
    assert f"6 / 4^9 = {bare(f'{split_failure(0.4, [0.1] * 6, 9):.1e}')} of the steps at k = 9" in page
    known = SeveralRivals(drawn(0.4, 6, seed=3), 0.95)
    words = readings.reading_words([RiskBudget("digit", 1000, known)])
    for part in (
        f"by {known.pairs:,} pairs of wrong votes on one step",
        f"of which {known.agreement.estimate:.1%} agree",
    ):
        assert part in page and part in words.replace("step of digit", "step")
    assert f"agree [{known.agreement.low:.1%} to {known.agreement.high:.1%}]" in page
    found = []
    for seed in range(1, 6):
        difficulty = SeveralRivals(drawn(0.3, 4, votes=60, seed=seed), 0.95)
        made = cheapest([RiskBudget("a", 1000, difficulty)], 0.95)
        assert isinstance(made, Margins)
        found.append(made.k["a"])
    print(found)
    assert (
        f"With 60 votes a step this reading gives k = {statistics.median(found)}, in the middle of five pilots" in page
    )


# --- row errors ---


def test_a_pilot_of_twenty_thousand_rows(tmp_path: Path) -> None:
    """The last row of the table, and the line that the pilot has brought."""
    write_rows(tmp_path / "rows.csv", range(20_000))
    made = row_job(tmp_path, model={"p": 0.9, "malformed": 0.0, "rivals": 1})
    made["vote"] = {"max_votes": 100, "row_error": 0.01}
    found = api.pilot(made).vote.pilot
    assert found is not None
    page, pilot = text_of("row-error"), f"row error of 1 %, pilot of {found.rows:,} rows"
    assert f"| 20,000 rows of a simulated model with p = .9, {pilot} | {found.k} | {found.votes:.2f} |" in page
    assert f'"{row_error_line(found.at_most, 0.95, OTHERWISE)}"' in page
    for ending in (WRONG, UNUSUAL):
        assert f'"{ending}"' in page


def test_margins_by_the_formula() -> None:
    """The first two rows of the table; and the most rows that are too few."""
    page = text_of("row-error")
    for what, digits, k in (
        ("300,000 rows all right with 95 % (`maker.stats.race.least_k`)", 1, least_k(0.9, 300_000, 0.95)),
        ("row error of 1 % by the same formula, for one step", 2, least_k(0.9, 1, 0.99)),
    ):
        assert f"| p = .9, {what} | {k} | {votes_per_step(0.9, k):.{digits}f} |" in page
    few = max(rows for rows in range(300, 400) if too_few(rows))
    assert f"({few} or fewer for 0.01)" in page
    assert f"{sample_size(10_000, 0.01):,} for 10,000 rows and 0.01, {sample_size(300_000, 0.01):,} for 300,000" in page


def too_few(rows: int) -> bool:
    try:
        return not sample_size(rows, 0.01)
    except OutOfReach:
        return True


# --- reports ---


def test_doubts() -> None:
    three, four, ten = (
        bare(f"{counts.doubt(*votes):.{digits}f}") for votes, digits in (((3, 0), 4), ((4, 1), 3), ((10, 7), 3))
    )
    assert f"3 to 0 has {three}, 4 to 1 {four}, 10 to 7 {ten}." in text_of("report")


def test_rows_that_a_comparison_needs() -> None:
    fewest = next(rows for rows in range(1, 20) if mcnemar(0, rows) <= 0.05)
    assert f"With fewer than {fewest} rows no result could show it" in text_of("report")


# --- votes that weigh ---


def test_replies_that_report_nine_in_ten() -> None:
    agree = math.exp(-surprise([("a", math.log(0.9))] * 3))
    assert f"three votes that report .9 all agree on {100 * agree:.0f} % of the steps" in text_of("monitor")
    assert f"replies of .9 that are independent agree on {100 * agree:.0f} %:" in text_of("voters")


def test_when_votes_that_never_differ_are_found() -> None:
    """The first alarm, by what replies report and by how many steps are in work."""
    page, chains = text_of("monitor"), SwarmSettings().chains
    assert f"{first_alarm(0.9, 1).steps} steps are enough with `swarm.chains = 1`" in page
    assert f"With {chains}, the default, the alarm comes after {first_alarm(0.9, chains).steps} steps" in page
    due = [first_alarm(told, in_work).expected for told in (0.99, 0.999) for in_work in (1, chains)]
    assert due == pytest.approx([9.5, 308, 8.1, 315.5], abs=0.1)
    assert f"eight to ten disagreements due; with {chains} steps in work over 300, or the end of the run" in page


def first_alarm(told: float, in_work: int) -> Alarm:
    """Return the alarm about steps of three votes each that report so much and never differ."""
    watch, one = Monitor([Odds()], in_work), surprise([("a", math.log(told))] * 3)
    while not (found := watch.look()):
        watch.observe_reported(0, one)
    return found[0]


def test_what_the_simulated_model_reports() -> None:
    for p in (0.9, 0.6):
        high, low = (bare(f"{p + sign * SPREAD * min(p, 1 - p):.2g}") for sign in (1, -1))
        assert f"{high} and {low} at p = {bare(str(p))}" in text_of("voters")


# --- numbers that the code has by name ---

NUMBERS = ("no", "one", "two", "three", "four", "five")
NAMED = [
    ("planning", f"never fewer than {calibrate.LEAST} steps of a class nor more than {calibrate.STEPS:,}"),
    ("planning", f"takes at k = {calibrate.MARGIN}, and never"),
    ("planning", f"is asked {calibrate.LOOK} times more (the first {calibrate.LOOKED_AT} of them)"),
    ("planning", f"once in {1 / random_sample.LEVEL:,.0f} times at most"),
    ("planning", f"once in {1 / CHANCE:,.0f} pilots"),
    ("planning", f"(p < {bare(str(CHANCE))})"),
    ("planning", f"At least one in {kinds.PART} of the pilot's steps"),
    ("planning", f"Of a task of more than {kinds.FRAME:,} steps"),
    ("planning", f"with fewer than {readings.PAIRS} such pairs"),
    ("planning", unheard_words([Unheard("compare", "both below 0, equal", 3)]).removeprefix(", and ")),
    ("monitor", ", ".join(f"{monitor.FIRST_LOOK << look}" for look in range(3)) + ", … steps"),
    ("monitor", f"where voting fails in {100 * vote_tests.TOLERATED:g} % or less"),
    ("monitor", f"looks at every {monitor.FIRST_LOOK}th step"),
    ("monitor", f"up to {losing_votes.PARTS} stretches of equal length"),
    ("monitor", f"with more than {losing_votes.AT_ONCE:,} steps in work at once"),
    ("monitor", f"within {NUMBERS[close_pairs.REACH]} steps of one another"),
    ("monitor", f"at most {100 * monitor.ALPHA:g} % per run"),
    ("row-error", f"in two runs with other seeds than the map's, at k = {map_pilot.MARGINS[0]}."),
    ("row-error", f"two more runs vote at {map_pilot.MARGINS[1]}."),
    ("row-error", f"each pilot's with a confidence of {100 * map_pilot.CONFIDENCE:g} %"),
    ("row-error", f"takes {map_pilot.LEAST:g} to {map_pilot.USUAL:g} rows for 1 / row error"),
    ("report", f"at most {100 * monitor.ALPHA:g} % false alarms per run"),
    ("report", f"the first {report_page.SHOWN} disputed steps on the page, and the first {counts.KEPT:,} in the JSON"),
    ("report", f"with up to {disputes.MOST_SAMPLES} samples each"),
    ("report", f"cut at {disputes.MOST_CHARACTERS:,} characters ({report_page.SHOWN_CHARACTERS} on the page)"),
]


@pytest.mark.parametrize(("page", "words"), NAMED, ids=[f"{page}: {words[:40]}" for page, words in NAMED])
def test_numbers_are_those_of_the_code(page: str, words: str) -> None:
    assert words in text_of(page)
