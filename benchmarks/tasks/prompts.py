"""What small general models make of the shipped prompts: how many of 35 samples of a state are right, legal, flagged.

    python -m benchmarks.tasks.prompts --url http://127.0.0.1:8000/v1 --model NAME [recursive multiply hanoi document]

Each state is asked with the first edition of a task's words and with the newest, from the same seeds; the Towers of
Hanoi with the prompts `english` and `plain`. `multiply` is examples/multiply_plan, whose words have no editions:
--before FILE names an older multiply.py to compare it with.
With --structured the server is sent each step's JSON schema. Prints a table a part; nothing is judged.
"""

from __future__ import annotations

import sys
import tempfile
from argparse import Namespace
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.shared.checkout import EXAMPLES
from benchmarks.shared.comparing import table
from benchmarks.shared.options import add_parts, make_parser, read_options
from decomposers.document.state import Narrowing, Reading, Root
from decomposers.document.text import Finding
from decomposers.hanoi.tree import board_after
from maker import api
from maker.models.interface import Model
from maker.models.opening import open_model
from maker.models.server_settings import OpenAISettings
from maker.models.settings import MemberSettings, SimulatedSettings
from maker.plugin import Decomposer, Step, Truth
from maker.types import Failed, Finished, RedFlag, Request, Sample
from maker.voting.red_flags import screen

MULTIPLY = EXAMPLES / "multiply_plan" / "multiply.py"
QUESTION = "Who wrote the letter?"
ONE_SENTENCE = "The letter that lay on the table that morning had been written by Anna the night before.\n"
FOUND = tuple(Finding(0, text) for text in ("The letter was written by Anna.", "It lay on the table."))


class Case(NamedTuple):
    """A state that is asked: its name, the words it is asked in, its task, and the replies that are right.

    ``right`` is empty where any legal reply is.
    """

    state: str
    words: str
    task: Decomposer[Any, Any]
    at: Any
    right: Sequence[str] = ()


class Counted(NamedTuple):
    """What became of a state's samples: how many were right, how many legal, and the flags of the others."""

    right: int
    legal: int
    flags: Counter[str]


def job(task: Mapping[str, Any]) -> Decomposer[Any, Any]:
    """Return the task of a ``[task]`` table."""
    return api.load_job({"task": task, "model": {"kind": "simulated"}, "vote": {"k": 1}}).decomposer


def recursive(_options: Namespace) -> Iterator[Case]:
    """Yield a problem that may not be broken into parts any more, and one that may."""
    for depth, name in ((0, "at max_depth"), (1, "above it")):
        for words in (1, 2):
            told = {"problem": "How much is 12 + 30?\n", "max_depth": depth, "operations": ["add"], "words": words}
            task = job({"decomposer": "recursive"} | told)
            yield Case(name, f"edition {words}", task, task.start(), () if depth else ('{"atomic": true}',))


def multiply(options: Namespace) -> Iterator[Case]:
    """Yield a product for each kind of split, and one that is not split."""
    files = {"before": options.before, "now": MULTIPLY}
    for name, problem in {"second factor": "52 * 34", "first factor": "52 * 30", "neither": "50 * 30"}.items():
        for words, file in files.items():
            if file is not None:
                task = job({"decomposer": f"{file}:Multiply", "problem": problem})
                yield _with_oracle(name, words, task, task.start())


def hanoi(_options: Namespace) -> Iterator[Case]:
    """Yield boards of one disk and of three: before the first move, and where disk 1 has moved, or has not."""
    for disks, moves in ((1, 0), (3, 0), (3, 1), (3, 2)):
        for prompt in ("english", "plain"):
            task = job({"decomposer": "hanoi", "disks": disks, "prompt": prompt})
            name = f"{disks} disk{'s' * (disks > 1)} after {moves} moves"
            yield _with_oracle(name, prompt, task, board_after(disks, moves))


def document(options: Namespace) -> Iterator[Case]:
    """Yield a slice of one sentence, two findings of which one may be kept, and an answer that may not ask."""
    text = Path(options.folder) / "text.txt"
    text.write_text(ONE_SENTENCE)
    states = {
        "a slice of one sentence": Reading(QUESTION, 0),
        "one of two findings": Narrowing((QUESTION,), FOUND),
        "the last answer": Root("settle", (QUESTION,), FOUND),
    }
    for name, state in states.items():
        for words in (1, 2):
            table_of = {"input": str(text), "question": f"{QUESTION}\n", "rounds": 1, "words": words}
            yield Case(name, f"edition {words}", job({"decomposer": "document"} | table_of), state)


PARTS: Mapping[str, Callable[[Namespace], Iterator[Case]]] = {
    "recursive": recursive,
    "multiply": multiply,
    "hanoi": hanoi,
    "document": document,
}


