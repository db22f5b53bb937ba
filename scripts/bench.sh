#!/usr/bin/env bash
# Measures the product against limits of the same machine in the same minutes: `make bench`.
# Arguments go to the benchmark, for example: scripts/bench.sh --quick --rows search,memory
set -euo pipefail
cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-target}

commit=$(git rev-parse --short HEAD 2>/dev/null || echo unknown)
git diff --quiet HEAD -- src migrations Cargo.lock 2>/dev/null || commit="$commit with changes"

exec "$target/release/iparking-loadtest" run \
  --server "$target/release/iparking" --var-dir "$target/bench-var" --commit "$commit" "$@"
