"""A text of ten million characters, of which no prompt holds more than a few thousand: counted, extracted, asked.

    python -m benchmarks.tasks.documents [--characters 10000000] [--facts 40] [--seed 7] [--prompt 6000] [--questions 3]

The text and the simulated model are those of examples/document: sentences that say who keeps the key of a box, and
others, at least a tenth of the text away, that say where that person lives. A vote is right with .9, k = 6. Every
prompt of every run is kept, and the longest of them is looked up in the store.
"""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import maker
from benchmarks.shared.checkout import EXAMPLES, environment
from benchmarks.shared.comparing import table
from benchmarks.shared.options import make_parser, read_options

EXAMPLE = EXAMPLES / "document"
SCHEMA = {
    "type": "object",
    "properties": {"box": {"type": "integer"}, "keeper": {"type": "string"}},
    "required": ["box", "keeper"],
}
COUNT = {"want": "count", "question": "How many keys are kept?"}
EXTRACT = {"want": "extract", "question": "Which boxes have keys, and who keeps them?", "schema": SCHEMA}


def run(folder: Path, text: Path, task: dict[str, Any]) -> tuple[maker.RunReport, float, int]:
    """Make one run; return how it ended, its seconds, and the length of its longest prompt."""
    store = folder / "maker.db"
    store.unlink(missing_ok=True)
    began = time.perf_counter()
    report = maker.run({
        "task": {"decomposer": "document", "input": str(text), "truth": f"{EXAMPLE / 'keepers.py'}:truth"} | task,
        "model": {"kind": "simulated", "p": 0.9},
        "vote": {"k": 6, "max_votes": 1000},
        "store": {"url": f"sqlite:///{store}", "samples": "all"},
    })  # fmt: skip
    took = time.perf_counter() - began
    if report.status != "done":
        raise SystemExit(f"run {report.run_id} is {report.status}: {report.reason}")
    with closing(sqlite3.connect(store)) as database:
        found = database.execute(
            "select max(length(asked.body) + length(shared.body)) from maker_prompt as one"
            " join maker_text as shared on shared.digest = one.system"
            " join maker_text as asked on asked.digest = one.prompt"
        ).fetchone()
    return report, took, found[0]


def main() -> int:
    """Write the text, ask about it, and compare with what stands in it."""
    parser = make_parser(__doc__)
    parser.add_argument("--characters", type=int, default=10_000_000)
    parser.add_argument("--facts", type=int, default=40)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--prompt", type=int, default=6000)
    parser.add_argument("--questions", type=int, default=3)
    options = read_options(parser, characters=20_000, facts=4, questions=1)
    sys.path.insert(0, str(EXAMPLE))
    from keepers import facts

    known = facts(options.facts, options.seed)
    rows, wrong = [], 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        text = folder / "keepers.txt"
        words = {"--characters": options.characters, "--facts": options.facts, "--seed": options.seed, "--out": text}
        given = [str(word) for pair in words.items() for word in pair]
        subprocess.run([sys.executable, str(EXAMPLE / "keepers.py"), *given], env=environment(), check=True)
        tasks: list[tuple[dict[str, Any], str, Any]] = [(COUNT, "count", options.facts)]
        tasks.append((EXTRACT, "items", sorted((fact.number, fact.keeper) for fact in known)))
        for fact in known[: options.questions]:
            question = f"Where does the keeper of the {fact.colour} box {fact.number} live?"
            tasks.append(({"question": question}, "answer", fact.town))
        for task, key, right in tasks:
            report, took, longest = run(folder, text, task | {"prompt": options.prompt})
            result = report.result or {}
            said: Any = result.get(key)
            if key == "items":
                said = sorted((item["box"], item["keeper"]) for item in said)
            wrong += said != right or longest > options.prompt
            shown = f"{len(said)} items" if key == "items" else str(said)
            apart = "-".join(str(found["slice"]) for found in result.get("found", []))
            rows.append((task["question"], shown, "right" if said == right else "WRONG", f"{result['slices']:,}", apart,
                         f"{report.steps:,}", f"{report.disputed:,}", f"{report.calls:,}", f"{report.prompt_tokens:,}",
                         f"{longest:,}", f"{took:.0f}"))  # fmt: skip
    table(
        f"a text of {options.characters:,} characters, seed {options.seed}, prompts of {options.prompt:,} at most",
        ("question", "result", "", "slices", "found in", "steps", "disputed", "calls", "prompt tokens",
         "longest prompt", "s"),
        rows,
    )  # fmt: skip
    return int(wrong > 0 and not options.smoke)


if __name__ == "__main__":
    sys.exit(main())
