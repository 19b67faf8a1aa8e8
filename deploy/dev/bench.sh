#!/usr/bin/env bash
# `make bench`: measures the programs on this machine and prints the setup and one Markdown table. It starts what it
# needs, with data of its own, and removes it again. It never fails because something is slow; it fails if
# an item cannot be measured.
#
# In:  QUICK=1 (seconds per item, dev profile: to try the bench), ITEMS (comma-separated names; default: all).
# Out: setup and table on stdout, all else on stderr. See docs/bench.md.
set -euo pipefail
shopt -s extglob nullglob
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
for part in lib install dockerd postgres fleet compose; do
  # shellcheck source=/dev/null
  . "$here/$part.sh"
done

# Only the table goes to stdout.
exec 3>&1 1>&2

PROFILE=release
[[ -z ${QUICK:-} ]] || PROFILE=dev
PROGRAMS=(supalove-controller supalove-agent supalove-bench)

clean_up() {
  local code=$?
  trap - EXIT
# Without a folder another run is active, and the fleets belong to it. The folder is the lock, so remove it last.
  if [[ -n ${folder:-} ]]; then
    end_programs "$folder" || true
    if engine_answers; then remove_fleet is_bench_fleet || true; fi
    remove_run "$folder" || warn "$folder could not be removed"
  fi
  stop_test_engine
  exit "$code"
}

# Pattern of the bench's fleet names; their volumes are removed too.
is_bench_fleet() { [[ $1 =~ ^bench[0-9a-f]{12}$ ]]; }

# A file system in memory is not durable, even with fsync.
need_disk() { # place
  case $(df --output=fstype "$1" | tail -n 1) in
    tmpfs | ramfs) die "$1 is a file system in memory, which is not durable" 'mount a disk there' ;;
  esac
}

describe_disk() { # folder
  local same=yes
  [[ $(stat -c %d "$1") == "$(stat -c %d "$ROOT")" ]] || same=no
  echo "$(df --output=source,fstype "$1" | awk 'NR == 2 { print $1, $2 }'), the checkout is on it: $same"
}

# Removes what killed runs left.
remove_old_runs() {
  local old
  for old in $(old_runs bench); do
    is_alive "$(as_root cat "$old/owner" 2>/dev/null)" && die 'another make bench is running' 'wait until it ends'
    remove_run "$old"
  done
}

# Ends the programs that a run started. Checks that they name its folder, because the kernel may have reused a pid.
end_programs() { # folder
  local file pid
  for file in $(as_root find "$1" -maxdepth 2 -name '*.pid'); do
    pid=$(as_root cat "$file")
    [[ $(as_root readlink "/proc/$pid/exe") == */supalove-@(controller|agent) ]] || continue
    [[ $(as_root cat "/proc/$pid/cmdline" 2>/dev/null | tr '\0' ' ') == *"$1/"* ]] || continue
    end_process "$pid" 5 KILL
  done
}

# Ends what a run started and removes what it made.
remove_run() { # folder
  local file node stack=$1/state/compose/compose.yaml
  end_programs "$1"
  if as_root test -e "$stack" && engine_answers; then
    as_root env "DOCKER_HOST=$DOCKER_HOST" "$COMPOSE" --project-name supalovebench --file "$stack" \
      down --volumes --timeout 5 >/dev/null 2>&1 || true
  fi
  for file in $(as_root find "$1" -maxdepth 3 -name identity.json); do
    node=$(as_root jq -r .node_id "$file")
    as_root nft delete table inet "$(rules_table "$node")" 2>/dev/null || true
  done
  stop_test_postgres "$1/postgres"
  as_root rm -rf --one-file-system -- "$1"
}

build_programs() {
  say "building (profile $PROFILE)"
  cargo build --profile "$PROFILE" --locked --bins "${PROGRAMS[@]/#/--package=}"
  BUILT=$(cargo metadata --format-version 1 --no-deps --offline | jq -r .target_directory)/${PROFILE/#dev/debug}
}

commit() { git -C "$ROOT" describe --always --dirty 2>/dev/null || echo 'no repository'; }

run_bench() {
  local options=()
  [[ -z ${QUICK:-} ]] || options+=(--quick)
  [[ -z ${ITEMS:-} ]] || options+=(--items "$ITEMS")
  as_root env "SUPALOVE_BENCH_DATABASE_URL=$TEST_POSTGRES_URL" "PATH=$PATH" "$BUILT/supalove-bench" \
    --controller "$BUILT/supalove-controller" --agent "$BUILT/supalove-agent" --compose "$COMPOSE" \
    --dir "$folder/state" --commit "$(commit)" --disk "$(describe_disk "$folder")" "${options[@]}" >&3
}

# The item `load` opens some thousand connections.
ulimit -n "$(ulimit -Hn)"
cd "$ROOT"
need_rights
check_toolchains
ensure_compose
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
ensure_runs
need_disk "$RUNS"
remove_old_runs
folder=$(new_run bench)
# PostgreSQL, as another user, passes through.
as_root chmod 0711 "$folder"
as_root install -d -m 0700 "$folder/state"
echo $$ | as_root tee "$folder/owner" >/dev/null
start_test_engine "$folder/dockerd.log"
build_programs
deploy/images/build.sh
start_test_postgres "$folder/postgres" none
run_bench
