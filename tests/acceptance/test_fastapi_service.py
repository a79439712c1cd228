"""The example of a web service: tickets in, events out, answers of people, and a restart in between."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

ROOT = Path(__file__).parents[2]
pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")
SERVE = """\
import sys
sys.path.insert(0, sys.argv[1])
import uvicorn
import app
uvicorn.run(app.app, fd=int(sys.argv[2]), log_level="warning", timeout_graceful_shutdown=5)
print("ray" in sys.modules, flush=True)
"""


@contextmanager
def served(folder: Path) -> Iterator[httpx.Client]:
    """Serve the example from a process in a folder; at the end it is asked to go, and has not loaded Ray."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        process = subprocess.Popen(
            [sys.executable, "-c", SERVE, str(ROOT / "examples" / "fastapi_service"), str(listener.fileno())],
            cwd=folder, env={"PYTHONPATH": str(ROOT), "PATH": ""}, pass_fds=[listener.fileno()],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{listener.getsockname()[1]}", timeout=60) as client:
                yield client
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=60)
        finally:
            process.kill()
    assert (out, process.returncode) == ("False\n", 0), err


def until(client: httpx.Client, run_id: str, status: str) -> dict[str, Any]:
    """Return a run's report once it has a status."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        report: dict[str, Any] = client.get(f"/tickets/{run_id}").json()
        if report["status"] == status:
            return report
        time.sleep(0.05)
    raise AssertionError(f"{report['status']}: {report['reason']}")


def test_a_ticket_is_answered_across_a_restart(tmp_path: Path) -> None:
    """It rests for approval; the process ends; the next one takes the answer, and sends. Wrong requests say why."""
    with served(tmp_path) as client:
        run_id = client.post("/tickets", json={"text": "The printer is on fire."}).json()
        assert until(client, run_id, "paused")["reason"] == "waits for approve"
        assert client.get(f"/tickets/{run_id}/events").status_code == 204
        assert client.get("/tickets/nobody").status_code == 404
        wrong = client.post(f"/tickets/{run_id}/answers", json={"name": "approve", "value": "perhaps", "by": "ann"})
        assert wrong.status_code == 422
        assert "takes no such answer" in wrong.json()["detail"]
    with served(tmp_path) as client:
        (wait,) = client.get("/waits").json()
        assert (wait["run_id"], wait["name"]) == (run_id, "approve")
        said = {"name": "approve", "value": True, "by": "ann"}
        assert client.post(f"/tickets/{run_id}/answers", json=said).status_code == 202
        result = until(client, run_id, "done")["result"]
        assert client.get("/waits").json() == []
        again = client.post(f"/tickets/{run_id}/answers", json=said)
        assert (again.status_code, client.get(f"/tickets/{run_id}").json()["resumes"]) == (422, 1)
    assert result["kind"] == "bug"
    assert json.loads((tmp_path / "outbox" / result["sent"]).read_text())["text"] == result["answer"]


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Return the example's module, with a store of its own and a model that takes its time."""
    import maker

    monkeypatch.syspath_prepend(str(ROOT / "examples" / "fastapi_service"))
    monkeypatch.chdir(tmp_path)
    module = __import__("app")
    monkeypatch.setattr(module, "MODEL", maker.simulated(p=0.95, latency_s=0.4))
    yield module
    del sys.modules["app"]


async def streamed(app: Any, run_id: str, *, leave: bool = False) -> list[str]:
    """Return the events that a client is sent; one that leaves hangs up at the first."""
    sent: list[str] = []
    gone = asyncio.Event()

    async def receive() -> dict[str, Any]:
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            assert dict(message["headers"])[b"content-type"].startswith(b"text/event-stream")
        elif message.get("body"):
            sent.append(message["body"].decode())
            if leave:
                gone.set()

    path = f"/tickets/{run_id}/events"
    await app.app(
        {
            "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1", "method": "GET",
            "scheme": "http", "path": path, "raw_path": path.encode(), "root_path": "", "query_string": b"",
            "headers": [], "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 2),
        },
        receive, send,
    )  # fmt: skip
    return sent


def test_events_are_streamed_and_who_hangs_up_leaves_nothing(app: Any) -> None:
    """One client stays to the end, one leaves at the first event: its request is over, and its queue gone."""

    async def work() -> tuple[list[str], list[str]]:
        async with app.lifespan(app.app):
            before = asyncio.all_tasks()
            run_id = await app.start("The printer is on fire.")
            await asyncio.sleep(0)
            service = app.app.state.service
            run = await service.get(run_id)
            stays = asyncio.create_task(streamed(app, run_id))
            left = await streamed(app, run_id, leave=True)
            assert not stays.done()
            assert len(run._hub._queues) == 1
            heard = await stays
            await asyncio.sleep(0)
            assert run._hub._queues == []
            assert service._handles == {}
            assert asyncio.all_tasks() <= before
            return left, heard

    left, heard = asyncio.run(work())
    assert heard[: len(left)] == left
    kinds = [event.partition("\n")[0] for event in heard]
    assert set(kinds[:-2]) == {"event: steps_decided"}
    assert kinds[-2] == "event: wait_begun"
    last = json.loads(heard[-1].removeprefix("event: run_ended\ndata: ").removesuffix("\n\n"))
    assert (last["status"], last["reason"]) == ("paused", "waits for approve")


def test_a_service_that_begins_goes_on_with_what_it_finds(app: Any) -> None:
    """The first one is closed in the middle of a run; what waits for a person is left to rest."""

    async def work() -> None:
        async with app.lifespan(app.app):
            run_id = await app.start("The printer is on fire.")
        assert app.app.state.service._handles == {}
        assert app.report(run_id)["reason"] == "stopped"
        for resumes in (1, 1):
            async with app.lifespan(app.app):
                while app.report(run_id)["reason"] != "waits for approve":
                    await asyncio.sleep(0.05)
            assert app.report(run_id)["resumes"] == resumes

    asyncio.run(asyncio.wait_for(work(), 60))
