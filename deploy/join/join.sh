#!/bin/sh
# Makes this host a node of a Supalove fleet, or brings its agent to the controller's version.
#
# `supalove join-token create` prints the command that gets this script from the controller's node port and runs it. Run again, it
# upgrades the agent: containers go on. No agent is installed before the host has passed `supalove-agent doctor` and has joined.
set -eu
umask 022

# Filled in by the controller: the key of its node port as curl pins it, its addresses, its version.
PIN='@PIN@'
CONTROLLERS='@CONTROLLERS@'
VERSION='@VERSION@'

# Prefix of every path of the host. Empty, except in tests.
SYSTEM=${SUPALOVE_TEST_SYSTEM:-}
PROGRAM=$SYSTEM/usr/local/bin/supalove-agent
SETTINGS=$SYSTEM/etc/supalove/agent.env
UNIT=$SYSTEM/etc/systemd/system/supalove-agent.service
SUPERVISOR=$SYSTEM/etc/supalove/supervisord.conf
SUPERVISOR_PID=$SYSTEM/run/supalove-agent-supervisord.pid
LOG=$SYSTEM/var/log/supalove-agent.log
# In a unit or a configuration that this script made. Others it does not touch.
MARK='# Made by the join command of Supalove.'
# Seconds until a started agent must be ready, and for a download.
READY=${SUPALOVE_JOIN_READY_SECONDS:-60}
DOWNLOAD=900

say() { printf '%s\n' "$*"; }
step() { printf -- '- %s\n' "$*"; }
die() {
  printf 'error: %s\n' "$1" >&2
  shift
  for remedy; do printf '       %s\n' "$remedy" >&2; done
  exit 1
}
has() { command -v "$1" >/dev/null 2>&1; }
has_systemd() { [ -d "$SYSTEM/run/systemd/system" ]; }
# The package manager, nft and the engine are where the PATH of a plain `su` does not look.
PATH=$PATH:$SYSTEM/usr/local/sbin:$SYSTEM/usr/sbin:$SYSTEM/sbin

usage() {
  cat <<'TEXT'
Makes this host a node of a Supalove fleet; on a node, brings the agent to the controller's version.

  script=$(curl …) && SUPALOVE_JOIN_TOKEN=slj1.… sh -c "$script" join [OPTIONS]

  --dry-run               check the host, say what would be done, change nothing
  --accept-warnings       join although the checks have warnings
  --install-docker        install the Docker Engine, nftables and, on a host without systemd, supervisor through the package
                          manager if they are missing, and start the engine
  --controller ADDRESSES  host:port of the controller's node port, several with commas between
  --uninstall             remove the agent; refuses while projects are on this host
  --keep-projects         with --uninstall: remove the agent's program only; projects go on, and this command takes them back

Settings of the agent, kept for the next time (see `supalove-agent run --help`):
  --name NAME             name of this host in the cluster; only at the first time
  --publish-address IP    address that the projects' ports bind to
  --advertise-address A   name or address under which users reach these ports
  --port-base PORT  --slots NUMBER  --network-range CIDR  --volumes-dir DIR  --docker-host URL  --state-dir DIR
  --cpu-millis NUMBER  --memory-mib NUMBER  --disk-mib NUMBER  --volume-quota loop|measure
  --full-disk-percent NUMBER  --metrics-listen [IP:]PORT
TEXT
}

# --- Arguments ---

dry_run='' accept='' install_docker='' uninstall='' keep_projects='' name='' changed_settings='' missing=''

read_arguments() {
  while [ $# -gt 0 ]; do
    case $1 in
      --dry-run) dry_run=yes ;;
      --accept-warnings) accept=yes ;;
      --install-docker) install_docker=yes ;;
      --uninstall) uninstall=yes ;;
      --keep-projects) keep_projects=yes ;;
      --help | -h) usage; exit 0 ;;
      --controller | --name | --publish-address | --advertise-address | --port-base | --slots | --network-range | \
        --volumes-dir | --docker-host | --state-dir | --cpu-millis | --memory-mib | --disk-mib | --volume-quota | \
        --full-disk-percent | --metrics-listen)
        [ $# -ge 2 ] || die "$1 needs a value" 'see --help'
        # Values become lines of a file that a shell reads.
        case $2 in
          '' | -* | *[!]A-Za-z0-9.:/_,@%+=~[-]*) die "the value \"$2\" of $1 has characters that no such value has" 'see --help' ;;
        esac
        case $1 in
          --controller) CONTROLLERS=$2 ;;
          --name) name=$2 ;;
          *)
            variable=$(printf '%s' "${1#--}" | tr a-z- A-Z_)
            changed_settings="$changed_settings
