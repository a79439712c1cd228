"""Recursive decomposition: plans, answers and compositions are voted on; what is no plan for a node is a red flag."""

from __future__ import annotations

import json
import pickle
import re
from collections import Counter
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from killed_runs import Life, assert_same, log_of, through
from pydantic import BaseModel
from recursive_task import asked, goal, halves, job, states, truth

from decomposers.recursive import GENERIC, Node, Recursive, RecursiveParams, TaskPlan
from decomposers.recursive.context import Budget, size
from decomposers.recursive.plan import Part
from maker import api
from maker.errors import BadInput, JobError, TaskFailed
from maker.job.fingerprint import run_fingerprint
from maker.lifecycle import queries
from maker.plugin import Done, Fork, PydanticCodec, Step, Truth

TOTAL = str(sum(range(16)))
"""The answer to the job's problem."""


def params(**given: Any) -> RecursiveParams:
    return RecursiveParams.model_validate({"problem": "p"} | given)


def step(task: Recursive[Any, Any], node: Node) -> Step[Node, Any]:
    """Return what is asked next, which must be a step."""
    found = task.next(node)
    assert isinstance(found, Step)
    return found


def proposed(task: Recursive[Any, Any], node: Node, reply: str) -> str | None:
    """Return why a reply is no plan for a node, None where it is one."""
    kind = step(task, node).kind
    assert kind.role == "decomposer"
    return kind.check(node, kind.parse(reply))


def parts(*goals: str, compose: str = "join", needs: dict[int, list[str]] | None = None) -> str:
    named = [{"name": str(n), "goal": one, "needs": (needs or {}).get(n, [])} for n, one in enumerate(goals)]
    return json.dumps({"parts": named, "compose": compose})


# --- a tree ---


@pytest.mark.parametrize("chained", [False, True])
def test_a_tree_of_plans_comes_to_the_right_answer(store: str, chained: bool) -> None:
    """A model that errs in one sample of ten breaks 16 numbers into 31 nodes; plans and sums are voted right."""
    report = api.run(job(store, truth="recursive_task:chained_truth" if chained else "recursive_task:truth"))
    assert (report.status, report.result["answer"]) == ("done", TOTAL)
    plan = report.result["plan"]
    assert (plan["nodes"], plan["depth"], len(plan["digest"])) == (31, 4, 32)
    classes = Counter(record.kind for record in queries.steps("last", store=store))
    assert classes == {"plan": 31, "solve": 16, "compose": 15}
    assert report.disputed > 10
    assert report.red_flags > 0
    assert queries.verify("last", store=store).problem == ""


