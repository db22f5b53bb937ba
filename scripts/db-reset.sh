#!/usr/bin/env bash
# Forgets the data of `iparking dev`: its databases, secrets and logs. The next start seeds anew.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh

dev=${IPARKING_VAR_DIR:-var}/dev
[ -d "$dev" ] || { say "nothing to forget in $dev"; exit 0; }
exec 9<>"$dev/lock"
flock -n 9 || die "iparking dev is running on $dev: stop it first"
# Run as root from a closed folder, PostgreSQL's data lies where its user can reach it.
if [ -L "$dev/postgres" ]; then rm -rf "$(readlink -f "$dev/postgres")"; fi
rm -rf "$dev"
say "forgot $dev"