SUPALOVE_AGENT_$variable=$2"
            ;;
        esac
        shift
        ;;
      *) die "unknown option $1" 'see --help' ;;
    esac
    shift
  done
  [ -z "$keep_projects" ] || [ -n "$uninstall" ] || die '--keep-projects is for --uninstall' 'see --help'
}

# The settings after this run: those of the last one, with what the arguments change.
settings() {
  {
    [ ! -e "$SETTINGS" ] || cat "$SETTINGS"
    printf '%s\n' "$changed_settings"
  } | awk -F= '/^SUPALOVE_AGENT_[A-Z_]+=/ { if (!($1 in value)) order[++n] = $1; value[$1] = substr($0, length($1) + 2) }
    END { for (i = 1; i <= n; i++) print order[i] "=" value[order[i]] }'
}

# Runs a program with the agent's settings in its environment; with the join token only where it is asked for.
with_settings() (
  set -f
  IFS='
'
  # shellcheck disable=SC2046  # one word a line: values have no blanks
  exec env $(settings) "$@"
)

state_dir() { settings | sed -n 's/^SUPALOVE_AGENT_STATE_DIR=//p' | grep . || echo "$SYSTEM/var/lib/supalove-agent"; }
docker_host() { settings | sed -n 's/^SUPALOVE_AGENT_DOCKER_HOST=//p' | grep . || echo unix:///var/run/docker.sock; }
has_joined() { [ -e "$(state_dir)/identity.json" ]; }

# The token is in no argument, which every user could read, and in no other program's environment.
# shellcheck disable=SC2030 # for that program only
with_token() (
  SUPALOVE_JOIN_TOKEN=$token
  export SUPALOVE_JOIN_TOKEN
  with_settings "$@"
)

# --- The host ---

find_architecture() {
  [ "$(uname -s)" = Linux ] || die "this is $(uname -s): the agent runs on Linux" 'choose another host'
  case $(uname -m) in
    x86_64 | amd64) architecture=x86_64 ;;
    aarch64 | arm64) architecture=aarch64 ;;
    *) die "there is no agent for the architecture $(uname -m)" 'choose a host with x86_64 or aarch64 (arm64)' ;;
  esac
}

need_programs() {
  for tool in curl sha256sum awk sed grep cmp tr install mktemp; do
    has "$tool" || die "the program $tool is missing" "install it through the package manager of this host, then run this again"
  done
}

find_supervisor() {
  if has_systemd; then
    manager=systemd made=$UNIT
    has systemctl || die 'systemd runs here, but there is no systemctl' 'install the package systemd'
  else
    manager=supervisord made=$SUPERVISOR
  fi
  if [ -e "$made" ] && ! grep -qxF "$MARK" "$made"; then
    die "$made was not made by this command: another agent is set up here" \
      'remove that agent first, e.g. one of `make up` with `make clean`'
  fi
}

lacks_supervisor() { [ "$manager" = supervisord ] && ! { has supervisord && has supervisorctl; }; }

package_manager() {
  for manager_ in apt-get dnf zypper; do
    ! has "$manager_" || { echo "$manager_"; return; }
  done
}

