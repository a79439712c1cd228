"""Votes that are too much alike, asked for in ways that differ from then on, in the same process and in the next.

In other words, at another temperature, of another member of the pool.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from maker import api
from maker.errors import JobError, RunNotResumable
from maker.job.fingerprint import task_fingerprint
from maker.lifecycle import queries
from maker.lifecycle.session import monitor_plan, worker_spec
from maker.stats.vote_tests import Rule
from maker.store.chains import root_chain
from maker.store.entry import Entry
from maker.store.log import SampleRow, read_samples
from maker.store.vote_monitor import MonitoredClass, MonitorPlan, VoteMonitor
from maker.swarm.messages import Orders
from maker.swarm.worker import Worker
from maker.testing import FakeReply, FakeServer, chat_completion
from maker.types import Finished, Sample, StepClass
from maker.voting.chain import ChainRunner
from maker.voting.collector import Ask
from maker.voting.messages import ChainAt, Decided
from maker.voting.policy import Fallbacks, PromptVariant, Role, Rules, Shared
from voters.first_to_ahead_by_k import FirstToAheadByK, FirstToAheadByKParams

SEED = 1
TASK = '''
from maker.plugin import Decomposer, Done, Params, PydanticCodec, Step, StepClass, Truth


class Line(Decomposer[int, str]):
    """Asks so many times for a letter; x is right."""

    name = "line"
    version = 1

    class Params(Params):
        steps: int = 3000
        wordings: int = 1

    def __init__(self, params):
        self.steps = params.steps
        self.state, self.action = PydanticCodec(int), PydanticCodec(str)
        others = tuple(f"In words {n}: " for n in range(1, params.wordings))
        self.kind = StepClass("letter", str.strip, max_tokens=8, system="Plainly: ", paraphrases=others)
        self.classes = (self.kind,)

    def start(self):
        return 0

    def next(self, state):
        return Step(self.kind, f"letter {state}") if state < self.steps else Done(state)

    def apply(self, state, action):
        return state + 1

    def oracle(self):
        return lambda prompt: Truth(("x",), ("a",))
'''
HARD = 16
"""Of every so many steps the scripted server contests one."""
CONTESTED = 10


@pytest.fixture
def line(tmp_path: Path, store: str) -> Callable[..., dict[str, dict[str, Any]]]:
    """Return a function that makes a job of which 45 samples in a hundred say what others say of the same prompt."""
    path = tmp_path / "line.py"
    path.write_text(TASK)

    def job(wordings: int = 3, steps: int = 250, **tables: dict[str, Any]) -> dict[str, dict[str, Any]]:
        base: dict[str, dict[str, Any]] = {
            "task": {"decomposer": f"{path}:Line", "wordings": wordings, "steps": steps},
            "model": {"kind": "simulated", "p": 0.95, "common": 0.45},
            "vote": {"k": 3, "max_votes": 1000},
            "run": {"seed": SEED},
            # Each step is committed before the next: from an alarm on, the very next step is asked otherwise.
            "store": {"url": store, "samples": "all", "durability": "strict"},
            "monitor": {"policy": "decorrelate"},
        }
        return base | {name: base.get(name, {}) | table for name, table in tables.items()}

    return job


class Contesting:
    """A server whose votes on some steps go one way and the other: whoever watches them is alarmed."""

    def __init__(self) -> None:
        self.asked: Counter[int] = Counter()

    def __call__(self, body: dict[str, Any]) -> FakeReply:
        step = int(body["messages"][-1]["content"].split()[-1])
        texts: list[str | None] = []
        for _ in range(body.get("n", 1)):
            self.asked[step] += 1
            contested = step % HARD == 5 and self.asked[step] <= 2 * CONTESTED
            texts.append("a" if contested and self.asked[step] % 2 else "x")
        return FakeReply(200, chat_completion(texts))


def told(report: Any, kind: str) -> list[dict[str, Any]]:
    return [
        {name: fact for name, fact in event.items() if name not in ("at", "kind")}
        for event in report.events
        if event["kind"] == kind
    ]


def kept(report: Any, store: str) -> list[list[SampleRow]]:
    """Return the samples of each step."""
    with queries.opened(store) as database:
        root = root_chain(database, queries.find_run(database, report.run_id).key)
        samples: list[list[SampleRow]] = [[] for _ in range(report.steps)]
        for row in read_samples(database, root.key, 0, report.steps):
            samples[row.idx].append(row)
    return samples


def first_varied(samples: list[list[SampleRow]]) -> int:
    """Return the first step whose votes were asked for in turns; all after it were, and none before."""
    varied = [any(row.system or row.temperature or row.model for row in rows) for rows in samples]
    first = varied.index(True)
    assert varied == [False] * first + [True] * (len(varied) - first)
    return first


# --- the ways ---


def test_ways_go_round_each_by_itself(letters: Any) -> None:
    """Models, words and temperatures take turns, so that two votes in a row differ in all that there is more of."""
    task = letters(3)
    task.kind = StepClass("letter", task.kind.parse, system="own", paraphrases=("other", "third"))
    task.classes = (task.kind,)
    rules = Rules(0, "none", {"solver": Role(FirstToAheadByK(FirstToAheadByKParams(k=3)), 100)}, 3)
    shared = Shared.of(task, rules._replace(others=Fallbacks((0, 2), 0.5)))
    assert (shared.kinds["letter"].turns, shared.kinds["letter"].ways) == (1, ())
    for _ in range(2):
        kind = shared.decorrelate(0)
        assert (kind.role.rotation, kind.turns, kind.plain) == ((0, 2), 6, False)
        assert kind.ways == (
            PromptVariant(), PromptVariant("other", 0.5), PromptVariant("third"), PromptVariant(None, 0.5),
        PromptVariant("other"), PromptVariant("third", 0.5) )  # fmt: skip
        assert shared.kinds["letter"] is kind
    again = Shared.of(task, rules).kinds["letter"].varied(task.kind, Fallbacks())
    assert (again.ways, again.turns) == ((PromptVariant(), PromptVariant("other"), PromptVariant("third")), 3)


def requests(ask: Any) -> list[tuple[str, float | None, int, int]]:
    assert isinstance(ask, Ask)
    return [(one.system, one.temperature, one.model, one.n) for one in ask.requests]


def test_a_request_asks_in_one_way(letters: Any) -> None:
    """Votes of one way go together, with the seed of the first; a step that has begun goes on as it began."""
    task = letters(3)
    task.kind = StepClass("letter", task.kind.parse, system="own", paraphrases=("other",))
    task.classes = (task.kind,)
    rules = Rules(0, "all", {"solver": Role(FirstToAheadByK(FirstToAheadByKParams(k=3)), 100)})
    shared = Shared.of(task, rules)
    runner: ChainRunner[Any, Any] = ChainRunner(shared, ChainAt(1, (), 0, 0, b"", "0"))
    first = runner.ask()
    assert requests(first) == [("own", None, 0, 3)]
    shared.decorrelate(0)
    decided = runner.hear(reply(first.requests[0], "xax"))
    assert decided is None
    second = runner.ask()
    assert requests(second) == [("own", None, 0, 2)], "it began before"
    decided = runner.hear(reply(second.requests[0], "xx"))
    assert isinstance(decided, Decided)
    assert not decided.decorrelated
    third = runner.ask()
    assert requests(third) == [("own", None, 0, 2), ("other", None, 0, 1)]
    assert third.requests[0].seed != first.requests[0].seed
    runner.hear(reply(third.requests[0], "xx"))
    decided = runner.hear(reply(third.requests[1], "x"))
    assert isinstance(decided, Decided)
    assert decided.decorrelated
    assert decided.heard is not None
    assert [(one.vote, decided.heard.ways[one.way].system) for one in decided.heard.samples] == [
        (0, None), (1, "other"), (2, None)
    ]  # fmt: skip


def reply(request: Any, texts: str) -> Finished:
    return Finished(request.id, tuple(Sample(text, 1) for text in texts), 1, len(texts))


def test_a_worker_is_told_by_its_orders(line: Any) -> None:
    """Any worker, one that takes a lost one's place too: what it is told first holds for all that it begins."""
    worker = Worker(worker_spec(api.load_job(line(steps=4, store={"durability": "group"}))))
    worker.advance(Orders(decorrelated=(0,)))
    report = worker.advance(Orders(chains=(ChainAt(1, (), 0, 0, b"", "0"),)))
    assert [step.decorrelated for step in report.decided] == [True] * 4


