# make setup | demo | test | soak | lint | docs | bench : each does all the set-up it needs.
PYTHON := $(shell for p in python3.13 python3.12 python3 python; do \
	$$p -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 12))' >/dev/null 2>&1 && command -v $$p && break; done)
BIN := .venv/bin

.PHONY: setup demo test soak lint docs bench lock clean

setup: .venv/kernels

# Compiling takes one to two minutes; make lint does without.
.venv/kernels: .venv/installed
	$(BIN)/python -m jobs.kernels
	@touch $@

.venv/installed: requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "The regrowth monitor needs Python 3.12 or newer, with venv (Debian: apt-get install python3-venv);" \
		"here is $$(python3 --version 2>&1 || echo no python3)"; exit 1; } >&2
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

demo: setup
	$(BIN)/regrowth demo

# The tests need the development lock: pytest, a browser driver, linters.
.venv/dev-installed: .venv/installed requirements-dev.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements-dev.lock
	@touch $@

# Bytecode is stored whatever the environment says: hundreds of processes that the tests start compile nothing then.
test soak: export PYTHONDONTWRITEBYTECODE :=

# Three processes also on two cores: many tests wait for a server or another process.
test: setup .venv/dev-installed
	$(BIN)/python -m pytest -q -m "not slow" -n 3 --dist loadfile

# All tests, the slow ones too.
soak: setup .venv/dev-installed
	$(BIN)/python -m pytest -q -n logical --maxprocesses 4 --dist loadfile

lint: .venv/dev-installed
	$(BIN)/deptry .
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Any broken link or reference is an error. Open docs/_build/html/index.html. The notebook reads the demonstration.
docs: setup .venv/dev-installed
	@test -f outputs/demo/status.json || $(BIN)/regrowth demo
	$(BIN)/python -m sphinx -q -W --keep-going -E -b html docs docs/_build/html

bench: setup .venv/bench-installed
	$(BIN)/python -m benchmarks

# The peers of the benchmarks, which the product never imports.
.venv/bench-installed: .venv/installed benchmarks/requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r benchmarks/requirements.lock
	@touch $@

# After a change of dependencies in pyproject.toml; needs uv.
lock:
	uv pip compile --quiet --universal --python-version 3.12 --generate-hashes --no-header --no-annotate \
		--extra apprise --extra demo --extra postgresql --group build pyproject.toml --output-file requirements.lock
	uv pip compile --quiet --universal --python-version 3.12 --generate-hashes --no-header --no-annotate \
		--constraints requirements.lock --all-extras --group build --group dev pyproject.toml --output-file requirements-dev.lock
	uv pip compile --quiet --universal --python-version 3.12 --generate-hashes --no-header --no-annotate \
		--constraints requirements.lock --group bench pyproject.toml --output-file benchmarks/requirements.lock

clean:
	rm -rf .venv docs/_build .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
