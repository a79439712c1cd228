"""Open chains that are read together: what is read of each is what one reads of it alone."""

from __future__ import annotations

from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

from sqlalchemy import select

from maker import api
from maker.store.backend import schema
from maker.store.backend.database import open_database
from maker.store.chains import ForkRow, read_children
from maker.store.log import read_steps
from maker.store.open_chain import OpenChain, open_chains

SHAPES = (2, 12)


def held(one: OpenChain) -> dict[str, Any]:
    """Return all that is read of a chain."""
    return {
        "cuts": one.cuts, "snapshot": one.newest_snapshot(), "steps": list(one.steps(0)), "fork": one.fork(),
        "children": one.has_children(), "ahead": one.ahead(),
    }  # fmt: skip


def test_read_together_is_as_read_alone(tmp_path: Path) -> None:
    """Of chains with and without snapshots, forks and cuts, in runs that were retried, the same rows are found."""
    seen: Counter[str] = Counter()
    for shape in SHAPES:
        url = f"sqlite:///{tmp_path}/{shape}.db"
        tree = {"decomposer": "benchmarks.shared.tasks.trees:Tree", "shape": shape, "length": 9, "width": 6}
        api.run(
            {
                "task": tree | {"depth": 3},
                "model": {"kind": "simulated", "p": 0.7, "rivals": 2},
                "vote": {"k": 2, "max_votes": 3},
                "swarm": {"chains": 50},
                "store": {"url": url},
            },
            limit_steps=600,
        )
        for _ in range(3):
            api.retry("last", store=url)
        with closing(open_database(url, create=False)) as database:
            for fork in [ForkRow(*row) for row in database.fetch(select(schema.fork).where(~schema.fork.c.single))]:
                for chain, one in open_chains(database, read_children(database, fork, ())):
                    if one is None:
                        assert chain.status == "done"
                        continue
                    found = held(one)
                    assert found == held(OpenChain.alone(database, chain))
                    seen.update(name for name, value in found.items() if value)
                    if one.short:
                        seen["short"] += 1
                        seen["cut"] += bool(one.cuts)
                        seen["superseded"] += len(one.short) < len(list(read_steps(database, chain.key, cuts=())))
    assert {"cuts", "snapshot", "steps", "fork", "children"} <= seen.keys()
    assert 0 < seen["superseded"] < seen["cut"] < seen["short"] < seen["steps"]
