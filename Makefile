# GreenServe: set up, check, test, try. Everything is installed from pyproject.toml and constraints.txt.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
EXTRAS := cpu,optimize,loadtest,demo,dev
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help setup demo test check format proto bench clean

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

test: $(READY)  ## The test suite
	@$(BIN)/python -m pytest

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
	cd src && ../$(BIN)/python -m grpc_tools.protoc -I. --python_out=. --pyi_out=. greenserve/proto/inference.proto

bench: $(READY)  ## Measure, and record under benchmarks/results/
	@$(BIN)/python -m benchmarks.run

clean:  ## Remove the environment and what tools left; ledgers, variants and reports stay
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis src/*.egg-info
