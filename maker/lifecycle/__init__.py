"""The life of a run: started, worked on, resumed, read, exported, forked, removed.

`control` starts, resumes and retries. `session` is one process's work on a run: job, store, swarm and driver put
together, until the run rests. `queries` reads how runs stand. `admin` forks, cancels and prunes without working on a
run.

**Maps.** `rows` reads outcomes and answers from the log in the order of the input, as far as they are settled.
`row_files` writes them in a thread of its own: a file for 10,000 rows, when all of them are settled, under its name
when it is whole. Nothing of it is state: a file that is missing is written again from the log. The log holds the whole
answer; results and files hold the fields that the schema names. A map that is done stays as it is. ``retry`` makes a
run that goes on from its end, as a forked run does. Its ``round`` is one higher, ``again`` says which outcomes it asks
again (and ``new`` rows), and its model and voter may be others. ``verify`` judges each round by its own. A row's
result is that of the newest round that asked it. A person may decide a row that votes did not (`missed_rows`): the
answer stands beside the log, and ``answered`` says which rows a later round leaves out. `review` lists all that people
may decide.

**What is told.** Every event (`events`) is of something that is committed, but for `RepliesAwaited`. The driver tells
each report that has news to the session, and there the process that drives the run logs (`worker_log`) and makes a span
(`tracing`). So nothing is to be collected from other machines, and a step costs nothing on the way. What was kept with
the steps (``maker_event``) is told to ``on_event`` after its commit, like them. `tracing` looks OpenTelemetry up among
the loaded modules and never imports it.

**Resume.** The fingerprint (decomposer, version, source, prompts, parameters, voter, seed, the model's sampling and
what its folder holds) must be what the run was started with. Otherwise the difference is printed and nothing happens.
Limits, the swarm, the model's address and ``max_votes`` may change, and stay changed.

**Exports.** `export` streams a run's log. `sft` streams the steps of a run that verifies as training examples: it
hears each replayed step on the way, and writes under a name that the file takes only when the whole log is right.

The package would be called ``runs``, but `maker.runs` is a public function.
"""
