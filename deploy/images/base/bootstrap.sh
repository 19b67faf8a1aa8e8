#!/usr/bin/env bash
# Makes a small Debian 12 root file system with the host's own package mirror.
#
# In:  the path of the tar to write, the list of package versions to take where the mirror has them. Out: that tar.
# The suite is fixed, whatever the host runs: PostgreSQL 15 is in Debian 12 only.
set -euo pipefail
# shellcheck source=deploy/images/sources.sh
. "$(dirname "${BASH_SOURCE[0]}")/../sources.sh"
target=$1 list=$2
suite=bookworm

fail() { printf 'bootstrap.sh: %s\n' "$*" >&2; exit 1; }
command -v mmdebstrap >/dev/null || fail "'mmdebstrap' is missing; install it with: apt-get install mmdebstrap"
[[ -r $DEBIAN_KEYRING ]] || fail "$DEBIAN_KEYRING is missing; install it with: apt-get install debian-archive-keyring"

sources=$(mktemp) pins=$(mktemp)
trap 'rm -f "$sources" "$pins"' EXIT
"$(dirname "${BASH_SOURCE[0]}")/../packages/pins.sh" "$list" >"$pins"
chmod 0644 "$pins"
debian_sources "$suite" >"$sources" ||
  fail 'apt has no Debian source on this host; set SUPALOVE_DEBIAN_MIRROR to a Debian mirror'

bootstrap() { # options
  mmdebstrap_ --quiet --variant=minbase "$@" \
    --include=ca-certificates,tini,debian-archive-keyring \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/info/*' \
    --aptopt='APT::Install-Recommends "false"' --aptopt='APT::Install-Suggests "false"' \
    "$suite" "$target" "$sources"
}

bootstrap --setup-hook="install -D -m 0644 '$pins' \"\$1/etc/apt/preferences.d/recorded\"" \
  --customize-hook='rm "$1/etc/apt/preferences.d/recorded"' || {
  echo 'bootstrap.sh: the recorded package versions cannot be installed together; trying the newest' >&2
  bootstrap
}
