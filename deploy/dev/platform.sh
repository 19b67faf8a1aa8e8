# shellcheck shell=bash
# What `make up` does through the API, with the command line as any user would: the first user, the node, the
# organization, the project. Sourced.

OPERATOR_EMAIL=operator@supalove.local
ORGANIZATION=supalove
PROJECT=first
API=127.0.0.1:$PUBLIC_PORT

# The command line with this checkout's session. The same as the .supalove/bin/supalove that users get.
# shellcheck disable=SC2153  # from lib.sh
supalove() { SUPALOVE_API=http://$API SUPALOVE_CREDENTIALS=$STATE/credentials.json "$DATA/bin/supalove" "$@"; }

write_wrapper() {
  cat >"$STATE/bin/supalove" <<WRAPPER
#!/bin/sh
# The command line, signed in as the operator of this checkout's platform. Written by \`make up\`.
SUPALOVE_API=http://$API SUPALOVE_CREDENTIALS='$STATE/credentials.json' exec $DATA/bin/supalove "\$@"
WRAPPER
  chmod 0700 "$STATE/bin/supalove"
}

# Makes the first user, or signs in as it. At every run there is a fresh access token afterwards.
ensure_session() {
  supalove token --fresh >/dev/null 2>&1 && return
  if [[ -e $SECRETS/setup-token ]]; then
    say "making the first user, $OPERATOR_EMAIL"
    if supalove setup --quiet --email "$OPERATOR_EMAIL" --display-name Operator --password-stdin \
      --setup-token-file "$SECRETS/setup-token" <"$SECRETS/operator.password" >/dev/null; then
      rm -f "$SECRETS/setup-token"
      return
    fi
  fi
  supalove login --email "$OPERATOR_EMAIL" --password-stdin <"$SECRETS/operator.password" >/dev/null ||
    die "could not sign in as $OPERATOR_EMAIL" "see $(log_hint controller)"
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
}

project_json() {
  supalove projects list --organization "$ORGANIZATION" --output json |
    jq -c --arg name "$PROJECT" '[.projects[]? | select(.name == $name)][0] // empty'
}

# Leaves PROJECT_REF. Every way ends with a project that is up, or with the reason why not.
ensure_project() {
  local project state
  project=$(project_json)
  if [[ -z $project ]]; then
    say "making the project $PROJECT (release $(cat "$STATE/release"))"
    # If it fails, its own words end with the failing service's last lines.
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
  # The state may be from before a `make down`; the gateway's own answer is not.
  wait_for 120 "project $PROJECT_REF is ACTIVE_HEALTHY and answers" hello || project_failed
  watch_until_healthy 2m
}

watch_until_healthy() { # time
  supalove projects watch "$PROJECT_REF" --until ACTIVE_HEALTHY --for "$1" >/dev/null || project_failed
}

# Ends the run with the reason: what the last failed operation says, and the last lines of what is not healthy now.
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

# The newest failed operation of a list, as text.
failed_operation() {
  jq -r '[.operations[]? | select(.error)][0] // empty
    | "operation \(.id): \(.error.reason): \(.error.message)", (.error.logTail[]? | "  " + .)'
}

# Name and state of every service of a project that is not healthy.
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

# Everything a script or a test needs to go on. Secrets come from files and pipes, not from arguments.
write_up_json() {
  jq -n --arg api "$API" --arg email "$OPERATOR_EMAIL" --arg organization "$ORGANIZATION" \
    --rawfile password "$SECRETS/operator.password" --rawfile token <(supalove token) \
    --slurpfile project <(supalove projects get "$PROJECT_REF" --output json) \
    --slurpfile keys <(supalove projects keys "$PROJECT_REF" --reveal --output json) \
    --slurpfile connection <(supalove projects connection "$PROJECT_REF" --reveal --output json) \
    '{
      api: $api, email: $email, password: ($password | rtrimstr("\n")), access_token: ($token | rtrimstr("\n")),
      organization: $organization, project_ref: $project[0].project.ref, release: $project[0].project.release,
      services: [$project[0].project.services[]?.name], gateway_url: $connection[0].apiUrl,
      anon_key: $keys[0].anonKey, service_role_key: $keys[0].serviceRoleKey, db_url: $connection[0].dbUrl
    }' | put_secret "$STATE/up.json"
  # For psql, so that no password stands in a command line.
  supalove projects connection "$PROJECT_REF" --reveal --output json |
    jq -r '"[first]\nhost=\(.dbHost)\nport=\(.dbPort)\nuser=\(.dbUser)\npassword=\(.dbPassword)\ndbname=\(.dbName)"' |
    put_secret "$STATE/pg_service.conf"
}

# What is printed here works when pasted, in this folder.
print_what_to_try() {
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
