"""The tables. Each name carries the prefix ``maker_``, so that they can live in a host's own database."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
)

HEAD = "0017"
"""The schema that this version of maker reads and writes: its newest migration."""
VERSION_TABLE = "maker_schema_version"

metadata = MetaData()
_Key = BigInteger().with_variant(Integer, "sqlite")
_Index = BigInteger().with_variant(Integer, "postgresql")
LAST_INDEX = 2**31 - 2
"""The largest index of a step: PostgreSQL stores it, and the one after it, in four bytes."""

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
    Column("asked", Text, nullable=False, server_default=""),
    Column("batch", BigInteger, nullable=False, server_default="0"),
    Column("monitor", Text, nullable=False, server_default=""),
    Column("reused", BigInteger, nullable=False, server_default="0"),
    Column("saved", BigInteger, nullable=False, server_default="0"),
    Column("seal", LargeBinary),
    Column("counted", BigInteger, nullable=False, server_default="0"),
    Column("begun", LargeBinary),
)
"""One durable execution of a task.

``holder`` is empty when no process works on it. ``asked`` is what another process asks of the holder: "" or "cancel".
``batch`` counts the journal's transactions: it shows whether one took place whose connection was lost at the commit.
``monitor`` is the state of the vote monitor, see `maker.store.vote_monitor`. ``reused`` of its steps were taken from
the memo, and ``saved`` is how many samples they took when they were decided. ``seal``, here and in other tables, is a
digest of the row, see `maker.store.seals`; ``counted`` is a check sum of the counts. ``begun`` is a digest of what the
run was asked to do, see `maker.store.admission`; a ``fence`` of 0 says that nobody has ever worked on it.
"""

queued = Table(
    "maker_queue",
    metadata,
    Column("run", ForeignKey("maker_run.id"), primary_key=True),
    Column("queue", Text, nullable=False),
    Column("key", Text, nullable=False),
    Column("rank", Integer, nullable=False),
    Column("due", Float, nullable=False),
    Column("code", LargeBinary, nullable=False),
    Column("state", Text, nullable=False),
    Column("claims", Integer, nullable=False),
    Column("holder", Text, nullable=False),
    Column("until", Float, nullable=False),
    Column("faults", Integer, nullable=False),
    Column("note", Text, nullable=False),
    Index("maker_queue_next", "queue", "state", "rank", "run"),
    sqlite_with_rowid=False,
)
"""Runs that workers of a queue see to: a row each, beside the run's own, which every commit writes anew.

``state`` is "waiting", "claimed", or "left" once the queue has nothing more to do with it. ``rank`` is the priority
with its sign turned, so that an index in rising order gives the oldest run of the highest priority. ``due`` is when the
run may be claimed, in seconds since 1970. ``key`` is whom a limit counts it for, ``code`` a digest of the plugins'
code. ``claims`` counts the claims: a worker settles its own alone. ``holder`` has claimed it, and until ``until`` need
not have taken the run's lease. ``faults`` have stopped it in a row, and ``note`` says what kept it from going on.
"""

queue_worker = Table(
    "maker_queue_worker",
    metadata,
    Column("queue", Text, primary_key=True),
    Column("holder", Text, primary_key=True),
    Column("until", Float, nullable=False),
    sqlite_with_rowid=False,
)
"""The processes that serve a queue, whether they have a run of it or not; each renews ``until``."""

input_part = Table(
    "maker_input_part",
    metadata,
    Column("run", ForeignKey("maker_run.id"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("name", Text, nullable=False),
    Column("first", BigInteger, nullable=False),
    Column("rows", BigInteger, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("digest", Text, nullable=False),
)
"""The files that a run reads, in order, as they were when it began: the fields of a `maker.types.InputPart`."""

chain = Table(
    "maker_chain",
    metadata,
    Column("id", _Key, primary_key=True, autoincrement=False),
    Column("run", ForeignKey("maker_run.id"), nullable=False),
    Column("parent", ForeignKey("maker_chain.id")),
    Column("at", BigInteger, nullable=False),
    Column("fork_epoch", Integer, nullable=False),
    Column("number", BigInteger, nullable=False),
    Column("cursor", BigInteger, nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("status", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("result", Text),
    Column("base", BigInteger),
    Column("base_idx", BigInteger, nullable=False),
    Column("seal", LargeBinary),
    UniqueConstraint("parent", "at", "fork_epoch", "number"),
    Index("maker_chain_run", "run"),
    # Each commit moves cursors, and PostgreSQL writes the new version of a row beside the old one: leave it room.
    postgresql_with={"fillfactor": 40},
)
"""Sequences of steps in which each step needs the one before.

