"""Pilots: the margin that a map's row error asks for, found by voting on some of the rows twice."""

from __future__ import annotations

import asyncio
import json
import math
import random
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from row_tasks import job, write_rows
from typer.testing import CliRunner

import maker
from maker import api
from maker.calibration.map_pilot import CONFIDENCE, MARGINS, Pair, contested, level, sample_size
from maker.cli.app import app
from maker.errors import JobError, OutOfReach, PilotPaused
from maker.lifecycle import admin, queries
from maker.lifecycle.rows import results
from maker.stats import race
from maker.stats.bounds import share_at_most
from voters.first_to_ahead_by_k import FirstToAheadByK, FirstToAheadByKParams

RIVAL = {"p": 0.9, "malformed": 0.0, "rivals": 1}


def wanted(folder: Path, row_error: float = 0.01, rows: int = 3000, **tables: dict[str, Any]) -> dict[str, Any]:
    """Return a job over so many rows, in which a row error stands in place of k."""
    write_rows(folder / "rows.csv", range(rows))
    made = job(folder, **{"model": RIVAL} | tables)
    made["vote"] = {"max_votes": 100, "row_error": row_error} | tables.get("vote", {})
    return made


def fta(k: int) -> FirstToAheadByK:
    return FirstToAheadByK(FirstToAheadByKParams(k=k))


def votes(rng: random.Random, p: float, k: int) -> list[str]:
    """Return the votes of a race with margin k in which each is right with probability p."""
    found: list[str] = []
    while abs(2 * found.count("right") - len(found)) < k:
        found.append("right" if rng.random() < p else "wrong")
    return found


def test_the_formulas_say_three_for_rows_and_eight_for_the_run() -> None:
    """At p = .9 a row error of .01 takes k = 3 and 3.74 votes; 300,000 rows all right with .95 take k = 8 and 10."""
    k = race.least_k(0.9, 1, 0.99)
    assert (k, round(race.votes_per_step(0.9, k), 2)) == (3, 3.74)
    whole = race.least_k(0.9, 300_000, 0.95)
    assert (whole, round(race.votes_per_step(0.9, whole), 2)) == (8, 10.0)
    assert race.one_rival(0.82) == pytest.approx(0.9, abs=1e-12)
    assert race.one_rival(0.4999) is None


def test_a_share_is_bounded_exactly() -> None:
    """Clopper and Pearson's bound: x or fewer successes have just the risk at it."""
    assert share_at_most(0, 300, 0.95) == pytest.approx(1 - 0.05 ** (1 / 300), abs=1e-8)
    assert share_at_most(5, 5, 0.95) == share_at_most(0, 0, 0.95) == 1.0
    for x, trials in ((1, 10), (7, 1500), (40, 90)):
        bound = share_at_most(x, trials, 0.975)
        chance = math.fsum(math.comb(trials, i) * bound**i * (1 - bound) ** (trials - i) for i in range(x + 1))
        assert chance == pytest.approx(0.025, abs=1e-6)
    with pytest.raises(ValueError, match="none may exceed"):
        share_at_most(3, 2, 0.95)


@pytest.mark.parametrize(
    ("rows", "row_error", "sample"), [(300_000, 0.01, 1500), (10_000, 0.01, 600), (400, 0.01, 400)]
)
def test_a_pilot_grows_with_the_map(rows: int, row_error: float, sample: int) -> None:
    assert sample_size(rows, row_error) == sample


def test_too_few_rows_show_nothing() -> None:
    """As many rows as a pilot without a difference needs, and one less."""
    least = math.ceil(math.log(1 - CONFIDENCE) / math.log(0.99))
    assert sample_size(least, 0.01) == least
    with pytest.raises(OutOfReach, match=f"{least - 1} rows are too few to show it; a pilot needs {least}"):
        sample_size(least - 1, 0.01)