# --- in other words ---


def test_paraphrases_take_turns_after_an_alarm(line: Any, store: str) -> None:
    """The change is told and kept, later steps alone are asked so, each vote in its words; the log verifies."""
    report = api.run(line())
    print("seed", SEED)
    assert report.status == "done"
    assert told(report, "decorrelated") == [
        {"step_class": "letter", "models": ["simulated"], "wordings": 3, "temperatures": []}
    ]
    samples = kept(report, store)
    first = first_varied(samples)
    assert first == told(report, "alarm")[0]["steps"]
    words = ["Plainly: ", "In words 1: ", "In words 2: "]
    assert [{row.system for row in rows if row.vote < 3} for rows in samples[first:]] == [
        {None, *words[1:]}
    ] * (report.steps - first)  # fmt: skip
    assert queries.step(report.run_id, first, store=store).asked == (words[0], f"letter {first}")
    assert report.monitor[0]["decorrelated"]
    assert report.monitor[0]["steps"] == report.steps - first
    assert queries.verify(report.run_id, store=store).right


def test_in_other_words_votes_copy_each_other_less(line: Any) -> None:
    """Of a class that is decorrelated from the start, fewer losing votes are heaped on one step: what it is for."""
    seen = {}
    for wordings in (1, 3):
        job = api.load_job(line(wordings, 3000, monitor={"policy": "warn"}, store={"durability": "group"}))
        worker = Worker(worker_spec(job))
        worker.advance(Orders(decorrelated=(0,)))
        steps = worker.advance(Orders(chains=(ChainAt(1, (), 0, 0, b"", "0"),))).decided
        while len(steps) < 3000:
            steps = steps + worker.advance(Orders()).decided
        watch = VoteMonitor(MonitorPlan("warn", (MonitoredClass("letter", Rule(3, wordings), Rule(3)),), 1))
        seen[wordings] = watch.note([Entry(decided=[step._replace(decorrelated=False) for step in steps])])
    assert {event.kind for event in seen[1].events} == {"alarm"}
    assert seen[3].events == []


