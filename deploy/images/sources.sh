# shellcheck shell=bash
# Where this host gets Debian packages from, for roots of Debian that are made here. Sourced.

DEBIAN_KEYRING=/usr/share/keyrings/debian-archive-keyring.gpg

# The address of the first apt source of the host whose Release file has this label.
# awk reads all of it: under pipefail a reader that stops early fails the one that writes.
apt_mirror() { # label
  apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' "Label: $1" 2>/dev/null |
    awk 'NR == 1'
}

# mmdebstrap hands a descriptor to dash, which knows only numbers of one digit: where the caller has many files open,
# the next free number has two.
mmdebstrap_() (
  for held in "/proc/$BASHPID/fd"/*; do
    held=${held##*/}
    [[ $held -le 2 || $held -ge 255 ]] || eval "exec $held>&-"
  done
  exec mmdebstrap "$@"
)

# The lines of a sources.list for a suite. Nothing if apt has no Debian source here.
debian_sources() { # suite
  local suite=$1 mirror security
  mirror=${SUPALOVE_DEBIAN_MIRROR:-$(apt_mirror Debian || true)}
  if [[ -z $mirror ]]; then
    # Before the first update, apt does not know the labels of its sources.
    apt-get update -qq >/dev/null 2>&1 || true
    mirror=$(apt_mirror Debian || true)
  fi
  [[ -n $mirror ]] || return 1
  security=${SUPALOVE_DEBIAN_SECURITY_MIRROR:-$(apt_mirror Debian-Security || true)}
  echo "deb [signed-by=$DEBIAN_KEYRING] $mirror $suite main"
  echo "deb [signed-by=$DEBIAN_KEYRING] $mirror $suite-updates main"
  [[ -z $security ]] || echo "deb [signed-by=$DEBIAN_KEYRING] $security $suite-security main"
}
