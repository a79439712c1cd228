"""Works on a cluster whose nodes cannot import maker, with a key that the nodes have. Prints one line of JSON.

    python carry.py FOLDER

What stands in FOLDER comes first for every Python of the cluster.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import ray
from ray.cluster_utils import Cluster
from ray.exceptions import RayError

import maker
from maker.errors import MakerError
from maker.testing import FakeServer, completion

KEY = "sk-a-key-that-is-nowhere"
PASSWORD = "a-password-that-is-nowhere"  # noqa: S105 - looked for, not used


TASK = """
from decomposers.function import Done, Truth, ask, task


@task(state=int, action=int)
def count(state: int):
    return Done(state) if state >= 20 else ask(f"{state} + 1 = ")


@count.start
def _start() -> int:
    return 0


@count.apply
def _apply(state: int, action: int) -> int:
    return state + 1


@count.oracle
def _oracle(prompt: str) -> Truth:
    number = int(prompt.split()[0])
    return Truth((str(number + 1),), (str(number + 2),))
"""


def main() -> None:
    Path("count.py").write_text(TASK)
    os.environ["PYTHONPATH"], os.environ["FIRST_KEY"] = sys.argv[1], KEY
    head = {"num_cpus": 2, "object_store_memory": 80_000_000, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    os.environ["SECOND_KEY"] = KEY
    store = f"sqlite:///{PASSWORD}.db"
    found: dict[str, Any] = {"alone": alone(cluster.address)}
    simulated = {"kind": "simulated", "p": 0.9}
    found["digests"] = [work(simulated, store, address).digest for address in ("", cluster.address)]
    with FakeServer(answer) as server:
        model = {"kind": "openai", "url": server.url, "name": "one", "chat": False, "key_env": "FIRST_KEY"}
        found["answered"] = work(model, store, cluster.address).steps
        keys = {request.headers["authorization"] for request in server.requests}
        assert keys == {f"Bearer {KEY}"}, keys
        try:
            work(model | {"key_env": "SECOND_KEY"}, store, cluster.address)
        except MakerError as error:
            found["no_key"] = f"{error.message}; {error.fix}"
    session = Path(cluster.head_node.get_session_dir_path())
    files = [file for file in session.rglob("*") if file.is_file()]
    assert any(file.name == "voters.py" or "py_modules" in str(file) for file in files), "nothing was looked at"
    secrets = (KEY.encode(), PASSWORD.encode())
    found["with_key"] = [str(file) for file in files if any(one in file.read_bytes() for one in secrets)]
    cluster.shutdown()
    print(json.dumps(found))


def alone(address: str) -> str:
    """Return what a worker says that is sent nothing."""
    ray.init(address=address, log_to_driver=False, configure_logging=False)
    try:
        return str(ray.get(ray.remote(lambda: __import__("maker").__file__).remote()))
    except RayError as error:
        return str(error)
    finally:
        ray.shutdown()


def work(model: dict[str, Any], store: str, address: str) -> Any:
    """Run the task, on the cluster at an address or in this process."""
    job = {
        "task": {"decomposer": "count.py:count"},
        "model": model,
        "vote": {"k": 2},
        "store": {"url": store},
        "swarm": {"kind": "ray", "address": address} if address else {"kind": "local"},
    }
    report = maker.run(job)
    assert report.status == "done", report
    return report


def answer(body: Any) -> Any:
    """Count on, as often as is asked for."""
    number = int(body["prompt"].split()[0])
    return 200, completion([str(number + 1)] * body.get("n", 1))


if __name__ == "__main__":
    main()
