#!/usr/bin/env bash
# The dashboard's steps of `make check` and `make test`. Installs its packages if its lock file is newer than they are.
#
# Usage: dashboard.sh check   formatting, lints and types
#        dashboard.sh test    unit tests; the export, and how much each page loads
set -euo pipefail
shopt -s extglob
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
for part in lib install postgres; do
  # shellcheck source=/dev/null
  . "$here/$part.sh"
done
DASHBOARD=$ROOT/dashboard

run() { npm run --prefix "$DASHBOARD" --silent "$@"; }

packages() {
  local stamp=$DASHBOARD/node_modules/.supalove-stamp
  [[ $stamp -nt $DASHBOARD/package-lock.json ]] && return
  npm ci --prefix "$DASHBOARD" --loglevel=error --no-audit --no-fund
  touch "$stamp"
}

# The count of `make test` reads the last line.
unit_tests() {
  local report
  report=$(mktemp)
  run test -- --reporter=default --reporter=json --outputFile.json="$report" || true
  jq -er '"\(.numPassedTests) passed, \(.numFailedTests) failed", (if .success then empty else halt_error(1) end)' "$report"
}

ensure_npm
packages
case ${1:-} in
  check) run check ;;
  test)
    run gen
    unit_tests
    run build
    ;;
  *) die 'usage: dashboard.sh check|test' '' ;;
esac
