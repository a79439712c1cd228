"""Measure the Hanoi micro-agent exactly: ``python check.py model --temperatures 1.0``.

``--answer move+state`` measures the model that also writes the pegs, ``pair_model``.

On the optimal path nothing is sampled from the model. For each state the probability of the
right answer and of each legal wrong one is read off the logits; everything else it might say
is illegal or malformed, and a red flag. Every state is checked of a run of up to 12 disks; of
a longer one a stratified sample, in which no disk's moves are too rare to be seen, and every
state with tall towers.

Off the path there is no list of states to read, so whole runs without voting are sampled: how
far they wander, and whether one ever gets stuck where the model has nothing legal to say.
"""

from __future__ import annotations

import argparse
import json
import random
from collections import Counter
from dataclasses import asdict, dataclass
from functools import reduce
from itertools import combinations
from operator import xor
from pathlib import Path
from typing import Any, NamedTuple

import torch
from data import FORMS, Example, Form, answer_text, example_at, example_of, legal_moves, move_at, state_at, step_moving
from margins import Margins, margins
from margins import table as margins_table
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

MARGINS = (1, 2, 3, 4)
CANDIDATES = 3
EVERY_STATE_UP_TO = 12
TALL_CHANGES = 4
# A run gives a step up, and stands still, after this many flagged samples in a row.
PATIENCE = 100
# More than the longest move with its end token; the pegs come on top, one token a disk.
ANSWER_TOKENS = 8
SIZES: dict[Form, list[int]] = {"move": [10, 20], "move+state": [8, 9, 10, 11, 12]}
COLUMNS = (
    *("disks", "T", "greedy right", "error before flags", "same, unweighted", "flagged"),
    *("error after flags", "worst state"),
    *(f"wrong steps, k={k}" for k in MARGINS),
    *("disputed, k=3", "the worst state"),
)


class PathState(NamedTuple):
    """One on-path state and the steps of a whole run that it stands for, perhaps none."""

    disks: int
    step: int
    steps_meant: float


class Candidate(NamedTuple):
    """One answer to one state, as tokens; column 0 is the right answer."""

    row: int
    column: int
    prompt: list[int]
    answer: list[int]


class Reading(NamedTuple):
    """What the model says over a set of states.

    Attributes:
        logits: float32 (states, candidates, characters, vocabulary): right answer first.
        tokens: int64 (states, candidates, characters): the answer and its EOS; -1 is padding.
    """

    logits: torch.Tensor
    tokens: torch.Tensor


@dataclass(frozen=True, slots=True)
class Row:
    """The figures of one tower size at one temperature.

    ``error`` and ``flagged`` are shares of all samples, ``unflagged_error`` is a share of
    the samples that no flag takes away. Means are over the steps of a whole run;
    ``unweighted_*`` and ``worst_*`` are over the states checked, tall towers included.
    ``wrong_steps[k]`` is the expected number of wrongly decided steps in a whole run under
    first-to-ahead-by-k; ``disputed_steps`` that of steps whose first three valid votes do
    not agree.
    """

    disks: int
    temperature: float
    states: int
    greedy_right: int
    error: float
    unweighted_error: float
    flagged: float
    worst_flagged: float
    unflagged_error: float
    unweighted_unflagged_error: float
    worst_unflagged_error: float
    worst_prompt: str
    wrong_steps: dict[int, float]
    disputed_steps: float


@dataclass(slots=True)
class Wandering:
    """What became of sampled runs without voting, from their first wrong move on.

    ``samples`` counts all answers drawn after a run's first wrong move, ``illegal`` those of
    them that are no legal move, ``wrong`` the legal ones that are not the strategy's.
    ``most_draws`` is the largest number of samples that any step took, ``stuck`` the runs that
    a step of ``PATIENCE`` samples stopped, ``solved`` those that ended with the tower on C.
    """

    disks: int
    temperature: float
    runs: int
    left_path: int = 0
    stuck: int = 0
    solved: int = 0
    samples: int = 0
    illegal: int = 0
    wrong: int = 0
    most_draws: int = 0

    def text(self) -> str:
        """Return the figures as one line."""
        return (
            f"{self.runs} runs of {self.disks} disks without voting, T={self.temperature:g}: {self.left_path} left the "
            f"path, {self.stuck} got stuck, {self.solved} ended on the goal; off the path {self.illegal} of "
            f"{self.samples} samples illegal ({self.illegal / max(self.samples, 1):.2e}), {self.wrong} legal and wrong "
            f"({self.wrong / max(self.samples - self.illegal, 1):.2e} of the legal); at most {self.most_draws} samples "
            "for one step"
        )


