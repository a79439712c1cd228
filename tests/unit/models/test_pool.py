"""Several models in one election: whose turn it is, what waits for what, who stays away, who is counted for what."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from row_tasks import job as rows_job
from row_tasks import write_rows

from decomposers.hanoi.oracle import move_truth
from maker import api
from maker.errors import JobError, RunNotResumable
from maker.job.estimate import estimate_run
from maker.job.fingerprint import settings_fingerprint
from maker.job.rules import rules_of
from maker.lifecycle import queries
from maker.lifecycle.events import Event, ModelAway
from maker.models.pool import Member, Pool
from maker.models.settings import SimulatedSettings
from maker.models.simulated import SimulatedModel
from maker.swarm.messages import Orders, Report, WorkerSpec
from maker.swarm.worker import Worker
from maker.testing import FakeReply, FakeServer, collect, completion
from maker.types import Done, Failed, Finished, Flag, Prices, Request, Sample, Step, StepClass
from maker.voting.chain import ChainRunner
from maker.voting.collector import Ask
from maker.voting.messages import ChainAt, Decided, Stuck
from maker.voting.policy import SOLVER, Judge, Role, Rules, Shared
from maker.voting.tally import Tally, genesis, unpack
from voters.first_to_ahead_by_k import FirstToAheadByK, FirstToAheadByKParams

Job = Callable[..., dict[str, dict[str, Any]]]
GOOD: dict[str, Any] = {"kind": "simulated", "p": 0.95}
POOR: dict[str, Any] = {"kind": "simulated", "p": 0.7, "malformed": 0.1}


def pool(**settings: Any) -> dict[str, Any]:
    """Return the table of a pool of a good and a poor model."""
    return {"kind": "pool", "members": {"good": GOOD, "poor": POOR}} | settings


def begin(task: Any, role: Role, *, models: int, most_n: int = 100, seed: int = 0) -> ChainRunner[Any, Any]:
    """Return the runner of a root chain."""
    rules = Rules(seed, "all", {SOLVER: role}, models, pass_on=True)
    shared = Shared.of(task, rules, lambda model: most_n)
    return ChainRunner(shared, ChainAt(1, (), 0, 0, genesis("test"), task.state.write(task.start())))


def ahead_by(k: int) -> FirstToAheadByK:
    return FirstToAheadByK(FirstToAheadByKParams(k=k))


def asked(runner: ChainRunner[Any, Any]) -> tuple[Request, ...]:
    move = runner.ask()
    assert isinstance(move, Ask)
    return move.requests


def reply(request: Request, texts: str) -> Finished:
    return Finished(request.id, tuple(Sample(text, 1) for text in texts), 10, len(texts))


# --- whose turn it is ---


def test_votes_go_round(letters: Any) -> None:
    """Vote i is asked of the model whose turn it is; each model's votes of a round are one request."""
    runner = begin(letters(1), Role(ahead_by(5), 100, (2, 0, 2)), models=3)
    first, second = asked(runner)
    assert [(one.model, one.n) for one in (first, second)] == [(0, 2), (2, 3)]
    assert first.seed != second.seed
    assert runner.hear(reply(second, "xax")) is None
    assert asked(runner) == ()
    # Votes 0, 2 and 3 are model 2's, 1 and 4 model 0's: x has four of five, and lacks two.
    assert runner.hear(reply(first, "xx")) is None
    assert [(one.model, one.n) for one in asked(runner)] == [(2, 2)]


def test_the_tally_tells_models_apart(letters: Any) -> None:
    """Votes and flags are counted by model, of the winner and of each rival."""
    runner = begin(letters(1), Role(ahead_by(2), 100, (0, 1)), models=2)
    first, second = asked(runner)
    runner.hear(reply(first, "x"))
    assert runner.hear(reply(second, "a")) is None
    requests = asked(runner)
    assert [(one.model, one.n) for one in requests] == [(0, 1), (1, 1)]
    runner.hear(reply(requests[0], "x"))
    assert runner.hear(reply(requests[1], "4")) is None
    (last,) = asked(runner)
    decided = runner.hear(reply(last, "x"))
    assert decided is not None
    tally = unpack(decided.tally)
    assert (tally.votes, tally.rivals, tally.flags) == ((3, 0), {"a": (0, 1)}, {"format": (0, 1)})
    assert (tally.valid, tally.flagged) == ((3, 1), (0, 1))
    assert decided.heard is not None
    assert [sample.model for sample in decided.heard.samples] == [0, 1, 0, 1, 0]


