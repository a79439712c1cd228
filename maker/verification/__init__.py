"""Check a run's log without a model: replay every step and compare it with what is stored.

`verifier` re-applies every action and lets the voter judge every tally again (`replay`). It compares digests,
snapshots (`snapshots`), forks, joins, counts, cursors, epochs, results, and what is kept of samples and prompts
(`samples`). It looks up each source that a reused step cites (`provenance`). It needs the task's and the voter's code,
and no model.

`intact` checks what a resume is about to re-apply, and nothing else: by digests and seals, without the task's code, and
before anything is written. The children of a fork are read together: all of them for a replay (`maker.store.together`),
those that go on for a resume (`maker.store.open_chain`). `depth` lets a replay reach as deep as the run that it
replays.

Steps that earlier code has decided (`earlier`) are not asked again: the run went on with other code since. Of these it
checks digests, links, forks, counts and tallies. Of a step that a person has decided since it checks those, and how its
samples add up: earlier code may have asked for them.

It finds damage and edits. It does not find an editor who recomputes the whole log: against that, compare the printed
digest.

It does not look at what decides nothing: names, reasons, times, resumes, the lease and its fence, what a run was
asked at first, its place in a queue and who serves it, the tokens of steps and samples, the words of a red flag,
log-probabilities and temperatures, ledger, grants and shared limits, workers and events, the monitor's counts,
calibrations, how effects, waits and batches stand and which undecided steps people are asked about (what came of them
is in the log), the memo but for what cited steps were asked, the place of a root chain, and what is kept of superseded
and of undecided steps. Where the voter weighs votes, log-probabilities decide, and those of kept samples are added up
again. Of people's answers beside the log (`reviews`) it checks the seals; it does not find one that was deleted. A test
flips a byte in every other column of every table (``tests/unit/verification/test_fork_damage.py``).

The package would be called ``verify``, but `maker.verify` is a public function.
"""
