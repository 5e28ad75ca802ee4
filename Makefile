# `make mnist` and `make test` set up what they need in .venv; the second time that costs nothing.
PYTHON ?= python3
RUN := .venv/bin/python

.PHONY: mnist test test-system lint bench
mnist: .venv/.ok
	$(RUN) train.py +experiment=mnist

# Half an hour: 30 steps against a ReLU pass and five libraries, what the cost grows with, the kernels, a training step,
# the comparison of 10 000 runs.
bench: .venv/.ok
	$(RUN) benchmarks/simulation.py
	$(RUN) benchmarks/scaling.py
	$(RUN) benchmarks/roofline.py
	$(RUN) benchmarks/training.py
	$(RUN) benchmarks/comparison.py

test: .venv/.ok lint
	$(RUN) -m pytest

# Ten minutes: a sweep that is killed at any moment, five times.
test-system: .venv/.ok
	$(RUN) -m pytest -m system -s

lint: .venv/.ok
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy

.venv/.ok: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(RUN) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@
