#!/usr/bin/env bash
# Regenerates .sqlx (metadata for compile-time query checks) of each room from a database with the current migrations.
#
# Usage: sqlx.sh          regenerates .sqlx of the rooms
#        sqlx.sh --check  says whether they are current; 1 if not
# In:  SUPALOVE_TEST_DATABASE_URL (optional, a superuser's); without it a PostgreSQL is started and thrown away.
set -euo pipefail
shopt -s extglob
here=$(dirname "${BASH_SOURCE[0]}")
for part in lib install postgres; do
  # shellcheck source=/dev/null
  . "$here/$part.sh"
done

scratch=$(mktemp -d "${TMPDIR:-/tmp}/supalove-sqlx.XXXXXX")
chmod 0711 "$scratch"
database=supalove_sqlx_$$

clean_up() {
  if [[ -n ${SUPALOVE_TEST_DATABASE_URL:-} ]]; then
    ask <<<"drop database if exists $database" || true
  fi
  stop_test_postgres "$scratch/postgres"
  as_root rm -rf --one-file-system -- "$scratch"
}

# SQL from stdin, in a database of the server. In: its name.
ask() { in_database "${1:-postgres}" psql --no-psqlrc --quiet --set=ON_ERROR_STOP=1 --output=/dev/null; }

# Runs a command with libpq's variables set: an address with a password has no place in an argument.
in_database() {
  local name=$1 url=${server#*://}
  shift
  local user=${url%%:*} rest=${url#*:}
  local password=${rest%%@*} address=${rest#*@}
  address=${address%%/*}
  PGUSER=$user PGPASSWORD=$password PGHOST=${address%%:*} PGPORT=${address##*:} PGDATABASE=$name "$@"
}

# The migrations in order. Not by the controller: it may not compile before the record is there.
migrate() {
  ask <<<"create database $database"
  local file
  for file in "$ROOT"/controller/migrations/*.sql; do
    { echo 'begin;'; cat "$file"; echo ';commit;'; } | ask "$database" || die "migration $(basename "$file") failed"
  done
}

# Folders of the crates with checked queries.
rooms() { grep -rl --include=*.rs 'sqlx::query' "$ROOT"/controller/*/src "$ROOT"/controller/src | sed 's|/src/.*||' | sort -u; }

# The macros write a file per query into SQLX_OFFLINE_DIR while a crate is compiled, so it must be compiled.
record() { # folder
  local room name
  for room in $(rooms); do
    name=$(awk -F'"' '/^name = / { print $2; exit }' "$room/Cargo.toml")
    mkdir -p "$1/$name"
    touch -c "$room/src/lib.rs" "$room/src/main.rs"
    (cd "$ROOT" && SQLX_OFFLINE=false DATABASE_URL=${server%/*}/$database SQLX_OFFLINE_DIR=$1/$name \
      cargo check --quiet --locked --package "$name" --lib)
  done
}

trap clean_up EXIT
need_rights
check_toolchains
install_only ss:iproute2 psql:postgresql-client
if [[ -z ${SUPALOVE_TEST_DATABASE_URL:-} ]]; then
  start_test_postgres "$scratch/postgres" none
  server=$TEST_POSTGRES_URL
else
  server=$SUPALOVE_TEST_DATABASE_URL
fi
migrate
record "$scratch/queries"
outdated=0 queries=0
for room in $(rooms); do
  name=$(awk -F'"' '/^name = / { print $2; exit }' "$room/Cargo.toml")
  if [[ ${1:-} == --check ]]; then
    diff --recursive --brief "$room/.sqlx" "$scratch/queries/$name" || outdated=1
  else
    rm -rf "$room/.sqlx"
    cp -r "$scratch/queries/$name" "$room/.sqlx"
    chmod -R u=rwX,go=rX "$room/.sqlx"
  fi
  queries=$((queries + $(find "$scratch/queries/$name" -name 'query-*.json' | wc -l)))
done
[[ $outdated -eq 0 ]] || die '.sqlx is not current' 'run: make sqlx'
say "$queries checked queries"
