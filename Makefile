# make host    build manifests/host.yaml and print its footprint
# make test    run the suite: all but what is marked `long`
# make test-long  what takes minutes each, and make oracle and make torture: hours
# make bench   measure, beside the other builders that are installed
# make torture  what the suite holds in a bounded form, whole: kills, damage, a million hostile inputs
# make lab-faults  boot the host with everything that can go wrong around it, and in every format
# make redteam  every attack of the suite, by class, in one table (REDTEAM=--quick: without boots)
# make oracle  hold the resolver against ld.so and kmod, whole: a quarter to half an hour, some GB
# make house   count modules, names, import circles and the frames of the main path
# make docs    write the pages of docs/reference that the program writes itself, and build site/, strict
# make dist    build the wheel and the sdist in dist/, and check both
# make wheelhouse  the wheel and all that it needs in dist/wheelhouse, for Containerfile
# make deb     build the Debian package of that sdist in a root of trixie's packages, and check it
# make check   format, lint, types, layers, and every shell script that an image gets
# Needs python3 (3.11 or newer) with venv, and no root.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
MANIFEST ?= manifests/host.yaml

.PHONY: host test test-long lab-faults oracle bench house docs dist wheelhouse deb check format clean torture redteam
.DELETE_ON_ERROR:

host: $(VENV)/ready
	$(BIN)/minbuild make $(MANIFEST)

test: $(VENV)/ready-dev
	$(BIN)/python -m pytest -n auto --dist loadgroup

test-long: $(VENV)/ready-dev
	$(BIN)/python -m pytest -m "long or sampled"
	$(MAKE) oracle torture

lab-faults: $(VENV)/ready-dev
	$(BIN)/python -m pytest -m long tests/e2e

bench: $(VENV)/ready-dev
	$(BIN)/python -m benchmarks $(BENCH)

torture: $(VENV)/ready-dev
	$(BIN)/python -m tests.security.torture

redteam: $(VENV)/ready-dev
	$(BIN)/python -m tests.security.redteam $(REDTEAM)

oracle: $(VENV)/ready-dev
	MINBUILD_ORACLE=all $(BIN)/python -m pytest -n auto --dist loadfile -rP tests/oracle

house: $(VENV)/ready-dev
	$(BIN)/python -m tools.house

docs: $(VENV)/ready-dev
	$(BIN)/python -m tools.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build

dist: $(VENV)/ready-dev
	rm -rf dist
	$(BIN)/python -m build --outdir dist .
	$(BIN)/twine check --strict dist/*
	$(BIN)/python -m tools.dist

wheelhouse: dist
	$(BIN)/python -m tools.dist --wheelhouse

deb: dist
	$(BIN)/python -m tools.deb

check: $(VENV)/ready-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m tools.shells

format: $(VENV)/ready-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "minbuild needs Python 3.11 or newer")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/ready: pyproject.toml | $(VENV)/bin/python
	$(BIN)/pip install --quiet --disable-pip-version-check --editable .
	touch $@

$(VENV)/ready-dev: pyproject.toml | $(VENV)/bin/python
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@ $(VENV)/ready

clean:
	rm -rf $(VENV) build dist site .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find minbuild tests -name __pycache__ -type d -prune -exec rm -rf {} +
