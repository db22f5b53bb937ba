#!/usr/bin/env bash
# Fuzzes the API against openapi.yaml for a minute as a driver and for a minute as an operator:
# no answer may be a 5xx or break the contract. Starts a run of its own and stops it afterwards.
# Needs python3 with venv (Debian: python3-venv); schemathesis goes into var/schemathesis.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh

VERSION=4.32.5
SECONDS_EACH=${SECONDS_EACH:-60}
binary=${TARGET_DIR:-target}/release/iparking
[ -x "$binary" ] || die "build first: make schemathesis does"

venv=var/schemathesis
if ! "$venv/bin/st" --version 2>/dev/null | grep -qF "$VERSION"; then
  command -v python3 >/dev/null 2>&1 || die "python3 is missing (Debian: apt-get install python3-venv)"
  say "installing schemathesis $VERSION into $venv"
  python3 -m venv "$venv" || die "python3 -m venv failed (Debian: apt-get install python3-venv)"
  "$venv/bin/pip" install -q "schemathesis==$VERSION"
fi

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
work=$(mktemp -d)
export IPARKING_VAR_DIR=$work IPARKING_RATE_LIMITS=off
IPARKING_API_PORT=$(free_port) IPARKING_SANDBOX_PORT=$(free_port) \
  env -u DATABASE_URL -u REDIS_URL "$binary" dev >"$work/output.log" 2>&1 </dev/null &
dev=$!
finish() {
  kill -TERM "$dev" 2>/dev/null && wait "$dev" || true
  rm -rf "$(readlink -f "$work/dev/servers")" "$work"
}
trap finish EXIT
endpoints=$work/dev/endpoints.env
for _ in $(seq 600); do
  [ ! -f "$endpoints" ] || break
  kill -0 "$dev" 2>/dev/null || { cat "$work/output.log" >&2; die "iparking dev did not start"; }
  sleep 0.2
done
setting() { sed -n "s/^$1=//p" "$endpoints"; }
api=$(setting api)
sandbox=$(setting sandbox)
post() { curl -fsS --max-time 30 -H 'Content-Type: application/json' -d "$2" "$api$1"; }

challenge=$(post /v1/auth/otp '{"phone":"0912345678"}' | jq -er .challenge_id)
for _ in $(seq 60); do
  [ "$(curl -fsS "$sandbox/sms?phone=%2B84912345678" | jq '.items | length')" = 0 ] || break
  sleep 0.5
done
code=$(curl -fsS "$sandbox/sms?phone=%2B84912345678" | jq -er '.items[0].text' | grep -oE '[0-9]{6}' | head -n 1)
driver=$(post /v1/auth/token "{\"grant_type\":\"otp\",\"challenge_id\":\"$challenge\",\"code\":\"$code\"}" | jq -er .access_token)
operator=$(post /v1/auth/token "$(jq -nc --arg u "$(setting operator_username)" \
  --arg p "$(setting operator_password)" '{grant_type: "password", username: $u, password: $p}')" | jq -er .access_token)

failed=0
for who in driver operator; do
  say "fuzzing as a $who for $SECONDS_EACH s"
  # Left out: the endless stream, and what would end the login itself.
  "$venv/bin/st" run openapi.yaml --url "$api" -H "Authorization: Bearer ${!who}" \
    --max-time "$SECONDS_EACH" --workers 2 --request-timeout 10 \
    --checks not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,response_schema_conformance \
    --exclude-operation-id stream_lot_events --exclude-operation-id logout \
    --exclude-operation-id delete_me || failed=1
done
exit "$failed"
