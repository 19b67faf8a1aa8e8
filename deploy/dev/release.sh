# shellcheck shell=bash
# Which stack release the first project runs. Sourced.

STACKS=$ROOT/deploy/stacks
OFFICIAL=supabase-2025.12
# The smallest image of the official release: whether it can be pulled decides.
PROBE_IMAGE=postgrest/postgrest

# A wrong RELEASE ends the run before anything is done.
check_release() {
  [[ -z ${RELEASE:-} || -f $STACKS/$RELEASE/stack.yaml ]] || die "there is no release '$RELEASE'" "there are: $(releases)"
}

releases() { (cd "$STACKS" && for file in */stack.yaml; do printf '%s ' "${file%/stack.yaml}"; done); }

# Leaves the release's name in $STATE/release. It stays what it was unless RELEASE says otherwise.
choose_release() {
  local before release
  before=$(cat "$STATE/release" 2>/dev/null || true)
  release=${RELEASE:-$before}
  [[ -n $release ]] || release=$(best_release)
  [[ $release == "$before" ]] || echo "$release" >"$STATE/release"
}

chosen_release() { cat "$STATE/release" 2>/dev/null || echo core; }

best_release() {
  if [[ ! -f $STACKS/$OFFICIAL/stack.yaml ]]; then
    say "release: core, with the local image set" >&2
    echo core
  elif official_images_can_be_pulled; then
    say "release: $OFFICIAL, whose images can be pulled here" >&2
    echo "$OFFICIAL"
  else
    say "release: core, with the local image set: no image could be pulled within 10 s" >&2
    echo core
  fi
}

official_images_can_be_pulled() {
  local image
  image=$(grep -o "${PROBE_IMAGE}[^ \"']*" "$STACKS/$OFFICIAL/stack.yaml" | head -n 1)
  [[ -n $image ]] || return 1
  say "trying to pull $image for at most 10 s" >&2
  docker_within 10 pull --quiet "$image" >/dev/null 2>&1
}
