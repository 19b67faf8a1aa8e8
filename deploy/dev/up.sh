#!/usr/bin/env bash
# `make up`: takes a fresh machine to a running project. Every step first checks whether it is already done, so a second
# run is quick and changes nothing.
#
# In:  RELEASE (optional), DATABASE_URL (optional, instead of an own PostgreSQL), SETUP=browser (optional: ends with a link to the page
#      that makes the first user, who then signs in here and runs it again for the rest).
# Out: running processes, .supalove/up.json, and lines on stdout to paste.
set -euo pipefail
shopt -s extglob
here=$(dirname "${BASH_SOURCE[0]}")
for part in lib install release build dockerd postgres processes platform; do
  # shellcheck source=/dev/null
  . "$here/$part.sh"
done

make_secrets() {
  local made="$SECRETS/master.key"
  if [[ ! -e $made ]] && as_root test -e "$PGDATA_UP/PG_VERSION"; then
    die "$PGDATA_UP has data, but the master key in $SECRETS is missing" \
      'bring it back; without it no secret of the platform can be read (or start anew: make clean)'
  fi
  [[ -e $made ]] || random_key | put_secret "$made"
  [[ -e $SECRETS/operator.password ]] || random_password | put_secret "$SECRETS/operator.password"
}

# Reports a taken port before anything waits for it.
check_port() { # process, port
  process_running "$1" && return
  [[ -z $(ss -Hltn "sport = :$2") ]] ||
    die "another process uses port $2, which $1 needs" "find it with: ss -ltnp 'sport = :$2'"
}

install_programs() {
  local name built
  built=$(cargo metadata --format-version 1 --no-deps --offline | jq -r .target_directory)/debug
  for name in supalove supalove-controller supalove-agent; do
    [[ -x $built/$name ]] || die "the build did not produce $built/$name" 'see the messages of cargo above'
  done
  install_binary "$built/supalove" || true
  migrate_database "$built/supalove-controller"
  for name in controller agent; do
    install_binary "$built/supalove-$name" || continue
    process_running "$name" || continue
    say "$name is new: restarting it; containers keep running"
    process_restart "$name"
  done
}

controller_answers() { curl --silent --fail --max-time 2 --output /dev/null "http://$API/healthz"; }

start_controller() {
  hand_over database-url
  hand_over master.key
  process_start controller
  wait_for 60 "the controller answers at $API" controller_answers ||
    die 'the controller does not answer' "see $(log_hint controller)"
}

check_release
check_setup
need_rights
check_rust
if has_systemd; then install_packages; else install_packages supervisord:supervisor; fi
ensure_npm
make_state
ensure_controller_user
exec 9>"$STATE/lock"
flock --nonblock 9 || die 'another make is running in this checkout' 'wait until it ends'
install_processes
ensure_engine
choose_release
refuse_stand_ins "$STACKS/$(cat "$STATE/release")/stack.yaml"
install_processes
build
make_secrets
check_port postgres "$POSTGRES_PORT"
check_port controller "$PUBLIC_PORT"
check_port controller "$NODE_PORT"
ensure_postgres
install_programs
start_controller
write_wrapper
if [[ ${SETUP:-} == browser ]]; then
  print_set_up_link
  exit
fi
ensure_session
ensure_node
ensure_organization
ensure_project
write_up_json
print_outdated
print_what_to_try
