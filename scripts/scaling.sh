#!/usr/bin/env bash
# Lets ingesters come and go under load with the settings that Vivace has by itself, and puts the figures into their page.
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/setup.sh
scripts/test-tools.sh
cargo build --workspace --bins --tests
VIVACE_SCALING=long VIVACE_SCALING_PAGE="$PWD/docs/scaling.md" \
    cargo test --workspace --test scaling -- --ignored --nocapture
