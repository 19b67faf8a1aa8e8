#!/usr/bin/env bash
# Makes a second Docker host on this machine for tests: a network namespace with its own engine.
#
#   dockerhost.sh up PID IMAGE...   make a host for process PID, copy these images of this machine's engine to it,
#                                   print its facts as KEY=value; first removes hosts of ended processes
#   dockerhost.sh start DIR         start its engine again, after a crash
#   dockerhost.sh poweroff DIR      kill everything at once; only the contents of the disk remain, as after a power loss
#   dockerhost.sh down DIR          remove all of it: processes, containers, mounts, namespace, links, files
#   dockerhost.sh sweep             remove the hosts of ended processes
#
# One veth cable with a /30 connects the host to this machine. The host has no default route, so its programs reach
# only this machine.
set -euo pipefail
shopt -s nullglob
# shellcheck source=deploy/dev/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=deploy/dev/dockerd.sh
. "$ROOT/deploy/dev/dockerd.sh"

# Short, because a socket's path has at most 107 bytes, and the engine's sockets are below.
HOSTS=$RUNS/host
# Lock for the choice and the sweep of hosts, so that no two hosts get one network.
LOCK=/run/supalove-dockerhost.lock
# Cables are 10.77.64.0/30 to 10.77.255.252/30.
CABLES=10.77
# Room for the local image set and a few small databases.
DISK=${DOCKERHOST_DISK:-4g}

id_of() { echo "${1##*.}"; } # directory
space_of() { echo "supalove-$(id_of "$1")"; }
cable_of() { echo "dh$(id_of "$1")"; }

# Identifies a process by its pid and start time, because the kernel reuses pids.
started() { sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -d' ' -f20; }

# Takes the first free cable and records it in the host's directory. In: directory.
choose_cable() {
  local third fourth
  for third in {64..255}; do
    for fourth in {0..252..4}; do
      grep -qsx "$CABLES.$third.$fourth" "$HOSTS".*/cable && continue
      [[ -z $(ip -4 route show root "$CABLES.$third.$fourth/30") ]] || continue
      echo "$CABLES.$third.$fourth" >"$1/cable"
      return
    done
  done
  die 'no free network for a test host'
}

near_end() { local net; net=$(cat "$1/cable"); echo "${net%.*}.$((${net##*.} + 1))"; }
far_end() { local net; net=$(cat "$1/cable"); echo "${net%.*}.$((${net##*.} + 2))"; }

make_network() { # directory
  local space cable
  space=$(space_of "$1") cable=$(cable_of "$1")
  ip netns add "$space"
  ip -n "$space" link set lo up
  ip link add "$cable" type veth peer name eth0 netns "$space"
  ip addr add "$(near_end "$1")/30" dev "$cable"
  ip link set "$cable" up
  ip -n "$space" addr add "$(far_end "$1")/30" dev eth0
  ip -n "$space" link set eth0 up
}

engine() { # directory, docker arguments...
  local socket=$1/docker.sock
  shift
  docker --host "unix://$socket" "$@"
}

# Images and volumes are in memory: faster than a disk, and nothing remains afterwards.
make_disk() { # directory
  mkdir "$1/data"
  mount -t tmpfs -o "size=$DISK,mode=0711" supalove-dockerhost "$1/data"
}

start_engine() { # directory
  run_engine "$1" || { set_networks_aside "$1/dockerd.log" "$1/data" >&2 && run_engine "$1"; } || {
    tail -n 20 "$1/dockerd.log" >&2
    die 'the engine of the test host does not answer' 'its last lines are above'
  }
}

run_engine() { # directory
  local dir=$1
  remove_stale "$dir/dockerd.pid"
  remove_stale "$dir/exec/containerd/containerd.pid"
# nsenter, not `ip netns exec`, which mounts a new /sys and hides the control groups from the engine. The mounts
  # stay this machine's, so that an engine that comes back finds those of its containers.
  # A bridge by the engine's own default: an engine told to have none would delete the bridge of its namespace.
  setsid nsenter --net="/run/netns/$(space_of "$dir")" dockerd --config-file "$dir/daemon.json" \
    --data-root "$dir/data" --exec-root "$dir/exec" --pidfile "$dir/dockerd.pid" --host "unix://$dir/docker.sock" \
    --exec-opt native.cgroupdriver=cgroupfs --cgroup-parent "/$(space_of "$dir")" --live-restore \
    </dev/null >>"$dir/dockerd.log" 2>&1 &
  wait_for 60 'the engine of the test host has started or ended' host_answers_or_ended "$dir" "$!" >&2
  engine "$dir" version >/dev/null 2>&1
}

