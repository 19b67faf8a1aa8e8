# shellcheck shell=bash
# The Debian roots that newcomers begin with, and the packages that they have fetched before. Sourced.

# shellcheck source=deploy/images/sources.sh disable=SC2153  # ROOT is of lib.sh
. "$ROOT/deploy/images/sources.sh"

# What the README asks for beside Rust; git alone brings no certificates of the authorities.
README_PACKAGES=ca-certificates,git,make
# An older root is made anew, with the packages of today.
ROOT_DAYS=7

# Makes the cache and throws out of it what is not as it was put there. apt looks at the size of a package that it has
# already, not at its checksum.
prepare_cache() {
  local sums folder
  install -d -m 0755 "$NEWCOMER_CACHE"
  exec 8>"$NEWCOMER_CACHE/lock"
  flock --nonblock 8 || die "another make newcomer uses $NEWCOMER_CACHE" 'wait for it'
  find "$NEWCOMER_CACHE" -maxdepth 1 -name '*.tar' -mtime "+$ROOT_DAYS" -delete
  for folder in "$NEWCOMER_CACHE"/*-packages; do
    sums=$folder.sums
    # Without the list nothing is known about the files.
    [[ -s $sums ]] || { rm -rf -- "$folder"; continue; }
    drop_damaged "$folder" "$sums"
  done
}

# Removes every file that is not in the list with this content.
drop_damaged() { # folder, list of sha256sum
  local file damaged
  damaged=$(cd "$1" && { sha256sum --check --quiet "$2" 2>/dev/null || true; } | sed 's/: FAILED.*//')
  for file in "$1"/*.deb; do
    if grep -qxF "$(basename "$file")" <<<"$damaged" || ! grep -qF "  $(basename "$file")" "$2"; then rm -f -- "$file"; fi
  done
}

# Writes down what the cache of a suite holds now.
seal_packages() { # suite
  local folder=$NEWCOMER_CACHE/$1-packages
  local debs=("$folder"/*.deb)
  [[ ${#debs[@]} -gt 0 ]] || return 0
  (cd "$folder" && rm -rf partial lock && sha256sum -- *.deb >"$folder.sums.new" && mv "$folder.sums.new" "$folder.sums") || true
}

# Sees to it that there is a sound root, packed. In: suite, who will use it. Leaves its path in ROOT_TAR.
ensure_root() {
  local packages=$README_PACKAGES
  # As root without sudo: no script may take it for granted.
  [[ $2 == root ]] || packages+=,sudo
  ROOT_TAR=$NEWCOMER_CACHE/$1-$2.tar
  if [[ -s $ROOT_TAR && -s $ROOT_TAR.sum ]]; then
    [[ $(sha256sum <"$ROOT_TAR") != "$(cat "$ROOT_TAR.sum")" ]] || return 0
    warn "newcomer: $ROOT_TAR is damaged"
  fi
  say "newcomer: making a root of $1"
  make_root "$1" "$packages" "$ROOT_TAR"
}

make_root() { # suite, packages, tar
  local sources settings log draft=${3%.tar}.new.tar
  sources=$(mktemp) settings=$(mktemp) log=$(mktemp)
  debian_sources "$1" >"$sources" ||
    die 'apt has no Debian source on this host' 'set SUPALOVE_DEBIAN_MIRROR to a Debian mirror'
  site_apt_settings >"$settings"
  rm -rf -- "$3" "$3.sum" "$draft"
  if ! mmdebstrap_ --variant=minbase --include="$2" --aptopt="$settings" "$1" "$draft" "$sources" >"$log" 2>&1; then
    tail -n 20 "$log" >&2
    die "no root of $1 could be made" 'the last words of mmdebstrap are above'
  fi
  sha256sum <"$draft" >"$3.sum"
  mv "$draft" "$3"
  rm -f "$sources" "$settings" "$log"
}

# How apt gets out of this site: proxies, and what it shall not check.
site_apt_settings() {
  apt-config dump 2>/dev/null | grep -E '^Acquire::(https?::|Check-)' || true
}