def test_a_request_is_no_larger_than_its_model_takes(letters: Any) -> None:
    """Seven votes of a model that takes three at a time are three requests, with seeds of their own."""
    requests = asked(begin(letters(1), Role(ahead_by(7), 100), models=1, most_n=3))
    assert [one.n for one in requests] == [3, 3, 1]
    assert len({one.seed for one in requests}) == 3


@pytest.mark.parametrize("seed", range(50))
def test_arrival_decides_nothing(letters: Any, seed: int) -> None:
    """Whichever requests are answered first, the log is the same to the last vote."""

    def walk(rng: random.Random | None) -> list[bytes]:
        task = letters(6)
        runner = begin(task, Role(ahead_by(3), 1000, (0, 1, 1)), models=2, most_n=2, seed=seed)
        models = [SimulatedModel(SimulatedSettings(p=p, malformed=0.1), task.oracle()) for p in (0.9, 0.6)]
        waiting: list[Finished] = []
        digests = []
        while isinstance(move := runner.ask(), Ask):
            for request in move.requests:
                models[request.model].submit((request,))
                (answer,) = models[request.model].poll(0.0)
                assert isinstance(answer, Finished)
                waiting.append(answer)
            if (decided := runner.hear(waiting.pop(rng.randrange(len(waiting)) if rng else 0))) is not None:
                digests.append(decided.digest)
                assert list(runner.let_go()) == [answer.id for answer in waiting]
                waiting.clear()
        return digests

    assert walk(random.Random(seed)) == walk(None)


# --- votes that are asked for in advance ---


def run_letters(task: Any, extra: int, max_votes: int = 100) -> tuple[list[Decided], int, int]:
    """Walk a chain with so many extra votes; returns its steps, rounds of requests, and calls."""
    runner = begin(task, Role(ahead_by(3), max_votes, (0,), extra), models=1, seed=3)
    model = SimulatedModel(SimulatedSettings(p=0.7), task.oracle())
    steps, rounds, calls = [], 0, 0
    while isinstance(move := runner.ask(), Ask):
        rounds += bool(move.requests)
        calls += sum(request.n for request in move.requests)
        model.submit(move.requests)
        for answer in model.poll(0.0):
            assert isinstance(answer, Finished)
            if (decided := runner.hear(answer)) is not None:
                steps.append(decided)
                model.cancel(runner.let_go())
                break
    return steps, rounds, calls


def test_extra_votes_save_rounds_and_count_only_where_needed(letters: Any) -> None:
    """With votes in advance each candidate has as many votes as without; there are fewer rounds, and more calls."""
    plain, rounds, calls = run_letters(letters(200), 0)
    ahead, fewer, more = run_letters(letters(200), 2)
    assert [unpack(step.tally)._replace(rounds=0) for step in ahead] == [
        unpack(step.tally)._replace(rounds=0) for step in plain
    ]
    assert fewer < 0.75 * rounds
    assert calls < more <= calls + 2 * rounds


def test_extra_votes_keep_to_the_cap(letters: Any) -> None:
    """No step takes more samples than ``max_votes``, in advance or not."""
    runner = begin(letters(1), Role(ahead_by(3), 4, (0,), 5), models=1)
    assert [one.n for one in asked(runner)] == [3, 1]


# --- the pool as a model ---


def test_each_member_answers_for_itself(letters: Any) -> None:
    """A pool hands requests to the member that they name, and forgets those that are cancelled."""
    oracle = letters(1).oracle()
    right = SimulatedModel(SimulatedSettings(p=1, latency_s=0.02), oracle)
    wrong = SimulatedModel(SimulatedSettings(p=0), oracle)
    both = Pool([Member(right, 0), Member(wrong, 0)])
    base = Request(1, "", "letter 0", 2, 7, 8, (), "letter")
    both.submit([base, base._replace(id=2, model=1), base._replace(id=3)])
    both.cancel([3])
    answers = {answer.id: answer for answer in collect(both, 2)}
    assert all(isinstance(answer, Finished) for answer in answers.values())
    assert [{sample.text for sample in answers[i].samples} for i in (1, 2)] == [{"x"}, {"a"}]  # type: ignore[union-attr]
    assert both.poll(0.0) == []
    both.close()


