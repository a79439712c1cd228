"""A bare loop: decide, and store in one SQLite table with SQLAlchemy, so many steps a transaction.

What a careful programmer would write in an afternoon: write-ahead logging, ``synchronous = FULL``, executemany.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from sqlalchemy import Column, Connection, Engine, Integer, MetaData, Table, Text, create_engine, event, insert

from benchmarks.shared.yardsticks.database import settings
from benchmarks.shared.yardsticks.outcome import SEED, Laps, Loop, arguments, measure
from benchmarks.shared.yardsticks.vote import elect

metadata = MetaData()
step = Table(
    "step",
    metadata,
    Column("idx", Integer, primary_key=True),
    Column("action", Text, nullable=False),
    Column("votes", Integer, nullable=False),
)


def run(database: Path, steps: int, group: int) -> tuple[Loop, Callable[[], None]]:
    """Decide and store so many steps, ``group`` in a transaction."""
    engine = _engine(database)
    metadata.create_all(engine)
    laps = Laps(steps)
    with engine.connect() as connection:
        for first in range(0, steps, group):
            last = min(first + group, steps)
            _store(connection, [(index, *elect(SEED, index)) for index in range(first, last)])
            laps.note(last)
        used = settings(lambda pragma: connection.exec_driver_sql(pragma).scalar())
        took = laps.loop(*used)
    return took, engine.dispose


def _store(connection: Connection, rows: list[tuple[int, str, int]]) -> None:
    with connection.begin():
        connection.execute(insert(step), [{"idx": i, "action": action, "votes": votes} for i, action, votes in rows])


def _engine(database: Path) -> Engine:
    engine = create_engine(f"sqlite:///{database}")

    @event.listens_for(engine, "connect")
    def _on_connect(connection: object, _record: object) -> None:
        connection.execute("PRAGMA journal_mode = WAL")  # type: ignore[attr-defined]
        connection.execute("PRAGMA synchronous = FULL")  # type: ignore[attr-defined]

    return engine


def main() -> None:
    """Measure and print."""
    parser = arguments(__doc__)
    parser.add_argument("--group", type=int, default=1000, help="steps a transaction")
    options = parser.parse_args()
    measure(options.folder, options.steps, lambda database: run(database, options.steps, options.group))


if __name__ == "__main__":
    main()
