#!/usr/bin/env bash
# `make test`: installs and starts what the tests need, runs all of them and stops what it started.
#
# Usage: test.sh
#        ONLY='fleet cli' test.sh   only these: a program of the system tests (api, fleet, faults, pki, releases,
#                                   failpoints), the dashboard, or a crate by its name (controller, agent, cli, certs, ...)
#        TEST=words                 of these, only the tests whose name contains the words
#        JOBS_AT_ONCE=4             how many system tests may be at work at once; default two per processor
#
# Builds images and clients while the compiler runs. The tests of one program run in parallel, the programs one after
# the other, but for the last two with an engine.
# A step that hangs is ended, with all that it started, after three times its budget.
# Out: the output of each ended step; the slowest tests; steps over their budget; what failed tests said; the last line is
#      "N passed, N failed". Exit code 0 only if nothing failed and everything could be run.
# For the tests: SUPALOVE_TEST_DATABASE_URL (a superuser's; tests make databases of their own),
#      SUPALOVE_TEST_POSTGRES_LOG (that server logs every statement), SUPALOVE_TEST_SHIPPED (the programs as `make up`
#      builds them), SUPALOVE_TEST_TIMES (where tests note how long they took).
set -euo pipefail
shopt -s extglob nullglob globstar
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
for part in lib install dockerd postgres build; do
  # shellcheck source=/dev/null
  . "$here/$part.sh"
done

# Test images under the official release's tags, where the engine lacks the official ones.
STAND_INS=$ROOT/controller/tests/standins/build.sh
FAILED_STEPS=0
# Programs of the system tests; all but the first need an engine.
SYSTEM_TESTS=(api fleet faults pki releases failpoints)
# Seconds on two processors.
declare -A BUDGETS=(
  [newcomer]=570 [images]=180 [clients]=120 [dashboard]=180 [sqlx]=150 [programs]=420 [stand-ins]=60
  [crates]=180 [agent]=180 [api]=570 [fleet]=480 [faults]=700 [pki]=200 [releases]=200 [failpoints]=700 [scripts]=90
)
declare -A RUNNING=()
LATE=()

clean_up() {
  local code=$?
  trap - EXIT
  local pid
# Each step has a process group of its own, with everything that it started.
  for pid in "${!RUNNING[@]}"; do kill -KILL -- "-$pid" 2>/dev/null || true; done
# Without a folder another run is active, and all this belongs to it. The folder is the lock, so remove it last.
  if [[ -n ${folder:-} ]]; then
    if [[ -n ${engine_is_used:-} ]] && engine_answers; then
      remove_fleet is_test_fleet || true
      "$STAND_INS" --remove || true
    fi
    as_root "$here/dockerhost.sh" sweep || true
    stop_test_postgres "$folder/postgres"
    as_root rm -rf --one-file-system -- "$folder"
  fi
  stop_test_engine
# The count is always the last line.
  printf '%s\n' "${SUMMARY:-0 passed, 1 failed}"
  exit "$code"
}

# Pattern of the tests' fleet names; their volumes are removed too.
is_test_fleet() { [[ $1 =~ ^test([0-9a-f]{12}|-nginx|-router)$ ]]; }

# Removes the database server and the folder of killed runs. Refuses a second run, because two runs would remove each
# other's containers.
remove_old_runs() {
  local old
  for old in $(old_runs test); do
    is_alive "$(cat "$old/owner" 2>/dev/null)" && die 'another make test is running' 'wait until it ends'
    stop_test_postgres "$old/postgres"
    as_root rm -rf --one-file-system -- "$old"
  done
}

# Starts a step and stores its output for the report and the count.
start() { # name, command...
  local name=$1
  shift
  set -m
  {
# A step must not run this script's clean-up.
    trap - EXIT INT TERM
    began=$SECONDS code=0 group=$BASHPID
    end_late_step "$name" "$group" &
    limit=$!
    "$@" </dev/null >"$folder/output/$name" 2>&1 || code=$?
    kill "$limit"
    echo "$code $((SECONDS - began))" >"$folder/ended/$name"
  } &
  set +m
  RUNNING[$!]=$name
}

budget_of() { echo "${BUDGETS[$1]:-60}"; } # name

# Kills a step when its time is over; runs until then in the step's process group.
end_late_step() { # name, process group
  local seconds=$((3 * $(budget_of "$1")))
# A sleep would survive the shell that waits for it.
  read -rt "$seconds" <> <(:) || true
  echo "it hung: ended after $seconds s" >>"$folder/output/$1"
  echo "124 $seconds" >"$folder/ended/$1"
  kill -KILL -- "-$2"
}

