"""Connectivity: walks and guesses against a search of the whole graph, wrong steps, prompts, and what is no graph."""

from __future__ import annotations

import itertools
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from walked import steps_of, walked

from decomposers.connect import Connect, ConnectParams
from decomposers.connect.graph import Graph, bridge_graph
from decomposers.connect.prompts import read_look, read_whole
from decomposers.connect.rules import Walk
from maker import api
from maker.lifecycle import queries
from maker.plugin import Done, Step

DEPTHS = st.integers(2, 13)
SEEDS = st.integers(0, 10**9)


def task(**values: Any) -> Connect:
    return Connect(ConnectParams(**values))


def reached(graph: Graph) -> set[str]:
    """Return the nodes that are connected with the start, found by joining sets: a second implementation."""
    sets = {node: {node} for edge in graph.edges for node in edge}
    for one, other in graph.edges:
        whole = sets[one] | sets[other]
        sets |= dict.fromkeys(whole, whole)
    return sets[graph.start]


# --- graphs ---


@given(DEPTHS, SEEDS)
def test_a_bridge_graph_has_one_target_at_its_depth(depth: int, seed: int) -> None:
    """Two parts of one shape, and one of the targets in the start's, just ``depth`` edges away."""
    graph = bridge_graph(depth, Random(seed))
    neighbours = graph.neighbours()
    assert len(graph.edges) == len(set(map(frozenset, graph.edges))) == 4 * depth - 2
    assert len(neighbours) == 4 * depth
    mine = reached(graph)
    assert len(mine) == 2 * depth
    (target,) = set(graph.targets) & mine
    layers = [{graph.start}]
    while target not in layers[-1]:
        layers.append({other for node in layers[-1] for other in neighbours[node]} - set().union(*layers))
    assert len(layers) == depth + 1
    degrees = [sorted(len(neighbours[node]) for node in part) for part in (mine, set(neighbours) - mine)]
    assert degrees[0] == degrees[1]


def test_graphs_of_a_seed_are_the_same_and_others_are_not() -> None:
    """Depth and seed name a graph, and either target comes first equally often, within 4 sigma."""
    graphs = [ConnectParams(depth=6, seed=seed).graph() for seed in range(1000)]
    assert graphs == [ConnectParams(depth=6, seed=seed).graph() for seed in range(1000)]
    assert len(set(graphs)) == 1000
    first = sum(graph.targets[0] in reached(graph) for graph in graphs)
    assert abs(first - 500) < 4 * 250**0.5


# --- walks and guesses ---


@given(DEPTHS, SEEDS)
def test_both_forms_find_the_target(depth: int, seed: int) -> None:
    """Right steps lead to the target that the start is connected with, and a right guess names it."""
    steps, guess = task(depth=depth, seed=seed), task(depth=depth, seed=seed, form="guess")
    (target,) = set(ConnectParams(depth=depth, seed=seed).graph().targets) & reached(steps.params.graph())
    walk = walked(steps)
    assert walk.end == Done({"target": target, "steps": len(walk.prompts)})
    assert walked(guess).end == Done({"target": target, "steps": 1})
    assert len(walk.prompts) == steps.expected_steps()
    assert depth <= len(walk.prompts) <= 4 * depth - 3
    assert guess.expected_steps() == 1


@given(DEPTHS, SEEDS)
def test_prompts_are_small(depth: int, seed: int) -> None:
    """A step shows 5 characters, whatever the depth; a guess all edges: 12 * depth - 2 characters."""
    assert set(map(len, walked(task(depth=depth, seed=seed)).prompts)) == {5}
    (whole,) = walked(task(depth=depth, seed=seed, form="guess")).prompts
    assert len(whole) == 12 * depth - 2
    assert read_whole(whole) == task(depth=depth, seed=seed).params.graph()