host_answers_or_ended() { engine "$1" version || ! is_alive "$2"; } # directory, pid

# A stale pid file prevents the engine from starting.
remove_stale() { # file
  local pid
  pid=$(cat "$1" 2>/dev/null) || return 0
  is_alive "$pid" || rm -f "$1"
}

copy_images() { # directory, image...
  local dir=$1
  shift
  docker_ save "$@" | engine "$dir" load --quiet >&2
}

up() { # owner's pid, image...
  local owner=$1 dir
  shift
  ensure_runs
  exec 9>"$LOCK"
  flock 9
  remove_left_behind
  dir=$(mktemp -d "$HOSTS.XXXXXX")
# Removes an unfinished host.
  # shellcheck disable=SC2064  # the directory of now
  trap "down '$dir'" EXIT
  echo "$owner $(started "$owner")" >"$dir/owner"
  echo '{}' >"$dir/daemon.json"
  choose_cable "$dir"
  make_network "$dir"
  make_disk "$dir"
  flock -u 9
  exec 9>&-
  start_engine "$dir"
  [[ $# -eq 0 ]] || copy_images "$dir" "$@"
  trap - EXIT
  printf '%s\n' "DIR=$dir" "NAMESPACE=/run/netns/$(space_of "$dir")" "ENGINE=unix://$dir/docker.sock" \
    "ENGINE_PID_FILE=$dir/dockerd.pid" "NEAR=$(near_end "$dir")" "FAR=$(far_end "$dir")"
}

sweep() {
  exec 9>"$LOCK"
  flock 9
  remove_left_behind
}

remove_left_behind() {
  local dir pid start
  for dir in $(old_runs host); do
    # Whoever makes a host holds the lock until its owner is written down.
    pid='' start=''
    [[ ! -s $dir/owner ]] || read -r pid start <"$dir/owner"
    [[ -n $start && $(started "$pid") == "$start" ]] || down "$dir"
  done
}

# Containers have namespaces of their own; the control group of the host finds them.
contained() { # directory
  cat /sys/fs/cgroup/{pids/,}"$(space_of "$1")"/*/cgroup.procs 2>/dev/null || true
}

# Finds processes by namespace and control group, not by pid files, which may be stale after a reboot. Repeats,
# because the engine restarts its helpers.
kill_all() { # directory
  local pid left
  for _ in {1..50}; do
    left="$(ip netns pids "$(space_of "$1")" 2>/dev/null || true) $(contained "$1")"
    [[ -n ${left//[[:space:]]/} ]] || return 0
    for pid in $left; do kill -9 "$pid" 2>/dev/null || true; done
    sleep 0.1
  done
warn "cannot end these processes of $1: $left"
}

# Only root can have made it: all that is done to a host is done as root.
is_host() { is_roots "$RUNS" && [[ $1 =~ ^"$HOSTS".[A-Za-z0-9]+$ ]] && is_roots "$1"; } # directory

# Removes processes, mounts, network and control groups, which a machine has only while it runs. The disk stays mounted.
end_all() { # directory
  local dir=$1 mount
  is_host "$dir" || die "$dir is not a test host"
  kill_all "$dir"
  { grep -oE " $dir/[^ ]+" /proc/self/mounts || true; } | sort -r | while read -r mount; do
    [[ $mount == "$dir/data" ]] || umount -l "$mount" 2>/dev/null || true
  done
  ip link del "$(cable_of "$dir")" 2>/dev/null || true
  ip netns del "$(space_of "$dir")" 2>/dev/null || true
  find /sys/fs/cgroup -depth -type d -path "*/$(space_of "$dir")*" -exec rmdir {} + 2>/dev/null || true
}

poweroff() { # directory
  end_all "$1"
  rm -rf --one-file-system -- "$1/exec" "$1/docker.sock" "$1/dockerd.pid"
  make_network "$1"
}

down() { # directory
  end_all "$1"
  umount -l "$1/data" 2>/dev/null || true
  rm -rf --one-file-system -- "$1"
}

[[ $EUID -eq 0 ]] || die 'a test host has a network namespace and an engine of its own: this needs root' \
  'run it as root or with sudo'
case ${1:-} in
  up) up "${@:2}" ;;
  start) is_host "${2:?which directory}" || die "$2 is not a test host"; start_engine "$2" ;;
  sweep) sweep ;;
  poweroff) poweroff "${2:?which directory}" ;;
  down) down "${2:?which directory}" ;;
  *) die 'usage: dockerhost.sh up PID IMAGE... | start DIR | poweroff DIR | down DIR | sweep' ;;
esac
