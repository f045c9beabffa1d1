# `make help` lists what there is. Each target installs what it needs into .venv, once: the stamp files
# there say what has been installed, and go stale when pyproject.toml or constraints.txt change.

PYTHON ?= python3.11
VENV ?= .venv
ARGS ?=
# Processes that run the tests, each whole files; 0 runs them in pytest's own, for --pdb.
WORKERS ?= 2
VERSION ?=

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
INSTALL := $(PIP) install --quiet -c constraints.txt
PINS := pyproject.toml constraints.txt
PACKAGE := hfnb
# Jupyter asks root, as whom one works in a container, to say so.
AS_ROOT := $(if $(filter 0,$(shell id -u)),--allow-root)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test test-slow lab check format bench bench-cuda docs binder release clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/stamp-core ## install hfnb and run its demo on a packaged model: a table and its statistics
	$(BIN)/python -m hfnb.demo $(ARGS)

test: $(VENV)/stamp-dev ## run the tests but the slow ones, a real browser included; ARGS="-k name" picks
	@scripts/install_browser.sh $(BIN)/python
	$(BIN)/python -m pytest -m "not slow" -n $(WORKERS) --dist loadfile $(ARGS)

test-slow: $(VENV)/stamp-dev ## run the slow tests
	@scripts/install_browser.sh $(BIN)/python
	$(BIN)/python -m pytest -m slow $(ARGS)

lab: $(VENV)/stamp-all ## open the tour in JupyterLab
	@mkdir -p $(VENV)/share/jupyter/lab/settings
	@cp binder/overrides.json $(VENV)/share/jupyter/lab/settings/ # else it asks whether to fetch news
	$(BIN)/python -m jupyterlab --LabApp.default_url=/lab/tree/notebooks/01-tour.ipynb $(AS_ROOT) $(ARGS)

check: $(VENV)/stamp-dev ## lint, formatting and types, as CI checks them
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict

format: $(VENV)/stamp-dev ## mend what ruff can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/stamp-dev ## measure hfnb beside its peers, for an hour or more; ARGS="NAME" picks
	$(BIN)/python bench/run.py $(ARGS)

bench-cuda: $(VENV)/stamp-dev ## measure large models on an NVIDIA GPU; they are made, 16 GB on disk
	$(BIN)/python bench/run.py cuda

docs: $(VENV)/stamp-dev ## build the documentation into site/; a broken link is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict $(ARGS)

binder: $(VENV)/stamp-dev ## rehearse Binder: its image, every notebook in 2 GB; Linux, as root, minutes
	$(BIN)/python -m tests.binder.rehearse $(ARGS)

release: $(VENV)/stamp-dev ## VERSION=1.2.3: CI, version, changelog, build, tag; ARGS=--dry-run tries it
	$(BIN)/python scripts/release.py $(VERSION) $(ARGS)

clean: ## remove .venv and everything that builds, tests and tools left behind
	rm -rf $(VENV) build dist site htmlcov .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The interpreter in a virtual environment is a link to an old file: only a stamp is newer than its causes.
$(VENV)/stamp-venv:
	scripts/make_venv.sh $(PYTHON) $(VENV)
	@touch $@

$(VENV)/stamp-core: $(VENV)/stamp-venv $(PINS)
	@echo "installing $(PACKAGE) and what it needs, in silence, for minutes: PyTorch is hundreds of MB,"
	@echo "and several GB where pip takes its build for CUDA, as it does on Linux ..."
	$(INSTALL) -e .
	@touch $@

$(VENV)/stamp-all: $(VENV)/stamp-venv $(PINS)
	@echo "installing $(PACKAGE)[all] ..."
	$(INSTALL) -e '.[all]'
	@touch $(VENV)/stamp-core $@

$(VENV)/stamp-dev: $(VENV)/stamp-venv $(PINS)
	@echo "installing $(PACKAGE)[all,dev] ..."
	$(INSTALL) -e '.[all,dev]'
	@touch $(VENV)/stamp-core $(VENV)/stamp-all $@
