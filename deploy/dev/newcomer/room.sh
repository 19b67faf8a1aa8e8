#!/usr/bin/env bash
# The first process of a newcomer's machine: makes the root its own, waits for the network and lets the walk begin.
# With its end everything in the machine ends.
# In: machine, who. Runs as root in new mount, process and network namespaces.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
for part in lib newcomer/debian newcomer/machine; do
  # shellcheck source=/dev/null
  . "$here/$part.sh"
done
dir=$1 who=$2 root=$1/root

lend() { # source, place in the root, option
  mkdir -p "$root$2"
  mount --bind "$1" "$root$2"
  [[ -z ${3:-} ]] || mount -o "remount,bind,$3" "$root$2"
}

mount_all() {
  mount --bind "$root" "$root"
  mount -t proc proc "$root/proc"
  # A new one: it shows the network of the namespace.
  mount -t sysfs sysfs "$root/sys"
  mount --rbind /sys/fs/cgroup "$root/sys/fs/cgroup"
  mount --rbind /dev "$root/dev"
  mount -t tmpfs -o mode=0755 tmpfs "$root/run"
  lend "$NEWCOMER_RUST" /opt/rust ro
  lend "$NEWCOMER_CACHE/$(cat "$dir/suite")-packages" /var/cache/apt/archives
  [[ -e $dir/target ]] || return 0
  lend "$NEWCOMER_TARGET" "$NEWCOMER_TARGET"
  lend "$NEWCOMER_REGISTRY" /root/.cargo/registry
}

# /proc is still the one of this machine, so this is the pid by which it knows this process.
read -r outer _ </proc/self/stat
write_down "$dir/init.pid" "$outer"
touch "$dir/ready"
ip link set lo up
hostname newcomer
# A machine without IPv6 is one on which addresses of both kinds cannot be taken for granted.
[[ $who == root ]] || sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1 || true
[[ ! -e $dir/target ]] || export TARGET_OF_ALL=CARGO_TARGET_DIR=$NEWCOMER_TARGET
mapfile -t site < <(site_environment)
mount_all
for _ in {1..100}; do
  [[ -n $(ip -4 route show default) ]] && break
  sleep 0.1
done
cd "$root"
mkdir .before
pivot_root . .before
cd /
umount -l /.before
rmdir /.before

# RELEASE: where images can be pulled, `make up` would take the large official release.
walk=(env -i LANG=C.UTF-8 TERM=dumb RELEASE=core ${TARGET_OF_ALL:+"$TARGET_OF_ALL"} "${site[@]}"
  SHELL=/bin/bash)
if [[ $who == root ]]; then
  walk+=(HOME=/root USER=root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin)
  "${walk[@]}" bash /srv/walk.sh /root
else
  walk+=(HOME="/home/$NEWCOMER_USER" USER="$NEWCOMER_USER" PATH=/usr/local/bin:/usr/bin:/bin)
  # Nobody else reads what this user makes, and there is a space in the way.
  umask 077
  runuser -u "$NEWCOMER_USER" -- "${walk[@]}" bash /srv/walk.sh "/home/$NEWCOMER_USER/my projects"
fi
