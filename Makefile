# `make demo` and `make test` need nothing but Python 3.11 or newer: they make a virtual environment and install what is
# needed. An environment is filled again when pyproject.toml has changed.
PYTHON ?= python3
VENV ?= .venv
DEMO ?= demo
SITE ?= site

PIP := $(VENV)/bin/python -m pip

.PHONY: help demo test quick check docs diagrams clean
.DELETE_ON_ERROR:

help:
	@echo 'make demo      complete the sample people, and say where the images are'
	@echo 'make test      run all tests (make quick: the ones that take a minute)'
	@echo 'make check     ruff and mypy'
	@echo 'make docs      build the documentation site in $(SITE)/'
	@echo 'make diagrams  draw the diagrams of docs/ again'
	@echo 'make clean     remove $(VENV), $(SITE)/ and dist/'
	@echo 'PYTHON=python3.13 chooses an interpreter, VENV=DIR another place for the environment.'

demo: $(VENV)/installed
	$(VENV)/bin/deocclude demo --output '$(DEMO)' --overwrite

test: $(VENV)/installed-dev
	$(VENV)/bin/python -m pytest

quick: $(VENV)/installed-dev
	$(VENV)/bin/python -m pytest -m quick

check: $(VENV)/installed-dev
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/mypy

docs: $(VENV)/installed-docs
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/python -m mkdocs build --strict --site-dir '$(abspath $(SITE))'

diagrams: $(VENV)/made
	$(VENV)/bin/python docs/diagrams/pipeline.py docs/diagrams/pipeline.svg

clean:
	rm -rf '$(VENV)' '$(SITE)' dist

$(VENV)/made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo 'deocclude needs Python 3.11 or newer; name one: make PYTHON=python3.13 ...' >&2; exit 1; }
	$(PYTHON) -m venv '$(VENV)'
	@touch $@

$(VENV)/installed: pyproject.toml | $(VENV)/made
	$(PIP) install --quiet --disable-pip-version-check -e .
	@touch $@

$(VENV)/installed-dev: pyproject.toml | $(VENV)/made
	$(PIP) install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@ '$(VENV)/installed'

$(VENV)/installed-docs: pyproject.toml | $(VENV)/made
	$(PIP) install --quiet --disable-pip-version-check -e '.[docs]'
	@touch $@ '$(VENV)/installed'
