# memQL: the commands of a day. Needs Python 3.11+ and make; uv is fetched into .tools/ when the machine has none.

PYTHON ?= python3
UV     := $(shell command -v uv 2>/dev/null || echo .tools/uv/bin/uv)
ARGS   ?=

.DEFAULT_GOAL := help
.PHONY: help up test lint format types bench docs proto build clean

help: ## What one can do here
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

.tools/uv/bin/uv:
	@echo "fetching uv into .tools/ (this machine has none)"
	@$(PYTHON) -m venv .tools/uv
	@.tools/uv/bin/python -m pip install --quiet --disable-pip-version-check 'uv>=0.8,<1'

.venv/.synced: $(filter .tools/uv/bin/uv,$(UV)) pyproject.toml uv.lock $(wildcard packages/*/pyproject.toml)
	@$(UV) sync --quiet --frozen --compile-bytecode --group system --group example --group bench
	@touch $@

up: .venv/.synced ## Start the whole system with the airline example; Ctrl-C stops it
	@exec .venv/bin/python examples/airline/up.py $(ARGS)

test: .venv/.synced ## Run every test
	@.venv/bin/python -m pytest -n 2 --dist loadfile $(ARGS)

lint: .venv/.synced ## Style, formatting and types
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@$(MAKE) --no-print-directory types

format: .venv/.synced ## Rewrite the code in the house style
	@.venv/bin/ruff check --fix .
	@.venv/bin/ruff format .

types: .venv/.synced ## The strict type check
	@.venv/bin/mypy -p memql $(foreach role,mesh bff voice cognition agent planner identity workbench,-p memql.$(role))
	@MYPYPATH=examples/airline:packages/memql-mesh/tests/support .venv/bin/mypy tests benchmarks examples
	@for tests in packages/*/tests; do \
		(cd $$tests && MYPYPATH=support:../../memql-core/tests/support:../../memql-identity/tests/support:../../memql-mesh/tests/support ../../../.venv/bin/mypy --config-file ../../../pyproject.toml .) || exit 1; \
	done

bench: .venv/.synced ## Every benchmark, as ratios against its baseline
	@.venv/bin/python -m benchmarks $(ARGS)

docs: .venv/.synced ## Regenerate the generated pages
	@.venv/bin/python -m memql.lang.reference > docs/language-reference.md
	@.venv/bin/python -m memql.config.reference > docs/settings.md

proto: $(filter .tools/uv/bin/uv,$(UV)) ## Regenerate the message classes from packages/memql-core/proto
	@$(UV) run --quiet --no-project --python 3.11 --with 'grpcio-tools>=1.75' --with 'betterproto2-compiler>=0.9,<0.11' \
		python packages/memql-core/proto/generate.py

build: $(filter .tools/uv/bin/uv,$(UV)) ## Wheels and sdists of all nine distributions, into dist/
	@$(UV) build --quiet --all-packages --no-sources --out-dir dist

clean: ## Remove what was built or cached here; data under MEMQL_HOME stays
	@rm -rf .venv .tools dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis
	@find . \( -name __pycache__ -o -name .mypy_cache \) -type d -prune -exec rm -rf {} +
