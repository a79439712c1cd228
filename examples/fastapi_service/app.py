"""The ticket workflow as a web service: tickets come in by HTTP, clients follow them, and people answer.

    pip install fastapi uvicorn
    uvicorn --app-dir examples/fastapi_service --timeout-graceful-shutdown 5 app:app

End it and start it again: it goes on with what it was working on. A run that waits for a person goes on when answered.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Annotated, Any

from fastapi import Body, FastAPI, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel

import maker
from maker.errors import BadInput, RunHeld, RunNotFound

sys.path.append(str(Path(__file__).parents[1] / "ticket"))
import ticket

STORE = "sqlite:///tickets.db"
MODEL = maker.simulated(p=0.95)  # yours: maker.openai(url=…, name=…)


class Answer(BaseModel):
    """What a person says to a wait."""

    name: str
    value: Any
    by: str


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Open the service; at the end, pause what still runs."""
    async with asyncio.TaskGroup() as tasks, maker.Service(store=STORE) as service:
        app.state.service = service
        tasks.create_task(catch_up())
        yield


app = FastAPI(lifespan=lifespan)


async def catch_up() -> None:
    """Go on with what an earlier process has left. What is wrong with the store, requests are told."""
    with suppress(maker.MakerError):
        waiting = {wait.run_id for wait in await app.state.service.waits()}
        for left in await asyncio.to_thread(maker.runs, store=STORE, status="paused"):
            if left.run_id not in waiting:
                with suppress(maker.MakerError):
                    await go_on(left.run_id)


async def go_on(run_id: str) -> None:
    """Work on a run that rests. One that is in work takes up answers by itself."""
    with suppress(RunHeld):
        await app.state.service.resume(run_id)


@app.post("/tickets", status_code=202)
async def start(text: Annotated[str, Body(embed=True)]) -> str:
    """Start a run, and return its id."""
    run: maker.RunHandle = await app.state.service.start(ticket.ticket(text), model=MODEL, k=3)
    return run.run_id


@app.get("/tickets/{run_id}")
def report(run_id: str) -> dict[str, Any]:
    """Say how a run stands."""
    return maker.show(run_id, store=STORE).to_json()


@app.get("/tickets/{run_id}/events")
async def events(run_id: str) -> Response:
    """Stream what is committed from now on, until the run rests; 204 tells a browser not to ask again."""
    run: maker.RunHandle = await app.state.service.get(run_id)
    if (await run.report()).status not in ("pending", "running"):
        return Response(status_code=204)
    return StreamingResponse(told(run), media_type="text/event-stream")


async def told(run: maker.RunHandle) -> AsyncIterator[str]:
    """Yield a run's events in the form of server-sent ones."""
    async for event in run.events():
        yield f"event: {event.kind}\ndata: {json.dumps(event.to_json())}\n\n"


@app.get("/waits")
async def waits() -> list[dict[str, Any]]:
    """Return what people are asked, oldest first."""
    return [wait.to_json() for wait in await app.state.service.waits()]


@app.post("/tickets/{run_id}/answers", status_code=202)
async def answer(run_id: str, said: Answer) -> None:
    """Take a person's answer, and go on with the run."""
    await app.state.service.answer(run_id, said.name, said.value, by=said.by)
    await go_on(run_id)


@app.exception_handler(maker.MakerError)
async def refuse(_request: Request, error: Exception) -> JSONResponse:
    """Say what was wrong with a request, and what to do."""
    status = 404 if isinstance(error, RunNotFound) else 422 if isinstance(error, BadInput) else 500
    return JSONResponse({"detail": str(error)}, status)
