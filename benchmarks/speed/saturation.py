"""How much of a raw vLLM engine's throughput a run keeps: samples a second, with the same requests.

maker works on one run of many chains (the Towers of Hanoi, form = "tree") with the real microagent; every request that
it makes is noted. Then a raw LLMEngine in a process of its own gets all the same requests at once, with the same
prompts, n, seeds, dtype and detokenising, and steps until they are done: it never waits for an election. It does so
with three settings of how many sequences it holds at once, and the fastest counts. The two sides take turns.

With --form map the run is a map, of which every row is one of the tower's positions: the same questions, none of which
waits for another.

    python -m benchmarks.speed.saturation [--form map] [--disks 13] [--segment 5] [--chains 256] [--rounds 3]
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import maker
from benchmarks.shared.checkout import HANOI_MODEL, environment, program
from benchmarks.shared.comparing import Goal, number, print_goals, table
from benchmarks.shared.options import make_parser, read_options
from maker.types import Failed, Finished, Request

SEQUENCES = (128, 256, 1024)
FLOOR = 300.0
"""Samples a second that the fastest raw engine must reach: a tenth of what it does on two modest cores. Below that
something else holds it back, and a share of it says nothing."""


def main() -> int:
    """Measure both sides in turn; 1 where the yardstick is implausibly slow."""
    parser = make_parser(__doc__)
    parser.add_argument("--form", choices=["chains", "map"], default="chains")
    parser.add_argument("--disks", type=int, default=13)
    parser.add_argument("--segment", type=int, default=5, help="disks of a segment: 2^(disks - segment) chains in all")
    parser.add_argument("--chains", type=int, default=256, help="chains in work at a time")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--raw", type=int, nargs="+", default=SEQUENCES, help="how many sequences the raw engine holds at once"
    )
    parser.add_argument("--eager", action="store_true", help="do not compile the model: ready sooner, slower steps")
    parser.add_argument("--part", choices=["maker", "raw"], help=argparse.SUPPRESS)
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--sequences", type=int, help=argparse.SUPPRESS)
    options = read_options(parser, needs=["vllm"], disks=5, segment=3, chains=4, rounds=1, raw=[128], eager=True)
    if options.part:
        print(json.dumps(maker_part(options) if options.part == "maker" else raw_part(options)))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        return compare(options, Path(folder) / "requests.jsonl")


def compare(options: argparse.Namespace, file: Path) -> int:
    """Run both sides ``rounds`` times, print medians and the share that maker keeps."""
    ours: list[float] = []
    raw: dict[int, list[float]] = {n: [] for n in options.raw}
    for _ in range(options.rounds):
        ours.append(part(options, "maker", file))
        for sequences, found in raw.items():
            found.append(part(options, "raw", file, "--sequences", str(sequences)))
    fastest = max(statistics.median(found) for found in raw.values())
    rows = [(f"maker, {options.form}", str(options.chains), number(statistics.median(ours)))]
    rows += [
        (f"raw engine, {n} sequences", "all at once", number(statistics.median(found))) for n, found in raw.items()
    ]
    table("samples a second (medians)", ("", "chains in work", "samples/s"), rows)
    share = statistics.median(ours) / fastest
    print_goals([Goal("maker / fastest raw engine", 0.9, share, "x")], options)
    if fastest < FLOOR and not options.smoke:
        print(
            f"\nthis run proves nothing: the raw engine reached {fastest:.0f} samples/s, and {FLOOR:.0f} is its floor"
        )
        return 1
    return 0


def part(options: argparse.Namespace, name: str, file: Path, *words: str) -> float:
    """Run one side in a process of its own; returns its samples a second."""
    named = ("disks", "segment", "chains", "form")
    shape = [word for one in named for word in (f"--{one}", str(getattr(options, one)))]
    shape += ["--eager"] if options.eager else []
    line = program("speed.saturation", *shape, "--part", name, "--file", str(file), *words)
    done = subprocess.run(line, env=environment(), stdout=subprocess.PIPE, check=True)
    found: dict[str, float] = json.loads(done.stdout.decode().splitlines()[-1])
    print(f"{name} {' '.join(words)}: {found['samples']:,} samples in {found['seconds']:.1f} s", file=sys.stderr)
    return found["samples"] / found["seconds"]


def maker_part(options: argparse.Namespace) -> dict[str, float]:
    """Work on the run, and note its requests; the time is from the first request to the last reply."""
    from maker.models.vllm import VllmModel

    submit, poll = VllmModel.submit, VllmModel.poll
    noted: list[Request] = []
    times: list[float] = []

    def noting_submit(model: VllmModel, requests: Iterable[Request]) -> None:
        asked = list(requests)
        noted.extend(asked)
        times.append(time.perf_counter())
        submit(model, asked)

    def noting_poll(model: VllmModel, wait_s: float) -> list[Finished | Failed]:
        replies = poll(model, wait_s)
        times[1:] = [time.perf_counter()]
        return replies

    VllmModel.submit, VllmModel.poll = noting_submit, noting_poll  # type: ignore[assignment, method-assign]
    with tempfile.TemporaryDirectory() as folder:
        report = maker.run(
            {
                "task": map_task(options, Path(folder)) if options.form == "map" else tree_task(options),
                "model": {"kind": "vllm", "path": str(HANOI_MODEL), "compile": not options.eager},
                "vote": {"k": 4},
                "swarm": {"kind": "local", "chains": options.chains},
                "store": {"url": f"sqlite:///{folder}/saturation.db"},
            }
        )
    lines = [json.dumps([one.system + one.prompt, one.n, one.seed, one.max_tokens, list(one.stop)]) for one in noted]
    options.file.write_text("\n".join(lines))
    return {"samples": report.calls, "seconds": times[-1] - times[0]}


def tree_task(options: argparse.Namespace) -> dict[str, Any]:
    """Return the task of a tower whose segments are chains."""
    return {"decomposer": "hanoi", "disks": options.disks, "form": "tree", "segment": options.segment}


def map_task(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Write every position of the tower on its way as a row; returns the task that asks each for its move."""
    from decomposers.hanoi import Hanoi, HanoiParams
    from maker.plugin import Step

    task = Hanoi(HanoiParams(disks=options.disks))
    truth, state = task.oracle(), task.start()
    with (folder / "positions.jsonl").open("w") as file:
        while isinstance(step := task.next(state), Step):
            file.write(json.dumps({"position": step.prompt}) + "\n")
            state = task.apply(state, step.kind.parse(truth(step.prompt).right[0]))
    positions = {"input": f"{folder}/positions.jsonl", "template": "{{position}}", "output": f"{folder}/out"}
    return {"decomposer": "map", "max_tokens": task.classes[0].max_tokens, **positions}


