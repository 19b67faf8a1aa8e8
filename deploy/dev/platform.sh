# shellcheck shell=bash
# The steps of `make up` that use the API through the command line: first user, node, organization, project.
# Sourced.

OPERATOR_EMAIL=operator@supalove.local
ORGANIZATION=supalove
PROJECT=first
API=127.0.0.1:$PUBLIC_PORT

# Runs the command line with this checkout's session, like .supalove/bin/supalove.
# shellcheck disable=SC2153  # from lib.sh
supalove() { SUPALOVE_API=http://$API SUPALOVE_CREDENTIALS=$STATE/credentials.json "$DATA/bin/supalove" "$@"; }

write_wrapper() {
  cat >"$STATE/bin/supalove" <<WRAPPER
#!/bin/sh
# The command line, signed in as the operator of this checkout's platform, or as somebody else whose SUPALOVE_CREDENTIALS it
# is given. Written by \`make up\`.
own='$STATE/credentials.json'
SUPALOVE_API=http://$API SUPALOVE_CREDENTIALS="\${SUPALOVE_CREDENTIALS:-\$own}" exec $DATA/bin/supalove "\$@"
WRAPPER
  chmod 0700 "$STATE/bin/supalove"
}

check_setup() {
  case ${SETUP:-} in
    '') ;;
    browser) [[ -d $ROOT/dashboard ]] || die 'SETUP=browser needs the dashboard, which this checkout does not have' 'run: make up' ;;
    *) die "there is no SETUP=$SETUP" 'there is: SETUP=browser' ;;
  esac
}

# The controller generates the token anew at each start until somebody has used it.
print_set_up_link() {
  local token
  token=$(as_root cat "$CONTROLLER_HOME/setup-token" 2>/dev/null) ||
    die 'this platform has a first user' "sign in at $(dashboard_address)"
  cat <<LINK

Make the first user: $(dashboard_address)/set-up#token=$token
  The link works once. Then sign in here, for a node and a first project: .supalove/bin/supalove login && make up
LINK
}

# Creates the first user, or signs in as it. Afterwards there is a fresh access token.
ensure_session() {
  supalove token --fresh >/dev/null 2>&1 && return
  if as_root test -e "$CONTROLLER_HOME/setup-token"; then
    say "making the first user, $OPERATOR_EMAIL"
    as_root cat "$CONTROLLER_HOME/setup-token" | put_secret "$SECRETS/setup-token"
    if supalove setup --quiet --email "$OPERATOR_EMAIL" --display-name Operator --password-stdin \
      --setup-token-file "$SECRETS/setup-token" <"$SECRETS/operator.password" >/dev/null; then
      as_root rm -f "$CONTROLLER_HOME/setup-token" "$SECRETS/setup-token"
      return
    fi
  fi
  supalove login --email "$OPERATOR_EMAIL" --password-stdin <"$SECRETS/operator.password" >/dev/null ||
    die "cannot sign in as $OPERATOR_EMAIL" "see $(log_hint controller)" \
      'if the first user was made in a browser, sign in first: .supalove/bin/supalove login'
}

ensure_node() {
  if ! as_root test -e "$DATA/agent/identity.json"; then
    say 'joining this host with a join token'
    supalove join-token create --ttl 10m --output json | jq -er .joinToken | put_secret "$SECRETS/join-token"
    as_root "$DATA/bin/supalove-agent" join --controller "127.0.0.1:$NODE_PORT" \
      --token-file "$SECRETS/join-token" --state-dir "$DATA/agent" >/dev/null
    rm -f "$SECRETS/join-token"
  fi
  process_start agent
  wait_for 60 'the node is ready' node_is_ready || die 'the node is not ready' "see $(log_hint agent)"
}

node_is_ready() { supalove nodes list --output json | jq -e 'any(.nodes[]?; .state == "NODE_STATE_READY")'; }

ensure_organization() {
  local code=0
  supalove organizations get "$ORGANIZATION" >/dev/null 2>&1 || code=$?
  case $code in
    0) ;;
    5)
      say "making the organization $ORGANIZATION"
      supalove organizations create Supalove --slug "$ORGANIZATION" >/dev/null
      ;;
    *) supalove organizations get "$ORGANIZATION" >/dev/null ;;
  esac
# Only if nobody has chosen its plan yet.
  local held
  held=$(supalove entitlements get --organization "$ORGANIZATION" --output json)
  jq -e '.entitlements | (.assignedBy // "") == "" and .plan.name == "free"' <<<"$held" >/dev/null || return 0
  say "giving the organization $ORGANIZATION the plan premium"
  supalove plans assign premium --organization "$ORGANIZATION" --reason 'the organization of the operator' >/dev/null
}

project_json() {
  supalove projects list --organization "$ORGANIZATION" --output json |
    jq -c --arg name "$PROJECT" '[.projects[]? | select(.name == $name)][0] // empty'
}

# Sets PROJECT_REF. Returns with a running project, or dies with the reason.
ensure_project() {
  local project state
  project=$(project_json)
  if [[ -z $project ]]; then
    say "making the project $PROJECT (release $(cat "$STATE/release"))"
# On failure the command itself prints the last lines of the failed service.
    supalove projects create "$PROJECT" --organization "$ORGANIZATION" --release "$(cat "$STATE/release")" >/dev/null ||
      die "the project $PROJECT is not up" "see $(log_hint agent)"
    project=$(project_json)
  fi
  PROJECT_REF=$(jq -r .ref <<<"$project")
  state=$(jq -r .state <<<"$project")
  if [[ $state == PROJECT_STATE_INACTIVE ]]; then
    say "starting the project $PROJECT"
    supalove projects start "$PROJECT_REF" >/dev/null || project_failed
  fi
  watch_until_healthy 10m
  GATEWAY=$(supalove projects connection "$PROJECT_REF" --output json | jq -r .apiUrl)
# The state may be older than a `make down`, so ask the gateway.
  wait_for 120 "project $PROJECT_REF is ACTIVE_HEALTHY and answers" hello || project_failed
  watch_until_healthy 2m
}

