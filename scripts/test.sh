#!/usr/bin/env bash
# The one test command: installs what is missing, builds once, and runs all tests in three lanes. It fails when any test
# fails, and when a lane ran none: a skipped test is never reported as passed.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/steps.sh

logs="$(mktemp -d)"
trap 'rm -rf "$logs"; print_steps' EXIT

step "build packages" scripts/setup.sh
step "test tools" scripts/test-tools.sh

# Usage: lane NAME COMMAND...
lane() {
    local log="$logs/lane" passed
    step "lane '$1'" run_lane "$log" "${@:2}"
    # What `cargo test` and nextest say at the end.
    passed="$(sed -nE 's/^test result: ok\. ([0-9]+) passed.*/\1/p; s/^ *Summary .*: ([0-9]+) passed.*/\1/p' "$log" |
        awk '{ sum += $1 } END { print sum + 0 }')"
    if [ "$passed" -eq 0 ]; then
        echo "lane '$1' ran no test" >&2
        exit 1
    fi
    echo "== lane '$1': $passed tests passed"
}
run_lane() {
    "${@:2}" 2>&1 | tee "$1"
}

# The binaries that the tests start, and everything else with the same features: nothing is compiled twice.
step "build" cargo build --workspace --bins --tests --locked
binaries="${CARGO_TARGET_DIR:-target}/debug"

# Unit, contract, property and simulation tests, those of all crates side by side.
lane plain .tools/venv/bin/cargo-nextest nextest run --workspace --locked --no-fail-fast --color never

# The examples in the documentation.
lane examples cargo test --workspace --doc --locked

# What needs Kafka, S3, Python or the binary. One after another, since each takes the whole machine.
lane services "$binaries/with-services" \
    cargo test --workspace --tests --locked --no-fail-fast -- --ignored --nocapture --test-threads=1
