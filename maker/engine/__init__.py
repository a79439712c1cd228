"""The engine: drives a run to its end, keeps its budget, and finds where a run goes on.

`driver` sends orders out, takes reports in, and puts every report into the journal, until the run ends or must stop.
`scheduler` says which chains are in work and what is handed out next. The driver names chains itself: a run's key
times 2^24, and a counter. So nothing on the way of a step or a child waits for the database. Everything goes one way,
through the journal.

**Forks.** ``next`` may return ``Fork(count, child, join, then, single)``. The worker reports `Forked` and lets the
chain go. The scheduler keeps the fork and hands its children out: twice as many chains as a worker has in work
(``swarm.chains``), those of the newest fork first. Memory is bounded by window times depth, whatever the width. Forks
may stand 100 deep within one another. The worker makes a child's state itself, with ``child(state, i)``, from the
parent's state.

**Joins.** Children end in any order. `join` reads their results from the store in child order and folds them, and the
fork's row keeps how far that is. When all are joined, a row without votes takes the fork's place in the parent's log,
and the parent goes on in the state that ``then`` makes. A ``then`` that leaves the state as it was would fork for
ever; it is refused.

- A fork of single steps (``single=True``: a map) is one chain. Its step i is child i, and steps are decided in any
  order. Its cursor is the child before which all are settled. A resume looks at what lies after that, at most 100,000
  rows, and at the children without a good decision.
- Otherwise each child is a chain of its own, with its own cursor and snapshots, and may fork in turn.
- A fork of single steps with ``missed`` is lenient: a child without a good decision holds nothing up. It has an
  outcome instead of a step: ``undecided``; ``rejected``, no reply was a valid vote; ``failed``, it could not be asked;
  ``wrong``, it ended so. ``missed`` folds the outcome in its place, and the digest takes it in. Past
  ``limits.max_undecided`` the run pauses. ``retry --outcome undecided,failed`` decides those anew and joins all again.
- A child of a fork of single steps that its model does not answer is ``failed`` if the fault is its own, which the
  others show (`row_faults`): it is where they are answered while it is not. Where many get no reply and none is
  answered, it is the model's fault: the run pauses, and they are asked again.
- A child that is undecided, whose task code fails, that ends wrong, or that ``join`` refuses lets its branch rest. The
  others go on; then the run pauses and names it. ``resume`` goes on with undecided ones, say with a higher
  ``max_votes``. ``retry`` cuts them: they are decided anew in the next epoch, from new seeds.

**People.** With ``vote.on_undecided = "ask"`` an undecided step is referred to a person (`referrals`): it waits in the
store, with its candidates, and its chain rests. A single step of a fork has the outcome ``asked`` meanwhile, which lets
those after it go on and holds the join up. An answer is checked against the task's rules where it is given. The driver
takes it from the store, writes the step with the votes that were cast and who decided, and lets the chain go on. It is
closed in that transaction, so an answer is written once.

**Recovery.** `recovery` reads the newest snapshot and fewer than 1,000 actions after it, or as much text of them as
the state has. It never reads the history. `restore_forks` opens a fork again as the store holds it; its unfinished
chains are restored one by one while the first ones work already.

**Replies of no use.** `first_replies` pauses a run whose first replies bring no valid vote. `causes` writes the reasons
of pauses, and tells from them what kind of cause they have: exit codes follow from that.

**Limits.** `budget` keeps them by reservation. A grant (`grants`, a twentieth of the limit) is written before it is
used, drawn down in the transaction that writes the ledger, and closed when it is used up or the run stops. What a dead
process left open counts as spent, at its worst. So does what a server may bill of requests that were cancelled or cut
off in flight; the ledger counts such calls as ``unaccounted``. Asked for again, such a request is reserved again.
Replies that cannot vote, another model's for example, are calls like any others. Used and reserved together never pass
a limit, by the server's own count too, as ``benchmarks/recovery/faults.py limits`` shows. This takes servers at their
word about tokens, and takes refusals and errors (HTTP 4xx, 5xx) for unbilled. Where there are limits, each worker has
a grant of its own, and a lost worker's grant counts as spent.

**One budget of votes.** With ``vote.budget`` each row of a map asks once for the votes that could decide it. One that
is open then is put off: its samples stay in the store, with the outcome ``deferred``, and its chain is let go. When no
row is in work, `vote_budget` reads all tallies, says which rows are asked again, and commits that (``again``) with an
event that holds what was given out so far. Such a row goes on from its samples, at the vote after them. What decides
who is asked stands in the store, so that a resume, a lost worker and a second worker change nothing.

**Memo.** `memo_feed` tells workers which decisions they may take again, once these are committed. Nobody but its maker
knows a decision that is not committed.

`trial` tries the first steps of a task with its real model and stores nothing.
"""
