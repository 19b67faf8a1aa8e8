#!/usr/bin/env bash
# Test images under the official tags of the release supabase-2025.12, for engines that cannot pull them.
#
# Usage: build.sh           makes those that the engine lacks; an image that is there and no stand-in is left alone
#        build.sh --remove  removes all stand-ins, and nothing else
#
# In:  the local image set (deploy/images/build.sh), and the program of this folder: SUPALOVE_STAND_IN, or built by cargo.
# Out: images labelled supalove.stand-in=true. auth, api, realtime, storage are stand-ins; postgres, functions and gateway
#      are the real programs of the local set, started as the official images start theirs.
# The program is linked on this host and runs on Debian 12, so a host with a newer glibc cannot make them.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../../.." && pwd)
LABEL=supalove.stand-in
INPUTS=supalove.stand-in.inputs
BASE=supalove/base:12-1
declare -A TAGS=(
  [postgres]=supabase/postgres:15.8.1.085
  [auth]=supabase/gotrue:v2.184.0
  [api]=postgrest/postgrest:v12.2.3
  [realtime]=supabase/realtime:v2.68.0
  [storage]=supabase/storage-api:v1.33.0
  [functions]=denoland/deno:latest
  [gateway]=nginx:alpine
)

fail() { printf 'standins/build.sh: %s\n' "$*" >&2; exit 1; }
docker_() { if [[ -w /var/run/docker.sock ]]; then docker "$@"; else sudo docker "$@"; fi; }
label_of() { docker_ image inspect --format "{{ index .Config.Labels \"$2\" }}" "$1" 2>/dev/null; }

remove() {
  local id name
  # By id: an image whose tag was given to a newer one has no name left.
  while read -r id name; do
    docker_ rmi --force "$id" >/dev/null
    printf '%s: stand-in removed\n' "$name"
  done < <(docker_ images --filter "label=$LABEL=true" --format '{{.ID}} {{.Repository}}:{{.Tag}}' | sort -u -k 1,1)
}

build_program() {
  local target
  if [[ -n ${SUPALOVE_STAND_IN:-} ]]; then
    strip -o "$scratch/stand-in" "$SUPALOVE_STAND_IN"
    return
  fi
  # Of the whole workspace, as the tests are built: alone, its dependencies would be compiled again for fewer features.
  (cd "$root" && cargo build --quiet --locked --workspace --example stand-in)
  target=$(cd "$root" && cargo metadata --format-version 1 --no-deps --offline | jq -r .target_directory)
  strip -o "$scratch/stand-in" "$target/debug/examples/stand-in"
}

# The libraries that the program is linked to, below `lib/`, where it looks for them.
copy_libraries() { # folder
  local library
  ldd "$scratch/stand-in" | grep -o '/[^ ]*' | while IFS= read -r library; do
    install -D "$library" "$1/lib$library"
  done
}

inputs_of() { # service
  {
    docker_ image inspect --format '{{.Id}}' "$BASE" supalove/postgres:15-1 supalove/functions:2-1 supalove/gateway:1-2
    [[ $1 != @(auth|api|realtime|storage) ]] || cat "$scratch/stand-in"
    find "$here/images/$1" -type f -print0 | sort -z | xargs -0 cat
  } | sha256sum | cut -d' ' -f1
}

build() { # service
  local tag=${TAGS[$1]} inputs proxy arguments=()
  inputs=$(inputs_of "$1")
  if docker_ image inspect "$tag" >/dev/null 2>&1; then
    if [[ $(label_of "$tag" "$LABEL") != true ]]; then
      printf '%s: the real one is here\n' "$tag"
      return
    fi
    if [[ $(label_of "$tag" "$INPUTS") == "$inputs" ]]; then
      printf '%s: stand-in up to date\n' "$tag"
      return
    fi
  fi
  cp -r "$here/images/$1" "$scratch/$1"
  case $1 in
    api) copy_libraries "$scratch/api" ;&
    auth | realtime | storage) cp "$scratch/stand-in" "$scratch/$1/" ;;
  esac
  # As in deploy/images/build.sh: apt inside the build needs the host's proxy.
  proxy=$(apt-config dump --format '%v' Acquire::http::Proxy 2>/dev/null || true)
  [[ -z $proxy || $proxy == DIRECT ]] || arguments=(--build-arg "http_proxy=$proxy")
  DOCKER_BUILDKIT=0 docker_ build --quiet "${arguments[@]}" --build-arg "BASE=$BASE" --label "$LABEL=true" \
    --label "$INPUTS=$inputs" --tag "$tag" "$scratch/$1" >"$scratch/$1.log" 2>&1 || {
    tail -n 40 "$scratch/$1.log" >&2
    fail "building the stand-in $tag failed (its last lines are above)"
  }
  printf '%s: stand-in made\n' "$tag"
}

if [[ ${1:-} == --remove ]]; then
  remove
  exit
fi
scratch=$(mktemp -d "${TMPDIR:-/tmp}/supalove-standins.XXXXXX")
trap 'rm -rf "$scratch"' EXIT
build_program
for service in "${!TAGS[@]}"; do
  build "$service"
done