def test_a_level_counts_what_its_margin_would_have_decided() -> None:
    """Votes of races at 3 are read again at 2 and 1: who won, after how many votes, and which rows differ."""
    pairs = [Pair("aaa", "aaa"), Pair("baaaa", "bbb"), Pair("ab", "aaa"), Pair("", "bbb")]
    assert level(pairs, fta(3), 3) == (3, 2, 1, share_at_most(1, 2, CONFIDENCE), (3 + 3 + 5 + 3 + 3 + 3) / 6)
    assert level(pairs, fta(2), 2) == (2, 2, 1, share_at_most(1, 2, CONFIDENCE), (2 + 2 + 4 + 2 + 2 + 2) / 6)
    assert level(pairs, fta(1), 1) == (1, 3, 0, share_at_most(0, 3, CONFIDENCE), 1.0)
    assert level([], fta(1), 1) == (1, 0, 0, 1.0, 0.0)


def test_the_first_vote_counts_rows_for_the_monitor() -> None:
    """The second one, of the same rows, does not, nor do rows without a vote; one with two votes is contested at 3."""
    pairs = [Pair("aaa", "aba"), Pair("abaaa", "aaa"), Pair("aabaa", "aaa"), Pair("", "aaa"), Pair("aa", "aaa")]
    assert contested(pairs, 3) == (4, 3)
    assert contested(pairs, 2) == (4, 1)
    assert contested(pairs, 4) is None
    assert contested([Pair("", "aaa")], 2) is None


class Rows(NamedTuple):
    """How the rows of a map are made: which p each has."""

    name: str
    draw: Callable[[random.Random], float]


ALIKE = Rows("alike", lambda rng: 0.88)
SPREAD = Rows("spread", lambda rng: max(0.5, rng.betavariate(19, 1)))
TWO_KINDS = Rows("two kinds", lambda rng: 0.62 if rng.random() < 0.03 else 0.99)


@pytest.mark.parametrize("rows", [ALIKE, SPREAD, TWO_KINDS], ids=lambda rows: rows.name)
def test_the_margin_that_is_found_keeps_the_row_error(rows: Rows) -> None:
    """Of many pilots hardly one finds a margin at which more rows are decided otherwise, whatever the rows are like.

    The share that a margin really decides otherwise is computed, of a million rows; a bound that is too low has 2.5 %.
    """
    rng = random.Random(4)
    everything = [rows.draw(rng) for _ in range(20_000)]
    largest, row_error, pilots = MARGINS[0], 0.02, 120
    otherwise = {k: sum(1 - race.step_right(p, k) for p in everything) / len(everything) for k in range(1, 5)}
    broken = found = 0
    for _ in range(pilots):
        drawn = rng.sample(everything, 500)
        pairs = [Pair(votes(rng, p, largest), votes(rng, p, largest)) for p in drawn]
        kept = largest + 1
        while kept > 1 and level(pairs, fta(kept - 1), kept - 1).at_most <= row_error:
            kept -= 1
        if kept <= largest:
            found += 1
            broken += otherwise[kept] > row_error
    assert broken <= pilots * 0.025 + 4 * math.sqrt(pilots * 0.025 * 0.975)
    assert found > pilots / 4


def test_a_run_begins_with_its_pilot(tmp_path: Path) -> None:
    """At p = .9 a row error of .02 gives k = 3; it is the run's, and says what it rests on."""
    made = wanted(tmp_path, 0.02, 12_000)
    report = api.run(made, limit_steps=100)
    found = report.settings["vote"]["pilot"]
    assert (report.settings["vote"]["k"], report.settings["vote"]["row_error"], found["k"]) == (3, 0.02, 3)
    assert (found["rows"], found["of"], found["both"]) == (600, 12_000, 600)
    assert 0 < found["at_most"] <= 0.02
    assert abs(found["votes"] - 3.74) < 4 * 1.5 / math.sqrt(1200)
    assert abs(found["agreement"] - 0.82) < 4 * math.sqrt(0.82 * 0.18 / 1200)
    assert found["at_most"] == share_at_most(found["differ"], found["both"], CONFIDENCE)
    url = made["store"]["url"]
    names = [run.name for run in queries.runs(store=url)]
    assert names == ["", "pilot of map", "pilot of map"]
    assert queries.verify(report.run_id, store=url).problem == ""
    first, second = (queries.show(run, store=url) for run in found["runs"])
    assert (first.steps, second.steps) == (600, 600)
    assert first.digest != second.digest
    assert first.settings["task"]["output"] == ""
    assert "pilot" not in first.settings["vote"]