def test_plans_that_say_the_same_are_one_vote(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A planner that never writes a plan alike twice, and is always right, has no rivals in any step."""

    def many_words(prompt: str) -> Truth:
        told = truth(prompt)
        if not prompt.endswith("Plan: "):
            return told
        plan = json.loads(told.right[0])
        for number, part in enumerate(plan.get("parts", [])):
            part["name"] = "xyz"[number]
        return Truth((told.right[0], json.dumps(plan, indent=3), f"So:\n```json\n{json.dumps(plan)}\n```"), ())

    monkeypatch.setattr("recursive_task.truth", many_words)
    tables = job(store)
    report = api.run(tables | {"model": {"kind": "simulated", "p": 1.0}})
    assert (report.status, report.disputed, report.red_flags) == ("done", 0, 0)
    replies = {sample.text for sample in queries.step("last", 0, store=store).samples}
    assert len(replies) > 1


def test_a_part_is_told_what_it_needs_and_no_more() -> None:
    """It sees its ancestors' problems and the conclusions that it, or an ancestor of it, needs; never how they came."""
    task: Recursive[str, str] = Recursive(params(problem="root", max_depth=3))
    node = task.start()
    action = task.read_plan(parts("one", "two", "three", needs={2: ["0"]}))
    node = task.apply(node, action)
    fork = task.next(node)
    assert isinstance(fork, Fork)
    assert fork.count == 2
    assert fork.join is not None
    first = task.next(fork.child(node, 0))
    assert isinstance(first, Step)
    assert "Goal: root\nProblem: one\n" in first.prompt
    for number, answer in enumerate(("eins", "zwei")):
        node = fork.join(node, number, [answer, "d", 1, [10]])
    fork = task.next(node)
    assert isinstance(fork, Fork)
    assert fork.count == 1
    third = fork.child(node, 0)
    prompt = step(task, third).prompt
    assert "Goal: root\nKnown: one => eins\nProblem: three\n" in prompt
    assert "zwei" not in prompt
    third = task.apply(third, task.read_plan(parts("four")))
    fork = task.next(third)
    assert isinstance(fork, Fork)
    below = step(task, fork.child(third, 0)).prompt
    assert "Goal: root\nKnown: one => eins\nGoal: three\nProblem: four\n" in below


def test_a_composer_sees_the_answers_of_all_parts() -> None:
    """Once all parts are done the composer is asked, with a line for each, what the plan says, and its own words."""
    task: Recursive[str, str] = Recursive(params(problem="root", composer_prompt="{{compose}}!\n{{parts}}"))
    node = task.apply(task.start(), task.read_plan(parts("one", "two", compose="add")))
    for number, answer in enumerate("12"):
        node = node.join(number, [answer, "d", 3, [10, 20]])
    found = step(task, node)
    assert (found.kind.role, found.prompt) == ("composer", "add!\nPart: one => 1\nPart: two => 2\n")
    node = task.apply(node, found.kind.parse(" 3\n"))
    end = task.next(node)
    assert isinstance(end, Done)
    assert end.result["answer"] == "3"
    assert end.result["plan"]["nodes"] == 7
    assert end.result["prompt_bytes"]["largest"][1:] == (10, 20)


# --- proposals that are none ---


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        (parts(*"abcd"), "too many parts: 4, task.max_parts = 3"),
        (parts("a", compose="guess"), "there is no operation 'guess', only join, add"),
        (parts("a", "the  root"), "a circle: part 'the root' is the problem itself"),
        (parts("a" * 400), "the decomposer's prompt has"),
        (parts("a", "b", needs={1: ["0"]}), "can be longer than a level's 64 bytes"),
    ],
)
def test_a_plan_that_is_none_is_flagged(reply: str, why: str) -> None:
    """What the rules of the tree forbid is said with numbers; the same plan without its fault is let through."""
    task: Recursive[str, str] = Recursive(
        params(problem="the root", max_parts=3, operations=["join", "add"], base_bytes=900, level_bytes=64)
    )
    told = proposed(task, task.start(), reply)
    assert told is not None
    assert why in told
    assert proposed(task, task.start(), parts("a", "b", "c")) is None
    assert proposed(task, task.start(), '{"atomic": true}') is None


def test_a_plan_whose_answers_would_not_fit_is_flagged() -> None:
    """Three answers of 300 bytes do not fit a composer's prompt of 900, so the plan is flagged; two do."""
    task: Recursive[str, str] = Recursive(params(base_bytes=900, conclusion_bytes=300))
    told = proposed(task, task.start(), parts("a", "b", "c"))
    assert told is not None
    assert re.fullmatch(r"the composer's prompt has 1,0\d\d bytes, over 900", told)
    assert proposed(task, task.start(), parts("a", "b")) is None


def test_a_part_may_be_none_of_its_ancestors() -> None:
    """A problem that is asked anew three levels below itself is a circle, as one that is its own part is."""
    task: Recursive[str, str] = Recursive(params(problem="a"))
    node = task.start()
    for one in "bcd":
        assert proposed(task, node, parts(one)) is None
        node = task.apply(node, task.read_plan(parts(one))).part(0)
    assert node.goal == "d"
    for one in "abcd":
        told = proposed(task, node, parts("e", one))
        assert told is not None
        assert "a circle" in told


