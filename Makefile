# The text after '##' describes a target; 'make help' lists them.
SHELL := bash
.SHELLFLAGS := -o errexit -o nounset -o pipefail -c
MAKEFLAGS += --warn-undefined-variables --no-builtin-rules
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
IMAGE ?= provisioner:latest
PHASE ?=
DATA ?= data
ARGS ?=
BENCH ?=
KILLS ?=
GUARDS ?=
FAULTS ?=
TESTS ?= tests
UPGRADE ?=
BUILD_ID ?=
JOBS ?= auto
MATRIX ?=

# Evaluated when a target needs it: whether a Docker Engine answers.
HAS_DOCKER = $(shell docker info >/dev/null 2>&1 && echo yes)
# Tests that mount file systems need root.
WITHOUT_ROOT := $(if $(filter 0,$(shell id -u)),,not root)
BUILD = SOURCE_DATE_EPOCH=$(EPOCH) docker build --network=host --build-arg COMMIT=$(COMMIT)
# The time of the images: that of the commit. Two builds of one commit have one digest.
EPOCH = $(shell git log -1 --format=%ct 2>/dev/null || echo 0)
# What `provisioner --version` names in the image; a checkout with changes is marked.
COMMIT = $(shell git describe --always --dirty --exclude '*' --abbrev=12 2>/dev/null)
# In several processes; those that start containers are one group, which one process runs. MATRIX: the document to write.
PYTEST = $(BIN)/python -m pytest -n $(JOBS) --dist loadgroup --durations=10 $(if $(MATRIX),-p tests.support.matrix --matrix $(MATRIX))

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-12s %s\n", $$1, $$2}'
	@echo
	@echo "  make provision PHASE=balanced DATA=./data      make plan PHASE=comprehensive      make test TESTS=tests/unit"

# The stamp is newer than the lock file: everything is installed. pip checks the hashes.
$(VENV)/.ready: requirements/dev.lock
	@echo "Making $(VENV) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements/dev.lock
	@touch $@

.PHONY: venv
venv: $(VENV)/.ready ## make .venv with all requirements, at their locked versions and hashes

.PHONY: provision
provision: $(VENV)/.ready ## fill $(DATA) with PHASE (minimal); in a container if there is a Docker Engine
ifeq ($(HAS_DOCKER),yes)
	@docker image inspect $(IMAGE) >/dev/null 2>&1 || $(MAKE) --no-print-directory image
	@$(BIN)/python -m tools.containerized --image $(IMAGE) --data $(DATA) $(if $(PHASE),--phase $(PHASE)) $(ARGS)
else
	@echo "No Docker Engine: provisioning natively."
	@$(BIN)/python -m provisioner --data-dir $(DATA) $(if $(PHASE),--phase $(PHASE)) $(ARGS)
endif

.PHONY: init
init: $(VENV)/.ready ## ask for token, repository, phase and licences, and write .env for Compose
	@$(BIN)/python -m provisioner init --data-dir $(DATA) $(ARGS)

.PHONY: plan
plan: $(VENV)/.ready ## show what 'make provision' would do: sizes, licences, peak disk space, times; writes nothing
	@$(BIN)/python -m provisioner plan --data-dir $(DATA) $(if $(PHASE),--phase $(PHASE)) $(ARGS)

.PHONY: status
status: $(VENV)/.ready ## show what $(DATA) holds and how the last run ended
	@$(BIN)/python -m provisioner status --data-dir $(DATA) $(ARGS)

.PHONY: demo
demo: $(VENV)/.ready ## provision a miniature of all eight data sets from a Hub on loopback, twice, and start an app on it
ifeq ($(HAS_DOCKER),yes)
	@if $(BUILD) --quiet --tag $(IMAGE) . >/dev/null; then $(BIN)/python -m tools.demo --image $(IMAGE); \
	else echo "The image cannot be built here: the demo runs natively."; $(BIN)/python -m tools.demo; fi
else
	@echo "No Docker Engine: the demo runs natively."
	@$(BIN)/python -m tools.demo
endif

.PHONY: test
test: $(VENV)/.ready ## run all tests; with a Docker Engine, build the image first and test it too
ifeq ($(HAS_DOCKER),yes)
	@$(MAKE) --no-print-directory image
	$(if $(WITHOUT_ROOT),@echo "Not root: the tests that mount file systems are left out.")
	@$(PYTEST) -m "$(WITHOUT_ROOT)" $(TESTS)
else
	@echo "No Docker Engine: the tests of the image are left out."
	@$(MAKE) --no-print-directory native
endif

.PHONY: unit
unit: $(VENV)/.ready ## run the unit tests on all cores, within a minute or so; no image, server or mount
	@$(BIN)/python -m pytest -q -n auto tests/unit

.PHONY: coverage
coverage: $(VENV)/.ready ## measure the branches that unit and contract tests reach; fails below the floor in pyproject.toml
	@$(BIN)/python -m pytest -q -n auto --cov=provisioner --cov-report=term:skip-covered tests/unit tests/contract

