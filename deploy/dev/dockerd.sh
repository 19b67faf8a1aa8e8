# shellcheck shell=bash
# Starts the Docker Engine if none answers, with live-restore, so that containers survive its restart. Sourced.

DAEMON_JSON=$SYSTEM/etc/docker/daemon.json
ENGINE_PID=$SYSTEM/var/run/docker.pid
CONTAINERD_PID=$SYSTEM/var/run/docker/containerd/containerd.pid
ENGINE_DATA=$SYSTEM/var/lib/docker # its default; see engine_data

engine_answers() { docker_ version --format '{{.Server.Version}}' >/dev/null 2>&1; }
engine_has_live_restore() { [[ $(docker_ info --format '{{.LiveRestoreEnabled}}' 2>/dev/null) == true ]]; }

# `make up`: the engine under the machine's supervisor.
ensure_engine() {
  if engine_answers; then
    engine_has_live_restore || ask_for_live_restore
    return
  fi
# The engine was installed as a bare program; do not write a unit for it.
  ! has_systemd || has_engine_unit ||
    die 'no Docker Engine answers, and systemd has no docker.service to start' 'start the engine, then: make up'
  write_live_restore
  say 'starting the Docker Engine'
  if has_systemd; then as_root systemctl start docker.service; else process_start dockerd; fi
  wait_for 60 'the Docker Engine answers' engine_answers ||
    die 'the Docker Engine does not answer' "see $(engine_log), and docs/guides/operating.md, When the engine is sick"
}

has_engine_unit() { systemctl cat docker.service >/dev/null 2>&1; }
engine_log() { if has_systemd; then echo 'journalctl -u docker'; else echo "$LOGS/dockerd.log"; fi; }

# Prints the engine's configuration as one JSON object on a line; an absent or empty file means {}.
engine_configuration() {
  if ! as_root test -e "$DAEMON_JSON"; then
    echo '{}'
    return
  fi
  as_root cat "$DAEMON_JSON" | jq -cs 'if length == 0 then {} elif length == 1 and (.[0] | type) == "object" then .[0]
    else error("it is not one object") end'
}

# Adds live-restore to the engine's configuration and keeps the other keys. `make clean` removes it again.
write_live_restore() {
  local now
  now=$(engine_configuration) ||
    die "the Docker Engine's configuration $DAEMON_JSON cannot be read as JSON" \
      'what is wrong with it is above; the engine itself takes no comments in it either'
  [[ $(jq '."live-restore"' <<<"$now") != true ]] || return 0
  write_engine_configuration "$(jq '. + {"live-restore": true}' <<<"$now")" ||
    die "$DAEMON_JSON cannot be written" 'add "live-restore": true to the configuration of the Docker Engine, then: make up'
  as_root touch "$DATA/set-live-restore"
}

write_engine_configuration() { # JSON
  as_root install -d -m 0755 "$(dirname "$DAEMON_JSON")" && printf '%s\n' "$1" | as_root tee "$DAEMON_JSON" >/dev/null
}

# Removes live-restore if `make up` added it, and the file if nothing else is in it.
remove_live_restore() {
  local left
  [[ -e $DATA/set-live-restore ]] || return 0
  as_root test -e "$DAEMON_JSON" || return 0
  if ! left=$(engine_configuration); then
    warn "live-restore stays in $DAEMON_JSON, which is no longer valid JSON"
    return
  fi
  left=$(jq 'del(."live-restore")' <<<"$left")
  if [[ $left == '{}' ]]; then
    as_root rm -f "$DAEMON_JSON"
  else
    write_engine_configuration "$left"
  fi || warn "live-restore stays in $DAEMON_JSON, which cannot be written"
}

# A running engine loads live-restore from its configuration without a restart.
ask_for_live_restore() {
  say "the running Docker Engine lacks live-restore: setting it in $DAEMON_JSON and reloading"
  write_live_restore
  if ! reload_engine || ! wait_for 15 'live-restore is on' engine_has_live_restore; then
    die 'the Docker Engine did not load live-restore' 'add "live-restore": true to its configuration and restart it'
  fi
}

# An engine that somebody started by hand may have no pid file at the usual path.
reload_engine() {
  local pid
  if has_systemd && systemctl is-active --quiet docker.service; then
    as_root systemctl reload docker.service
  else
    pid=$(as_root cat "$ENGINE_PID" 2>/dev/null) && is_engine_process "$pid" && signal HUP "$pid"
  fi
}

# Stale pid files prevent dockerd from starting.
clean_stale_pids() {
  local file pid
  for file in "$ENGINE_PID" "$CONTAINERD_PID"; do
    pid=$(as_root cat "$file" 2>/dev/null) || continue
    is_engine_process "$pid" || as_root rm -f "$file"
  done
}