@given(st.integers(4, 12), st.floats(0.1, 0.6), SEEDS)
def test_walks_through_any_graph(nodes: int, share: float, seed: int) -> None:
    """With rings and dead ends, and targets that are connected or not: found if connected, else back at the start."""
    rng = Random(seed)
    pairs = ["".join(pair) for pair in itertools.combinations("abcdefghijkl"[:nodes], 2)]
    edges = [pair for pair in pairs if rng.random() < share]
    named = rng.sample("abcdefghijkl"[:nodes], 3)
    edges += ["Z" + node for node in named if not any(node in edge for edge in edges)][:3]
    connect = task(edges=edges, start=named[0], targets=named[1] + named[2])
    found = set(named[1:]) & reached(connect.params.graph())
    walk = walked(connect)
    assert walk.end.ok == bool(found)
    assert walk.end.result["target"] in (found or {None})
    assert len(walk.prompts) <= 2 * len(connect.params.edges or ())


def test_a_wrong_claim_is_a_wrong_answer() -> None:
    """No check looks whether a claim is true; the end is as sure as ever."""
    connect = task(edges="ab bc de", start="a", targets="ce")
    walk = walked(connect, lambda number, truth: "2")
    assert walk.end == Done({"target": "e", "steps": 1})
    guess = task(edges="ab bc de", start="a", targets="ce", form="guess")
    assert walked(guess, lambda number, truth: truth.wrong[0]).end.result["target"] == "e"


def test_who_passes_the_way_by_finds_nothing() -> None:
    """Back at the start the walk ends without a target, and says so."""
    connect = task(edges="ab bc cd ef", start="a", targets="df")
    walk = walked(connect, lambda number, truth: "-" if number == 2 else truth.right[0])
    assert walk.end.result == {"target": None, "steps": 3}
    assert not walk.end.ok
    assert walk.end.reason == "after 3 steps the walk was back at the start, with no way left: no target is found"


@given(DEPTHS, SEEDS, st.randoms(use_true_random=False))
def test_whatever_the_rules_allow_comes_to_an_end(depth: int, seed: int, rng: Any) -> None:
    """Of legal steps drawn at random every walk ends, with a target or without, ok only with one."""
    walk = walked(task(depth=depth, seed=seed), lambda number, truth: rng.choice([*truth.right, *truth.wrong]))
    assert walk.end.ok == (walk.end.result["target"] is not None)
    assert len(walk.prompts) == walk.end.result["steps"] <= 8 * depth - 4


def test_the_check_knows_where_the_walk_was_and_no_way() -> None:
    """No node is entered twice; to pass one by and to claim are always legal."""
    connect = task(edges="ab bc cd ef", start="a", targets="df")
    (kind,) = connect.classes
    at_b = Walk("ab", "ab", 0, 1)
    assert [step for step in "12+-" if kind.check(at_b, step) is None] == [*"12-"]
    assert kind.check(at_b, "+") == "the walk has been at a before"
    assert [step for step in "12+-" if kind.check(at_b._replace(looked=1), step) is None] == [*"12+-"]


def test_a_pilot_draws_steps() -> None:
    """A sample is of the right walk's steps; a guess has one."""
    connect = task(depth=12, seed=1)
    assert len(steps_of(connect, connect.sample(10, seed=1))) == 10
    assert len(connect.sample(100, seed=1)) == connect.expected_steps()
    assert task(depth=12, form="guess").sample(10, seed=1) == [task(depth=12).start()]


# --- prompts ---


def test_a_prompt_shows_targets_a_neighbour_and_whether_one_has_been_there() -> None:
    """Neighbours come in the order of the edges; after the last one the walk is back where there is another."""
    connect = task(edges="ab cb bd ce fg", start="a", targets="eg")
    walk = walked(connect)
    assert walk.prompts == ["eg+b=", "eg-a=", "eg+c=", "eg-b=", "eg+e="]
    assert [connect.oracle()(prompt).right for prompt in walk.prompts] == [["+"], ["-"], ["+"], ["-"], ["1"]]
    states = [connect.start()]
    for step in "+-+--":
        states.append(connect.apply(states[-1], step))
    assert states[1:4] == [Walk("ab", "ab", 0, 1), Walk("ab", "ab", 1, 2), Walk("abc", "abc", 0, 3)]
    assert states[4:] == [Walk("abc", "abc", 1, 4), Walk("ab", "abc", 2, 5)]
    guess = task(edges="ab cb bd ce fg", start="a", targets="eg", form="guess")
    assert walked(guess).prompts == ["aeg ab cb bd ce fg="]