.PHONY: native
native: $(VENV)/.ready ## run the tests that need no image, with any Python: make native PYTHON=python3.13 VENV=.venv-3.13
	$(if $(WITHOUT_ROOT),@echo "Not root: the tests that mount file systems are left out.")
	@$(PYTEST) -m "not docker$(if $(WITHOUT_ROOT), and $(WITHOUT_ROOT))" $(TESTS)

# The programs that 'make bench' compares with have their own environment: their requirements are not ours.
.venv-peers/.ready: requirements/peers.lock
	@echo "Making .venv-peers ..."
	@test -x .venv-peers/bin/python || $(PYTHON) -m venv .venv-peers
	@.venv-peers/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements/peers.lock
	@touch $@

.PHONY: bench
bench: $(VENV)/.ready .venv-peers/.ready ## measure this program and its peers in turns, and write docs/performance.*: make bench BENCH="--rows large"
	@bash benchmarks/machine
	$(if $(filter yes,$(HAS_DOCKER)),@$(MAKE) --no-print-directory image)
	@$(BIN)/python -m benchmarks run $(BENCH)
	@$(BIN)/python -m benchmarks report

.PHONY: faults
faults: MATRIX = docs/fault-matrix.md
faults: $(VENV)/.ready ## run the tests of faults alone, and write docs/fault-matrix.md
ifeq ($(HAS_DOCKER),yes)
	@$(MAKE) --no-print-directory image
endif
	@$(PYTEST) --matrix-alone -m "$(if $(filter yes,$(HAS_DOCKER)),,not docker)" $(FAULTS)

.PHONY: guards
guards: $(VENV)/.ready ## remove one safeguard of the program at a time, and check that its row of the matrix turns red
	@$(BIN)/python -m tools.guards $(GUARDS)

.PHONY: kills
kills: $(VENV)/.ready ## kill a fetch of 1 GiB at 50 random moments, and show how much is fetched twice
	@$(BIN)/python -m tools.kills $(KILLS)

.PHONY: check
check: $(VENV)/.ready ## check style, types, layers, generated documents, Dockerfiles, scripts and YAML
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache
	@$(BIN)/python -m tools.datasets_doc --check
	@$(BIN)/python -m tools.settings_doc --check
	@$(BIN)/python -m tools.training_doc --check
	@$(BIN)/python -m tools.catalog_schema --check
	@$(BIN)/python -m tools.completions --check
	@$(BIN)/python -m tools.man_page --check
	@$(BIN)/python -m provisioner catalog check
	@$(BIN)/hadolint Dockerfile examples/Dockerfile deploy/space/Dockerfile deploy/export-image/Dockerfile
	@$(BIN)/shellcheck .ci/run .ci/machine benchmarks/machine deploy/shell/provisioner.bash deploy/slurm/*
	@$(BIN)/yamllint --strict .

.PHONY: docs
docs: $(VENV)/.ready ## update the generated parts of the documents, and the catalog's schema
	@$(BIN)/python -m tools.datasets_doc
	@$(BIN)/python -m tools.settings_doc
	@$(BIN)/python -m tools.training_doc
	@$(BIN)/python -m tools.catalog_schema
	@$(BIN)/python -m tools.completions
	@$(BIN)/python -m tools.man_page
	@$(BIN)/python -m tools.examples_doc

.PHONY: pictures
pictures: $(VENV)/.ready ## make the pictures of README from real runs, in Chromium
	@$(BIN)/python -m tools.pictures

.PHONY: format
format: $(VENV)/.ready ## let the formatter and the linter fix what they can
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

.PHONY: image
image: ## build the image (with 'datasets'), its slim variant, and /opt/provisioner with a Python of its own
	@$(BUILD) --quiet --target slim --tag $(IMAGE)-slim . >/dev/null
	@$(BUILD) --quiet --target portable --tag $(IMAGE)-portable . >/dev/null
	@$(BUILD) --quiet --tag $(IMAGE) . >/dev/null
	@for suffix in "" -slim -portable; do \
	  docker image ls --format '{{.Repository}}:{{.Tag}}  {{.Size}}' $(IMAGE)$$suffix; \
	done

.PHONY: reproducible
reproducible: $(VENV)/.ready ## build each image twice without a cache, and compare the digests
	@$(BIN)/python -m tools.reproducible

.PHONY: packages
packages: $(VENV)/.ready ## build a wheel and an sdist in dist/
	@rm -rf dist
	@printf '{"commit": "%s", "build": "%s"}\n' "$(COMMIT)" "$(BUILD_ID)" >provisioner/build.json
	@trap 'rm -f provisioner/build.json' EXIT; $(BIN)/python -m build --no-isolation --outdir dist . >/dev/null
	@ls -l dist

.PHONY: arm64
arm64: $(VENV)/.ready ## check that every locked package of the image has a wheel for arm64
	@$(BIN)/python -m tools.arm64

.PHONY: lock
lock: $(VENV)/.ready ## resolve the requirements again; UPGRADE=--upgrade moves what is not pinned
	@for name in runtime app dev peers; do \
	  $(BIN)/uv --directory requirements pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	    --custom-compile-command "make lock" $$name.in --output-file $$name.lock $(UPGRADE); \
	done
