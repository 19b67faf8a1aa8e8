# shellcheck shell=bash
# The Debian roots of newcomer machines, and the cache of their packages. Sourced.

# shellcheck source=deploy/images/sources.sh disable=SC2153  # ROOT is of lib.sh
. "$ROOT/deploy/images/sources.sh"

# The README's requirements besides Rust; git alone does not install CA certificates.
README_PACKAGES=ca-certificates,git,make
# Of the README's second host: by this its user reaches it.
HOST_PACKAGES=openssh-server
# Age in days after which a root is rebuilt with current packages.
ROOT_DAYS=7

# Creates the cache and deletes damaged files from it, because apt checks only the size of a cached package, not its
# checksum.
prepare_cache() {
  local sums folder
  install -d -m 0755 "$NEWCOMER_CACHE"
  exec 8>"$NEWCOMER_CACHE/lock"
  flock --nonblock 8 || die "another make newcomer uses $NEWCOMER_CACHE" 'wait for it'
  find "$NEWCOMER_CACHE" -maxdepth 1 -name '*.tar' -mtime "+$ROOT_DAYS" -delete
  for folder in "$NEWCOMER_CACHE"/*-packages; do
    sums=$folder.sums
# Without the list nobody knows which files are intact.
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

# Records the contents of a suite's cache.
seal_packages() { # suite
  local folder=$NEWCOMER_CACHE/$1-packages
  local debs=("$folder"/*.deb)
  [[ ${#debs[@]} -gt 0 ]] || return 0
  (cd "$folder" && rm -rf partial lock && sha256sum -- *.deb >"$folder.sums.new" && mv "$folder.sums.new" "$folder.sums") || true
}

root_tar() { echo "$NEWCOMER_CACHE/$1-$2.tar"; } # suite, who will use it

# Ensures that there is an intact root archive. In: suite, who will use it.
ensure_root() {
  local packages tar
  case $2 in
    # Root's machine has no sudo, because no script may depend on it.
    root) packages=$README_PACKAGES ;;
    user) packages=$README_PACKAGES,sudo ;;
    host)
      packages=$HOST_PACKAGES
      [[ $(debian_sources "$1") != *https://* ]] || packages+=,ca-certificates
      ;;
  esac
  tar=$(root_tar "$1" "$2")
  if [[ -s $tar && -s $tar.sum ]]; then
    [[ $(sha256sum <"$tar") != "$(cat "$tar.sum")" ]] || return 0
    warn "newcomer: $tar is damaged"
  fi
  say "newcomer: building a root of $1"
  make_root "$1" "$packages" "$tar"
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
    die "cannot build a root of $1" 'the last messages of mmdebstrap are above'
  fi
  sha256sum <"$draft" >"$3.sum"
  mv "$draft" "$3"
  rm -f "$sources" "$settings" "$log"
}

# apt's settings for this site: proxies, and checks to skip.
site_apt_settings() {
  apt-config dump 2>/dev/null | grep -E '^Acquire::(https?::|Check-)' || true
}
