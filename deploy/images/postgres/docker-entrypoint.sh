#!/bin/bash
# Starts the command; before a server's first start on an empty data directory it makes the cluster.
set -euo pipefail

if [[ ${1:-} == -* ]]; then
  set -- postgres "$@"
fi
if [[ ${1:-} == postgres && " $* " != *' --help '* && " $* " != *' --version '* && " $* " != *' -V '* ]]; then
  rm -f /var/run/postgresql/supalove-started
  first-start.sh "$@"
  # ALTER SYSTEM is a superuser's; a tenant that was one in an older image may have left settings in this file that run
  # programs or turn supalove_guard off. The platform's own settings are in postgresql.conf.
  : >"$PGDATA/postgresql.auto.conf"
  # Only the first start needs them; backends must not inherit them.
  unset POSTGRES_PASSWORD PGPASSWORD SUPALOVE_TENANT_PASSWORD JWT_SECRET
fi
exec "$@"
