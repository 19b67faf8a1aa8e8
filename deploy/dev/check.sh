#!/usr/bin/env bash
# `make check`: all checks of the sources that do not run them.
#
# Usage: check.sh [name]   with a name (format, protos, dashboard, scripts, crates, dependencies, clippy) only that check
set -euo pipefail
shopt -s extglob
here=$(dirname "${BASH_SOURCE[0]}")
for part in lib install postgres; do
  # shellcheck source=/dev/null
  . "$here/$part.sh"
done

# Lists unformatted files; `cargo fmt` formats them.
check_format() { cargo fmt --all -- --check -l; }
check_clippy() {
# What is shipped; then everything, with failpoints and the tests that use them.
  cargo clippy --workspace --lib --bins --locked -- -D warnings
  cargo clippy --workspace --all-targets --locked --features "$FAILPOINTS" -- -D warnings
}
check_dependencies() { deploy/dev/dependencies.sh; }
check_dashboard() { deploy/dev/dashboard.sh check; }
# The diagram of the crates, and the allowed dependencies between rooms.
check_crates() { deploy/dev/crates.sh --check; }

check_scripts() {
  local scripts
  mapfile -t scripts < <(find .ci deploy cli controller agent -name node_modules -prune -o -name target -prune -o \
    \( -name '*.sh' -o -path .ci/run \) -type f -print | sort)
  # SC2016: text in single quotes with $ or ` is meant as it stands.
  shellcheck --shell=bash --exclude=SC2016 --external-sources --source-path=SCRIPTDIR --source-path=. "${scripts[@]}"
  # It runs on customers' hosts, whose sh is any.
  shellcheck --shell=sh --exclude=SC2016 deploy/join/join.sh
  say "${#scripts[@]} scripts"
  # A tag of an image belongs to one list of package versions.
  deploy/images/build.sh --check
}

check_protos() {
  local tools=$ROOT/deploy/dev/tools
  if ! [[ $tools/node_modules/.package-lock.json -nt $tools/package-lock.json ]]; then
    npm ci --prefix "$tools" --loglevel=error --no-audit --no-fund
    touch "$tools/node_modules/.package-lock.json"
  fi
  "$tools/node_modules/@bufbuild/buf-linux-$(uname -m | sed 's/^x86_64$/x64/')/bin/buf" lint proto
}

cd "$ROOT"
check_toolchains
if [[ $# -gt 0 ]]; then
  "check_$1"
  exit
fi
install_only shellcheck:shellcheck jq:jq "${PACKAGES_BUILD[@]}"
failed=()
for name in format protos dashboard scripts crates dependencies clippy; do
  say "check: $name"
# A failed check must not stop the others. Each is a process, because `||` switches `set -e` off.
  "$ROOT/deploy/dev/check.sh" "$name" </dev/null || failed+=("$name")
done
[[ ${#failed[@]} -eq 0 ]] || die "these checks failed: ${failed[*]}" 'their messages are above'
say 'all checks passed'
