# Everything that a person or CI runs; `make` alone lists it.
SHELL := /bin/bash
.DELETE_ON_ERROR:

PYTHON ?= python3
PYTEST_ARGS ?=
ARGO ?= 3.6

venv := .venv
installed := $(venv)/.installed
run := $(venv)/bin

# A bed waits more than it works: two of them fit on two cores. A file keeps its bed.
two_at_once := -n 2 --dist loadfile

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo "  PYTEST_ARGS='-k words --bed=3.6' narrows the test targets; ARGO=3.2 chooses the version of cluster and incident."

# Keyed on the files that say what is installed.
$(installed): setup.cfg pyproject.toml
	test -x $(run)/python || $(PYTHON) -m venv $(venv)
	$(run)/python -m pip install -q --disable-pip-version-check -e '.[test]'
	touch $@

.PHONY: venv
venv: $(installed) ## Make .venv with the plugin and what its tests need

.PHONY: programs
programs: $(installed) ## Build the test bed's programs into the cache (cold: about 15 minutes on 2 cores)
	$(run)/python -m tests.testbed.programs

.PHONY: test
test: $(installed) programs ## Run every lane: unit, contract, apiserver, e2e
	$(run)/pytest tests --ignore=tests/e2e $(PYTEST_ARGS)
	$(run)/pytest tests/e2e $(two_at_once) $(PYTEST_ARGS)

.PHONY: test-unit
test-unit: $(installed) ## Run the pure lane: seconds
	$(run)/pytest tests/unit $(PYTEST_ARGS)

.PHONY: test-apiserver
test-apiserver: $(installed) ## Run the lanes on a real API server
	$(run)/python -m tests.testbed.programs kubernetes etcd
	$(run)/pytest tests/contract tests/apiserver $(PYTEST_ARGS)

.PHONY: test-e2e
test-e2e: $(installed) programs ## Run the lane on real Argo CD controllers
	$(run)/pytest tests/e2e $(two_at_once) $(PYTEST_ARGS)

.PHONY: test-long
test-long: $(installed) programs ## Run every lane with the property and fault tests at full size
	ARGO_RESCUE_TEST_SIZE=full $(run)/pytest tests --ignore=tests/e2e $(PYTEST_ARGS)
	ARGO_RESCUE_TEST_SIZE=full $(run)/pytest tests/e2e $(two_at_once) $(PYTEST_ARGS)

.PHONY: lint
lint: $(installed) ## Check style, types, imports, spelling
	$(run)/ruff check .
	$(run)/ruff format --check .
	$(run)/mypy
	$(run)/codespell
	if grep -q '^\[importlinter' setup.cfg; then $(run)/lint-imports; fi

.PHONY: docs
docs: $(installed) ## Write docs/cli-reference.md anew from the verbs' --help
	$(run)/python -m tests.docs

.PHONY: archive
archive: $(installed) ## Make this platform's Krew archive and the manifest in dist/ (REPOSITORY=https://…)
	$(run)/python krew/build.py $(if $(REPOSITORY),--repository $(REPOSITORY))

.PHONY: check
check: lint test ## Do what CI does

.PHONY: cluster
cluster: $(installed) ## Start the incident in the background and say how to reach it
	@$(run)/python -m tests.testbed up --argo $(ARGO)

.PHONY: cluster-down
cluster-down: $(installed) ## End what `make cluster` started
	@$(run)/python -m tests.testbed down

.PHONY: incident
incident: $(installed) ## Play the whole story with the plugin and show what the cluster says
	@$(run)/python -m tests.testbed.story --argo $(ARGO)
