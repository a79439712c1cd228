"""The memo: what was decided once is decided, whoever asks first, and what cites it stands on it."""

from __future__ import annotations

import random
import sqlite3
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from fork_tasks import Shape, leaf
from hypothesis import given
from hypothesis import strategies as st

from maker import api
from maker.errors import JobError, RunNeeded, RunNotResumable
from maker.job.fingerprint import run_fingerprint
from maker.lifecycle import queries, session
from maker.lifecycle import rows as row_results
from maker.lifecycle.admin import fork, prune
from maker.reporting import report as reporting
from maker.store.backend.database import open_database
from maker.store.locations import is_live
from maker.store.memo import load
from maker.store.runs import find_run
from maker.swarm.interface import FromWorker, Gone, News, Swarm
from maker.swarm.messages import Orders, WorkerSpec
from maker.swarm.worker import Worker
from maker.types import Step, StepClass
from maker.voting.memo import MOST, Known, Memo, Remembered, question, question_before, shared_space
from maker.voting.seeds import QuestionSeeds
from maker.voting.tally import Source, cites, pack, taken, unpack

TREE: Shape = {
    "steps": [3, 2, 4],
    "forks": [{"children": [{"steps": [4, 1], "forks": [{"singles": 6}]}] * 9}, {"singles": 30}],
}
STEPS = 9 + 9 * (5 + 6) + 30
QUESTIONS = 8
"""Of the tasks of `fork_tasks`: two classes, four prompts."""


def job(url: str, memo: str = "run", shape: Shape = TREE, **tables: dict[str, Any]) -> dict[str, dict[str, Any]]:
    base: dict[str, dict[str, Any]] = {
        "task": {"decomposer": "fork_tasks:Tree", "shape": shape, "memo": memo},
        "model": {"kind": "simulated", "p": 0.95, "malformed": 0.05, "rivals": 3},
        "vote": {"voter": "voters.first_to_ahead_by_k:FirstToAheadByK", "k": 4, "max_votes": 1000},
        "store": {"url": url},
    }
    return base | {name: base.get(name, {}) | table for name, table in tables.items()}


def verified(url: str, run_id: str) -> queries.RunReport:
    """Return how a run stands whose log verifies."""
    found = queries.verify(run_id, store=url)
    assert found.problem == ""
    return queries.show(run_id, store=url)


def answers(url: str, run_id: str) -> dict[tuple[str, int], tuple[str, str]]:
    """Return class and action of every step, by its place."""
    return {(one.chain, one.step): (one.kind, one.action) for one in queries.steps(run_id, store=url)}


def alike(url: str, run_id: str) -> dict[str, set[str]]:
    """Return what was decided on each question, by the hash that the prompt shows two bits of."""
    found: dict[str, set[str]] = {}
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as base:
        key = base.execute("SELECT id FROM maker_run WHERE run_id = ?", (run_id,)).fetchone()[0]
        rows = base.execute(
            "SELECT tally, action FROM maker_step WHERE chain >> 24 = ? AND length(tally) > 0", (key,)
        ).fetchall()
    for tally, action in rows:
        found.setdefault(str(unpack(tally).source or "voted"), set()).add(action)
    return found


class Several(Swarm):
    """Workers in this process, which are asked in any order, and die as they are told to with what they have."""

    def __init__(self, spec: WorkerSpec, workers: int, rng: random.Random, deaths: int) -> None:
        self._spec, self._rng, self._deaths = spec, rng, deaths
        self._workers: dict[int, Worker] = {}
        self._orders: dict[int, list[Orders]] = {}
        for _ in range(workers):
            self._start()

    @property
    def ready(self) -> list[int]:
        return list(self._workers)

    def give(self, worker: int, orders: Orders) -> None:
        self._orders[worker].append(orders)

    def collect(self, wait_s: float) -> list[News]:
        number = self._rng.choice(self.ready)
        orders = self._orders[number].pop(0) if self._orders[number] else Orders()
        report = self._workers[number].advance(orders)
        if self._deaths and self._rng.random() < 0.2:
            self._deaths -= 1
            del self._workers[number]
            self._start()
            return [Gone(number, "it was told to", replaced=True)]
        return [FromWorker(number, report)]

    def close(self) -> None:
        for worker in self._workers.values():
            worker.close()

    def _start(self) -> None:
        number = len(self._orders)
        self._workers[number], self._orders[number] = Worker(self._spec), []