def every_state(disks: int) -> list[PathState]:
    """Return all states of a run, each standing for itself."""
    return [PathState(disks, step, 1.0) for step in range((1 << disks) - 1)]


def sampled_states(disks: int, cap: int, seed: int) -> list[PathState]:
    """Return at most ``cap`` states of each stratum, chosen by ``seed``.

    The strata are disk d's moves and, apart from them, the moves of disk 1 that come right
    after, for each d from 2; then the first step. A state stands for its stratum's size
    over the number drawn from it.
    """
    rng = random.Random(seed)
    states = [PathState(disks, 0, 1.0)]
    for disk in range(2, disks + 1):
        size = 1 << (disks - disk)
        for offset in (0, 1):
            turns = rng.sample(range(size), min(cap, size))
            meant = size / len(turns)
            states += [PathState(disks, step_moving(disk, t) + offset, meant) for t in turns]
    return states


def tall_steps(disks: int) -> set[int]:
    """Return the steps whose numbers change bits at most ``TALL_CHANGES`` times.

    Equal neighbouring bits put neighbouring disks on one peg. These states are few, a
    sample misses them, and a model that has seen few of them miscounts their towers.
    """
    steps = {0}
    for count in range(TALL_CHANGES + 1):
        for places in combinations(range(1, disks), count):
            # All bits below each place flip; the complement starts with the other bit.
            number = reduce(xor, ((1 << place) - 1 for place in places), 0)
            steps |= {number, (1 << disks) - 1 - number}
    return steps - {(1 << disks) - 1}


def states_to_check(disks: int, cap: int, seed: int) -> list[PathState]:
    """Return all states of a short run; of a long one a sample, and all with tall towers."""
    if disks <= EVERY_STATE_UP_TO:
        return every_state(disks)
    states = sampled_states(disks, cap, seed)
    extra = tall_steps(disks) - {state.step for state in states}
    return states + [PathState(disks, step, 0.0) for step in sorted(extra)]


def candidates(examples: list[Example], tokenizer: PreTrainedTokenizerBase) -> list[Candidate]:
    """Return every candidate answer of every example, the shortest sequences first."""

    def encode(text: str) -> list[int]:
        return [int(token) for token in tokenizer.encode(text, add_special_tokens=False)]

    found = [
        Candidate(row, column, encode(example.prompt), [*encode(text), tokenizer.eos_token_id])
        for row, example in enumerate(examples)
        for column, text in enumerate((example.answer, *example.rivals))
    ]
    return sorted(found, key=lambda candidate: len(candidate.prompt) + len(candidate.answer))


def read(model: PreTrainedModel, found: list[Candidate], *, size: int) -> Reading:
    """Return the model's logits for every candidate, ``size`` sequences at a time."""
    longest = max(len(candidate.answer) for candidate in found)
    shape = (max(candidate.row for candidate in found) + 1, CANDIDATES, longest)
    logits = torch.zeros(*shape, model.config.vocab_size)
    tokens = torch.full(shape, -1)
    for start in range(0, len(found), size):
        chunk = found[start : start + size]
        # Padding is on the right and attention is causal: no mask is needed, any token will do.
        lines = [torch.tensor(candidate.prompt + candidate.answer) for candidate in chunk]
        padded = torch.nn.utils.rnn.pad_sequence(lines, batch_first=True)
        with torch.inference_mode():
            out = model(input_ids=padded).logits.float()
        for line, (row, column, prompt, answer) in zip(out, chunk, strict=True):
            first, count = len(prompt) - 1, len(answer)
            logits[row, column, :count] = line[first : first + count]
            tokens[row, column, :count] = torch.tensor(answer)
    return Reading(logits, tokens)


