# shellcheck shell=bash
# The supervised processes, and how to start and stop them: with systemd where there is one, else with supervisord.
# Both restart a killed process. Sourced.

PROCESSES=(postgres controller agent)

# Defines a process: sets ARGV, RUN_AS and STOP_SIGNAL. No secrets in ARGV, because every user can read it.
describe_process() { # name
  RUN_AS=root STOP_SIGNAL=TERM
  case $1 in
    dockerd) ARGV=("$ROOT/deploy/dev/dockerd-run.sh") ;;
    postgres)
      ARGV=("$(postgres_bin "$PGDATA_UP" || postgres_bin)/postgres" -D "$PGDATA_UP")
      # "Fast shutdown": ends sessions, then stops cleanly.
      RUN_AS=postgres STOP_SIGNAL=INT
      ;;
    controller)
      RUN_AS=$(id -un)
      ARGV=("$DATA/bin/supalove-controller" run
        --public-listen "127.0.0.1:$PUBLIC_PORT" --node-listen "127.0.0.1:$NODE_PORT"
        --node-address "127.0.0.1:$NODE_PORT"
        --database-url-file "$SECRETS/database-url" --master-key-file "$SECRETS/master.key"
        --setup-token-file "$SECRETS/setup-token" --default-release "$(chosen_release)")
      ;;
    agent)
      ARGV=("$DATA/bin/supalove-agent" run --state-dir "$DATA/agent"
        --publish-address 127.0.0.1 --advertise-address 127.0.0.1)
      ;;
  esac
}

# The programs run from DATA, so that a build in the checkout does not replace the file of a running process.
# True if the file was new.
install_binary() { # path
  local target
  target=$DATA/bin/$(basename "$1")
  as_root cmp -s "$1" "$target" && return 1
  as_root install -D -m 0755 "$1" "$target.new"
  as_root mv -f "$target.new" "$target"
}

install_processes() { if has_systemd; then systemd_install; else supervisor_install; fi; }
process_running() { if has_systemd; then systemd_running "$1"; else supervisor_running "$1"; fi; }
process_stop() { if has_systemd; then systemd_stop "$1"; else supervisor_stop "$1"; fi; }
log_hint() { if has_systemd; then echo "journalctl -u supalove-$1"; else echo "$LOGS/$1.log"; fi; }

process_start() {
  process_running "$1" && return
  say "starting $1"
  if has_systemd; then systemd_start "$1"; else supervisor_start "$1"; fi
}

process_restart() {
  process_stop "$1"
  process_start "$1"
}

# Stops in reverse order of dependencies. Does not stop the engine.
stop_processes() {
  local name
  for name in agent controller postgres; do
    process_running "$name" || continue
    say "stopping $name"
    process_stop "$name"
  done
}

# --- systemd ---

UNITS=$SYSTEM/etc/systemd/system

systemd_install() {
  local name unit changed=no
  for name in "${PROCESSES[@]}"; do
    [[ $name == postgres ]] && database_is_external && continue
    unit=$UNITS/supalove-$name.service
    systemd_unit "$name" | as_root cmp -s - "$unit" && continue
    systemd_unit "$name" | as_root tee "$unit" >/dev/null
    changed=yes
  done
  [[ $changed == no ]] || as_root systemctl daemon-reload
}

systemd_unit() {
  describe_process "$1"
  printf '[Unit]\nDescription=Supalove: %s\nAfter=network.target docker.service\nStartLimitIntervalSec=0\n\n' "$1"
  printf '[Service]\nExecStart=%s\nUser=%s\n' "$(quoted "${ARGV[@]}")" "$RUN_AS"
  printf 'Restart=always\nRestartSec=1\nKillMode=mixed\nKillSignal=SIG%s\nTimeoutStopSec=60\n' "$STOP_SIGNAL"
  printf 'LimitNOFILE=65536\n\n[Install]\nWantedBy=multi-user.target\n'
}

systemd_running() { systemctl is-active --quiet "supalove-$1.service"; }
systemd_start() { as_root systemctl enable --quiet --now "supalove-$1.service"; }
systemd_stop() {
  if [[ -e $UNITS/supalove-$1.service ]]; then
    as_root systemctl disable --quiet --now "supalove-$1.service"
  fi
}
systemd_uninstall() {
  local name
  for name in "${PROCESSES[@]}"; do as_root rm -f "$UNITS/supalove-$name.service"; done
  as_root systemctl daemon-reload
}

