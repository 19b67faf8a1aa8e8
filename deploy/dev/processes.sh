# shellcheck shell=bash
# The supervised processes, and how to start and stop them: with systemd where there is one, else with supervisord.
# Both restart a killed process. Sourced.

PROCESSES=(postgres controller agent)
# User of the controller: it has no right to the engine's socket, and nobody logs in as it.
CONTROLLER_USER=supalove
# Its home: copies of the secrets that it reads, and the set-up token that it writes.
CONTROLLER_HOME=$DATA/controller

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
      RUN_AS=$CONTROLLER_USER
      ARGV=("$DATA/bin/supalove-controller" run
        --public-listen "127.0.0.1:$PUBLIC_PORT" --node-listen "127.0.0.1:$NODE_PORT"
        --node-address "127.0.0.1:$NODE_PORT"
        --database-url-file "$CONTROLLER_HOME/database-url" --master-key-file "$CONTROLLER_HOME/master.key"
        --setup-token-file "$CONTROLLER_HOME/setup-token" --images-dir "$CONTROLLER_HOME/images" --default-release "$(chosen_release)")
      ;;
    agent)
      ARGV=("$DATA/bin/supalove-agent" run --state-dir "$DATA/agent"
        --publish-address 127.0.0.1 --advertise-address 127.0.0.1)
      ;;
  esac
}

# Creates the controller's user and home. Refuses a user of that name that somebody else made.
ensure_controller_user() {
  local home
  home=$(home_of "$CONTROLLER_USER")
  if [[ -z $home ]]; then
    as_root useradd --system --user-group --no-create-home --home-dir "$CONTROLLER_HOME" --shell /usr/sbin/nologin \
      --comment 'Supalove controller' "$CONTROLLER_USER"
  elif [[ $home != "$CONTROLLER_HOME" ]]; then
    die "this machine has another user named $CONTROLLER_USER, with the home $home" 'rename it, or use another machine'
  fi
  as_root install -d -o "$CONTROLLER_USER" -g "$CONTROLLER_USER" -m 0700 "$CONTROLLER_HOME"
}

remove_controller_user() {
  [[ $(home_of "$CONTROLLER_USER") == "$CONTROLLER_HOME" ]] || return 0
  as_root userdel "$CONTROLLER_USER"
}

# Gives the controller a copy of a secret of this checkout, if its own is another.
hand_over() { # name
  as_root cmp -s "$SECRETS/$1" "$CONTROLLER_HOME/$1" ||
    as_root install -o "$CONTROLLER_USER" -g "$CONTROLLER_USER" -m 0400 "$SECRETS/$1" "$CONTROLLER_HOME/$1"
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
  printf 'LimitNOFILE=65536\n'
  hardening "$1" | tr ' ' '\n'
  printf '\n[Install]\nWantedBy=multi-user.target\n'
}

# What a unit takes from its process (systemd.exec(5)). `systemd-analyze security` scores it; machines_test prints the scores.
hardening() { # name
  # For every process: no new privileges, no other architecture, no odd kinds of sockets.
  echo NoNewPrivileges=yes LockPersonality=yes RestrictRealtime=yes SystemCallArchitectures=native ProtectHostname=yes
  case $1 in
    controller | postgres)
      # They need files of their own, loopback and the network, nothing of the machine.
      echo CapabilityBoundingSet= AmbientCapabilities= UMask=0077 ProtectSystem=strict ProtectHome=yes PrivateTmp=yes \
        PrivateDevices=yes ProtectClock=yes ProtectKernelTunables=yes ProtectKernelModules=yes ProtectKernelLogs=yes \
        ProtectControlGroups=yes ProtectProc=invisible RestrictNamespaces=yes RestrictSUIDSGID=yes RemoveIPC=yes \
        RestrictAddressFamilies=AF_UNIX RestrictAddressFamilies=AF_INET RestrictAddressFamilies=AF_INET6 \
        SystemCallFilter=@system-service SystemCallFilter=~@privileged
      ;;&
    controller) echo MemoryDenyWriteExecute=yes "ReadWritePaths=$CONTROLLER_HOME" ;;
    postgres) echo "ReadWritePaths=$PGDATA_UP" "ReadWritePaths=$PGRUN_UP" ;;
    agent)
      # It is root with the engine's socket; it mounts volumes where the engine sees them, so it has no mounts of its own. SYS_RESOURCE:
      # it lets the file system of a volume grow while it is mounted.
      printf 'CapabilityBoundingSet=CAP_%s\n' CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL NET_ADMIN NET_RAW SYS_ADMIN \
        SYS_RESOURCE
      echo MemoryDenyWriteExecute=yes RestrictSUIDSGID=yes SystemCallFilter=~@debug SystemCallFilter=~@obsolete \
        SystemCallFilter=~@raw-io SystemCallFilter=~@reboot SystemCallFilter=~@swap SystemCallFilter=~@cpu-emulation \
        RestrictAddressFamilies=AF_UNIX RestrictAddressFamilies=AF_INET RestrictAddressFamilies=AF_INET6 \
        RestrictAddressFamilies=AF_NETLINK
      ;;
  esac
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

home_of() { getent passwd "$1" | cut -d: -f6 || true; }

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
