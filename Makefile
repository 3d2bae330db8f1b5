# `make demo` and `make test` need make and Python 3.10 or later, and nothing else. `make web` needs
# npm; where there is none, the tests of the codec in the browser page are skipped.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SOURCES := constraints.txt pyproject.toml

RUNTIME := client/web/runtime/runtime.json

.PHONY: demo web runtime test test-slow test-clients lint docs clean

demo: $(VENV)/base.stamp
	$(BIN)/python demos/loopback.py

# The runtime of the codec in the browser page, from npm; the wheel holds it if it is there.
web: $(RUNTIME)

$(RUNTIME): client/web/package-lock.json client/web/vendor.mjs
	@command -v npm >/dev/null || { echo "make web needs Node.js 20 or later with npm."; exit 1; }
	npm ci --prefix client/web --ignore-scripts --no-audit --no-fund --fetch-retries=1 --fetch-timeout=60000
	node client/web/vendor.mjs
	rm -rf client/web/node_modules

runtime:
	@{ command -v npm >/dev/null && $(MAKE) web; } || \
	  echo "The runtime of the codec in the page cannot be fetched; its tests will be skipped."

# Two files at a time: tests assert no times, so they bear company, and the gate takes half as long.
test: lint runtime
	$(BIN)/python -m pytest -n 2 --dist loadfile

test-slow: $(VENV)/dev.stamp
	$(BIN)/python -m pytest -m slow

test-clients: $(VENV)/dev.stamp
	$(BIN)/python -m pytest -m clients tests/clients

lint: $(VENV)/dev.stamp
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

docs: $(VENV)/dev.stamp
	$(BIN)/mkdocs build

clean:
	rm -rf $(VENV) .clients client/web/runtime build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis out.wav

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "Python 3.10 or later is needed: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/base.stamp: $(SOURCES) | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[torch]'
	touch $@

$(VENV)/dev.stamp: $(SOURCES) | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[eval]' || \
	  echo "The quality measures need a C compiler to install; their tests will be skipped."
	touch $(VENV)/base.stamp $@
