#!/usr/bin/env bash
# `make newcomer`: runs the commands of the README on a fresh minimal system and checks their output against the README.
#
# The system is a minimal Debian root with its own mount, process and network namespaces. It has only what the README
# requires (Rust, git, make) and access to the package registries. The walk uses the working tree, including
# uncommitted changes. The README's second host is another such root, with nothing but a server of SSH.
#
# Usage: newcomer.sh [SUITE:WHO]...   SUITE is bookworm or trixie, WHO root or user (a user with sudo).
#        Without arguments bookworm:root; with ALL=1 all four.
# Out:   the walk's own output, then a line per machine with its time. Exit code 0 if every machine did what the README says.
#
# Caches packages and roots in SUPALOVE_NEWCOMER_CACHE, else in ~/.cache or /var/cache; downloads damaged ones again.
set -euo pipefail
shopt -s nullglob
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
for part in lib install newcomer/debian newcomer/machine; do
  # shellcheck source=/dev/null
  . "$here/$part.sh"
done

EVERY=(bookworm:root trixie:root bookworm:user trixie:user)
# Timeout: a machine takes minutes, a cold build under load a quarter of an hour.
MACHINE_SECONDS=2400

# Variables of the user's shell that root's shell lacks.
as_caller() {
  check_rust
  export NEWCOMER_RUST NEWCOMER_TARGET NEWCOMER_REGISTRY NEWCOMER_CACHE
  NEWCOMER_RUST=$(rustc --print sysroot)
  [[ $NEWCOMER_RUST != /usr ]] || die 'this Rust is part of the distribution and cannot be shared with another root' \
    'install Rust with rustup'
  NEWCOMER_TARGET=${CARGO_TARGET_DIR:-$ROOT/target}
  NEWCOMER_REGISTRY=${CARGO_HOME:-$HOME/.cargo}/registry
  NEWCOMER_CACHE=${SUPALOVE_NEWCOMER_CACHE:-$(default_cache)}
  mkdir -p "$NEWCOMER_TARGET" "$NEWCOMER_REGISTRY"
  [[ $EUID -eq 0 ]] && return
  need_rights
  mapfile -t pass < <(site_environment)
  exec sudo env "${pass[@]}" "PATH=$PATH" "NEWCOMER_RUST=$NEWCOMER_RUST" "NEWCOMER_TARGET=$NEWCOMER_TARGET" \
    "NEWCOMER_REGISTRY=$NEWCOMER_REGISTRY" "NEWCOMER_CACHE=$NEWCOMER_CACHE" "$here/newcomer.sh" "$@"
}

default_cache() {
  if [[ $EUID -eq 0 ]]; then echo /var/cache/supalove-newcomer; else echo "${XDG_CACHE_HOME:-$HOME/.cache}/supalove-newcomer"; fi
}

# shellcheck disable=SC2317  # called by a trap
clean_up() {
  local code=$?
  trap - EXIT
  # What is killed now is no news.
  disown -a
  remove_both || true
  exit "$code"
}

# The two at once: each mostly waits for packages.
make_roots() { # suite, who
  local building=
  if [[ $2 == root ]]; then
    ensure_root "$1" host &
    building=$!
  fi
  ensure_root "$1" "$2"
  [[ -z $building ]] || wait "$building" || die 'there is no root for the second host' 'the reason is above'
}

# One machine, from nothing to nothing, and for root the README's second host. Leaves the walk's exit code in `code`.
try() { # suite, who
  code=0
  make_roots "$@"
  machine=$(new_machine "$1" "$2")
  say "newcomer: the README on $1 as $2"
  if [[ $2 == root ]]; then
    host=$(new_machine "$1" host)
    start_host "$host" "$machine" "$MACHINE_SECONDS"
  fi
  run_machine "$machine" "${host:-}" "$MACHINE_SECONDS" || code=$?
  remove_both
}

remove_both() {
  [[ -z ${machine:-} ]] || remove_machine "$machine"
  [[ -z ${host:-} ]] || remove_machine "$host"
  machine='' host=''
}

main() {
  [[ -n ${NEWCOMER_RUST:-} ]] || as_caller "$@"
  local wanted=("$@") results=() failed=0 one began verdict
  if [[ ${#wanted[@]} -eq 0 ]]; then
    wanted=("${EVERY[0]}")
    [[ -z ${ALL:-} ]] || wanted=("${EVERY[@]}")
  fi
  for one in "${wanted[@]}"; do
    [[ " ${EVERY[*]} " == *" $one "* ]] || die "there is no machine '$one'" "there are: ${EVERY[*]}"
  done
  install_only mmdebstrap:mmdebstrap slirp4netns:slirp4netns unshare:util-linux setpriv:util-linux \
    nsenter:util-linux ip:iproute2 git:git
  trap clean_up EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM HUP
  prepare_cache
  remove_left_machines
  for one in "${wanted[@]}"; do
    began=$SECONDS
    try "${one%:*}" "${one#*:}"
    if [[ $code -eq 0 ]]; then verdict=passed; else verdict="failed ($code)" failed=$((failed + 1)); fi
    results+=("$(printf '%-14s %s, %d s' "$one" "$verdict" "$((SECONDS - began))")")
  done
  printf 'newcomer: %s\n' "${results[@]}"
  printf '%d passed, %d failed\n' "$((${#wanted[@]} - failed))" "$failed"
  [[ $failed -eq 0 ]]
}

# Read to its end before it begins: it takes minutes, and the checkout may change meanwhile.
main "$@"
exit
