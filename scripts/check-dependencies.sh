#!/usr/bin/env bash
# Dependency checks, with those tools that are there (cargo install cargo-deny cargo-machete).
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh

if cargo deny --version >/dev/null 2>&1; then
  # Advisories need the network; bans, licences and sources do not.
  cargo deny --workspace check bans licenses sources
else
  say "skipped: cargo-deny is not installed (cargo install cargo-deny --locked)"
fi
if cargo machete --version >/dev/null 2>&1; then
  cargo machete
else
  say "skipped: cargo-machete is not installed (cargo install cargo-machete --locked)"
fi
