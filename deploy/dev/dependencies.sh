#!/usr/bin/env bash
# Checks licences and versions of the dependencies: only the licences listed below, one version of each crate whose types
# our interfaces use, and one crypto provider.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

ALLOWED=(MIT MIT-0 Apache-2.0 'Apache-2.0 WITH LLVM-exception' BSD-1-Clause BSD-2-Clause BSD-3-Clause ISC MPL-2.0
  Unicode-3.0 Unicode-DFS-2016 Zlib CC0-1.0 0BSD BSL-1.0 Unlicense CDLA-Permissive-2.0 OpenSSL)
ONE_VERSION=(tonic prost hyper h2 axum rustls reqwest tokio http)
BANNED=(ring openssl openssl-sys native-tls)

# "name version<TAB>licence" of each crate that is built for this platform, also for tests and build scripts.
# (cargo metadata also names crates that only disabled features need.)
crates() {
  cargo tree --locked --workspace --edges normal,build,dev --prefix none --format '{p}@{l}' |
    sed -E 's/ \(\*\)$//; s/^([^ ]+) v([^ @]+)[^@]*@/\1 \2\t/; /^$/d' | sort -u
}

# Each part of an expression joined by AND must have an alternative on the list. Nested expressions are parsed
# strictly: at worst the check refuses a good licence, and a person decides.
licences() {
  jq -rR '
    split("\t") | .[0] as $crate | (.[1] // "") as $licence
    | $licence | gsub("/"; " OR ") | gsub("[()]"; "")
    | split(" AND ") | map(split(" OR ") | any(gsub("^ +| +$"; "") | IN($ARGS.positional[])))
    | select(length == 0 or (all | not))
    | "\($crate): the licence \"\($licence)\" is not on the list in deploy/dev/dependencies.sh"' --args "${ALLOWED[@]}"
}

versions() { # list
  local name found
  for name in "${ONE_VERSION[@]}"; do
    found=$(awk -v name="$name" '$1 == name { printf "%s ", $2 }' "$1")
    [[ $(wc -w <<<"$found") -le 1 ]] || echo "$name has several versions: $found"
  done
  for name in "${BANNED[@]}"; do
    awk -v name="$name" '$1 == name { print name " is not wanted; who brings it: cargo tree --invert " name }' "$1"
  done
}

list=$(mktemp)
trap 'rm -f "$list"' EXIT
crates >"$list"
problems=$(licences <"$list"; versions "$list")
if [[ -n $problems ]]; then
  printf '%s\n' "$problems" >&2
  exit 1
fi
echo "$(wc -l <"$list") crates, licences and versions as wanted"