# --- what a question is, and how a hit is written ---


def test_a_question_is_the_class_and_both_parts_of_the_prompt() -> None:
    """Any letter that differs, and any letter that moves from one part to the other, makes had another prompt."""

    def asked(name: str, system: str, prompt: str) -> bytes:
        return question(Step(StepClass(name, parse=str, system=system), prompt))

    same = asked("move", "Be brief.", "A or B?")
    assert asked("move", "Be brief.", "A or B?") == same
    others = [("mov", "eBe brief.", "A or B?"), ("move", "Be brief", ".A or B?"), ("move", "Be brief.", "A or C?"),
              ("moved", "Be brief.", "A or B?"), ("move", "", "Be brief.A or B?")]  # fmt: skip
    assert len({same, *(asked(*words) for words in others)}) == 1 + len(others)


def test_how_a_reply_is_read_is_part_of_the_question() -> None:
    """A decision that another schema or another parser has read is the answer to something else."""
    base: dict[str, Any] = {"name": "ask", "parse": str, "schema": {"type": "object", "properties": {"a": {}}}}
    told: list[dict[str, Any]] = [
        {}, {"schema": None}, {"schema": {"type": "object", "properties": {"b": {}}}}, {"reading": "by words"},
        {"reading": "by numbers"},
    ]  # fmt: skip
    assert len({question(Step(StepClass(**base | one), "How many?")) for one in told}) == len(told)
    swapped = {"schema": {"properties": {"a": {}}, "type": "object"}}
    assert question(Step(StepClass(**base | swapped), "")) == question(Step(StepClass(**base), ""))


def test_where_the_class_alone_says_how_it_is_read_old_decisions_are_taken() -> None:
    """Its question is the one that earlier versions stored."""
    step = Step(StepClass("move", parse=str, system="Be brief."), "A or B?")
    assert question(step) == question_before(step)
    assert question(step).hex() == "99a1825c2157eefb0e6b51415a6280f0"
    read = Step(StepClass("move", parse=str, system="Be brief.", reading="by words"), "A or B?")
    assert question(read) != question_before(read) == question_before(step)


@given(
    kind=st.integers(0, 300), chain=st.integers(0, 2**60), idx=st.integers(0, 2**31), epoch=st.integers(0, 9),
    calls=st.integers(1, 10_000),
)  # fmt: skip
def test_a_hit_is_packed_as_its_source(kind: int, chain: int, idx: int, epoch: int, calls: int) -> None:
    """What is packed is read back, has no votes, and is told from every tally of votes."""
    found = taken(kind, Source(chain, idx, epoch, calls))
    packed = pack(found)
    assert unpack(packed) == found
    assert cites(packed)
    assert (found.margin, found.samples, found.disputed, found.counts("x")) == (0, 0, False, {})


def test_the_seeds_of_a_question_do_not_know_where_it_is_asked() -> None:
    """They differ by run, question, epoch, phase and vote."""
    seeds = QuestionSeeds(7, b"q" * 16)
    assert seeds.at(0, 0, 0, 0) == seeds.at(99, 0, 0, 0)
    other = {
        QuestionSeeds(8, b"q" * 16).at(0, 0, 0, 0), QuestionSeeds(7, b"r" * 16).at(0, 0, 0, 0),
        seeds.at(0, 1, 0, 0), seeds.at(0, 0, 1, 0), seeds.at(0, 0, 0, 1), seeds.at(0, 0, 0, 0),
    }  # fmt: skip
    assert len(other) == 6


def test_a_full_memo_forgets_what_it_has_known_longest() -> None:
    """Of two decisions on one question the first stays; beyond the bound the oldest goes."""
    memo = Memo(2)
    known = [Known(letter, Source(1 << 24, place, 0, 4)) for place, letter in enumerate("abcd")]
    memo.learn([Remembered(b"1", known[0]), Remembered(b"1", known[1]), Remembered(b"2", known[2])])
    assert memo.get(b"1") == known[0]
    memo.learn([Remembered(b"3", known[3])])
    assert (memo.get(b"1"), memo.get(b"2"), memo.get(b"3")) == (None, known[2], known[3])


