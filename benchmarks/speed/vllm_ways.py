"""Ways to drive vLLM for a tiny model: what each costs, in elections a second.

Every way works on the same chains of elections, each of three seeded samples of a Hanoi prompt; the next one of a chain
begins when the last one is answered, and no run is kept: what is measured is the engine and the Python around it. Each
way has a process of its own; the ways take turns.

    python -m benchmarks.speed.vllm_ways [--chains 1 64] [--seconds 6] [--rounds 3] [--profile]
"""

from __future__ import annotations

import argparse
import cProfile
import json
import os
import pstats
import statistics
import subprocess
import sys
import time
from typing import Any, NamedTuple

from benchmarks.shared.checkout import HANOI_MODEL, environment, program
from benchmarks.shared.comparing import number, table
from benchmarks.shared.options import make_parser, read_options

VOTES = 3


class Way(NamedTuple):
    """How the engine is started and asked; the first one is maker's own."""

    what: str
    compile: bool = True
    detokenize: bool = False
    together: bool = True
    in_process: bool = True
    logprobs: bool = False
    arguments: dict[str, Any] = {}  # noqa: RUF012 - never changed


WAYS = (
    Way("compiled, token ids read by maker, n in one request, core in this process"),
    Way("the same, text made by vLLM token by token", detokenize=True),
    Way("the same, n requests of one", together=False),
    Way("the same, core in a process of its own", in_process=False),
    Way("the same, eager", compile=False),
    Way("the same, blocks of 32 tokens", arguments={"block_size": 32}),
    Way("the same, no prefix cache", arguments={"enable_prefix_caching": False}),
    Way("the same, each reply with its log-probability", logprobs=True),
)
EAGER = 4
"""Ready in seconds, for a smoke run."""


def main() -> int:
    """Measure all ways in turn, print medians and each way's share of the first one's."""
    parser = make_parser(__doc__)
    parser.add_argument("--chains", type=int, nargs="+", default=[1, 64])
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--warm-up", type=float, default=3.0, help="seconds that come before, and do not count")
    parser.add_argument("--rounds", type=int, default=3)
    numbers = range(len(WAYS))
    parser.add_argument("--ways", type=int, nargs="+", choices=numbers, default=[*numbers], help="only these, from 0")
    parser.add_argument("--profile", action="store_true", help="print where the first way's time goes, and end")
    parser.add_argument("--way", type=int, help=argparse.SUPPRESS)
    options = read_options(parser, needs=["vllm"], chains=[1], seconds=0.2, warm_up=0.1, rounds=1, ways=[EAGER])
    if options.way is not None:
        print(json.dumps(measure(WAYS[options.way], options)))
        return 0
    if options.profile:
        with cProfile.Profile() as profile:
            measure(WAYS[0], options)
        pstats.Stats(profile).sort_stats("tottime").print_stats(25)
        return 0
    found: dict[tuple[int, int], list[float]] = {}
    for _ in range(options.rounds):
        for turn in options.ways:
            for chains, speed in zip(options.chains, part(turn, options), strict=True):
                found.setdefault((turn, chains), []).append(speed)
    speeds = {key: statistics.median(values) for key, values in found.items()}
    rows = []
    for way in options.ways:
        pairs = [(speeds[way, chains], speeds[options.ways[0], chains]) for chains in options.chains]
        rows.append((WAYS[way].what, *(f"{number(speed)} ({speed / first:.2f})" for speed, first in pairs)))
    table("elections a second (medians), and their share of the first way's", ("", *map(str, options.chains)), rows)
    return 0


def part(way: int, options: argparse.Namespace) -> list[float]:
    """Measure one way in a process of its own; returns the elections a second for each number of chains."""
    times = ("--seconds", str(options.seconds), "--warm-up", str(options.warm_up))
    line = program("speed.vllm_ways", "--way", str(way), *times, "--chains", *map(str, options.chains))
    done = subprocess.run(line, env=environment(), stdout=subprocess.PIPE, check=True)
    found: list[float] = json.loads(done.stdout.decode().splitlines()[-1])
    print(f"{WAYS[way].what}: {', '.join(number(speed) for speed in found)}", file=sys.stderr)
    return found


