# Felix needs Python 3.11 or newer and make; everything else is installed into .venv by the first target you run.

.DEFAULT_GOAL := help
.PHONY: up test test-deep lint bench docs clean help
MAKEFLAGS += --no-print-directory

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.felix-ready

up: $(READY) ## Start everything with synthetic tenants and a living demo; prints the URLs and sign-ins
	@exec $(BIN)/felix up --demo

test: $(READY) ## Run the tests
	@$(BIN)/python -m pytest -n auto --dist loadfile -m "not deep"

test-deep: $(READY) ## Run the tests and the long fault and fuzz profiles
	@FELIX_TEST_PROFILE=deep $(BIN)/python -m pytest -n auto --dist loadfile --timeout 3600

lint: $(READY) ## Check format, style, types and import contracts
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

bench: $(READY) ## Measure throughput and latency on this machine
	@$(BIN)/python -m benchmarks

docs: $(READY) ## Write the generated files anew
	@$(BIN)/felix docs write

clean: ## Remove the environment, caches and build output; data in .felix stays
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# The lock file names every package with its hash. uv installs from it: the one on PATH when it works (a shim may not),
# else one that pip puts into the environment. Behind a proxy the system's certificates may be needed, and where only
# pip knows the way to the packages (a mirror), pip installs what the lock file says.
$(READY): pyproject.toml uv.lock
	@set -eu; export UV_PROJECT_ENVIRONMENT="$(CURDIR)/$(VENV)"; unset VIRTUAL_ENV || true; \
	sync() { \
	  "$$@" sync --frozen --quiet --inexact 2>$(VENV).log || UV_SYSTEM_CERTS=1 UV_NATIVE_TLS=1 "$$@" sync --frozen --quiet --inexact; \
	}; \
	if uv --version >/dev/null 2>&1; then \
	  sync uv; \
	else \
	  if ! $(BIN)/python -c '' 2>/dev/null; then \
	    python=; \
	    for candidate in python3.14 python3.13 python3.12 python3.11 python3 python; do \
	      if "$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	        python="$$candidate"; break; \
	      fi; \
	    done; \
	    if [ -z "$$python" ]; then echo "error: Felix needs Python 3.11 or newer on PATH" >&2; exit 1; fi; \
	    echo "making the environment with $$("$$python" --version) ..." >&2; \
	    "$$python" -m venv $(VENV) || { rm -rf $(VENV); \
	      echo "error: $$python can't make environments; install python3-venv, or uv" >&2; exit 1; }; \
	  fi; \
	  pip="$(BIN)/python -m pip --disable-pip-version-check --quiet"; \
	  [ -x $(BIN)/uv ] || $$pip install uv; \
	  sync $(BIN)/uv || { \
	    $(BIN)/uv export --frozen --quiet --no-emit-project --output-file $(VENV)/locked.txt >/dev/null; \
	    $$pip install --requirement $(VENV)/locked.txt; \
	    $$pip install --no-deps --editable .; }; \
	fi
	@rm -f $(VENV).log; touch $(READY)
