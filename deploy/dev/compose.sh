# shellcheck shell=bash
# Finds Docker Compose 2, or brings the one of Debian 13: Debian 12 has the Python program of 2021 only. Sourced.

# The suite whose package is unpacked. The program in it is static: it runs on every Debian.
COMPOSE_SUITE=trixie

# Sets COMPOSE to a program of Docker Compose 2 or later.
ensure_compose() {
  local own=$ROOT/target/compose-$COMPOSE_SUITE
  for COMPOSE in "$(type -P docker-compose)" /usr/libexec/docker/cli-plugins/docker-compose \
    /usr/lib/docker/cli-plugins/docker-compose "$own/docker-compose"; do
    if is_compose_2 "$COMPOSE"; then return; fi
  done
  say "bringing Docker Compose 2 from Debian's $COMPOSE_SUITE"
  bring_compose "$own"
  is_compose_2 "$COMPOSE" || die "the program in $own does not run" 'remove that folder and try again'
}

is_compose_2() { # program
  [[ -x $1 && $("$1" version --short 2>/dev/null) =~ ^v?[2-9] ]]
}

# Downloads the package with lists of its own, so that this machine's apt knows nothing of the other suite.
bring_compose() { # folder
  local options
  # shellcheck source=/dev/null
  . "$ROOT/deploy/images/sources.sh"
  rm -rf -- "$1"
  mkdir -p "$1/lists/partial" "$1/cache/archives/partial"
  debian_sources "$COMPOSE_SUITE" >"$1/sources.list" ||
    die 'apt has no Debian source on this host' 'set SUPALOVE_DEBIAN_MIRROR to a Debian mirror'
  options=(-o "Dir::Etc::SourceList=$1/sources.list" -o Dir::Etc::SourceParts=- -o "Dir::State::Lists=$1/lists"
    -o "Dir::Cache=$1/cache" -o APT::Get::List-Cleanup=0 -o APT::Sandbox::User=root)
  (
    cd "$1" || exit
    apt-get --quiet=2 "${options[@]}" update
    apt-get --quiet=2 "${options[@]}" download docker-compose
    dpkg-deb --fsys-tarfile docker-compose_*.deb |
      tar --extract --strip-components=5 ./usr/libexec/docker/cli-plugins/docker-compose
    rm -r lists cache ./*.deb
  )
}
