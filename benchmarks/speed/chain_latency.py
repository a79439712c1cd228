"""Steps a second of one chain: a bare loop over the raw engine against maker's worker, on the same engine.

Both decide the same chain with the same prompts, seeds, sampling and compiled engine, n = 3 replies a step. The bare
loop is what a careful programmer would write in an afternoon: add a request, step the engine, take the commonest
reply, move the disk. The worker does all that maker does to a step: seeds, red flags, checks, election, tally, digest.
They take turns in blocks on one engine, so that a machine whose speed drifts slows both; the ratio is the median over
pairs of blocks. A third figure takes the whole way: `maker.run` with Ray, the journal and a SQLite store.

    python -m benchmarks.speed.chain_latency [--blocks 7] [--steps 250]
"""

from __future__ import annotations

import itertools
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from functools import partial
from typing import Any

import maker
from benchmarks.shared.checkout import HANOI_MODEL
from benchmarks.shared.comparing import Goal, print_goals
from benchmarks.shared.options import make_parser, read_options
from decomposers.hanoi import Hanoi, HanoiParams
from decomposers.hanoi.prompts import compact
from decomposers.hanoi.rules import Board, moved, read_move
from maker.lifecycle.events import StepsDecided
from maker.models.settings import VllmSettings
from maker.models.vllm import VllmModel
from maker.swarm.messages import Orders, WorkerSpec
from maker.swarm.worker import Worker
from maker.voting.messages import ChainAt
from maker.voting.policy import SOLVER, Role, Rules
from maker.voting.seeds import ChainSeeds
from voters.first_to_ahead_by_k import FirstToAheadByK, FirstToAheadByKParams

LEAST_YARDSTICK = 150.0
GOAL = 1.15
N = 3
DISKS = 20
TEMPERATURE = 0.7
"""At this temperature votes agree, so that both sides ask for the same number of replies."""


def bare_loop(engine: Any, sampling: Any, board: Board, seeds: ChainSeeds, ids: Iterator[int]) -> Board:
    """Decide one step with nothing but the engine; returns the next board."""
    engine.add_request(f"bare-{next(ids)}", compact(board), sampling(n=N, seed=seeds.at(board.moves, 0, 0, 0)))
    while True:
        for output in engine.step():
            if output.finished:
                reply = Counter(choice.text for choice in output.outputs).most_common(1)[0][0]
                move = read_move(reply)
                return Board(moved(board.pegs, move), move, board.moves + 1)


def bare_block(model: VllmModel, board: Board, steps: int) -> tuple[float, Board]:
    """Time a block of the bare loop; returns steps a second."""
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    engine, seeds, ids = model._engine, ChainSeeds(0), itertools.count(board.moves)
    sampling = partial(
        SamplingParams, temperature=TEMPERATURE, max_tokens=8, output_kind=RequestOutputKind.FINAL_ONLY, skip_clone=True
    )
    began = time.perf_counter()
    for _ in range(steps):
        board = bare_loop(engine, sampling, board, seeds, ids)
    return steps / (time.perf_counter() - began), board


def worker_block(worker: Worker, at: ChainAt, steps: int) -> tuple[float, int]:
    """Time a block of the worker; returns steps a second and the calls it took."""
    began, calls = time.perf_counter(), 0
    orders = Orders(chains=(at,), steps=steps)
    while True:
        report = worker.advance(orders)
        calls += sum(usage.calls for usage in report.spent.values())
        if report.held:
            break
        orders = Orders()
    return steps / (time.perf_counter() - began), calls


def whole_way(steps: int, *, compiled: bool) -> float:
    """Run the job through Ray and a store; returns the steps a second between its first and its last commit."""
    commits: list[tuple[float, int]] = []

    def tell(event: Any) -> None:
        if isinstance(event, StepsDecided):
            commits.append((time.perf_counter(), event.steps))

    with tempfile.TemporaryDirectory() as folder:
        job: dict[str, dict[str, Any]] = {
            "task": {"decomposer": "hanoi", "disks": DISKS},
            "model": {"kind": "vllm", "path": str(HANOI_MODEL), "temperature": TEMPERATURE, "compile": compiled},
            "store": {"url": f"sqlite:///{folder}/bench.db"},
        }
        maker.run(job, limit_steps=steps, on_event=tell)
    decided = sum(n for _, n in commits[1:])
    return decided / (commits[-1][0] - commits[0][0])


def main() -> None:
    """Measure and print."""
    parser = make_parser(__doc__)
    parser.add_argument("--blocks", type=int, default=7)
    parser.add_argument("--steps", type=int, default=250, help="of a block")
    parser.add_argument("--eager", action="store_true", help="do not compile the model: ready sooner, slower steps")
    options = read_options(parser, needs=["vllm"], blocks=2, steps=50, eager=True)
    hanoi = Hanoi(HanoiParams(disks=DISKS))
    model = VllmModel([VllmSettings(path=str(HANOI_MODEL), temperature=TEMPERATURE, compile=not options.eager)])
    solver = Role(FirstToAheadByK(FirstToAheadByKParams(k=N)), max_votes=100)
    rules = Rules(seed=0, samples="disputed", roles={SOLVER: solver})
    worker = Worker(WorkerSpec(hanoi, rules, open_model=lambda: model))
    _, board = bare_block(model, hanoi.start(), 100)
    bare, ours, ratios, calls = [], [], [], 0
    for block in range(options.blocks):
        at = ChainAt(1, (), board.moves, 0, b"", hanoi.state.write(board))
        # Who goes first takes turns too: the second of a pair finds the caches warm.
        if block % 2:
            yardstick, board = bare_block(model, board, options.steps)
            speed, taken = worker_block(worker, at, options.steps)
        else:
            speed, taken = worker_block(worker, at, options.steps)
            yardstick, board = bare_block(model, board, options.steps)
        bare.append(yardstick)
        ours.append(speed)
        ratios.append(yardstick / speed)
        calls += taken
    model.close()
    decided = options.blocks * options.steps
    print(f"bare loop    {statistics.median(bare):7.1f} steps/s (median of {options.blocks} blocks of {options.steps})")
    print(f"worker       {statistics.median(ours):7.1f} steps/s, {calls / decided:.3f} calls a step")
    low, high = min(ratios), max(ratios)
    print(f"bare/worker  {statistics.median(ratios):7.3f} (median of pairs; {low:.3f} to {high:.3f})")
    through = whole_way(decided, compiled=not options.eager)
    ratio = statistics.median(bare) / through
    print(f"maker.run    {through:7.1f} steps/s with Ray, journal and SQLite; bare/run {ratio:.3f}")
    print_goals([Goal("bare / worker", GOAL, statistics.median(ratios), "x", least=False)], options)
    if statistics.median(bare) < LEAST_YARDSTICK and not options.smoke:
        print(f"the yardstick is below {LEAST_YARDSTICK:.0f} steps/s on this machine: these ratios prove nothing")


if __name__ == "__main__":
    main()
