"""A map through the command line: killed with -9 five times, and its files are byte for byte those of a whole run."""

from __future__ import annotations

import json
import math
import os
import random
import shutil
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from processes import Commands

KILLS = 5
SEED = int(os.environ.get("MAKER_TEST_SEED", "20262"))
P, K, RIVALS = 0.9, 3, 1
TASK = """\
import re
from maker.plugin import Truth


def truth(prompt):
    even = int(re.search(r"[0-9]+", prompt)[0]) % 2 == 0
    return Truth(("even",), ("odd",)) if even else Truth(("odd",), ("even",))
"""
JOB = f"""\
[task]
decomposer = "map"
truth = "task.py:truth"
input = "parts/*.csv"
template = "Is {{{{number}}}} even or odd?"
output = "out"
[model]
kind = "simulated"
p = {P}
rivals = {RIVALS}
latency_s = 0.02        # so that no kill comes after the end, however fast the machine
[swarm]
chains = 64
[vote]
k = {K}
max_votes = 9
"""


def make(folder: Path, rows: int) -> None:
    """Write the input, ten files with all the rows, and the job."""
    (folder / "parts").mkdir(parents=True)
    for part in range(10):
        numbers = range(part * rows // 10, (part + 1) * rows // 10)
        text = "number,note\n" + "".join(f'{number},"{{a}} ""b""\nc"\n' for number in numbers)
        (folder / "parts" / f"{part:03}.csv").write_text(text)
    (folder / "task.py").write_text(TASK)
    (folder / "job.toml").write_text(JOB)


def files(folder: Path) -> dict[str, bytes]:
    """Return the output's files, but the one that names the run."""
    return {file.name: file.read_bytes() for file in (folder / "out").iterdir() if file.name != "maker-run.json"}


@pytest.mark.parametrize(("commands_in", "rows"), [("sqlite", 20_000), ("pgbouncer", 4_000)], indirect=["commands_in"])
def test_a_killed_map_loses_no_row_and_repeats_none(
    commands_in: Callable[[Path], Commands], tmp_path: Path, rows: int
) -> None:
    """Outcomes add up to the rows, wrong answers to what the vote promises, and kills change no byte."""
    make(tmp_path / "whole", rows)
    shutil.copytree(tmp_path / "whole", tmp_path / "killed")
    whole, killed = commands_in(tmp_path / "whole"), commands_in(tmp_path / "killed")
    undisturbed = whole.start("run", "job.toml")
    draw = random.Random(SEED)
    process = killed.start("run", "job.toml")
    for kill, steps in enumerate(sorted(draw.sample(range(rows // 20, rows * 9 // 10), KILLS))):
        killed.wait_for(steps, process, resumes=kill)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process = killed.start("resume", "last")
    # Some rows stay undecided.
    assert process.wait(120) == 3, killed.output()
    assert undisturbed.wait(120) == 3, whole.output()
    expected = files(whole.folder)
    assert files(killed.folder) == expected
    shown = killed.json("show", "last")
    assert shown["resumes"] == KILLS
    assert shown["digest"] == whole.json("show", "last")["digest"]
    killed.good("verify", "last", fresh=True)
    results = [json.loads(line) for line in killed.good("results", "last", "--json", fresh=True).splitlines()]
    assert [one["row"] for one in results] == list(range(rows))
    kinds = Counter(one["outcome"] for one in results)
    assert shown["result"] == {"rows": rows, **kinds}
    written = [content for name, content in sorted(expected.items()) if name.startswith("rows-")]
    decided = [json.loads(line) for content in written for line in content.splitlines()]
    assert len(decided) == kinds["decided"]
    assert [int(row["number"]) for row in decided] == sorted({int(row["number"]) for row in decided})
    # Of rows decided by k votes ahead, 1 in 1 + (p / (1 - p))^k is wrong (the gambler's ruin), whatever the cap.
    promised = 1 / (1 + (P / (1 - P)) ** K)
    wrong = sum(row["answer"] != ("odd" if int(row["number"]) % 2 else "even") for row in decided)
    assert abs(wrong - promised * len(decided)) <= 4 * math.sqrt(promised * len(decided))
