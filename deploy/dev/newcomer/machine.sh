# shellcheck shell=bash
# A fresh machine: how it is prepared, started and removed. Sourced by root.
#
# All its files are in one folder, and all its processes are below one process: when that ends, its mounts, processes and
# network end too. This machine needs no set-up: the program slirp4netns forwards the packets.

# shellcheck disable=SC2153,SC2154  # from lib.sh, and of the script that sources this

# Short: sockets lie below.
MACHINES=$RUNS/newcomer
# Addresses of the cable between the machine of the walk and the second host; the README names the latter.
NEAR=192.168.1.6 FAR=192.168.1.7
# User of the walk on machines with sudo.
# shellcheck disable=SC2034  # of room.sh
NEWCOMER_USER=ada

# Identifies a process by its pid and start time, because the kernel reuses pids.
started() { sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -d' ' -f20; }
write_down() { echo "$2 $(started "$2")" >"$1"; } # file, pid
still_runs() { # file
  local pid='' start=''
  [[ ! -s $1 ]] || read -r pid start <"$1"
  [[ -n $start && $(started "$pid") == "$start" ]] && echo "$pid"
}

# Makes the folder of a machine. In: suite, who walks there, or `host` for the README's second host. Out: its path.
new_machine() {
  local dir
  dir=$(new_run newcomer)
  chmod 0755 "$dir"
  mkdir "$dir/root"
  write_down "$dir/owner" $$
  echo "$1" >"$dir/suite"
  echo "$2" >"$dir/who"
  root_tar "$1" "$2" >"$dir/tar"
  [[ $2 == host ]] || snapshot "$dir/supalove.git"
  install -d "$NEWCOMER_CACHE/$1-packages"
  echo "$dir"
}

# Removes the machines of killed runs.
remove_left_machines() {
  local dir
  for dir in $(old_runs newcomer); do
    still_runs "$dir/owner" >/dev/null && continue
    say "newcomer: removing $dir, which a killed run left"
    remove_machine "$dir"
  done
}

# A repository with one commit: this checkout as it is now. In: its path.
snapshot() {
  local tree
  tree=$(mktemp -d)
# git's list excludes build results, but includes deleted files.
  (cd "$ROOT" && git -c safe.directory="$ROOT" ls-files -z --cached --others --exclude-standard |
    tar --create --null --files-from=- --ignore-failed-read 2>/dev/null) | tar --extract --directory "$tree"
  (
    cd "$tree" || exit
    unset "${!GIT_@}"
    git init --quiet --initial-branch=main
    git add --all --force
    git -c user.name=newcomer -c user.email=newcomer@example.com commit --quiet --message 'as it is now'
    git clone --quiet --bare . "$1"
  )
  rm -rf -- "$tree"
}

# Starts a machine. In: machine, seconds. Leaves the process that ends with it in MACHINE_PID. Fails if it has ended already.
start_machine() {
  local dir=$1
# Each process ends with its parent, even if the parent is killed.
  setsid setpriv --pdeathsig KILL timeout --kill-after=10 "$2" setpriv --pdeathsig KILL \
    unshare --mount --pid --net --ipc --uts --propagation private --fork --kill-child=KILL \
    "$here/newcomer/room.sh" "$dir" </dev/null > >(without_noise) 2>&1 8>&- &
  MACHINE_PID=$!
  write_down "$dir/timeout.pid" "$MACHINE_PID"
  wait_for_file "$dir/ready" "$MACHINE_PID" || return
  setsid setpriv --pdeathsig KILL slirp4netns --configure --mtu=65520 --disable-host-loopback \
    --netns-type=path "$(network_of "$dir")" tap0 </dev/null >"$dir/slirp.log" 2>&1 &
  write_down "$dir/slirp.pid" $!
}

network_of() { echo "/proc/$(still_runs "$1/init.pid")/ns/net"; } # machine

# Runs the walk. In: machine, the second host if there is one, seconds. Its exit code is the walk's.
run_machine() {
  local code=0
  if start_machine "$1" "$3" && [[ -n $2 ]]; then connect "$1" "$2"; fi
  wait "$MACHINE_PID" || code=$?
  end_slirp "$1"
  [[ $code -ne 124 ]] || warn "newcomer: the walk did not end within $3 s"
  return "$code"
}

end_slirp() { # machine
  local pid
  ! pid=$(still_runs "$1/slirp.pid") || kill "$pid" 2>/dev/null || true
}

# Starts the README's second host, and gives the machine of the walk what its user has to reach it. In: host, machine, seconds.
start_host() {
  if ! start_machine "$1" "$3" || ! wait_for_file "$1/furnished" "$MACHINE_PID"; then
    die 'the second host did not start' 'its words are above'
  fi
  cp -r "$1/keys" "$2/keys"
}

# A cable between the two, with the address that the README's second host has.
connect() { # machine, host
  local far
  far=$(still_runs "$2/init.pid")
  nsenter --net="$(network_of "$1")" ip link add cable0 type veth peer name cable0 netns "$far"
  plug "$1" "$NEAR"
  plug "$2" "$FAR"
}

plug() { # machine, address
  local network
  network=$(network_of "$1")
  nsenter --net="$network" ip address add "$2/31" dev cable0
  nsenter --net="$network" ip link set cable0 up
}

wait_for_file() { # file, pid that makes it
  until [[ -e $1 ]]; do
    is_alive "$2" || return 1
    sleep 0.1
  done
}

# Drops the compiler's hundreds of progress lines.
without_noise() { grep --line-buffered -vE '^ +(Compiling|Downloaded|Downloading|Adding|Updating|Locking) ' || true; }

remove_machine() { # dir
  local dir=$1 pid file
  is_roots "$RUNS" && [[ $dir == "$MACHINES".* && -d $dir && ! -L $dir ]] || return 0
  if pid=$(still_runs "$dir/init.pid"); then list_containers "/proc/$pid/root" >>"$dir/containers"; fi
  for file in timeout init slirp; do
    if pid=$(still_runs "$dir/$file.pid"); then kill -KILL "$pid" 2>/dev/null || true; fi
  done
  for file in timeout init slirp; do
    for _ in {1..100}; do
      still_runs "$dir/$file.pid" >/dev/null || break
      sleep 0.1
    done
  done
# Also after a failed run, because the downloaded packages are complete.
  seal_packages "$(cat "$dir/suite")"
  remove_cgroups "$dir/containers"
  rm -rf --one-file-system -- "$dir" || warn "newcomer: cannot remove $dir"
}

list_containers() { ls "$1/var/lib/docker/containers" 2>/dev/null || true; } # root

# Killed containers leave their control groups.
remove_cgroups() { # file with ids
  local container group
  [[ -s $1 ]] || return 0
  while IFS= read -r container; do
    for group in /sys/fs/cgroup/{,*/}docker/"$container"; do rmdir "$group" 2>/dev/null || true; done
  done <"$1"
}
