#!/usr/bin/env bash
# The supervisor runs this for the Docker Engine: it removes what a killed engine left that prevents its start, then
# executes dockerd.
set -euo pipefail
# shellcheck source=deploy/dev/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=deploy/dev/dockerd.sh
. "$ROOT/deploy/dev/dockerd.sh"
clean_stale_pids
set_networks_aside "$LOGS/dockerd.log" "$(engine_data)" || true
exec dockerd
