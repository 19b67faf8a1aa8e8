#!/usr/bin/env bash
# What the supervisor runs for the Docker Engine: clears pid files of processes that are gone, then becomes dockerd.
set -euo pipefail
# shellcheck source=deploy/dev/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=deploy/dev/dockerd.sh
. "$ROOT/deploy/dev/dockerd.sh"
clean_stale_pids
exec dockerd