# --- whole runs ---


def test_a_mixed_pool_decides_a_job(hanoi: Job, store: str) -> None:
    """What each model did adds up to the run's counts, and the run verifies."""
    report = api.run(hanoi(7, store={"samples": "all"}) | {"model": pool()})
    assert report.status == "done"
    assert [(one["model"], one["role"]) for one in report.models] == [("good", "solver"), ("poor", "solver")]
    for name, total in (("votes", report.votes), ("red_flags", report.red_flags), ("calls", report.calls)):
        assert sum(one[name] for one in report.models) == total, name
    good, poor = report.models
    assert poor["red_flags"] > 20
    assert good["red_flags"] == 0
    assert sum(worker["steps"] for worker in report.workers) == report.steps
    assert queries.verify(report.run_id, store=store).right


def test_a_pool_is_killed_and_resumed_alike(hanoi: Job, store: str) -> None:
    """Stopped anywhere, a pool's run goes on to the same log."""
    whole = api.run(hanoi(6) | {"model": pool(rotation=["good", "poor", "good"])})
    report = api.run(hanoi(6) | {"model": pool(rotation=["good", "poor", "good"])}, limit_steps=17)
    report = api.resume(report.run_id, store=store)
    assert (report.status, report.digest, report.votes) == (whole.status, whole.digest, whole.votes)
    assert [one["votes"] for one in report.models] == [one["votes"] for one in whole.models]


def test_the_pool_is_part_of_what_a_run_is(hanoi: Job, store: str) -> None:
    """Another rotation is another run; what becomes of one that stays away may change."""
    report = api.run(hanoi(5) | {"model": pool()}, limit_steps=3)
    with pytest.raises(RunNotResumable, match="rotation was"):
        api.resume(report.run_id, ['model.rotation=["poor"]'], store=store)
    assert api.resume(report.run_id, ["model.away=pass"], store=store).status == "done"


@pytest.mark.parametrize("roles", [{}, {"judge": {"k": 2}}, {"solver": {"k": 4}}])
def test_roles_are_part_of_what_a_run_is(hanoi: Job, store: str, roles: dict[str, Any]) -> None:
    """A resume can neither give a run a role nor change one's margin: steps of before would not verify any more."""
    report = api.run(hanoi(5) | {"model": pool(), "roles": roles}, limit_steps=3)
    for word in ("roles.solver.k=5", "roles.judge.k=3"):
        with pytest.raises(RunNotResumable, match="roles were"):
            api.resume(report.run_id, [word], store=store)
    assert api.resume(report.run_id, ["roles.solver.extra=1"], store=store).status == "done"
    assert queries.verify(report.run_id, store=store).right


def test_schemas_that_a_member_is_held_to_are_part_of_a_run(tmp_path: Path) -> None:
    """As they are of a run with one model."""
    path = write(tmp_path, POOL)
    assert "schemas" not in settings_fingerprint(api.load_job(path))
    assert "schemas" in settings_fingerprint(api.load_job(path, ["model.members.cool.structured=schema"]))


def test_roles_have_a_margin_and_models_of_their_own(letters: Any) -> None:
    """Steps of a role are decided by its own k and its own models."""
    task = letters(2)
    check = StepClass("check", parse=str, max_tokens=8, role="checker")
    ask, task.classes = task.kind, (task.kind, check)
    task.next = lambda state: Step((ask, check)[state], f"letter {state}") if state < 2 else Done(state)
    roles = {SOLVER: Role(ahead_by(2), 100, (0, 1)), "checker": Role(ahead_by(4), 100, (1,))}
    shared = Shared.of(task, Rules(0, "all", roles, 2))
    runner: ChainRunner[Any, Any] = ChainRunner(shared, ChainAt(1, (), 0, 0, genesis("test"), "0"))
    requests = asked(runner)
    assert [(one.model, one.n, one.role) for one in requests] == [(0, 1, "solver"), (1, 1, "solver")]
    decided = [runner.hear(reply(request, "x")) for request in requests]
    assert decided[-1] is not None
    assert [(one.model, one.n, one.role) for one in asked(runner)] == [(1, 4, "checker")]


