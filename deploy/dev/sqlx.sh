#!/usr/bin/env bash
# Regenerates .sqlx (metadata for compile-time query checks) of each room, and docs/schema.md (the ER diagram), from a database with
# the current migrations.
#
# Usage: sqlx.sh           regenerates .sqlx of the rooms, and docs/schema.md
#        sqlx.sh --check   exits with 1 if one is out of date
#        sqlx.sh --schema  regenerates only docs/schema.md
# In:  SUPALOVE_TEST_DATABASE_URL (optional, a superuser's); without it the script starts a temporary PostgreSQL.
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

# Runs SQL from stdin in a database of the server. In: its name.
ask() { in_database "${1:-postgres}" psql --no-psqlrc --quiet --set=ON_ERROR_STOP=1 --output=/dev/null; }

# Runs a command with libpq's variables, so that no argument contains the password.
in_database() {
  local name=$1 url=${server#*://}
  shift
  local user=${url%%:*} rest=${url#*:}
  local password=${rest%%@*} address=${rest#*@}
  address=${address%%/*}
  PGUSER=$user PGPASSWORD=$password PGHOST=${address%%:*} PGPORT=${address##*:} PGDATABASE=$name "$@"
}

# Applies the migrations in order. Without the controller, which may not compile before .sqlx is current.
migrate() {
  ask <<<"create database $database"
  local file
  for file in "$ROOT"/controller/migrations/*.sql; do
    { echo 'begin;'; cat "$file"; echo ';commit;'; } | ask "$database" || die "migration $(basename "$file") failed"
  done
}

schema_page() {
  in_database "$database" psql --no-psqlrc --set=ON_ERROR_STOP=1 --file="$ROOT/deploy/dev/schema.sql"
}

# "name folder" of the crates with checked queries, dependents first: what is touched then makes no other crate stale whose
# queries would be written into the wrong folder.
rooms() {
  local name folder
  cargo metadata --format-version 1 --no-deps --offline |
    jq -r '.packages[] | .name as $name | .dependencies[] | select(.kind == null and .path) | "\($name) \(.name)"' | tsort |
    while read -r name; do
      folder=$(cargo metadata --format-version 1 --no-deps --offline |
        jq -r --arg name "$name" '.packages[] | select(.name == $name) | .manifest_path | rtrimstr("/Cargo.toml")')
      ! grep -rq --include=*.rs 'sqlx::query[a-z_]*!' "$folder/src" || echo "$name $folder"
    done
}

# The macros write a file per query into SQLX_OFFLINE_DIR while a crate is compiled. So a room is compiled twice: with what
# it stands on (which each selection of packages compiles for its own features), then alone.
record() { # folder
  local name folder
  while read -r name folder; do
    mkdir -p "$1/$name"
    compile "$1/all" --package "$name" --lib
    touch -c "$folder/src/lib.rs"
    compile "$1/$name" --package "$name" --lib
  done < <(rooms)
}

compile() { # folder, cargo's selection...
  SQLX_OFFLINE=false DATABASE_URL=${server%/*}/$database SQLX_OFFLINE_DIR=$1 cargo check --quiet --locked "${@:2}"
}

# Writes the queries of all rooms and copies of their .sqlx into two folders. With the first selection of `make check`, whose
# compiled dependencies cargo then takes. That each room has its own queries is checked by builds without a database.
record_all() { # folder, folder of the copies
  local name folder
  while read -r name folder; do
    cp "$folder"/.sqlx/* "$2"
    touch -c "$folder/src/lib.rs"
  done < <(rooms)
  compile "$1" --workspace --lib --bins
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
cd "$ROOT"
mkdir -p "$scratch/queries/all" "$scratch/present"
migrate
schema_page >"$scratch/schema.md"
if [[ ${1:-} == --check ]]; then
  cmp -s "$scratch/schema.md" docs/schema.md || die 'docs/schema.md is out of date' 'run: make sqlx'
  record_all "$scratch/queries/all" "$scratch/present"
  diff --recursive --brief "$scratch/present" "$scratch/queries/all" || die '.sqlx is out of date' 'run: make sqlx'
else
  cp "$scratch/schema.md" docs/schema.md
  [[ ${1:-} != --schema ]] || exit 0
  record "$scratch/queries"
  while read -r name folder; do
    rm -rf "$folder/.sqlx"
    cp -r "$scratch/queries/$name" "$folder/.sqlx"
    chmod -R u=rwX,go=rX "$folder/.sqlx"
  done < <(rooms)
fi
say "$(find "$scratch/queries" -name 'query-*.json' -printf '%f\n' | sort -u | wc -l) checked queries"
