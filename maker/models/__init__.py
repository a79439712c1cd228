"""The models: one interface, with real implementations, and a pool of them.

The only package that imports vLLM and httpx.

`interface.Model` has ``submit``, ``poll``, ``cancel`` and ``close``; plain synchronous code. For vLLM one poll is one
engine step in the worker's process. For HTTP a poll drains a queue that a background loop fills. `opening` is the only
place that opens models.

**Servers.** `dialects` says what a server is told and what its replies say. Two packages ask with it: `server` sends
each request by itself, `batch` collects what a worker submits and reads the answers hours later.

**A pool** (`pool`) is one `Model` with members; a request names its member by number. The job's rules
(`maker.voting.policy`) say who votes in which turn. docs/pools.md says what a user sees.

**The simulated model** is a pure function of seed and prompt.
"""
