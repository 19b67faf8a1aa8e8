#!/usr/bin/env bash
# Makes a small Debian 12 root file system with the host's own package mirror.
#
# In:  the path of the tar to write. Out: that tar.
# The suite is fixed, whatever the host runs: PostgreSQL 15 is in Debian 12 only.
set -euo pipefail
target=$1
suite=bookworm
keyring=/usr/share/keyrings/debian-archive-keyring.gpg

fail() { printf 'bootstrap.sh: %s\n' "$*" >&2; exit 1; }
command -v mmdebstrap >/dev/null || fail "'mmdebstrap' is missing; install it with: apt-get install mmdebstrap"
[[ -r $keyring ]] || fail "$keyring is missing; install it with: apt-get install debian-archive-keyring"

# The address of the first apt source of the host whose Release file has this label.
apt_mirror() {
  apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' "Label: $1" 2>/dev/null | head -n 1
}

mirror=${SUPALOVE_DEBIAN_MIRROR:-$(apt_mirror Debian)}
if [[ -z $mirror ]]; then
  apt-get update -qq >/dev/null 2>&1 || true
  mirror=$(apt_mirror Debian)
fi
[[ -n $mirror ]] || fail 'apt has no Debian source on this host; set SUPALOVE_DEBIAN_MIRROR to a Debian mirror'
security=${SUPALOVE_DEBIAN_SECURITY_MIRROR:-$(apt_mirror Debian-Security)}

sources=$(mktemp)
trap 'rm -f "$sources"' EXIT
{
  echo "deb [signed-by=$keyring] $mirror $suite main"
  echo "deb [signed-by=$keyring] $mirror $suite-updates main"
  [[ -z $security ]] || echo "deb [signed-by=$keyring] $security $suite-security main"
} >"$sources"

mmdebstrap --quiet --variant=minbase \
  --include=ca-certificates,tini,debian-archive-keyring \
  --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
  --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/info/*' \
  --aptopt='APT::Install-Recommends "false"' --aptopt='APT::Install-Suggests "false"' \
  "$suite" "$target" "$sources"
