#!/usr/bin/env bash
# Tests of the parts of these scripts that need no services but a Docker Engine with the local images.
set -euo pipefail
shopt -s extglob
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
for part in lib install release build dockerd postgres processes platform fleet; do
  # shellcheck source=/dev/null
  . "$here/$part.sh"
done

# shellcheck source=deploy/dev/testing.sh
. "$here/testing.sh"

expect 'a newer version is enough' 0 "$(code_of at_least 1.100.0 1.95)"
expect 'the same version is enough' 0 "$(code_of at_least 1.95.0 1.95)"
expect 'an older version is not' 1 "$(code_of at_least 1.94.1 1.95)"

printf 'secret' | put_secret "$scratch/secret"
expect 'a secret is its owner'"'"'s' 600 "$(stat -c %a "$scratch/secret")"
printf 'other' | put_secret "$scratch/secret"
expect 'a secret can be replaced' other "$(cat "$scratch/secret")"
expect 'a key has 32 bytes' 32 "$(random_key | base64 -d | wc -c)"
expect 'a password fits into a URL' 0 "$(code_of grep -qE '^[0-9a-f]{40}$' <(random_password))"

expect 'this shell is alive' 0 "$(code_of is_alive $$)"
sleep 0 & gone=$!
wait "$gone"
expect 'a process that ended is not' 1 "$(code_of is_alive "$gone")"
expect 'nothing is not' 1 "$(code_of is_alive '')"
expect 'this shell is no Docker Engine' 1 "$(code_of is_engine_process $$)"
sleep 100 & sleeper=$!
end_process "$sleeper" 5
expect 'a process is ended by its id' 1 "$(code_of is_alive "$sleeper")"

expect 'words are quoted' '"a" "b c"' "$(quoted a 'b c')"
expect 'a word that would be expanded is refused' 1 "$(code_of quoted 'a%b')"

count() { printf '%s\n' "$2" >"$scratch/output"; "$here/count.sh" "$1" "$scratch/output"; }
expect 'cargo is counted' '10 passed, 1 failed' "$(count 1 'test result: ok. 8 passed; 0 failed; 0 ignored
test result: FAILED. 2 passed; 1 failed; 0 ignored')"
expect 'Deno is counted' '3 passed, 0 failed' "$(count 0 'ok | 3 passed | 0 failed (12ms)')"
expect 'Deno'"'"'s failures are counted' '3 passed, 2 failed' "$(count 1 'FAILED | 3 passed | 2 failed (12ms)')"
expect 'scripts are counted' '4 passed, 0 failed' "$(count 0 '4 passed, 0 failed')"
expect 'other lines are not' '0 passed, 0 failed' "$(count 0 'it passed 3 passed tests')"
expect 'a step that failed without a test counts' '1 passed, 1 failed' "$(count 1 '1 passed, 0 failed')"

expect 'an unknown release is refused' 1 "$(RELEASE=nothing code_of check_release)"
expect 'no release is fine' 0 "$(RELEASE='' code_of check_release)"

printf '    image: %s\n' 127.0.0.1:9/absent:1 127.0.0.1:9/other:1 127.0.0.1:9/absent:1 >"$scratch/stack.yaml"
expect 'the images of a release are listed once' '127.0.0.1:9/absent:1 127.0.0.1:9/other:1' \
  "$(images_of "$scratch/stack.yaml" | xargs)"
# shellcheck disable=SC2317
refusal=$(
  docker_() { [[ ${*: -1} == */other:1 ]] && echo true; }
  refuse_stand_ins "$scratch/stack.yaml" 2>&1
) || true
expect 'a test image under an official name is refused' 1 "$(grep -c '9/other:1 on this engine' <<<"$refusal")"
# shellcheck disable=SC2317
expect 'other images are not' 0 "$(docker_() { return 1; }; code_of refuse_stand_ins "$scratch/stack.yaml")"
# Nothing listens on port 9; engines take registries on loopback.
pulling=$SECONDS
expect 'an image that cannot be pulled ends the pull' 1 "$(code_of pull_images "$scratch/stack.yaml")"
expect 'at once' 0 "$(code_of test $((SECONDS - pulling)) -lt 60)"
expect 'with the words of the engine' 1 "$(pull_images "$scratch/stack.yaml" 2>&1 | grep -c 'connection refused' || true)"
expect 'and no other is tried' 'pulling 127.0.0.1:9/absent:1' \
  "$(pull_images "$scratch/stack.yaml" 2>&1 | grep '^pulling' || true)"
printf '    image: %s\n' "$(docker_ image ls --format '{{.Repository}}:{{.Tag}}' supalove/base | head -n 1)" \
  >"$scratch/stack.yaml"
expect 'an image that is there is not pulled' '' "$(pull_images "$scratch/stack.yaml" 2>&1)"

# The build does not wait for the compiler if the images are not available.
# shellcheck disable=SC2034,SC2317  # of build.sh
if build_said=$(
  STATE=$scratch LOGS=$scratch
  echo other >"$scratch/release"
  get_images() { echo 'no such host' && return 1; }
  build_programs() { exec sleep 600; }
  build 2>&1
); then build_code=0; else build_code=$?; fi
expect 'a build without images ends' 1 "$build_code"
expect 'with the reason' 1 "$(grep -c '^no such host' <<<"$build_said")"
expect 'and names the release' 1 "$(grep -c 'the images of other are not available' <<<"$build_said")"
# shellcheck disable=SC2034,SC2317
if build_said=$(
  STATE=$scratch LOGS=$scratch
  get_images() { exec sleep 600; }
  build_programs() { echo 'error[E0308]' && return 101; }
  build 2>&1
); then build_code=0; else build_code=$?; fi
expect 'a build that the compiler refuses ends' 1 "$build_code"
expect 'with its words' 1 "$(grep -c 'E0308' <<<"$build_said")"

expect 'of the operations, the newest that failed is told, with the last lines' \
  "operation opr_2: SERVICE_EXITED: postgres ended with code 1
  FATAL: no password" "$(failed_operation <<<'{"operations": [{"id": "opr_3"}, {"id": "opr_2", "error": {"reason":
    "SERVICE_EXITED", "message": "postgres ended with code 1", "logTail": ["FATAL: no password"]}},
    {"id": "opr_1", "error": {"reason": "OLD", "message": "old"}}]}')"
expect 'no failed operation, no words' '' "$(failed_operation <<<'{"operations": [{"id": "opr_3"}]}')"
expect 'services that are not healthy are told' $'auth\tSTARTING' "$(unhealthy_services <<<'{"project": {"services":
  [{"name": "postgres", "state": "SERVICE_STATE_HEALTHY"}, {"name": "auth", "state": "SERVICE_STATE_STARTING"}]}}')"

expect 'the table is named after the node' supalove_2405c3ee "$(rules_table nod_01a2044bdd04735a9fc927779c467202)"

# What is in a command line can be read by everybody.
describe_process controller
expect 'the controller gets its secrets in files' 0 "$(code_of grep -q -- '--master-key-file' <<<"${ARGV[*]}")"
expect 'and no address with a password' 1 "$(code_of grep -q 'postgresql://' <<<"${ARGV[*]}")"

end_of_tests
