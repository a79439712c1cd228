"""Ask a server in batches: requests are collected, sent together, and answered within hours, at a lower price.

`model` collects what a worker asks for. When nothing more has come for a while, all of it is one round: `cutting` cuts
it into batches, by requests and bytes, and `sending` sends them. A provider (`provider`; `openai_batches`,
`anthropic_batches`) knows how its own kind of server takes batches, and gives their results. `http` carries both.

**Never twice.** A request's name follows from its seed, and its seed from its place in the run, so a resumed run asks
for the same names. The names of a batch are committed (`records`) before it is submitted, and its id as soon as it is
known. A request that a batch holds is never sent again: it waits for that batch, whoever has submitted it. Of a batch
without an id nobody knows whether it was submitted: the provider is asked for the one with its tag, until the batch
could not appear any more.

**The bill.** What a batch has cost is counted once, when its results are read for the first time, and committed with
the first steps that they decide. A step that is not decided then, because its process has died, reads its replies from
the provider again, and they cost nothing more.

**What comes back.** Results come in any order. What was not answered (expired, cancelled, failed inside the server) is
asked again in the next round. What was refused fails its step alone. A batch that is refused as a whole pauses the run.
"""