# --- a judge ---


def judged(letters: Any, judge: Role, *, max_votes: int = 4) -> tuple[ChainRunner[Any, Any], tuple[Request, ...]]:
    """Return a chain whose step has two votes for x and two for a, and what its judge is asked."""
    task = letters(2)
    task.kind = StepClass("letter", parse=task.kind.parse, max_tokens=8, system="Say a letter.")
    task.classes = (task.kind,)
    rules = Rules(0, "all", {SOLVER: Role(ahead_by(4), max_votes)}, 2, judge=Judge(judge, "Choose."))
    shared = Shared.of(task, rules)
    runner: ChainRunner[Any, Any] = ChainRunner(shared, ChainAt(1, (), 0, 0, genesis("test"), "0"))
    (request,) = asked(runner)
    assert runner.hear(reply(request, "xaax")) is None
    return runner, asked(runner)


def test_a_judge_chooses_where_votes_settle_nothing(letters: Any) -> None:
    """It sees the candidates in turned order, replies in the step's own form, and its votes are counted apart."""
    runner, requests = judged(letters, Role(ahead_by(2), 10, (1,)))
    assert [(one.role, one.model, one.n, one.prompt) for one in requests] == [("judge", 1, 1, "letter 0")] * 2
    assert [one.system for one in requests] == [
        "Choose.\n- x\n- a\n\nSay a letter.",
        "Choose.\n- a\n- x\n\nSay a letter.",
    ]
    assert len({one.seed for one in requests}) == 2
    assert runner.hear(reply(requests[1], "b")) is None
    assert runner.hear(reply(requests[0], "a")) is None
    (third,) = asked(runner)
    decided = runner.hear(reply(third, "a"))
    assert decided is not None
    tally = unpack(decided.tally)
    assert (decided.action, decided.votes, decided.flags, decided.disputed) == ("a", 4, 0, True)
    assert (tally.votes, tally.rivals, tally.margin) == ((2, 0), {"x": (2, 0)}, 0)
    assert tally.judge == Tally(0, 2, (0, 2), {}, {Flag.ILLEGAL: (0, 1)})
    assert decided.heard is not None
    assert [sample.vote for sample in decided.heard.samples] == list(range(7))
    assert asked(runner)[0].role == "solver"


def test_a_judge_may_settle_nothing_either(letters: Any) -> None:
    """The chain is stuck then, and both are told."""
    runner, requests = judged(letters, Role(ahead_by(2), 2, (1,)))
    assert runner.hear(reply(requests[0], "a")) is None
    assert runner.hear(reply(requests[1], "x")) is None
    stuck = runner.ask()
    assert isinstance(stuck, Stuck)
    assert (stuck.role, stuck.judged, len(stuck.heard.samples)) == ("solver", 2, 6)
    assert "max_votes = 4: 2 for x, 2 for a" in stuck.reason
    assert "the judge: max_votes = 2: 1 for a, 1 for x" in stuck.reason


def test_votes_in_advance_are_let_go_before_a_judge_is_asked(letters: Any) -> None:
    """One that is under way when the others settle nothing is cancelled; its reply would be of another election."""
    rules = Rules(0, "all", {SOLVER: Role(ahead_by(2), 5, (0,), 1)}, judge=Judge(Role(ahead_by(1), 10), "Choose."))
    runner: ChainRunner[Any, Any] = ChainRunner(
        Shared.of(letters(2), rules), ChainAt(1, (), 0, 0, genesis("test"), "0")
    )
    requests = asked(runner)
    assert [one.n for one in requests] == [2, 1]
    assert runner.hear(reply(requests[0], "xa")) is None
    assert runner.hear(reply(requests[1], "x")) is None
    fourth, fifth = asked(runner)
    assert runner.hear(reply(fourth, "a")) is None
    (judge,) = asked(runner)
    assert judge.role == "judge"
    assert list(runner.take_leftover()) == [fifth.id]
    assert runner.hear(reply(judge, "a")) is not None
    assert list(runner.let_go()) == []


