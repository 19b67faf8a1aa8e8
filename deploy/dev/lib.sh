# shellcheck shell=bash
# Shared by the scripts of this folder: paths, ports, progress lines and privileges. Sourced, never run.

# Files must be readable for other users (of the database, of containers), whatever the caller's umask is. Code that
# writes secrets sets their mode itself.
umask 022

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
# Prefix of every path of the machine. Empty, except in tests, which prepare a machine in a folder.
SYSTEM=${SUPALOVE_TEST_SYSTEM:-}
# Files of this checkout: secrets, logs, the session of the command line, up.json.
STATE=$ROOT/.supalove
SECRETS=$STATE/secrets
LOGS=$STATE/log
# Files of this machine that other users (postgres) or only root must reach.
DATA=$SYSTEM/var/lib/supalove
# What is mounted where.
# shellcheck disable=SC2034  # fleet.sh reads it
MOUNTS=/proc/self/mounts
# What runs of the tests, of the bench and of `make newcomer` need, each in a folder below. As root, the scripts end
# processes, unmount and delete what they find there, so nobody but root may make entries: not in /tmp or /var/tmp.
RUNS=$SYSTEM/var/lib/supalove-runs
# Contains the path of the checkout that made DATA; without it the scripts do not touch DATA.
MARKER=$DATA/made-by

# shellcheck disable=SC2034  # used by the scripts that source this one
PUBLIC_PORT=8000 NODE_PORT=8001 POSTGRES_PORT=54329

# Tests and the platform use the engine of this machine, even if the user's shell selects another one.
DOCKER_SOCKET=$SYSTEM/var/run/docker.sock
export DOCKER_HOST=unix://$DOCKER_SOCKET
# Features of programs that a test can kill at failpoints; shipped programs are built without them.
# shellcheck disable=SC2034  # used by the scripts that source this one
FAILPOINTS=supalove-controller/failpoints,supalove-agent/failpoints,supalove-system-tests/failpoints
# Checks queries against .sqlx; only sqlx.sh uses a database.
export SQLX_OFFLINE=true