# --- whole runs ---


def test_work_that_repeats_is_decided_once(store: str) -> None:
    """Of 138 steps that ask eight questions eight are voted on; each of the others cites one of them."""
    off, on = (verified(store, api.run(job(store, memo)).run_id) for memo in ("off", "run"))
    assert (off.steps, off.reused, off.saved_calls, off.distinct) == (STEPS, 0, 0, STEPS)
    assert (on.steps, on.reused, on.distinct) == (STEPS, STEPS - QUESTIONS, QUESTIONS)
    assert on.votes == sum(sum(one.votes.values()) for one in queries.steps(on.run_id, store=store))
    assert on.calls < off.calls / 10
    hits = [one for one in queries.steps(on.run_id, store=store) if one.source]
    assert len(hits) == on.reused
    assert sum(one.source["calls"] for one in hits) == on.saved_calls
    own = {(one.chain, one.step): one for one in queries.steps(on.run_id, store=store) if not one.source}
    for one in hits:
        source = own[one.source["chain"], one.source["step"]]
        assert (source.action, source.kind, one.source["run"]) == (one.action, one.kind, on.run_id)


def test_the_memo_never_changes_an_answer(store: str) -> None:
    """A model that is right enough answers the same with the memo and without it, step by step."""
    runs = [api.run(job(store, memo, vote={"k": 12})) for memo in ("off", "run", "store", "store")]
    first, *others = (answers(store, one.run_id) for one in runs)
    assert all(other == first for other in others)
    assert {one.status for one in runs} == {"done"}


@pytest.mark.parametrize("p", [0.45, 0.6])
@pytest.mark.parametrize("durability", ["group", "strict"])
def test_whoever_asks_first_does_not_matter(
    store: str, monkeypatch: pytest.MonkeyPatch, p: float, durability: str
) -> None:
    """A model that is often wrong: all chains decide a question alike, whatever the workers, deaths and order of work.

    At k = 1 a wrong answer is as good as any; that it is always the same one is the memo's doing, and the seeds'.
    """
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    rng, logs = random.Random(seed), []
    for workers, deaths, chains in ((1, 0, 256), (1, 0, 1), (3, 0, 4), (4, 12, 2)):
        swarm = partial(_several, workers=workers, rng=rng, deaths=deaths)
        monkeypatch.setattr(session, "open_swarm", swarm)
        made = job(
            store, model={"p": p}, vote={"k": 1}, swarm={"chains": chains}, store={"durability": durability}
        )  # fmt: skip
        report = api.run(made)
        assert verified(store, report.run_id).status == "done"
        logs.append(answers(store, report.run_id))
    assert all(log == logs[0] for log in logs)


def _several(_: Any, spec: WorkerSpec, *, workers: int, rng: random.Random, deaths: int) -> Swarm:
    return Several(spec, workers, rng, deaths)


def test_without_the_memo_the_same_question_is_decided_in_many_ways(store: str) -> None:
    """What the test above rests on: at p = .45 and k = 1 the places' own seeds answer each question differently."""
    report = api.run(job(store, "off", model={"p": 0.45}, vote={"k": 1}))
    assert len({action for _, action in answers(store, report.run_id).values()}) > 1
    assert len(alike(store, report.run_id)["voted"]) > 2
    again = api.run(job(store, "run", model={"p": 0.45}, vote={"k": 1}))
    taken_over = {source: actions for source, actions in alike(store, again.run_id).items() if source != "voted"}
    assert all(len(actions) == 1 for actions in taken_over.values())


