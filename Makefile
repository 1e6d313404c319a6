# Two commands do everything on a fresh machine with Python 3.10 - 3.13: `make demo` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: help demo test check toy bench clean
help:
	@echo "make demo   install and render the example: the avatar obama speaks examples/speech.flac"
	@echo "make test   install and run the checks and the tests"
	@echo "make check  format, lint, types, import contract"
	@echo "make toy    train every loop for some steps"
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

check: $(VENV)/.installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

toy: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -m train

bench: $(VENV)/.installed-dev
	$(BIN)/python benchmarks/render.py

clean:
	rm -rf build out $(VENV)