def probabilities(reading: Reading, temperature: float) -> torch.Tensor:
    """Return float64 (states, candidates): each answer's probability, 0 where there is none."""
    real = reading.tokens >= 0
    logs = torch.log_softmax(reading.logits.double() / temperature, -1)
    picked = logs.gather(-1, reading.tokens.clamp(min=0).unsqueeze(-1)).squeeze(-1)
    return torch.where(real, picked, 0.0).sum(-1).exp() * real.any(-1)


def greedy_right(reading: Reading) -> torch.Tensor:
    """Return bool (states,): whether every likeliest next character is the right one."""
    tokens = reading.tokens[:, 0]
    return ((reading.logits[:, 0].argmax(-1) == tokens) | (tokens < 0)).all(-1)


def figures(states: list[PathState], reading: Reading, temperature: float) -> Row:
    """Return the figures of one tower size at one temperature.

    The chance that margin k decides a state wrongly is ``r**k / (1 + r**k)`` with r = all
    legal wrong mass over right mass: the gambler's ruin against one rival (arXiv 2511.09030,
    eq. 9), an upper bound when two rivals share that mass. Worked: 1 % wrong, k = 3: 1.03e-6.
    """
    chances = probabilities(reading, temperature)
    meant = torch.tensor([state.steps_meant for state in states], dtype=torch.float64)
    share = meant / meant.sum()
    right, valid = chances[:, 0], chances.sum(1)
    unflagged = 1.0 - right / valid
    odds = (valid - right) / right
    agree = (chances / valid.unsqueeze(1)).pow(3).sum(1)
    worst = states[int(unflagged.argmax())]
    return Row(
        disks=states[0].disks,
        temperature=temperature,
        states=len(states),
        greedy_right=int(greedy_right(reading).sum()),
        error=float((share * (1 - right)).sum()),
        unweighted_error=float((1 - right).mean()),
        flagged=float((share * (1 - valid)).sum()),
        worst_flagged=float((1 - valid).max()),
        unflagged_error=float((share * unflagged).sum()),
        unweighted_unflagged_error=float(unflagged.mean()),
        worst_unflagged_error=float(unflagged.max()),
        worst_prompt=example_at(worst.disks, worst.step).prompt,
        wrong_steps={k: float((meant * odds**k / (1 + odds**k)).sum()) for k in MARGINS},
        disputed_steps=float((meant * (1 - agree)).sum()),
    )


