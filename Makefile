# Every target sets up what it needs; all are safe to repeat. `make help` lists them.
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

$(VENV)/.installed: pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "selfray needs Python 3.11 or newer; set PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "selfray needs Python 3.11 or newer; set PYTHON=/path/to/python3.11"; exit 1; }
	@echo "setting up $(VENV) (a few minutes the first time) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install -qq -c constraints.txt -e '.[dev]'
	@touch $@

setup: $(VENV)/.installed ## create .venv with everything pinned

quickstart: $(VENV)/.installed ## pretrain a real encoder on real data, evaluate it, write a report
	@$(BIN)/selfray run quickstart

test: $(VENV)/.installed ## the tests (minutes)
	@$(BIN)/python -m pytest -q

test-all: $(VENV)/.installed ## all tests, the slow ones too
	@$(BIN)/python -m pytest -q -m ""

lint: $(VENV)/.installed ## style
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .

format: $(VENV)/.installed ## put the style right
	@$(BIN)/ruff check --fix . && $(BIN)/ruff format .

types: $(VENV)/.installed ## types
	@$(BIN)/mypy

bench: $(VENV)/.installed ## samples per second beside the limit and beside a peer (quiet machine; three quarters of an hour)
	@$(BIN)/python benchmarks/bench_image.py --peer-python "$$($(BIN)/python benchmarks/peer_environment.py .venv-bench)"
	@$(BIN)/python benchmarks/bench_text.py --peer-python "$$($(BIN)/python benchmarks/peer_environment.py .venv-bench)"
	@$(BIN)/python benchmarks/bench_audio.py --peer-python "$$($(BIN)/python benchmarks/peer_environment.py .venv-bench)"
	@$(BIN)/python benchmarks/bench_methods.py

quality-image: $(VENV)/.installed ## methods on images beside the untrained encoder and raw pixels (hours; goes on where it was)
	@$(BIN)/python benchmarks/quality_image.py

quality-series: $(VENV)/.installed ## methods on series beside published numbers (hours; goes on where it was)
	@$(BIN)/python benchmarks/quality_series.py

quality-labels: $(VENV)/.installed ## how far few labels reach, with and without pretraining (an hour; goes on where it was)
	@$(BIN)/python benchmarks/label_efficiency.py

quality-tables: $(VENV)/.installed ## forecasts and gaps of tables beside predictions without a network (an hour; goes on)
	@$(BIN)/python benchmarks/quality_tables.py

quality-text: $(VENV)/.installed ## methods on text beside TF-IDF and the untrained encoder (hours; goes on where it was)
	@$(BIN)/python benchmarks/quality_text.py

quality-audio: $(VENV)/.installed ## methods on sound beside statistics of the spectrum (an hour; goes on where it was)
	@$(BIN)/python benchmarks/quality_audio.py

sweep-pages: $(VENV)/.installed ## published ablations by sweep, what ASHA saves, what ranks runs without labels (hours; goes on)
	@$(BIN)/python benchmarks/sweep_pages.py
	@$(BIN)/python benchmarks/sweep_budget.py
	@$(BIN)/python benchmarks/selection.py

.venv-deploy/requirements-check.txt: deploy/requirements-check.txt
	@$(PYTHON) deploy/check_environment.py >/dev/null

deploy-lint: $(VENV)/.installed .venv-deploy/requirements-check.txt ## deployment files against the programs that read them
	@SELFRAY_DEPLOY_TOOLS=$(CURDIR)/.venv-deploy $(BIN)/python -m pytest -q tests/deploy

deploy-check: $(VENV)/.installed .venv-deploy/requirements-check.txt ## the same, and the parts of the compose stack for real (minutes)
	@SELFRAY_DEPLOY_TOOLS=$(CURDIR)/.venv-deploy $(BIN)/python -m pytest -q -m "" tests/deploy

clean: ## remove what the targets made, but not runs and corpora
	rm -rf $(VENV) .venv-bench .venv-deploy dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis

.PHONY: help setup quickstart test test-all lint format types bench deploy-lint deploy-check quality-image quality-series quality-labels quality-tables quality-text quality-audio sweep-pages clean