# The kernel may have reused the pid for another process.
is_engine_process() { # pid
  is_alive "$1" && [[ $(tr '\0' ' ' <"/proc/$1/cmdline" 2>/dev/null) == *@(dockerd|containerd)* ]]
}

# Whether an engine's last words are a panic over its networks. Docker 20.10 that is killed while it deletes a network
# leaves it without addresses in its database, and panics at every later start (moby/moby#45057).
died_of_networks() { # log
  as_root awk '/^time=/ { panic = 0 } /^panic: / { panic = 1; networks = 0 } /docker\/libnetwork\./ { networks = 1 }
    END { exit !(panic && networks) }' "$1" 2>/dev/null
}

# Prints the folder of the engine's data: as the engine says if it answers, else as its configuration does.
engine_data() {
  local folder
  folder=$(docker_ info --format '{{.DockerRootDir}}' 2>/dev/null) || folder=''
  [[ $folder == /* ]] || folder=$(engine_configuration 2>/dev/null | jq -r '."data-root" // .graph // empty') || folder=''
  [[ $folder == /* ]] || folder=$ENGINE_DATA
  printf '%s\n' "$folder"
}

# Lets such an engine start: keeps that database under another name, and the engine makes a new one. Fails if the engine
# ended for another reason. The networks of projects come back from their agents, others do not.
set_networks_aside() { # log, the engine's data
  local database=$2/network/files/local-kv.db
  died_of_networks "$1" && as_root mv -f "$database" "$database.broken" || return
  warn "the Docker Engine panics over a network that it had half deleted: its database of networks is now $database.broken"
}

# `make test`: starts an engine for the duration of the tests if none answers. Sets TEST_ENGINE_PID.
start_test_engine() { # log file
  engine_answers && return
  say 'starting a Docker Engine for the tests'
  if ! run_test_engine "$1" && ! { set_networks_aside "$1" "$(engine_data)" && run_test_engine "$1"; }; then
    tail -n 20 "$1" >&2
    die 'the Docker Engine does not answer' 'its last lines are above'
  fi
  TEST_ENGINE_PID=$(cat "$ENGINE_PID")
}

run_test_engine() { # log file
  clean_stale_pids
# A process group of its own, so that Ctrl-C does not kill it before the clean-up.
  as_root setsid dockerd --live-restore >"$1" 2>&1 </dev/null &
  wait_for 60 'the Docker Engine has started or ended' engine_answers_or_ended "$!"
  engine_answers
}

# Kills an engine of the tests that hangs, and starts another; containers go on. Its log tells what it was doing.
replace_hung_engine() { # log file
  [[ -n ${TEST_ENGINE_PID:-} ]] || return 0
  ! as_root env "DOCKER_HOST=$DOCKER_HOST" timeout 60 docker ps --quiet >/dev/null 2>&1 || return 0
  warn 'the Docker Engine hangs; what waits in it for a lock:'
  signal USR1 "$TEST_ENGINE_PID"
  sleep 5
# Go's dump of all goroutines, in paragraphs.
  as_root find "$(dirname "$ENGINE_PID")/docker" -name 'goroutine-stacks-*.log' -mmin -1 -exec \
    awk 'BEGIN { RS = ""; ORS = "\n\n" } /^goroutine [0-9]+ \[(semacquire|sync)/' {} + | head -n 500 || true
  signal KILL "$TEST_ENGINE_PID"
  start_test_engine "$1"
}

engine_answers_or_ended() { engine_answers || ! is_alive "$1"; } # pid

stop_test_engine() {
  [[ -n ${TEST_ENGINE_PID:-} ]] || return 0
  say 'stopping the Docker Engine of the tests'
  end_process "$TEST_ENGINE_PID" 30
}

# Removes the containers, networks and volumes whose fleet label matches. In: a label filter value or a prefix test.
remove_fleet() { # function that takes a fleet id and says whether it is meant
  local meant=$1 kind id fleet list
  for kind in container network volume; do
    case $kind in
      container) list=(ps --all --quiet --no-trunc --filter label=supalove.fleet) ;;
      network) list=(network ls --quiet --no-trunc --filter label=supalove.fleet) ;;
      volume) list=(volume ls --quiet --filter label=supalove.fleet) ;;
    esac
    for id in $(docker_ "${list[@]}"); do
      fleet=$(fleet_of "$kind" "$id") || continue
      "$meant" "$fleet" || continue
      case $kind in
        container) docker_ rm --force "$id" >/dev/null ;;
        network) docker_ network rm "$id" >/dev/null ;;
        volume) docker_ volume rm "$id" >/dev/null ;;
      esac
    done
  done
}

fleet_of() { # kind, id
  local labels=.Labels
  [[ $1 == container ]] && labels=.Config.Labels
  docker_ "$1" inspect --format "{{ index $labels \"supalove.fleet\" }}" "$2" 2>/dev/null
}
