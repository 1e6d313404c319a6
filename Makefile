# Two commands do everything on a fresh machine with Python 3.10 - 3.13: `make demo` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: help demo test fast check slow toy bench clean
help:
	@echo "make demo   install and render the example: the avatar obama speaks examples/speech.flac"
	@echo "make test   install and run the checks and the tests"
	@echo "make fast   the tests that need no torch, in less than a minute"
	@echo "make check  format, lint, types, import contract"
	@echo "make slow   the long tests: kills by the dozen, hundreds of jobs"
	@echo "make toy    train every network for some steps"
	@echo "make bench  measure; writes figures with the machine they were taken on"

$(BIN)/python:
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 10) <= v <= (3, 13) else f"vast needs Python 3.10 - 3.13, this is {v[0]}.{v[1]}; choose one with: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing vast into $(VENV) ..."
	$(PIP) -e .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing vast and its test tools into $(VENV) ..."
	$(PIP) -e '.[dev]'
	@touch $@ $(VENV)/.installed

demo: $(VENV)/.installed
	$(BIN)/vast render --audio examples/speech.flac --prompt examples/prompt.mp4 --avatar obama -o out/demo.mp4 --overwrite
	@echo "the video is out/demo.mp4"

test: check
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile

# files that neither import torch nor start a process that does; tests/conftest.py holds them to it
FAST := tests/core tests/store tests/pipeline/test_publish.py tests/test_records.py tests/test_claims.py \
	$(patsubst %,tests/batch/test_%.py,cleanup decisions estimate events fingerprint job_queue journal manifest \
		output_template retry_policy run_settings shards) \
	$(patsubst %,tests/cli/test_%.py,batch_display parameters reference) \
	tests/evaluate/test_frechet.py tests/evaluate/test_statistics.py

fast: $(VENV)/.installed-dev
	VAST_NO_TORCH=1 $(BIN)/python -m pytest -n auto --maxprocesses 2 --dist loadfile $(FAST)

check: $(VENV)/.installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

slow: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -m slow

toy: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -m train

bench: $(VENV)/.installed-dev
	$(BIN)/python benchmarks/render.py

clean:
	rm -rf build out $(VENV)