def test_a_plan_may_be_too_deep() -> None:
    """At the cap a problem may be called atomic, and not be broken; one level above it may."""
    task: Recursive[str, str] = Recursive(params(problem="a", max_depth=2))
    node = task.start()
    for one in "bc":
        assert proposed(task, node, parts(one)) is None
        node = task.apply(node, task.read_plan(parts(one))).part(0)
    assert proposed(task, node, parts("d")) == "too deep: its parts would be 3 levels down, task.max_depth = 2"
    # A model that is held to the schema can say nothing there but what is legal.
    held = Draft202012Validator(dict(step(task, node).kind.schema or {}))
    for reply in ("{}", '{"atomic": false}', '{"atomic": true, "parts": []}', parts("d")):
        assert not held.is_valid(json.loads(reply))
    assert held.is_valid({"atomic": True})
    above = Node("b")
    assert Draft202012Validator(dict(step(task, above).kind.schema or {})).is_valid(json.loads(parts("d")))
    assert step(task, above).kind.name == step(task, node).kind.name == "plan"
    assert proposed(task, node, '{"atomic": true}') is None


BAD = {
    "empty": ('{"parts": []}', "format"),
    "a circle of parts": (parts("a", "b", needs={0: ["1"], 1: ["0"]}), "format"),
    "an unknown part": (parts("a", needs={0: ["9"]}), "format"),
    "a circle of problems": (parts(goal(0, 3), compose="add"), "illegal"),
    "too many": (parts(*"abcdefghi", compose="add"), "illegal"),
    "an unknown operation": (parts("a", compose="guess"), "illegal"),
    "too long": (parts("a" * 5000, compose="add"), "illegal"),
}


