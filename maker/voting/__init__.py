"""How one step is decided, and the chain of such steps. Pure: no I/O, no clock, no randomness.

`chain.ChainRunner` walks a chain: it asks the decomposer for the next step, opens an `election.Election`, and applies
the winner. `collector.VoteCollector` holds the election: it asks for votes in one request or several, and counts them
in the order of their numbers.

**How many votes are asked for.** The voter names the fewest votes that could settle the step, and one request asks for
them. With a pool there is one request for each model whose turn it is. A request never asks for more than a server
takes at a time. `in_flight` keeps samples that come early until those of the votes before them are in.

**Seeds.** A request's seed is H(run seed, chain path, step index, epoch, phase, vote), below 2^62. Reply i is drawn
with seed + i. A chain's path (`paths`) names the forks and child numbers that lead to it. So a child's votes depend on
its place alone, never on when or where it is worked on. With the memo on, the seed is H(run seed, question, epoch,
phase, vote) instead (`seeds`).

**Red flags.** `red_flags` drops samples that are cut, empty, unreadable or illegal, and free text that repeats an
earlier sample word for word. `thinking` takes off what a model thinks aloud, before any parser. Each reason is counted.
The samples of disputed steps are kept. Checks of the task's rules outrank votes; they know the rules, never the answer.

**No winner.** When nothing could settle a step within ``max_votes``, the election ends. The run then pauses and says
which step it was, of which class, and how the votes stood. The step's samples are kept. There is never a winner below
the margin. A resume with a higher ``max_votes`` votes on the step again with the same seeds.

**Judge.** Where the job has a judge, it is asked before the run pauses: a second election among the candidates, as
phase 1 (`judge`). Its count stands in the tally after the first.

**Several models.** `policy` says for each role who votes in which turn, by which margin, and how many votes are asked
for in advance. A step class names its role. A tally (`tally`) counts votes and flags by model; where a
person decided what votes left open, it says who.

**Weights.** A voter may weigh votes by each sample's log-probability. The election adds the weights up by candidate.

**Memo.** `ChainRunner.ask` looks a step's question up before it opens an election. A question is a digest of class and
prompt (`memo`). The runner may return a decided step, or `Follows` where another chain of the worker votes on the same
question; the worker lets it go on when that one is decided or given up. With the memo off, this costs one comparison a
step.

`vote_replay` holds an election again over samples that exist already, for `maker rescore`.
"""
