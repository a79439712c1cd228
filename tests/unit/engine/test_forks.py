"""Forks and joins: killed anywhere and resumed, in bites, in any window, a run is the one that nobody disturbed.

A kill is simulated by what it leaves: a copy of the database as it stands after some commit, held by a process that is
no more. The copy is resumed; the process that it was taken from is thrown away.
"""

from __future__ import annotations

import contextlib
import itertools
import sqlite3
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import pytest
from fork_tasks import PROMPTS, Broken, Shape, count, leaf
from hypothesis import given, settings
from hypothesis import strategies as st
from killed_runs import Killed, Life, Log, assert_same, living, log_of, through

from maker import api
from maker.engine.scheduler import Scheduler
from maker.errors import MakerError, RunNotResumable
from maker.lifecycle import queries, session
from maker.store.backend.database import open_database
from maker.store.chains import root_chain
from maker.store.runs import find_run
from maker.store.tree import PlacedStep, walk_steps
from maker.swarm.messages import Orders, Report
from maker.swarm.worker import Worker
from maker.types import Outcome
from maker.voting.chain import DEEPEST
from maker.voting.paths import chain_name
from maker.voting.seeds import ChainSeeds
from maker.voting.tally import unpack

VOTER = "voters.first_to_ahead_by_k:FirstToAheadByK"


