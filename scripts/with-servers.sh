#!/usr/bin/env bash
# Runs a command with a private, throw-away PostgreSQL and Redis, and stops them afterwards.
#
#   scripts/with-servers.sh cargo nextest run
#
# The command finds them in DATABASE_URL and REDIS_URL. A variable that is already set is kept, and
# that server is not started. Works as root (the servers then run as another user) and as anybody.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

[ $# -gt 0 ] || die "usage: scripts/with-servers.sh COMMAND [ARGUMENT…]"
if [ -n "${DATABASE_URL:-}" ] && [ -n "${REDIS_URL:-}" ]; then exec "$@"; fi

as_user=()
dir=$(mktemp -d "${TMPDIR:-/tmp}/iparking-servers.XXXXXX")
if [ "$(id -u)" = 0 ]; then
  user=$(unprivileged_user) || die "neither the user postgres nor nobody exists"
  chown "$user" "$dir"
  if command -v setpriv >/dev/null 2>&1; then
    as_user=(setpriv "--reuid=$user" "--regid=$(id -g "$user")" --clear-groups --)
  else
    as_user=(runuser -u "$user" --)
  fi
  if ! "${as_user[@]}" test -w "$dir"; then
    # TMPDIR may lie in a folder that is closed to other users.
    rmdir "$dir"
    dir=$(mktemp -d /tmp/iparking-servers.XXXXXX)
    chown "$user" "$dir"
  fi
fi
pg_bin= pg_up= redis_pid= watcher=

cleanup() {
  trap - EXIT
  [ -z "$watcher" ] || kill "$watcher" 2>/dev/null || true
  [ -z "$redis_pid" ] || kill "$redis_pid" 2>/dev/null || true
  if [ -n "$pg_up" ]; then
    # Nothing here is worth a checkpoint.
    (cd / && "${as_user[@]}" "$pg_bin/pg_ctl" -D "$dir/postgres" -m immediate stop) >/dev/null 2>&1 || true
  fi
  rm -rf "$dir"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# Below the range that the kernel hands out for outgoing connections.
random_port() { echo $((20000 + (RANDOM * 32768 + RANDOM) % 12000)); }

start_postgres() {
  pg_bin=$(postgres_bin) || die "PostgreSQL is missing: run scripts/install.sh"
  local port
  (cd / && "${as_user[@]}" "$pg_bin/initdb" -D "$dir/postgres" -U iparking --auth=trust \
    --encoding=UTF8 --locale=C.UTF-8 --no-sync) >"$dir/initdb.log" 2>&1 \
    || { cat "$dir/initdb.log" >&2; die "initdb failed"; }
  for _ in 1 2 3 4 5 6 7 8 9 10; do
    port=$(random_port)
    # fsync off: these databases live as long as the command. synchronous_commit stays on, because
    # the product asks for it.
    if (cd / && "${as_user[@]}" "$pg_bin/pg_ctl" -D "$dir/postgres" -l "$dir/postgres/server.log" \
      -w -t 60 -o "-p $port -c listen_addresses=127.0.0.1 -c unix_socket_directories='' \
      -c fsync=off -c full_page_writes=off -c max_connections=400 -c shared_buffers=128MB \
      -c max_wal_size=2GB -c autovacuum_naptime=10min -c log_min_messages=fatal" start) \
      >"$dir/pg_ctl.log" 2>&1 </dev/null; then
      pg_up=1
      export DATABASE_URL="postgres://iparking@127.0.0.1:$port/postgres"
      return 0
    fi
  done
  cat "$dir/pg_ctl.log" "$dir/postgres/server.log" >&2
  die "PostgreSQL did not start"
}

start_redis() {
  command -v redis-server >/dev/null 2>&1 || die "Redis is missing: run scripts/install.sh"
  local port
  for _ in 1 2 3 4 5 6 7 8 9 10; do
    port=$(random_port)
    (cd "$dir" && exec "${as_user[@]}" redis-server --port "$port" --bind 127.0.0.1 --save '' \
      --appendonly no --dir "$dir" --databases 16 --maxclients 4000) \
      >"$dir/redis.log" 2>&1 </dev/null &
    redis_pid=$!
    for _ in $(seq 100); do
      if grep -q 'Ready to accept connections' "$dir/redis.log" 2>/dev/null; then
        export REDIS_URL="redis://127.0.0.1:$port/"
        return 0
      fi
      kill -0 "$redis_pid" 2>/dev/null || break
      sleep 0.1
    done
    kill "$redis_pid" 2>/dev/null || true
    redis_pid=
  done
  cat "$dir/redis.log" >&2
  die "Redis did not start"
}

[ -n "${DATABASE_URL:-}" ] || start_postgres
[ -n "${REDIS_URL:-}" ] || start_redis

# If this script is killed outright, somebody must still take the servers down.
main=$$
(
  trap - EXIT
  while kill -0 "$main" 2>/dev/null; do sleep 2; done
  watcher=
  cleanup
) >/dev/null 2>&1 </dev/null &
watcher=$!

status=0
"$@" || status=$?
exit "$status"
