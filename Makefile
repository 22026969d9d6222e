# Everything happens in .venv inside the checkout; PYTHON may name another 3.11+ interpreter.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test test-slow test-ray lint install clean

demo: install  ## the built-in experiment: five ways of rewarding the same language model
	$(BIN)/abcrl compare

test: install
	$(BIN)/pytest -n auto --maxprocesses 4 --dist worksteal -m "not slow"

test-slow: install
	$(BIN)/pytest -n auto --maxprocesses 4 --dist worksteal -m slow

test-ray: install  ## what needs Ray, which is 250 MB; afterwards `make test` and `test-slow` run it too
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[ray]"
	$(BIN)/pytest tests/grid/test_ray_engine.py tests/grid/test_node.py \
	  tests/stages/test_comparisons_on_ray.py

lint: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

install: .venv/.installed

.venv/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("abcrl needs Python 3.11 or newer, this is " + sys.version.split()[0]) if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $@

clean:
	rm -rf .venv build dist *.egg-info
