"""How chains are named: by the forks and the child numbers that lead to them from the root."""

from __future__ import annotations

import re

Path = tuple[int, ...]
"""Three numbers a fork on the way: the parent's step that forks, its epoch, the child's number; () for the root.

A fork of single steps is one chain whose path ends with step and epoch; its step i is child i.
"""

ROOT: Path = ()
_FORK = re.compile(r"(\d+)(?:~(\d+))?\.(\d+)")


def chain_name(path: Path, child: int | None = None) -> str:
    """Return a chain's name: ``root``, or ``0.17/5.3``: child 3 of the fork at step 5 of child 17 of that at step 0.

    An epoch that is not the first is written after its step: ``0~1.17``. ``child`` completes the path of a fork of
    single steps.
    """
    whole = path if child is None else (*path, child)
    forks = [whole[place : place + 3] for place in range(0, len(whole), 3)]
    return "/".join(f"{at}{f'~{epoch}' if epoch else ''}.{number}" for at, epoch, number in forks) or "root"


def step_name(chain: str, step: int) -> str:
    """Return how people name a step of a chain of that name: ``3``, or ``0.17:3`` in another chain than the root."""
    return str(step) if chain == chain_name(ROOT) else f"{chain}:{step}"


def read_name(name: str) -> Path:
    """Return the path of a chain's name. Raises ``ValueError`` for what is none."""
    if name == "root":
        return ROOT
    found = [_FORK.fullmatch(part) for part in name.split("/")]
    if not all(found):
        raise ValueError(f"no chain's name: {name!r}; they are written like root, 0.17 or 0.17/5.3")
    return tuple(int(part or 0) for match in found if match for part in match.groups())


def is_single(path: Path) -> bool:
    """Say whether a path is that of a fork of single steps."""
    return len(path) % 3 == 2
