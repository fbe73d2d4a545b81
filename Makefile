# Holdgate: everything a developer or a visitor runs. Needs Python 3.11 or newer, make and git; the rest is
# installed into .venv from the hash-locked lists in requirements/.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.NOTPARALLEL:
MAKEFLAGS += --no-print-directory

VENV := .venv
BIN := $(VENV)/bin
WORKERS ?= 3
ARGS ?=
CORPUS ?=
FUZZ_SECONDS ?= 120

# A stamp is named after the content of what it installed, so that a changed lock, and nothing else, makes it
# stale: a fresh checkout has arbitrary file times.
content = $(shell cat $(1) pyproject.toml | cksum | tr -s ' \t' '-')
DEV_STAMP := $(VENV)/.installed-dev-$(call content,requirements/dev.txt)
DEMO_STAMP := $(VENV)/.installed-demo-$(call content,requirements/demo.txt)
# The development environment holds all that the demo needs.
DEMO_READY := $(or $(wildcard $(DEV_STAMP)),$(DEMO_STAMP))

.PHONY: help
help: ## Show this list
	@echo 'Holdgate. Targets:'
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' Makefile
	@echo 'Variables:'
	@echo '  PYTHON=...   the interpreter to build .venv with (3.11 or newer; found by itself otherwise)'
	@echo '  ARGS=...     passed on, e.g.  make demo ARGS=--tour   make test ARGS="-k hold -x"'
	@echo '  CORPUS=...   the statements of make redteam; by default those in tests/rules/corpus'
	@echo '  FUZZ_SECONDS=120  how long make fuzz-sql mutates statements'
	@echo '  WORKERS=3    test processes; each has its own PostgreSQL. WORKERS=0 runs in one process'

.PHONY: demo
demo: $(DEMO_READY) ## Start PostgreSQL, sample data, the gateway and the management port (ARGS=--tour plays the story)
	@exec $(BIN)/python -m gateway.cli demo $(ARGS)

.PHONY: test
test: $(DEV_STAMP) ## Run the whole test suite
	@$(BIN)/python -m pytest -n $(WORKERS) $(ARGS)

.PHONY: test-compiled
test-compiled: $(DEV_STAMP) ## Compile what the wheel has compiled, and run its tests with that (needs a C compiler)
	@$(BIN)/python -m tests.compiled $(ARGS)

.PHONY: redteam
redteam: $(DEV_STAMP) ## Run a corpus of attacks and innocent statements through a real gateway (CORPUS=FILE)
	@$(BIN)/python -m tests.redteam $(CORPUS) $(ARGS)

.PHONY: regression-sql
regression-sql: $(DEV_STAMP) ## Read PostgreSQL's own regression tests and count how they were read (fetched by apt)
	@$(BIN)/python -m tests.regression $(ARGS)

.PHONY: fuzz-sql
fuzz-sql: $(DEV_STAMP) ## Read mutated and generated statements for FUZZ_SECONDS, from another seed each time
	@HOLDGATE_FUZZ_SECONDS=$(FUZZ_SECONDS) HOLDGATE_FUZZ_SEED=$$(date +%s) HOLDGATE_FUZZ_EXAMPLES=$$(($(FUZZ_SECONDS) * 10)) \
	  $(BIN)/python -m pytest --timeout 0 -q tests/rules/test_against_grammar.py tests/rules/test_never_milder.py $(ARGS)

.PHONY: drivers
drivers: $(DEV_STAMP) ## Run the drivers' own test suites directly and through the gateway (ARGS='NAME ...', --list)
	@$(BIN)/python -m tests.drivers $(ARGS)

.PHONY: bench
bench: $(DEV_STAMP) ## Measure the gateway beside a direct connection and pgbouncer (ARGS='--quick --json FILE')
	@$(BIN)/python -m tests.bench.traffic $(ARGS)

.PHONY: bench-reading
bench-reading: $(DEV_STAMP) ## Measure what judging an unseen statement costs, beside the parsers alone
	@$(BIN)/python -m tests.bench.reading