def job(url: str, task: dict[str, Any], **tables: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return a job for one of the tasks of `fork_tasks`."""
    base: dict[str, dict[str, Any]] = {
        "task": task,
        "model": {"kind": "simulated", "p": 0.9, "malformed": 0.05, "rivals": 3},
        "vote": {"voter": VOTER, "k": 2, "max_votes": 1000},
        "store": {"url": url},
    }
    return base | {name: base.get(name, {}) | table for name, table in tables.items()}


@contextmanager
def snapshots(every: int) -> Iterator[None]:
    """Let a snapshot be taken every so many steps."""
    with pytest.MonkeyPatch.context() as patch:
        for place in ("maker.voting.chain.SNAPSHOT_STEPS", "maker.verification.replay.SNAPSHOT_STEPS"):
            patch.setattr(place, every)
        yield


def tree(shape: Shape) -> dict[str, Any]:
    return {"decomposer": "fork_tasks:Tree", "shape": shape}


def deep(forks: int) -> dict[str, Any]:
    return {"decomposer": "fork_tasks:Deep", "forks": forks}


LIVES = st.builds(
    Life,
    chains=st.sampled_from([1, 2, 7, 256]),
    durability=st.sampled_from(["group", "strict"]),
    groups=st.lists(st.sampled_from([1, 2, 3, 64]), min_size=1, max_size=4).map(tuple),
    slice_steps=st.sampled_from([1, 2, 5, 2000]),
    join_every=st.sampled_from([1, 2, 3, 5000]),
    kept=st.sampled_from([1, 2, 64]),
    page=st.sampled_from([1, 2, 3, 1000]),
    kill_after=st.integers(1, 12),
    max_votes=st.sampled_from([3, 5, 1000, 1000]),
    limit_steps=st.none() | st.integers(1, 60),
    max_calls=st.sampled_from([40, 200, 1_000_000]),
    stop_after=st.none() | st.integers(1, 6),
)


@st.composite
def shapes(draw: st.DrawFn, depth: int = 3) -> Shape:
    """Draw a shape: up to three forks one after another, forks within forks, of chains or of single steps."""
    forks: list[dict[str, Any]] = []
    for _ in range(draw(st.integers(1 if depth == 3 else 0, 3 if depth == 3 else 2)) if depth else 0):
        if draw(st.booleans()):
            forks.append({"singles": draw(st.integers(1, 6) | st.integers(1, 80))})
        else:
            forks.append({"children": draw(st.lists(shapes(depth - 1), min_size=1, max_size=4))})
    steps = draw(st.lists(st.integers(0, 4), min_size=len(forks) + 1, max_size=len(forks) + 1))
    return {"steps": steps, "forks": forks}


SHAPES = shapes().filter(lambda shape: 0 < count(shape) <= 150)


@settings(max_examples=16, derandomize=True, deadline=None)
@given(shape=SHAPES, lives=st.lists(LIVES, min_size=1, max_size=5), every=st.sampled_from([1, 3, 1000]))
def test_a_killed_run_is_the_uninterrupted_one(shape: Shape, lives: list[Life], every: int) -> None:
    """Whatever forks, however wide the window, killed after any commit, stuck or stopped: the log is the same."""
    with TemporaryDirectory() as folder, snapshots(every):
        url = f"sqlite:///{folder}/whole.db"
        report = api.run(job(url, tree(shape)))
        assert report.steps == count(shape)
        assert_same(through(lives, Path(folder), job("", tree(shape))), log_of(url, report))


NESTED: Shape = {
    "steps": [2, 1, 0, 2],
    "forks": [
        {"singles": 300},
        {
            "children": [
                {"steps": [1, 3], "forks": [{"children": [leaf(2), {"steps": [1, 0], "forks": [{"singles": 9}]}]}]},
                leaf(0),
                {"steps": [0, 0, 1], "forks": [{"singles": 5}, {"children": [leaf(1), leaf(3), leaf(0)]}]},
                leaf(4),
            ]
        },
        {"children": [leaf(n % 3) for n in range(20)]},
    ],
}
"""Three forks, one after another, three deep, one of hundreds."""


@pytest.fixture(scope="module")
def nested(tmp_path_factory: pytest.TempPathFactory) -> Log:
    """Return the log of an undisturbed run of the nested shape."""
    url = f"sqlite:///{tmp_path_factory.mktemp('nested')}/maker.db"
    return log_of(url, api.run(job(url, tree(NESTED))))


def test_the_comparison_could_tell(nested: Log, store: str) -> None:
    """A few different prompts have drawn many different tallies, and another seed, or another shape, draws others."""
    tallies = {row.step.tally for row in nested.rows}
    assert len(tallies) > 5 * PROMPTS
    other = log_of(store, api.run(job(store, tree(NESTED), run={"seed": 1})))
    with pytest.raises(AssertionError):
        assert_same(other, nested)


def test_what_is_read_is_what_is_stored(nested: Log, store: str) -> None:
    """The records of a forking run are its rows: children in order, where their parent forked, each with its name."""
    api.run(job(store, tree(NESTED)))
    records = list(queries.steps("last", store=store))
    assert len(records) == len(nested.rows) == count(NESTED)
    names = [chain_name(path, step.idx if len(path) % 3 == 2 else None) for path, step in nested.rows]
    assert [record.chain for record in records] == names
    assert names[:4] == ["root", "root", "2.0", "2.1"]
    assert names[302] == "root"
    assert next(name for name in names[303:] if name != "root") == "4.0"
    assert names.index("4.0/1.0") < names.index("4.0/1.1") < names.index("4.0/1.1/1.0") < names.index("4.2/0.0")
    assert names[-2:] == ["root", "root"]
    assert sum(sum(record.votes.values()) for record in records) == nested.report["decided_votes"]


@pytest.mark.parametrize("every", [7, 1])
def test_every_commit_is_a_place_to_go_on_from(nested: Log, tmp_path: Path, every: int) -> None:
    """Killed after its first commit, its second, its third and so on, each time anew, a run ends as it would have."""
    groups = ((64,), (1, 2))[every == 1]
    lives = [Life(chains=7, groups=groups, slice_steps=9 * every, join_every=3, page=64, kill_after=every)] * 12
    assert_same(through(lives, tmp_path, job("", tree(NESTED))), nested)


def broken_seeds(kept: Callable[..., int]) -> Callable[..., int]:
    """Return a seed rule that counts requests where it should name the step: right until the first resume."""
    asked = itertools.count()
    return lambda self, index, epoch, phase, vote: kept(self, next(asked), epoch, phase, vote)


def test_the_comparison_fails_with_a_broken_seed_rule(nested: Log, tmp_path: Path) -> None:
    """A run whose samples depend on what was asked before is not the uninterrupted one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ChainSeeds, "at", broken_seeds(ChainSeeds.at))
        found = through([], tmp_path, job("", tree(NESTED)))
    with pytest.raises(AssertionError):
        assert_same(found, nested)


