# Every target makes what it needs first. `make` alone lists the targets.
.DEFAULT_GOAL := help
.PHONY: help setup setup-dev setup-bench demo test check chaos bench lock clean
BIN := .venv/bin
ARGS ?=
# Each folder is run in a process of its own, so that what one loads does not weigh on the next.
SUITES := $(filter-out tests/chaos/ tests/benchmarks/,$(filter %/,$(wildcard tests/[a-z]*/)))
BENCHMARKS ?= $(filter-out envelope readme oracle_cartpole,$(patsubst tests/benchmarks/%.py,%,$(wildcard tests/benchmarks/[a-z]*.py)))

help:
	@echo "make demo    runs the whole loop on a small stand-in fleet, from nothing to report.html (about 10 minutes)"
	@echo "make test    runs the tests (ARGS='-k name' picks some)"
	@echo "make setup   only makes .venv; then '.venv/bin/sim2real --help' goes on"
	@echo ""
	@echo "make check   ruff, mypy and the import rules"
	@echo "make chaos   kills parts of a running campaign and checks the result (long)"
	@echo "make bench   runs the benchmarks (long; ARGS=--quick for a smoke run, BENCHMARKS=name for one)"
	@echo "make lock    resolves infra/lock anew from pyproject.toml (needs uv)"
	@echo "make clean   removes .venv and caches, never your data (SIM2REAL_HOME)"
	@echo ""
	@echo "Needs Python 3.11 to 3.14, git, make. PYTHON= names an interpreter, TORCH_INDEX= a wheel index for PyTorch"
	@echo "(without a GPU: https://download.pytorch.org/whl/cpu)."

setup:
	@sh infra/setup.sh engine
	@echo "ready: $(BIN)/sim2real --help"

setup-dev:
	@sh infra/setup.sh engine dev

setup-bench:
	@sh infra/setup.sh engine dev bench

demo:
	@sh infra/setup.sh engine
	@$(BIN)/sim2real demo $(ARGS)

test: setup-dev
ifeq ($(strip $(ARGS)),)
	@status=0; for suite in $(SUITES); do echo "$$suite"; $(BIN)/python -m pytest $$suite || status=1; done; exit $$status
else
	@$(BIN)/python -m pytest $(ARGS)
endif

check: setup-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	MYPYPATH=infra $(BIN)/mypy infra/setup.py infra/lock/update.py
	$(BIN)/lint-imports

chaos: setup-dev
	@$(BIN)/python -m pytest tests/chaos -o addopts="--import-mode=importlib --strict-markers -ra" $(ARGS)

bench: setup-bench
	@for name in $(BENCHMARKS); do \
	    echo "== $$name"; $(BIN)/python -m tests.benchmarks.$$name --json $(ARGS) || exit 1; \
	done

lock:
	@PATH="$(CURDIR)/$(BIN):$$PATH" python3 infra/lock/update.py

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis build dist report.html
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