.PHONY: bench-catalog
bench-catalog: $(DEV_STAMP) ## Measure what knowing a large database costs (ARGS='--tables 10000')
	@$(BIN)/python -m tests.bench.catalog $(ARGS)

.PHONY: bench-turns
bench-turns: $(DEV_STAMP) ## Measure how long texts of every kind keep the event loop
	@$(BIN)/python -m tests.bench.turns

.PHONY: bench-sessions
bench-sessions: $(DEV_STAMP) ## Measure the memory of idle and of held sessions (ARGS='--sessions 1000 --many 10000')
	@$(BIN)/python -m tests.bench.sessions $(ARGS)

.PHONY: fuzz
fuzz: $(DEV_STAMP) ## Random traffic on both sides of a gateway and in the core, FUZZ_SECONDS for each test
	@HOLDGATE_FUZZ_SECONDS=$(FUZZ_SECONDS) $(BIN)/python -m pytest -n $(WORKERS) $(ARGS) \
	  tests/wire/test_fuzz.py tests/protocol/test_conversations.py

.PHONY: check
check: $(DEV_STAMP) ## Lint, formatting, types, import walls, Dockerfile and shell
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy protocol rules gateway tests
	$(BIN)/lint-imports
	$(BIN)/hadolint Dockerfile
	$(BIN)/shellcheck .ci/run

.PHONY: format
format: $(DEV_STAMP) ## Rewrite the code in the project's format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.PHONY: setup
setup: $(DEV_STAMP) ## Make or refresh .venv with all development tools

COMPILE = $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header
UV ?= uv

.PHONY: lock
lock: ## Resolve the dependencies anew into requirements/ (needs uv; UV=/path/to/uv)
	@command -v $(UV) >/dev/null || { echo 'make lock needs uv: install it, or say UV=/path/to/uv' >&2; exit 1; }
	$(COMPILE) $(ARGS) pyproject.toml --extra demo --extra scan --extra apprise --group test --group check --group build --group compile -o requirements/dev.txt
	$(COMPILE) -c requirements/dev.txt pyproject.toml --extra demo --group build -o requirements/demo.txt
	$(COMPILE) -c requirements/dev.txt pyproject.toml -o requirements/runtime.txt
	$(COMPILE) -c requirements/dev.txt --group pyproject.toml:build --group pyproject.toml:compile -o requirements/build.txt

.PHONY: clean
clean: ## Remove .venv, caches and the demo's data
	rm -rf $(VENV) .demo .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis build dist *.egg-info

# --- the environment ---------------------------------------------------------------------------------------

define make_venv
set -eu; \
if ! [ -x $(BIN)/python ] || ! $(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
  python=''; \
  for candidate in $(or $(PYTHON),python3 python3.14 python3.13 python3.12 python3.11 python); do \
    if "$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then python=$$candidate; break; fi; \
  done; \
  if [ -z "$$python" ]; then \
    echo 'Holdgate needs Python 3.11 or newer, and found none$(if $(PYTHON), in PYTHON=$(PYTHON)). Install one, or run: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)' >&2; \
    exit 1; \
  fi; \
  if ! "$$python" -c 'import ensurepip, venv' 2>/dev/null; then \
    echo "$$python cannot make virtual environments: install its venv package (Debian and Ubuntu: apt-get install python3-venv)" >&2; \
    exit 1; \
  fi; \
  echo "Making $(VENV) with $$("$$python" --version)"; \
  rm -rf $(VENV); \
  "$$python" -m venv $(VENV); \
fi
endef

define install
@$(make_venv)
@rm -f $(VENV)/.installed-*
@echo 'Installing requirements/$(1).txt into $(VENV) (the first time takes about a minute)'
@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-input --require-hashes -r requirements/$(1).txt
@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-input --no-deps --no-build-isolation -e .
@touch $@
endef

$(DEV_STAMP):
	$(call install,dev)

$(DEMO_STAMP):
	$(call install,demo)