@settings(max_examples=6, derandomize=True, deadline=None)
@given(
    shape=SHAPES.filter(lambda shape: count(shape) <= 60),
    bites=st.lists(st.integers(1, 12), min_size=1, max_size=4),
    chains=st.sampled_from([1, 2, 7, 256]),
    durability=st.sampled_from(["group", "strict"]),
)
def test_a_run_in_bites_is_the_whole_one(shape: Shape, bites: list[int], chains: int, durability: str) -> None:
    """Paused after a few steps each time, a forking run decides just so many, none twice, and ends as the whole one."""
    with TemporaryDirectory() as folder:
        urls = [f"sqlite:///{folder}/{name}.db" for name in ("whole", "bites")]
        whole = api.run(job(urls[0], tree(shape)))
        sizes = itertools.cycle(bites)
        bite, steps = next(sizes), 0
        tables = job(urls[1], tree(shape), swarm={"chains": chains}, store={"durability": durability})
        report = api.run(tables, limit_steps=bite)
        while report.status == "paused":
            assert report.reason == f"reached the limit of {bite:,} steps"
            steps += bite
            assert report.steps == steps
            bite = next(sizes)
            report = api.resume("last", store=urls[1], limit_steps=bite)
        assert report.calls == whole.calls
        assert_same(log_of(urls[1], report), log_of(urls[0], whole))


def test_bites_through_a_wide_fork(nested: Log, store: str) -> None:
    """Paused within a fork of hundreds, and between nested ones, a run is the whole one."""
    report = api.run(job(store, tree(NESTED)), limit_steps=37)
    while report.status == "paused":
        report = api.resume("last", store=store, limit_steps=37)
    assert_same(log_of(store, report), nested)


# --- branches that fail ---

FAULTS = {
    "child": "lost in child",
    "apply": "KeyError: 'lost in apply'",
    "next": "KeyError: 'lost in next'",
    "wrong": "the goal was missed",
    "join": "join of child 1 raised ValueError: it does not fit",
}


def broken(fault: str, **params: Any) -> dict[str, Any]:
    return {"decomposer": "fork_tasks:Broken", "fault": fault} | params


def complete(url: str, children: int, steps: int, *, but: int | None = None) -> bool:
    """Say whether all children of the fork at the root's step 1, but for one, have made all their steps."""
    made = [record.chain for record in queries.steps("last", store=url)]
    return all(made.count(f"1.{child}") == steps for child in range(children) if child != but)


@pytest.mark.parametrize("durability", ["group", "strict"])
@pytest.mark.parametrize("single", [False, True])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_child_that_fails_is_named_and_the_others_go_on(
    fault: str, single: bool, durability: str, store: str
) -> None:
    """Whatever a child's own code does, or its join: the run pauses, names the child, and the others are complete."""
    tables = job(store, broken(fault, single=single, children=5), store={"durability": durability})
    report = api.run(tables | {"swarm": {"chains": 2}})
    for _ in range(2):
        assert report.status == "paused"
        assert FAULTS[fault] in report.reason
        assert "1.1" in report.reason or "step 1: " in report.reason
        assert complete(store, 5, 1 if single else 2, but=1)
        # The same again: nobody has mended it.
        report = api.resume("last", store=store)
    if fault in ("wrong", "join"):
        assert queries.verify("last", store=store).problem == ""


@pytest.mark.parametrize(("single", "join_every"), [(False, 5000), (True, 5000), (True, 1)])
def test_a_child_that_ends_wrong_in_a_strict_run_that_is_killed(single: bool, join_every: int, tmp_path: Path) -> None:
    """Killed, or joined, between a child's last step and the news that it ended wrong, a run knows it in the end."""
    for kill_after in range(1, 40):
        life = Life(durability="strict", chains=1, groups=(1,), slice_steps=1, join_every=join_every)
        life = life._replace(kill_after=kill_after)
        url, copy = f"sqlite:///{tmp_path}/{kill_after}.db", tmp_path / f"{kill_after}_left.db"
        with living(life, copy), contextlib.suppress(Killed):
            task = broken("wrong", single=single, at=2, children=4)
            api.run(job(url, task, store={"durability": "strict"}, swarm={"chains": 1}))
        left = f"sqlite:///{copy}" if copy.exists() else url
        report = queries.show("last", store=left)
        if report.reason.startswith("its process is gone"):
            report = api.resume("last", store=left)
        assert report.status == "paused", kill_after
        assert "chain 1.2: the goal was missed" in report.reason, kill_after
        assert queries.verify("last", store=left).problem == "", kill_after
        if left == url:
            return
    raise AssertionError("no life was long enough")


