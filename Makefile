# Every target sets up first; a second set-up takes a fraction of a second.
.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help setup demo serve test test-unit test-full lint type bench loadtest audit lock clean

PYTHON ?= $(or $(shell for p in python3.11 python3; do $$p -c '' 2>/dev/null && echo $$p && break; done),python3)
BIN := .venv/bin
UV ?= $(BIN)/uv
LOCK := $(UV) pip compile $(if $(UPGRADE),--upgrade) --quiet --generate-hashes --only-binary :all: \
  --python-version 3.11 --python-platform x86_64-manylinux_2_31 --custom-compile-command "make lock"
DIST ?= dist
FULL_TIER := engine or train or slow
CODE := $(wildcard adapters serving training loadtests tests dragoman.py requirements/*.py deploy/*/*.py)

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## .venv from the lock (CPython 3.11, Linux x86-64); a second run does nothing
	@$(PYTHON) requirements/setup_venv.py

demo: setup ## train two adapters, serve them, translate (DEMO_EXIT=1: stop the server at the end)
	@$(BIN)/python -m loadtests.demo

serve: setup ## the server: make serve ARGS="--config serving.yaml"
	@$(BIN)/dragoman serve $(ARGS)

test: setup lint type test-unit test-full ## everything: lint, types, fast tier, full tier

test-unit: setup ## the fast tier: no engine, no training; under a minute
	@$(BIN)/python -m pytest -n 2 -m "not ($(FULL_TIER))" $(ARGS)

test-full: setup ## the full tier: all that is slow, two files at a time, then the real engine, alone
	@$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "(train or slow) and not engine" $(ARGS)
	@$(BIN)/python -m pytest -m engine $(ARGS)

lint: setup ## ruff, and the import contracts
	@$(BIN)/ruff check $(CODE)
	@$(BIN)/ruff format --check $(CODE)
	@$(BIN)/lint-imports --no-logo

type: setup ## mypy, strict
	@$(BIN)/mypy $(CODE)

bench: setup ## serving beside plain vLLM, answers under churn, training beside TRL (ARGS=--quick): .bench/*.json
	@$(BIN)/python -m loadtests.bench $(ARGS)

loadtest: setup ## every load scenario in full on a server of ours (ARGS="--only burst"): .bench/loads/
	@$(BIN)/dragoman base fetch gemma3-270m
	@$(BIN)/python -m loadtests.reliability $(ARGS)

audit: setup ## known faults of what is locked, and its bill of materials: dist/sbom.cdx.json (asks osv.dev)
	@mkdir -p $(DIST)
	@$(BIN)/pip-audit --requirement requirements/cpu.txt --require-hashes --disable-pip \
	  --vulnerability-service osv $(if $(OSV_URL),--osv-url $(OSV_URL)) --progress-spinner off \
	  --format cyclonedx-json --output $(DIST)/sbom.cdx.json

lock: ## resolve requirements/*.txt anew, keeping pins that still fit (UPGRADE=1: newest of all)
	@command -v $(UV) >/dev/null || { echo "make lock needs uv: run make setup, or give UV=/path"; exit 1; }
	@$(LOCK) pyproject.toml requirements/cpu.in --extra cpu --extra postgres --extra train --extra demo \
	  --extra bench --extra dev \
	  --output-file requirements/cpu.txt
	@$(LOCK) requirements/build.in --no-config --output-file requirements/build.txt
	@$(LOCK) pyproject.toml requirements/cpu.in --extra cpu --extra postgres \
	  --constraint requirements/cpu.txt --output-file requirements/serving-cpu.txt
	@$(LOCK) pyproject.toml requirements/cpu.in --extra train --extra demo \
	  --constraint requirements/cpu.txt --output-file requirements/training-cpu.txt
	@$(LOCK) pyproject.toml --no-config --extra gpu --extra postgres --output-file requirements/serving-gpu.txt
	@$(LOCK) pyproject.toml --no-config --extra train --extra demo \
	  --constraint requirements/serving-gpu.txt --output-file requirements/training-gpu.txt

clean: ## remove what the other targets made; the next one sets up anew
	rm -rf .venv .demo .bench dist __pycache__ .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find $(CODE) -name __pycache__ -type d -prune -exec rm -rf {} +