# Each word in double quotes: systemd and supervisord read them alike.
quoted() {
  local word line=()
  for word in "$@"; do
    [[ $word != *[\"\\%\$]* ]] || die "the path $word has characters that the supervisor does not accept" 'move the checkout'
    line+=("\"$word\"")
  done
  printf '%s' "${line[*]}"
}

# --- supervisord ---

SUPERVISOR_CONF=$DATA/supervisord.conf
SUPERVISOR_PID=$DATA/supervisord.pid

supervisor_install() {
  local draft
  has supervisord || die 'supervisord is missing' 'install the package supervisor'
  draft=$(mktemp)
  supervisor_config >"$draft"
  if as_root cmp -s "$draft" "$SUPERVISOR_CONF"; then
    rm -f "$draft"
    supervisor_up
    return
  fi
  as_root install -m 0600 "$draft" "$SUPERVISOR_CONF"
  rm -f "$draft"
  supervisor_up
# Stops changed processes; `start` starts the needed ones later.
  supervisor_control update >/dev/null
}

supervisor_config() {
  cat <<CONF
[supervisord]
user = root
logfile = $LOGS/supervisord.log
logfile_maxbytes = 10MB
logfile_backups = 2
pidfile = $SUPERVISOR_PID
childlogdir = $LOGS

[unix_http_server]
file = $DATA/supervisor.sock
chmod = 0700

[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface

[supervisorctl]
serverurl = unix://$DATA/supervisor.sock
CONF
  local name
  for name in dockerd "${PROCESSES[@]}"; do
    [[ $name == postgres ]] && database_is_external && continue
    supervisor_program "$name"
  done
}

supervisor_program() {
  describe_process "$1"
  cat <<CONF

[program:$1]
command = $(quoted "${ARGV[@]}")
user = $RUN_AS
environment = HOME="$(home_of "$RUN_AS")",USER="$RUN_AS"
directory = /
autostart = false
autorestart = true
startsecs = 1
startretries = 1000000
stopsignal = $STOP_SIGNAL
stopwaitsecs = 60
redirect_stderr = true
stdout_logfile = $LOGS/$1.log
stdout_logfile_maxbytes = 10MB
stdout_logfile_backups = 3
CONF
}

home_of() { getent passwd "$1" | cut -d: -f6; }

supervisor_is_up() { is_alive "$(as_root cat "$SUPERVISOR_PID" 2>/dev/null)" && supervisor_control pid >/dev/null 2>&1; }

# Starts supervisord with a clean environment and clean descriptors, because its children inherit them: they would hold
# the lock forever, and the output pipe of a caller that waits for its end.
supervisor_up() {
  supervisor_is_up && return
  as_root rm -f "$SUPERVISOR_PID" "$DATA/supervisor.sock"
  as_root env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 \
    bash -c "$CLOSE_DESCRIPTORS" bash supervisord --configuration "$SUPERVISOR_CONF"
  wait_for 15 'supervisord answers' supervisor_is_up || die 'supervisord does not answer' "see $LOGS/supervisord.log"
}

# For bash -c: closes all descriptors except the first three and executes its arguments.
CLOSE_DESCRIPTORS='for held in /proc/$$/fd/*; do
  held=${held##*/}
  [[ $held -le 2 ]] || eval "exec $held>&-"
done
exec "$@"'

supervisor_control() { as_root supervisorctl --configuration "$SUPERVISOR_CONF" "$@"; }
supervisor_running() { [[ $(supervisor_control status "$1" 2>/dev/null) == *RUNNING* ]]; }
supervisor_start() { supervisor_control start "$1" >/dev/null || true; }
supervisor_stop() {
  supervisor_is_up || return 0
  supervisor_control stop "$1" >/dev/null || true
}
supervisor_down() {
  supervisor_is_up || return 0
  local pid
  pid=$(as_root cat "$SUPERVISOR_PID")
  supervisor_control shutdown >/dev/null
  wait_for 90 'supervisord has ended' process_gone "$pid" || die 'supervisord does not end' "see $LOGS/supervisord.log"
}
process_gone() { ! is_alive "$1"; }
