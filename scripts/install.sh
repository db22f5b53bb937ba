#!/usr/bin/env bash
# Installs what iParking needs beyond Rust and make, and only what is missing.
#
#   scripts/install.sh run     a C compiler, PostgreSQL, Redis, curl, jq
#   scripts/install.sh test    the same, and cargo-nextest
#
# Debian and Ubuntu only; elsewhere it says what to install and stops. It neither starts, stops
# nor configures a database server of this machine: iParking runs private ones.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh

NEXTEST_VERSION=0.9.143
purpose=${1:-run}

packages=()
command -v cc >/dev/null 2>&1 || packages+=(gcc libc6-dev)
postgres_bin >/dev/null && command -v psql >/dev/null 2>&1 || packages+=(postgresql)
command -v redis-server >/dev/null 2>&1 || packages+=(redis-server)
command -v curl >/dev/null 2>&1 || packages+=(curl)
command -v jq >/dev/null 2>&1 || packages+=(jq)

as_root() {
  if [ "$(id -u)" = 0 ]; then
    "$@"
  elif command -v sudo >/dev/null 2>&1; then
    sudo "$@"
  else
    die "needs root (or sudo) for: $*"
  fi
}

apt_install() {
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@" >&2
}

if [ ${#packages[@]} -gt 0 ]; then
  if ! command -v apt-get >/dev/null 2>&1; then
    say "these are missing: ${packages[*]}"
    say "Install a C compiler, PostgreSQL 15 or newer (server and psql), Redis 7 or newer, curl"
    die "and jq with your system's package manager, then run make again."
  fi
  say "installing from this system's packages: ${packages[*]}"
  as_root apt-get update -q >&2
  case " ${packages[*]} " in
    *" postgresql "*)
      # A fresh postgresql would start a system-wide cluster that nobody asked for. A machine
      # that already has postgresql-common keeps the settings its owner chose.
      conf=/etc/postgresql-common/createcluster.conf
      if [ ! -e "$conf" ]; then
        apt_install postgresql-common
        as_root sed -i -E 's/^#?[[:space:]]*create_main_cluster.*/create_main_cluster = false/' "$conf"
      fi
      ;;
  esac
  apt_install "${packages[@]}"
fi

postgres_bin >/dev/null || die "postgres is still missing after the installation"

if [ "$purpose" = test ] && ! cargo nextest --version >/dev/null 2>&1; then
  say "installing cargo-nextest $NEXTEST_VERSION with cargo (the test runner; a few minutes, once)"
  cargo install cargo-nextest --locked --version "$NEXTEST_VERSION"
fi
