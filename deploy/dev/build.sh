# shellcheck shell=bash
# Builds the programs of `make up`, and gets the images of the release at the same time. Sourced.

# Timeout of one image. The largest official ones have about a gigabyte.
PULL_SECONDS=900

# Same profile as the tests, so that both share one build.
# exec, so that ending this process ends the compiler.
build_programs() { cd "$ROOT" && exec cargo build --workspace --exclude supalove-bench --exclude supalove-system-tests --bins --locked; }

build_image_set() {
  local site
  if is_root; then
    "$ROOT/deploy/images/build.sh"
  else
    mapfile -t site < <(site_environment)
    as_root env "${site[@]}" "DOCKER_HOST=$DOCKER_HOST" "PATH=$PATH" "$ROOT/deploy/images/build.sh"
  fi
}

# The images that a stack.yaml names, one per line.
images_of() { awk '$1 == "image:" { print $2 }' "$1" | sort -u; }

# Refuses test images under official tags (controller/tests/standins), because they are not Supabase.
refuse_stand_ins() { # stack.yaml
  local image
  for image in $(images_of "$1"); do
    is_stand_in "$image" || continue
    die "the image $image on this engine is a test image that stands in for the official one" \
      'remove such images with: controller/tests/standins/build.sh --remove'
  done
}

is_stand_in() { # image
  [[ $(docker_ image inspect --format '{{ index .Config.Labels "supalove.stand-in" }}' "$1" 2>/dev/null) == true ]]
}

# Pulls missing images. The agent would pull them too, but it retries until the operation's deadline; here the first
# refusal ends the run with the engine's message.
pull_images() { # stack.yaml
  local image
  for image in $(images_of "$1"); do
    docker_ image inspect "$image" >/dev/null 2>&1 && continue
    echo "pulling $image"
    if ! docker_within "$PULL_SECONDS" pull --quiet "$image"; then
      echo "cannot pull the image $image"
      return 1
    fi
  done
}

get_images() {
  local release
  release=$(cat "$STATE/release")
  if [[ $release == core || $release == core-* ]]; then build_image_set; else pull_images "$STACKS/$release/stack.yaml"; fi
}

# Pulling uses the network while the compiler uses the processor. The first failure ends both.
build() {
  local images programs started=$SECONDS
  say "building the programs and getting the images of $(cat "$STATE/release")"
  get_images >"$LOGS/images.log" 2>&1 &
  images=$!
  (build_programs) &
  programs=$!
  while is_alive "$images" && is_alive "$programs"; do sleep 0.2; done
  if ! is_alive "$images"; then wait "$images" || images_failed "$programs"; fi
  if ! wait "$programs"; then
    end_process "$images" 5
    die 'cannot build the programs' 'the messages of cargo are above'
  fi
  say "built in $((SECONDS - started)) s"
  if is_alive "$images"; then say "getting the images (log: .supalove/log/images.log)"; fi
  wait "$images" || images_failed
  say 'the engine has all images'
}

images_failed() { # pid of the compiler, if it is at work
  [[ -z ${1:-} ]] || end_process "$1" 5
  tail -n 30 "$LOGS/images.log" >&2
  die "the images of $(cat "$STATE/release") are not available" \
    "the last words are above; all of them: $LOGS/images.log" "the release $LOCAL needs no image registry: make up RELEASE=$LOCAL"
}