def test_a_pilot_that_is_there_is_not_held_again(tmp_path: Path) -> None:
    """Another run of the same job uses its pilot; one with another model has its own."""
    made = wanted(tmp_path, rows=500, task={"output": ""})
    api.run(made)
    api.run(made)
    url = made["store"]["url"]
    assert len(queries.runs(store=url)) == 4
    api.run(wanted(tmp_path, rows=500, task={"output": ""}, model={**RIVAL, "p": 0.95}))
    assert len(queries.runs(store=url)) == 7


def test_a_pilot_that_was_cut_off_goes_on(tmp_path: Path) -> None:
    """A stop in the middle of the pilot leaves a paused run, which the job goes on with when it is started again."""
    stop = threading.Event()
    tables = {"model": {**RIVAL, "latency_s": 0.02}, "store": {"samples": "none"}, "swarm": {"chains": 8}}
    made = wanted(tmp_path, 0.02, 400, **tables)
    with pytest.raises(PilotPaused, match="is paused: stopped"):
        api.pilot(
            made, on_event=lambda event: stop.set() if type(event).__name__ == "StepsDecided" else None, stop=stop
        )
    url = made["store"]["url"]
    (paused,) = queries.runs(store=url)
    assert 0 < paused.steps < 300
    settled = api.pilot(made | {"model": made["model"] | {"latency_s": 0.0}})
    assert settled.vote.pilot is not None
    assert settled.vote.pilot.runs[0] == paused.run_id
    assert queries.show(paused.run_id, store=url).resumes == 1


def test_a_row_error_out_of_reach_is_refused_with_what_was_seen(tmp_path: Path) -> None:
    made = wanted(tmp_path, rows=400, model={"p": 0.55})
    with pytest.raises(
        OutOfReach,
        match=r"is out of reach: at k = 8, \d+ of \d+ rows got another answer .* at most \d+\.\d\d% of the decided",
    ):
        api.run(made)
    assert len(queries.runs(store=made["store"]["url"])) == 2 * len(MARGINS)


@pytest.mark.parametrize("value", [0, 1, 1.5, -0.1])
def test_no_share_is_no_row_error(value: float, tmp_path: Path) -> None:
    with pytest.raises(JobError, match=r"vote\.row_error = "):
        api.load_job(wanted(tmp_path, value, rows=1))


def test_what_does_not_go_with_a_row_error_is_told(tmp_path: Path) -> None:
    """A margin of one's own, a voter without one, a task without rows, and a pilot that was made up."""
    made = wanted(tmp_path, rows=1)
    with pytest.raises(JobError, match=r"vote\.row_error and vote\.k exclude each other"):
        api.load_job(made | {"vote": made["vote"] | {"k": 3}})
    with pytest.raises(JobError, match="the voter majority has no k"):
        api.load_job(made | {"vote": made["vote"] | {"voter": "majority"}})
    with pytest.raises(JobError, match="is for maps over rows, and hanoi is not one"):
        api.load_job(made | {"task": {"decomposer": "hanoi", "disks": 3}})
    for roles in ({"judge": {"k": 2}}, {"solver": {"k": 4}}):
        with pytest.raises(JobError, match=r"finds one k for all steps, but roles"):
            api.load_job(made | {"roles": roles})
    forged = {"k": 1, "rows": 1, "of": 1, "both": 1, "differ": 0, "at_most": 0.0, "confidence": 1.0, "votes": 1.0}
    with pytest.raises(JobError, match=r"vote\.pilot is a pilot's result"):
        api.load_job(made | {"vote": made["vote"] | {"pilot": forged | {"agreement": 1.0, "runs": []}}})
    with pytest.raises(JobError, match="the job does not set it"):
        api.pilot(job(tmp_path))


