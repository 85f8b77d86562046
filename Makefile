# What a person types here. Everything is built into the checkout; each target prints the commands it runs.

environments := bindings-python/tools/environments.sh
which ?= ends

.DEFAULT_GOAL := help
explore ?= attrs $(addprefix stdlib:test_,dict generators)
explore_node ?= minimist qs fastq

.PHONY: exploration explore explore-node help demo demo-node test test-rust test-python test-node test-all test-random lint gen clean

help:
	@echo 'make demo         a small web shop with five probes in it, and then with some by remote configuration (about 40 s after the build)'
	@echo 'make demo-node    the same shop in TypeScript, with Fastify, on the Node here (20 or newer)'
	@echo 'make test         all tests, on the oldest and the newest Python here'
	@echo 'make test-rust    only the core'
	@echo 'make test-python  only the Python binding; which=oldest|newest|ends|middle|all'
	@echo 'make test-node    only the Node binding, on the Node here (20 or newer); nodes=all: on 20, 22 and 24, which npm delivers; nodes=others: on those that are not here'
	@echo 'make test-random  20,000 random expressions; seed=N repeats a run'
	@echo 'make test-all     all of these, on all Pythons here and all Nodes'
	@echo 'make explore      foreign test suites with a probe on every line and method; explore="attrs stdlib:test_json"'
	@echo 'make explore-node  the same in Node, with a probe on every function: small ones; explore_node=fastify'
	@echo 'make exploration  all of both; flags=--resume goes on with Python where it stopped'
	@echo 'make lint         format, clippy, ruff, and the rules of the house'
	@echo 'make bench-python  what a probe costs, beside ddtrace; BENCH_FLAGS=--quick: two minutes, nothing kept'
	@echo 'make bench-node    the same for Node, beside dd-trace'
	@echo 'make gen          writes the generated files anew (settings page)'
	@echo 'make clean        removes what was built, and the environments'

demo:
	$(environments) newest
	cd examples && "../$$(cd .. && $(environments) --list newest)/bin/python" -m stroboscope run --probes shop/probes.json -- -m shop
	cd examples && python="$$PWD/../$$(cd .. && $(environments) --list newest)/bin/python" && \
		preload="$$("$$python" -c 'import stroboscope; print(stroboscope.__path__[0])')/_preload" && \
		"$$python" fleet.py shop/fleet.json -- env PYTHONPATH="$$preload" "$$python" -m shop --seconds 20

demo-node: | cargo node
	bindings-node/tools/addon.sh
	examples/node/shop/build.sh
	cd examples/node/shop && node ../../../bindings-node/bin/stroboscope.mjs run --probes probes.json -- dist/main.js
	cd examples/node/shop && python3 ../../fleet.py fleet.json -- \
		node --import ../../../bindings-node/js/register.cjs dist/main.js 20

test: test-rust test-python test-node

test-rust: | cargo
	cargo test --quiet

test-python:
	$(environments) $(which)
	set -e; for environment in $$($(environments) --list $(which)); do \
		echo "+ $$environment/bin/python -m pytest bindings-python/tests tests/agent"; \
		$$environment/bin/python -m pytest --quiet bindings-python/tests tests/agent; \
	done
	$(environments) newest
	"$$($(environments) --list newest)/bin/python" tests/exploration/run.py \
		--environment "$$($(environments) --list newest)" stdlib:test_dict stdlib:test_generators

nodes ?= here

test-node: | cargo node
	bindings-node/tools/addon.sh
	set -e; nodes=$$(bindings-node/tools/nodes.sh $(nodes)); \
		STROBE_TEST_NODES="$$nodes" cargo test --quiet --profile ci -p stroboscope-rewriter -p stroboscope-node; \
		cd bindings-node; for node in $$nodes; do \
			echo "+ $$node --test test/*.test.mjs"; \
			PATH="$$(dirname "$$node"):$$PATH" node --test test/*.test.mjs; \
		done
	node tests/exploration/node/run.mjs minimist fastq

test-all: test-rust test-random
	$(MAKE) test-python which=all
	$(MAKE) test-node nodes=all

seed ?= $(shell date +%s)

# More random expressions than each test run makes: the core's outcome, then every host on the same file.
test-random: | cargo node
	cargo run --quiet -p xtask -- vectors --random $(seed) --count 20000 >target/random-$(seed).json
	cargo run --quiet -p xtask -- vectors target/random-$(seed).json
	cargo run --quiet -p xtask -- vectors --random $(seed) --count 20000 --host python >target/random-python-$(seed).json
	$(environments) newest
	"$$($(environments) --list newest)/bin/python" bindings-python/tests/run_vectors.py target/random-python-$(seed).json
	cargo run --quiet -p xtask -- vectors --random $(seed) --count 20000 --host node >target/random-node-$(seed).json
	bindings-node/tools/addon.sh && node bindings-node/test/run-vectors.mjs target/random-node-$(seed).json
	node bindings-node/test/run-probed.mjs target/random-node-$(seed).json

lint: | cargo
	cargo fmt --all --check
	python="$$(bindings-python/tools/pythons.sh newest)" && \
		PYO3_PYTHON="$$python" cargo clippy --quiet --workspace --all-targets -- -D warnings
	cargo run --quiet -p xtask -- check
	$(environments) --tools newest
	"$$($(environments) --list newest)/bin/ruff" check bindings-python examples bench tests/exploration tests/agent
	"$$($(environments) --list newest)/bin/ruff" format --check bindings-python examples bench tests/exploration tests/agent

# Figures that go into bench/report.md; BENCH_FLAGS=--quick takes two minutes and keeps none.
.PHONY: bench-python
bench-python: | cargo
	bench/python/all.sh $(BENCH_FLAGS)

.PHONY: bench-node
bench-node: | cargo node
	bench/node/all.sh $(BENCH_FLAGS)

.PHONY: cargo node
cargo:
	@command -v cargo >/dev/null || { echo 'stroboscope: cargo is missing: install Rust from https://rustup.rs' >&2; exit 1; }
	@command -v cc >/dev/null || { echo 'stroboscope: a C compiler (cc) is missing: apt-get install build-essential' >&2; exit 1; }

node:
	@command -v node >/dev/null || { echo 'stroboscope: node is missing: install Node 20 or newer from https://nodejs.org' >&2; exit 1; }
	@node -e 'process.exit(Number(parseInt(process.versions.node) < 20))' || \
		{ echo "stroboscope needs Node 20 or newer; found $$(node --version)" >&2; exit 1; }

explore:
	$(environments) newest
	"$$($(environments) --list newest)/bin/python" tests/exploration/run.py \
		--environment "$$($(environments) --list newest)" $(explore)

exploration:
	$(MAKE) explore explore="--all $(flags)"
	$(MAKE) explore-node explore_node=--all

explore-node: | cargo node
	bindings-node/tools/addon.sh
	node tests/exploration/node/run.mjs $(explore_node)

gen: | cargo
	cargo run --quiet -p xtask -- gen

clean:
	rm -rf target .venv-* .tools dist
