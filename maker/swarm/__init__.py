"""The swarm: workers that sit beside a model, and the two places they can run. The only package that imports ray.

The local and the Ray swarm run the same `worker.Worker`. It returns from ``advance`` after 50 ms, or when it runs dry.
Requests in flight stay in the model. The Ray swarm keeps two calls queued at each actor, so an actor never idles while
a report travels. Workers never see the store.

**Which Ray.** `cluster` uses the Ray of its process, or joins the cluster that ``swarm.address`` or RAY_ADDRESS names,
or starts a Ray of its own that ends with the driver, however that ends. Ray's own agents notice a killed driver within
seconds. A driver that is killed while Ray starts can leave an agent for about a minute. A cluster's head is asked for
a sign of life first: Ray would try for two minutes and more. What Ray says of raylets goes to the log, not to standard
output.

**What nodes get.** The job's runtime environment holds this process's own ``maker``, ``decomposers`` and ``voters``,
whatever the nodes have, and file plugins by value. Python, Ray, pydantic, the model's engine and what other plugins
import must be on the nodes. Nothing secret goes along: a model's key is read where the model is opened, from an
environment variable that must be set where each node's raylet is started. A Ray that the program itself has started
gets no runtime environment.

**How many workers.** There are ``swarm.replicas`` workers, up to ``max_replicas`` as long as chains wait that no
worker has room for. All that one worker reserves (``cpus``, ``gpus``, ``resources``) is of one node. What no node has
is refused at the start. A model with ``tensor_parallel = n`` has its n GPUs in one actor, whose engine starts its own
processes beside it, so no placement group is needed. That has not been run on several GPUs. A chain stays with its
worker, where its prefix is warm. Work is shared: no worker is given more than all would have if each had as much.
Where nothing is left to hand out, a worker whose chains wait gives back what an idle one can begin. A session with
``--limit-steps`` is left to one worker.

**A worker that is lost** (its process, its engine, its node, an error that nobody foresaw within it) costs the steps
that it had not reported. The scheduler knows what it held, restores these chains from the store, and hands them to
others. `WorkerGone` tells of it, with the last lines that the worker wrote where they are on this machine (`losses`).
Seeds are those of the steps, so the simulated model decides them alike. What the worker had spent and not reported is
in no ledger; its grant counts as spent.

- Another actor takes its place, under a new number. After three losses without a step decided, the place is given up,
  and the run pauses when none is left. One that went with its node does not count.
- One for which there is no room now waits. `WorkerWaiting` tells so after 15 seconds. Only when no worker has had a
  place for ten minutes does the run pause.
- A model that the first worker cannot open ends the run at once. Where another one has opened it, that worker is lost.
- The node that the run is driven from has to live. A node that is killed is seen within seconds, by its broken
  connections. One that falls silent is seen when Ray's health checks give it up.

**A stop** (Ctrl-C, SIGTERM, ``stop``, ``max_wall_s``) calls the chains back. The worker cancels what is in flight and
reports its last steps and what they cost. That is committed before the run is paused.

Workers write no log. A report says what went otherwise than it should, where the worker is, and how long the slice
took; see `maker.lifecycle`.
"""
