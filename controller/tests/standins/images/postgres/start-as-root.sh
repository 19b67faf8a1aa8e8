#!/bin/bash
# The part of docker-library's entrypoint that runs as root: folders, owners, then the same as postgres.
set -euo pipefail

if [[ $(id -u) == 0 ]]; then
  mkdir -p "$PGDATA" /var/run/postgresql
  chmod 0700 "$PGDATA"
  chmod 03775 /var/run/postgresql
  # The image's own folders, new volumes among them, belong to the uid of the local set.
  find "$PGDATA" /etc/postgresql-custom /var/run/postgresql \! -user postgres -exec chown postgres:postgres '{}' +
  exec setpriv --reuid=postgres --regid=postgres --init-groups "${BASH_SOURCE[0]}" "$@"
fi
exec docker-entrypoint.sh "$@"
