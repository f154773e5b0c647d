# make demo: environment + the main job.   make test: environment + checks + tests.   Both are quick once .venv stands.
PYTHON ?= python3
TORCH  ?= $(shell grep '^torch==' constraints.txt)
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/ready
MARKED ?= not slow and not slurm and not ray

.PHONY: demo test lint bench wheel lock clean
.DEFAULT_GOAL := demo

demo: $(READY)
	$(BIN)/python train.py model=lstm task=copy lag=1000

test: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto -m "$(MARKED)"

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(READY)
	$(BIN)/python benchmarks/training_step.py
	$(BIN)/python benchmarks/cells.py
	$(BIN)/python benchmarks/sweep.py

wheel: $(READY)
	$(BIN)/pip wheel --quiet --no-deps --wheel-dir dist .

# Every dependency but torch, with the hashes of its files for all systems; torch is a choice (see README.md, Set-up).
lock: $(READY)
	$(BIN)/pip install --quiet --disable-pip-version-check uv==0.13.9
	echo torch > $(VENV)/excluded.txt
	$(BIN)/uv pip compile pyproject.toml --quiet --universal --python-version 3.11 --generate-hashes --no-annotate \
	  --excludes $(VENV)/excluded.txt --constraints constraints.txt --custom-compile-command "make lock" \
	  --output-file requirements.lock

clean:
	rm -rf $(VENV) dist

# torch first and by itself: a plain range would take the newest build, several GB of it.
# The other pins then apply whichever torch was chosen.
$(READY): pyproject.toml constraints.txt
	@echo "Setting up $(VENV): about 2 GB with $(TORCH), 2 to 5 minutes. pip says what it is doing:"
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --disable-pip-version-check "$(TORCH)"
	grep -v '^torch==' constraints.txt > $(VENV)/constraints.txt
	$(BIN)/pip install --disable-pip-version-check -c $(VENV)/constraints.txt -e ".[dev]"
	touch $@
