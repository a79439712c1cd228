"""Forks and joins, cuts, forked runs; prompts and replies stored once, by content."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import blake2b
from typing import Any

import sqlalchemy as sa

from maker.store.backend.operations import Operations

_Key = sa.BigInteger().with_variant(sa.Integer, "sqlite")
PAGE = 10_000


def upgrade(op: Operations) -> None:
    """Widen chains and samples, and add what forks need."""
    op.add_column("maker_run", sa.Column("asked", sa.Text, nullable=False, server_default=""))
    op.add_column("maker_run", sa.Column("batch", sa.BigInteger, nullable=False, server_default="0"))
    _chains(op)
    _forks(op)
    _texts(op)
    _samples(op)


def _chains(op: Operations) -> None:
    # Made anew: a chain's place among its siblings now names the fork, and SQLite cannot change a constraint.
    op.rename_table("maker_chain", "maker_chain_old")
    op.create_table(
        "maker_chain",
        sa.Column("id", _Key, primary_key=True, autoincrement=False),
        sa.Column("run", _Key, sa.ForeignKey("maker_run.id"), nullable=False),
        sa.Column("parent", _Key, sa.ForeignKey("maker_chain.id")),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("fork_epoch", sa.Integer, nullable=False),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.Column("cursor", sa.BigInteger, nullable=False),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("result", sa.Text),
        sa.Column("base", sa.BigInteger),
        sa.Column("base_idx", sa.BigInteger, nullable=False),
        sa.UniqueConstraint("parent", "at", "fork_epoch", "number"),
        postgresql_with={"fillfactor": 40},
    )
    old = op.table("maker_chain_old", "id", "run", "number", "cursor", "epoch", "digest", "status")
    new = op.table("maker_chain", *old.c.keys(), "at", "fork_epoch", "reason", "base_idx")
    zero: sa.ColumnElement[int] = sa.literal_column("0")
    rows = sa.select(*old.c, zero, zero, sa.literal_column("''"), zero)
    op.execute(new.insert().from_select(new.c.keys(), rows))
    op.drop_table("maker_chain_old")
    op.create_index("maker_chain_run", "maker_chain", ["run"])


def _place() -> list[sa.Column[Any]]:
    return [
        sa.Column("chain", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("idx", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("epoch", sa.Integer, primary_key=True, autoincrement=False),
    ]


def _forks(op: Operations) -> None:
    op.create_table(
        "maker_fork",
        *_place(),
        sa.Column("count", sa.BigInteger, nullable=False),
        sa.Column("single", sa.Boolean, nullable=False),
        sa.Column("joined", sa.BigInteger, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table("maker_cut", *_place(), sa.Column("reason", sa.Text, nullable=False), sqlite_with_rowid=False)
    op.create_table(
        "maker_outcome",
        *_place(),
        sa.Column("outcome", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sqlite_with_rowid=False,
    )


def _texts(op: Operations) -> None:
    op.create_table(
        "maker_text",
        sa.Column("digest", sa.LargeBinary, primary_key=True),
        sa.Column("body", sa.Text, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "maker_prompt",
        *_place(),
        sa.Column("system", sa.LargeBinary, nullable=False),
        sa.Column("prompt", sa.LargeBinary, nullable=False),
        sqlite_with_rowid=False,
    )


def _samples(op: Operations) -> None:
    op.rename_table("maker_sample", "maker_sample_old")
    op.create_table(
        "maker_sample",
        *_place(),
        sa.Column("vote", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("text", sa.LargeBinary, nullable=False),
        sa.Column("tokens", sa.Integer, nullable=False),
        sa.Column("candidate", sa.Text),
        sa.Column("flag", sa.Text),
        sa.Column("detail", sa.Text, nullable=False),
        sqlite_with_rowid=False,
    )
    names = ("chain", "idx", "epoch", "vote", "text", "tokens", "candidate", "flag", "detail")
    new = op.table("maker_sample", *names)
    texts = op.table("maker_text", "digest", "body")
    seen: set[bytes] = set()
    for rows in _old_samples(op, names):
        bodies = {_digest(row["text"]): row["text"] for row in rows}
        if fresh := [{"digest": digest, "body": body} for digest, body in bodies.items() if digest not in seen]:
            op.insert(texts, fresh)
        seen |= bodies.keys()
        op.insert(new, [{**row, "text": _digest(row["text"])} for row in rows])
    op.drop_table("maker_sample_old")


def _old_samples(op: Operations, names: tuple[str, ...]) -> Iterator[list[dict[str, Any]]]:
    old = op.table("maker_sample_old", *names)
    place = (old.c.chain, old.c.idx, old.c.epoch, old.c.vote)
    after: tuple[int, ...] | None = None
    while True:
        query = sa.select(*(old.c[name] for name in names)).order_by(*place).limit(PAGE)
        if after is not None:
            query = query.where(sa.tuple_(*place) > after)
        rows = [dict(row) for row in op.connection.execute(query).mappings()]
        if not rows:
            return
        yield rows
        after = tuple(rows[-1][name] for name in ("chain", "idx", "epoch", "vote"))


def _digest(text: str) -> bytes:
    # As maker.voting.tally.text_digest was when this was written.
    return blake2b(text.encode(), digest_size=16, person=b"maker-text").digest()
