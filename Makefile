# Everything that a person or CI runs; `make` alone lists it.
SHELL := /bin/bash
.DELETE_ON_ERROR:
# Tests start the plugin some thousand times: compiled once, not each time.
unexport PYTHONDONTWRITEBYTECODE

PYTHON ?= python3
PYTEST_ARGS ?=
ARGO ?= 3.6
RELEASE ?= $(ARGO)
SCENARIO ?= ingress
BENCH ?=

venv := .venv
installed := $(venv)/.installed
plugin := $(venv)/.plugin
run := $(venv)/bin

# A bed waits more than it works: two of them fit on two cores. A file keeps its bed.
two_at_once := -n 2 --dist loadfile
# Tests of the pure lane share nothing: whoever is free takes the next.
on_two_cores := -n 2 --dist worksteal

# Of the tests: pytest's hooks and fixtures, and what http.server and socketserver call or look at.
called_by_frameworks := _,pytest_*,do_*,log_message,handle_*,daemon_threads,block_on_close,protocol_version,close_connection,address_family,request_queue_size,disable_nagle_algorithm,wbufsize

beside_the_beds := tests/contract tests/apiserver tests/fault tests/oracle

# In types that lists are decoded into: camelCase is nobody's but Kubernetes' and Argo CD's.
fields_as_argo_cd_has_them := *[a-z][A-Z]*

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo "  PYTEST_ARGS='-k words --bed=3.6' narrows the test targets; ARGO=3.2 chooses the version of cluster and incident."

# Keyed on the files that say what is installed.
$(installed): setup.cfg pyproject.toml | $(run)/python
	@echo "Making $(venv) with the plugin and its tests' tools: a minute or two, once." >&2
	$(run)/python -m pip install -q --disable-pip-version-check -e '.[test]'
	touch $(plugin) $@

$(plugin): setup.cfg pyproject.toml | $(run)/python
	@echo "Making $(venv) with the plugin: some seconds, once." >&2
	@$(run)/python -m pip install -q --disable-pip-version-check -e .
	@touch $@

$(run)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
	  echo "$(PYTHON) is older than 3.10, or is not there: say another one, as in make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -m venv $(venv) || { rm -rf $(venv); \
	  echo "$(PYTHON) cannot make environments: install its venv module (Debian and Ubuntu: apt install python3-venv), then run make $(MAKECMDGOALS) again" >&2; exit 1; }

.PHONY: drill
drill: $(plugin) ## Play a practice incident: no cluster, Python alone (SCENARIO=friday; the first is ingress)
	@$(run)/kubectl-argo_rescue drill $(SCENARIO) || [ -t 0 ]

.PHONY: venv
venv: $(installed) ## Make .venv with the plugin and what its tests need

.PHONY: programs
programs: $(installed) ## Build the test bed's programs into the cache (cold: about 25 minutes on 2 cores)
	$(run)/python -m tests.testbed.programs

# A fresh $(venv) has the newest packages: the pure lane runs a second time with the lowest alone.
.PHONY: test
test: lint $(installed) programs test-lowest ## Run `make lint`, then every lane: unit, contract, apiserver, fault, oracle, e2e
	$(run)/pytest tests/unit $(on_two_cores) $(PYTEST_ARGS)
	$(run)/pytest $(beside_the_beds) $(two_at_once) $(PYTEST_ARGS)
	$(run)/pytest tests/e2e $(two_at_once) $(PYTEST_ARGS)

.PHONY: test-unit
test-unit: $(installed) ## Run the pure lane: less than a minute
	$(run)/pytest tests/unit $(on_two_cores) $(PYTEST_ARGS)

.PHONY: test-floors test-lowest test-newest
test-floors: test-lowest test-newest ## Run the pure lane with the lowest and the newest packages that setup.cfg allows

# Each in an environment of its own, brought up to date before every run. test_layers.py needs a tool with floors of its own.
test-lowest test-newest: test-%: | $(run)/python
	@test -x .venv-$*/bin/python || $(PYTHON) -m venv .venv-$*
	@set -o pipefail; $(run)/python -m tests.floors $* | .venv-$*/bin/python -m pip install -q \
	  --disable-pip-version-check --upgrade --upgrade-strategy eager -e . -r /dev/stdin
	.venv-$*/bin/python -m pytest tests/unit --ignore=tests/unit/project/test_layers.py $(on_two_cores) $(PYTEST_ARGS)

