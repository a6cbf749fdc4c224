# `make` alone lists what there is. Everything runs in .venv, which is made on first use from requirements-dev.lock.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
READY := $(VENV)/ready
CRM := salesforce
DEMO_salesforce := -m connector.sandbox.demo
DEMO_odoo := tests/servers/odoo_demo.py

.DEFAULT_GOAL := help
STEPS := 10000
SEED := 1
STORE := sqlite

.PHONY: help demo test soak bench check format clean

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

demo: $(READY) ## both sides on this machine, people at work on them, the connector between; half a minute; CRM=odoo: a real Odoo
	@$(BIN)/python $(or $(DEMO_$(CRM)),$(error CRM is salesforce or odoo, not '$(CRM)'))

test: check ## lint, types, and all tests
	@$(BIN)/pytest

soak: $(READY) ## people, faults and the connector in virtual time; STEPS=100000 SEED=1 STORE=postgresql, the same seed does the same
	@$(BIN)/python tests/properties/soak.py --steps $(STEPS) --seed $(SEED) --store $(STORE)

bench: $(READY) ## calls, speed, memory and delay, each against a rival or a floor; ten minutes; FULL=1: large sizes
	@$(BIN)/python -m benchmarks $(if $(FULL),--full)

check: $(READY) ## lint, format and types only
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy

format: $(READY) ## rewrite the code in the common format
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format

clean: ## remove the environment and all caches
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(READY): requirements-dev.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Python 3.11 or newer is needed, and '$(PYTHON)' is none. Name one: make $(or $(MAKECMDGOALS),demo) PYTHON=/path/to/python3.11"; exit 1; }
	@echo "Making $(VENV) from requirements-dev.lock; this takes a minute, once."
	@$(PYTHON) -m venv --clear $(VENV)
	@$(PIP) install --requirement requirements-dev.lock
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@
