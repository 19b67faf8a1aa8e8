# shellcheck shell=bash
# A machine as new: how it is furnished, started and taken away again. Sourced by root.
#
# All that it has lies in one folder and below one process: with that process its mounts, its processes and its network
# go. Nothing is set up on this machine's side: slirp4netns, a program, carries the packets out.

# shellcheck disable=SC2153,SC2154  # from lib.sh, and of the script that sources this

# Short: sockets lie below.
MACHINES=/var/tmp/supalove-newcomer
# Who walks, where there is sudo.
NEWCOMER_USER=ada

# A process is known by its pid and when it started: pids come again.
started() { sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -d' ' -f20; }
write_down() { echo "$2 $(started "$2")" >"$1"; } # file, pid
still_runs() { # file
  local pid='' start=''
  [[ ! -s $1 ]] || read -r pid start <"$1"
  [[ -n $start && $(started "$pid") == "$start" ]] && echo "$pid"
}

new_machine() {
  local dir
  dir=$(mktemp -d "$MACHINES.XXXXXX")
  chmod 0755 "$dir"
  write_down "$dir/owner" $$
  echo "$dir"
}

# Those of runs that were killed.
remove_left_machines() {
  local dir
  for dir in "$MACHINES".*/; do
    still_runs "$dir/owner" >/dev/null && continue
    say "newcomer: removing ${dir%/}, which a killed run left"
    remove_machine "${dir%/}"
  done
}

# Puts into the root what the README asks for, and the way out. In: machine, suite, who.
furnish() {
  local dir=$1 root=$1/root home
  cp -r "$here/newcomer/walk.sh" "$root/srv/"
  snapshot "$root/srv/supalove.git"
  cp "$ROOT/README.md" "$root/srv/README.md"
  install -d "$root/opt/rust" "$root/var/cache/apt/archives" "$NEWCOMER_CACHE/$2-packages"
  home=$root/root
  if [[ $3 == user ]]; then
    chroot "$root" useradd --create-home --shell /bin/bash "$NEWCOMER_USER"
    echo "$NEWCOMER_USER ALL=(ALL) NOPASSWD: ALL" >"$root/etc/sudoers.d/$NEWCOMER_USER"
    home=$root/home/$NEWCOMER_USER
  fi
  lend_rust "$home"
  lend_site "$root"
  # A build of an older C library runs on a newer one, and not the other way round.
  if [[ $3 == root ]] && at_least "$(c_library chroot "$root")" "$(c_library env)"; then
    echo "$NEWCOMER_TARGET" >"$dir/target"
    install -d "$root$NEWCOMER_TARGET" "$home/.cargo/registry"
  fi
  [[ $3 == root ]] || chroot "$root" chown -R "$NEWCOMER_USER:" "/home/$NEWCOMER_USER" /srv/supalove.git
  echo "$2" >"$dir/suite"
}

c_library() { "$@" getconf GNU_LIBC_VERSION | awk '{ print $2 }'; }

# A repository with one commit: this checkout as it is now. In: its path.
snapshot() {
  local tree
  tree=$(mktemp -d)
  # The file list of git leaves out what was built; files that were deleted are listed all the same.
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

# As rustup leaves a home, with the compiler of this machine.
lend_rust() { # home
  local tool
  install -d "$1/.cargo/bin"
  for tool in cargo rustc rustdoc; do ln -s "/opt/rust/bin/$tool" "$1/.cargo/bin/$tool"; done
  echo 'export PATH="$HOME/.cargo/bin:$PATH"' >"$1/.cargo/env"
}

# What this machine needs to reach registries, any machine of the site needs: names, certificates, settings.
lend_site() { # root
  local root=$1 file line
  # The name server of slirp4netns, which asks those of this machine.
  echo 'nameserver 10.0.2.3' >"$root/etc/resolv.conf"
  echo newcomer >"$root/etc/hostname"
  printf '%s\n' '127.0.0.1 localhost newcomer' >"$root/etc/hosts"
  for file in /usr/local/share/ca-certificates/*.crt; do
    install -D -m 0644 "$file" "$root$file"
  done
  chroot "$root" update-ca-certificates >/dev/null 2>&1
  site_environment | while IFS= read -r line; do
    file=${line#*=}
    [[ $file == /* && -f $file && ! -e $root$file ]] || continue
    install -D -m 0644 "$file" "$root$file"
  done
}

# Runs the walk. In: machine, who, seconds. Its exit code is the walk's.
run_machine() {
  local dir=$1 who=$2 pid slirp code=0
  # Each process goes with the one that started it, even if that one is killed.
  setsid setpriv --pdeathsig KILL timeout --kill-after=10 "$3" setpriv --pdeathsig KILL \
    unshare --mount --pid --net --ipc --uts --propagation private --fork --kill-child=KILL \
    "$here/newcomer/room.sh" "$dir" "$who" </dev/null > >(without_noise) 2>&1 &
  pid=$!
  write_down "$dir/timeout.pid" "$pid"
  wait_for_file "$dir/ready" "$pid" || { wait "$pid"; return; }
  setsid setpriv --pdeathsig KILL slirp4netns --configure --mtu=65520 --disable-host-loopback \
    --netns-type=path "/proc/$(still_runs "$dir/init.pid")/ns/net" tap0 </dev/null >"$dir/slirp.log" 2>&1 &
  slirp=$!
  write_down "$dir/slirp.pid" "$slirp"
  wait "$pid" || code=$?
  kill "$slirp" 2>/dev/null || true
  seal_packages "$(cat "$dir/suite")"
  [[ $code -ne 124 ]] || warn "newcomer: not at its end after $3 s"
  return "$code"
}

# The first process of the machine, as this machine sees it.
wait_for_file() { # file, pid that makes it
  until [[ -e $1 ]]; do
    is_alive "$2" || return 1
    sleep 0.1
  done
}

# The compiler's hundreds of lines say nothing.
without_noise() { grep --line-buffered -vE '^ +(Compiling|Downloaded|Downloading|Adding|Updating|Locking) ' || true; }

remove_machine() { # dir
  local dir=$1 pid file
  [[ $dir == "$MACHINES".* && -d $dir ]] || return 0
  for file in timeout init slirp; do
    if pid=$(still_runs "$dir/$file.pid"); then kill -KILL "$pid" 2>/dev/null || true; fi
  done
  for file in timeout init slirp; do
    for _ in {1..100}; do
      still_runs "$dir/$file.pid" >/dev/null || break
      sleep 0.1
    done
  done
  remove_cgroups "$dir/root/var/lib/docker/containers"
  for _ in {1..20}; do
    rm -rf --one-file-system -- "$dir" 2>/dev/null && return
    sleep 0.5
  done
  warn "newcomer: $dir could not be removed"
}

# Containers that were killed leave their control groups behind.
remove_cgroups() { # folder with a folder per container
  local container group
  for container in "$1"/*/; do
    for group in /sys/fs/cgroup/{,*/}docker/"$(basename "$container")"; do rmdir "$group" 2>/dev/null || true; done
  done
}