``id`` is the run's key times 2^24 plus the chain's number in the run, so that a driver can number chains without asking
the database. (``at``, ``fork_epoch``) is the parent's step that forked, ``number`` the number among its children. A
fork of single steps has one chain, number 0, whose step i is child i; its ``cursor`` is the first child that is still
open. The root chain of a forked run continues chain ``base`` from step ``base_idx``.
"""

fork = Table(
    "maker_fork",
    metadata,
    Column("chain", BigInteger, primary_key=True, autoincrement=False),
    Column("idx", _Index, primary_key=True, autoincrement=False),
    Column("epoch", Integer, primary_key=True, autoincrement=False),
    Column("count", BigInteger, nullable=False),
    Column("single", Boolean, nullable=False),
    Column("joined", BigInteger, nullable=False),
    Column("state", Text, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("seal", LargeBinary),
    sqlite_with_rowid=False,
)
"""A step that forked: ``joined`` children are folded into ``state`` and ``digest``, in child order."""

step = Table(
    "maker_step",
    metadata,
    Column("chain", BigInteger, primary_key=True, autoincrement=False),
    Column("idx", _Index, primary_key=True, autoincrement=False),
    Column("epoch", Integer, primary_key=True, autoincrement=False),
    Column("action", Text, nullable=False),
    Column("tally", LargeBinary, nullable=False),
    Column("tokens", Integer, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)
"""The log: one row a decided step, appended, never changed. A join is a row too: its tally is empty."""

cut = Table(
    "maker_cut",
    metadata,
    Column("chain", BigInteger, primary_key=True, autoincrement=False),
    Column("idx", _Index, primary_key=True, autoincrement=False),
    Column("epoch", Integer, primary_key=True, autoincrement=False),
    Column("reason", Text, nullable=False),
    sqlite_with_rowid=False,
)
"""Where ``epoch`` of a chain begins: steps of earlier epochs from ``idx`` on are superseded. Nothing is deleted.

In a fork of single steps each child has epochs of its own.
"""

outcome = Table(
    "maker_outcome",
    metadata,
    Column("chain", BigInteger, primary_key=True, autoincrement=False),
    Column("idx", _Index, primary_key=True, autoincrement=False),
    Column("epoch", Integer, primary_key=True, autoincrement=False),
    Column("outcome", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("seal", LargeBinary),
    sqlite_with_rowid=False,
)
"""The children of forks of single steps that have no good decision or are decided again, and why.

``outcome`` is the value of a `maker.types.Outcome`.
"""

snapshot = Table(
    "maker_snapshot",
    metadata,
    Column("chain", BigInteger, primary_key=True, autoincrement=False),
    Column("idx", _Index, primary_key=True, autoincrement=False),
    Column("epoch", Integer, primary_key=True, autoincrement=False),
    Column("state", Text, nullable=False),
    Column("seal", LargeBinary),
    sqlite_with_rowid=False,
)
"""The state before step ``idx``; a chain is resumed from its newest one."""

sample = Table(
    "maker_sample",
    metadata,
    Column("chain", BigInteger, primary_key=True, autoincrement=False),
    Column("idx", _Index, primary_key=True, autoincrement=False),
    Column("epoch", Integer, primary_key=True, autoincrement=False),
    Column("vote", Integer, primary_key=True, autoincrement=False),
    Column("text", LargeBinary, nullable=False),
    Column("tokens", Integer, nullable=False),
    Column("candidate", Text),
    Column("flag", Text),
    Column("detail", Text, nullable=False),
    Column("model", Integer, nullable=False, server_default="0"),
    Column("logprob", Float),
    Column("system", LargeBinary),
    Column("temperature", Float),
    sqlite_with_rowid=False,
)
"""Raw replies of the steps whose samples are kept: ``candidate`` for a vote, ``flag`` and ``detail`` for a red flag.

``text`` is the digest of the reply in ``maker_text``, ``model`` the number of its model in the pool. ``system`` (a
digest) and ``temperature`` are set only if they differ from the step's system prompt and the model's temperature.
"""

prompt = Table(
    "maker_prompt",
    metadata,
    Column("chain", BigInteger, primary_key=True, autoincrement=False),
    Column("idx", _Index, primary_key=True, autoincrement=False),
    Column("epoch", Integer, primary_key=True, autoincrement=False),
    Column("system", LargeBinary, nullable=False),
    Column("prompt", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)
"""The prompts of the steps whose samples are kept: digests in ``maker_text`` of the shared part and the rest."""

text = Table(
    "maker_text",
    metadata,
    Column("digest", LargeBinary, primary_key=True),
    Column("body", Text, nullable=False),
    sqlite_with_rowid=False,
)
"""Prompts and replies, each stored once, by the digest of its text."""

outside = Table(
    "maker_outside",
    metadata,
    Column("chain", BigInteger, primary_key=True, autoincrement=False),
    Column("run", ForeignKey("maker_run.id"), nullable=False),
    Column("place", Text, nullable=False),
    Column("step", BigInteger, nullable=False),
    Column("kind", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("prompt", Text, nullable=False),
    Column("answers", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("begun_at", Float, nullable=False),
    Column("deadline", Float),
    Column("answer", Text),
    Column("answered_by", Text, nullable=False),
    Column("answered_at", Float),
    Index("maker_outside_run", "run", "state"),
    Index("maker_outside_state", "state", "deadline"),
)
"""Effects and waits: ``chain`` is the child that holds the record, at step ``step`` of the chain named ``place``.

