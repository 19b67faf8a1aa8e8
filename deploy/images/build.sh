#!/usr/bin/env bash
# Builds the local image set on hosts that reach no image registry.
#
# In:  the folders beside this file, the host's apt sources, npm (for the Deno binary).
# Out: supalove/base, supalove/postgres, supalove/gateway, supalove/functions in the Docker Engine
#      that DOCKER_HOST names. Each image carries the sha256 of its inputs as a label; an image whose
#      label matches is left alone, so a run with nothing to do takes well under two seconds.
#      Debian packages come in the versions of packages.list. A version that the mirror no longer has is
#      replaced by the newest; the output and the image's label dev.supalove.packages then say so.
#
# Usage: build.sh [--force] [image ...]
#        build.sh --record [image ...]   builds with the newest packages and writes packages.list; only for new tags
#        build.sh --check                compares the lists with those that belong to the tags
#   SUPALOVE_DEBIAN_MIRROR, SUPALOVE_DEBIAN_SECURITY_MIRROR override the mirrors taken from apt.
set -euo pipefail
# A checkout made under another umask must not make files that an image's user cannot read.
umask 022
cd "$(dirname "${BASH_SOURCE[0]}")"

# <upstream major>-<our revision>. Raise the revision when a published release must not see a change.
declare -A TAGS=(
  [base]=supalove/base:12-1
  [postgres]=supalove/postgres:15-2
  [gateway]=supalove/gateway:1-2
  [functions]=supalove/functions:2-1
  # Frozen: projects exist on releases that name them. Their costly layers are those of their successors.
  [postgres-15-1]=supalove/postgres:15-1
  [gateway-1-1]=supalove/gateway:1-1
)
ORDER=(postgres gateway functions postgres-15-1 gateway-1-1)
# An image with another base than `base`: a frozen one, once its base has a successor.
declare -A BASE_OF=()
LABEL=dev.supalove.inputs
# "as recorded", or what differs from packages.list.
PACKAGES_LABEL=dev.supalove.packages
# Tags, and the sha256 of the package lists that they were made with. Lines are added, never changed.
RECORDED=recorded.list

force=no record=no check=no
wanted=()
for argument in "$@"; do
  case "$argument" in
    --force) force=yes ;;
    --record) record=yes ;;
    --check) check=yes ;;
    -h | --help) sed -n '2,16p' "${BASH_SOURCE[0]}" | sed 's/^# \{0,1\}//'; exit 0 ;;
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

base_of() { echo "${BASE_OF[$1]:-base}"; } # image
base_inputs() { printf '%s\n' "${TAGS[$1]} $(uname -m) $(hash_folder "$1")" | sha256sum | cut -d' ' -f1; } # base
image_inputs() { # image
  printf '%s\n' "${TAGS[$1]} $(hash_folder "$1") $(hash_folder packages) $(base_inputs "$(base_of "$1")")" |
    sha256sum | cut -d' ' -f1
}

label_of() { docker image inspect --format "{{ index .Config.Labels \"$2\" }}" "$1" 2>/dev/null; } # tag, label
is_current() { [[ $force == no && $(label_of "$1" "$LABEL") == "$2" ]]; } # tag, inputs

# --- The versions of Debian packages ---

# sha256 of an image's list and of its base's.
hash_lists() { # image
  if [[ $1 == base* ]]; then cat "$1/packages.list"; else cat "$(base_of "$1")/packages.list" "$1/packages.list"; fi |
    sha256sum | cut -d' ' -f1
}
recorded_hash() { awk -v tag="${TAGS[$1]}" '$1 == tag { print $2 }' "$RECORDED"; } # image

check_lists() {
  local image code=0
  for image in "${!TAGS[@]}"; do
    [[ $(recorded_hash "$image") != "$(hash_lists "$image")" ]] || continue
    printf 'build.sh: %s\n' "${TAGS[$image]} was not made with the packages of $image/packages.list or its base's:" \
      '  give it a new tag in build.sh, then run: deploy/images/build.sh --record' >&2
    code=1
  done
  return "$code"
}

# An image whose list is about to be written has a tag that no list belongs to.
is_recording() { [[ $record == yes && -z $(recorded_hash "$1") ]]; } # image

# The packages of an image, as name=version. In: image id or tag.
packages_in() {
  docker run --rm --network none --user 0 --entrypoint dpkg-query "$1" --show --showformat '${Package}=${Version}\n' | sort
}
architecture_in() { docker run --rm --network none --user 0 --entrypoint dpkg "$1" --print-architecture; } # id or tag

# The packages that an image has beyond its base, as name=version.
own_packages() { # image, id
  packages_in "$2" >"$scratch/all"
  if [[ $1 == base* ]]; then cat "$scratch/all"; else comm -13 <(packages_in "${TAGS[$(base_of "$1")]}") "$scratch/all"; fi
}

write_list() { # image, id
  {
    echo "# The Debian packages of this image beyond its base's, as its tag was made with. Written by build.sh --record."
    echo "# architecture: $(architecture_in "$2")"
    own_packages "$1" "$2"
  } >"$scratch/list"
  mv "$scratch/list" "$1/packages.list"
  echo "${TAGS[$1]} $(hash_lists "$1")" >>"$RECORDED"
  say "${TAGS[$1]}: recorded $(grep -vc '^#' "$1/packages.list") packages"
}

