# Winnow. `make demo` and `make test` set themselves up in .venv; nothing else has to be done first.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# The newest of the supported Pythons that is here; override with `make PYTHON=...`.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(not (3,11) <= sys.version_info[:2] <= (3,13))' 2>/dev/null \
	&& { command -v $$p; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
MANIFESTS := pyproject.toml edge/pyproject.toml constraints.txt
# Arguments of `make demo`: SWATH=path shows any image instead of the rendered scene.
SWATH ?=
DEMO_OUT ?= demo-out
WORKERS ?= auto
# The order of the tests is random; the first lines of a run name its seed, SEED=n repeats it.
SEED ?= $(shell date +%s)

# uv installs in seconds; where it is not to be had, pip does the same more slowly.
define install
$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt uv \
	&& $(BIN)/uv pip install --quiet --python $(BIN)/python -c constraints.txt $(1) \
	|| $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt $(1)
endef

.PHONY: help demo test test-slow test-power test-board test-arm wheel lint format types bench bench-peers pin clean
help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "winnow: no Python 3.11, 3.12 or 3.13 found; install one or say make PYTHON=/path/to/python" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "winnow: $(PYTHON) has no working venv module; on Debian: apt-get install python3-venv" >&2; exit 1; }

# The base: the edge and the receiving half of the ground, without TensorFlow.
$(VENV)/.base: $(MANIFESTS) | $(BIN)/python
	@echo "winnow: installing (once)" >&2
	@$(call install,-e ./edge -e .)
	@touch $@

# Everything: training, conversion, tests, linters.
$(VENV)/.all: $(MANIFESTS) | $(BIN)/python
	@echo "winnow: installing everything, TensorFlow too (once)" >&2
	@$(call install,-e ./edge -e '.[all]')
	@touch $(VENV)/.base $@

demo: $(VENV)/.base ## render a Mars-like swath, fly the shipped bundle over it, downlink 5 %, report
	@$(BIN)/winnow demo --out $(DEMO_OUT) $(if $(SWATH),--swath '$(SWATH)')

test: $(VENV)/.all ## all tests but the slow ones
	@command -v sshd >/dev/null || test -x /usr/sbin/sshd || echo "winnow: no sshd here, so the tests of deploy will skip; on Debian: apt-get install openssh-server" >&2
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder --randomly-seed=$(SEED) -m 'not slow and not arm and not board' tests

test-slow: $(VENV)/.all ## the slow tests: long fuzzing, long streams
	$(BIN)/python -m pytest -m 'slow and not board' tests

test-power: $(VENV)/.all ## power cuts at 100,000 points, 500 kills, every call failing (POINTS=n, SEED=n)
	POWER_POINTS=$(or $(POINTS),100000) POWER_SEED=$(SEED) $(BIN)/python -m pytest -s -m slow tests/power

test-board: $(VENV)/.all ## power cuts of whole emulated boards, as root (CUTS=n, MINUTES=n, ARCH=x86-64|aarch64, ACCEL=kvm|tcg|uml)
	@for tool in qemu-system-x86_64 qemu-system-aarch64 qemu-img mmdebstrap; do command -v $$tool >/dev/null || \
		{ echo "winnow: no $$tool here; on Debian: apt-get install qemu-system-x86 qemu-system-arm qemu-utils qemu-user-static binfmt-support mmdebstrap" >&2; exit 1; }; done
	WINNOW_CUTS=$(CUTS) WINNOW_MINUTES=$(MINUTES) WINNOW_ARCH=$(ARCH) WINNOW_ACCEL=$(ACCEL) SEED=$(SEED) $(BIN)/python -m pytest -s -m board tests/board

test-arm: $(VENV)/.all ## the edge on aarch64, emulated: installs, logits and records bit for bit
	$(BIN)/python -m pytest -m arm tests/arm

wheel: $(BIN)/python ## dist/winnow_edge-*.whl, the shipped bundles in it, for a board
	@$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir dist ./edge
	@ls dist/winnow_edge-*.whl

lint: $(VENV)/.all ## ruff: style, length, complexity, and format; import-linter: who may import whom
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-logo

format: $(VENV)/.all ## ruff: mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(VENV)/.all ## mypy, strict
	$(BIN)/mypy

bench: $(VENV)/.all ## all benchmarks in their short forms; BENCH="--full speed.loop" chooses
	$(BIN)/python -m benchmarks $(BENCH)

bench-peers: $(VENV)/.all ## Winnow beside SAHI, supervision, rasterio + ONNX Runtime, Keras (own environment)
	PYTHON=$(BIN)/python benchmarks/peers/run.sh

pin: $(BIN)/python ## resolve constraints.txt anew
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	@# backports-strenum 1.3 refuses Python 3.11, where ai-edge-litert wants it; uv overlooks that, pip does not.
	@printf '%s\n' '-e ./edge' '-e .[all]' hatchling uv 'backports-strenum<1.3' > .pin.in
	@{ echo '# Versions that resolve together on Python 3.11, 3.12 and 3.13. Made by `make pin`.'; \
	   $(BIN)/uv pip compile .pin.in --quiet --universal --python-version 3.11 --upgrade --no-annotate --no-header \
	   --no-emit-package winnow-edge --no-emit-package winnow-ground; } > .pin.out && mv .pin.out constraints.txt; rm -f .pin.in

clean: ## remove the environment and everything made
	rm -rf $(VENV) $(DEMO_OUT) .mypy_cache .ruff_cache .import_linter_cache .hypothesis .benchmarks