def _with_oracle(name: str, words: str, task: Decomposer[Any, Any], at: Any) -> Case:
    oracle, step = task.oracle(), task.next(at)
    assert oracle is not None  # noqa: S101 - for the type checker
    assert isinstance(step, Step)  # noqa: S101 - for the type checker
    return Case(name, words, task, at, tuple(oracle(step.prompt).right))


def _truth(case: Case, _prompt: str) -> Truth:
    return Truth(case.right or ("{}",), ())


def counted(case: Case, step: Step[Any, Any], samples: Sequence[Sample]) -> Counted:
    """Count what becomes of the samples of a state, as an election takes them."""
    codec = case.task.action
    outcomes = [screen(step.kind, case.at, sample, codec) for sample in samples]
    meant = [screen(step.kind, case.at, Sample(text, 1), codec) for text in case.right]
    right = {one.key for one in meant if not isinstance(one, RedFlag)}
    legal = [one for one in outcomes if not isinstance(one, RedFlag)]
    flags = Counter(str(one.reason) for one in outcomes if isinstance(one, RedFlag))
    return Counted(sum(one.key in right or not case.right for one in legal), len(legal), flags)


def drawn(model: Model, step: Step[Any, Any], options: Namespace, ids: Iterator[int]) -> list[Sample]:
    """Return the samples of a state. Ends the program where the model fails."""
    kind, wanted, samples = step.kind, options.samples, list[Sample]()
    while len(samples) < wanted:
        n = min(options.n, wanted - len(samples))
        most = min(kind.max_tokens, options.max_tokens)
        seed = options.seed + len(samples)
        model.submit([Request(next(ids), kind.system, step.prompt, n, seed, most, kind.stop, kind.name, kind.schema)])
        found: list[Finished | Failed] = []
        while not found:
            found = model.poll(10.0)
        if isinstance(found[0], Failed):
            sys.exit(found[0].reason)
        samples += found[0].samples
    return samples[:wanted]


def measured(case: Case, model: Model, options: Namespace, ids: Iterator[int]) -> tuple[str, ...]:
    """Return a state's line of the table; shows its replies on standard error where ``--show`` asks for it."""
    step = case.task.next(case.at)
    assert isinstance(step, Step)  # noqa: S101 - every state here asks
    samples = drawn(model, step, options, ids)
    if options.show:
        for text, times in Counter(sample.text for sample in samples).most_common(3):
            print(f"{case.state}, {case.words}: {times} × {text!r:.150}", file=sys.stderr)
    found = counted(case, step, samples)
    flags = ", ".join(f"{n} {flag}" for flag, n in found.flags.most_common()) or "none"
    return case.state, case.words, f"{found.right}", f"{found.legal}", flags


def settings_of(options: Namespace) -> MemberSettings:
    """Return the model that is asked: the server's, or without one a simulated one that is right eight times in ten."""
    if options.url is None:
        return SimulatedSettings(p=0.8, malformed=0.1)
    structured = "schema" if options.structured else "off"
    sampling = {"temperature": options.temperature, "max_n": options.n, "structured": structured}
    sampling |= {"chat": not options.completions}
    return OpenAISettings.model_validate({"url": options.url, "name": options.model, "timeout_s": 3600, **sampling})


def main() -> int:
    """Ask every state of the parts, and print their tables."""
    parser = make_parser(__doc__)
    add_parts(parser, PARTS)
    parser.add_argument("--url", help="base address of an OpenAI-compatible server, with its version")
    parser.add_argument("--model", default="model", help="the model's name there")
    parser.add_argument("--samples", type=int, default=35, help="samples of each state")
    parser.add_argument("-n", type=int, default=7, help="samples that one request asks for")
    parser.add_argument("--temperature", type=float, default=0.7)
    parser.add_argument("--max-tokens", type=int, default=512, help="most tokens of a reply, if the task allows more")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--structured", action="store_true", help="send the JSON schema of each step")
    parser.add_argument("--completions", action="store_true", help="ask a model that has no chat template")
    parser.add_argument("--before", type=Path, help="an older examples/multiply_plan/multiply.py")
    parser.add_argument("--show", action="store_true", help="show the most frequent replies")
    options = read_options(parser, samples=5)
    if options.url is None and not options.smoke:
        parser.error("name the server with --url and --model")
    ids = count(1)
    with tempfile.TemporaryDirectory() as options.folder:
        for part in options.parts:
            rows = []
            for case in PARTS[part](options):
                model = open_model(settings_of(options), partial(_truth, case))
                try:
                    rows.append(measured(case, model, options, ids))
                finally:
                    model.close()
            title = f"{part}: {options.samples} samples a state, {options.model} at temperature {options.temperature:g}"
            table(title, ("state", "words", "right", "legal", "flagged"), rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
