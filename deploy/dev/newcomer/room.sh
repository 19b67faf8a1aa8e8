#!/usr/bin/env bash
# The first process of a newcomer's machine: unpacks and prepares the root, changes into it and starts the walk, or on the
# README's second host the server of SSH.
# When it ends, everything in the machine ends.
# In: the machine's folder. Runs as root in new mount, process and network namespaces.
set -euo pipefail
shopt -s nullglob
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
for part in lib install newcomer/debian newcomer/machine newcomer/furnish; do
  # shellcheck source=/dev/null
  . "$here/$part.sh"
done
dir=$1 root=$1/root
suite=$(cat "$dir/suite") who=$(cat "$dir/who") name=newcomer
[[ $who != host ]] || name=host

lend() { # source, place in the root, option
  mkdir -p "$root$2"
  mount --bind "$1" "$root$2"
  [[ -z ${3:-} ]] || mount -o "remount,bind,$3" "$root$2"
}

mount_all() {
  mount -t proc proc "$root/proc"
# A new sysfs, which shows the network of the namespace.
  mount -t sysfs sysfs "$root/sys"
  mount --rbind /sys/fs/cgroup "$root/sys/fs/cgroup"
  mount --rbind /dev "$root/dev"
  mount -t tmpfs -o mode=0755 tmpfs "$root/run"
  [[ $who == host ]] || lend "$NEWCOMER_RUST" /opt/rust ro
  lend "$NEWCOMER_CACHE/$suite-packages" /var/cache/apt/archives
}

prepare_network() {
  ip link set lo up
  hostname "$name"
  # One of the machines has no IPv6.
  [[ $who != user ]] || sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1 || true
  for _ in {1..100}; do
    [[ -z $(ip -4 route show default) ]] || return 0
    sleep 0.1
  done
  die 'the machine has no network' "$(cat "$dir/slirp.log")"
}

enter() {
  cd "$root"
  mkdir .before
  pivot_root . .before
  cd /
  umount -l /.before
  rmdir /.before
}

walk() {
  # RELEASE: where images can be pulled, `make up` would take the large official release.
  local environment=(env -i LANG=C.UTF-8 TERM=dumb SHELL=/bin/bash RELEASE=core-3 "CARGO_TARGET_DIR=$BUILT" "${site[@]}")
  if [[ $who == root ]]; then
    "${environment[@]}" HOME=/root USER=root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
      bash /srv/walk.sh /root
  else
    # Nobody else reads what this user makes, and there is a space in the way.
    umask 077
    runuser -u "$NEWCOMER_USER" -- "${environment[@]}" HOME="/home/$NEWCOMER_USER" USER="$NEWCOMER_USER" \
      PATH=/usr/local/bin:/usr/bin:/bin bash /srv/walk.sh "/home/$NEWCOMER_USER/my projects"
  fi
}

# The second host. It has no PAM of a real machine: sessions would have to be registered with the kernel.
serve() {
  mkdir -p /run/sshd
  env -i PATH="$PATH" /usr/sbin/sshd -D -e -o UsePAM=no -o LogLevel=ERROR
}

# /proc is still the one of this machine, so this is the pid by which it knows this process.
read -r outer _ </proc/self/stat
write_down "$dir/init.pid" "$outer"
touch "$dir/ready"
mapfile -t site < <(site_environment)
unpack_root
if [[ $who == host ]]; then
  furnish_host
else
  furnish
  choose_target
fi
mount_all
prepare_network
# Reachable from the root when nothing else of this machine is.
exec 6>>"$dir/containers"
touch "$dir/furnished"
enter
code=0
if [[ $who == host ]]; then serve 6>&-; else walk 6>&-; fi || code=$?
list_containers / >&6
exit "$code"
