# shellcheck shell=bash
# Sees to it that the tools are there: names missing toolchains, installs missing packages. Sourced.

RUST_MIN=1.95 NODE_MIN=20

# Name of a command and the package that has it.
PACKAGES_RUN=(
  docker:docker.io dockerd:docker.io nft:nftables iptables:iptables ip:iproute2 ss:iproute2 jq:jq curl:curl
  openssl:openssl mmdebstrap:mmdebstrap runuser:util-linux setpriv:util-linux nsenter:util-linux
  flock:util-linux awk:gawk psql:postgresql-client
)
PACKAGES_BUILD=(cc:build-essential make:build-essential cmake:cmake)
# Files that no command stands for.
PACKAGE_FILES=(
  /usr/share/keyrings/debian-archive-keyring.gpg:debian-archive-keyring
  /etc/ssl/certs/ca-certificates.crt:ca-certificates
)

check_toolchains() {
  local version
  if ! has cargo && [[ -r $HOME/.cargo/env ]]; then
    # shellcheck source=/dev/null
    . "$HOME/.cargo/env"
  fi
  has cargo || die "Rust is missing (cargo $RUST_MIN or newer)" 'install it with rustup and open a new shell'
  version=$(cargo --version | awk '{ print $2 }')
  at_least "$version" "$RUST_MIN" || die "cargo is $version, $RUST_MIN or newer is needed" 'run: rustup update stable'
  { has node && has npm; } || die "Node.js is missing (node $NODE_MIN or newer, with npm)" \
    'install it from your distribution or with a version manager'
  version=$(node --version)
  at_least "${version#v}" "$NODE_MIN" || die "node is $version, $NODE_MIN or newer is needed" 'update Node.js'
}

at_least() { # version, minimum
  [[ $(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1) == "$2" ]]
}

# Installs what is missing. Further "command:package" pairs may be given.
install_packages() {
  local pair missing=()
  for pair in "${PACKAGES_RUN[@]}" "${PACKAGES_BUILD[@]}" "$@"; do
    has_tool "${pair%%:*}" || missing+=("${pair#*:}")
  done
  for pair in "${PACKAGE_FILES[@]}"; do
    [[ -e ${pair%%:*} ]] || missing+=("${pair#*:}")
  done
  postgres_bin >/dev/null || missing+=(postgresql-15)
  [[ ${#missing[@]} -eq 0 ]] && return
  apt_install "${missing[@]}"
  postgres_bin >/dev/null || die 'no PostgreSQL server after the installation' 'install postgresql-15'
}

# Installs only these if they are missing. In: "command:package" pairs.
install_only() {
  local pair missing=()
  for pair in "$@"; do
    has_tool "${pair%%:*}" || missing+=("${pair#*:}")
  done
  [[ ${#missing[@]} -eq 0 ]] || apt_install "${missing[@]}"
}

# Some tools live where a user's PATH does not lead.
has_tool() { has "$1" || [[ -x /usr/sbin/$1 || -x /sbin/$1 ]]; }

apt_install() { # package...
  local packages
  has apt-get || die "these packages are missing: $*" 'install them with your package manager'
  need_rights
  mapfile -t packages < <(printf '%s\n' "$@" | sort -u)
  say "installing ${packages[*]}"
  local log
  log=$(mktemp)
  # The distribution shall neither make a database of its own nor start services beside ours.
  as_root install -d /etc/postgresql-common/createcluster.d
  echo 'create_main_cluster = false' |
    as_root tee /etc/postgresql-common/createcluster.d/zz-supalove.conf >/dev/null
  if ! apt_run update >"$log" 2>&1 || ! apt_run install --no-install-recommends "${packages[@]}" >>"$log" 2>&1; then
    tail -n 30 "$log" >&2
    remove_createcluster
    die "apt-get could not install: ${packages[*]}" 'its last lines are above'
  fi
  remove_createcluster
  rm -f "$log"
}

apt_run() {
  local quiet=()
  # Where there is no systemd, this keeps init scripts from starting services (dockerd, supervisor).
  has_systemd || quiet=(RUNLEVEL=1)
  as_root env DEBIAN_FRONTEND=noninteractive "${quiet[@]}" apt-get -y -q \
    -o DPkg::Lock::Timeout=300 -o Dpkg::Options::=--force-confold "$@" </dev/null
}

remove_createcluster() {
  as_root rm -f /etc/postgresql-common/createcluster.d/zz-supalove.conf
  as_root rmdir --ignore-fail-on-non-empty /etc/postgresql-common/createcluster.d /etc/postgresql-common 2>/dev/null || true
}
