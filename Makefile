# Everything runs in .venv, which the first command sets up. PYTHON chooses the interpreter,
# PYSIGNAL_BUILD=release|debug|trace how the core is compiled, ARGS what else a command is told:
#
#     make demo ARGS="--invitations 100000"
#     make test ARGS="tests/engine -x" PYSIGNAL_BUILD=debug

PYTHON ?= python3
BIN := .venv/bin
export PYTHON PYSIGNAL_BUILD

.PHONY: demo test histories torture fuzz lint types model asan soak soak-ids mutants coverage bench bench-quick setup clean

demo: setup  ## thousands of real invitations, each outcome checked
	@$(BIN)/pysignal demo $(ARGS)

test: setup  ## all tests
	@$(BIN)/python -m pytest $(ARGS)

histories: setup  ## random histories against a model: N of them from SEED, OVER=hub|machine|crashes|both
	@PYTHONPATH=tests $(BIN)/python -m oracle.bulk \
		--count $(or $(N),100000) --seed $(or $(SEED),0) --over $(or $(OVER),both) $(ARGS)

torture: setup  ## crashes of the log on a simulated disk, N from SEED; then of a server, ROUNDS
	@PYTHONPATH=tests nice -n 10 $(BIN)/python -m journal.crashes \
		--count $(or $(N),1000000) --seed $(or $(SEED),0) $(ARGS)
	@PYTHONPATH=tests nice -n 10 $(BIN)/python -m crash \
		--rounds $(or $(ROUNDS),10000) --seed $(or $(SEED),0)

fuzz: setup  ## histories and frames that a fuzzer makes up, for SECONDS
	@$(BIN)/python -c 'import atheris' 2>/dev/null || \
		$(BIN)/python -m pip --disable-pip-version-check --quiet install "atheris>=2.3"
	@PYTHONPATH=tests $(BIN)/python -m fuzz --seconds $(or $(SECONDS),60) $(ARGS)

asan: setup  ## all tests, cut to a tenth, under AddressSanitizer, UBSan and the leak check
	@$(BIN)/python scripts/sanitized.py $(ARGS)

soak: setup  ## a hundred million invitations through one process, whose memory must stay flat
	@nice -n 10 $(BIN)/python tests/soak/flat_memory.py $(ARGS)

soak-ids: setup  ## a hundred million invite IDs, and how many come twice
	@nice -n 10 $(BIN)/python tests/soak/ids.py $(ARGS)

mutants: setup  ## a bug for each promise of docs/invariants.md, and whether its check notices
	@$(BIN)/python scripts/mutants.py $(ARGS)

lint: setup  ## style of Python and Cython
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@PATH="$(CURDIR)/$(BIN):$$PATH" cython-lint engine \
		$(wildcard $(foreach part,. journal protocol server,pysignal/$(part)/*.pyx pysignal/$(part)/*.pxd))

types: setup  ## types, and whether the stubs match the compiled modules
	@$(BIN)/python -m mypy
	@$(BIN)/python -m mypy.stubtest --mypy-config-file pyproject.toml \
		pysignal.engine $(patsubst pysignal/%.pyx,pysignal.%,$(wildcard pysignal/*.pyx)) \
		$(foreach part,journal protocol server,$(patsubst pysignal/$(part)/%.pyx,pysignal.$(part).%,\
			$(wildcard pysignal/$(part)/*.pyx)))

model: setup  ## the design, searched through by Spin, with planted bugs; ARGS=--more searches further
	@$(BIN)/python tests/model/check.py $(ARGS)

coverage: setup  ## which lines the tests run, and that docs/coverage.md explains the others
	@$(BIN)/python scripts/covered.py $(ARGS)

bench: setup  ## figures beside their rivals: a table, benchmarks/results/figures.json, and plots
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
	for source in engine/*.pyx pysignal/*.pyx pysignal/journal/*.pyx pysignal/protocol/*.pyx; do rm -f "$${source%.pyx}.c"; done