# Waits until a step, or every started step, has ended; reports each one that ends.
finish() { # name, if only one
  local pid name
  while [[ ${#RUNNING[@]} -gt 0 ]] && [[ $# -eq 0 || " ${RUNNING[*]} " == *" $1 "* ]]; do
# The file has the step's own exit code.
    pid=
    wait -n -p pid "${!RUNNING[@]}" || true
# A signal ended the wait although no step has ended.
    [[ -n ${pid:-} ]] || continue
    name=${RUNNING[$pid]}
    unset "RUNNING[$pid]"
    report "$name"
  done
}

report() { # name
  local name=$1 code=1 seconds=0 budget
  budget=$(budget_of "$name")
  [[ ! -e $folder/ended/$name ]] || read -r code seconds <"$folder/ended/$name"
  say "test: $name"
  cat "$folder/output/$name"
  if [[ $code -ne 0 ]]; then
    FAILED_STEPS=$((FAILED_STEPS + 1))
    warn "test: $name failed"
    [[ $code -ne 124 || -z ${engine_is_used:-} ]] || replace_hung_engine "$folder/dockerd.log"
  fi
  say "test: $name took $seconds s (budget: $budget s)"
  [[ $seconds -le $budget ]] || LATE+=("$name took $seconds s, its budget is $budget s")
}

wants() { # name...
  local name
  [[ ${#ONLY[@]} -gt 0 ]] || return 0
  for name in "$@"; do [[ " ${ONLY[*]} " != *" $name "* ]] || return 0; done
  return 1
}

sqlx_is_current() { deploy/dev/sqlx.sh --check; }

# Builds everything, or what ONLY names. Always with the features of the whole workspace, because cargo would compile
# the dependencies again for a smaller set of features.
cargo_() { # subcommand, arguments...
  cargo "$1" --workspace --locked --features "$FAILPOINTS" "${@:2}"
}

# Writes room, program and folder of each test program to $folder/programs. A room is a program of the system tests or a crate.
programs() {
  local what=(--tests --examples) name
  if wants failpoints; then
    mkdir "$folder/shipped"
    (build_programs) && cp "$target/debug"/supalove-{controller,agent} "$folder/shipped/" || return
  fi
  if [[ ${#ONLY[@]} -eq 0 ]]; then
    cargo_ build --all-targets || return
  else
    what=(--lib --bins --examples)
    for name in $(test_targets); do what+=(--test "$name"); done
    ! wants "${SYSTEM_TESTS[@]}" || cargo_ build --bins --examples "${what[@]:3}" || return
  fi
  cargo_ test --no-run --message-format json-render-diagnostics "${what[@]}" | test_programs >"$folder/programs"
}

# Test targets of the rooms in ONLY.
test_targets() {
  local package name
  cargo metadata --format-version 1 --no-deps --offline |
    jq -r '.packages[] | .name as $package | .targets[] | select(.kind == ["test"]) | "\($package) \(.name)"' |
    while read -r package name; do
      if [[ $package == supalove-system-tests ]]; then wants "$name"; else wants "${package#supalove-}"; fi && echo "$name"
    done || true
}

test_programs() {
  jq -r --arg root "$ROOT/" '
    select(.reason == "compiler-artifact" and .profile.test and .executable != null)
    | (.manifest_path | ltrimstr($root) | rtrimstr("/Cargo.toml")) as $dir
    | (if $dir == "controller/tests" and .target.kind == ["test"] then .target.name
       else .package_id | capture("(?<name>[^/#]+)(#(?<id>[^@]*)(@.*)?)?$") | if .id | test("^[0-9]") then .name else .id end
         | ltrimstr("supalove-") end) as $room
    | "\($room) \(.executable) \($dir)"'
}

# Runs the test programs of some rooms one after another, each in its package's folder as cargo does.
run_tests() { # threads, room...
  local threads=$1 room program dir code=0
  shift
# No core dumps of programs that failpoints abort.
  ulimit -c 0
  while read -r room program dir <&3; do
    [[ " $* " == *" $room "* ]] || continue
    echo "Running $room: ${program#"$target/"}"
    (cd "$ROOT/$dir" && "$program" --test-threads "$threads" "${ARGUMENTS[@]}") || code=1
  done 3<"$folder/programs"
  return "$code"
}

# Rooms without a step of their own.
crates() {
  local room
  awk '{ print $1 }' "$folder/programs" | sort -u | grep -vxF -e agent "${SYSTEM_TESTS[@]/#/-e}" | while read -r room; do
    ! wants "$room" || echo "$room"
  done
}

crate_tests() {
  local rooms code=0
  mapfile -t rooms < <(crates)
  run_tests "$(nproc)" "${rooms[@]}" || code=1
  [[ ${#ONLY[@]} -gt 0 ]] || cargo_ test --doc || code=1
  return "$code"
}

# Shows the outcome of each failpoint.
failpoint_tests() {
  ARGUMENTS+=(--nocapture)
  run_tests 4 failpoints
}

script_tests() {
  local file code=0
  for file in deploy/dev/*_test.sh; do
    echo "Running $file"
    "$file" || code=1
  done
  for file in deploy/stacks/**/router_test.ts; do router_test "$ROOT/$file" || code=1; done
  return "$code"
}

# Tests a router of the functions image with the image's own Deno. A later release has only the files that changed: the
# others are the first one's.
router_test() { # file
  local folder
  folder=$(dirname "$1")
  docker_ run --rm --network none --read-only --tmpfs /tmp --label supalove.fleet=test-router --env NO_COLOR=1 \
    --volume "$ROOT/deploy/stacks/shared/functions:/first:ro" --volume "$folder:/test:ro" --entrypoint sh \
    "$(functions_image)" -c 'mkdir /tmp/router && cp /first/*.ts /tmp/router && cp -f /test/*.ts /tmp/router &&
      exec deno test --no-remote --allow-all --no-lock "/tmp/router/$1"' sh "$(basename "$1")"
}

functions_image() { docker_ images --format '{{.Repository}}:{{.Tag}}' supalove/functions | head -n 1; }

slowest() {
  [[ -s $folder/times ]] || return 0
  say 'the slowest tests (seconds, program, test):'
  sort -rn "$folder/times" | awk 'NR <= 10'
}

# Repeats what failed tests said, because their output lies far above.
failures() {
  awk '/ panicked at / { left = 12 } /^stack backtrace:|^note: |^$/ { left = 0 } left-- > 0' "$folder"/output/* |
    cut -c -600
}

read -ra ONLY <<<"${ONLY:-}"
ARGUMENTS=(${TEST:+"$TEST"})
[[ -z ${JOBS_AT_ONCE:-} ]] || export SUPALOVE_TEST_AT_ONCE=$JOBS_AT_ONCE
cd "$ROOT"
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
need_rights
check_toolchains
# faketime: clocks that jump. supervisor: brings a controller back. aiosmtpd: the mail server of tests, with certificates of openssl.
install_packages faketime:faketime supervisord:supervisor aiosmtpd:python3-aiosmtpd openssl:openssl
target=$(cargo metadata --format-version 1 --no-deps --offline | jq -r .target_directory)
remove_old_runs
folder=$(new_run test)
# The tests run as the caller; PostgreSQL, as another user, passes through.
as_root chown "$(id -u):$(id -g)" "$folder"
chmod 0711 "$folder"
mkdir "$folder/output" "$folder/ended"
echo $$ >"$folder/owner"
if wants "${SYSTEM_TESTS[@]:1}" agent; then
  start_test_engine "$folder/dockerd.log"
  engine_is_used=yes
  remove_fleet is_test_fleet
  as_root "$here/dockerhost.sh" sweep
  start images deploy/images/build.sh
fi
# It need not survive a power loss, and has hundreds of small databases, each of which autovacuum would visit every minute.
! wants "${SYSTEM_TESTS[@]}" bench || start_test_postgres "$folder/postgres" all 'fsync = off
full_page_writes = off
autovacuum_naptime = 15min'
export SUPALOVE_TEST_DATABASE_URL=${TEST_POSTGRES_URL:-} SUPALOVE_TEST_POSTGRES_LOG=${TEST_POSTGRES_LOG:-}
export SUPALOVE_TEST_SHIPPED=$folder/shipped SUPALOVE_TEST_TIMES=$folder/times

! wants api fleet || start clients deploy/dev/clients.sh
if [[ -d dashboard ]] && wants dashboard; then
  start dashboard deploy/dev/dashboard.sh test
elif [[ -d dashboard ]] && wants "${SYSTEM_TESTS[@]}"; then
  start dashboard deploy/dev/dashboard.sh
fi
if [[ ${#ONLY[@]} -eq 0 ]]; then
# First, because the next steps reuse what it builds for `make up`.
  start newcomer "$here/newcomer.sh"
  finish newcomer
# Before the programs, because it touches sources, which cargo then compiles again.
  start sqlx sqlx_is_current
  finish sqlx
fi
# The controller embeds it.
finish dashboard
start programs programs
finish
! wants releases || SUPALOVE_STAND_IN=$target/debug/examples/stand-in start stand-ins "$STAND_INS"
finish

# One after the other: on two processors parallel programs would delay each other beyond the times that tests assert.
[[ -z $(crates) ]] || { start crates crate_tests && finish; }
for room in api pki fleet agent releases; do
  ! wants "$room" || { start "$room" run_tests 8 "$room" && finish; }
done
# But these two together, since each has long tests that mostly wait: at most so many tests of both are at work at once
# (controller/tests/src/turn.rs).
! wants faults || start faults run_tests 8 faults
! wants failpoints || start failpoints failpoint_tests
finish
[[ ${#ONLY[@]} -gt 0 ]] || { start scripts script_tests && finish; }

slowest
for late in "${LATE[@]}"; do warn "step over its budget: $late"; done
SUMMARY=$("$here/count.sh" "$FAILED_STEPS" "$folder"/output/*)
[[ $FAILED_STEPS -eq 0 && $SUMMARY == *', 0 failed' ]] || { failures && exit 1; }
