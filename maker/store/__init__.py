"""The store: runs, chains and decided steps in a SQL database. The only package that imports SQLAlchemy.

`backend` holds the databases, SQLite and PostgreSQL, with tables and migrations. docs/architecture.md lists the
tables.

**One writer.** A run's `journal` commits everything that waits in one transaction: steps, samples, snapshots, cursor,
counts, ledger. Each transaction checks the run's fence and renews its lease. The chain's cursor is moved by
compare-and-set. Whoever lost the run writes nothing more. A thread of the journal commits while the next steps are
decided. Where each step waits for its commit, the run's own thread commits, unless it is the main one, which Ctrl-C
interrupts.

**Group commit.** Journals of one process and database that commit at the same time do so in one transaction
(`group_commit`, `transaction`): the first thread that comes writes for all, by one statement on PostgreSQL. Nobody
hears of a step before that commit. The fence and the cursors of every run are checked in it. If one is not as it should
be, or anything else fails, nothing is written, and each run writes its own part alone, in its own thread. So the run
that is to blame hears of it, and a commit that took place after all is found by its ``batch``. A transaction of more
than 100 rows, one that begins chains, and one with decisions for the memo are written alone.

**Durability.** ``synchronous = FULL``, so what was committed survives a power cut. What was decided and not committed
is decided again from the same seeds. With ``durability = "group"`` that is what came in during the commit before, and
one slice: a tenth of a second or so. With ``strict`` a chain's next step begins when its last one is committed.

**A lost commit.** A server may go away during a commit. The run's ``batch`` number settles whether the transaction
took place: the next attempt sees it.

**Lease.** The holder is a process: machine, id, start time (`lease`). A machine is its host name, the number of its
kernel's boot and the process-id namespace, for containers share names. A dead process of this machine is seen at once.
One elsewhere is seen when its lease of 15 s runs out, by this machine's clock; the fence keeps a run whole whatever the
clocks say. A thread renews the lease from the moment of taking over (`keeper`), whatever the holder is busy with. A
lease is taken after all that can fail was tried, and only if nothing was decided meanwhile. A run whose process is gone
reads as ``paused``. A holder that was only stopped, and wakes after another took over, finds its fence gone at its
first write, and says so. ``maker cancel`` asks a living holder through the run's row, which it reads with every
transaction.

**Queues.** A run that a queue's worker is to see to has a row in ``maker_queue`` (`queue`). A claim is a line there,
made before the run's lease is taken: by ``SKIP LOCKED`` on PostgreSQL, by the one writer on SQLite. It lives as long as
its process, and 15 s after the run was last written to. Where there are limits, claims take turns, so that two workers
do not both find the last place. Who resumes a run by hand takes it out of its queue in the transaction that takes the
lease. `admission` writes runs under given ids, by a connection of a host's own too.

**Ledger.** What a run spent is kept by model and role with votes and flags (``maker_ledger``), what was done by worker
(``maker_worker``), and what happened beside the steps, a lost worker for example, as rows (``maker_event``). ``maker
show`` prints all three.

**Forked runs** (``maker fork RUN --at STEP``) copy nothing. The new root chain goes on from step STEP of another run's
(``base``), whose steps are read through. Its own first step links to the digest before it and to the new fingerprint.
``prune`` refuses a run that such a fork needs. A run in which ``prune`` was cut off is "pruning": it can neither be
forked nor resumed, and goes when ``prune`` is given again (`remove`).

**Memo.** `memo` writes decisions to ``maker_memo`` in the transaction of their steps; the first one on a question
stays. It writes to ``maker_memo_use`` which decisions of other runs a run has taken, so ``prune`` knows that they are
needed. A writer that takes a run's decision for the first time locks that run's row, so the run cannot go meanwhile. A
cut forgets what it supersedes, the children of superseded forks too. A run that ends ``failed`` forgets all that it
decided. A cache namespace, stored as ``space``, is what decisions are shared within: a digest of all that decides how
a question comes out, made of the fingerprint, or of the run's id.

**The monitor.** The writer asks `vote_monitor` before each transaction, once however often that is tried. It counts
the votes of the steps that are about to be committed; of a clean step it reads one byte. What it finds is written with
them: its counts in the run's row, alarms as events. After the commit the journal publishes what an alarm leads to. The
driver pauses the run; or it sends ``Orders.decorrelated`` to every worker, and to each new one before anything else. A
worker then opens such steps with `Kind.varied`: a longer rotation, and prompt variants (wordings, temperatures) that
go round by vote. A request asks in one variant. Which classes are asked so is part of the counts, so a resume begins
with it. Seeds are what they were.

**Calibrations** are appended, never changed, and kept when their runs are pruned (`calibrations`).

A schema change is a migration in ``backend/migrations/versions``, with ``schema.py`` and ``HEAD`` beside it. SQLite is
upgraded when it is opened, PostgreSQL by ``maker db upgrade``.
"""