watch_until_healthy() { # time
  supalove projects watch "$PROJECT_REF" --until ACTIVE_HEALTHY --for "$1" >/dev/null || project_failed
}

# Dies with the message of the last failed operation and the last log lines of unhealthy services.
project_failed() {
  local project
  supalove operations list "$PROJECT_REF" --output json | failed_operation >&2 || true
  project=$(supalove projects get "$PROJECT_REF" --output json) || true
  unhealthy_services <<<"$project" | while IFS=$'\t' read -r service state; do
    printf 'service %s is %s; last lines of its log:\n' "$service" "$state"
    service_log "$service" | sed 's/^/  /'
  done >&2
  die "project $PROJECT_REF is not healthy: $(jq -r '.project | [.state, .stateReason // empty] | join(" - ")' <<<"$project")" \
    "see $(log_hint agent)"
}

# Prints the newest failed operation of a list.
failed_operation() {
  jq -r '[.operations[]? | select(.error)][0] // empty
    | "operation \(.id): \(.error.reason): \(.error.message)", (.error.logTail[]? | "  " + .)'
}

# Prints name and state of every unhealthy service of a project.
unhealthy_services() {
  jq -r '.project.services[]? | select(.state != "SERVICE_STATE_HEALTHY")
    | "\(.name)\t\(.state // "" | ltrimstr("SERVICE_STATE_"))"'
}

service_log() { # service
  local container
  container=$(docker_ ps --all --quiet --filter "label=supalove.project=$PROJECT_REF" \
    --filter "label=supalove.service=$1" | head -n 1)
  if [[ -z $container ]]; then echo 'it has no container'; else docker_ logs --tail 20 "$container" 2>&1; fi
}

hello() { curl --silent --fail --max-time 5 --output /dev/null "$GATEWAY/functions/v1/hello"; }

# Prints the address of the dashboard, if the controller was built with it.
dashboard_address() {
  local kind
  kind=$(curl --silent --max-time 5 --output /dev/null --write-out '%{content_type}' "http://$API/") || return 0
  [[ $kind != text/html* ]] || echo "http://$API"
}

# Writes everything that later scripts and tests need. Secrets come from files and pipes, not from arguments.
write_up_json() {
  jq -n --arg api "http://$API" --arg dashboard "$(dashboard_address)" --arg email "$OPERATOR_EMAIL" --arg organization "$ORGANIZATION" \
    --rawfile password "$SECRETS/operator.password" --rawfile token <(supalove token) \
    --slurpfile project <(supalove projects get "$PROJECT_REF" --output json) \
    --slurpfile keys <(supalove projects keys "$PROJECT_REF" --reveal --output json) \
    --slurpfile connection <(supalove projects connection "$PROJECT_REF" --reveal --output json) \
    '{
      api: $api, dashboard: (if $dashboard == "" then null else $dashboard end), email: $email, password: ($password | rtrimstr("\n")), access_token: ($token | rtrimstr("\n")),
      organization: $organization, project_ref: $project[0].project.ref, release: $project[0].project.release,
      services: [$project[0].project.services[]?.name], gateway_url: $connection[0].apiUrl,
      anon_key: $keys[0].anonKey, service_role_key: $keys[0].serviceRoleKey, db_url: $connection[0].dbUrl
    }' | put_secret "$STATE/up.json"
# For psql, so that no command line contains the password.
  supalove projects connection "$PROJECT_REF" --reveal --output json |
    jq -r '"[first]\nhost=\(.dbHost)\nport=\(.dbPort)\nuser=\(.dbUser)\npassword=\(.dbPassword)\ndbname=\(.dbName)"' |
    put_secret "$STATE/pg_service.conf"
}

# The printed commands work when pasted in this folder.
# Names the projects whose release has known holes, and the command that closes them.
print_outdated() {
  local outdated
  outdated=$(supalove platform outdated --output json |
    jq -r '.projects[]? | "  \(.name) (\(.projectRef), release \(.release)): " + ([.knownHoles[].id] | join(", ")) +
      (if .upgradeTo then "; close them with: .supalove/bin/supalove projects upgrade \(.projectRef)" else "" end)')
  [[ -n $outdated ]] || return 0
  printf '\nThese projects run releases with known holes:\n%s\n' "$outdated"
}

print_what_to_try() {
  local dashboard
  dashboard=$(dashboard_address)
  [[ -z $dashboard ]] || cat <<TRY

The dashboard: $dashboard
  Sign in as $OPERATOR_EMAIL; the password is in .supalove/secrets/operator.password.
TRY
  cat <<TRY

Supalove is up. The project "$PROJECT" ($PROJECT_REF, release $(jq -r .release "$STATE/up.json")) answers at $GATEWAY

  A function:      curl $GATEWAY/functions/v1/hello
  The database:    PGSERVICEFILE=.supalove/pg_service.conf psql service=first -c 'select current_user, version()'
TRY
  if has grpcurl; then
    cat <<TRY
  The API:         grpcurl -plaintext -H "authorization: Bearer \$(.supalove/bin/supalove token)" $API supalove.v1.ProjectService/ListProjects
TRY
  fi
  cat <<TRY
  The platform:    .supalove/bin/supalove projects get $PROJECT

Addresses, keys and passwords are in .supalove/up.json. \`make down\` stops everything and keeps the data;
\`make clean\` removes it.
TRY
}
