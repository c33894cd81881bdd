# make demo: set up, then draw, ingest, query and examine.  make test: set up, then all tests.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
DEMO ?= demo

.PHONY: setup demo test lint bench reproduce audit clean
setup: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed: make PYTHON=python3.11 ...") if sys.version_info < (3, 11) else 0'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,train,tensorboard,parquet,heic,serve]'
	touch $@

demo: setup
	PATH="$(CURDIR)/$(BIN):$$PATH" sh demo.sh $(DEMO)

test: setup
	$(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: setup
	$(BIN)/python bench/run.py $(BENCH)

# The systems side by side; goes on where it stopped. REPRODUCE="--drawings 500" for a quick look.
reproduce: setup
	$(BIN)/python bench/reproduce.py $(REPRODUCE)

# Known vulnerabilities of the pinned packages; asks pypi.org.
audit: setup
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt pip-audit
	$(BIN)/python -m pip_audit --disable-pip --no-deps -r constraints.txt

clean:
	rm -rf $(VENV) $(DEMO) build *.egg-info .mypy_cache .ruff_cache .pytest_cache