@pytest.mark.parametrize("form", ["steps", "guess"])
def test_examples_are_prompts_of_the_task(form: Any) -> None:
    """The oracle knows every prompt, its replies are read as they are, and rivals are there."""
    connect = task(depth=2, form=form)
    (kind,), oracle = connect.classes, connect.oracle()
    for one in connect.examples():
        assert one.kind == kind.name and not one.whole
        prompts = [one.prompt(number) for number in range(300)]
        assert prompts == [one.prompt(number) for number in range(300)]
        assert one.prompt(one.size - 1)
        for prompt in prompts:
            right, wrong = oracle(prompt)
            assert len(right) == 1 and wrong and not {*right} & {*wrong}
            assert [kind.parse(reply) for reply in (*right, *wrong)] == [*right, *wrong]
            assert all(len(reply) < kind.max_tokens for reply in (*right, *wrong))
            if form == "guess":
                graph = read_whole(prompt)
                assert graph.targets[int(right[0]) - 1] in reached(graph)


def test_examples_hold_all_that_walks_ask() -> None:
    """Every kind of look of 300 walks at depth 12, wrong turns among them, is taught; other graphs than a job's."""

    def kind_of(prompt: str) -> tuple[bool, int]:
        look = read_look(prompt)
        return look.been, look.targets.find(look.node)

    rng = Random(1)
    asked = set()
    for seed in range(300):
        slips = [rng.random() < 0.1 for _ in range(1000)]
        reply = lambda number, truth: truth.wrong[0] if slips[number] else truth.right[0]  # noqa: B023, E731
        asked |= {kind_of(prompt) for prompt in walked(task(depth=12, seed=seed), reply).prompts}
    examples = task(depth=12).examples()
    assert asked <= {kind_of(one.prompt(number)) for one in examples for number in range(3000)}
    guesses = task(depth=2, form="guess").examples()
    taught = {one.prompt(number) for one in guesses for number in range(1000)}
    assert not taught & {walked(task(depth=2, seed=seed, form="guess")).prompts[0] for seed in range(1000)}


def test_all_looks_at_a_target_are_examined() -> None:
    """Each of two targets in any order, whether the walk has been there or not: a wrong claim ends a walk."""
    (exam,) = [one for one in task(depth=2).examples() if one.exam]
    looks = {read_look(exam.prompt(number)) for number in range(exam.size)}
    assert len(looks) == exam.size == 52 * 51 * 2 * 2
    assert all(look.node in look.targets for look in looks)


def test_both_forms_are_taught_the_same_graphs() -> None:
    """Set by set, number by number: the node that a step shows is one of the graph that a guess sees."""
    steps, guesses = task(depth=2).examples(), task(depth=2, form="guess").examples()
    for looks, wholes in zip(steps[:3], guesses, strict=True):
        for number in range(100):
            graph, look = read_whole(wholes.prompt(number)), read_look(looks.prompt(number))
            assert look.targets == graph.targets
            assert look.node in graph.neighbours()


@pytest.mark.parametrize("text", ["", "ab", "3", "é", "--", "+ 1", "back"])
def test_what_is_no_reply(text: str) -> None:
    """Anything but a claim, a plus or a minus is refused; of a guess all but a claim."""
    with pytest.raises(ValueError, match="not a step"):
        task(depth=2).classes[0].parse(text)
    with pytest.raises(ValueError, match="not a guess"):
        task(depth=2, form="guess").classes[0].parse(text or "a")
    english = task(depth=2, prompt="english").classes[0]
    assert english.parse(f"{text}\n +\n") == "+"
    assert "answer +" in english.system


@pytest.mark.parametrize(
    "prompt", ["", "kQ+X", "kQ=", "kQX=", "kQ+X kQ+c=", "kQ*X=", "akQ=", "akQ abc=", "akQ ab  cd="]
)
def test_what_is_no_prompt_has_no_truth(prompt: str) -> None:
    """The oracles refuse what is no prompt of theirs."""
    for form in ("steps", "guess"):
        with pytest.raises(ValueError, match=r"not the prompt of a (walk|guess)"):
            task(depth=2, form=form).oracle()(prompt)


def test_a_guess_has_no_truth_where_one_target_is_not_the_answer() -> None:
    """Connected with both or with neither, a simulated model cannot know what to say."""
    for edges, number in (("ab bc", 2), ("ad bc", 0)):
        oracle = task(edges=edges, start="a", targets="bc", form="guess").oracle()
        with pytest.raises(ValueError, match=f"connected to {number} of the targets"):
            oracle(f"abc {edges}=")


