# Each target makes the environment it needs; all that is required is Python 3.11 or newer.

PYTHON ?= python3
DEVICE ?= auto
VENV := .venv
BIN := $(VENV)/bin

# With DEVICE=auto there is a GPU where its driver's program is.
NVIDIA := $(if $(filter auto,$(DEVICE)),$(shell command -v nvidia-smi 2>/dev/null))

# An environment is as new as the list of what belongs in it.
RUN := $(VENV)/.run-$(if $(or $(findstring cuda,$(DEVICE)),$(NVIDIA)),cuda,cpu)
DEV := $(VENV)/.dev
PACKAGE_cpu := .[plot]
PACKAGE_cuda := .[plot,cuda]

.PHONY: train test test-slow test-gpu gpu-report lint bench reproduce fuzz clean

train: $(RUN)  ## train a network on digits; DEVICE=cpu|cuda|cuda:N|auto, ARGS="--epochs 5 ..."
	$(BIN)/xpnet train --device $(DEVICE) $(ARGS)

test: $(DEV)  ## run the tests, several at a time; ARGS="-k batches ..."
	$(BIN)/python -m pytest -n auto --dist worksteal -m "not slow" $(ARGS)

# A search on a server is tested where there is a system's PostgreSQL, or in the environment the
# package pgserver, whose wheels end with Python 3.12.
test-slow: $(DEV)  ## run what `make test` leaves out because it takes long
	$(BIN)/python -m pytest -n auto --dist worksteal -m slow $(ARGS)

# The tests take the first GPU that they see: of those that are visible, cuda:N is the N-th from 0.
GPU := $(patsubst cuda:%,%,$(filter cuda:%,$(DEVICE)))
VISIBLE = $$(echo "$${CUDA_VISIBLE_DEVICES:-$$(seq -s , 0 $(GPU))}," | cut -d , -f $$(($(GPU) + 1)))

test-gpu: $(DEV) $(VENV)/.run-cuda  ## the same, where a missing GPU is a failure; DEVICE=cuda|cuda:N
	$(if $(filter cpu,$(DEVICE)),$(error test-gpu needs a GPU; use DEVICE=cuda or cuda:N))
	$(if $(GPU),CUDA_VISIBLE_DEVICES=$(VISIBLE)) $(BIN)/python -m pytest --require-cuda $(ARGS)

# The stand-in needs no CuPy, which is large.
gpu-report: $(DEV) $(if $(findstring --stand-in,$(ARGS)),,$(VENV)/.run-cuda)  ## ask a GPU; DEVICE=cuda|cuda:N, ARGS=--stand-in
	$(BIN)/python scripts/gpu_report.py --device $(DEVICE) $(ARGS)

lint: $(DEV)  ## check style, types, and that imports point downward
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Without ARGS it takes minutes; all that `xpnet bench` does takes half an hour.
SHORT = --task train --batch-size 100 --rounds 4

bench: $(DEV)  ## time steps beside the book's design, and PyTorch and JAX if installed; ARGS="--out DIR ..."
	$(BIN)/xpnet bench --device $(if $(filter auto,$(DEVICE)),cpu,$(DEVICE)) $(or $(ARGS),$(SHORT))

HOW = $(if $(QUICK),--quick --out runs/reproduce-quick) $(if $(LONG),--long)

reproduce: $(DEV)  ## run all the books' experiments; QUICK=1, LONG=1, ARGS="--out DIR ..."
	$(BIN)/python scripts/reproduce.py $(HOW) --device $(DEVICE) $(ARGS)

fuzz: $(DEV)  ## feed damaged and hostile files to all readers; ARGS="--count 20000 --reader idx ..."
	$(BIN)/python scripts/fuzz.py --out scripts/results/fuzz $(ARGS)

clean:  ## remove the environment and caches; runs/ is kept
	rm -rf $(VENV) build *.egg-info .*_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/pyvenv.cfg:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run-%: pyproject.toml | $(VENV)/pyvenv.cfg
	$(BIN)/python -m pip install --quiet --editable '$(PACKAGE_$*)'
	touch $@

$(DEV): pyproject.toml | $(VENV)/pyvenv.cfg
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@