def measure(way: Way, options: argparse.Namespace) -> list[float]:
    """Return the elections a second for each number of chains."""
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0" if way.in_process else "1"
    from maker.models.settings import VllmSettings
    from maker.models.vllm_start import hardware_arguments, import_vllm, pin_thread

    vllm = import_vllm()
    pin_thread()
    settings = VllmSettings(path=str(HANOI_MODEL), compile=way.compile, memory_share=0.2)
    base = {"enable_prefix_caching": True} | hardware_arguments(vllm, settings) | way.arguments
    made = vllm.engine_args(
        model=str(HANOI_MODEL), gpu_memory_utilization=0.2, enforce_eager=not way.compile, disable_log_stats=True,
        generation_config="vllm", use_tqdm_on_load=False, seed=0, **base,
    )  # fmt: skip
    engine = vllm.engine.from_engine_args(made, usage_context=vllm.usage)
    drive = Drive(engine, vllm, way)
    found = [drive.speed(chains, options.seconds, options.warm_up) for chains in options.chains]
    engine.engine_core.shutdown()
    return found


class Drive:
    """Keeps chains of elections going on an engine."""

    def __init__(self, engine: Any, vllm: Any, way: Way) -> None:
        self.engine = engine
        self.vllm = vllm
        self.way = way
        self.tokenizer = engine.get_tokenizer()
        self.asked = 0
        self.chain_of: dict[str, int] = {}
        self.texts: dict[tuple[int, ...], str] = {}

    def speed(self, chains: int, seconds: float, warm_up_s: float) -> float:
        """Return the elections a second, after a warm-up."""
        for chain in range(chains):
            self.ask(chain)
        self.until(time.perf_counter() + warm_up_s)
        began = time.perf_counter()
        decided = self.until(began + seconds)
        speed = decided / (time.perf_counter() - began)
        self.engine.abort_request(list(self.chain_of))
        self.chain_of.clear()
        return speed

    def until(self, end: float) -> int:
        """Step until then; returns how many elections were decided."""
        decided = 0
        owed: dict[int, int] = {}
        while time.perf_counter() < end:
            for output in self.engine.step():
                if not output.finished:
                    continue
                for choice in output.outputs:
                    _ = choice.text if self.way.detokenize else self.text(tuple(choice.token_ids))
                chain = self.chain_of.pop(output.request_id)
                owed[chain] = owed.get(chain, 0) + len(output.outputs)
                if owed[chain] >= VOTES:
                    owed[chain] = 0
                    decided += 1
                    self.ask(chain)
        return decided

    def ask(self, chain: int) -> None:
        """Ask for a chain's next election."""
        self.asked += 1
        disks = "".join("ABC"[self.asked // 3**place % 3] for place in range(10))
        tokens = list(self.tokenizer.encode(f"+1AB {disks}="))
        for first in range(0, VOTES, VOTES if self.way.together else 1):
            sampling = self.vllm.sampling_params(
                n=VOTES if self.way.together else 1, seed=self.asked * VOTES + first, temperature=1.0, max_tokens=8,
                detokenize=self.way.detokenize, output_kind=self.vllm.final_only, skip_clone=True,
                logprobs=0 if self.way.logprobs else None,
            )  # fmt: skip
            name = f"{chain}.{self.asked}.{first}"
            self.chain_of[name] = chain
            self.engine.add_request(name, {"type": "token", "prompt_token_ids": tokens}, sampling)

    def text(self, tokens: tuple[int, ...]) -> str:
        """Return the text of a reply; equal ones are read once."""
        text = self.texts.get(tokens)
        if text is None:
            text = self.texts[tokens] = self.tokenizer.decode(tokens, skip_special_tokens=True)
        return text


if __name__ == "__main__":
    sys.exit(main())