.PHONY: test-apiserver
test-apiserver: $(installed) ## Run the lanes on a real API server
	$(run)/python -m tests.testbed.programs kubernetes etcd
	$(run)/pytest tests/contract tests/apiserver $(two_at_once) $(PYTEST_ARGS)

.PHONY: test-e2e
test-e2e: $(installed) programs ## Run the lane on real Argo CD controllers
	$(run)/pytest tests/e2e $(two_at_once) $(PYTEST_ARGS)

.PHONY: test-release
test-release: $(installed) ## Run what concerns one release line of Argo CD (RELEASE=3.6)
	$(run)/python -m tests.testbed.programs
	$(run)/python -m tests.testbed.cut_schemas
	$(run)/pytest tests/apiserver/test_every_release.py tests/oracle tests/e2e --bed=$(RELEASE) $(PYTEST_ARGS)

.PHONY: test-long
test-long: $(installed) programs ## Run every lane with the property and fault tests at full size
	ARGO_RESCUE_TEST_SIZE=full $(run)/pytest tests/unit $(on_two_cores) $(PYTEST_ARGS)
	ARGO_RESCUE_TEST_SIZE=full $(run)/pytest $(beside_the_beds) $(two_at_once) $(PYTEST_ARGS)
	ARGO_RESCUE_TEST_SIZE=full $(run)/pytest tests/e2e $(two_at_once) $(PYTEST_ARGS)

.PHONY: lint
lint: $(installed) ## Check style, types, imports, spelling, dead and doubled code
	$(run)/ruff check .
	$(run)/ruff format --check .
	$(run)/mypy
	$(run)/codespell
	$(run)/lint-imports
	$(run)/vulture kubectl_argo_rescue krew tests/called_elsewhere.py --min-confidence 60 --ignore-names '_,$(fields_as_argo_cd_has_them)'
	$(run)/vulture kubectl_argo_rescue krew tests --min-confidence 60 --ignore-decorators @pytest.fixture --ignore-names '$(called_by_frameworks),$(fields_as_argo_cd_has_them)'
	$(run)/pylint --disable=all --enable=duplicate-code --score=n kubectl_argo_rescue krew

.PHONY: coverage
coverage: $(installed) ## Hold the pure modules to 95 % of their branches, by the pure lane alone
	$(run)/python -m tests.pure_coverage

.PHONY: docs
docs: $(installed) ## Write docs/cli-reference.md and the layout in docs/maintainers.md anew from the program
	$(run)/python -m tests.docs

.PHONY: captures
captures: $(installed) programs ## Take docs/captures anew: *.svg from a real run, report.png in a browser
	$(run)/python -m tests.testbed.captures --argo $(ARGO)
	release/browser.sh
	$(run)/python -m tests.release.picture

.PHONY: bench
bench: $(installed) programs ## Measure beside kubectl and write docs/benchmarks.md (BENCH='speed rescue scale')
	$(run)/python -m tests.bench $(BENCH)

.PHONY: archive
archive: $(installed) ## Make this platform's Krew archive and the manifest in dist/ (REPOSITORY=https://…)
	$(run)/python krew/build.py $(if $(REPOSITORY),--repository $(REPOSITORY))

.PHONY: release-check
release-check: $(installed) ## Check what a release needs beside the lanes: all of it made twice, a clean machine, a browser, linters
	release/browser.sh
	$(run)/python -m pip install -q --disable-pip-version-check -e '.[test,release]'
	$(run)/pytest tests/release $(PYTEST_ARGS)

.PHONY: check
check: lint coverage test ## Do all that a change must pass

.PHONY: cluster
cluster: $(installed) ## Start the incident in the background and say how to reach it
	@$(run)/python -m tests.testbed up --argo $(ARGO)

.PHONY: cluster-down
cluster-down: $(installed) ## End what `make cluster` started
	@$(run)/python -m tests.testbed down

.PHONY: incident
incident: $(installed) ## Play the whole story with the plugin and show what the cluster says
	@$(run)/python -m tests.testbed.story --argo $(ARGO)
