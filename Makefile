# make quickstart, make test: each creates its own environment first. make help lists the rest.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: help install quickstart test test-all golden check format benchmark clean

help:  ## list what can be made
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

install: $(INSTALLED)  ## create .venv with the pinned packages; does nothing when nothing changed

# The stamp's only sources are what decides on the content of the environment.
$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info < (3, 14) else f"lmlab needs Python 3.11 to 3.13, but $(PYTHON) is {sys.version.split()[0]} (name another: make PYTHON=python3.12 ...)")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing the packages of constraints.txt into $(VENV), 1 of 2: torch ..."
	@$(BIN)/python -m pip install --disable-pip-version-check --constraint constraints.txt torch
	@echo "2 of 2: all other packages ..."
	@$(BIN)/python -m pip install --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $(INSTALLED)

quickstart: install  ## train an LSTM and a Transformer of equal size side by side (under 3 minutes on 2 cores)
	@$(BIN)/python scripts/quickstart.py

check: install  ## lint, formatting, types and language
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --quiet --check .
	@$(BIN)/mypy --no-error-summary
	@$(BIN)/python scripts/check_language.py

test: check  ## lint, types and the quick tests, before every commit (under 8 minutes on 2 cores)
	@$(BIN)/python -m pytest -q -n 2 --dist worksteal -m 'not slow'

test-all: check  ## all tests, also those that wait, kill and start servers (under 35 minutes on 2 cores)
	@$(BIN)/python -m pytest -q -n 2 --dist worksteal

golden: install  ## compare short runs of every model and option with their recorded results (minutes; GOLDEN='--only lstm')
	@$(BIN)/python scripts/golden.py $(GOLDEN)

format: install  ## rewrite the sources in the project's format
	@$(BIN)/ruff check --quiet --fix .
	@$(BIN)/ruff format --quiet .

benchmark: install  ## time this project against bare PyTorch on this machine
	@$(BIN)/python scripts/benchmark/lightning_overhead.py

clean:  ## remove the environment and caches; outputs stay
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis
