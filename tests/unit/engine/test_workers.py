"""Several workers: the same log whoever dies, limits that hold together, work that is shared out."""

from __future__ import annotations

import random
from collections import Counter, deque
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fork_tasks import Shape, leaf

from maker import api
from maker.engine.scheduler import Handed, Scheduler
from maker.errors import JobError
from maker.lifecycle import queries, session
from maker.lifecycle.events import WorkerGone
from maker.swarm.interface import FromWorker, Gone, News, Swarm
from maker.swarm.messages import Orders, WorkerSpec
from maker.swarm.worker import Worker

WIDE: Shape = {
    "steps": [0, 0, 1],
    "forks": [{"children": [{"steps": [3, 2], "forks": [{"singles": 4}]}] * 12}, {"singles": 40}],
}


def tree(shape: Shape) -> dict[str, Any]:
    return {"decomposer": "fork_tasks:Tree", "shape": shape}


def job(url: str, task: dict[str, Any], **tables: dict[str, Any]) -> dict[str, dict[str, Any]]:
    base: dict[str, dict[str, Any]] = {
        "task": task,
        "model": {"kind": "simulated", "malformed": 0.05, "rivals": 3},
        "vote": {"k": 2, "max_votes": 1000},
        "store": {"url": url},
    }
    return base | {name: base.get(name, {}) | table for name, table in tables.items()}


class Several(Swarm):
    """Workers in this process, each with its orders, which die as they are told to; what they have then is lost.

    Args:
        spec: What each is built from.
        workers: How many there are at the start.
        dies: Says after each slice whether the worker dies of it, before its report is heard.
        most: How many there may be.
    """

    def __init__(self, spec: WorkerSpec, workers: int, dies: Callable[[], bool], most: int = 0) -> None:
        self._spec, self._dies, self._most = spec, dies, most
        self._workers: dict[int, Worker] = {}
        self._orders: dict[int, deque[Orders]] = {}
        self.started = 0
        self.decided: dict[int, Counter[int]] = {}
        """By worker, how many steps of each chain it has decided."""
        self.idle = 0
        """Slices of workers that had nothing to do while another one had chains that it had not begun with."""
        for _ in range(workers):
            self._start()

    @property
    def ready(self) -> list[int]:
        return list(self._workers)

    def give(self, worker: int, orders: Orders) -> None:
        self._orders[worker].append(orders)

    def collect(self, wait_s: float) -> list[News]:
        found: list[News] = []
        for number, worker in list(self._workers.items()):
            report = worker.advance(self._orders[number].popleft() if self._orders[number] else Orders())
            self.decided[number].update(step.chain for step in report.decided)
            if self._dies():
                del self._workers[number]
                self._start()
                found.append(Gone(number, "it was told to", replaced=True))
            else:
                found.append(FromWorker(number, report))
        if any(worker._backlog for worker in self._workers.values()):
            self.idle += sum(not worker._asked for worker in self._workers.values())
        return found

    def grow(self) -> None:
        if len(self._workers) < self._most:
            self._start()

    def close(self) -> None:
        for worker in self._workers.values():
            worker.close()

    def _start(self) -> None:
        self._workers[self.started] = Worker(self._spec)
        self._orders[self.started] = deque()
        self.decided[self.started] = Counter()
        self.started += 1


Open = Callable[..., list[Several]]


@pytest.fixture
def several(monkeypatch: pytest.MonkeyPatch) -> Iterator[Open]:
    """Let runs have several workers; returns the swarms that are opened from then on."""

    def install(workers: int, dies: Callable[[], bool] = lambda: False, most: int = 0) -> list[Several]:
        opened: list[Several] = []

        def open_swarm(_: Any, spec: WorkerSpec) -> Several:
            opened.append(Several(spec, workers, dies, most))
            return opened[-1]

        monkeypatch.setattr(session, "open_swarm", open_swarm)
        return opened

    yield install


def settled(report: queries.RunReport) -> tuple[Any, ...]:
    assert report.status == "done", report.reason
    return report.digest, report.votes, report.steps, report.result


@pytest.mark.parametrize("durability", ["group", "strict"])
@pytest.mark.parametrize("workers", [2, 5])
def test_several_workers_leave_the_log_of_one(store: str, several: Open, workers: int, durability: str) -> None:
    """Whoever decides a chain, and however the chains are shared out, the log is the same to the last vote."""
    made = job(store, tree(WIDE), model={"p": 0.8}, swarm={"chains": 3}, store={"durability": durability})
    alone = api.run(made)
    opened = several(workers)
    together = api.run(made)
    assert settled(together) == settled(alone)
    assert opened[0].started == workers
    assert queries.verify(together.run_id, store=store).right


@pytest.mark.parametrize("seed", range(6))
def test_deaths_change_nothing(store: str, several: Open, seed: int) -> None:
    """Workers that die at any moment leave the log of one that lives; no step is decided twice."""
    made = job(store, tree(WIDE), model={"p": 0.8}, swarm={"chains": 3})
    alone = api.run(made)
    rng = random.Random(seed)
    opened = several(3, lambda: rng.random() < 0.4)
    made["model"]["latency_s"] = 0.002
    told: list[WorkerGone] = []
    together = api.run(made, on_event=lambda event: told.append(event) if isinstance(event, WorkerGone) else None)
    assert settled(together) == settled(alone)
    assert opened[0].started >= 3 + len(told)
    assert sum(event.chains for event in told) > 5, f"seed {seed}: hardly anybody died with work"
    assert queries.verify(together.run_id, store=store).right


