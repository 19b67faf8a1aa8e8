# shellcheck shell=bash
# Builds the programs of `make up` with the dashboard in the controller, and gets the images of the release at the same time. Sourced.

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

# Pulling uses the network while the compiler uses the processor, and the dashboard is built beside the programs. The first failure
# ends all.
build() {
  local images dashboard programs started=$SECONDS
  say "building the programs and getting the images of $(cat "$STATE/release")"
  get_images >"$LOGS/images.log" 2>&1 &
  images=$!
  "$ROOT/deploy/dev/dashboard.sh" build >"$LOGS/dashboard.log" 2>&1 &
  dashboard=$!
  (build_programs) &
  programs=$!
  while is_alive "$programs"; do
    has_not_failed "$images" || images_failed "$programs" "$dashboard"
    has_not_failed "$dashboard" || dashboard_failed "$programs" "$images"
    sleep 0.2
  done
  wait "$programs" || programs_failed "$images" "$dashboard"
  [[ ! -d $ROOT/dashboard ]] || embed_dashboard "$dashboard" "$images"
  say "built in $((SECONDS - started)) s"
  if is_alive "$images"; then say "getting the images (log: .supalove/log/images.log)"; fi
  wait "$images" || images_failed
  say 'the engine has all images'
}

# Whether it still runs, or has ended well.
has_not_failed() { is_alive "$1" || wait "$1"; } # pid

# After the programs, of which only the controller is then built again: a build of all must not wait for the dashboard.
embed_dashboard() { # pid of its build, pid of the images
  if is_alive "$1"; then say 'building the dashboard (log: .supalove/log/dashboard.log)'; fi
  wait "$1" || dashboard_failed "$2"
  "$ROOT/deploy/dev/dashboard.sh" place
  (build_programs) || programs_failed "$2"
}

end_all() { # pid...
  local pid
  for pid in "$@"; do end_process "$pid" 5; done
}

programs_failed() { # pids of what is at work
  end_all "$@"
  die 'cannot build the programs' 'the messages of cargo are above'
}

dashboard_failed() { # pids of what is at work
  end_all "$@"
  tail -n 30 "$LOGS/dashboard.log" >&2
  die 'cannot build the dashboard' "the last words are above; all of them: $LOGS/dashboard.log"
}

images_failed() { # pids of what is at work
  end_all "$@"
  tail -n 30 "$LOGS/images.log" >&2
  die "the images of $(cat "$STATE/release") are not available" \
    "the last words are above; all of them: $LOGS/images.log" "the release $LOCAL needs no image registry: make up RELEASE=$LOCAL"
}
