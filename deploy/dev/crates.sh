#!/usr/bin/env bash
# The picture of the crates: docs/crates.md, from `cargo metadata`.
#
# Usage: crates.sh          writes docs/crates.md
#        crates.sh --check  says whether it is current and whether every arrow between rooms is an allowed one; 1 if not
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=/dev/null
. "$here/lib.sh"

PAGE=$ROOT/docs/crates.md
# Rooms of the controller, and the rooms that each may depend on. Everything may depend on core and what lies below it.
ALLOWED='{
  "core": [], "stack": [], "scheduler": ["core"],
  "identity": ["core"], "plans": ["core"],
  "organizations": ["core", "identity", "plans"],
  "fleet": ["core"],
  "projects": ["core", "fleet", "plans", "organizations", "stack", "scheduler"]
}'

# "from to" for each arrow between packages of the workspace, tests left out.
arrows() {
  cargo metadata --format-version 1 --no-deps --offline --manifest-path "$ROOT/Cargo.toml" | jq -r '
    [.packages[].name] as $ours | .packages[] | .name as $from | .dependencies[]
    | select(.kind == null and (.name | IN($ours[]))) | "\($from) \(.name)"
    | gsub("supalove-"; "")' | sort -u
}

page() {
  local from to last=
  cat <<'MD'
# The crates

Made by `deploy/dev/crates.sh` from `cargo metadata`; an arrow points at what a crate depends on. Rooms of the controller
never depend on the controller, and only on the rooms that the script allows: `make check` holds them to it.

```mermaid
flowchart TD
MD
  while read -r from to; do printf '  %s --> %s\n' "$from" "$to"; done < <(arrows)
  cat <<'MD'
```

| crate | depends on |
|---|---|
MD
  while read -r from to; do
    if [[ $from == "$last" ]]; then printf ', %s' "$to"; else printf '%s| %s | %s' "${last:+$' |\n'}" "$from" "$to"; fi
    last=$from
  done < <(arrows)
  printf ' |\n'
}

# Arrows between rooms that are not allowed, one a line.
forbidden() {
  arrows | jq -R -r --argjson allowed "$ALLOWED" '
    split(" ") as [$from, $to] | select($allowed | has($from))
    | select($to == "controller" or (($allowed | has($to)) and ($allowed[$from] | index($to) | not))) | "\($from) → \($to)"'
}

if [[ ${1:-} != --check ]]; then
  page >"$PAGE"
  exit
fi
wrong=$(forbidden)
[[ -z $wrong ]] || die "arrows between rooms that are not allowed: ${wrong//$'\n'/, }" 'see docs/adr/0013-rooms-are-crates-on-one-core.md'
page | cmp -s - "$PAGE" || die 'docs/crates.md is not current' 'run: deploy/dev/crates.sh'
