#!/bin/bash
# The first start of a database.
#
# In:  the server's command line; POSTGRES_PASSWORD (supabase_admin and service roles), what the mounted
#      SQL files read from the environment, /docker-entrypoint-initdb.d/{init-scripts,migrations}/*.sql.
# Out: an initialised, synced PGDATA; nothing if there was data already.
#
# The server of this phase listens on the socket only, so that a TCP probe stays red until all is done.
# One failed statement ends the container with a non-zero code and leaves the mark below: data without
# a finished first start is refused later instead of being served half-made.
set -euo pipefail

initdb_folder=/docker-entrypoint-initdb.d
unfinished=/etc/postgresql-custom/first-start-unfinished

say() { printf 'first start: %s\n' "$*"; }
fail() { printf 'first start: %s\n' "$*" >&2; exit 1; }

if [[ -n $(ls -A "$PGDATA" 2>/dev/null) ]]; then
  [[ ! -e $unfinished ]] || fail "the first start on this volume did not finish; remove the data volume and start again"
  exit 0
fi

[[ -n ${POSTGRES_PASSWORD:-} ]] || fail 'POSTGRES_PASSWORD is not set'
[[ $POSTGRES_USER == supabase_admin ]] || fail "POSTGRES_USER must stay supabase_admin, not '$POSTGRES_USER'"
[[ $POSTGRES_DB == postgres ]] || fail "POSTGRES_DB must stay postgres, not '$POSTGRES_DB'"
export PGPASSWORD=${PGPASSWORD:-$POSTGRES_PASSWORD}
export PGHOST=$POSTGRES_HOST PGPORT=${PGPORT:-5432} PGDATABASE=$POSTGRES_DB PGOPTIONS='-c client_min_messages=warning'

touch "$unfinished"
say 'making the cluster'
# shellcheck disable=SC2086 # the arguments are meant to be split, as in docker-library/postgres
initdb --no-sync --username=supabase_admin --pwfile=<(printf '%s\n' "$POSTGRES_PASSWORD") \
  --encoding=UTF8 --locale="$LANG" --data-checksums --auth=scram-sha-256 ${POSTGRES_INITDB_ARGS:-} >/dev/null

# Nothing is lost if this phase dies (it starts over), so it does not wait for the disk; one sync ends it.
# There is no tenant yet, so superusers may run what they make: no supalove_guard.started_file.
"$@" -c listen_addresses= -c supalove_guard.started_file= -c "unix_socket_directories=$PGHOST" \
  -c fsync=off -c full_page_writes=off -c synchronous_commit=off -c max_wal_size=4GB -c log_checkpoints=off &
server=$!
trap 'kill -INT $server 2>/dev/null || true; wait $server || true' EXIT

until psql -XqAt -U supabase_admin -c '' 2>/dev/null; do
  kill -0 $server 2>/dev/null || fail 'the server of the first start ended'
  sleep 0.05
done

run() { psql -Xq -v ON_ERROR_STOP=1 --no-password "$@"; }

say 'making the role postgres'
run -U supabase_admin <<'SQL'
\getenv password POSTGRES_PASSWORD
set log_min_error_statement = panic;
create role postgres superuser login password :'password';
alter database postgres owner to postgres;
SQL

# run_folder user folder
run_folder() {
  local file
  for file in "$initdb_folder/$2"/*.sql; do
    [[ -e $file ]] || continue
    say "$2/${file##*/}"
    run -U "$1" -f "$file" >/dev/null
  done
}

run_folder postgres init-scripts

run -U supabase_admin <<'SQL'
\getenv password POSTGRES_PASSWORD
set log_min_error_statement = panic;
alter role supabase_admin password :'password';
SQL

run_folder supabase_admin migrations

# The release's start.sql, which the agent runs at each later start, ends the first one too: one text has the rules.
if [[ -f /etc/supalove/start/start.sql ]]; then
  say '/etc/supalove/start/start.sql'
  run -U supabase_admin -f /etc/supalove/start/start.sql >/dev/null
fi

if [[ -f /etc/postgresql.schema.sql ]]; then
  say '/etc/postgresql.schema.sql'
  run -U supabase_admin -f /etc/postgresql.schema.sql >/dev/null
fi
run -U supabase_admin -c 'select extensions.pg_stat_statements_reset(); select pg_stat_reset();' >/dev/null

trap - EXIT
kill -INT $server
wait $server || fail 'the server of the first start did not stop cleanly'
initdb --sync-only >/dev/null
rm -f "$unfinished"
say 'done'
