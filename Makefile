PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/installed
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 3 --dist worksteal

.PHONY: install run test coverage check docs

install: $(INSTALLED)

$(INSTALLED): requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --requirement requirements.lock
	$(BIN)/python -m pip install --no-deps --no-build-isolation --editable .
	touch $@

run: install
	$(BIN)/qmoe-fed run simulations/moons_fed

test: install
	$(PYTEST)

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
