#!/usr/bin/env bash
# Builds the dashboard, and puts it where the controller's build embeds it; checks and tests it. Skips what is current; in a
# checkout without the folder dashboard/ there is nothing to do.
#
# Usage: dashboard.sh          builds and places it
#        dashboard.sh build    only builds it, in dashboard/out
#        dashboard.sh place    only puts what is built there into its place
#        dashboard.sh check    formatting, lints and types
#        dashboard.sh test     builds and places it, says how much each page loads, and runs its unit tests
set -euo pipefail
shopt -s extglob
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
for part in lib install postgres; do
  # shellcheck source=/dev/null
  . "$here/$part.sh"
done

DASHBOARD=$ROOT/dashboard
# What it is made of: its clients are generated from the protos.
SOURCES=(dashboard proto sdk/typescript/proto)
OUT=$DASHBOARD/out
PLACE=$ROOT/controller/dashboard/export
# Digest of the sources, beside what was made of them. The controller embeds no file with a dot before its name.
STAMP=$OUT/.sources

run() { NEXT_TELEMETRY_DISABLED=1 npm run --prefix "$DASHBOARD" --silent "$@"; }

packages() {
  local stamp=$DASHBOARD/node_modules/.supalove-stamp
  ensure_npm
  [[ $stamp -nt $DASHBOARD/package-lock.json ]] && return
  npm ci --prefix "$DASHBOARD" --loglevel=error --no-audit --no-fund
  touch "$stamp"
}

# Fails in a folder that git does not know: there the dashboard is built each time.
digest_of_sources() {
  cd "$ROOT" && git -c safe.directory="$ROOT" ls-files -z --cached --others --exclude-standard -- "${SOURCES[@]}" 2>/dev/null |
    { xargs -0 sha256sum 2>/dev/null || true; } | sha256sum
}

build() {
  local digest
  digest=$(digest_of_sources) || digest=
  [[ -n $digest && $(cat "$STAMP" 2>/dev/null) == "$digest" ]] && return
  packages
  run build
  [[ -e $OUT/index.html && -e $OUT/404.html ]] || die "the build left no dashboard in $OUT" 'see the messages of npm above'
  echo "$digest" >"$STAMP"
}

# Leaves files as they are that would not change, because cargo goes by their times.
place() {
  [[ -e $OUT/index.html ]] || return 0
  diff --recursive --brief --exclude=.gitignore --exclude=.sources "$OUT" "$PLACE" >/dev/null && return
  find "$PLACE" -mindepth 1 ! -name .gitignore -delete
  cp -R "$OUT/." "$PLACE/"
}

check() {
  packages
  run check
}

test_() {
  local report
  build
  place
  run sizes
  run gen
  report=$(mktemp)
  run test -- --reporter=default --reporter=json --outputFile.json="$report" || true
# The count of `make test` reads the last line.
  jq -er '"\(.numPassedTests) passed, \(.numFailedTests) failed", (if .success then empty else halt_error(1) end)' "$report"
  rm -- "$report"
}

[[ -d $DASHBOARD ]] || exit 0
case ${1:-} in
  '')
    build
    place
    ;;
  build | place | check) "$1" ;;
  test) test_ ;;
  *) die "there is no step '$1'" 'there are: build, place, check, test' ;;
esac
