PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/installed
ALONE := $(if $(shell command -v flock),flock Makefile)
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 3 --dist worksteal

.PHONY: install run test soak coverage check docs

# Two at once would write over each other: the second waits, and finds all there.
install:
	@$(ALONE) $(MAKE) --silent $(INSTALLED)

$(INSTALLED): requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --requirement requirements.lock
	$(BIN)/python -m pip install --no-deps --no-build-isolation --editable .
	touch $@

run: install
	$(BIN)/qmoe-fed run simulations/moons_fed

test: install
	$(PYTEST)

# Random and damaged settings, data, runs and replies by the thousand; processes killed, 50 times.
soak: install
	SOAK=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest --timeout 0 -s $(shell find tests -name 'test_soak_*.py')
	$(BIN)/python tests/soak/killing.py
	$(BIN)/python tests/soak/sites.py

# What Ray and SuperNodes run in processes of their own is also run in this one by tests.
coverage: install
	$(PYTEST) --cov --cov-report=term:skip-covered

# Pages of all that is public: open build/docs/index.html.
docs: install
	$(BIN)/python docs/api.py build/docs

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
