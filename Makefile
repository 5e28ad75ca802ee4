# `make mnist` and `make test` set up what they need in .venv; the second time that costs nothing.
PYTHON ?= python3
RUN := .venv/bin/python
TWO_AT_ONCE := -n 2 --dist loadfile --no-loadscope-reorder

PIP := -m pip install --quiet --disable-pip-version-check
# In no lock: torch, of which each kind of machine has a build of its own, and what its builds for GPUs want.
OF_GPUS := triton cuda-bindings cuda-toolkit nvidia-cudnn-cu13 nvidia-cusparselt-cu13 nvidia-nccl-cu13 nvidia-nvshmem-cu13
LOCK := --universal --python-version 3.11 --constraint constraints.txt --generate-hashes --no-emit-package torch \
	--excludes /dev/stdin --no-config --no-annotate --quiet --custom-compile-command 'make lock'

.PHONY: mnist test suite test-fast test-gpu test-system test-weekend lint bench lock audit
mnist: .venv/.ok
	$(RUN) train.py +experiment=mnist

# An hour: 30 steps against a ReLU pass and five libraries, one step against a ReLU pass, what the cost grows with, the
# kernels, a converted network, ways around layers, a training step, augmentation, the comparison of 10 000 runs.
bench: .venv/.ok
	$(RUN) benchmarks/simulation.py
	$(RUN) benchmarks/decision.py
	$(RUN) benchmarks/scaling.py
	$(RUN) benchmarks/roofline.py
	$(RUN) benchmarks/conversion.py
	$(RUN) benchmarks/residual.py
	$(RUN) benchmarks/training.py
	$(RUN) benchmarks/augmentation.py
	$(RUN) benchmarks/comparison.py
	$(RUN) benchmarks/launchers.py basic joblib submitit_local

test: .venv/.ok
	$(MAKE) --no-print-directory -j 2 lint suite

suite: .venv/.ok
	$(RUN) -m pytest $(TWO_AT_ONCE)

# A minute, while you work: no whole programs, no lint.
test-fast: .venv/.ok
	$(RUN) -m pytest $(TWO_AT_ONCE) -m "not program and not slow and not system and not gpu and not weekend"

# Spikes, memory, trainings, leases and benchmarks/gpu.py on a GPU; skipped where there is none.
test-gpu: .venv/.ok
	$(RUN) -m pytest -m gpu -s -rs tests/gpu

# Half an hour: a sweep that is killed at any moment, leases, DDP, Ray, SLURM, PostgreSQL, Optuna; what a host lacks is skipped.
test-system: .venv/.system
	$(RUN) -m pytest -m system -s

# Hours: the long forms of what `make test-system` does in minutes.
test-weekend: .venv/.system
	$(RUN) -m pytest -m weekend -s

lint: .venv/.ok
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy
	.venv/bin/lint-imports --no-logo

# The versions of constraints.txt with the SHA-256 of their files, of which pip takes no others; by uv, which is not installed here.
lock:
	printf '%s\n' $(OF_GPUS) | uv pip compile pyproject.toml --extra dev $(LOCK) --output-file requirements.lock
	printf '%s\n' $(OF_GPUS) | uv pip compile pyproject.toml --extra dev --extra system $(LOCK) \
		--output-file requirements-system.lock $$(sed -n 's/^\([a-z][^=]*\)==.*/--no-emit-package \1/p' requirements.lock)

# What is known against these versions; it ends with the first one of which the package index says nothing.
audit: .venv/.audit
	.venv/audit/bin/pip-audit --strict --require-hashes --disable-pip -r requirements.lock -r requirements-system.lock

.venv/.audit: .venv/.ok
	$(PYTHON) -m venv .venv/audit
	.venv/audit/bin/python $(PIP) pip-audit
	touch $@

.venv/.system: .venv/.ok requirements-system.lock
	$(RUN) $(PIP) --require-hashes --no-deps --requirement requirements-system.lock
	$(RUN) $(PIP) --constraint constraints.txt --editable '.[dev,system]'
	touch $@

# A new environment: some packages of the system clash with Hydra's antlr.
.venv/.ok: pyproject.toml constraints.txt requirements.lock
	$(PYTHON) -m venv .venv
	$(RUN) $(PIP) --require-hashes --no-deps --requirement requirements.lock
	$(RUN) $(PIP) --constraint constraints.txt --editable '.[dev]'
	touch $@
