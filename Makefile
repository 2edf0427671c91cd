# Felix needs Python 3.11 or newer and make; everything else is installed into .venv by the first target you run.

.DEFAULT_GOAL := help
.PHONY: up test test-deep lint bench reliability isolation docs container deploy clean help
MAKEFLAGS += --no-print-directory

# Felix is many processes, and tests start some hundred: without bytecode each would compile everything anew.
unexport PYTHONDONTWRITEBYTECODE

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.felix-ready
# Whatever builds and runs containers here, and what the image is called.
ENGINE ?= $(shell command -v podman || command -v docker)
IMAGE ?= felix

up: $(READY) ## Start everything with synthetic tenants and a living demo; prints the URLs and sign-ins
	@exec $(BIN)/felix up --demo

test: $(READY) ## Run the tests
	@sh .ci/system-packages
	@$(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder -m "not deep"

test-deep: $(READY) ## Run the tests and the long fault and fuzz profiles
	@sh .ci/system-packages
	@FELIX_TEST_PROFILE=deep $(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder --timeout 3600

lint: $(READY) ## Check format, style, types and import contracts
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

bench: $(READY) ## Measure throughput and latency on this machine
	@$(BIN)/python -m benchmarks

reliability: $(READY) ## Run the long fault profiles alone and write docs/reliability.md and docs/changes.md
	@figures=$$(mktemp) && trap 'rm -f "$$figures"' EXIT && \
	FELIX_TEST_PROFILE=deep FELIX_FIGURES="$$figures" $(BIN)/python -m pytest tests/faults --timeout 3600 && \
	$(BIN)/python -m tests.faults.report "$$figures"
	@figures=$$(mktemp) && trap 'rm -f "$$figures"' EXIT && \
	FELIX_TEST_PROFILE=deep FELIX_FIGURES="$$figures" $(BIN)/python -m pytest tests/deploys --timeout 3600 && \
	$(BIN)/python -m tests.deploys.report "$$figures"

isolation: $(READY) ## Run the long isolation profile alone and write docs/isolation.md from its figures
	@figures=$$(mktemp) && trap 'rm -f "$$figures"' EXIT && \
	FELIX_TEST_PROFILE=deep FELIX_FIGURES="$$figures" $(BIN)/python -m pytest tests/isolation --timeout 3600 && \
	$(BIN)/python -m tests.isolation.report "$$figures"

docs: $(READY) ## Write the generated files anew
	@$(BIN)/felix docs write

container: ## Build the container image with podman or docker
	@$(ENGINE) build --tag $(IMAGE) --file Containerfile .

deploy: container ## Run that image here in place of the one before; the data stays in the volume felix
	@$(ENGINE) stop -t 45 felix >/dev/null 2>&1 || true
	@$(ENGINE) rm --force felix >/dev/null 2>&1 || true
	@$(ENGINE) run --detach --init --name felix --restart unless-stopped --read-only --tmpfs /tmp \
	  --stop-timeout 45 --volume felix:/var/lib/felix --publish 127.0.0.1:8080:8080 $(IMAGE)
	@for second in $$(seq 60); do \
	  if $(ENGINE) exec felix felix status >/dev/null 2>&1; then echo "$(IMAGE) is ready"; exit 0; fi; sleep 1; \
	done; $(ENGINE) logs --tail 50 felix; echo "error: $(IMAGE) did not become ready in a minute" >&2; exit 1

clean: ## Remove the environment, caches and build output; data in .felix stays
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# The lock file names every package with its hash. uv installs from it: the one on PATH when it works (a shim may not),
# else one that pip puts into the environment. Behind a proxy the system's certificates may be needed, and where only
# pip knows the way to the packages (a mirror), pip installs what the lock file says. PYTHON=python3.11 chooses one.
$(READY): pyproject.toml uv.lock
	@set -eu; export UV_PROJECT_ENVIRONMENT="$(CURDIR)/$(VENV)"; unset VIRTUAL_ENV || true; \
	if [ -n "$(PYTHON)" ]; then export UV_PYTHON="$(PYTHON)"; fi; \
	sync() { \
	  "$$@" sync --frozen --quiet --inexact 2>$(VENV).log || UV_SYSTEM_CERTS=1 UV_NATIVE_TLS=1 "$$@" sync --frozen --quiet --inexact; \
	}; \
	if uv --version >/dev/null 2>&1; then \
	  sync uv; \
	else \
	  if ! $(BIN)/python -c '' 2>/dev/null; then \
	    python=; \
	    for candidate in $(PYTHON) python3.14 python3.13 python3.12 python3.11 python3 python; do \
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