def test_a_run_that_is_stopped_goes_on_with_what_it_knew(store: str) -> None:
    """In bites of seven steps it makes the same log as in one go, and asks no question twice."""
    whole = api.run(job(store))
    bites = api.run(job(store), limit_steps=7)
    while bites.status == "paused":
        bites = api.resume(bites.run_id, store=store, limit_steps=7)
    assert answers(store, bites.run_id) == answers(store, whole.run_id)
    assert verified(store, bites.run_id).distinct == verified(store, whole.run_id).distinct == QUESTIONS
    assert bites.calls == whole.calls


def test_a_second_run_with_a_filled_memo_asks_nobody(store: str) -> None:
    """It takes every step from the first one, costs nothing, and says whose decisions they were."""
    first = api.run(job(store, "store"))
    second = verified(store, api.run(job(store, "store")).run_id)
    assert (second.status, second.steps, second.result) == ("done", first.steps, first.result)
    assert (second.calls, second.votes, second.prompt_tokens, second.models) == (0, 0, 0, [])
    assert (second.reused, second.distinct) == (STEPS, QUESTIONS)
    assert {one.source["run"] for one in queries.steps(second.run_id, store=store)} == {first.run_id}
    # Nor does it take what it does not need: a limit of one call is not met.
    third = api.run(job(store, "store", limits={"max_calls": 1}))
    assert (third.status, third.calls) == ("done", 0)


CHANGES: dict[str, dict[str, dict[str, Any]]] = {
    "model": {"model": {"p": 0.96}},
    "k": {"vote": {"k": 5}},
    "k by class": {"vote": {"k": {"even": 4, "odd": 4}}},
    "voter": {"vote": {"voter": "voters.first_to_k:FirstToK"}},
    "parameter": {"task": {"shape": TREE | {"steps": [3, 2, 5]}}},
}


@pytest.mark.parametrize("what", CHANGES)
def test_nothing_is_taken_of_another_model_or_vote(store: str, what: str) -> None:
    """A model, a margin, a voter, a parameter that differs: everything is voted on again."""
    api.run(job(store, "store"))
    other = verified(store, api.run(job(store, "store", **CHANGES[what])).run_id)
    assert other.steps - other.reused == QUESTIONS
    assert {one.source["run"] for one in queries.steps(other.run_id, store=store) if one.source} == {other.run_id}


TASK = """
from maker.plugin import Decomposer, Done, Params, PydanticCodec, Step, StepClass, Truth

class Asks(Decomposer[int, str]):
    name, version, Params = "asks", 1, Params
    def __init__(self, params):
        self.state, self.action = PydanticCodec(int), PydanticCodec(str)
        self.kind = StepClass("letter", parse=str.strip, system="Say {word}. ")
        self.classes = (self.kind,)
    def start(self):
        return 0
    def next(self, state):
        return Step(self.kind, "x?") if state < 4 else Done(state)
    def apply(self, state, action):
        return state + 1
    def prompts(self):
        return "none"
    def oracle(self):
        return lambda prompt: Truth(("x",), ("y",))
"""


def test_nothing_is_taken_of_another_word(store: str, tmp_path: Path) -> None:
    """A word of the prompt that differs makes another task: its one question is voted on again."""
    calls = []
    for word in ("x", "x", "it"):
        (tmp_path / "asks.py").write_text(TASK.replace("{word}", word))
        made = job(store) | {"task": {"decomposer": f"{tmp_path}/asks.py:Asks", "memo": "store"}}
        report = verified(store, api.run(made).run_id)
        calls.append(report.calls)
        assert report.distinct == 1
    assert calls[0] > 0
    assert calls[1] == 0
    assert calls[2] > 0


def test_runs_that_keep_to_themselves_share_nothing(store: str) -> None:
    """A run with memo = "run" takes nothing of others, and others nothing of it."""
    for memo in ("run", "store", "run"):
        report = verified(store, api.run(job(store, memo)).run_id)
        assert report.steps - report.reused == QUESTIONS


