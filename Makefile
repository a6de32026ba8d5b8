# GreenServe: set up, check, test, try. Everything is installed from pyproject.toml and constraints.txt.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
EXTRAS := cpu,optimize,loadtest,demo,tensorboard,dev
READY := $(VENV)/.ready
PEERS := mlserver litserve bentoml
CLIENTS := grpc_standard kserve open_inference openai schemathesis triton
CLIENTS_READY := $(CLIENTS:%=.venv-clients/%/.ready)

# Compiled modules are kept whatever the caller's environment says: the tests start hundreds of processes.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-again check format proto bench bench-serve gpu-check clean clients conformance soak

help:  ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

setup: $(READY)  ## Create .venv with everything that the demo and the tests need

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " + sys.version.split()[0])'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV) (some minutes the first time)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[$(EXTRAS)]' \
	  2> $(VENV)/install.log || { cat $(VENV)/install.log; exit 1; }
	@touch $@

demo: $(READY)  ## Optimise, serve, ask, load, report, verify, stop: the whole path once
	@$(BIN)/greenserve demo

test: $(READY) $(CLIENTS_READY)  ## The test suite
	@$(BIN)/python -m pytest

test-again: $(READY) $(CLIENTS_READY)  ## The tests that failed last time, once more
	@echo "what passes now and failed before depends on the machine's pace, or on other tests: it is to be mended"
	@$(BIN)/python -m pytest --verbose --last-failed --last-failed-no-failures none

clients: $(CLIENTS_READY)  ## An environment for each unmodified client that tests/conformance drives

.venv-clients/%/.ready: tests/conformance/%/requirements.txt | $(READY)
	@echo "installing the client $* into $(@D)"
	@$(PYTHON) -m venv --clear --without-pip $(@D)
	@$(BIN)/python -m pip --python $(@D)/bin/python install --quiet --disable-pip-version-check --no-deps --requirement $< \
	  2> $(@D)/install.log || { cat $(@D)/install.log; rm -rf $(@D); exit 1; }
	@touch $@

conformance: $(READY) $(CLIENTS_READY)  ## Drive every client against a gateway and write docs/conformance.md
	@$(BIN)/python -m tests.conformance.run

soak: $(READY) $(CLIENTS_READY)  ## The long tests: existing Ray clusters, ten thousand generated HTTP requests
	@$(BIN)/python -m pytest -m soak
	@$(BIN)/python -m tests.conformance.run --soak

check: $(READY)  ## Format, lint, types, import contracts, layout gates
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy -p greenserve
	$(BIN)/mypy tests benchmarks
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -q tests/test_layout.py

format: $(READY)  ## Format and fix what can be fixed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

proto: $(READY)  ## Generate the message classes of the wire protocols again
	cd src && ../$(BIN)/python -m grpc_tools.protoc -I. --python_out=. --pyi_out=. greenserve/proto/inference.proto greenserve/proto/carbon.proto

bench: $(READY)  ## Measure, and record under benchmarks/results/
	@$(BIN)/python -m benchmarks.run

bench-serve: $(READY) $(PEERS:%=.venv-peers/%/.tried)  ## Measure beside MLServer, LitServe, BentoML and Ray Serve (OPTIONS="--only peers")
	@$(BIN)/python -m benchmarks.serve $(OPTIONS)

# Nothing is installed for it: any python3 with torch and nvidia-ml-py does (PYTHON=... names another one).
gpu-check:  ## Measure what the energy figures of an NVIDIA board are worth (OPTIONS="--quick")
	@PYTHONPATH=src $(PYTHON) -m benchmarks.gpu_check $(OPTIONS)

# A peer that cannot be installed is named in the table with the installer's reason; the others are measured.
.venv-peers/%/.tried: benchmarks/peers/%/requirements.txt
	@echo "installing the peer $* into .venv-peers/$*"
	@rm -rf .venv-peers/$* && mkdir -p .venv-peers && $(PYTHON) -m venv .venv-peers/$*
	@.venv-peers/$*/bin/python -m pip install --quiet --disable-pip-version-check --requirement $< 2> .venv-peers/$*.log \
	  && touch .venv-peers/$*/.ready || tail -n 1 .venv-peers/$*.log
	@touch $@

clean:  ## Remove the environment and what tools left; ledgers, variants and reports stay
	rm -rf $(VENV) .venv-peers .venv-clients build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis src/*.egg-info
