"""LangGraph: a StateGraph whose only node decides a step and goes back to itself, with the SQLite checkpointer.

``durability="sync"``: every step's checkpoint is committed before the next step starts. The state holds the step's
number and the last move only, the form that suits it best: whatever else the state holds is written at every step.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypedDict

from benchmarks.shared.yardsticks.database import settings
from benchmarks.shared.yardsticks.outcome import SEED, Laps, Loop, arguments, measure
from benchmarks.shared.yardsticks.vote import elect


class State(TypedDict):
    """Where the chain stands."""

    index: int
    action: str
    votes: int


def run(database: Path, steps: int, synchronous: str | None) -> tuple[Loop, Callable[[], None]]:
    """Decide and store so many steps; without ``synchronous``, as durable as the checkpointer is by itself."""
    from langgraph.checkpoint.sqlite import SqliteSaver
    from langgraph.graph import END, START, StateGraph

    def decide(state: State) -> State:
        laps.note(state["index"])
        action, votes = elect(SEED, state["index"])
        return {"index": state["index"] + 1, "action": action, "votes": votes}

    connection = sqlite3.connect(database, check_same_thread=False)
    saver = SqliteSaver(connection)
    saver.setup()
    if synchronous:
        connection.execute(f"PRAGMA synchronous = {synchronous}")
    graph = StateGraph(State)
    graph.add_node("decide", decide)
    graph.add_edge(START, "decide")
    graph.add_conditional_edges("decide", lambda state: END if state["index"] >= steps else "decide")
    compiled: Any = graph.compile(checkpointer=saver)
    config = {"configurable": {"thread_id": "chain"}, "recursion_limit": steps + 10}
    laps = Laps(steps)
    compiled.invoke({"index": 0, "action": "", "votes": 0}, config, durability="sync")
    laps.note(steps)
    used = settings(lambda pragma: connection.execute(pragma).fetchone()[0])
    return laps.loop(*used), connection.close


def main() -> None:
    """Measure and print."""
    parser = arguments(__doc__)
    parser.add_argument("--synchronous", choices=["NORMAL", "FULL"], help="the checkpointer's own by default")
    options = parser.parse_args()
    measure(options.folder, options.steps, lambda database: run(database, options.steps, options.synchronous))


if __name__ == "__main__":
    main()
