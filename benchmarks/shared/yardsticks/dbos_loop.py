"""DBOS: a workflow of so many durable steps, with a SQLite system database.

Its own settings commit with a rollback journal. ``--journal wal`` makes the file one with write-ahead logging before
DBOS opens it, which SQLite then keeps: the same journal, and the same number of flushes a commit, as maker's.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from benchmarks.shared.yardsticks.database import settings
from benchmarks.shared.yardsticks.outcome import SEED, Laps, Loop, arguments, measure
from benchmarks.shared.yardsticks.vote import elect


def launch(database: Path) -> Any:
    """Start DBOS on a database, quietly, with no server; returns its class. Raises ``ImportError`` without it."""
    from dbos import DBOS

    DBOS(
        config={
            "name": "yardstick",
            "system_database_url": f"sqlite:///{database}",
            "run_admin_server": False,
            "log_level": "ERROR",
        }
    )
    DBOS.launch()
    return DBOS


def durable(decided: Callable[[int], None]) -> Callable[[int], int]:
    """Return the workflow: it decides so many steps, and tells ``decided`` of each that is stored."""
    from dbos import DBOS

    @DBOS.step()
    def decide(index: int) -> tuple[str, int]:
        return elect(SEED, index)

    @DBOS.workflow()
    def chain(steps: int) -> int:
        for index in range(steps):
            decide(index)
            decided(index + 1)
        return steps

    workflow: Callable[[int], int] = chain
    return workflow


def listen(synchronous: str) -> None:
    """Set ``synchronous`` on every connection that SQLAlchemy opens in this process."""
    from sqlalchemy import Engine, event

    @event.listens_for(Engine, "connect")
    def _on_connect(connection: Any, _record: object) -> None:
        connection.execute(f"PRAGMA synchronous = {synchronous}")


def run(database: Path, steps: int, journal: str | None, synchronous: str | None) -> tuple[Loop, Callable[[], None]]:
    """Decide and store so many steps; what is None stays as DBOS has it."""
    if journal:
        with closing(sqlite3.connect(database)) as connection:
            connection.execute(f"PRAGMA journal_mode = {journal}")
    if synchronous:
        listen(synchronous)
    laps = Laps(steps)
    chain = durable(laps.note)
    dbos = launch(database)
    laps.start()
    chain(steps)
    return laps.loop(*_used()), lambda: dbos.destroy(workflow_completion_timeout_sec=0)


def _used() -> tuple[str, str]:
    # DBOS has no public way to its connections, and `synchronous` is not kept in the file: only they know it.
    from dbos._dbos import _get_dbos_instance

    with _get_dbos_instance()._sys_db.engine.connect() as connection:
        return settings(lambda pragma: connection.exec_driver_sql(pragma).scalar())


def main() -> None:
    """Measure and print."""
    parser = arguments(__doc__)
    parser.add_argument("--journal", choices=["wal"], help="DBOS's own by default")
    parser.add_argument("--synchronous", choices=["NORMAL", "FULL"], help="DBOS's own by default")
    options = parser.parse_args()
    measure(
        options.folder,
        options.steps,
        lambda database: run(database, options.steps, options.journal, options.synchronous),
    )


if __name__ == "__main__":
    main()
