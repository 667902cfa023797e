# Everything runs in .venv, which the first command sets up. PYTHON chooses the interpreter,
# PYSIGNAL_BUILD=release|debug|trace how the core is compiled, ARGS what else a command is told:
#
#     make demo ARGS="--invitations 100000"
#     make test ARGS="tests/engine -x" PYSIGNAL_BUILD=debug

PYTHON ?= python3
BIN := .venv/bin
export PYTHON PYSIGNAL_BUILD

.PHONY: demo test lint types bench bench-quick setup clean

demo: setup  ## thousands of real invitations, each outcome checked
	@$(BIN)/pysignal demo $(ARGS)

test: setup  ## all tests
	@$(BIN)/python -m pytest $(ARGS)

lint: setup  ## style of Python and Cython
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@PATH="$(CURDIR)/$(BIN):$$PATH" cython-lint engine pysignal/*.pyx pysignal/*.pxd

types: setup  ## types, and whether the stubs match the compiled modules
	@$(BIN)/python -m mypy
	@$(BIN)/python -m mypy.stubtest --mypy-config-file pyproject.toml \
		pysignal.engine pysignal.delivery

bench: setup  ## figures beside their rivals: one table, and benchmarks/results/figures.json
	@mkdir -p benchmarks/results
	@$(BIN)/python -m pytest benchmarks --benchmark-only --quiet \
		--benchmark-json=benchmarks/results/figures.json $(ARGS)

bench-quick: setup  ## every benchmark once and small, to see that it works
	@mkdir -p benchmarks/results
	@$(BIN)/python -m pytest benchmarks --benchmark-only --quiet --quick \
		--benchmark-json=benchmarks/results/quick.json $(ARGS)

setup:
	@sh scripts/setup

clean:
	rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis \
		.benchmarks .coverage benchmarks/results demo.png
	find . -path ./.git -prune -o \( -name '*.so' -o -name __pycache__ \) -prune -exec rm -rf {} +
	for source in engine/*.pyx pysignal/*.pyx; do rm -f "$${source%.pyx}.c"; done