# --- parameters ---


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({}, "give depth for a random graph, or edges, start and targets for one of your own"),
        ({"depth": 2, "edges": "ab bc", "start": "a", "targets": "bc"}, "give depth"),
        ({"depth": 1}, "greater than or equal to 2"),
        ({"depth": 14}, "less than or equal to 13"),
        ({"depth": 2, "start": "a"}, "start and targets need edges"),
        ({"edges": "ab bc", "start": "a", "targets": "bc", "seed": 1}, "seed needs depth"),
        ({"edges": "ab bc"}, "start must be one letter and targets two, not '' and ''"),
        ({"edges": "ab bc", "start": "a", "targets": "b"}, "targets two"),
        ({"edges": "ab bc", "start": "a", "targets": "bb"}, "must be three different nodes"),
        ({"edges": "ab bc", "start": "a", "targets": "ab"}, "must be three different nodes"),
        ({"edges": "ab bc", "start": "a", "targets": "bd"}, "'d' is in no edge"),
        ({"edges": "", "start": "a", "targets": "bc"}, "'a' is in no edge"),
        ({"edges": "aa bc", "start": "a", "targets": "bc"}, "'aa' is not an edge: write two different letters"),
        ({"edges": "abc"}, "'abc' is not an edge"),
        ({"edges": "a1"}, "'a1' is not an edge"),
        ({"edges": ["äb"]}, "'äb' is not an edge"),
        ({"edges": [["a", "b"]]}, "is not an edge"),
        ({"edges": 7}, "edges must be a list, or a text"),
        ({"edges": {"ab": 1}}, "edges must be a list, or a text"),
        ({"edges": [a + b for a, b in itertools.combinations("abcdefghijklmno", 2)]}, "there are 105 edges"),
        ({"depth": 2, "form": "jump"}, "steps"),
        ({"depth": 2, "edge": "ab"}, "edge"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_bad_parameters(values: dict[str, Any], why: str) -> None:
    """A graph is drawn or given, of pairs of letters, with three nodes named; messages say what is allowed."""
    with pytest.raises(ValidationError, match=why):
        ConnectParams(**values)


def test_an_edge_twice_is_one() -> None:
    """In either direction; the first one stays."""
    assert ConnectParams(edges=["ab", "cb", "ba", "ab"], start="a", targets="bc").edges == ("ab", "cb")


# --- runs ---


def job(store: str, **tables: Any) -> dict[str, dict[str, Any]]:
    base: dict[str, dict[str, Any]] = {
        "task": {"decomposer": "decomposers.connect:Connect"},
        "model": {"kind": "simulated", "p": 0.9},
        "vote": {"k": 5},
        "store": {"url": store},
    }
    return base | {name: base.get(name, {}) | table for name, table in tables.items()}


def test_votes_make_walks_right(store: str) -> None:
    """At p = .9 ten walks at depth 12 are right with k = 5, and not all are without votes; each run verifies."""
    print("graph and run seeds 0 to 9")
    alone = 0
    for seed in range(10):
        graph = {"depth": 12, "seed": seed}
        (target,) = set(ConnectParams(**graph).graph().targets) & reached(ConnectParams(**graph).graph())
        voted = api.run(job(store, task=graph, run={"seed": seed}))
        assert (voted.status, voted.result["target"]) == ("done", target)
        assert queries.verify(voted.run_id, store=store).right
        report = api.run(job(store, task=graph, run={"seed": seed}, vote={"k": 1}))
        assert queries.verify(report.run_id, store=store).problem == ""
        alone += report.status == "done" and report.result["target"] == target
    assert alone < 10


def test_a_given_graph_runs(store: str) -> None:
    """Edges, start and targets of a job; the run says where it led, and a resume asks of the same graph."""
    graph = {"edges": "ab bc cd ef", "start": "a", "targets": "df"}
    report = api.run(job(store, task=graph), limit_steps=1)
    report = api.resume(report.run_id, store=store)
    assert (report.status, report.result) == ("done", {"target": "d", "steps": 5})
    connect = task(**graph)
    assert isinstance(connect.next(connect.start()), Step)