def raw_part(options: argparse.Namespace) -> dict[str, float]:
    """Give the noted requests to a raw engine, all at once; the time is from the first of them to the last reply."""
    from maker.models.folder import checked_folder
    from maker.models.settings import VllmSettings
    from maker.models.vllm_start import import_vllm, pin_thread, start_engine

    vllm = import_vllm()
    pin_thread()
    wide = vllm._replace(engine_args=lambda **given: vllm.engine_args(**given, max_num_seqs=options.sequences))
    settings = VllmSettings(path=str(HANOI_MODEL), compile=not options.eager)
    engine = start_engine(wide, settings, checked_folder(str(HANOI_MODEL)))
    tokenizer = engine.get_tokenizer()
    requests = [json.loads(line) for line in options.file.read_text().splitlines()]
    began, samples = time.perf_counter(), 0
    for number_, (prompt, n, seed, max_tokens, stop) in enumerate(requests):
        sampling = vllm.sampling_params(
            n=n, seed=seed, temperature=1.0, max_tokens=max_tokens, stop=stop,
            output_kind=vllm.final_only, skip_clone=True,
        )  # fmt: skip
        tokens = list(tokenizer.encode(prompt))
        engine.add_request(str(number_), {"type": "token", "prompt_token_ids": tokens}, sampling)
    while engine.has_unfinished_requests():
        samples += sum(len(output.outputs) for output in engine.step() if output.finished)
    seconds = time.perf_counter() - began
    engine.engine_core.shutdown()
    return {"samples": samples, "seconds": seconds}


if __name__ == "__main__":
    sys.exit(main())
