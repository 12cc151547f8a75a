# `make help` lists the targets. Needs Python ≥ 3.11 and a C compiler; the rest it installs here.
PYTHON ?= python3
BIN := .venv/bin
UV := .venv/bin/uv
STUDIO := .venv-studio
# Strict: a page or a heading that a link does not find fails it. Without the theme's advertisement.
MKDOCS := NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
NATIVE := dgl_rsis/regions/_native.abi3.so
CHROMIUM ?= /usr/bin/chromium
DUBAI ?= ../shared/data/dubai
OPEN ?= ../shared/data/open
MINUTES ?= 90
REQUESTS ?= 10000
SEED ?= 1
E2E ?= tests/e2e
# Each worker needs 1 GB and some seconds to import: beyond four they cost more than they save.
# One thread each, else all workers' threads fight for the processors.
WORKERS := -n logical --maxprocesses 4 --dist worksteal
# A browser that no longer answers holds a test for ever: then all stacks are printed, and that is it.
BOUNDED := -o faulthandler_timeout=900 -o faulthandler_exit_on_timeout=true
# Compiled modules are kept even where the environment says not to: each of the many processes that
# the tests start would compile PyTorch anew, which takes ten seconds and more.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help install demo up studio test check site schema e2e e2ewheel bench load fuzz drill starter lock clean

help:  ## List the targets
	@grep -E '^[a-z0-9]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

.venv/.ready: requirements/all.txt requirements/uv.txt pyproject.toml setup.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "$(PYTHON) is older than 3.11: set PYTHON=python3.11"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements/uv.txt
	$(UV) pip install --quiet --python $(BIN)/python --no-deps --require-hashes -r requirements/all.txt
	$(UV) pip install --quiet --python $(BIN)/python --no-deps --editable .
	@touch $@

# The region tree's inner loops; installing compiled them, this is for what changed since.
$(NATIVE): $(wildcard dgl_rsis/regions/native/*.[ch]) setup.py .venv/.ready
	$(BIN)/python setup.py --quiet build_ext --inplace --force
	@touch $@

$(STUDIO)/.ready: requirements/studio.txt .venv/.ready
	$(PYTHON) -m venv $(STUDIO)
	$(UV) pip install --quiet --python $(STUDIO)/bin/python --no-deps --require-hashes -r requirements/studio.txt
	@touch $@

install: .venv/.ready $(NATIVE)  ## Install everything into .venv (about 6 GB, most of it PyTorch)

demo: .venv/.ready $(NATIVE)  ## Pre-label a sample image through the queue; writes demo/overlay.png
	$(BIN)/dgl-rsis demo

up: .venv/.ready $(NATIVE)  ## Run queue, workers and web server on :9090 until Ctrl-C
	$(BIN)/dgl-rsis up

studio: .venv/.ready $(NATIVE) $(STUDIO)/.ready  ## Run a real Label Studio with a demo project and this backend
	$(BIN)/python -m samples.studio

test: .venv/.ready $(NATIVE)  ## Run the tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(WORKERS)

check: .venv/.ready $(NATIVE)  ## Lint, types, import contracts, the site of the documentation
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(MKDOCS) --quiet

site: .venv/.ready  ## Build the documentation into site/ (shown by: python3 -m http.server -d site)
	$(MKDOCS)

schema: .venv/.ready $(NATIVE)  ## Send 10,000 requests made from docs/openapi.yaml (REQUESTS=…)
	$(BIN)/python -m tests.fuzz.http --requests $(REQUESTS)

e2e: .venv/.ready $(NATIVE) $(STUDIO)/.ready  ## Test in a real Label Studio with a real browser
	@test -x $(CHROMIUM) || { \
		if [ "$$(id -u)" = 0 ]; then apt-get update -qq && apt-get install -qq -y --no-install-recommends chromium; \
		else echo "no $(CHROMIUM): install Chromium (Debian: apt install chromium) or set CHROMIUM=…"; exit 1; fi; }
	CHROMIUM=$(CHROMIUM) $(BIN)/python -m pytest -m e2e $(E2E) $(BOUNDED)

e2ewheel: .venv/.ready $(NATIVE)  ## The same with every process of ours started from the installed wheel
	DGL_RSIS_COMMAND=$$($(BIN)/python -m tests.wheel build/wheel) $(MAKE) e2e

fuzz: .venv/.ready $(NATIVE)  ## Fuzz what strangers write: label configs, masks, prompts, addresses, events
	$(BIN)/python -m tests.fuzz --seconds 60 --seed $(SEED)

bench: .venv/.ready $(NATIVE)  ## Measure quality, speed and memory (DUBAI=folder of the Dubai tiles)
	$(BIN)/python -m benchmarks --dubai $(DUBAI)

load: .venv/.ready $(NATIVE)  ## Put the web server under load for a minute: 50 clients, models that sleep
	$(BIN)/python -m benchmarks.load

drill: .venv/.ready $(NATIVE)  ## A thousand tasks while everything goes wrong, as root (SEED=1)
	$(BIN)/python -m tests.drill --seed $(SEED)

starter: .venv/.ready $(NATIVE)  ## Train the starter weights (MINUTES=90 on 2 cores for the first tower; resumes)
	$(UV) pip install --quiet --python $(BIN)/python --no-deps --require-hashes -r requirements/starter.txt
	THP_MEM_ALLOC_ENABLE=1 $(BIN)/python -m starter.training.train --dubai $(DUBAI) --minutes $(MINUTES)
	$(BIN)/python -m starter.training.pixels --dubai $(DUBAI) --open $(OPEN)

lock: .venv/.ready  ## Pin the dependencies anew
	requirements/lock.sh $(UV)

clean:  ## Remove what was installed and written
	rm -rf .venv $(STUDIO) $(NATIVE) build demo site examples/out var .dgl-rsis
