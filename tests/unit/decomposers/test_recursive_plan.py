"""Plans: which replies are the same vote, which are none, and how they and nodes are written down."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from decomposers.recursive.context import Finding, Level
from decomposers.recursive.plan import (
    ATOMIC,
    Action,
    ActionCodec,
    Answer,
    Choice,
    Part,
    TaskPlan,
    digest,
    plan_schema,
    plan_schema_before,
    read_plan,
)
from decomposers.recursive.state import Concluded, Node, NodeCodec, TextCodec

TEXTS = st.text(min_size=1, max_size=20).filter(lambda text: bool(TextCodec().write(text)))


def goal(text: str) -> str:
    return TextCodec().read(text)


def key(reply: str) -> str:
    return ActionCodec().write(read_plan(reply, goal))


@st.composite
def plans(draw: st.DrawFn) -> TaskPlan:
    """Draw a plan in which no part needs itself, by way of whatever others."""
    order = draw(st.permutations(range(draw(st.integers(1, 6)))))
    needs = {n: tuple(sorted(draw(st.sets(st.sampled_from(order[:at]))))) if at else () for at, n in enumerate(order)}
    parts = tuple(Part(goal(draw(TEXTS)), needs[n]) for n in range(len(order)))
    return TaskPlan(parts, goal(draw(TEXTS)))


def reply(plan: TaskPlan, names: list[str], **layout: Any) -> str:
    parts = [{"goal": part.goal, "name": name, "needs": [names[need] for need in part.needs]}
             for part, name in zip(plan.parts, names, strict=True)]  # fmt: skip
    return json.dumps({"compose": plan.compose, "parts": parts}, **layout)


# --- which replies are the same vote ---


@given(plan=plans(), data=st.data())
def test_names_and_layout_are_no_part_of_a_vote(plan: TaskPlan, data: st.DataObject) -> None:
    """However its parts are called, its members ordered, blanks set and fences drawn, a plan is one vote."""
    count = len(plan.parts)
    names = data.draw(
        st.lists(st.from_regex(r"[a-z]{1,5}", fullmatch=True), min_size=count, max_size=count, unique=True)
    )
    told = reply(plan, names, indent=data.draw(st.sampled_from([None, 2])), sort_keys=data.draw(st.booleans()))
    around = data.draw(st.sampled_from(["{}", "Let me see.\n```json\n{}\n```\n", "  {}\n"]))
    assert read_plan(around.replace("{}", told), goal) == plan
    assert key(told) == key(reply(plan, [str(n) for n in range(count)]))


def test_plans_that_differ_are_different_votes() -> None:
    """Another goal, composition, order of parts, or need is another vote; a blank more or less is none."""
    one = {"parts": [{"name": "a", "goal": "x  y"}, {"name": "b", "goal": "z"}], "compose": "join"}
    same = {"parts": [{"goal": " x y"}, {"goal": "z\n"}], "compose": "join "}
    composed, decomposed = (
        key(json.dumps({"parts": [{"goal": word}], "compose": word})) for word in ("h\u00e4lften", "ha\u0308lften")
    )
    assert composed == decomposed
    others: list[Any] = [
        {"atomic": True},
        one | {"compose": "add"},
        one | {"parts": [*reversed(one["parts"])]},
        one | {"parts": [*one["parts"][:1]]},
        {"parts": [{"name": "a", "goal": "x y"}, {"goal": "z", "needs": ["a"]}], "compose": "join"},
    ]
    keys = [key(json.dumps(other)) for other in others]
    assert key(json.dumps(one)) == key(json.dumps(same))
    assert len({*keys, key(json.dumps(one))}) == 6


def test_goals_may_be_values() -> None:
    """A goal that is no text is read as the JSON that it is, by the codec of goals."""
    plan = read_plan('{"parts": [{"goal": {"b": 2.50, "a": [1]}}], "compose": "x"}', lambda text: f"<{text}>")
    assert plan.parts == (Part('<{"a":[1],"b":2.5}>'),)


# --- which are none ---

PART = '{"goal": "x"}'
BAD = {
    "no JSON": ("I would split it.", "no JSON object"),
    "two plans": ('{"atomic": true} or {"atomic": false, "compose": "x"}', "several objects"),
    "a list": (f"[{PART}]", "not an object"),
    "empty": ("{}", "the plan has no parts"),
    "no parts": ('{"parts": [], "compose": "add"}', "the plan has no parts"),
    "not atomic, and no parts": ('{"atomic": false}', "the plan has no parts"),
    "atomic with parts": (f'{{"atomic": true, "parts": [{PART}]}}', "atomic, but also has parts"),
    "no composition": (f'{{"parts": [{PART}]}}', "compose is missing"),
    "a blank composition": (f'{{"parts": [{PART}], "compose": " "}}', "compose is missing"),
    "a blank goal": ('{"parts": [{"goal": " "}], "compose": "x"}', "an empty text"),
    "no goal": ('{"parts": [{"name": "a"}], "compose": "x"}', r"parts\.0\.goal: Field required"),
    "another member": (f'{{"parts": [{PART}], "compose": "x", "tools": []}}', "tools"),
    "atomic as a text": ('{"atomic": "yes"}', "atomic: Input should be a valid boolean"),
    "one name twice": (
        '{"parts": [{"name": "a", "goal": "x"}, {"name": "a", "goal": "y"}], "compose": "x"}',
        "two parts have the name 'a'",
    ),
    "an unknown part": (
        '{"parts": [{"name": "a", "goal": "x", "needs": ["b"]}], "compose": "x"}',
        "needs 'b', but no part has that name",
    ),
    "itself": ('{"parts": [{"name": "a", "goal": "x", "needs": ["a"]}], "compose": "x"}', "'a' need each other in a"),
    "a circle": (
        '{"parts": [{"name": "a", "goal": "x", "needs": ["c"]}, {"name": "b", "goal": "y"}, '
        '{"name": "c", "goal": "z", "needs": ["b", "a"]}], "compose": "x"}',
        "'a', 'c' need each other in a circle",
    ),
}


@pytest.mark.parametrize(("told", "why"), BAD.values(), ids=BAD.keys())
def test_what_is_no_plan_is_said(told: str, why: str) -> None:
    """Each kind of bad reply is a ``ValueError`` that says what is wrong with it: a red flag, with that as detail."""
    with pytest.raises(ValueError, match=why):
        read_plan(told, goal)


@given(plan=plans())
def test_the_schema_lets_plans_through(plan: TaskPlan) -> None:
    """A server that holds replies to the schema lets every plan be said, and no composition that is not there."""
    told = json.loads(reply(plan, [str(n) for n in range(len(plan.parts))]))
    Draft202012Validator(plan_schema(())).validate(told)
    Draft202012Validator(plan_schema((plan.compose,))).validate(told)
    assert not Draft202012Validator(plan_schema((plan.compose + "!",))).is_valid(told)


# --- order ---


@given(plan=plans())
def test_every_part_gets_its_turn_after_its_needs(plan: TaskPlan) -> None:
    """Taken as they are ready, all parts are done, each once, and none before one that it needs."""
    done: set[int] = set()
    while ready := plan.ready(done):
        assert not done.intersection(ready)
        for number in ready:
            assert done.issuperset(plan.parts[number].needs)
        done.update(ready)
    assert done == set(range(len(plan.parts)))


# --- how they are written ---

ACTIONS = st.one_of(plans(), st.just(ATOMIC), st.builds(Choice, st.integers(1, 9)), st.builds(Answer, TEXTS))


@given(action=ACTIONS)
def test_an_action_is_read_as_it_was_written(action: Action) -> None:
    """Plans, choices and answers come back as they were."""
    codec = ActionCodec()
    assert codec.read(codec.write(action)) == action


@pytest.mark.parametrize(
    "text", ['{"answer": "x"}', "[]", '{"parts":[{}],"compose":"x"}', "{}", '{"atomic":false}', "?"]
)
def test_another_text_is_no_action(text: str) -> None:
    """What is not canonical, or nothing of this kind, is refused: a log that was edited does not pass for one."""
    with pytest.raises(ValueError, match=r"."):
        ActionCodec().read(text)


LEVELS = st.builds(Level, TEXTS, st.lists(st.builds(Finding, TEXTS, TEXTS), max_size=3).map(tuple))
CONCLUDED = st.builds(
    Concluded, TEXTS, TEXTS, st.integers(1, 99), st.lists(st.integers(0, 9999), max_size=4).map(tuple)
)
NODES = st.builds(
    Node,
    TEXTS,
    st.lists(LEVELS, max_size=3).map(tuple),
    st.booleans(),
    st.lists(plans() | st.just(ATOMIC), max_size=2).map(tuple),
    st.none() | plans() | st.just(ATOMIC),
    st.lists(st.none() | CONCLUDED, max_size=3).map(tuple),
    st.none() | TEXTS,
    st.integers(0, 9999),
)


@given(node=NODES)
def test_a_node_is_read_as_it_was_written(node: Node) -> None:
    """States come back as they were, and a new one is written in few characters."""
    codec = NodeCodec()
    assert codec.read(codec.write(node)) == node
    assert codec.write(Node("x")) == '["x"]'


@pytest.mark.parametrize("text", ['["x",[]]', "[]", '["x",[],false,[],null,[],null,0,1]', "3", "{"])
def test_another_text_is_no_node(text: str) -> None:
    """A text that is not what a node is written as is refused."""
    with pytest.raises(ValueError, match=r"."):
        NodeCodec().read(text)


def test_the_digest_is_of_plans_alone() -> None:
    """Another problem, plan, order or plan below is another digest; answers are not in it."""
    plan = TaskPlan((Part("b"), Part("c")), "add")
    told = [
        digest("a", plan, ["1", "2"]),
        digest("z", plan, ["1", "2"]),
        digest("a", plan._replace(compose="join"), ["1", "2"]),
        digest("a", plan, ["2", "1"]),
        digest("a", ATOMIC, []),
    ]
    assert len(set(told)) == len(told)
    leaf = Concluded("7", digest("b", ATOMIC, []), 1, (10,))
    node = Node("a").planned(plan)._replace(answer="14", done=(leaf, leaf))
    other = node._replace(answer="15", done=(leaf._replace(answer="8"), leaf))
    assert node.conclusion().plans == other.conclusion().plans


@pytest.mark.parametrize(
    "told",
    [
        {}, {"parts": []}, {"atomic": False}, {"parts": [], "compose": "add"}, {"parts": [{"goal": "a"}]},
        {"atomic": True, "parts": [{"goal": "a"}], "compose": "add"}, {"parts": [{"goal": "a"}], "compose": ""},
    ],
    ids=json.dumps,
)  # fmt: skip
def test_the_schema_lets_nothing_through_that_is_no_plan(told: dict[str, Any]) -> None:
    """A model that is held to it cannot say what would be flagged; the first edition let it."""
    with pytest.raises(ValueError):
        read_plan(json.dumps(told), goal)
    assert not Draft202012Validator(plan_schema(("add",))).is_valid(told)
    assert Draft202012Validator(plan_schema_before(("add",))).is_valid(told)
