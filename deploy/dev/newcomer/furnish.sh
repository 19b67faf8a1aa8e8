# shellcheck shell=bash
# What a new machine has: what the README asks for, and how this site reaches the registries. Sourced by room.sh.
# shellcheck disable=SC2154  # of room.sh: dir, root, suite, who, name

# Memory that a root may take: Debian, the engine's images, two databases. With less, it lies on the disk.
ROOT_MIB=8000
# What the second host says that its disk has; it takes a tenth of it.
HOST_MIB=16000

# A root in memory: quick to install into, and gone with the machine. That of the second host looks larger, because hosts
# should have room for projects.
unpack_root() {
  local size=$ROOT_MIB
  [[ $who != host ]] || size=$HOST_MIB
  if [[ $(awk '/^MemAvailable:/ { print int($2 / 1024) }' /proc/meminfo) -gt $ROOT_MIB ]]; then
    mount -t tmpfs -o "mode=0755,size=${size}m" supalove-newcomer "$root"
  else
    mount --bind "$root" "$root"
  fi
  tar --extract --file "$(cat "$dir/tar")" --directory "$root" --numeric-owner --xattrs
}

furnish() {
  local home=$root/root
  cp "$here/newcomer/walk.sh" "$ROOT/README.md" "$root/srv/"
  cp -r "$dir/supalove.git" "$root/srv/"
  if [[ $who == user ]]; then
    chroot "$root" useradd --create-home --shell /bin/bash "$NEWCOMER_USER"
    echo "$NEWCOMER_USER ALL=(ALL) NOPASSWD: ALL" >"$root/etc/sudoers.d/$NEWCOMER_USER"
    home=$root/home/$NEWCOMER_USER
  fi
  give_rust "$home"
  [[ ! -e $dir/keys ]] || give_way_to_host "$home"
  give_site
  [[ $who == root ]] || chroot "$root" chown -R "$NEWCOMER_USER:" "/home/$NEWCOMER_USER" /srv/supalove.git
}

# The second host: its user may sign in with a key, and it has nothing else.
furnish_host() {
  local keys=$dir/keys
  give_site
  give_proxies
  install -d -m 0700 "$keys" "$root/root/.ssh"
  chroot "$root" ssh-keygen -q -t ed25519 -N '' -f /root/.ssh/key
  mv "$root/root/.ssh/key" "$keys/id_ed25519"
  mv "$root/root/.ssh/key.pub" "$root/root/.ssh/authorized_keys"
  echo "$FAR $(cat "$root/etc/ssh/ssh_host_ed25519_key.pub")" >"$keys/known_hosts"
  printf 'Host HOST\n  HostName %s\n  LogLevel ERROR\n' "$FAR" >"$keys/config"
}

# The README's reader can sign in on the second host, which the README calls HOST.
give_way_to_host() { # home
  cp "$here/newcomer/second_host.sh" "$root/srv/"
  install -d -m 0700 "$1/.ssh"
  install -m 0600 "$dir/keys"/* "$1/.ssh/"
}

# As rustup leaves a home, with the compiler of this machine.
give_rust() { # home
  local tool
  install -d "$1/.cargo/bin"
  for tool in cargo rustc rustdoc; do ln -s "/opt/rust/bin/$tool" "$1/.cargo/bin/$tool"; done
  echo 'export PATH="$HOME/.cargo/bin:$PATH"' >"$1/.cargo/env"
}

# What this machine needs to reach registries, any machine of the site needs: names, certificates, settings.
give_site() {
  local file line
  # The name server of slirp4netns, which asks those of this machine.
  echo 'nameserver 10.0.2.3' >"$root/etc/resolv.conf"
  echo "$name" >"$root/etc/hostname"
  echo "127.0.0.1 localhost $name" >"$root/etc/hosts"
  # Without these packages its mirror needs no certificates.
  [[ -x $root/usr/sbin/update-ca-certificates ]] || return 0
  for file in /usr/local/share/ca-certificates/*.crt; do install -D -m 0644 "$file" "$root$file"; done
  chroot "$root" update-ca-certificates >/dev/null 2>&1
  site_environment | while IFS= read -r line; do
    file=${line#*=}
    if [[ $file == /* && -f $file && ! -e $root$file ]]; then install -D -m 0644 "$file" "$root$file"; fi
  done
}

# What apt asks on the second host, where nobody has the site's variables.
give_proxies() {
  local name
  for name in http_proxy https_proxy; do
    [[ -z ${!name:-} ]] || echo "Acquire::${name%_proxy}::Proxy \"${!name}\";"
  done >"$root/etc/apt/apt.conf.d/zz-site"
}

# Where the compiler works. Root's is that of this checkout, which has it ready for what comes after; a user could not
# write there, nor can a root with an older C library run what was built with a newer one. Leaves BUILT.
choose_target() {
  if [[ $who == root ]] && at_least "$(c_library chroot "$root")" "$(c_library env)"; then
    BUILT=$NEWCOMER_TARGET
    lend "$NEWCOMER_TARGET" "$BUILT"
    lend "$NEWCOMER_REGISTRY" /root/.cargo/registry
  else
    # On the disk: gigabytes.
    BUILT=/var/tmp/target
    mkdir "$dir/target"
    lend "$dir/target" "$BUILT"
    [[ $who == root ]] || chroot "$root" chown "$NEWCOMER_USER:" "$BUILT"
  fi
}

c_library() { "$@" getconf GNU_LIBC_VERSION | awk '{ print $2 }'; }
