"""maker in a script: run a job, look at the result, go on with it if it was cut off.

python examples/embed_script.py
"""

from __future__ import annotations

import maker

STORE = "sqlite:///embed.db"


def main() -> None:
    """Solve 8 disks with a simulated model in two sittings, and verify the log."""
    job = {
        "task": {"decomposer": "hanoi", "disks": 8},
        "model": {"kind": "simulated", "p": 0.97},
        "vote": {"k": 4},
        "store": {"url": STORE},
    }
    report = maker.run(job, limit_steps=100)
    print(f"{report.run_id} is {report.status} after {report.steps} steps")

    report = maker.resume(report.run_id, store=STORE)
    print(f"{report.run_id} is {report.status}: {report.result}, {report.calls} calls")

    for step in maker.steps(report.run_id, store=STORE, disputed=True):
        print(f"step {step.step} was repaired: {step.votes}")
    print("verified:", maker.verify(report.run_id, store=STORE).right)


if __name__ == "__main__":
    main()