@pytest.mark.parametrize("interrupted", [1, 2])
def test_an_interrupt_between_naming_chains_and_storing_them_leaves_no_gap(
    store: str, several: Open, monkeypatch: pytest.MonkeyPatch, interrupted: int
) -> None:
    """A resume takes a chain whose key is missing among the others' for lost: so later ones must not be stored."""
    made = job(store, tree(WIDE), model={"p": 0.8}, swarm={"chains": 3})
    whole = api.run(made)
    several(2)
    hand, told = Scheduler.hand, [0]
    started: list[str] = []

    def hand_and_be_interrupted(scheduler: Scheduler, worker: int, room: int) -> Handed:
        handed = hand(scheduler, worker, room)
        told[0] += bool(handed.begun)
        if handed.begun and told[0] == interrupted:
            raise KeyboardInterrupt
        return handed

    monkeypatch.setattr(Scheduler, "hand", hand_and_be_interrupted)
    with pytest.raises(KeyboardInterrupt):
        api.run(made, on_event=lambda event: started.append(event.run_id))
    resumed = api.resume(started[0], store=store)
    assert settled(resumed) == settled(whole)
    assert queries.verify(resumed.run_id, store=store).right


def test_a_root_chain_outlives_its_workers(store: str, several: Open) -> None:
    """A chain without forks goes on from what is committed of it."""
    made = job(store, tree(leaf(200)), model={"p": 0.8})
    alone = api.run(made)
    rng = random.Random(1)
    several(1, lambda: rng.random() < 0.3)
    assert settled(api.run(made)) == settled(alone)


@pytest.mark.parametrize("deaths", [0.0, 0.1])
def test_limits_hold_for_all_workers_together(store: str, several: Open, deaths: float) -> None:
    """What is used and what is reserved never pass the limit; with a higher one the run ends as without any."""
    made = job(store, tree(WIDE), model={"p": 0.8}, swarm={"chains": 3})
    alone = api.run(made)
    rng = random.Random(2)
    several(4, lambda: rng.random() < deaths)
    limit = alone.calls // 2
    paused = api.run(made | {"limits": {"max_calls": limit}})
    assert (paused.status, paused.reason.split(":")[0]) == ("paused", f"limit max_calls = {limit}")
    assert paused.calls + paused.reserved_calls <= limit
    if not deaths:
        assert paused.reserved_calls == 0
        assert paused.calls > limit / 2
    done = api.resume(paused.run_id, [f"limits.max_calls={20 * limit}"], store=store)
    assert settled(done) == settled(alone)


def test_a_pause_after_so_many_steps_is_one_workers(store: str, several: Open) -> None:
    """Steps are counted where they are begun: a limited session is left to one worker, and is exact."""
    made = job(store, tree(WIDE), swarm={"chains": 3})
    several(3)
    report = api.run(made, limit_steps=17)
    assert (report.status, report.steps) == ("paused", 17)


def test_no_worker_idles_while_chains_wait_at_another(store: str, several: Open) -> None:
    """One worker is given all the long chains, the other is soon through with the short ones, and takes over some.

    A chain that is begun stays where it is, where its prefix is warm.
    """
    shape: Shape = {"steps": [0, 0], "forks": [{"children": [leaf(40)] * 8 + [leaf(1)] * 8}]}
    made = job(store, tree(shape), model={"p": 1.0, "malformed": 0.0, "latency_s": 0.01}, swarm={"chains": 4})
    opened = several(2)
    settled(api.run(made))
    (swarm,) = opened
    long = {number: [chain for chain, steps in done.items() if steps > 1] for number, done in swarm.decided.items()}
    assert sorted(map(len, long.values())) == [2, 6], long
    assert all(swarm.decided[number][chain] == 40 for number, chains in long.items() for chain in chains)
    # Of each taking over: one to ask for chains, one to give them back, one to hand them out.
    assert swarm.idle <= 6


def test_there_are_more_workers_where_there_is_work_for_them(store: str, several: Open) -> None:
    """A swarm grows as long as chains wait for a worker that has room, and not for a chain that is alone."""
    opened = several(1, most=4)
    api.run(job(store, tree(leaf(5)), swarm={"chains": 2}))
    api.run(job(store, tree(WIDE), swarm={"chains": 2}))
    assert [swarm.started for swarm in opened] == [1, 4]


@pytest.mark.parametrize("setting", ["replicas=2", "max_replicas=3", "address=somewhere:1"])
def test_a_local_swarm_is_one_worker(store: str, setting: str) -> None:
    name, _, value = setting.partition("=")
    made = job(store, tree(WIDE), swarm={name: int(value) if value.isdigit() else value})
    with pytest.raises(JobError, match=f"swarm.{name} = .* needs Ray"):
        api.load_job(made)
