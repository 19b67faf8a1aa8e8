#!/bin/bash
# Starts the command; before a server's first start on an empty data directory it makes the cluster.
set -euo pipefail

if [[ ${1:-} == -* ]]; then
  set -- postgres "$@"
fi
if [[ ${1:-} == postgres && " $* " != *' --help '* && " $* " != *' --version '* && " $* " != *' -V '* ]]; then
  first-start.sh "$@"
  # Only the first start needs them; backends must not inherit them.
  unset POSTGRES_PASSWORD PGPASSWORD SUPALOVE_TENANT_PASSWORD JWT_SECRET
fi
exec "$@"
