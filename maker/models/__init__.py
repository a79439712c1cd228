"""The models: one interface, with real implementations, and a pool of them.

The only package that imports vLLM and httpx.

`interface.Model` has ``submit``, ``poll``, ``cancel`` and ``close``; plain synchronous code. For vLLM one poll is one
engine step in the worker's process. For HTTP a poll drains a queue that a background loop fills. `opening` is the only
place that opens models.

**OpenAI-compatible servers.** A `Request` is one HTTP request, except with a server that turns out to take no ``n``.
maker repeats by itself only tries that were certainly not billed: no connection; HTTP 408, 409, 425, 429; 5xx except a
gateway's 504. A request that was sent and brought nothing that can vote comes back as lost. The worker asks again,
five times in all, and each time the limits must cover it anew. Requests and tokens a minute are a sliding window
(`pacing`) of each worker by itself. How many requests are in flight follows from how the server answers: `concurrency`
decides, `gate` holds the others back.

**Dialects.** `dialect` says how a server is spoken to: where, with which headers, what the body of one request is, and
what the body of one reply says. It is pure, so that a batch of requests can be written and read with it. `openai` and
`openai_http` send what it makes, for all servers. `refusals` reads from a refusal which setting mends it.

**Batches** (`batch`) are another way to ask a server: what a worker submits is collected, and answered hours later.

**A pool** (`pool`) is one `Model` with members; a request names its member by number. The job's rules
(`maker.voting.policy`) say who votes in which turn. docs/pools.md says what a user sees.

**The simulated model** is a pure function of seed and prompt.
"""