def test_a_decision_that_the_rules_forbid_here_is_voted_on(store: str, tmp_path: Path) -> None:
    """Two states share a prompt, and a rule forbids in one what was decided in the other."""
    text = (
        TASK.replace("Step(self.kind", "Step(self.kind")
        .replace(
            'parse=str.strip, system="Say {word}. "',
            'parse=str.strip, check=lambda state, action: "not now" if (state == 2) == (action == "x") else None',
        )
        .replace('Truth(("x",), ("y",))', 'Truth(("x", "y"), ("z",))')
    )
    (tmp_path / "tight.py").write_text(text)
    made = job(store) | {"task": {"decomposer": f"{tmp_path}/tight.py:Asks", "memo": "run"}}
    report = verified(store, api.run(made).run_id)
    assert report.status == "done"
    found = list(queries.steps(report.run_id, store=store))
    assert [bool(one.source) for one in found] == [False, True, False, True]
    assert [one.action == "x" for one in found] == [one.step != 2 for one in found] or found[0].action == "y"


# --- sources that go ---


def _first_source(url: str, run_id: str) -> dict[str, Any]:
    return next(one.source for one in queries.steps(run_id, store=url) if one.source)


FAULTS: dict[str, tuple[str, str]] = {
    "gone": ("DELETE FROM maker_step WHERE chain = :chain_key AND idx = :step", "is missing, or was superseded"),
    "superseded": ("INSERT INTO maker_cut VALUES (:chain_key, :step, 1, '')", "was superseded"),
    "other action": ("UPDATE maker_step SET action = '\"e\"' WHERE chain = :chain_key AND idx = :step", "decided"),
    "fewer samples": ("UPDATE maker_step SET tally = x'000101630000' WHERE chain = :chain_key AND idx = :step",
                      "was not decided by"),
    "other question": ("UPDATE maker_memo SET question = x'00' WHERE chain = :chain_key AND idx = :step",
                       "had another prompt"),
    "other vote": ("UPDATE maker_run SET fingerprint = replace(fingerprint, '\"k\": 4', '\"k\": 3')"
                   " WHERE id = :run_key", "by another task, model or vote"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_verify_names_a_source_that_does_not_hold(store: str, fault: str) -> None:
    """A source that is gone, superseded, or another decision is named, and the step that cites it."""
    api.run(job(store, "store"))
    second = api.run(job(store, "store"))
    source = _first_source(store, second.run_id)
    statement, said = FAULTS[fault]
    with closing(sqlite3.connect(store.removeprefix("sqlite:///"))) as base:
        keys = {"run_key": source["chain_key"] >> 24, **{name: source[name] for name in ("chain_key", "step")}}
        assert base.execute(statement, keys).rowcount == 1
        base.commit()
    problem = queries.verify(second.run_id, store=store).problem
    assert said in problem
    assert f"of run {source['run']}" in problem
    assert problem.startswith("step 0: ")


def test_a_run_whose_decisions_others_took_cannot_be_pruned(store: str) -> None:
    """Once the other one is gone it can, and with it its memo."""
    first, second = (api.run(job(store, "store")).run_id for _ in range(2))
    with pytest.raises(RunNeeded, match="reused its decisions"):
        prune(first, store=store)
    prune(second, store=store)
    prune(first, store=store)
    with closing(sqlite3.connect(store.removeprefix("sqlite:///"))) as base:
        assert base.execute("SELECT count(*) FROM maker_memo").fetchone() == (0,)
        assert base.execute("SELECT count(*) FROM maker_memo_use").fetchone() == (0,)
    assert api.run(job(store, "store")).calls > 0


def test_a_failed_run_leaves_nothing_in_the_memo(store: str) -> None:
    """Some of its decisions was wrong: the next run decides all anew."""
    shape = leaf(20) | {"wrong": "the goal was missed"}
    first = api.run(job(store, "store", shape))
    assert first.status == "failed"
    second = verified(store, api.run(job(store, "store", shape)).run_id)
    assert second.calls == first.calls > 0


def test_what_a_retry_supersedes_is_out_of_the_memo(store: str) -> None:
    """A child that ended wrong is decided anew, from new seeds; nobody takes what it had decided."""
    shape: Shape = {"steps": [0, 0], "forks": [{"children": [leaf(30)], "wrong": [0]}]}
    report = api.run(job(store, "store", shape))
    assert report.status == "paused"
    before = report.calls
    report = api.retry(report.run_id, store=store)
    assert report.calls > before
    found = list(queries.steps(report.run_id, store=store))
    assert {one.epoch for one in found} == {1}
    assert {one.source["epoch"] for one in found if one.source} == {1}
    assert (report.steps, report.steps - report.reused) == (30, sum(not one.source for one in found))
    with closing(sqlite3.connect(store.removeprefix("sqlite:///"))) as base:
        assert {row[0] for row in base.execute("SELECT epoch FROM maker_memo")} == {1}


NESTED: Shape = {"steps": [3, 4, 2], "forks": [{"children": [leaf(6)] * 3}, {"singles": 5}]}


def test_children_of_what_is_superseded_are_out_of_the_memo_too(store: str) -> None:
    """A child that had forked ends wrong and begins again: nothing is left of what its own children had decided."""
    report = api.run(job(store, "store", {"steps": [0, 0], "forks": [{"children": [NESTED], "wrong": [0]}]}))
    assert report.status == "paused"
    report = api.retry(report.run_id, store=store)
    with closing(open_database(store, create=False)) as database:
        known = load(database, shared_space(find_run(database, report.run_id).fingerprint), MOST)
        assert known
        for _, one in known:
            assert is_live(database, one.source.chain, one.source.idx, one.source.epoch)


def test_verify_names_what_cites_a_decision_that_a_retry_has_superseded(store: str) -> None:
    """Of two children the second reused its decisions of the first, which ended wrong and begins again."""
    shape: Shape = {"steps": [0, 0], "forks": [{"children": [leaf(30)] * 2, "wrong": [0]}]}
    report = api.run(job(store, "run", shape))
    cited = [one.source for one in queries.steps(report.run_id, store=store) if one.chain == "0.1" and one.source]
    assert any(source["chain"] == "0.0" for source in cited)
    assert queries.verify(report.run_id, store=store).problem == ""
    report = api.retry(report.run_id, store=store)
    problem = queries.verify(report.run_id, store=store).problem
    assert problem.startswith("chain 0.1, step ")
    assert "it was taken from chain 0.0, step " in problem
    assert "was superseded" in problem


# --- bad input ---


def test_a_memo_of_another_kind_is_refused(store: str) -> None:
    """The message names the setting, and what may stand there."""
    with pytest.raises(JobError, match=r"task\.memo = 'yes'") as told:
        api.load_job(job(store, "yes"))
    assert "off, run, store" in str(told.value)


def test_a_run_does_not_change_its_memo(store: str) -> None:
    """What was begun without is not gone on with by other seeds."""
    report = api.run(job(store, "off"), limit_steps=3)
    with pytest.raises(RunNotResumable, match="memo was 'off', is 'run'"):
        api.resume(report.run_id, ["task.memo=run"], store=store)


def test_the_memo_is_no_part_of_a_run_without_it(store: str) -> None:
    """Settings and fingerprint are what they were before there was one."""
    off, unsaid = api.load_job(job(store, "off")), job(store, "off")
    del unsaid["task"]["memo"]
    assert "memo" not in off.settings["task"]
    assert run_fingerprint(off) == run_fingerprint(api.load_job(unsaid))
    assert run_fingerprint(api.load_job(job(store, "run"))) == run_fingerprint(off) | {"memo": "run"}


# --- odd ends ---


def test_beyond_its_bound_a_worker_votes_again_and_answers_the_same(
    store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With room for three decisions eight questions are asked again and again, each always decided alike."""
    whole = api.run(job(store, model={"p": 0.6}, vote={"k": 1}))
    monkeypatch.setattr("maker.swarm.questions.Memo", partial(Memo, 3))
    monkeypatch.setattr("maker.lifecycle.session.MOST", 3)
    small = verified(store, api.run(job(store, model={"p": 0.6}, vote={"k": 1})).run_id)
    assert answers(store, small.run_id) == answers(store, whole.run_id)
    assert QUESTIONS < small.steps - small.reused < STEPS


def test_of_a_full_memo_the_newest_are_loaded(store: str) -> None:
    """Of eight decisions the last three are loaded, the oldest of them first."""
    report = api.run(job(store, "store"))
    with closing(open_database(store, create=False)) as database:
        space = shared_space(find_run(database, report.run_id).fingerprint)
        everything, newest = load(database, space, MOST), load(database, space, 3)
    assert len(everything) == QUESTIONS
    assert newest == everything[-3:]
    places = [(known.source.chain, known.source.idx) for _, known in everything]
    assert places == sorted(places)


def test_chains_that_wait_for_one_that_is_stuck_vote_themselves(store: str) -> None:
    """No question can be settled: every child of a lenient fork is asked, none waits for ever, and the run goes on."""
    shape: Shape = {"steps": [0, 0], "forks": [{"singles": 12, "lenient": True}]}
    model, vote = {"p": 0.25, "malformed": 0.0}, {"k": 9, "max_votes": 10}
    counts = []
    for memo in ("off", "run"):
        report = api.run(job(store, memo, shape, model=model, vote=vote))
        assert (report.status, report.steps) == ("done", 0)
        counts.append(report.calls)
    assert counts[0] > 0
    assert counts[1] > 0


@pytest.mark.parametrize("at", [2, 3, 4])
def test_chains_that_wait_for_a_child_that_is_refused_once_it_is_decided_vote_themselves(store: str, at: int) -> None:
    """It asks for a second step after the vote that others wait for: none of them waits for ever."""
    task = {"fault": "more", "at": at, "children": 24, "single": True}
    asked = job(store, limits={"max_wall_s": 20})
    asked["task"] = {"decomposer": "fork_tasks:Broken", "memo": "run"} | task
    report = api.run(asked)
    assert (report.status, report.steps) == ("paused", 24)
    assert "asks for a second step" in report.reason


def test_a_run_that_is_forked_off_decides_for_itself(store: str) -> None:
    """Its first part is the other's, hits and all; what follows takes from its own space, and both parts verify."""
    first = api.run(job(store, "run", leaf(40)))
    other = fork(first.run_id, 20, ["vote.k=5"], store=store)
    report = verified(store, api.resume(other.run_id, store=store).run_id)
    assert (report.status, report.steps) == ("done", 20)
    assert report.reused > 0
    sources = {one.source["run"] for one in queries.steps(report.run_id, store=store) if one.source}
    assert sources == {first.run_id, report.run_id}


RULES = """
from maker.plugin import Truth

def truth(prompt):
    return Truth((prompt[-2].upper(),), ("Z",))
"""


def test_a_row_shows_the_votes_that_it_rests_on(store: str, tmp_path: Path) -> None:
    """Of forty rows that hold four texts four are asked; each row shows the votes of the one that it was taken from."""
    (tmp_path / "rows.csv").write_text("word\n" + "".join(f"{'abcd'[n % 4]}\n" for n in range(40)))
    (tmp_path / "rules.py").write_text(RULES)
    made = job(store) | {
        "task": {
            "decomposer": "decomposers.map:Map", "input": f"{tmp_path}/rows.csv", "template": "Upper case of {{word}}?",
            "memo": "run", "truth": f"{tmp_path}/rules.py:truth",
        },
    }  # fmt: skip
    report = verified(store, api.run(made).run_id)
    assert (report.steps, report.reused) == (40, 36)
    rows = list(row_results.results(report.run_id, store=store))
    assert [row.answer["answer"] for row in rows] == [*"ABCD"] * 10
    assert [row.votes for row in rows] == [row.votes for row in rows[:4]] * 10
    assert all(sum(row.votes.values()) >= 4 for row in rows)


def test_a_report_counts_each_decision_once(store: str) -> None:
    """Eight decisions carry 138 steps, whether the run made them itself or took them from another."""
    runs = [api.run(job(store, "store")) for _ in range(2)]
    found = [reporting.report(one.run_id, store=store) for one in runs]
    assert [(one.steps, one.decisions, one.reused) for one in found] == [
        (STEPS, QUESTIONS, STEPS - QUESTIONS), (STEPS, QUESTIONS, STEPS),
    ]  # fmt: skip
    assert [one.outside for one in found] == [0, QUESTIONS]
    assert found[0].votes == found[1].votes == runs[0].votes
    assert found[0].whole == found[1].whole
