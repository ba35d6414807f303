# The few commands that a person needs. `make` alone lists them.

# Where rustup puts cargo, for shells that have not heard of it yet.
export PATH := $(PATH):$(HOME)/.cargo/bin

.PHONY: help setup run demo test matrix scaling limits check simulate bench bench-search bench-merge bench-parts

help: ## list these commands
	@sed -n 's/^\([a-z-]*\):.*## /\1	/p' $(MAKEFILE_LIST) | expand -t 14

setup: ## install the packages that building needs, where they are missing
	@scripts/setup.sh

run: setup ## all stages in one process, data in ./vivace-data
	cargo run --release

demo: setup ## the same, with traces of a small shop coming in
	cargo run --release -- demo

test: ## install what the tests need and run all of them
	scripts/test.sh

matrix: ## the whole fault matrix, about half an hour: the table in docs/fault-matrix.md
	scripts/matrix.sh

scaling: ## ingesters come and go under load, some minutes: the table in docs/scaling.md
	scripts/scaling.sh

limits: ## each stage at its memory limit under the heaviest loads, an hour or two, as root: the table in docs/limits.md
	scripts/limits.sh

check: setup ## formatting and lints, as CI wants them
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings

simulate: setup ## many seeds of the simulation, SEEDS=5000 by default
	SEEDS=$${SEEDS:-5000} cargo test --workspace --test simulation -- --nocapture what_was

bench: setup ## what a whole server costs, from OTLP to blocks and lookups: the table in the README
	cargo build --profile dist --locked --package vivace --package vivace-bench --bins
	target/dist/vivace-bench whole

bench-search: setup ## what TraceQL queries take over blocks of three million spans: the second table in the README
	cargo build --profile dist --locked --package vivace --package vivace-bench --bins
	target/dist/vivace-bench search

bench-merge: setup ## what merging blocks costs
	cargo build --profile dist --locked --package vivace-bench --bins
	target/dist/vivace-bench merge

bench-parts: setup ## CPU time of the parts: walk, columns, sort, file, lookup
	cargo bench --locked --package vivace-bench