def test_a_run_with_a_judge_verifies_and_counts_its_votes(hanoi: Job, store: str) -> None:
    """Steps that few votes cannot settle are the judge's; its calls stand in the ledger by its own name."""
    tables: dict[str, Any] = {"model": pool(), "roles": {"judge": {"rotation": ["good"], "k": 4, "max_votes": 100}}}
    report = api.run(hanoi(7, vote={"k": 3, "max_votes": 5}, store={"samples": "all"}) | tables)
    assert (report.status, report.reason) == ("done", "")
    by_judge = [step for step in queries.steps(report.run_id, store=store) if step.judge]
    assert len(by_judge) > 5
    assert all(step.margin == 4 for step in by_judge)
    (judge,) = [one for one in report.models if one["role"] == "judge"]
    assert judge["votes"] == sum(sum(step.judge.values()) for step in by_judge)
    assert queries.verify(report.run_id, store=store).right


@pytest.mark.parametrize("durability", ["group", "strict"])
def test_a_map_with_a_pool_and_a_judge_is_stopped_and_goes_on_alike(tmp_path: Path, durability: str) -> None:
    """Stopped after so many rows and then at a limit, its rows are decided as without; what is kept of them adds up."""
    write_rows(tmp_path / "rows.csv", range(100))
    member = {"kind": "simulated", "p": 0.6, "rivals": 2, "malformed": 0.1}
    tables: dict[str, Any] = {
        "vote": {"k": 2, "max_votes": 5, "extra": 2},
        "roles": {"judge": {"rotation": ["b", "c"], "k": 2, "max_votes": 9, "extra": 1}},
        "store": {"samples": "all", "durability": durability},
        "swarm": {"chains": 16},
    }
    members = {"a": member, "b": member | {"latency_s": 0.001}, "c": member}
    made = rows_job(tmp_path, **tables) | {"model": {"kind": "pool", "members": members}}
    made["task"]["output"] = ""
    store = made["store"]["url"]
    whole = api.run(made)
    assert (whole.status, 90 < whole.steps <= 100) == ("done", True)
    assert {one["role"] for one in whole.models} == {"solver", "judge"}
    stopped = api.run(made, limit_steps=30)
    stopped = api.resume(stopped.run_id, ["limits.max_calls=400"], store=store)
    assert stopped.reason.startswith("limit max_calls = 400")
    assert stopped.calls + stopped.reserved_calls <= 400
    report = api.resume(stopped.run_id, ["limits.max_calls=100000"], store=store)
    assert (report.status, report.digest, report.votes) == ("done", whole.digest, whole.votes)
    assert queries.verify(report.run_id, store=store).right


# --- members that stay away ---


class Ill:
    """A server that answers so many requests rightly, and fails all after that."""

    def __init__(self, good: int) -> None:
        self.good = good

    def __call__(self, body: Any) -> FakeReply | tuple[Any, ...]:
        """Answer one request."""
        self.good -= 1
        if self.good < 0:
            return (500, {"error": {"message": "out of order"}})
        right = move_truth(body["prompt"]).right[0]
        return (200, completion([right] * body.get("n", 1)))


def served(url: str, **settings: Any) -> dict[str, Any]:
    """Return the table of a pool whose second member is behind HTTP."""
    there = {"kind": "openai", "url": url, "name": "m", "chat": False, "retry_s": 0}
    return {"kind": "pool", "members": {"good": GOOD, "there": there}} | settings


def test_votes_of_a_member_that_stays_away_pass_on(hanoi: Job, store: str) -> None:
    """The run goes on with the others, and says so: to whom watches, in its row of events, and in its ledger."""
    told: list[Event] = []
    with FakeServer(Ill(20)) as server:
        report = api.run(hanoi(6) | {"model": served(server.url, away="pass")}, on_event=told.append)
    assert report.status == "done", report.reason
    (away,) = [event for event in told if isinstance(event, ModelAway)]
    assert (away.model, away.worker) == ("there", 0)
    assert "out of order" in away.reason
    assert [(one["kind"], one["model"]) for one in report.events] == [("model_away", "there")]
    good, there = report.models
    assert 15 <= there["votes"] <= 20 < good["votes"]
    assert good["votes"] + there["votes"] == report.votes
    assert queries.verify(report.run_id, store=store).right