def table(rows: list[Row]) -> str:
    """Return the figures as a table in Markdown."""
    lines = ["| " + " | ".join(COLUMNS) + " |", "|" + "---|" * len(COLUMNS)]
    for row in rows:
        cells = [
            str(row.disks),
            f"{row.temperature:g}",
            f"{row.greedy_right}/{row.states}",
            f"{row.error:.2e}",
            f"{row.unweighted_error:.2e}",
            f"{row.flagged:.2e}",
            f"{row.unflagged_error:.2e}",
            f"{row.worst_unflagged_error:.3f}",
            *(f"{row.wrong_steps[k]:.2e}" for k in MARGINS),
            f"{row.disputed_steps:.1f}",
            f"`{row.worst_prompt}`",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def sample(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompts: list[str], *, temperature: float, most: int
) -> list[str]:
    """Return one sampled answer of at most ``most`` tokens to each prompt; advances torch's random state."""
    inputs = tokenizer(prompts, return_tensors="pt", padding=True, padding_side="left")
    settings = {"max_new_tokens": most, "do_sample": True, "temperature": temperature, "top_k": 0}
    with torch.inference_mode():
        tokens = model.generate(**inputs, **settings)
    answers: list[str] = tokenizer.batch_decode(tokens[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    return answers


class Runs:
    """Sampled runs without voting, all at the same step: the first legal answer is the move."""

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, found: Wandering, form: Form
    ) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._found = found
        self._form = form
        self._most = ANSWER_TOKENS if form == "move" else ANSWER_TOKENS + found.disks
        self._states = [state_at(found.disks, 0)] * found.runs
        self._going = list(range(found.runs))
        self._wrong: set[int] = set()

    def step(self) -> None:
        """Move each run that is still going, drawing again what is not legal; tallies it all."""
        waiting = self._going
        for draws in range(1, PATIENCE + 1):
            examples = [example_of(self._states[run], self._form) for run in waiting]
            prompts = [example.prompt for example in examples]
            answers = sample(
                self._model, self._tokenizer, prompts, temperature=self._found.temperature, most=self._most
            )
            self._found.most_draws = max(self._found.most_draws, draws)
            waiting = [
                run
                for run, example, answer in zip(waiting, examples, answers, strict=True)
                if not self._move(run, example, answer)
            ]
            if not waiting:
                return
        self._going = [run for run in self._going if run not in waiting]

    def _move(self, run: int, example: Example, answer: str) -> bool:
        """Apply a run's answer if it is legal, and return whether it is; tallies it."""
        legal = answer == example.answer or answer in example.rivals
        if run in self._wrong:
            self._found.samples += 1
            self._found.illegal += not legal
            self._found.wrong += answer in example.rivals
        if answer in example.rivals:
            self._wrong.add(run)
        if legal:
            state = self._states[run]
            moves = {answer_text(state, move, self._form): move for move in legal_moves(state.pegs)}
            self._states[run] = state.after(moves[answer])
        return legal

    def finish(self) -> None:
        """Tally how the runs ended."""
        self._found.left_path = len(self._wrong)
        self._found.stuck = self._found.runs - len(self._going)
        self._found.solved = sum(set(self._states[run].pegs) == {2} for run in self._going)


def wander(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, form: Form, options: argparse.Namespace
) -> Wandering:
    """Sample whole runs without voting; advances torch's random state."""
    found = Wandering(options.run_disks, options.run_temperature, options.runs)
    sampled = Runs(model, tokenizer, found, form)
    for _ in range((1 << found.disks) - 1):
        sampled.step()
    sampled.finish()
    return found


def measure(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, disks: int, options: argparse.Namespace
) -> tuple[list[Row], list[Margins]]:
    """Return the figures of one tower size and the margins that it needs, at each temperature; prints the states."""
    states = states_to_check(disks, options.cap, options.seed)
    moved = Counter(move_at(state.disks, state.step).disk for state in states)
    counts = ", ".join(f"{disk}: {moved[disk]}" for disk in sorted(moved))
    print(f"{disks} disks: {len(states)} states; by moving disk {counts}")
    examples = [example_at(state.disks, state.step, options.answer) for state in states]
    reading = read(model, candidates(examples, tokenizer), size=options.batch)
    meant = [state.steps_meant for state in states]
    return (
        [figures(states, reading, t) for t in options.temperatures],
        [margins(disks, t, chances=probabilities(reading, t).tolist(), meant=meant) for t in options.temperatures],
    )


def parse_options() -> argparse.Namespace:
    """Return the command line's options."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, help="folder of the model")
    parser.add_argument("--temperatures", type=float, nargs="+", default=[0.7, 1.0, 1.4])
    parser.add_argument("--answer", choices=FORMS, default="move", help="what the model writes")
    parser.add_argument("--disks", type=int, nargs="+", help="tower sizes; as the form is meant for")
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    parser.add_argument("--cap", type=int, default=256, help="most states of one stratum")
    parser.add_argument("--seed", type=int, default=0, help="of the choice of states and of the sampled runs")
    parser.add_argument("--batch", type=int, default=512, help="sequences at a time")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--runs", type=int, default=200, help="sampled runs without voting; 0 for none")
    parser.add_argument("--run-disks", type=int, default=10, help="disks of the sampled runs")
    parser.add_argument("--run-temperature", type=float, default=1.0, help="temperature of the sampled runs")
    return parser.parse_args()


def main() -> None:
    """Check both sizes on the path and sampled runs off it; print the figures and write the JSON."""
    options = parse_options()
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    # "auto" is the dtype that was saved, and so the one that is served.
    model = AutoModelForCausalLM.from_pretrained(options.model, dtype="auto").eval()
    tokenizer = AutoTokenizer.from_pretrained(options.model)
    rows: list[Row] = []
    needed: list[Margins] = []
    for disks in options.disks or SIZES[options.answer]:
        of_size = measure(model, tokenizer, disks, options)
        rows += of_size[0]
        needed += of_size[1]
    print(table(rows), margins_table(needed), sep="\n\n")
    found: dict[str, Any] = {"rows": [asdict(row) for row in rows], "margins": [asdict(row) for row in needed]}
    if options.runs:
        wandering = wander(model, tokenizer, options.answer, options)
        print(wandering.text())
        found["wandering"] = asdict(wandering)
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
