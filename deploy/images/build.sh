#!/usr/bin/env bash
# Builds the local image set on hosts that reach no image registry.
#
# In:  the folders beside this file, the host's apt sources, npm (for the Deno binary).
# Out: supalove/base, supalove/postgres, supalove/gateway, supalove/functions in the Docker Engine
#      that DOCKER_HOST names. Each image carries the sha256 of its inputs as a label; an image whose
#      label matches is left alone, so a run with nothing to do takes well under two seconds.
#
# Usage: build.sh [--force] [image ...]
#   SUPALOVE_DEBIAN_MIRROR, SUPALOVE_DEBIAN_SECURITY_MIRROR override the mirrors taken from apt.
set -euo pipefail
# A checkout made under another umask must not make files that an image's user cannot read.
umask 022
cd "$(dirname "${BASH_SOURCE[0]}")"

# <upstream major>-<our revision>. Raise the revision when a published release must not see a change.
BASE_TAG=supalove/base:12-1
declare -A TAGS=(
  [postgres]=supalove/postgres:15-2
  [gateway]=supalove/gateway:1-2
  [functions]=supalove/functions:2-1
  # Frozen: projects exist on releases that name them. Their costly layers are those of their successors.
  [postgres-15-1]=supalove/postgres:15-1
  [gateway-1-1]=supalove/gateway:1-1
)
ORDER=(postgres gateway functions postgres-15-1 gateway-1-1)
LABEL=dev.supalove.inputs

force=no
wanted=()
for argument in "$@"; do
  case "$argument" in
    --force) force=yes ;;
    -h | --help) sed -n '2,12p' "${BASH_SOURCE[0]}" | sed 's/^# \{0,1\}//'; exit 0 ;;
    *)
      [[ -n ${TAGS[$argument]:-} ]] || { echo "build.sh: no image named '$argument' (known: ${ORDER[*]})" >&2; exit 2; }
      wanted+=("$argument")
      ;;
  esac
done
[[ ${#wanted[@]} -gt 0 ]] || wanted=("${ORDER[@]}")

scratch=$(mktemp -d "${TMPDIR:-/tmp}/supalove-images.XXXXXX")
trap 'rm -rf "$scratch"' EXIT

say() { printf '%s\n' "$*"; }
fail() { printf 'build.sh: %s\n' "$*" >&2; exit 1; }
need() { command -v "$1" >/dev/null || fail "'$1' is missing; install it with: $2"; }

# sha256 over names, kinds of modes and contents of a folder.
hash_folder() {
  (cd "$1" && find . -type f -print0 | sort -z | while IFS= read -r -d '' file; do
    printf '%s %s ' "$file" "$(if [[ -x $file ]]; then echo 755; else echo 644; fi)"
    sha256sum <"$file"
  done) | sha256sum | cut -d' ' -f1
}

base_inputs() { printf '%s\n' "$BASE_TAG $(uname -m) $(hash_folder base)" | sha256sum | cut -d' ' -f1; }
image_inputs() { printf '%s\n' "${TAGS[$1]} $(hash_folder "$1") $(base_inputs)" | sha256sum | cut -d' ' -f1; }

is_current() { # tag, inputs
  [[ $force == no ]] &&
    [[ $(docker image inspect --format "{{ index .Config.Labels \"$LABEL\" }}" "$1" 2>/dev/null) == "$2" ]]
}

build_base() {
  local inputs
  inputs=$(base_inputs)
  # --force rebuilds the base once per run, not once per image.
  if [[ -e $scratch/base-done ]] || is_current "$BASE_TAG" "$inputs"; then return; fi
  say "$BASE_TAG: bootstrapping Debian"
  base/bootstrap.sh "$scratch/base.tar"
  docker import --change "LABEL $LABEL=$inputs" --change 'ENV LANG=C.UTF-8' \
    --change 'CMD ["/bin/bash"]' "$scratch/base.tar" "$BASE_TAG" >/dev/null
  rm -f "$scratch/base.tar"
  touch "$scratch/base-done"
}

# Copies an image's folder to a scratch build context and lets it fetch what Docker cannot.
prepare_context() { # image
  cp -r "$1" "$scratch/$1"
  chmod -R u=rwX,go=rX "$scratch/$1"
  if [[ -x $scratch/$1/fetch.sh ]]; then
    "$scratch/$1/fetch.sh" "$scratch/$1"
  fi
}

build_image() { # image
  local tag=${TAGS[$1]} inputs started=$SECONDS proxy_arguments=() proxy
  inputs=$(image_inputs "$1")
  if is_current "$tag" "$inputs"; then
    say "$tag: up to date"
    return
  fi
  build_base
  prepare_context "$1"
  # A proxy that the host's apt uses is needed inside the build as well; http_proxy is a predefined
  # build argument and leaves no trace in the image.
  proxy=$(apt-config dump --format '%v' Acquire::http::Proxy 2>/dev/null || true)
  [[ -z $proxy || $proxy == DIRECT ]] || proxy_arguments=(--build-arg "http_proxy=$proxy")
  say "$tag: building"
  if ! DOCKER_BUILDKIT=0 docker build "${proxy_arguments[@]}" --build-arg "BASE=$BASE_TAG" \
    --label "$LABEL=$inputs" --tag "$tag" "$scratch/$1" >"$scratch/$1.log" 2>&1; then
    tail -n 40 "$scratch/$1.log" >&2
    fail "building $tag failed (its last lines are above)"
  fi
  rm -rf "${scratch:?}/$1"
  say "$tag: built in $((SECONDS - started)) s"
}

need docker 'apt-get install docker.io'
docker version --format '{{.Server.Version}}' >/dev/null 2>&1 ||
  fail "no Docker Engine answers at ${DOCKER_HOST:-the default socket}"

for image in "${wanted[@]}"; do
  build_image "$image"
done