def test_a_run_pauses_where_a_member_stays_away(hanoi: Job, store: str) -> None:
    """By default it waits for a resume, which asks the member again, and has the log of one undisturbed."""
    with FakeServer(Ill(1000)) as server:
        whole = api.run(hanoi(6) | {"model": served(server.url)})
    with FakeServer(Ill(20)) as server:
        paused = api.run(hanoi(6) | {"model": served(server.url)})
    assert paused.status == "paused"
    assert "out of order" in paused.reason
    with FakeServer(Ill(1000)) as server:
        report = api.resume("last", [f"model.members.there.url={server.url}"], store=store)
    assert (report.status, report.digest) == ("done", whole.digest)


def test_where_all_stay_away_the_run_pauses(hanoi: Job) -> None:
    """There is nobody left to pass votes on to: one falls ill, and then the other that has its votes as well."""
    with FakeServer(Ill(10)) as one, FakeServer(Ill(30)) as other:
        members = {"one": served(one.url)["members"]["there"], "other": served(other.url)["members"]["there"]}
        paused = api.run(hanoi(6) | {"model": {"kind": "pool", "members": members, "away": "pass"}})
    assert paused.status == "paused"
    assert "out of order" in paused.reason
    assert [event["model"] for event in paused.events] == ["one"]


def test_votes_pass_on_within_the_rotation_of_their_role(hanoi: Job) -> None:
    """A member that no vote of the role is asked of takes none over: the run pauses."""
    with FakeServer(Ill(10)) as server:
        tables = {"model": served(server.url, away="pass"), "roles": {"solver": {"rotation": ["there"]}}}
        paused = api.run(hanoi(6) | tables)
        assert len(server.requests) < 20
    assert paused.status == "paused"
    assert "out of order" in paused.reason


class Refusing(SimulatedModel):
    """Refuses the prompts that it is told, and answers all others."""

    def __init__(self, oracle: Any, *refused: str) -> None:
        super().__init__(SimulatedSettings(p=1), oracle)
        self._refused = refused
        self._refusals: list[Failed] = []

    def submit(self, requests: Iterable[Request]) -> None:
        """Take requests in."""
        for request in requests:
            if request.prompt in self._refused:
                self._refusals.append(Failed(request.id, "too long", unusable=True, refused=True))
            else:
                super().submit([request])

    def poll(self, wait_s: float) -> list[Finished | Failed]:
        """Answer and refuse."""
        told, self._refusals = self._refusals, []
        return [*told, *super().poll(wait_s)]


def worked(task: Any, role: Role, *models: SimulatedModel) -> Report:
    """Return what a worker reports of a root chain whose pool is these models."""
    rules = Rules(0, "all", {SOLVER: role}, len(models))
    spec = WorkerSpec(task, rules, lambda: Pool([Member(model, 0) for model in models]), (Prices(),) * len(models))
    return Worker(spec).advance(Orders(chains=(ChainAt(1, (), 0, 0, genesis("test"), "0"),)))


def test_a_prompt_that_all_members_refuse_is_told_once(letters: Any) -> None:
    """Before either has answered anything, both are in doubt; the chain is given up once."""
    task = letters(3)
    models = [Refusing(task.oracle(), "letter 0") for _ in range(2)]
    report = worked(task, Role(ahead_by(2), 100, (0, 1)), *models)
    assert [failed.error.message for failed in report.errors] == ["step 0: too long"]


def test_a_refusal_of_a_vote_in_advance_ends_nothing(letters: Any) -> None:
    """Where the other member's votes decide the step, the chain goes on."""
    task = letters(3)
    models = [Refusing(task.oracle(), "letter 0"), Refusing(task.oracle())]
    report = worked(task, Role(ahead_by(2), 100, (1, 1, 0), 1), *models)
    assert report.errors == []
    assert (len(report.decided), len(report.ended)) == (3, 1)


# --- job files ---

