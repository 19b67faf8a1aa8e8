#!/usr/bin/env bash
# `make test`: installs and starts what the tests need, runs all of them and stops what it started.
#
# Out: the tests' own output; the last line is "N passed, N failed". Exit code 0 only if nothing failed and
#      everything could be run.
# For the tests: SUPALOVE_TEST_DATABASE_URL (a superuser's; tests make databases of their own) and
#      SUPALOVE_TEST_POSTGRES_LOG (that server logs every statement).
set -euo pipefail
shopt -s extglob nullglob globstar
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
for part in lib install dockerd postgres; do
  # shellcheck source=/dev/null
  . "$here/$part.sh"
done

RUNS=/tmp/supalove-test
# Test images under the official release's tags, where the engine lacks these.
STAND_INS=$ROOT/controller/tests/standins/build.sh
FAILED_STEPS=0

clean_up() {
  local code=$?
  trap - EXIT
  # Without a folder this run was refused: all this is of the run at work. The folder is the lock: it goes last.
  if [[ -n ${folder:-} ]]; then
    if engine_answers; then
      remove_fleet is_test_fleet || true
      "$STAND_INS" --remove || true
    fi
    as_root "$here/dockerhost.sh" sweep || true
    stop_test_postgres "$folder/postgres"
    as_root rm -rf --one-file-system -- "$folder"
  fi
  stop_test_engine
  # Whatever happened, the count comes last.
  printf '%s\n' "${SUMMARY:-0 passed, 1 failed}"
  exit "$code"
}

# As the tests name their fleets: volumes are removed with them.
is_test_fleet() { [[ $1 =~ ^test([0-9a-f]{12}|-nginx|-router)$ ]]; }

# What a run that was killed left: its database server and its folder. Two runs at a time would take each other's
# containers away.
remove_old_runs() {
  local old
  for old in "$RUNS".*; do
    is_alive "$(cat "$old/owner" 2>/dev/null)" && die 'another make test is at work' 'wait for it'
    stop_test_postgres "$old/postgres"
    as_root rm -rf --one-file-system -- "$old"
  done
}

# Runs one step of the tests; what it prints is kept for the count.
step() { # name, command...
  local name=$1 started=$SECONDS
  shift
  say "test: $name"
  if ! "$@" </dev/null 2>&1 | tee "$folder/output/${name//[^a-z0-9]/-}"; then
    FAILED_STEPS=$((FAILED_STEPS + 1))
    warn "test: $name failed"
  fi
  say "test: $name took $((SECONDS - started)) s"
}

build_programs() { cargo build --workspace --bins --locked; }
rust_tests() { cargo test --workspace --locked --no-fail-fast; }

# Programs that end themselves where they are told to; the list of all deaths is part of the output.
failpoint_tests() (
  # They abort; nobody wants their memory.
  ulimit -c 0
  cargo build --workspace --bins --locked --features "$FAILPOINTS" &&
    cargo test --workspace --locked --features "$FAILPOINTS" --test failpoints -- --nocapture
)
sqlx_is_current() { deploy/dev/sqlx.sh --check; }

# The router of the functions image, tested by the Deno that it ships with.
router_test() { # file
  local folder
  folder=$(dirname "$1")
  docker_ run --rm --network none --read-only --tmpfs /tmp --volume "$folder:/test:ro" --env NO_COLOR=1 \
    --label supalove.fleet=test-router --entrypoint deno "$(functions_image)" \
    test --no-remote --allow-all --no-lock "/test/$(basename "$1")"
}

functions_image() { docker_ images --format '{{.Repository}}:{{.Tag}}' supalove/functions | head -n 1; }

cd "$ROOT"
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
need_rights
check_toolchains
# faketime: clocks that jump.
install_packages faketime:faketime
remove_old_runs
folder=$(mktemp -d "$RUNS.XXXXXX")
chmod 0711 "$folder"
mkdir "$folder/output"
echo $$ >"$folder/owner"
start_test_engine "$folder/dockerd.log"
remove_fleet is_test_fleet
as_root "$here/dockerhost.sh" sweep
start_test_postgres "$folder/postgres" all
export SUPALOVE_TEST_DATABASE_URL=$TEST_POSTGRES_URL SUPALOVE_TEST_POSTGRES_LOG=$TEST_POSTGRES_LOG

# First: what it builds for `make up`, cold or not, is what the next steps build on.
step newcomer "$here/newcomer.sh"
step images deploy/images/build.sh
step clients deploy/dev/clients.sh
step sqlx sqlx_is_current
# Before the usual programs, which take the place of those.
step failpoints failpoint_tests
step build build_programs
step stand-ins "$STAND_INS"
step rust rust_tests
for script in deploy/dev/*_test.sh; do step "$(basename "$script" .sh)" "$script"; done
for file in deploy/stacks/**/router_test.ts; do step router router_test "$ROOT/$file"; done

SUMMARY=$("$here/count.sh" "$FAILED_STEPS" "$folder"/output/*)
[[ $FAILED_STEPS -eq 0 && $SUMMARY == *', 0 failed' ]]