# What is missing and is not to be installed is told after the doctor's checks, all at once.
ensure_packages() {
  socket=$(docker_host)
  socket=${socket#unix://}
  has dockerd || [ -S "$socket" ] || missing=docker
  has nft || missing="$missing nftables"
  ! lacks_supervisor || missing="$missing supervisor"
  missing=${missing# }
  if [ -n "$missing" ] && [ -n "$install_docker" ]; then install_packages; fi
}

# The engine's own configuration is only written where there is none.
install_packages() {
  packages=$(package_manager)
  case $packages in
    # The certificates are for pulls from registries.
    apt-get) engine="docker.io ca-certificates$(apparmor)" ;;
    dnf) engine=moby-engine ;;
    zypper) engine=docker ;;
    *) die "cannot install $missing: no apt-get, dnf or zypper here" 'install them by hand (of the Docker Engine 20.10 or newer), then run this again' ;;
  esac
  wanted=$(printf '%s' "$missing" | sed "s/docker/$engine/") configuration='' made_folder=''
  case $missing in *docker*) configuration=$SYSTEM/etc/docker/daemon.json ;; esac
  if [ -n "$dry_run" ]; then
    step "would install through $packages: $wanted${configuration:+, with live-restore}"
    return 0
  fi
  step "installing through $packages: $wanted"
  if [ -n "$configuration" ] && [ ! -e "$configuration" ]; then
    [ -d "${configuration%/*}" ] || made_folder=yes
    mkdir -p "${configuration%/*}"
    printf '{"live-restore": true}\n' >"$configuration"
  else
    configuration=''
  fi
  # shellcheck disable=SC2086  # a list of packages
  case $packages in
    # What Debian recommends beside the engine would bring systemd, and remove another init system for it.
    apt-get)
      DEBIAN_FRONTEND=noninteractive apt-get update -q &&
        DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends --no-remove $wanted
      ;;
    dnf) dnf install -qy $wanted ;;
    zypper) zypper --non-interactive install $wanted ;;
  esac </dev/null >&2 || {
    [ -z "$configuration" ] || rm -f "$configuration"
    [ -z "$made_folder" ] || rmdir "${configuration%/*}" 2>/dev/null || true
    die "the package manager could not install $wanted" 'its words are above; install the packages by hand, then run this again'
  }
  case $missing in *docker*) start_engine ;; esac
  missing=''
}

# With it the engine confines containers, where the kernel can.
apparmor() {
  ! grep -qs Y "$SYSTEM/sys/module/apparmor/parameters/enabled" || echo ' apparmor'
}

start_engine() {
  if has_systemd; then
    systemctl enable --quiet --now docker.service || die 'the Docker Engine does not start' 'see: journalctl -u docker'
    return 0
  fi
  step 'starting the Docker Engine'
  engine_log=$SYSTEM/var/log/docker.log
  # The engine's init script gives up where nobody may raise the limits of processes, such as in a container.
  if ! { has service && service docker start >&2; }; then
    step 'this host has no systemd: let the Docker Engine run at each boot: dockerd'
    # A session of its own, without the pipe of this script's output.
    setsid dockerd </dev/null >>"$engine_log" 2>&1 &
  fi
  tries=0
  until curl --silent --fail --unix-socket "$socket" --output /dev/null http://localhost/_ping; do
    tries=$((tries + 1))
    [ "$tries" -lt 120 ] || die 'the Docker Engine does not start' "see $engine_log"
    sleep 0.5
  done
}

# --- The controller ---

# Gets a path from the first address that answers. In: path, file. The pinned key is the only proof of who answers.
fetch() {
  path=$1 file=$2 trouble=''
  for address in $(printf '%s' "$CONTROLLERS" | tr , ' '); do
    tries=0
    while :; do
      code=0
      status=$(curl --silent --show-error --insecure --http1.1 --pinnedpubkey "$PIN" --connect-timeout 10 --max-time "$DOWNLOAD" \
        --output "$file" --write-out '%{http_code}' "https://$address$path" 2>"$work/curl") || code=$?
      tries=$((tries + 1))
      # A controller that serves many hosts at once closes what is too much.
      case $code in
        35 | 52 | 56) [ "$tries" -lt 4 ] || break ;;
        *) break ;;
      esac
      sleep 2
    done
    case $code in
      0) [ "$status" != 200 ] || return 0
        die "the controller at $address: $(head -c 500 "$file")" 'tell this to the operator of the controller' ;;
      90) die "at $address answers another key than that of the controller which made this command" \
        'the command is of another fleet, or something in between answers: create a new one with `supalove join-token create`' ;;
      23) die "cannot write $file" 'free space on the disk of this host' ;;
      *) trouble="$trouble
       $address: $(sed -n '1s/^curl: ([0-9]*) //p' "$work/curl" | grep . || echo "curl ended with $code")" ;;
    esac
  done
  die "no controller answers:$trouble" \
    'open the way from this host to this TCP port, outbound; check the address and the name resolution'
}