``kind`` is ``effect`` or ``wait``, ``answers`` the JSON schema of its answer, ``state`` one of
`maker.store.outside.State`. ``answer`` is JSON that somebody has given, and that is still to be recorded or has been.
"""

referral = Table(
    "maker_referral",
    metadata,
    Column("chain", BigInteger, primary_key=True, autoincrement=False),
    Column("idx", _Index, primary_key=True, autoincrement=False),
    Column("epoch", Integer, primary_key=True, autoincrement=False),
    Column("run", ForeignKey("maker_run.id"), nullable=False),
    Column("place", Text, nullable=False),
    Column("step", BigInteger, nullable=False),
    Column("name", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("proposals", Text, nullable=False),
    Column("tally", LargeBinary, nullable=False),
    Column("tokens", Integer, nullable=False),
    Column("closed", Boolean, nullable=False),
    Column("begun_at", Float, nullable=False),
    Column("answer", Text),
    Column("answered_by", Text, nullable=False),
    Column("answered_at", Float),
    Index("maker_referral_run", "run", "closed", "begun_at"),
    Index("maker_referral_name", "run", "name"),
    sqlite_with_rowid=False,
)
"""Undecided steps that a person is asked about: ``name`` is what people call one, or step ``step`` of chain ``place``.

``kind`` is the step's class, ``proposals`` the candidates as JSON, ``tally`` the packed count of the votes. ``answer``
is the action that somebody has chosen; ``closed`` says that it is in the log.
"""

review = Table(
    "maker_review",
    metadata,
    Column("chain", BigInteger, primary_key=True, autoincrement=False),
    Column("idx", _Index, primary_key=True, autoincrement=False),
    Column("epoch", Integer, primary_key=True, autoincrement=False),
    Column("run", ForeignKey("maker_run.id"), nullable=False),
    Column("row", BigInteger, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("answer", Text, nullable=False),
    Column("tally", LargeBinary, nullable=False),
    Column("tokens", Integer, nullable=False),
    Column("seal", LargeBinary, nullable=False),
    Index("maker_review_run", "run"),
    sqlite_with_rowid=False,
)
"""Rows of a map that people have decided after their votes were over: ``answer`` stands beside the log.

``chain``, ``idx`` and ``epoch`` are those of the row's ``outcome``, which says why votes have not decided it; ``row``
is its number in the input. ``tally`` holds the votes, and who has answered when. See `maker.store.reviews`.
"""

source = Table(
    "maker_source",
    metadata,
    Column("run", ForeignKey("maker_run.id"), primary_key=True),
    Column("file", Text, primary_key=True),
    Column("text", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)
"""The files of code that a run is pinned to: ``text`` is the digest of a file's content in ``maker_text``."""

