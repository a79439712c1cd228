"""Checks the moves of a run by the rules of the game alone; imports nothing of maker and nothing of its tasks.

    maker steps last --json | python examples/check_hanoi.py 10

Exits 0 if every move was legal and the tower stands on the last peg, else 1 with the first wrong move.
"""

from __future__ import annotations

import json
import sys


def check(lines: list[str], disks: int) -> str:
    """Play the moves on three stacks of numbers; returns "" or what is wrong."""
    pegs = [list(range(disks, 0, -1)), [], []]
    for number, line in enumerate(lines):
        move = json.loads(line)["action"]
        disk, source, target = move["disk"], pegs[move["from"]], pegs[move["to"]]
        if not source or source[-1] != disk:
            return f"move {number}: disk {disk} is not on top of peg {move['from']}"
        if target and target[-1] < disk:
            return f"move {number}: disk {disk} would lie on disk {target[-1]}"
        target.append(source.pop())
    if len(pegs[2]) != disks:
        return f"after {len(lines)} moves the last peg holds {len(pegs[2])} of {disks} disks"
    return ""


def main() -> int:
    """Read moves from standard input."""
    disks = int(sys.argv[1])
    lines = sys.stdin.readlines()
    if wrong := check(lines, disks):
        print(f"WRONG: {wrong}")
        return 1
    print(f"all {len(lines):,} moves are legal, and the tower of {disks} disks stands on the last peg")
    return 0


if __name__ == "__main__":
    sys.exit(main())