def test_a_resumed_run_goes_on_decorrelated(line: Any, store: str) -> None:
    """The next process begins so, whatever the policy is by then, and tells of it once."""
    report = api.run(line(), limit_steps=200)
    before = first_varied(kept(report, store))
    for word in ("monitor.policy=warn", "monitor.policy=off"):
        report = api.resume(report.run_id, [word], store=store, limit_steps=10)
    assert first_varied(kept(report, store)) == before
    assert len(told(report, "decorrelated")) == 1


def test_a_run_that_was_only_warned_is_decorrelated_by_a_resume(line: Any, store: str) -> None:
    """From its first step on: the alarm was there."""
    report = api.run(line(monitor={"policy": "warn"}), limit_steps=140)
    assert told(report, "alarm")
    report = api.resume(report.run_id, ["monitor.policy=decorrelate"], store=store)
    assert first_varied(kept(report, store)) == 140
    assert len(told(report, "decorrelated")) == 1


def test_paraphrases_are_part_of_what_a_run_is(line: Any, store: str) -> None:
    """A run does not go on in other words than it was started with; without any, its fingerprint is what it was."""
    report = api.run(line(), limit_steps=10)
    with pytest.raises(RunNotResumable, match="prompts"):
        api.resume(report.run_id, ["task.wordings=2"], store=store)
    warn = {"policy": "warn"}
    assert len({task_fingerprint(api.load_job(line(n, monitor=warn)))["prompts"] for n in (1, 2, 3)}) == 3