def decided_within(log: Log, cap: int) -> list[PlacedStep]:
    """Return the rows of a log that are decided under a cap: of each chain those before the first that needs more."""
    stuck: set[tuple[int, ...]] = set()
    rows = []
    for row in log.rows:
        tally, single = unpack(row.step.tally), len(row.path) % 3 == 2
        place = (*row.path, row.step.idx) if single else row.path
        if sum(tally.valid) + sum(tally.flagged) > cap:
            stuck |= {place, ()}
        if place not in stuck:
            rows.append(row)
    return rows


@pytest.mark.parametrize("single", [False, True])
def test_undecided_children_are_voted_on_again_with_more_votes(single: bool, store: str, tmp_path: Path) -> None:
    """Children that reach max_votes wait, under the same cap in vain; all others are complete; a higher one decides."""
    shape: Shape = {"steps": [0, 1], "forks": [{"singles": 30} if single else {"children": [leaf(2)] * 30}]}
    model, vote = {"p": 0.7, "malformed": 0.1}, {"k": 2}
    url = f"sqlite:///{tmp_path}/whole.db"
    whole = log_of(url, api.run(job(url, tree(shape), model=model, vote=vote)))
    expected = decided_within(whole, 4)
    assert len(expected) < len(whole.rows) - 5
    report = api.run(job(store, tree(shape), model=model, vote=vote | {"max_votes": 4}))
    for _ in range(3):
        assert report.status == "paused"
        assert report.reason.startswith("chain 0.")
        assert "is undecided: max_votes = 4: " in report.reason
        database = open_database(store, create=False)
        assert list(walk_steps(database, root_chain(database, find_run(database, "last").key))) == expected
        assert (report.steps, queries.verify("last", store=store).problem) == (len(expected), "")
        report = api.resume("last", store=store)
    assert_same(log_of(store, api.resume("last", ["vote.max_votes=1000"], store=store)), whole)


@pytest.mark.parametrize("kill_after", range(2, 20, 3))
def test_undecided_children_of_a_killed_run(kill_after: int, tmp_path: Path) -> None:
    """Killed before or after a child is found undecided, and resumed under a higher cap, a run is the whole one."""
    inner: Shape = {"steps": [1, 1], "forks": [{"singles": 6}]}
    shape: Shape = {"steps": [0, 1], "forks": [{"children": [inner, leaf(3), inner]}]}
    model, vote = {"p": 0.7, "malformed": 0.1}, {"k": 3}
    url = f"sqlite:///{tmp_path}/whole.db"
    whole = log_of(url, api.run(job(url, tree(shape), model=model, vote=vote)))
    url, copy = f"sqlite:///{tmp_path}/first.db", tmp_path / "second.db"
    life = Life(chains=2, groups=(1,), slice_steps=1, join_every=1, kill_after=kill_after)
    tables = job(url, tree(shape), model=model, vote=vote | {"max_votes": 8}, swarm={"chains": 2})
    with living(life, copy), contextlib.suppress(Killed):
        assert api.run(tables).status == "paused"
    left = f"sqlite:///{copy}" if copy.exists() else url
    with living(life._replace(kill_after=3), tmp_path / "third.db"), contextlib.suppress(Killed):
        api.resume("last", store=left)
    left = f"sqlite:///{tmp_path}/third.db" if (tmp_path / "third.db").exists() else left
    report = api.resume("last", ["vote.max_votes=1000"], store=left)
    assert_same(log_of(left, report), whole)


