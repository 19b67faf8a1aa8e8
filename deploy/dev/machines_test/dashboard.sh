# shellcheck shell=bash
# The dashboard: none in the checkout, built, current, changed, broken; and what `make up` does with it. Sourced by machines_test.sh.
# shellcheck disable=SC2154,SC2317  # scratch is of testing.sh; what takes the place of a function is called by others

# Of git nothing that lies above.
export GIT_CEILING_DIRECTORIES=$scratch
checkout="$scratch/a checkout"
placed=$checkout/controller/dashboard/export
# A checkout that git knows, with a dashboard.
plant_dashboard() {
  plant
  rm -rf -- "$checkout"
  mkdir -p "$checkout"/{deploy,dashboard,proto,sdk/typescript/proto,controller/dashboard}
  cp -r "$here/../dev" "$checkout/deploy/"
  cp -r "$here/../../controller/dashboard/export" "$placed"
  find "$placed" -mindepth 1 ! -name .gitignore -delete
  printf 'node_modules\nout\n' >"$checkout/.gitignore"
  echo lock >"$checkout/dashboard/package-lock.json"
  echo page >"$checkout/dashboard/page.tsx"
  echo message >"$checkout/proto/a.proto"
  git -C "$checkout" init --quiet
  stand_in node 'echo v24.0.0'
  # Its build makes a page of the sources, as Next does into a new folder.
  stand_in npm 'folder=${3:-}
    [[ $1 != ci ]] || mkdir -p "$folder/node_modules"
    [[ "$1 $5" == "run build" ]] || exit 0
    [[ ! -e '"$scratch"'/broken ]] || { echo "Type error: page.tsx"; exit 1; }
    rm -rf "$folder/out" && mkdir "$folder/out" && cp "$folder"/page.tsx "$folder/out/index.html"
    [[ -e '"$scratch"'/lost ]] || echo lost >"$folder/out/404.html"'
  rm -f "$scratch"/{broken,lost}
}
dashboard_() { with_stand_ins "$checkout/deploy/dev/dashboard.sh" "$@"; }
builds() { called 'npm run .* build'; }

plant_dashboard
rm -r "$checkout/dashboard"
expect 'a checkout without a dashboard builds none' 0 "$(code_of dashboard_)"
expect 'and asks no npm' 0 "$(called npm)"

plant_dashboard
expect 'a dashboard is built' 0 "$(code_of dashboard_)"
expect 'and lies where the controller embeds it' '404.html index.html' "$(cd "$placed" && echo *.html)"
expect 'git does not see it there' '' "$(git -C "$checkout" status --porcelain --untracked-files=all "$placed" | grep html)"
expect 'what is current' 0 "$(code_of dashboard_)"
expect 'is not built again' '1 1' "$(builds) $(called 'npm ci')"
touch -d '1 hour ago' "$placed"/*
echo other >"$checkout/proto/a.proto"
expect 'a changed message of the API' 0 "$(code_of dashboard_)"
expect 'has it built again' 2 "$(builds)"
expect 'and what came out the same stays as it is, for cargo' '' "$(find "$placed" -name '*.html' -mmin -30)"
echo 'other page' >"$checkout/dashboard/page.tsx"
expect 'a changed page' 0 "$(code_of dashboard_)"
expect 'takes its place' 'other page' "$(cat "$placed/index.html")"
touch "$placed/gone.html"
expect 'what is no longer there' 0 "$(code_of dashboard_)"
expect 'goes, and only that' '.gitignore .sources 404.html index.html' "$(cd "$placed" && shopt -s dotglob && echo *)"
echo 'third page' >"$checkout/dashboard/page.tsx"
expect 'built, but not placed' 0 "$(code_of dashboard_ build)"
expect 'the controller keeps what it has' 'other page' "$(cat "$placed/index.html")"

touch "$scratch/broken"
echo 'fourth page' >"$checkout/dashboard/page.tsx"
expect 'a build that fails ends the run' 1 "$(code_of dashboard_)"
expect_words 'with the words of npm' 'Type error: page.tsx' "$(words_of dashboard_)"
rm "$scratch/broken"
touch "$scratch/lost"
expect_words 'a build that leaves half of it does too' 'the build left no dashboard' "$(words_of dashboard_)"
expect 'and nothing of it is placed' 'other page' "$(cat "$placed/index.html")"
rm "$scratch/lost"
before=$(builds)
expect 'the checks' 0 "$(code_of dashboard_ check)"
expect 'build nothing' "$before" "$(builds)"
expect_words 'an unknown step is named' "no step 'serve'" "$(words_of dashboard_ serve)"

plant_dashboard
rm -rf "$checkout/.git"
expect 'where git knows nothing' 0 "$(code_of dashboard_)"
expect 'nor does this' '0 2' "$(code_of dashboard_) $(builds)"

# --- In `make up` ---

# The programs take a moment; each build of them notes what it embeds.
build_here() {
  (
    # shellcheck disable=SC2034  # build.sh reads them
    ROOT=$checkout STATE=$scratch/state LOGS=$scratch/state/log
    mkdir -p "$LOGS"
    echo core-3 >"$STATE/release"
    get_images() { true; }
    build_programs() { sleep 0.3 && echo "programs: $(cat "$placed/index.html" 2>/dev/null)"; }
    build
  )
}
plant_dashboard
expect_words 'make up embeds what it has built' 'programs: page' "$(with_stand_ins words_of build_here)"
touch "$scratch/broken"
echo 'other page' >"$checkout/dashboard/page.tsx"
expect_words 'a dashboard that cannot be built ends it' 'cannot build the dashboard' "$(with_stand_ins words_of build_here)"
expect_words 'with the last words of its log' 'Type error: page.tsx' "$(with_stand_ins words_of build_here)"
rm -r "$checkout/dashboard"
expect 'without a dashboard it builds the programs once' 1 "$(with_stand_ins words_of build_here | grep -c '^programs:')"

# --- Its address, and the first user ---

# A controller that answers with this type of content.
plant_controller() { stand_in curl "printf '%s' '$1'"; }
plant
plant_controller 'text/html; charset=utf-8'
expect 'a controller with the dashboard has its address' "http://$API" "$(with_stand_ins dashboard_address)"
expect_words 'without a set-up token there is a user already' "sign in at http://$API" "$(with_stand_ins words_of print_set_up_link)"
plant_file "${CONTROLLER_HOME#"$SYSTEM"}/setup-token" 'abc-_1'
expect_words 'the link has the token behind the hash' "http://$API/set-up#token=abc-_1" "$(with_stand_ins print_set_up_link)"
plant_controller 'text/plain; charset=utf-8'
expect 'one without has none' '' "$(with_stand_ins dashboard_address)"
stand_in curl 'exit 7'
expect 'nor has one that does not answer' '0 ' "$(with_stand_ins code_of dashboard_address) $(with_stand_ins dashboard_address)"
expect_words 'an unknown way is named' 'no SETUP=terminal' "$(SETUP=terminal words_of check_setup)"
expect_words 'a browser needs the dashboard' 'which this checkout does not have' \
  "$(ROOT=$checkout SETUP=browser words_of check_setup)"
expect 'nothing need be said' 0 "$(code_of check_setup)"