def test_a_round_with_a_margin_of_its_own_promises_no_row_error(tmp_path: Path) -> None:
    """What a pilot found holds for its margin: a later round with another k does not claim it."""
    made = wanted(tmp_path, rows=1000, vote={"max_votes": 5}, task={"output": ""})
    url = made["store"]["url"]
    done = api.run(made)
    assert done.result["undecided"] > 0
    other = admin.another_round(done.run_id, ["undecided"], ["vote.k=2", "vote.max_votes=50"], store=url)
    assert other.settings["vote"]["k"] == 2
    assert not {"row_error", "pilot"} & set(other.settings["vote"])
    same = admin.another_round(done.run_id, ["undecided"], ["vote.max_votes=50"], store=url)
    assert same.settings["vote"]["pilot"] == done.settings["vote"]["pilot"]
    unlike = admin.another_round(done.run_id, ["undecided"], ["vote.max_votes=50", "model.p=0.99"], store=url)
    assert unlike.settings["vote"]["k"] == done.settings["vote"]["k"]
    assert not {"row_error", "pilot"} & set(unlike.settings["vote"])
    with pytest.raises(JobError, match="a stored run has its k already"):
        admin.another_round(done.run_id, ["undecided"], ["vote.row_error=0.001"], store=url)


def test_the_command_says_what_it_rests_on(tmp_path: Path) -> None:
    """`run` tells of the pilot before and after it, and `show` tells again; `--dry-run` says that there will be one."""
    made = wanted(tmp_path, rows=1000, task={"output": ""})
    lines = []
    for table, content in made.items():
        lines += [
            f"[{table}]",
            *(f"{key} = {json.dumps(value)}" for key, value in content.items() if key not in ("schema", "fields")),
        ]
    (tmp_path / "job.toml").write_text("\n".join(lines))
    words = [str(tmp_path / "job.toml")]
    dry = CliRunner().invoke(app, ["run", *words, "--dry-run"])
    assert "takes two votes at k = 4 on each of 600 of 1,000 rows, at least 4,800 calls" in dry.stderr
    told = CliRunner().invoke(app, ["run", *words])
    assert told.exit_code == 0
    said = (
        r"k = \d: at most 0\.\d\d% of the decided rows get another answer if you vote again, with a confidence of 95 %"
    )
    assert re.search(f"pilot: {said}", told.stderr)
    shown = CliRunner().invoke(app, ["show", "last", "--store", made["store"]["url"]]).stdout
    assert re.search(f"pilot  {said}", shown)
    assert "`maker audit` can" in shown


def test_a_service_pilots_too(tmp_path: Path) -> None:
    """The handle that an engine gives is that of the run, not of its pilot."""
    made = wanted(tmp_path, rows=1000)

    async def serve() -> maker.RunReport:
        async with maker.Service(store=made["store"]["url"]) as engine:
            handle = await engine.start(made)
            return await handle.result()

    report = asyncio.run(serve())
    assert (report.status, report.name) == ("done", "")
    assert report.settings["vote"]["pilot"]["k"] == report.settings["vote"]["k"]


def test_a_sample_asks_rows_at_random_and_the_same_again(tmp_path: Path) -> None:
    """Its rows are numbered among themselves, have their own ids, and are in the order of the input."""
    write_rows(tmp_path / "rows.csv", range(500))
    ids = []
    for output in ("out", "again"):
        made = job(tmp_path, task={"sample": 40, "output": str(tmp_path / output)}, model={"p": 1.0, "malformed": 0.0})
        report = api.run(made)
        assert report.result == {"rows": 40, "decided": 40}
        found = list(results(report.run_id, store=made["store"]["url"]))
        assert [one.row for one in found] == list(range(40))
        ids.append([int(one.id.removeprefix("row-")) for one in found])
    assert ids[0] == ids[1] == sorted(set(ids[0]))
    assert max(ids[0]) > 400
    assert min(ids[0]) < 100
    written = [line for file in (tmp_path / "out").glob("rows-*.jsonl") for line in file.read_text().splitlines()]
    assert [json.loads(line)["id"] for line in written] == [f"row-{number}" for number in ids[0]]


def test_a_sample_may_be_larger_than_the_input(tmp_path: Path) -> None:
    write_rows(tmp_path / "rows.csv", range(7))
    report = api.run(job(tmp_path, task={"sample": 40}, model={"p": 1.0, "malformed": 0.0}))
    assert report.result == {"rows": 7, "decided": 7}
