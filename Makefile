# `make demo` and `make test` set up everything they need on a fresh machine.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export HF_HUB_OFFLINE := 1
export HF_HUB_DISABLE_TELEMETRY := 1

.PHONY: setup demo test check bench docs crash shapes stories rl small gpu profile clean

setup: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev,docs]'
	touch $@

demo: setup            ## train, evaluate with and without thoughts, and report, on a CPU in minutes
	$(BIN)/unspoken demo --out runs/demo

test: setup            ## all tests
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist worksteal

check: setup           ## format, lint, types, layers
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: setup           ## speed and memory; REFERENCE=folder of the released coconut.py, see docs/performance.md
	$(BIN)/unspoken bench --out results/bench-cpu.json $(if $(REFERENCE),--reference $(REFERENCE))

crash: setup           ## every crash point of a save, and every step between saves
	UNSPOKEN_ALL_CRASH_POINTS=1 OMP_NUM_THREADS=1 $(BIN)/pytest -s tests/reliability/test_crash_points.py

shapes: setup          ## learn to see, then to think about pictures, beside every control: an hour and a half
	$(BIN)/python results/shapes.py --follow arrows
	$(BIN)/python results/shapes.py --follow relations --beside no_cot --out results/shapes-relations.json
	$(BIN)/unspoken report runs/shapes/arrows-0-coconut runs/shapes/arrows-0-no_cot

stories: setup         ## what happens next: eyes, words, thoughts, adversaries over 3 seeds, beside every control
	$(BIN)/python results/stories.py

rl: setup              ## what rewards teach: gain, halting, trajectories, 3 seeds: 40 minutes of a core
	$(BIN)/python results/rl.py

small: setup           ## seven methods on small graphs, equal data and steps, with their audits: about two hours of a core
	OMP_NUM_THREADS=1 $(BIN)/python results/small.py

gpu: setup             ## what needs a GPU, 9 minutes a call, again until all is done; ARGUMENTS="--released-words FILE" and others
	$(BIN)/python results/gpu.py $(ARGUMENTS)

profile: setup         ## where a training step spends its time on a CPU, and torch.compile beside it
	OMP_NUM_THREADS=1 $(BIN)/python results/profile_step.py

docs: setup            ## build the documentation into docs/_build/html
	$(BIN)/sphinx-build -W --keep-going docs docs/_build/html

clean:
	rm -rf $(VENV) docs/_build .pytest_cache .ruff_cache .mypy_cache .hypothesis
