"""DBOS picks a killed workflow up: the time from the end of its imports to the first new step that is stored.

``start DATABASE`` runs steps until it is killed, and says how far it is. ``resume DATABASE`` goes on for one step, and
prints how long that took.
"""

from __future__ import annotations

import argparse
import json
import os
import threading
import time
from pathlib import Path

from benchmarks.shared.yardsticks.dbos_loop import launch
from benchmarks.shared.yardsticks.outcome import SEED
from benchmarks.shared.yardsticks.vote import elect

ENDLESS = 10**9
GIVE_UP_S = 300.0
TELL_STEPS = 100


def register(resumed: threading.Event | None) -> object:
    """Register the workflow; it tells its steps, or sets ``resumed`` when its first new one is stored."""
    from dbos import DBOS

    fresh: list[int] = []

    @DBOS.step()
    def decide(index: int) -> tuple[str, int]:
        fresh.append(index)
        return elect(SEED, index)

    @DBOS.workflow()
    def chain(steps: int) -> int:
        for index in range(steps):
            decide(index)
            if resumed is not None and fresh:
                resumed.set()
                time.sleep(GIVE_UP_S)
            elif resumed is None and index % TELL_STEPS == 0:
                print(json.dumps({"done": index + 1}), flush=True)
        return steps

    return chain


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", choices=["start", "resume"])
    parser.add_argument("database", type=Path)
    options = parser.parse_args()
    if options.what == "start":
        chain = register(None)
        launch(options.database)
        chain(ENDLESS)  # type: ignore[operator]
        return
    resumed = threading.Event()
    register(resumed)
    began = time.perf_counter()
    launch(options.database)
    done = resumed.wait(GIVE_UP_S)
    print(json.dumps({"seconds": time.perf_counter() - began} if done else {}), flush=True)
    # The workflow sleeps in a thread of DBOS, which would keep the process for as long.
    os._exit(0 if done else 1)


if __name__ == "__main__":
    main()
