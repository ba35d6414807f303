#!/usr/bin/env bash
# Runs cells of the fault matrix, all of them unless VIVACE_MATRIX says which, and puts the results into its page.
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/setup.sh
scripts/test-tools.sh
cargo build --workspace --bins --tests
VIVACE_MATRIX="${VIVACE_MATRIX:-all}" VIVACE_MATRIX_PAGE="$PWD/docs/fault-matrix.md" \
    cargo test --workspace --test matrix -- --ignored --nocapture
