#!/usr/bin/env bash
# The one test command: installs what is missing, builds once, and runs all tests in two lanes. It fails when any test
# fails, and when a lane ran none: a skipped test is never reported as passed.
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/setup.sh
scripts/test-tools.sh

logs="$(mktemp -d)"
trap 'rm -rf "$logs"' EXIT

# Usage: lane NAME COMMAND...
lane() {
    local name="$1" log="$logs/$1" passed began="$SECONDS"
    shift
    echo "== lane '$name': $*"
    "$@" 2>&1 | tee "$log"
    passed="$(sed -n 's/^test result: ok\. \([0-9]*\) passed.*/\1/p' "$log" | awk '{ sum += $1 } END { print sum + 0 }')"
    if [ "$passed" -eq 0 ]; then
        echo "lane '$name' ran no test" >&2
        exit 1
    fi
    echo "== lane '$name': $passed tests passed in $((SECONDS - began)) s"
}

# The binaries that the tests start, and everything else with the same features: nothing is compiled twice.
cargo build --workspace --bins --tests
binaries="${CARGO_TARGET_DIR:-target}/debug"

# Unit, contract, property and simulation tests, and the examples in the documentation.
lane plain cargo test --workspace --no-fail-fast

# What needs Kafka, S3, Python or the binary. One after another, since each takes the whole machine.
lane services "$binaries/with-services" \
    cargo test --workspace --tests --no-fail-fast -- --ignored --nocapture --test-threads=1