download() {
  fetch /join/sha256 "$work/sha256"
  wanted=$(awk -v name="supalove-agent-$architecture" '$2 == name { print $1 }' "$work/sha256")
  if [ -z "$wanted" ]; then
    # The answer says why.
    fetch "/join/agent/$architecture" "$work/supalove-agent"
    die "the controller has no digest of the agent for $architecture" 'run this again'
  fi
  if [ -e "$PROGRAM" ] && [ "$(digest "$PROGRAM")" = "$wanted" ]; then
    cp "$PROGRAM" "$work/supalove-agent"
    new_program=''
  else
    step "getting supalove-agent $VERSION for $architecture from the controller"
    fetch "/join/agent/$architecture" "$work/supalove-agent"
    new_program=yes
  fi
  found=$(digest "$work/supalove-agent")
  [ "$found" = "$wanted" ] || die "the agent's program has the digest $found instead of $wanted: it was changed on the way" \
    'run this again; if it stays so, tell the operator of the controller'
  chmod 0755 "$work/supalove-agent"
}

digest() { sha256sum "$1" | cut -d' ' -f1; }

# --- The agent ---

# The rules about hosts are the agent's own.
examine() {
  code=0
  if has_joined && [ -z "$token" ]; then
    with_settings "$work/supalove-agent" doctor --before-join >"$work/doctor" || code=$?
  elif has_joined; then
    # It finds a command of another fleet out.
    with_token "$work/supalove-agent" doctor --before-join >"$work/doctor" || code=$?
  else
    with_token "$work/supalove-agent" doctor --before-join --controller "$CONTROLLERS" >"$work/doctor" || code=$?
  fi
  ! lacks_supervisor || {
    printf '%-8s %-14s %s\n' FAILURE SUPERVISOR 'neither systemd nor supervisord keeps programs running on this host'
    printf '%23s remedy: %s\n' '' 'install the package supervisor, or let the join command do it: --install-docker'
  } >>"$work/doctor"
  sed 's/^/  /' "$work/doctor"
  case $code in 0 | 3) ! lacks_supervisor || code=1 ;; esac
  case $code in
    0) ;;
    3)
      [ -n "$accept" ] || [ -n "$dry_run" ] || has_joined ||
        die 'this host has warnings, see above' 'mend them, or join all the same: --accept-warnings' ;;
    1)
      if [ -n "$dry_run" ] && [ -n "$install_docker" ] && [ -n "$missing" ]; then
        step "what is missing would be installed, and then the checks are run again"
        return
      fi
      die 'this host cannot be a node as it is: mend each FAILURE above, then run this again' 'no agent was installed' ;;
    2) die 'the agent does not take these settings, see above' 'no agent was installed; see --help' ;;
    *) die "the agent's program does not run here (it ended with $code)" 'tell this to the operator of the controller' ;;
  esac
}

plan() {
  say "This would be done on $(uname -n):"
  if has_joined; then
    if [ -n "$new_program" ]; then step "replace $PROGRAM and restart the agent; containers go on"; else step "keep $PROGRAM"; fi
  else
    step "join the fleet of $CONTROLLERS as ${name:-$(uname -n)}"
    step "install $PROGRAM"
  fi
  step "keep settings in $SETTINGS, and the agent's state in $(state_dir)"
  step "keep the agent running with $manager ($made)"
}

# Before joining, because a token that is used up for nothing is worse than a file too many.
stage() {
  mkdir -p "$(dirname "$PROGRAM")" "$(dirname "$SETTINGS")" "$(dirname "$made")" "$(dirname "$LOG")" "$(dirname "$SUPERVISOR_PID")" ||
    die 'cannot write to the folders of programs and settings' 'run this as root, on a file system that can be written'
  staged=$PROGRAM.new
  install -m 0755 "$work/supalove-agent" "$staged" ||
    die "cannot write $staged" 'free space on its disk; if that is mounted read-only, mount it writable'
}

join() {
  step "joining as ${name:-$(uname -n)}"
  code=0
  with_token "$work/supalove-agent" join --controller "$CONTROLLERS" --state-dir "$(state_dir)" ${name:+--name "$name"} \
    >"$work/joined" 2>"$work/refused" || code=$?
  [ "$code" -ne 0 ] || return 0
  refusal=$(sed 's/^supalove-agent: //' "$work/refused")
  case $code in
    3) die "$refusal" 'create a new command with `supalove join-token create`; no agent was installed' ;;
    7) die "$refusal" 'no agent was installed' ;;
    *) die "$refusal" 'mend that and run the same command again; no agent was installed' ;;
  esac
}