say() { printf '[%4ss] %s\n' "$SECONDS" "$*"; }
warn() { printf '[%4ss] warning: %s\n' "$SECONDS" "$*" >&2; }
die() {
  printf 'error: %s\n' "$1" >&2
  shift
  [[ $# -eq 0 ]] || printf '       %s\n' "$@" >&2
  exit 1
}

has() { command -v "$1" >/dev/null 2>&1; }
has_systemd() { [[ -d $SYSTEM/run/systemd/system ]]; }

is_root() { [[ $EUID -eq 0 ]]; }

# Runs a command as root. sudo drops the environment: pass variables with `env`.
as_root() {
  if is_root; then "$@"; else sudo "$@"; fi
}

# Runs a command as another user, outside the caller's directory.
as_user() { # user, command...
  local user=$1
  shift
  (cd / && as_root runuser -u "$user" -- "$@")
}

# Settings with which this site reaches registries, as NAME=value lines, because sudo and new machines drop the environment.
SITE_VARIABLES=(http_proxy https_proxy no_proxy all_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY ALL_PROXY
  SSL_CERT_FILE SSL_CERT_DIR CURL_CA_BUNDLE REQUESTS_CA_BUNDLE GIT_SSL_CAINFO NODE_EXTRA_CA_CERTS
  PIP_CERT PIP_INDEX_URL PIP_EXTRA_INDEX_URL npm_config_registry npm_config_cafile NPM_CONFIG_REGISTRY
  NPM_CONFIG_CAFILE GOPROXY CARGO_HTTP_CAINFO CARGO_HTTP_PROXY CARGO_BUILD_JOBS CARGO_INCREMENTAL
  SUPALOVE_DEBIAN_MIRROR SUPALOVE_DEBIAN_SECURITY_MIRROR)
site_environment() {
  local name
  for name in "${SITE_VARIABLES[@]}"; do
    [[ -z ${!name:-} ]] || printf '%s=%s\n' "$name" "${!name}"
  done
}

need_rights() {
  is_root && return
  has sudo || die 'this needs root or sudo' 'run it as root, or install sudo and allow it for this user'
# `sudo -v` asks for a password if any rule does, so first try without it.
  sudo -n true 2>/dev/null || sudo -v || die 'sudo refused the command' 'run this as root'
}

# True if the path is a folder of root's, no link to one, where nobody else can make entries.
is_roots() { # path
  [[ $(as_root env LC_ALL=C stat --format '%F %u %a' -- "$1" 2>/dev/null) =~ ^directory\ 0\ [0-7]?[0-7][0145][0145]$ ]]
}

# Makes a folder for a run. In: kind of the run. Out: its path.
new_run() {
  ensure_runs
  as_root mktemp -d "$RUNS/$1.XXXXXX"
}

ensure_runs() {
  as_root mkdir -m 0711 -- "$RUNS" 2>/dev/null || true
  is_roots "$RUNS" || die "$RUNS is not a folder that only root can change" 'see what is in it, and move it away'
}

# Folders that runs of this kind left, one per line. None if the parent is not root's.
old_runs() { # kind
  is_roots "$RUNS" || return 0
  as_root find "$RUNS" -mindepth 1 -maxdepth 1 -type d -name "$1.*"
}

# Runs docker with the privileges that it needs.
docker_() {
  if [[ -w $DOCKER_SOCKET ]]; then docker "$@"; else as_root env "DOCKER_HOST=$DOCKER_HOST" docker "$@"; fi
}

# The same with a timeout; the engine aborts the request when its client ends.
docker_within() { # seconds, arguments...
  local seconds=$1
  shift
  if [[ -w $DOCKER_SOCKET ]]; then
    timeout "$seconds" docker "$@"
  else
    as_root env "DOCKER_HOST=$DOCKER_HOST" timeout "$seconds" docker "$@"
  fi
}

# Waits until a command succeeds. In: seconds, what is waited for, command...
wait_for() {
  local end=$((SECONDS + $1)) what=$2
  shift 2
  until "$@" >/dev/null 2>&1; do
    [[ $SECONDS -lt $end ]] || return 1
    sleep 0.3
  done
  say "$what"
}

# Prints a free port on loopback, outside the ranges of the tests and of the kernel's ephemeral ports.
free_port() {
  local port
  for _ in {1..50}; do
    port=$((16500 + RANDOM % 4000))
    [[ -n $(ss -Hltn "sport = :$port") ]] || { echo "$port"; return; }
  done
  die 'no free port found'
}

# True if the process exists and is not a zombie.
is_alive() { # pid
  local state
  [[ ${1:-} =~ ^[0-9]+$ ]] || return 1
  state=$(awk '/^State:/ { print $2 }' "/proc/$1/status" 2>/dev/null) || return 1
  [[ -n $state && $state != Z && $state != X ]]
}

# Uses the shell's kill, because a minimal Debian has no program `kill` for sudo.
signal() { as_root sh -c 'kill "-$1" "$2"' sh "$1" "$2" 2>/dev/null; } # signal, pid

# Ends a process: sends the signal, waits, then sends SIGKILL. In: pid, seconds, signal.
end_process() {
  local pid=$1 end=$((SECONDS + ${2:-20}))
  is_alive "$pid" || return 0
  signal "${3:-TERM}" "$pid" || return 0
  while is_alive "$pid"; do
    if [[ $SECONDS -ge $end ]]; then
      signal KILL "$pid" || true
      sleep 1
      return
    fi
    sleep 0.2
  done
}

# True if DATA belongs to this checkout. Dies if it belongs to another checkout or has no marker.
own_data() {
  [[ -e $DATA ]] || return 1
  [[ -e $MARKER ]] || die "$DATA exists and was not made by make up" 'move it away'
  [[ $(cat "$MARKER") == "$ROOT" ]] ||
    die "$DATA belongs to the checkout in $(cat "$MARKER")" 'run this there first: make clean'
}

# The supervisors and tools that read these paths from files have no common way of quoting.
check_path() {
  [[ $ROOT != *[\"\'\`\\%\$:\;\#]* && $ROOT != *[[:cntrl:]]* ]] ||
    die "the checkout's path has a character that supervisors or Docker do not accept: $ROOT" \
      'move it to a folder without quotes, \ % $ : ; # in its name; spaces are fine'
}

make_state() {
  check_path
  [[ ! -e $STATE || -O $STATE ]] ||
    die "$STATE belongs to $(stat -c %U "$STATE"), who ran make up here" 'run it as that user, or as that user: make clean'
  install -d -m 0700 "$STATE" "$SECRETS" "$LOGS" "$STATE/bin"
  own_data && return
  as_root install -d -m 0755 "$DATA"
  echo "$ROOT" | as_root tee "$MARKER" >/dev/null
}

# Writes stdin atomically to a file that only its owner can read.
put_secret() { # path
  local draft=$1.new
  (umask 077 && cat >"$draft")
  mv -f "$draft" "$1"
}

# 32 random bytes, base64.
random_key() { head -c 32 /dev/urandom | base64 -w 0; }
# 160 random bits as hexadecimal, safe in every place for a password, including URLs.
random_password() { head -c 20 /dev/urandom | od -An -vtx1 | tr -d ' \n'; }
