#!/usr/bin/env bash
# Prints a stack.yaml in which each image is named by tag and digest: the digest that the tag has in its registry now.
# For who makes a release, on a machine whose Docker Engine reaches the registries; images of the local set stay as they are.
#
# In:  the path of a stack.yaml. Out: the new one on stdout. What is already named by digest is not looked up.
set -euo pipefail

fail() { printf 'pin.sh: %s\n' "$*" >&2; exit 1; }
[[ $# -eq 1 && -r $1 ]] || fail 'usage: pin.sh <stack.yaml>'

# name:tag@digest, as the registry says. In: name:tag.
pinned() {
  local digest
  docker pull --quiet "$1" >/dev/null || fail "cannot pull $1"
  [[ $(docker image inspect --format '{{ index .Config.Labels "supalove.stand-in" }}' "$1") != true ]] ||
    fail "$1 on this engine is a test image that stands in for the official one"
  digest=$(docker image inspect --format '{{ range .RepoDigests }}{{ println . }}{{ end }}' "$1" |
    sed -n "s|^\(docker.io/\)\{0,1\}\(library/\)\{0,1\}${1%:*}@\(sha256:[0-9a-f]\{64\}\)\$|\3|p" | head -n 1)
  [[ -n $digest ]] || fail "the engine knows no digest of $1"
  echo "$1@$digest"
}

declare -A pins=()
while read -r image; do
  [[ $image == *@* || $image == supalove/* || -n ${pins[$image]:-} ]] || pins[$image]=$(pinned "$image")
done < <(awk '$1 == "image:" { print $2 }' "$1")
while IFS= read -r line; do
  if [[ $line =~ ^([[:space:]]*image:[[:space:]]*)([^[:space:]]+)(.*)$ && -n ${pins[${BASH_REMATCH[2]}]:-} ]]; then
    line=${BASH_REMATCH[1]}${pins[${BASH_REMATCH[2]}]}${BASH_REMATCH[3]}
  fi
  printf '%s\n' "$line"
done <"$1"
