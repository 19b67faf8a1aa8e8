#!/usr/bin/env bash
# Builds the dashboard, and puts it where the controller's build embeds it. Skips what is current; in a checkout without the folder
# dashboard/ there is nothing to do.
#
# Usage: dashboard.sh          both
#        dashboard.sh build    only builds it, in dashboard/out
#        dashboard.sh place    only puts what is built there into its place
set -euo pipefail
shopt -s extglob
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
for part in lib install; do
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

# Fails in a folder that git does not know: there the dashboard is built each time.
digest_of_sources() {
  cd "$ROOT" && git -c safe.directory="$ROOT" ls-files -z --cached --others --exclude-standard -- "${SOURCES[@]}" 2>/dev/null |
    { xargs -0 sha256sum 2>/dev/null || true; } | sha256sum
}

build() {
  local digest
  digest=$(digest_of_sources) || digest=
  [[ -n $digest && $(cat "$STAMP" 2>/dev/null) == "$digest" ]] && return
  ensure_npm
  if ! [[ $DASHBOARD/node_modules/.package-lock.json -nt $DASHBOARD/package-lock.json ]]; then
    npm ci --prefix "$DASHBOARD" --loglevel=error --no-audit --no-fund
    touch "$DASHBOARD/node_modules/.package-lock.json"
  fi
  NEXT_TELEMETRY_DISABLED=1 npm run --prefix "$DASHBOARD" --silent build
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

[[ -d $DASHBOARD ]] || exit 0
case ${1:-} in
  '')
    build
    place
    ;;
  build | place) "$1" ;;
  *) die "there is no step '$1'" 'there are: build, place' ;;
esac