POOL = """\
[task]
decomposer = "hanoi"
disks = 3

[model]
kind = "pool"
rotation = ["cool", "large"]

[model.members.cool]
kind = "vllm"
path = "small"
temperature = 0.7

[model.members.large]
kind = "openai"
url = "http://localhost/v1"
name = "m"
"""


def test_an_estimate_counts_the_prompt_of_each_request(hanoi: Job) -> None:
    """A pool's votes are asked for in a request a member, and no larger than its server takes."""
    there = {"kind": "openai", "url": "http://localhost/v1", "name": "m", "max_n": 2}
    alone = estimate_run(api.load_job(hanoi(3) | {"model": there, "vote": {"k": 5}}))
    assert alone is not None
    both = estimate_run(api.load_job(hanoi(3) | {"model": pool(members={"good": GOOD, "m": there}), "vote": {"k": 5}}))
    assert both is not None
    assert (alone.requests, both.requests) == (3, 2)
    assert 2 * alone.prompt_tokens == 3 * both.prompt_tokens


def write(folder: Path, text: str) -> Path:
    path = folder / "job.toml"
    path.write_text(text)
    return path


def test_a_pool_in_a_job_file(tmp_path: Path, working_directory: Path) -> None:
    """Members are numbered as they are written; their paths start from the file, an override's from where it is."""
    path = write(tmp_path, POOL)
    job = api.load_job(path)
    assert list(job.members) == ["cool", "large"]
    assert job.members["cool"].path == str(tmp_path / "small")  # type: ignore[union-attr]
    assert (rules_of(job).roles[SOLVER].rotation, rules_of(job).models, job.swarm_kind) == ((0, 1), 2, "ray")
    job = api.load_job(path, ["model.members.cool.path=other", "model.members.cool.temperature=0.9"])
    member = job.members["cool"]
    assert (member.path, member.temperature) == (str(working_directory / "other"), 0.9)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ('"cool", "large"]', '"cool", "hot"]', r"job\.toml:5: model: there is no member 'hot'; there are cool, large"),
        ("temperature = 0.7", "temperature = 0", r"job\.toml:12: model\.members\.cool\.temperature = 0: all its votes"),
        ("temperature = 0.7", "temprature = 1", r"members\.cool\.temprature: there is no such setting"),
        ("[task]", "[limits]\nmax_cost = 1\n[task]", r"job\.toml:2: limits\.max_cost needs prices of cool, large"),
        ("[task]", "[roles.judges]\nk = 2\n[task]", r"job\.toml:1: roles\.judges: hanoi has no steps of that role"),
        (
            "[task]",
            "[roles.judge]\nk = 9\nmax_votes = 5\n[task]",
            r"toml:3: roles\.judge\.max_votes = 5: .* needs at least 9",
        ),
        ("[task]", '[roles.solver]\nrotation = ["x"]\n[task]', r"roles\.solver\.rotation: there is no member 'x'"),
        ("[task]", "[roles.judge]\nkk = 2\n[task]", r"job\.toml:2: roles\.judge\.kk: there is no such setting"),
    ],
)
def test_a_wrong_pool_is_told(tmp_path: Path, before: str, after: str, message: str) -> None:
    """With the line, what is wrong, and what there is."""
    assert before in POOL
    with pytest.raises(JobError, match=message):
        api.load_job(write(tmp_path, POOL.replace(before, after)))


@pytest.mark.parametrize("more", ["", 'kind = "opnai"', 'kind = "openai"'])
def test_a_key_in_the_wrong_place_is_not_shown(tmp_path: Path, more: str) -> None:
    """Neither by itself nor within the table of a member that is wrong otherwise."""
    wrong = POOL.replace('kind = "openai"', f'{more}\nkey_env = "sk-of-ours"')
    with pytest.raises(JobError, match=r"members\.large") as caught:
        api.load_job(write(tmp_path, wrong))
    assert "sk-of-ours" not in str(caught.value)


def test_a_misspelt_setting_of_a_member_is_told_by_its_neighbours(tmp_path: Path) -> None:
    """What is near to it are the settings of the member's own kind."""
    with pytest.raises(JobError, match=r"members\.cool\.temprature") as caught:
        api.load_job(write(tmp_path, POOL.replace("temperature", "temprature")))
    assert caught.value.fix.startswith("did you mean 'temperature'")
