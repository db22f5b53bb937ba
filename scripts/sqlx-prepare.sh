#!/usr/bin/env bash
# Regenerates .sqlx, what the query macros know of the database when they build offline.
#
#   scripts/sqlx-prepare.sh            writes .sqlx
#   scripts/sqlx-prepare.sh --check    fails if .sqlx is not what it would write
#
# The macros write their data themselves when SQLX_OFFLINE_DIR is set and a database answers, so
# this needs no further tool: a throw-away PostgreSQL, the migrations, and one check of the code.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh

if [ "${1:-}" != --inside ]; then
  unset DATABASE_URL
  REDIS_URL=none exec scripts/with-servers.sh "$PWD/scripts/sqlx-prepare.sh" --inside "${1:-}"
fi

for migration in migrations/*.sql; do
  psql -X -q -v ON_ERROR_STOP=1 -d "$DATABASE_URL" -f "$migration" >/dev/null
done

fresh=$(mktemp -d)
trap 'rm -rf "$fresh"' EXIT
export SQLX_OFFLINE=false SQLX_OFFLINE_DIR=$fresh
# An unchanged crate is not expanded again, and would write nothing.
touch src/lib.rs src/main.rs
find tests -maxdepth 2 -name '*.rs' -exec touch {} + 2>/dev/null || true
cargo check --locked -p iparking --all-targets

if [ "${2:-}" = --check ]; then
  diff -rq .sqlx "$fresh" >&2 || die ".sqlx is out of date: run make sqlx-prepare and commit it"
  say ".sqlx is up to date ($(find .sqlx -name '*.json' | wc -l) queries)"
else
  rm -rf .sqlx
  mkdir .sqlx
  cp "$fresh"/*.json .sqlx/
  say "wrote $(find .sqlx -name '*.json' | wc -l) queries to .sqlx"
fi
