"""maker in an async service: start runs, watch what they commit, pause one and go on with it.

python examples/embed_service.py
"""

from __future__ import annotations

import asyncio

import maker
from maker.lifecycle.events import StepsDecided

JOB = {
    "task": {"decomposer": "hanoi", "disks": 8},
    "model": {"kind": "simulated", "p": 0.97, "latency_s": 0.002},
    "vote": {"k": 4},
}


async def watch(run: maker.RunHandle) -> None:
    """Print what is committed, as it is."""
    async for event in run.events():
        if isinstance(event, StepsDecided):
            for step in event.records():
                if len(step.votes) > 1:
                    print(f"{run.run_id} step {step.step}: {step.votes}")


async def main() -> None:
    """Work on two runs at once."""
    async with maker.Service(store="sqlite:///embed.db") as service:
        first = await service.start(JOB)
        second = await service.start(JOB, ["run.seed=1"])
        watching = asyncio.create_task(watch(first))

        paused = await second.stop()
        print(f"{paused.run_id} is {paused.status} after {paused.steps} steps")
        second = await service.resume(paused.run_id)

        for run in (first, second):
            report = await run.result()
            print(f"{report.run_id} is {report.status}: {report.result}")
        await watching


if __name__ == "__main__":
    asyncio.run(main())