def test_words_that_the_task_does_not_have_are_found(line: Any, store: str) -> None:
    """`verify` compares what a sample was asked with what its class has."""
    report = api.run(line())
    with queries.opened(store) as database, database.write() as connection:
        changed = connection.exec_driver_sql(
            "UPDATE maker_sample SET system = (SELECT max(text) FROM maker_sample) WHERE system IS NOT NULL"
        )
        assert changed.rowcount
    assert re.search("had a system prompt that is lost, or", queries.verify(report.run_id, store=store).problem)


def test_a_map_takes_paraphrases_of_its_system(tmp_path: Path) -> None:
    """Its rows are asked in these words once they are decorrelated."""
    (tmp_path / "rows.csv").write_text("id,text\n1,a\n")
    task = {"decomposer": "map", "input": str(tmp_path / "rows.csv"), "template": "{{text}}", "system": "Say it."}
    job: dict[str, dict[str, Any]] = {
        "task": task | {"paraphrases": ["Name it."]},
        "model": {"kind": "openai", "url": "http://127.0.0.1:1/v1", "name": "m"},
        "monitor": {"policy": "decorrelate"},
    }
    loaded = api.load_job(job)
    assert loaded.decomposer.classes[0].paraphrases == ("Name it.",)
    assert monitor_plan(loaded).classes[0].ways["wordings"] == 2
    with pytest.raises(JobError, match="steps of class row have no second prompt, model or temperature"):
        api.load_job(job | {"task": task})


# --- at another temperature, of another member ---


def test_another_temperature_takes_turns(line: Any, store: str) -> None:
    """The server is asked at the model's own and the other in turn, and the samples say which."""
    with FakeServer(Contesting()) as server:
        model = {"kind": "openai", "url": server.url, "name": "m", "temperature": 1.0}
        job = line(1, 150) | {"model": model}
        job["monitor"] = {"policy": "decorrelate", "temperature": 0.25}
        report = api.run(job)
        asked = [
            (int(one.body["messages"][-1]["content"].split()[-1]), one.body.get("n", 1), one.body["temperature"])
            for one in server.requests
        ]
    assert (report.status, [one["temperatures"] for one in told(report, "decorrelated")]) == ("done", [[0.25]])
    samples = kept(report, store)
    first = first_varied(samples)
    assert first == 64
    assert {(n, warmth) for step, n, warmth in asked if step < first and step % HARD != 5} == {(3, 1.0)}
    clean = [(n, warmth) for step, n, warmth in asked if step >= first and step % HARD != 5]
    assert Counter(clean) == {(2, 1.0): len(clean) // 2, (1, 0.25): len(clean) // 2}
    assert all(row.temperature == (0.25 if row.vote % 2 else None) for rows in samples[first:] for row in rows)
    assert queries.verify(report.run_id, store=store).right


def test_another_member_takes_turns(line: Any, store: str) -> None:
    """One that had no turn before is asked from the alarm on; the ledger has it; what cannot be asked is told."""
    with FakeServer(Contesting()) as server:
        member = {"kind": "openai", "url": server.url, "temperature": 1.0}
        members = {"one": member | {"name": "one"}, "spare": member | {"name": "spare"}}
        job = line(1, 150) | {"model": {"kind": "pool", "members": members, "rotation": ["one"]}}
        with pytest.raises(JobError, match="there is no member 'other'"):
            api.load_job(job | {"monitor": {"members": ["other"]}})
        with pytest.raises(JobError, match="steps of class letter have no second prompt, model or temperature"):
            api.load_job(job | {"monitor": {"policy": "decorrelate", "members": ["one"]}})
        with pytest.raises(JobError, match="the models have that temperature already"):
            api.load_job(job | {"monitor": {"policy": "decorrelate", "temperature": 1.0}})
        report = api.run(job | {"monitor": {"policy": "decorrelate", "members": ["spare"]}})
    assert report.status == "done"
    assert told(report, "decorrelated")[0]["models"] == ["one", "spare"]
    samples = kept(report, store)
    first = first_varied(samples)
    assert all(row.model == row.vote % 2 for rows in samples[first:] for row in rows)
    spent = {one["model"]: one["votes"] for one in report.models}
    assert spent["spare"] == sum(row.model for rows in samples for row in rows)
    assert queries.verify(report.run_id, store=store).right
