#!/usr/bin/env bash
# Walks the main job against a running `make run`, showing each request and answer:
# log in, search, quote, reserve, start, stop, pay, the bank says "paid", receipt, trial balance.
# Ends with an error at the first surprise.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh

endpoints=${IPARKING_VAR_DIR:-var}/dev/endpoints.env
[ "$(tail -n 1 "$endpoints" 2>/dev/null)" = ready=1 ] \
  || die "nothing is running (no $endpoints): start it with 'make run' in another shell"
setting() { sed -n "s/^$1=//p" "$endpoints"; }
api=$(setting api)
api=${api%%,*}
sandbox=$(setting sandbox)

color=-M
[ ! -t 1 ] || color=-C
status= body= token=
# call WHAT METHOD URL [BODY] [CURL ARGUMENT…]: one request, shown with its answer.
call() {
  local what=$1 method=$2 url=$3 sent=${4:-} answer
  shift 3
  [ $# -eq 0 ] || shift
  printf '\n=== %s\n> %s %s\n' "$what" "$method" "$url"
  # Passwords and tokens are not shown whole: a terminal's history is no place for them.
  [ -z "$sent" ] || sed -E 's/("password":")[^"]*"}/\1…"}/; s/^/> /' <<<"$sent"
  local args=(-sS --max-time 30 -X "$method" -H 'Accept: application/json' "$@")
  [ -z "$token" ] || args+=(-H "Authorization: Bearer $token")
  [ -z "$sent" ] || args+=(-H 'Content-Type: application/json' --data "$sent")
  answer=$(curl "${args[@]}" -w '\n%{http_code}' "$url") || die "no answer from $url"
  status=${answer##*$'\n'}
  body=${answer%$'\n'*}
  printf '< %s\n' "$status"
  jq $color '(.. | strings | select(test("^ey|^[A-Za-z0-9_-]{40,}$"))) |= .[0:12] + "…"' \
    <<<"$body" 2>/dev/null | sed 's/^/< /' || printf '< %s\n' "${body:0:400}"
}
expect() { [ "$status" = "$1" ] || die "expected status $1, got $status"; }
get() { jq -er "$1" <<<"$body" || die "the answer has no $1"; }
key() { printf 'demo-%s-%s-%s' "$(date +%s)" "$$" "$RANDOM$RANDOM"; }
digits() { printf '%0*d' "$1" $(((RANDOM * 32768 + RANDOM) % 10 ** $1)); }

phone=09$(digits 8)
plate="30K-$((100 + RANDOM % 900)).$(digits 2)"

call "A driver asks for a code" POST "$api/v1/auth/otp" "{\"phone\":\"$phone\"}"
expect 202
challenge=$(get .challenge_id)
inbox="$sandbox/sms?phone=%2B84${phone#0}"
for _ in $(seq 60); do
  [ "$(curl -sS --max-time 30 "$inbox" | jq '.items | length')" = 0 ] || break
  sleep 0.5
done
call "The code arrives by SMS (the sandbox is the carrier)" GET "$inbox"
expect 200
code=$(get '.items[0].text' | grep -oE '[0-9]{6}' | head -n 1)
call "and logs the driver in" POST "$api/v1/auth/token" \
  "{\"grant_type\":\"otp\",\"challenge_id\":\"$challenge\",\"code\":\"$code\"}"
expect 200
driver=$(get .access_token)
token=$driver
call "The driver's car" POST "$api/v1/me/vehicles" "{\"plate\":\"$plate\",\"vehicle_class\":\"car\"}"
expect 201
vehicle=$(get .id)

token=
call "Search: free spaces for a car near Hoàn Kiếm lake, with the price of 90 minutes" GET \
  "$api/v1/lots/search?lat=21.0287&lng=105.8524&radius_m=1500&vehicle_class=car&stay_minutes=90&sort=nearest&limit=3"
expect 200
lot=$(get '[.items[] | select(.free_spaces > 0 and .quote.amount_vnd > 0)][0].id')

token=$driver
call "Quote: the same stay, itemised and binding until it expires" POST "$api/v1/quotes" \
  "{\"lot_id\":\"$lot\",\"vehicle_class\":\"car\",\"start\":\"$(date -u +%Y-%m-%dT%H:%M:%SZ)\",\"stay_minutes\":90}"
case $status in 200 | 201) ;; *) expect 201 ;; esac
quote=$(get .id)

call "Reserve a space" POST "$api/v1/reservations" \
  "{\"lot_id\":\"$lot\",\"vehicle_id\":\"$vehicle\"}" -H "Idempotency-Key: $(key)"
expect 201
[ "$(get .status)" = held ] || die "the space is not held"
reservation=$(get .id)

call "Arrive: the hold becomes a parking session" POST "$api/v1/parking-sessions" \
  "{\"reservation_id\":\"$reservation\",\"quote_id\":\"$quote\"}" -H "Idempotency-Key: $(key)"
expect 201
session=$(get .id)

call "Leave: the stay is priced" POST "$api/v1/parking-sessions/$session/stop"
expect 200
due=$(get .amount_due_vnd)
[ "$due" -gt 0 ] || die "nothing is due"

call "Pay through VNPAY" POST "$api/v1/payments" \
  "{\"parking_session_id\":\"$session\",\"provider\":\"vnpay\",\"return_url\":\"$api/docs\"}" \
  -H "Idempotency-Key: $(key)"
expect 201
payment=$(get .id)
ref=$(get .merchant_ref)
pay_page=$(get .redirect_url)
[ "$(get .amount_vnd)" = "$due" ] || die "the payment is not for what is due"

token=
printf '\n=== The bank page opens in the browser\n> GET %s\n' "${pay_page:0:120}…"
page_status=$(curl -sS --max-time 30 -o /dev/null -w '%{http_code}' "$pay_page")
printf '< %s\n' "$page_status"
[ "$page_status" = 200 ] || die "the bank page answers $page_status"
call "and the customer pays" POST "$sandbox/control/payments/vnpay/$ref" '{"outcome":"paid"}'
case $status in 2??) ;; *) expect 200 ;; esac

token=$driver
call "VNPAY tells us (IPN): the payment" GET "$api/v1/payments/$payment"
for _ in $(seq 60); do
  [ "$(get .status)" = pending ] || break
  sleep 0.5
  body=$(curl -sS --max-time 30 -H "Authorization: Bearer $token" "$api/v1/payments/$payment")
done
[ "$(get .status)" = succeeded ] || die "the payment is $(get .status), not succeeded"
call "succeeded" GET "$api/v1/payments/$payment"
call "The receipt" GET "$api/v1/payments/$payment/receipt"
expect 200

token=
call "Finance logs in" POST "$api/v1/auth/token" \
  "$(jq -nc --arg u "$(setting finance_username)" --arg p "$(setting finance_password)" \
    '{grant_type: "password", username: $u, password: $p}')"
expect 200
token=$(get .access_token)
call "and reads the trial balance" GET "$api/v1/finance/trial-balance"
expect 200
[ "$(get .balanced)" = true ] || die "the books do not balance"
printf '\nDone: %s VND paid for session %s, and the books balance.\n' "$due" "$session"