@pytest.mark.parametrize(
    ("task", "told"),
    [
        (broken("negative"), "forked into -1 children"),
        (broken("nested"), "forked into -1 children"),
        (broken("fraction"), "forked into 2.5 children"),
        (broken("more", single=True), "a child of a fork of single steps asks for a second step"),
        (broken("at once", single=True), "a child of a fork of single steps"),
        (broken("nested", single=True), "1.1: broken.next returned Fork"),
        (broken("impure"), "for the same state"),
        (broken("impure", single=True), "for the same state"),
        (broken("no json"), "set is not JSON serializable"),
        (broken("no json", single=True), "set is not JSON serializable"),
        (broken("unchanged"), "the same state"),
        (broken("unchanged", single=True), "the same state"),
        (broken("none"), "the same state"),
        (broken("map"), "the same state"),
    ],
)
def test_a_fork_that_breaks_its_contract_is_told(task: dict[str, Any], told: str, store: str) -> None:
    """What is no fork, no single step, no pure task, or would fork for ever pauses the run, and is told as such."""
    stop = threading.Event()
    timer = threading.Timer(30.0, stop.set)
    timer.start()
    try:
        report = api.run(job(store, task), stop=stop)
        said = [report.reason]
    except MakerError as error:
        said = [str(error)]
    timer.cancel()
    report = queries.show("last", store=store)
    assert report.status == "paused"
    assert all(told in one for one in (*said, report.reason))
    assert report.reason != "stopped"
    try:
        report = api.resume("last", store=store)
        assert told in report.reason
    except MakerError as error:
        assert told in str(error)


@pytest.mark.parametrize("durability", ["group", "strict"])
def test_a_child_that_breaks_its_contract_is_not_voted_on_in_vain(durability: str, store: str) -> None:
    """A child that fails after its step leaves no decision: it can still be decided once its task is mended."""
    for fault in ("next", "more", "no json"):
        report = api.run(job(store, broken(fault, single=True), store={"durability": durability}))
        made = [record.chain for record in queries.steps("last", store=store)]
        assert (report.steps, made) == (3, ["root", "1.0", "1.2"]), fault
        assert queries.verify("last", store=store).problem == "", fault