@pytest.mark.parametrize(("reply", "flag"), BAD.values(), ids=BAD.keys())
def test_a_bad_proposal_is_counted_and_no_fault(
    store: str, reply: str, flag: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A planner whose every second reply is bad costs votes, each counted by its reason; the run ends right."""

    def half_bad(prompt: str) -> Truth:
        told = truth(prompt)
        return Truth(told.right, (reply,)) if prompt.endswith("Plan: ") else told

    monkeypatch.setattr("recursive_task.truth", half_bad)
    tables = job(store, problem=goal(0, 3), operations=["add"], plan_tokens=9000)
    model = {"kind": "simulated", "p": 0.95, "p_by_class": {"plan": 0.5}}
    report = api.run(tables | {"model": model})
    assert (report.status, report.result["answer"], report.result["plan"]["nodes"]) == ("done", "6", 7)
    flags: Counter[str] = Counter()
    for record in queries.steps("last", store=store):
        flags.update(record.flags)
        if record.kind == "plan":
            assert len(record.votes) == 1
    assert report.red_flags > 2
    assert flags == {flag: report.red_flags}


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["goal", "name", "needs"]), inner),
    max_leaves=8,
)
PROPOSALS = st.fixed_dictionaries(
    {}, optional={"atomic": JSON, "parts": st.lists(JSON, max_size=3) | JSON, "compose": JSON}
)


@given(reply=st.text() | JSON.map(json.dumps) | PROPOSALS.map(json.dumps))
def test_no_proposal_is_an_exception(reply: str) -> None:
    """Whatever a decomposer says is a plan, a ``ValueError`` of the parser, or a reason of the check."""
    task: Recursive[str, str] = Recursive(params(problem="the root", vote_plans="discriminator"))
    node = task.start()._replace(draft=True)
    try:
        plan = task.read_plan(reply)
    except ValueError as error:
        assert str(error)
        return
    told = step(task, node).kind.check(node, plan)
    assert told is None or told
    assert task.action.read(task.action.write(plan)) == plan


def test_a_planner_that_never_stops_is_stopped_by_the_cap(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is forced: at the cap every sample is flagged, and the run pauses there and says why."""
    monkeypatch.setattr("recursive_task.truth", lambda prompt: Truth((parts(str(len(prompt)), compose="add"),), ()))
    report = api.run(job(store, max_depth=3) | {"model": {"kind": "simulated", "p": 1.0}}, ["vote.max_votes=9"])
    assert (report.status, report.steps) == ("paused", 3)
    assert "plan) is undecided" in report.reason
    deepest = queries.step("last", 0, chain="1.0/1.0/1.0", store=store)
    assert deepest.record is None
    assert {(sample.flag, sample.detail) for sample in deepest.samples} == {
        ("illegal", "too deep: its parts would be 4 levels down, task.max_depth = 3")
    }


def test_an_answer_that_is_too_long_is_flagged() -> None:
    """An answer that goes into other prompts has a cap, in bytes; the root's has none."""
    task: Recursive[str, str] = Recursive(params(problem="root", conclusion_bytes=6))
    node = task.apply(task.start(), task.read_plan(parts("one"))).part(0)
    node = task.apply(node, task.read_plan('{"atomic": true}'))
    kind = step(task, node).kind
    assert kind.check(node, kind.parse("€€")) is None
    assert kind.check(node, kind.parse("€€a")) == "7 bytes, task.conclusion_bytes = 6"
    root = task.apply(task.start(), task.read_plan('{"atomic": true}'))
    assert kind.check(root, kind.parse("a" * 100)) is None


# --- the budget ---


@settings(max_examples=60)
@given(
    base=st.integers(700, 1200),
    level=st.integers(64, 300),
    cap=st.integers(1, 60),
    data=st.data(),
)
def test_no_prompt_is_above_the_budget_of_its_depth(base: int, level: int, cap: int, data: st.DataObject) -> None:
    """Down any way that legal plans lead, with any answers that may be, every prompt keeps to its node's budget."""
    given = {"base_bytes": base, "level_bytes": level, "conclusion_bytes": cap, "max_depth": 5, "max_parts": 4}
    task: Recursive[str, str] = Recursive(params(**given, problem="the root", vote_plans="discriminator", proposals=2))
    budget, node = Budget(base, level), task.start()
    words = st.integers(1, 120).map(lambda n: f"{n} " + "ä" * n)
    for _ in range(4):
        draft = node._replace(draft=True)
        assert size(step(task, draft).prompt) <= budget.at(node.depth)
        goals = data.draw(st.lists(words, min_size=1, max_size=4))
        needs = {n: [str(m) for m in range(n) if data.draw(st.booleans())] for n in range(len(goals))}
        reply = parts(*goals, compose="x" * data.draw(st.integers(1, 60)), needs=needs)
        if proposed(task, draft, reply) is not None:
            break
        plan = task.read_plan(reply)
        assert size(step(task, node._replace(drafts=(plan, plan))).prompt) <= budget.at(node.depth)
        node = node.planned(plan)
        for n in range(len(goals)):
            node = node.join(n, ["9" * data.draw(st.sampled_from([1, cap // 2 + 1, cap])), "d", 1, [1]])
        assert size(step(task, node).prompt) <= budget.at(node.depth)
        solved = node.part(len(goals) - 1).planned(TaskPlan())
        assert size(step(task, solved).prompt) <= budget.at(solved.depth)
        node = node.part(len(goals) - 1)


def test_a_short_answer_leaves_no_room_that_was_not_counted() -> None:
    """What a short answer leaves free goes to problems that are cut, down to the last byte: that was counted before."""
    given = {"base_bytes": 1200, "level_bytes": 140, "conclusion_bytes": 50, "problem": "g" * 90}
    task: Recursive[str, str] = Recursive(params(**given))
    budget, accepted = Budget(1200, 140), []
    for length in range(600, 700):
        reply = parts("€" * 30, "z" * length, needs={1: ["0"]})
        if proposed(task, task.start(), reply) is not None:
            break
        accepted.append(length)
        node = task.apply(task.start(), task.read_plan(reply))
        for cap in range(1, 51):
            told = node.join(0, ["9" * cap, "d", 1, [1]])
            assert size(step(task, told.part(1)).prompt) <= budget.at(1)
    assert accepted
    assert accepted[-1] < 699


def test_prompts_grow_with_depth_alone(store: str) -> None:
    """In a run every prompt that the store holds obeys its depth's budget, and the result tells the largest of each."""
    report = api.run(
        job(store, problem=goal(0, 63), truth="recursive_task:chained_truth", base_bytes=900, level_bytes=70,
            conclusion_bytes=12)
    )  # fmt: skip
    assert (report.status, report.result["answer"]) == ("done", str(sum(range(64))))
    told = report.result["prompt_bytes"]
    assert told["budget"] == [900 + 70 * depth for depth in range(7)]
    largest = [0] * 7
    for depth, prompt in asked(store):
        largest[depth] = max(largest[depth], size(prompt))
    assert told["largest"] == largest
    assert all(found <= most for found, most in zip(largest, told["budget"], strict=True))


def test_states_hold_goals_and_conclusions(store: str) -> None:
    """No state is longer than what its levels and parts come to: none holds a prompt, a reply, or what is below."""
    api.run(job(store, problem=goal(0, 63), truth="recursive_task:chained_truth"))
    kept = states(store)
    assert len(kept) > 100
    assert max(map(len, kept)) < 700
    assert not any("Reply" in state or "name" in state for state in kept)


def test_a_root_that_does_not_fit_is_refused(store: str) -> None:
    """A problem that is too long for the prompts of the root is bad input, with both numbers, before anything runs."""
    with pytest.raises(BadInput, match=r"the decomposer's prompt has 5,5\d\d bytes, over 4,000 at the root"):
        api.run(job(store, problem="x" * 5000))
    with pytest.raises(BadInput, match=r"task.problem cannot be read: an empty text"):
        api.run(job(store, problem=" \n"))


class Talkative(Recursive[str, str]):
    """Writes more once a plan is there than it said before."""

    name = "talkative"

    def prompt(self, role: str, node: Node) -> str:
        """Return a prompt that is longer than it was when the plan was checked."""
        told = super().prompt(role, node)
        return told + "x" * 9000 if node.done and node.done[0] and node.done[0].plans else told

    def oracle(self) -> Any:
        """Return the task's truth."""
        return truth


def test_a_prompt_that_does_not_keep_its_word_stops_the_run(store: str) -> None:
    """A subclass whose prompts outgrow what was checked is named with node, size and budget; nothing is sent."""
    tables = job(store, problem=goal(0, 1))
    tables["task"] = {"decomposer": "test_recursive:Talkative", "problem": goal(0, 1)}
    with pytest.raises((BadInput, TaskFailed), match=r"depth 0, 'add 0 to 1': the composer's prompt has 9,\d+ bytes"):
        api.run(tables)


# --- roles ---


def test_each_role_has_its_own_k(store: str) -> None:
    """Plans win by 7 votes, answers by 3, compositions by 5: what [roles] says."""
    tables = job(store) | {"roles": {"decomposer": {"k": 7}, "composer": {"k": 5}}}
    tables["vote"] |= {"k": 3}
    report = api.run(tables)
    assert (report.status, report.result["answer"]) == ("done", TOTAL)
    margins = {"plan": 7, "solve": 3, "compose": 5}
    assert all(record.margin == margins[record.kind] for record in queries.steps("last", store=store))


def test_each_role_has_its_own_models_and_plans_do_not_depend_on_the_solver(store: str) -> None:
    """With another solver the answers are others and the plans' digest is the same; the ledger says who was asked."""
    members = {name: {"kind": "simulated", "p": p} for name, p in (("planner", 0.9), ("good", 0.95), ("bad", 0.05))}
    found = []
    for solver in ("good", "bad"):
        tables = job(store) | {"model": {"kind": "pool", "rotation": ["planner"], "members": members}}
        tables["vote"] |= {"k": 5}
        planner = {"rotation": ["planner"]}
        # What is said of the solver holds for every role that is not named.
        roles = {"solver": {"rotation": [solver]}, "decomposer": planner, "composer": planner}
        report = api.run(tables | {"roles": roles})
        assert report.status == "done"
        found.append(report.result)
        spent = {(one["model"], one["role"]) for one in report.models if one["calls"]}
        assert spent == {("planner", "decomposer"), ("planner", "composer"), (solver, "solver")}
    assert found[0]["plan"] == found[1]["plan"]
    assert found[0]["answer"] != found[1]["answer"]


def test_a_planner_that_errs_is_mended_by_its_own_k_alone(store: str) -> None:
    """At p = .6 the tree goes wrong with the solver's k at 12, and comes out right with the planner's at 12."""
    tables = job(store) | {"model": {"kind": "simulated", "p": 0.95, "p_by_class": {"plan": 0.6}}}
    tables["vote"] |= {"k": 12}
    one = api.run(tables | {"roles": {"decomposer": {"k": 1}}})
    other = api.run(tables)
    assert one.result is None or one.result["answer"] != TOTAL
    assert other.result["answer"] == TOTAL


# --- plans that are drawn ---


def test_a_discriminator_chooses_among_plans_that_were_drawn(store: str) -> None:
    """Single samples are drawn, those that differ are listed, and one is voted for; what all say needs no vote."""
    tables = job(store, vote_plans="discriminator", proposals=4)
    model = {"kind": "simulated", "p": 0.95, "p_by_class": {"plan": 0.7}}
    report = api.run(tables | {"model": model, "roles": {"decomposer": {"k": 1}}})
    assert (report.status, report.result["answer"], report.result["plan"]["nodes"]) == ("done", TOTAL, 31)
    records = list(queries.steps("last", store=store))
    kinds = Counter(record.kind for record in records)
    assert kinds["plan"] == 4 * 31
    assert all(sum(record.votes.values()) == 1 for record in records if record.kind == "plan")
    assert 5 < kinds["choose"] < 31
    assert queries.verify("last", store=store).problem == ""
    lists = [
        re.findall(r"^(\d+)\. (.*)$", one.prompt, re.MULTILINE) for one in asked(store) if "Number: " in one.prompt
    ]
    assert len(lists) == kinds["choose"]
    for listed in lists:
        plans = [plan for _, plan in listed]
        assert [int(number) for number, _ in listed] == [*range(1, len(plans) + 1)]
        assert 2 <= len(plans) == len(set(plans)) <= 4


@pytest.mark.parametrize("memo", ["run", "store"])
def test_draws_are_not_taken_from_a_memo(store: str, memo: str) -> None:
    """Plans are drawn as without a memo: a draw that were the one before it again would leave nothing to choose."""
    given: dict[str, Any] = {"vote_plans": "discriminator"}
    tables = job(store, **given) | {"roles": {"decomposer": {"k": 1}}}
    tables["model"]["p_by_class"] = {"plan": 0.6}
    told = []
    for one in ("off", memo):
        report = api.run(tables | {"task": tables["task"] | {"memo": one}})
        drawn = [json.dumps(step.action) for step in queries.steps(report.run_id, store=store) if step.kind == "plan"]
        assert queries.verify(report.run_id, store=store).problem == ""
        told.append((report.status, report.result, drawn))
    assert told[0] == told[1]
    assert told[0][1]["answer"] == TOTAL
    assert len(set(told[0][2][:5])) > 1


@pytest.mark.parametrize(("reply", "why"), [("3", "there is no plan 3, of 2"), ("0", "there is no plan 0")])
def test_a_number_that_is_on_no_list_is_flagged(reply: str, why: str) -> None:
    """A discriminator's reply is the number of a plan that is there; anything else is a flag."""
    task: Recursive[str, str] = Recursive(params(vote_plans="discriminator"))
    node = task.start()._replace(drafts=(TaskPlan(), task.read_plan(parts("a"))))
    kind = step(task, node).kind
    assert kind.role == "discriminator"
    told = kind.check(node, kind.parse(reply))
    assert told is not None
    assert why in told
    assert task.apply(node, kind.parse(" 2\n")).plan == node.drafts[1]
    with pytest.raises(ValueError, match="invalid literal"):
        kind.parse("the second")


# --- killed ---

LIVES = [Life(chains=7, groups=(1, 2), slice_steps=5, join_every=2, page=3, kill_after=9)] * 5


@pytest.mark.parametrize("chained", [False, True])
@pytest.mark.parametrize("vote_plans", ["canonical", "discriminator"])
def test_a_killed_tree_is_the_undisturbed_one(
    store: str, tmp_path: Path, chained: bool, vote_plans: Literal["canonical", "discriminator"]
) -> None:
    """Killed five times and resumed, all plans, votes and digests are those of a run that nobody disturbed."""
    drawn = {"proposals": 3} if vote_plans == "discriminator" else {}
    tables = job(store, truth=f"recursive_task:{'chained_' * chained}truth", vote_plans=vote_plans, **drawn)
    whole = log_of(store, api.run(tables))
    lives = tmp_path / "lives"
    lives.mkdir()
    assert_same(through(LIVES, lives, tables), whole)


# --- one's own words, types and rules ---


class Range(BaseModel):
    """The whole numbers from low to high."""

    low: int
    high: int


class Add(Recursive[Range, int]):
    """Adds a range of numbers: a typed problem, a typed answer, and a rule that each has."""

    name = "add"
    goals = PydanticCodec(Range)
    answers = PydanticCodec(int)
    words = GENERIC._replace(solver="Add up: {{goal}}\nAnswer: ")

    def check_plan(self, goal: Range, parts: Any, compose: str) -> str | None:
        """Let no part lie outside of the whole."""
        outside = [part for part in parts if part.low < goal.low or part.high > goal.high]
        return f"{outside[0].low} to {outside[0].high} is outside" if outside else None

    def check_answer(self, goal: Range, answer: int) -> str | None:
        """Let no sum be below 0."""
        return "below 0" if answer < 0 else None


def test_types_and_rules_of_ones_own() -> None:
    """Problems and answers of pydantic types are read strictly from replies, told canonically, and checked by type."""
    task = Add(params(problem='{"high": 9, "low": 0}'))
    node = task.start()
    assert node.goal == '{"high":9,"low":0}'
    good = '{"parts": [{"goal": {"low": 0, "high": 4}}, {"goal": {"low": 5, "high": 9}}], "compose": "add"}'
    assert proposed(task, node, good) is None
    assert proposed(task, node, good.replace('"high": 9', '"high": 10')) == "5 to 10 is outside"
    with pytest.raises(ValueError, match="low"):
        task.read_plan(good.replace('"low": 5', '"low": "five"'))
    child = task.apply(node, task.read_plan(good)).part(1)
    solve = step(task, task.apply(child, TaskPlan()))
    assert solve.prompt == 'Add up: {"high":9,"low":5}\nAnswer: '
    assert solve.kind.parse(" 35\n").text == "35"
    assert solve.kind.check(child, solve.kind.parse("-35")) == "below 0"
    with pytest.raises(ValueError, match="validation error for int"):
        solve.kind.parse("35 or so")


RIGHT = """
import json
import re

from maker.plugin import Truth


def truth(prompt):
    problem = json.loads(re.search(r"(?:Problem: |numbers of )({.*?})", prompt)[1])
    low, high = problem["low"], problem["high"]
    if not prompt.endswith("Plan: "):
        return Truth((str(sum(range(low, high + 1))),), (str(sum(range(low, high + 1)) + 1),))
    if high - low <= 3:
        return Truth(('{"atomic": true}',), ())
    middle = (low + high) // 2
    parts = [{"goal": {"low": low, "high": middle}}, {"goal": {"low": middle + 1, "high": high}}]
    return Truth((json.dumps({"parts": parts, "compose": "add"}),), ('{"atomic": true}',))
"""


def test_the_task_of_the_docs_runs(store: str, tmp_path: Path) -> None:
    """The file that docs/recursive.md shows is a task as it stands: it adds 64 numbers by halves, and verifies."""
    text = (Path(__file__).parents[3] / "docs" / "recursive.md").read_text()
    (code,) = re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    (tmp_path / "total.py").write_text(code)
    (tmp_path / "truth.py").write_text(RIGHT)
    tables = job(store)
    tables["task"] = {
        "decomposer": f"{tmp_path}/total.py:Total",
        "problem": '{"low": 1, "high": 64}',
        "truth": f"{tmp_path}/truth.py:truth",
    }
    report = api.run(tables)
    assert (report.status, report.result["answer"], report.result["plan"]["nodes"]) == ("done", 2080, 31)
    assert report.red_flags > 0
    assert queries.verify("last", store=store).problem == ""


@pytest.mark.parametrize("vote_plans", ["canonical", "discriminator"])
def test_a_decomposer_travels(vote_plans: str) -> None:
    """What a worker gets asks and reads as what was sent."""
    task = Add(params(problem='{"low": 0, "high": 3}', vote_plans=vote_plans))
    sent = pickle.loads(pickle.dumps(task))  # noqa: S301 - what was pickled the line before
    node = task.start()._replace(draft=True)
    assert step(sent, node).prompt == step(task, node).prompt
    assert [kind.name for kind in sent.classes] == [kind.name for kind in task.classes]


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"solver_prompt": "Answer."}, "solver: the prompt must contain {{goal}}"),
        ({"composer_prompt": "{{goal}} {{parts}}"}, "composer: the prompt must contain {{compose}}"),
        ({"decomposer_prompt": "{{goal}} {{sky}}"}, "decomposer: {{sky}} is unknown"),
        ({"level_bytes": 63}, "greater than or equal to 64"),
        ({"max_depth": 99}, "less than or equal to 98"),
    ],
)
def test_settings_that_cannot_be_are_refused(store: str, given: dict[str, Any], why: str) -> None:
    """Words that do not say what is asked, or name what is not there, and numbers out of range are refused by name."""
    with pytest.raises(JobError, match=re.escape(why)):
        api.run(job(store, **given))


def test_words_are_part_of_what_a_run_is(store: str) -> None:
    """A job with another word in a role's prompt is another task."""
    one, other = (api.load_job(job(store, solver_prompt=word + " {{goal}}\nAnswer: ")) for word in ("Say", "Tell"))
    assert run_fingerprint(one) != run_fingerprint(other)


def test_halves_are_what_the_tests_think() -> None:
    """The task of these tests proposes what can be read as a plan of two parts."""
    plan = Recursive(params()).read_plan(halves(0, 3, 1, chained=True))
    assert [(part.goal, part.needs) for part in plan.parts] == [("add 0 to 1", ()), ("add 2 to 3", (0,))]


@pytest.mark.parametrize("given", [{"proposals": 7}, {"discriminator_prompt": GENERIC.discriminator}])
def test_what_no_discriminator_reads_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="need vote_plans"):
        RecursiveParams.model_validate({"problem": "p"} | given)
    RecursiveParams.model_validate({"problem": "p", "proposals": 5})


# --- what is offered where only one form is legal ---


@pytest.mark.parametrize("words", [1, 2])
@pytest.mark.parametrize("depth", [0, 1, 2])
def test_the_prompt_at_the_last_level_offers_no_parts(words: int, depth: int) -> None:
    """Below it both forms are offered; in the first edition of the words they are there too."""
    task = Recursive(params(max_depth=2, words=words))
    node = task.start()
    for _ in range(depth):
        node = node.planned(TaskPlan((Part("a"), Part("b")), "join")).part(0)
    asks = step(task, node)
    assert '{"atomic": true}' in asks.prompt
    assert ('"parts"' in asks.prompt) == (words == 1 or depth < 2)
    assert asks.prompt.endswith(f"Problem: {node.goal}\nPlan: ")
    assert proposed(task, node, '{"atomic": true}') is None


def test_a_problem_that_is_a_text_is_one_in_the_schema() -> None:
    """A model that is held to the schema cannot make `null` a problem; other codecs may read any value."""
    schemas = [kind(params()).classes[0].schema for kind in (Recursive, Add)]
    told = {"parts": [{"goal": None}], "compose": "join"}
    assert [Draft202012Validator(schema).is_valid(told) for schema in schemas if schema is not None] == [False, True]


def test_words_of_ones_own_are_asked_at_every_level() -> None:
    """Who has other words for the decomposer may want plans in another form."""
    task = Recursive(params(max_depth=0, decomposer_prompt="Break up {{goal}}\n"))
    assert step(task, task.start()).prompt == "Break up p\n"
