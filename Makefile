# Every target sets up what it needs by itself; all it asks for is a Python from 3.11 on (PYTHON=… names another).
BIN := .venv/bin
ARGS ?=
JOBS ?= 1
UV = $(shell uv --version >/dev/null 2>&1 && echo uv || echo .venv/bin/uv)
PINS = $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--no-annotate --custom-compile-command 'make pins'

# Some images forbid Python to keep what it has compiled: every process would then compile all that it imports anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo run lint check test prove bench pins clean
FAST = $(BIN)/python -m pytest -q -n auto -m "not slow and not prove"

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: .venv/.base ## Watch the mood of a simulated stream, live; ARGS="--seconds 20" passes options on
	@$(BIN)/feltwire demo $(ARGS)

run: .venv/.base ## Run what feltwire.toml says; ARGS="--source bluesky:" passes options on
	@$(BIN)/feltwire run $(ARGS)

lint: .venv/.dev ## Style and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

check: lint ## Lint, types and the fast tests
	$(FAST)

test: .venv/.dev ## All tests, with a small part of each proof; JOBS=2: two slow files at a time
	@command -v promtool >/dev/null || scripts/debian-packages prometheus || echo 'promtool could not be installed'
	@command -v chromium >/dev/null || scripts/debian-packages chromium || echo 'chromium could not be installed'
	$(FAST)
	$(BIN)/python -m pytest -q -m "slow or prove" $(if $(filter-out 1,$(JOBS)),-n $(JOBS) --dist loadfile)

prove: .venv/.dev ## The proofs at full size; writes and commits docs/proofs/DATE.md
	FELTWIRE_PROVE=1 $(BIN)/python -m pytest -q -m prove -p tests.proof_report -n auto --timeout 0
	git add docs/proofs
	git diff --cached --quiet -- docs/proofs || git commit -q -m "Proofs of $$(date -u +%F)" -- docs/proofs

bench: .venv/.dev ## The benchmarks; results under benchmarks/results/
	$(BIN)/python -m benchmarks $(ARGS)

pins: ## Compile requirements/*.txt and deploy/*.txt anew; ARGS=--upgrade takes newer versions
	$(PINS) $(ARGS) requirements/uv.in -o requirements/uv.txt
	$(PINS) $(ARGS) pyproject.toml requirements/base.in -o requirements/base.txt
	$(PINS) $(ARGS) pyproject.toml requirements/base.in --all-extras --group dev -c requirements/base.txt -o requirements/dev.txt
	$(PINS) $(ARGS) deploy/build.in -c requirements/dev.txt -o deploy/build.txt
	$(PINS) $(ARGS) pyproject.toml --extra aws --extra kafka -c requirements/dev.txt -o deploy/requirements.txt

clean: ## Remove the environment, caches and builds
	rm -rf .venv .cache .hypothesis .mypy_cache .pytest_cache .ruff_cache build dist
	find src tests -name __pycache__ -prune -exec rm -rf {} +

.venv/.base: pyproject.toml requirements/uv.txt requirements/base.txt scripts/setup
	@scripts/setup base && touch $@

.venv/.dev: pyproject.toml requirements/uv.txt requirements/dev.txt scripts/setup
	@scripts/setup dev && touch $@