@pytest.mark.parametrize("fault", ["tuple", "text"])
def test_a_join_hears_results_as_json(fault: str, store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A result reaches the join as the JSON that it is, whichever kind of fork it comes from: lists, not tuples."""
    heard: list[Any] = []
    join = Broken._join

    def listening(self: Broken, state: list[Any], i: int, result: Any) -> list[Any]:
        heard.append(result)
        return join(self, state, i, result)

    monkeypatch.setattr(Broken, "_join", listening)
    for single in (False, True):
        heard.clear()
        url = f"sqlite:///{tmp_path}/{single}.db"
        log_of(url, api.run(job(url, broken(fault, single=single))))
        assert heard[1] == ("\ud800" if fault == "text" else [1, {"1": heard[1][1]["1"]}])
        # Joined, and joined again to verify.
        assert heard[:3] == heard[3:]


# --- memory ---


class Sizes(NamedTuple):
    """The most that was ever handed out and unfinished, asked of the model, kept by the forest, and open at a time."""

    out: int
    kept: int
    forks: int


@contextmanager
def measured() -> Iterator[list[Sizes]]:
    """Measure whatever runs in this block; a worker's orders and reports are counted as they pass."""
    sizes: list[Sizes] = []
    schedulers: list[Scheduler] = []
    out = 0

    class Measured(Worker):
        def advance(self, orders: Orders) -> Report:
            nonlocal out
            out += len(orders.chains) + sum(len(children.born) for children in orders.children)
            before = out
            report = super().advance(orders)
            gone = (report.forked, report.ended, report.stuck, report.errors, report.held)
            out = 0 if report.recalled else out - sum(map(len, gone))
            scheduler = schedulers[-1]
            kept = sum(held(value) for value in vars(scheduler).values())
            inner = sum(held(value) for fork in scheduler.forks for value in vars(fork).values())
            sizes.append(Sizes(before, kept + inner, len(scheduler.forks)))
            return report

    class Known(Scheduler):
        def __init__(self, *args: Any, **named: Any) -> None:
            super().__init__(*args, **named)
            schedulers.append(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("maker.swarm.local.Worker", Measured)
        patch.setattr(session, "Scheduler", Known)
        yield sizes


def held(value: Any) -> int:
    return len(value) if isinstance(value, list | dict | set | frozenset | tuple | deque) else 0


def most(sizes: list[Sizes]) -> Sizes:
    return Sizes(*map(max, zip(*sizes, strict=True)))


WIDE: Shape = {"steps": [0, 0], "forks": [{"children": [{"steps": [1, 0], "forks": [{"singles": 3}]}] * 250}]}
"""Hundreds of chains that fork in their turn."""


def test_a_wide_fork_of_single_steps_takes_little_memory(store: str) -> None:
    """Of 20,000 children no more are out than the window is wide, twice, and what the engine keeps is no larger."""
    with measured() as sizes:
        report = api.run(job(store, tree({"steps": [0, 0], "forks": [{"singles": 20_000}]}), swarm={"chains": 8}))
    assert (report.status, report.steps) == ("done", 20_000)
    found = most(sizes)
    assert 8 <= found.out <= 16
    assert found.kept <= 50
    assert found.forks == 1


@pytest.mark.parametrize("bite", [None, 300])
def test_a_wide_tree_takes_little_memory(store: str, bite: int | None) -> None:
    """Of 250 chains that fork each, a few are open at a time, also when the run is resumed in the middle of them."""
    with measured() as sizes:
        report = api.run(job(store, tree(WIDE), swarm={"chains": 4}), limit_steps=bite)
        while report.status == "paused":
            report = api.resume("last", store=store, limit_steps=bite)
    assert (report.status, report.steps) == ("done", 1000)
    found = most(sizes)
    assert 4 <= found.out <= 8
    assert found.kept <= 200
    assert found.forks <= 3 * 8


LENIENT: Shape = {
    "steps": [0, 0, 0],
    "forks": [
        {"singles": 40, "lenient": True, "wrong": list(range(1, 40, 4)), "lost": [0, 5, 39]},
        {"children": [{"steps": [0, 0], "forks": [{"singles": 12, "lenient": True, "lost": [4]}]}]},
    ],
}
"""Forks that go on without some of their children."""
NOISY = {"p": 0.6, "malformed": 0.4, "rivals": 3}
CAPPED = {"k": 2, "max_votes": 3}


def lenient(url: str, **tables: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return a job some of whose children find no decision."""
    base = {"model": NOISY, "vote": CAPPED}
    return job(url, tree(LENIENT), **(base | tables))


def outcomes(url: str) -> dict[tuple[int, int], str]:
    """Return the outcomes of a store's single children, by chain and number."""
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
        found = connection.execute("SELECT chain, idx, outcome FROM maker_outcome").fetchall()
    return {(chain, idx): outcome for chain, idx, outcome in found}


@pytest.fixture(scope="module")
def spared(tmp_path_factory: pytest.TempPathFactory) -> Log:
    """Return the log of an undisturbed run that goes on without some of its children."""
    url = f"sqlite:///{tmp_path_factory.mktemp('spared')}/maker.db"
    log = log_of(url, api.run(lenient(url)))
    kinds = Counter(outcomes(url).values())
    assert kinds["failed"] == 4
    assert min(kinds[kind] for kind in ("undecided", "rejected", "wrong")) > 0
    assert len(log.rows) == 52 - sum(kinds.values()) + kinds["wrong"]
    return log


@settings(max_examples=12, derandomize=True, deadline=None)
@given(lives=st.lists(LIVES, min_size=1, max_size=5))
def test_a_killed_run_goes_on_without_the_same_children(spared: Log, lives: list[Life]) -> None:
    """Undecided, unreadable and wrong children hold nothing up, and killed after any commit it is the same ones."""
    capped = [life._replace(max_votes=CAPPED["max_votes"]) for life in lives]
    with TemporaryDirectory() as folder:
        found = through(capped, Path(folder), lenient(""), Life(max_votes=CAPPED["max_votes"]))
        assert_same(found, spared)


def test_a_run_goes_on_without_so_many_children_and_no_more(spared: Log, store: str) -> None:
    """Past limits.max_undecided it pauses and says so; a retry decides them anew, and a higher limit lets it end."""
    report = api.run(lenient(store, limits={"max_undecided": 5}, swarm={"chains": 4}))
    assert report.status == "paused"
    assert "limit max_undecided = 5 is exceeded: " in report.reason
    assert queries.verify("last", store=store).problem == ""
    log = log_of(store, api.resume("last", ["limits.max_undecided=100"], store=store))
    assert_same(log, spared)


def test_a_child_that_the_join_refuses_holds_a_lenient_fork_up(store: str) -> None:
    """It has a decision, and is none of those that the fork goes on without, however often the run is resumed."""
    shape = {"steps": [0, 0], "forks": [{"singles": 9, "lenient": True, "refused": [2], "lost": [4]}]}
    report = api.run(job(store, tree(shape)))
    for _ in range(2):
        assert (report.status, outcomes(store)[16777217, 2]) == ("paused", "refused")
        assert "child 2 does not fit" in report.reason
        assert queries.verify("last", store=store).problem == ""
        report = api.resume("last", store=store)


def test_the_children_of_one_fork_count_against_the_limit(spared: Log, store: str) -> None:
    """Those of a fork that is joined count no more, so that a resume in between changes nothing."""
    log_of(store, api.run(lenient(store)))
    missed = Counter(chain for chain, _ in outcomes(store))
    assert len(missed) > 1
    report = api.run(lenient(store, limits={"max_undecided": max(missed.values())}))
    assert_same(log_of(store, report), spared)


@pytest.mark.parametrize("chosen", [(), (Outcome.UNDECIDED,), (Outcome.FAILED, Outcome.WRONG)])
def test_children_without_a_decision_are_decided_anew(chosen: tuple[Outcome, ...], store: str) -> None:
    """A retry votes again on those with the outcomes that it names, whatever was joined already, and on no others."""
    report = api.run(lenient(store, limits={"max_undecided": 8}, swarm={"chains": 1}))
    assert report.status == "paused"
    before = outcomes(store)
    whole = list(queries.steps("last", store=store))
    wide = ["limits.max_undecided=100", "vote.max_votes=1000"]
    report = api.retry("last", wide, outcomes=chosen, store=store)
    log_of(store, report)
    after = outcomes(store)
    for place, outcome in before.items():
        if chosen and outcome not in chosen:
            assert after[place] == outcome
        elif outcome in ("failed", "wrong"):
            # What could not be made, or ends wrong, does so again.
            assert after[place] == outcome
        else:
            assert after.get(place, "wrong") == "wrong"
    assert len(list(queries.steps("last", store=store))) > len(whole)


def test_nothing_to_retry_is_told_by_the_outcomes_asked_for(store: str) -> None:
    """A retry of outcomes that no child has leaves the run as it was."""
    api.run(lenient(store, limits={"max_undecided": 3}, swarm={"chains": 1}))
    before = queries.show("last", store=store)
    with pytest.raises(RunNotResumable, match="no child is refused"):
        api.retry("last", outcomes=[Outcome.REFUSED], store=store)
    assert queries.show("last", store=store).reason == before.reason


def test_an_edited_outcome_of_a_joined_child_is_found(spared: Log, store: str) -> None:
    """Why a fork went on without a child is part of the digest."""
    log_of(store, api.run(lenient(store)))
    with closing(sqlite3.connect(store.removeprefix("sqlite:///"))) as connection, connection:
        connection.execute(
            "UPDATE maker_outcome SET outcome = 'rejected', seal = NULL WHERE idx = 5 AND outcome = 'failed'"
        )
        assert connection.total_changes == 1
    assert "give another state or digest than its fork holds" in queries.verify("last", store=store).problem


def test_forks_stand_within_one_another_up_to_a_limit(store: str) -> None:
    """What is allowed can be run, read and verified; one deeper is refused by name, and nothing overflows a stack."""
    log = log_of(store, api.run(job(store, deep(DEEPEST))))
    assert [len(path) for path, _ in log.rows] == [3 * DEEPEST]
    assert len(list(queries.steps("last", store=store))) == 1
    for forks in (DEEPEST + 1, -1):
        # Below 0 there is no bottom: every chain forks.
        report = api.run(job(store, deep(forks)))
        assert report.status == "paused"
        assert f"deep nested more than {DEEPEST} forks" in report.reason
        assert not queries.verify("last", store=store).problem