unit() {
  cat <<TEXT
$MARK
[Unit]
Description=Supalove: agent
After=network-online.target docker.service
Wants=network-online.target
StartLimitIntervalSec=0

[Service]
EnvironmentFile=$SETTINGS
ExecStart=$PROGRAM run
Restart=always
RestartSec=1
KillMode=mixed
TimeoutStopSec=60
LimitNOFILE=65536
NoNewPrivileges=yes
LockPersonality=yes
RestrictRealtime=yes
SystemCallArchitectures=native
ProtectHostname=yes
MemoryDenyWriteExecute=yes
RestrictSUIDSGID=yes
CapabilityBoundingSet=CAP_CHOWN CAP_DAC_OVERRIDE CAP_DAC_READ_SEARCH CAP_FOWNER CAP_FSETID CAP_KILL CAP_NET_ADMIN CAP_NET_RAW CAP_SYS_ADMIN CAP_SYS_RESOURCE
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
SystemCallFilter=~@debug @obsolete @raw-io @reboot @swap @cpu-emulation

[Install]
WantedBy=multi-user.target
TEXT
}

supervisor() {
  cat <<TEXT
$MARK
[supervisord]
user = root
logfile = $LOG.supervisord
logfile_maxbytes = 10MB
logfile_backups = 2
pidfile = $SUPERVISOR_PID
childlogdir = $(dirname "$LOG")

[unix_http_server]
file = $SUPERVISOR.sock
chmod = 0700

[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface

[supervisorctl]
serverurl = unix://$SUPERVISOR.sock

[program:supalove-agent]
command = $PROGRAM run
environment = $(settings | sed 's/%/%%/g; s/=\(.*\)/="\1"/' | paste -sd, -)
directory = /
autorestart = true
startsecs = 1
startretries = 1000000
stopwaitsecs = 60
redirect_stderr = true
stdout_logfile = $LOG
stdout_logfile_maxbytes = 10MB
stdout_logfile_backups = 3
TEXT
}

control() { supervisorctl --configuration "$SUPERVISOR" "$@"; }
supervisor_is_up() { [ -e "$SUPERVISOR" ] && control pid >/dev/null 2>&1; }

# True if the agent's settings, its unit or its configuration changed.
write_settings() {
  different=1
  settings >"$work/settings"
  put "$work/settings" "$SETTINGS" && different=0
  case $manager in
    systemd) unit >"$work/made" ;;
    supervisord) supervisor >"$work/made" ;;
  esac
  put "$work/made" "$made" && different=0
  return $different
}

# True if the file was another one.
put() {
  ! cmp -s "$1" "$2" || return 1
  if ! { install -m 0644 "$1" "$2.new" && mv -f "$2.new" "$2"; }; then die "cannot write $2" 'free space on its disk'; fi
}

start_agent() {
  case $manager in
    systemd)
      systemctl daemon-reload
      systemctl enable --quiet supalove-agent.service
      systemctl restart supalove-agent.service
      ;;
    supervisord)
      if supervisor_is_up; then
        control update >/dev/null
        control restart supalove-agent >/dev/null
      else
        rm -f "$SUPERVISOR_PID" "$SUPERVISOR.sock"
        # It must not keep the pipe of this script's output open.
        supervisord --configuration "$SUPERVISOR" </dev/null >/dev/null 2>&1
      fi
      ;;
  esac || die 'the agent could not be started' "$(log_hint)"
}

stop_agent() {
  case $manager in
    systemd) systemctl disable --quiet --now supalove-agent.service ;;
    supervisord)
      supervisor_is_up || return 0
      supervisor_pid=$(cat "$SUPERVISOR_PID")
      control shutdown >/dev/null
      tries=0
      while kill -0 "$supervisor_pid" 2>/dev/null; do
        tries=$((tries + 1))
        [ "$tries" -lt 350 ] || die 'supervisord does not end' "see $LOG.supervisord"
        sleep 0.2
      done
      ;;
  esac
}

agent_runs() {
  case $manager in
    systemd) systemctl is-active --quiet supalove-agent.service ;;
    supervisord) supervisor_is_up && control status supalove-agent | grep -q RUNNING ;;
  esac
}

log_hint() { if [ "$manager" = systemd ]; then echo 'see: journalctl -u supalove-agent'; else echo "see $LOG"; fi; }

