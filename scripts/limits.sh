#!/usr/bin/env bash
# Runs every stage in a control group of its size through the loads of docs/limits.md, all of them unless VIVACE_LIMITS says
# which, and puts the figures into that page. Needs the right to make control groups: root, or sudo without a password.
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/setup.sh
scripts/test-tools.sh
cargo build --workspace --bins --tests
VIVACE_LIMITS="${VIVACE_LIMITS:-long}" VIVACE_LIMITS_PAGE="$PWD/docs/limits.md" \
    cargo test --workspace --test limits -- --ignored --nocapture