change = Table(
    "maker_change",
    metadata,
    Column("run", ForeignKey("maker_run.id"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("at", Float, nullable=False),
    Column("fingerprint", Text, nullable=False),
    Column("last", BigInteger, nullable=False),
    Column("places", Text, nullable=False),
    Column("seal", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)
"""Where a run went on with other code: ``fingerprint`` held until then. Chains after ``last`` began later, and
``places`` says how far each chain had come that was not done, see `maker.store.code`."""

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
    Column("cached_tokens", BigInteger, nullable=False, server_default="0"),
    Column("retries", BigInteger, nullable=False, server_default="0"),
    # Databases of older versions have the column under this name.
    Column("untold", BigInteger, key="unaccounted", nullable=False, server_default="0"),
    Column("votes", BigInteger, nullable=False, server_default="0"),
    Column("red_flags", BigInteger, nullable=False, server_default="0"),
)
"""Usage by model and role, with votes and flagged samples; superseded and undecided steps count too."""

worker = Table(
    "maker_worker",
    metadata,
    Column("run", ForeignKey("maker_run.id"), primary_key=True),
    Column("stint", Integer, primary_key=True, autoincrement=False),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("place", Text, nullable=False),
    Column("steps", BigInteger, nullable=False),
    Column("calls", BigInteger, nullable=False),
    Column("prompt_tokens", BigInteger, nullable=False),
    Column("completion_tokens", BigInteger, nullable=False),
    Column("gone", Text, nullable=False),
)
"""The workers of each session; ``stint`` is the session's number, how often the run had been resumed. ``gone`` says why
a worker was lost."""

event = Table(
    "maker_event",
    metadata,
    Column("id", _Key, primary_key=True),
    Column("run", ForeignKey("maker_run.id"), nullable=False),
    Column("at", Float, nullable=False),
    Column("kind", Text, nullable=False),
    Column("facts", Text, nullable=False),
    Index("maker_event_run", "run"),
)
"""Events of a run: lost workers, unavailable models, alarms of the vote monitor."""

calibration = Table(
    "maker_calibration",
    metadata,
    Column("id", _Key, primary_key=True),
    Column("made_at", Float, nullable=False),
    Column("fingerprint", Text, nullable=False),
    Column("content", Text, nullable=False),
)
"""Calibrations: a `maker.calibration.observations.Calibration` as JSON, and the part of a job that it depends on. They
are kept when their runs are deleted."""

grant = Table(
    "maker_grant",
    metadata,
    Column("id", _Key, primary_key=True),
    Column("run", ForeignKey("maker_run.id"), nullable=False),
    Column("calls", BigInteger, nullable=False),
    Column("tokens", BigInteger, nullable=False),
    Column("cost", Float, nullable=False),
    Column("settled", Boolean, nullable=False),
    Column("shared", Text),
)
"""Reservations against a run's limits, written before they are used. A grant that is never settled counts as spent.

``shared`` is the key of the shared limit whose money its cost was taken of as well.
"""

shared_limit = Table(
    "maker_limit",
    metadata,
    Column("key", Text, primary_key=True),
    Column("requests_per_minute", Integer),
    Column("tokens_per_minute", BigInteger),
    Column("concurrency", Integer),
    Column("max_cost", Float),
    Column("window", Text, nullable=False),
    Column("paused_until", Float, nullable=False),
    Column("spent", Float, nullable=False),
    sqlite_with_rowid=False,
)
"""Limits that all workers share whose jobs name their key; what is not limited is null.

``window`` is what was granted in the last minute, see `maker.store.rate_window`. ``paused_until`` is when a server
wants the next request, by this database's clock. ``spent`` is money, with what is reserved and not settled yet.
"""

shared_worker = Table(
    "maker_limit_worker",
    metadata,
    Column("key", ForeignKey("maker_limit.key"), primary_key=True),
    Column("worker", Text, primary_key=True),
    Column("slots", BigInteger, nullable=False),
    Column("wanted", BigInteger, nullable=False),
    Column("least", BigInteger),
    Column("since", Float, nullable=False),
    Column("until", Float, nullable=False),
    sqlite_with_rowid=False,
)
"""The workers that use a shared limit now: ``slots`` requests each may have in flight, of ``wanted``.

A request of ``least`` tokens waits for its turn since ``since``, none where that is null. Until ``until`` the slots are
the worker's; all times are those of the database's clock.
"""

memo = Table(
    "maker_memo",
    metadata,
    Column("space", LargeBinary, primary_key=True),
    Column("question", LargeBinary, primary_key=True),
    Column("chain", BigInteger, nullable=False),
    Column("idx", _Index, nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("calls", Integer, nullable=False),
    Column("seal", LargeBinary),
    Index("maker_memo_chain", "chain", "idx"),
    sqlite_with_rowid=False,
)
"""Decisions that runs may reuse, by cache namespace (``space``) and question, see `maker.voting.memo`; ``calls`` is how
many samples each took. Superseded decisions and those of failed or deleted runs are removed from it."""

memo_use = Table(
    "maker_memo_use",
    metadata,
    Column("run", ForeignKey("maker_run.id"), primary_key=True),
    Column("chain", BigInteger, primary_key=True, autoincrement=False),
    Column("idx", _Index, primary_key=True, autoincrement=False),
    Column("epoch", Integer, primary_key=True, autoincrement=False),
    Index("maker_memo_use_chain", "chain"),
    sqlite_with_rowid=False,
)
"""The steps of other runs whose decisions a run reuses, each once."""

batch = Table(
    "maker_batch",
    metadata,
    Column("run", ForeignKey("maker_run.id"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("tag", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("names", LargeBinary, nullable=False),
    Column("file", Text, nullable=False),
    Column("batch", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("begun_at", Float, nullable=False),
    Column("look_at", Float, nullable=False),
    Column("grant_id", _Key, nullable=False),
    Column("tokens", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
"""Batches of requests at a provider, see `maker.types.SentBatch`: ``batch`` is its id there, ``names`` are those of its
requests, a line each, compressed. ``grant_id`` reserves what it may cost, ``look_at`` is when to look at it next.
"""
