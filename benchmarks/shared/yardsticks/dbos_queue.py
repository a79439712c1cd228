"""DBOS's own queue on PostgreSQL: workflows of so many durable steps, put in by one process, worked on by others.

python -m benchmarks.shared.yardsticks.dbos_queue --url URL --enqueue 1000 --steps 50
python -m benchmarks.shared.yardsticks.dbos_queue --url URL --concurrency 4
"""

from __future__ import annotations

import argparse
import signal
import threading
from typing import Any

from benchmarks.shared.yardsticks.outcome import SEED
from benchmarks.shared.yardsticks.vote import elect

QUEUE = "yardstick"
POLL_S = 0.1


def launched(url: str, queues: list[str]) -> Any:
    """Start DBOS on a PostgreSQL database, quietly, with no server; returns its class. Raises ``ImportError``."""
    from dbos import DBOS

    DBOS(
        config={
            "name": "yardstick",
            "system_database_url": url.replace("postgresql://", "postgresql+psycopg://"),
            "application_version": "1",
            "run_admin_server": False,
            "log_level": "ERROR",
        }
    )
    DBOS.listen_queues(queues)
    DBOS.launch()
    return DBOS


def main() -> None:
    """Put workflows into the queue; or work on it until SIGTERM."""
    from dbos import DBOS

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True)
    parser.add_argument("--enqueue", type=int, metavar="WORKFLOWS")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--concurrency", type=int, default=4, help="workflows at a time")
    options = parser.parse_args()

    @DBOS.step()
    def decide(index: int) -> tuple[str, int]:
        return elect(SEED, index)

    @DBOS.workflow()
    def chain(steps: int) -> int:
        for index in range(steps):
            decide(index)
        return steps

    if options.enqueue:
        dbos = launched(options.url, [])
        dbos.register_queue(QUEUE, worker_concurrency=options.concurrency, polling_interval_sec=POLL_S)
        for _ in range(options.enqueue):
            dbos.enqueue_workflow(QUEUE, chain, options.steps)
        dbos.destroy(workflow_completion_timeout_sec=0)
        return
    over = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: over.set())
    dbos = launched(options.url, [QUEUE])
    over.wait()
    dbos.destroy(workflow_completion_timeout_sec=0)


if __name__ == "__main__":
    main()