# Installs what is staged. A new program that does not become ready gives way to the one before.
install_agent() {
  old=''
  if [ -n "$new_program" ]; then
    if [ -e "$PROGRAM" ]; then
      old=$PROGRAM.old
      cp -p "$PROGRAM" "$old"
    fi
    mv -f "$staged" "$PROGRAM"
  else
    rm -f "$staged"
  fi
  staged=''
  if write_settings || [ -n "$new_program" ] || ! agent_runs; then
    step "starting the agent with $manager"
    [ "$manager" = systemd ] || step "this host has no systemd: let it run at each boot: supervisord --configuration $SUPERVISOR"
    start_agent
  fi
  code=0
  "$PROGRAM" status --state-dir "$(state_dir)" --wait "$READY" >"$work/ready" 2>&1 || code=$?
  if [ "$code" -eq 0 ]; then
    rm -f "$PROGRAM.old"
    cat "$work/ready"
    return
  fi
  if [ -n "$old" ]; then
    mv -f "$old" "$PROGRAM"
    start_agent
    die "$(cat "$work/ready")" "the agent is again the one of before; $(log_hint), and: supalove-agent doctor"
  fi
  die "$(cat "$work/ready")" "the agent is installed and keeps trying; $(log_hint), and: supalove-agent doctor" \
    'when that is mended it becomes ready by itself; or run the same command again'
}

remove_agent() {
  if [ -e "$made" ] && lacks_supervisor; then
    die 'supervisord, which keeps the agent running, is not installed any more' 'install the package supervisor, then run this again'
  fi
  [ -e "$made" ] || [ -e "$PROGRAM" ] || has_joined || { say 'no agent of this command is on this host'; return; }
  who=$(sed -n 's/.*"hostname": "\([^"]*\)".*/\1/p' "$(state_dir)/identity.json" 2>/dev/null || true)
  if [ -n "$dry_run" ]; then
    say "This would be done on $(uname -n):"
    step "stop the agent and remove $PROGRAM, $SETTINGS and $made"
    [ -n "$keep_projects" ] || step "remove $(state_dir), if no project is on this host"
    return
  fi
  ran=''
  if [ -e "$made" ]; then
    ! agent_runs || ran=yes
    stop_agent
  fi
  if [ -z "$keep_projects" ] && has_joined; then
    if ! with_settings "$PROGRAM" leave >"$work/left" 2>&1; then
      [ -z "$ran" ] || start_agent
      die "$(sed 's/^supalove-agent: //' "$work/left")" 'the agent stays as it was'
    fi
  fi
  rm -f "$PROGRAM" "$PROGRAM.old" "$made" "$SUPERVISOR.sock"
  if [ -n "$keep_projects" ]; then
    say "the agent is removed; its projects go on, and the same join command takes them back (state: $(state_dir), settings: $SETTINGS)"
  else
    rm -f "$SETTINGS" "$LOG" "$LOG.supervisord"
    rmdir "$(dirname "$SETTINGS")" 2>/dev/null || true
    say "the agent is removed${who:+; the operator takes the node off the list with: supalove nodes remove $who}"
  fi
  [ "$manager" != systemd ] || systemctl daemon-reload
}

clean_up() {
  code=$?
  trap - EXIT
  [ -z "$staged" ] || rm -f "$staged"
  rm -rf "$work"
  # Empty unless the agent is installed.
  rmdir "$(dirname "$SETTINGS")" 2>/dev/null || true
  exit "$code"
}

main() {
  # shellcheck disable=SC2031
  token=${SUPALOVE_JOIN_TOKEN:-}
  unset SUPALOVE_JOIN_TOKEN
  read_arguments "$@"
  # The agent does not know the prefix of the paths.
  changed_settings="$changed_settings
SUPALOVE_AGENT_STATE_DIR=$(state_dir)"
  [ "$(id -u)" -eq 0 ] || die 'this needs root' 'run it in a shell of root (sudo -i)'
  find_architecture
  need_programs
  find_supervisor
  # Not in /tmp, where programs may be forbidden to run.
  mkdir -p "$SYSTEM/var/lib"
  staged='' work=$(mktemp -d "$SYSTEM/var/lib/.supalove-join.XXXXXX") || die "cannot write to $SYSTEM/var/lib" 'free space on its disk'
  trap clean_up EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
  if [ -n "$uninstall" ]; then
    remove_agent
    return
  fi
  say "Supalove $VERSION, controller $CONTROLLERS"
  [ -n "$token" ] || has_joined ||
    die 'SUPALOVE_JOIN_TOKEN is not set' 'run the whole command that `supalove join-token create` prints'
  ensure_packages
  download
  examine
  if [ -n "$dry_run" ]; then
    plan
    return
  fi
  stage
  has_joined || join
  install_agent
}

# Last, so that a script of which a part is missing does nothing.
main "$@"
