# shellcheck shell=bash
# Chooses the stack release of the first project. Sourced.

STACKS=$ROOT/deploy/stacks
OFFICIAL=supabase-2025.12-3
# The release of the local image set.
LOCAL=core-3
# The smallest image of the official release. If it can be pulled, that release is chosen.
PROBE_IMAGE=postgrest/postgrest

# Dies early if RELEASE is wrong.
check_release() {
  [[ -z ${RELEASE:-} || -f $STACKS/$RELEASE/stack.yaml ]] || die "there is no release '$RELEASE'" "there are: $(releases)"
}

releases() { (cd "$STACKS" && for file in */stack.yaml; do printf '%s ' "${file%/stack.yaml}"; done); }

# Writes the release's name to $STATE/release. Keeps an earlier choice unless RELEASE is set.
choose_release() {
  local before release
  before=$(cat "$STATE/release" 2>/dev/null || true)
  release=${RELEASE:-$before}
  [[ -n $release ]] || release=$(best_release)
  [[ $release == "$before" ]] || echo "$release" >"$STATE/release"
}

chosen_release() { cat "$STATE/release" 2>/dev/null || echo "$LOCAL"; }

best_release() {
  if [[ ! -f $STACKS/$OFFICIAL/stack.yaml ]]; then
    say "release: $LOCAL, with the local image set" >&2
    echo "$LOCAL"
  elif official_images_can_be_pulled; then
    say "release: $OFFICIAL, whose images can be pulled here" >&2
    echo "$OFFICIAL"
  else
    say "release: $LOCAL, with the local image set: no image could be pulled within 10 s" >&2
    echo "$LOCAL"
  fi
}

official_images_can_be_pulled() {
  local image
  image=$(grep -o "${PROBE_IMAGE}[^ \"']*" "$STACKS/$OFFICIAL/stack.yaml" | head -n 1)
  [[ -n $image ]] || return 1
  say "trying to pull $image for at most 10 s" >&2
  docker_within 10 pull --quiet "$image" >/dev/null 2>&1
}
