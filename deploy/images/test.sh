#!/usr/bin/env bash
# Runs the tests of the newest functions router inside the functions image: offline, as hardened as in a project.
# Needs the image (build.sh) and nothing else.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
first=$(cd ../stacks/shared/functions && pwd)
changed=$(cd ../stacks/shared/2/functions && pwd)

# The engine may run elsewhere (DOCKER_HOST), so the sources go in as a stream, not as a mount.
tar --create --directory "$first" . --directory "$changed" . | docker run --rm --interactive --network none --read-only \
  --cap-drop ALL --security-opt no-new-privileges --user 1993:1993 --memory 512m --pids-limit 256 \
  --tmpfs /tmp:mode=1777,uid=1993,gid=1993 --tmpfs /deno-dir:mode=0755,uid=1993,gid=1993 --env NO_COLOR=1 \
  supalove/functions:2-1 sh -c 'mkdir /tmp/router && tar --extract --directory /tmp/router && exec deno test \
    --no-lock --allow-all /tmp/router/router_test.ts'
