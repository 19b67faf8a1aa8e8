#!/usr/bin/env bash
# Generates docs/crates.md, the diagram of the crates, from `cargo metadata`.
#
# Usage: crates.sh          writes docs/crates.md
#        crates.sh --check  exits with 1 if it is out of date, or if a room has a dependency that is not allowed
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=/dev/null
. "$here/lib.sh"

PAGE=$ROOT/docs/crates.md
# Rooms of the controller, and the rooms on which each may depend. Every room may depend on core and on crates below it.
ALLOWED='{
  "core": [], "stack": [], "dashboard": [], "scheduler": ["core"],
  "identity": ["core"], "plans": ["core"],
  "organizations": ["core", "identity", "plans"],
  "fleet": ["core", "plans", "organizations"],
  "projects": ["core", "fleet", "plans", "organizations", "stack", "scheduler"],
  "images": ["core", "fleet", "stack"],
  "usage": ["core", "fleet", "plans", "projects"]
}'

# "from to" for each dependency between packages of the workspace, without tests.
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

`deploy/dev/crates.sh` generates this page from `cargo metadata`. An arrow points from a crate to its dependency. A room of the
controller never depends on the controller, and only on the rooms that the script allows; `make check` checks this.

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

# Prints each dependency between rooms that is not allowed.
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
[[ -z $wrong ]] || die "these dependencies between rooms are not allowed: ${wrong//$'\n'/, }" 'see docs/adr/0013-rooms-are-crates-on-one-core.md'
page | cmp -s - "$PAGE" || die 'docs/crates.md is out of date' 'run: deploy/dev/crates.sh'
