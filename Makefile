# `make demo` and `make test` set everything up themselves; they need Python 3.11 or newer with pip, and nothing else.
# On Linux without an NVIDIA card, TORCH_INDEX=(PyTorch's index of CPU builds) saves some gigabytes of download.

PYTHON ?= python3
TORCH_INDEX ?=
WORKERS ?= 2
VENV := .venv
EXTRAS := dev
CONSTRAINTS := constraints.txt
BIN := $(VENV)/bin
READY := $(VENV)/.ready
LOG := $(VENV)/install.log
INSTALL = $(BIN)/python -m pip install --disable-pip-version-check --no-input --progress-bar off --constraint $(CONSTRAINTS)
OR_SAY_WHY = >> $(LOG) 2>&1 || { tail -n 40 $(LOG); echo "Installation failed; the whole story is in $(LOG)"; exit 1; }

.DEFAULT_GOAL := help
.PHONY: help install demo test test-slow test-all validate-helm check format docs bench soak clean

help: ## what can be done here
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 22

install: $(READY) ## the package and its tools in .venv, once

demo: $(READY) ## a model learns invented documents while you watch
	@$(BIN)/selfedit demo

test: $(READY) ## the tests, two at a time (WORKERS=8 for more)
	@$(BIN)/python -m pytest --numprocesses $(WORKERS) --dist worksteal -m "not slow"

test-slow: $(READY) ## the slowest proofs alone
	@$(BIN)/python -m pytest -m slow

test-all: test test-slow ## every test

validate-helm: ## the probes as guard, lm-eval and HELM ask them, in .venv-helm: HELM wants older libraries
	@mkdir -p .venv-helm && grep -Ev '^(datasets|dill|fsspec|multiprocess|pandas)==' constraints.txt > .venv-helm/constraints.txt
	@$(MAKE) --no-print-directory install VENV=.venv-helm EXTRAS=eval,helm CONSTRAINTS=.venv-helm/constraints.txt
	@.venv-helm/bin/python -m pip uninstall --quiet --yes torchvision  # HELM names it, no probe needs it, and it is often built for another torch
	@.venv-helm/bin/python -m pytest -s tests/unit/test_helm.py

check: $(READY) ## format, lint, types, layers, generated documentation: seconds
	@$(BIN)/ruff format --check --quiet --output-format concise . || { echo "run: make format"; exit 1; }
	@$(BIN)/ruff check --quiet --output-format concise . && echo "format and lint: ok"
	@$(BIN)/mypy --no-error-summary && echo "types: ok"
	@said=$$($(BIN)/lint-imports --no-logo 2>&1) && echo "layers: ok" || { echo "$$said"; exit 1; }
	@$(BIN)/python docs/generate.py --check

format: $(READY) ## put every file in shape
	@$(BIN)/ruff check --quiet --fix . ; $(BIN)/ruff format .

docs: $(READY) ## write docs/reference.md from the code
	@$(BIN)/python docs/generate.py

bench: $(READY) ## the engine beside what one would run instead (BENCH=--quick, BENCH=--help)
	@$(BIN)/python -m benchmarks $(BENCH)

soak: $(READY) ## the library through 500 commands, with kills and a full disk (SOAK="--steps 100 --seed 1")
	@$(BIN)/python -m benchmarks.soak $(SOAK)

clean: ## remove .venv, .venv-helm and every cache
	rm -rf $(VENV) .venv-helm .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and f"selfedit needs Python 3.11 or newer, {sys.executable} is {sys.version.split()[0]}: make PYTHON=python3.12")'
	@echo "Setting up $(VENV), once: about a minute, some more where PyTorch brings CUDA along (watch it: tail -f $(LOG))"
	@$(PYTHON) -m venv $(VENV) || { echo "$(PYTHON) cannot make a virtual environment: install python3-venv (Debian, Ubuntu), or make PYTHON=another"; exit 1; }
	@rm -f $(LOG)
	@echo "  1/2 PyTorch"
	@$(INSTALL) torch $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) $(OR_SAY_WHY)
	@echo "  2/2 selfedit and its tools"
	@$(INSTALL) --editable '.[$(EXTRAS)]' pytest $(OR_SAY_WHY)
	@touch $(READY)
	@echo "Ready"
