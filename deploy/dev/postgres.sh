# shellcheck shell=bash
# PostgreSQL for the controller (own data directory, supervised) and for the tests (temporary). Sourced.

# shellcheck disable=SC2153  # from lib.sh
PGDATA_UP=$DATA/postgres
PGRUN_UP=$DATA/postgres-run

# Supported releases, newest first. Distributions have different ones: Debian 12 has 15, Debian 13 has 17.
POSTGRES_RELEASES='18 17 16 15'
# shellcheck disable=SC2034  # of install.sh
POSTGRES_PACKAGES=postgresql-${POSTGRES_RELEASES// /|postgresql-}

# Folder of a server's programs: of the release that made a data directory, else of the newest installed one.
postgres_bin() { # data directory, if there is one
  local release
  release=$(postgres_release "${1:-}") && echo "$SYSTEM/usr/lib/postgresql/$release/bin"
}

postgres_release() { # data directory, or nothing
  local release
  if [[ -n $1 ]] && release=$(as_root cat "$1/PG_VERSION" 2>/dev/null); then
    has_postgres "$release" && echo "$release"
    return
  fi
  for release in $POSTGRES_RELEASES; do
    has_postgres "$release" || continue
    echo "$release"
    return
  done
  return 1
}

has_postgres() { [[ -x $SYSTEM/usr/lib/postgresql/$1/bin/postgres ]]; } # release

# Creates a data directory. In: its path, the socket folder, the port, a file with the superuser's password.
# Only loopback and the socket, passwords (SCRAM) on both.
init_postgres() {
  local data=$1 sockets=$2 port=$3 password=$4 handed=$2/handed
  as_root install -d -o postgres -g postgres -m 0700 "$data" "$sockets"
  as_root install -o postgres -g postgres -m 0600 "$password" "$handed"
  as_user postgres "$(postgres_bin)/initdb" --pgdata="$data" --username=postgres --pwfile="$handed" \
    --auth=scram-sha-256 --encoding=UTF8 --locale=C.UTF-8 >/dev/null
  as_root rm -f "$handed"
  as_user postgres tee -a "$data/postgresql.conf" >/dev/null <<CONF

# Written by deploy/dev/postgres.sh.
listen_addresses = '127.0.0.1'
port = $port
unix_socket_directories = '$sockets'
max_connections = 200
CONF
}

postgres_answers() { "$(postgres_bin)/pg_isready" --quiet --host=127.0.0.1 --port="$1"; }

# Runs SQL from stdin as the superuser. In: port, password file. The password travels in a file, not in an argument.
psql_admin() {
  local port=$1 passfile code=0
  passfile=$(mktemp)
  printf '127.0.0.1:%s:*:postgres:%s\n' "$port" "$(cat "$2")" >"$passfile"
  PGPASSFILE=$passfile psql --host=127.0.0.1 --port="$port" --username=postgres --dbname=postgres \
    --no-psqlrc --quiet --tuples-only --no-align --set=ON_ERROR_STOP=1 || code=$?
  rm -f "$passfile"
  return "$code"
}

# `make up`: the controller's database, or the one that DATABASE_URL names. Leaves $SECRETS/database-url.
ensure_postgres() {
  if [[ -n ${DATABASE_URL:-} ]]; then
    as_root test ! -e "$PGDATA_UP" || die "DATABASE_URL is set, but $PGDATA_UP has data" 'run this first: make clean'
    printf '%s' "$DATABASE_URL" | put_secret "$SECRETS/database-url"
    touch "$STATE/database-is-external"
    return
  fi
  database_is_external && return
  [[ -e $SECRETS/postgres.password ]] || random_password | put_secret "$SECRETS/postgres.password"
  if ! as_root test -e "$PGDATA_UP/PG_VERSION"; then
    say "making a database of PostgreSQL $(postgres_release '') in $PGDATA_UP"
    init_postgres "$PGDATA_UP" "$PGRUN_UP" "$POSTGRES_PORT" "$SECRETS/postgres.password"
  fi
  postgres_bin "$PGDATA_UP" >/dev/null ||
    die "the server of $PGDATA_UP is no longer installed: PostgreSQL $(as_root cat "$PGDATA_UP/PG_VERSION")" \
      'install it again; or start anew, without the data: make clean'
  process_start postgres
  wait_for 60 "PostgreSQL answers on port $POSTGRES_PORT" postgres_answers "$POSTGRES_PORT" ||
    die 'PostgreSQL does not answer' "see $LOGS/postgres.log"
  [[ -e $SECRETS/database-url && -e $SECRETS/owner-database-url ]] || make_database
}

# True if DATABASE_URL was set, now or in an earlier run.
database_is_external() { [[ -n ${DATABASE_URL:-} || -e $STATE/database-is-external ]]; }

# Creates the database with two roles, neither a superuser: the owner of the schema, and the one that the controller logs in as,
# which can change no row of the audit log. A database in which the controller's role owns everything gets the owner, too; the
# controller's password stays, since a controller may run.
make_database() {
  local password owner_password
  owner_password=$(random_password)
  password=$(random_password)
  SUPALOVE_PASSWORD=$password SUPALOVE_OWNER_PASSWORD=$owner_password SUPALOVE_NEW=$([[ -e $SECRETS/database-url ]] && echo no || echo yes) \
    psql_admin "$POSTGRES_PORT" "$SECRETS/postgres.password" <<'SQL'
set log_min_error_statement = panic;
\getenv password SUPALOVE_PASSWORD
\getenv owner_password SUPALOVE_OWNER_PASSWORD
\getenv new SUPALOVE_NEW
select format('create role %I login', name) from unnest('{supalove,supalove_owner}'::text[]) name
  where not exists (select from pg_roles where rolname = name) \gexec
alter role supalove_owner password :'owner_password';
\if :new
alter role supalove password :'password';
\endif
select 'create database supalove owner supalove_owner' where not exists (select from pg_database where datname = 'supalove') \gexec
\connect supalove
begin;
reassign owned by supalove to supalove_owner;
grant select, insert, update, delete on all tables in schema public to supalove;
grant usage, select on all sequences in schema public to supalove;
commit;
SQL
  [[ -e $SECRETS/database-url ]] ||
    printf 'postgresql://supalove:%s@127.0.0.1:%s/supalove' "$password" "$POSTGRES_PORT" | put_secret "$SECRETS/database-url"
  printf 'postgresql://supalove_owner:%s@127.0.0.1:%s/supalove' "$owner_password" "$POSTGRES_PORT" |
    put_secret "$SECRETS/owner-database-url"
}

# Prepares the schema as its owner, with this program. The controller that runs may be older. Not for a database of somebody
# else's: there the controller prepares it.
migrate_database() { # program
  database_is_external && return
  "$1" migrate --database-url-file "$SECRETS/owner-database-url" --controller-role supalove >"$LOGS/migrate.log" 2>&1 || {
    tail -n 20 "$LOGS/migrate.log" >&2
    die 'cannot prepare the control database' 'the last words are above'
  }
}

# Starts a temporary server. In: its own folder, whether it logs statements (all|none), lines for its configuration.
# Out: TEST_POSTGRES_PORT, _PID, _LOG, _PASSWORD.
start_test_postgres() {
  local folder=$1 statements=$2 settings=${3:-}
  as_root install -d -o postgres -g postgres -m 0711 "$folder"
  TEST_POSTGRES_PORT=$(free_port)
  TEST_POSTGRES_LOG=$folder/server.log
  TEST_POSTGRES_PASSWORD=$(random_password)
  local password
  password=$(mktemp)
  printf '%s' "$TEST_POSTGRES_PASSWORD" >"$password"
  init_postgres "$folder/data" "$folder/run" "$TEST_POSTGRES_PORT" "$password"
  printf "log_statement = '%s'\n%s\n" "$statements" "$settings" |
    as_user postgres tee -a "$folder/data/postgresql.conf" >/dev/null
# pg_ctl detaches the server from this shell and can stop it by its pid file.
  as_user postgres "$(postgres_bin)/pg_ctl" start --pgdata="$folder/data" --log="$TEST_POSTGRES_LOG" \
    --wait --timeout=60 >/dev/null || die 'the PostgreSQL of the tests does not start' "see $TEST_POSTGRES_LOG"
  as_root chmod 0644 "$TEST_POSTGRES_LOG"
  rm -f "$password"
  # shellcheck disable=SC2034  # for the scripts that source this one
  TEST_POSTGRES_URL=postgresql://postgres:$TEST_POSTGRES_PASSWORD@127.0.0.1:$TEST_POSTGRES_PORT/postgres
  say "PostgreSQL for this run answers on port $TEST_POSTGRES_PORT"
}

stop_test_postgres() { # folder
  as_root test -e "$1/data/postmaster.pid" || return 0
  as_user postgres "$(postgres_bin "$1/data")/pg_ctl" stop --pgdata="$1/data" --mode=immediate >/dev/null 2>&1 || true
}
