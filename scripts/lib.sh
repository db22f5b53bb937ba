# Shared by the scripts beside it; source it, don't run it.
# shellcheck shell=bash

say() { printf '%s\n' "iparking: $*" >&2; }
die() { say "$*"; exit 1; }

# The folder that holds postgres, initdb and pg_ctl; Debian keeps them out of PATH.
postgres_bin() {
  local found candidate
  if found=$(command -v postgres) && found=$(readlink -f "$found") \
    && [ -x "${found%/*}/initdb" ]; then
    printf '%s\n' "${found%/*}"
    return 0
  fi
  found=
  for candidate in $(printf '%s\n' /usr/lib/postgresql/*/bin | sort -V); do
    if [ -x "$candidate/postgres" ] && [ -x "$candidate/initdb" ]; then found=$candidate; fi
  done
  [ -n "$found" ] && printf '%s\n' "$found"
}

# Postgres refuses to run as root; these are the users that root may lend it.
unprivileged_user() {
  local user
  for user in postgres nobody; do
    if id "$user" >/dev/null 2>&1; then printf '%s\n' "$user"; return 0; fi
  done
  return 1
}