# "as recorded", or each package that is not as in the list.
compare_packages() { # image, id
  local architecture recorded
  architecture=$(architecture_in "$2")
  recorded=$(sed -n 's/^# architecture: //p' "$1/packages.list")
  if [[ $architecture != "$recorded" ]]; then
    echo "newest: no versions are recorded for $architecture"
    return
  fi
  own_packages "$1" "$2" | awk -F= '
    FNR == NR { if (!/^#/) recorded[$1] = $2; next }
    { if (recorded[$1] != $2) changed[++count] = $1 "=" $2 " (recorded: " (recorded[$1] ? recorded[$1] : "none") ")"; delete recorded[$1] }
    END {
      for (name in recorded) changed[++count] = name " is missing (recorded: " recorded[name] ")"
      if (!count) { print "as recorded"; exit }
      printf "newer: %d packages differ:", count
      for (i = 1; i <= count; i++) printf "%s %s", (i > 1 ? "," : ""), changed[i]
      print ""
    }' "$1/packages.list" -
}

# In: image, what its label says.
warn_of_packages() {
  [[ $2 == 'as recorded' ]] ||
    say "warning: ${TAGS[$1]}: the mirror no longer has the recorded package versions, the image has others: $2"
}

# Gives a built image its labels and its tag, in this order: an image with the tag is complete. In: image, id, its inputs.
finish() {
  local packages='as recorded' inputs=$3
  if is_recording "$1"; then
    write_list "$1" "$2"
    # The list is one of the inputs.
    if [[ $1 == base* ]]; then inputs=$(base_inputs "$1"); else inputs=$(image_inputs "$1"); fi
  else
    packages=$(compare_packages "$1" "$2")
  fi
  echo "FROM $2" | DOCKER_BUILDKIT=0 docker build --quiet --label "$LABEL=$inputs" --label "$PACKAGES_LABEL=$packages" \
    --tag "${TAGS[$1]}" - >"$scratch/labels.log" 2>&1 || {
    cat "$scratch/labels.log" >&2
    fail "cannot give ${TAGS[$1]} its labels (the engine's words are above)"
  }
  warn_of_packages "$1" "$packages"
}

# --- Building ---

build_base() { # base
  local inputs id list=$1/packages.list
  inputs=$(base_inputs "$1")
  # --force rebuilds the base once per run, not once per image.
  if [[ -e $scratch/$1-done ]] || is_current "${TAGS[$1]}" "$inputs"; then return; fi
  ! is_recording "$1" || list=/dev/null
  say "${TAGS[$1]}: bootstrapping Debian"
  "$1/bootstrap.sh" "$scratch/base.tar" "$list"
  id=$(docker import --change 'ENV LANG=C.UTF-8' --change 'CMD ["/bin/bash"]' "$scratch/base.tar")
  finish "$1" "$id" "$inputs"
  rm -f "$scratch/base.tar"
  touch "$scratch/$1-done"
}

# Copies an image's folder to a scratch build context and lets it fetch what Docker cannot.
prepare_context() { # image
  cp -r "$1" "$scratch/$1"
  # Images with the same list share the layer with the packages.
  cp -r packages "$scratch/$1/packages"
  if is_recording "$1"; then rm "$scratch/$1/packages.list"; else mv "$scratch/$1/packages.list" "$scratch/$1/packages/"; fi
  chmod -R u=rwX,go=rX "$scratch/$1"
  if [[ -x $scratch/$1/fetch.sh ]]; then
    "$scratch/$1/fetch.sh" "$scratch/$1"
  fi
}

build_image() { # image
  local tag=${TAGS[$1]} base inputs started=$SECONDS proxy_arguments=() proxy
  base=$(base_of "$1")
  inputs=$(image_inputs "$1")
  if is_current "$tag" "$inputs"; then
    say "$tag: up to date"
    warn_of_packages "$1" "$(label_of "$tag" "$PACKAGES_LABEL")"
    return
  fi
  build_base "$base"
  inputs=$(image_inputs "$1")
  prepare_context "$1"
  # A proxy that the host's apt uses is needed inside the build as well; http_proxy is a predefined
  # build argument and leaves no trace in the image.
  proxy=$(apt-config dump --format '%v' Acquire::http::Proxy 2>/dev/null || true)
  [[ -z $proxy || $proxy == DIRECT ]] || proxy_arguments=(--build-arg "http_proxy=$proxy")
  say "$tag: building"
  if ! DOCKER_BUILDKIT=0 docker build "${proxy_arguments[@]}" --build-arg "BASE=${TAGS[$base]}" \
    --iidfile "$scratch/$1.id" "$scratch/$1" >"$scratch/$1.log" 2>&1; then
    tail -n 40 "$scratch/$1.log" >&2
    fail "building $tag failed (its last lines are above)"
  fi
  finish "$1" "$(cat "$scratch/$1.id")" "$inputs"
  rm -rf "${scratch:?}/$1"
  say "$tag: built in $((SECONDS - started)) s"
}

if [[ $check == yes ]]; then
  check_lists
  exit
fi
if [[ $record == no ]]; then
  check_lists || exit 1
fi
need docker 'apt-get install docker.io'
docker version --format '{{.Server.Version}}' >/dev/null 2>&1 ||
  fail "no Docker Engine answers at ${DOCKER_HOST:-the default socket}"

for image in "${wanted[@]}"; do
  build_image "$image"
done
