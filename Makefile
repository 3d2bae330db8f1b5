# `make demo` and `make test` need make and Python 3.10 or later, and nothing else.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SOURCES := constraints.txt pyproject.toml

.PHONY: demo test test-slow test-clients lint clean

demo: $(VENV)/base.stamp
	$(BIN)/python demos/loopback.py

# Two files at a time: tests assert no times, so they bear company, and the gate takes half as long.
test: lint
	$(BIN)/python -m pytest -n 2 --dist loadfile

test-slow: $(VENV)/dev.stamp
	$(BIN)/python -m pytest -m slow

test-clients: $(VENV)/dev.stamp
	$(BIN)/python -m pytest -m clients tests/clients

lint: $(VENV)/dev.stamp
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

clean:
	rm -rf $(VENV) .clients build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis out.wav

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
