"""The tables. Each name carries the prefix ``maker_``, so that they can live in a host's own database."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
)

HEAD = "0001"
"""The newest migration: what this version of maker reads and writes."""
VERSION_TABLE = "maker_schema_version"

metadata = MetaData()
_Key = BigInteger().with_variant(Integer, "sqlite")

run = Table(
    "maker_run",
    metadata,
    Column("id", _Key, primary_key=True),
    Column("run_id", Text, nullable=False, unique=True),
    Column("name", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("updated_at", Float, nullable=False),
    Column("settings", Text, nullable=False),
    Column("fingerprint", Text, nullable=False),
    Column("classes", Text, nullable=False),
    Column("result", Text),
    Column("steps", BigInteger, nullable=False),
    Column("votes", BigInteger, nullable=False),
    Column("red_flags", BigInteger, nullable=False),
    Column("disputed", BigInteger, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("wall_s", Float, nullable=False),
    Column("resumes", Integer, nullable=False),
    Column("fence", BigInteger, nullable=False),
    Column("holder", Text, nullable=False),
    Column("lease_until", Float, nullable=False),
)
"""One durable execution of a task. ``holder`` is empty when no process works on it."""

chain = Table(
    "maker_chain",
    metadata,
    Column("id", _Key, primary_key=True),
    Column("run", ForeignKey("maker_run.id"), nullable=False),
    Column("parent", ForeignKey("maker_chain.id")),
    Column("number", BigInteger, nullable=False),
    Column("cursor", BigInteger, nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("status", Text, nullable=False),
    Column("reason", Text, nullable=False),
    UniqueConstraint("run", "parent", "number"),
)
"""Steps of which each needs the one before. ``number`` is the chain's place among its parent's children."""

step = Table(
    "maker_step",
    metadata,
    Column("chain", BigInteger, primary_key=True, autoincrement=False),
    Column("idx", BigInteger, primary_key=True, autoincrement=False),
    Column("epoch", Integer, primary_key=True, autoincrement=False),
    Column("action", Text, nullable=False),
    Column("tally", LargeBinary, nullable=False),
    Column("tokens", Integer, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)
"""The log: one row a decided step, appended, never changed."""

snapshot = Table(
    "maker_snapshot",
    metadata,
    Column("chain", BigInteger, primary_key=True, autoincrement=False),
    Column("idx", BigInteger, primary_key=True, autoincrement=False),
    Column("epoch", Integer, primary_key=True, autoincrement=False),
    Column("state", Text, nullable=False),
    sqlite_with_rowid=False,
)
"""The state before step ``idx``: from the newest one a chain is resumed."""

sample = Table(
    "maker_sample",
    metadata,
    Column("chain", BigInteger, primary_key=True, autoincrement=False),
    Column("idx", BigInteger, primary_key=True, autoincrement=False),
    Column("epoch", Integer, primary_key=True, autoincrement=False),
    Column("vote", Integer, primary_key=True, autoincrement=False),
    Column("text", Text, nullable=False),
    Column("tokens", Integer, nullable=False),
    Column("candidate", Text),
    Column("flag", Text),
    Column("detail", Text, nullable=False),
    sqlite_with_rowid=False,
)
"""Raw replies of the steps whose samples are kept: ``candidate`` for a vote, ``flag`` and ``detail`` without one."""

ledger = Table(
    "maker_ledger",
    metadata,
    Column("run", ForeignKey("maker_run.id"), primary_key=True),
    Column("model", Text, primary_key=True),
    Column("role", Text, primary_key=True),
    Column("calls", BigInteger, nullable=False),
    Column("requests", BigInteger, nullable=False),
    Column("prompt_tokens", BigInteger, nullable=False),
    Column("completion_tokens", BigInteger, nullable=False),
)
"""What was spent, by model and role."""

grant = Table(
    "maker_grant",
    metadata,
    Column("id", _Key, primary_key=True),
    Column("run", ForeignKey("maker_run.id"), nullable=False),
    Column("calls", BigInteger, nullable=False),
    Column("tokens", BigInteger, nullable=False),
    Column("cost", Float, nullable=False),
    Column("settled", Boolean, nullable=False),
)
"""Reservations against a run's limits, written before they are used. One that is never settled counts as spent."""
