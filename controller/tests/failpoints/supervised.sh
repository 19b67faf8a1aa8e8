#!/usr/bin/env bash
# Runs a controller as `make up` does where there is no systemd: under supervisord, with the configuration that
# deploy/dev/processes.sh writes. Returns only when it is ended; supervisord goes on until it is told to shut down.
#
# Usage: supervised.sh <folder> <program> [arguments...]
#        <folder>  an empty one: supervisord.conf, supervisor.sock and controller.log come there
set -euo pipefail
shopt -s extglob
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
for part in lib processes; do
  # shellcheck source=/dev/null
  . "$here/../../../deploy/dev/$part.sh"
done

folder=$1
shift
WORDS=("$@")
# shellcheck disable=SC2034  # for processes.sh
DATA=$folder LOGS=$folder SUPERVISOR_CONF=$folder/supervisord.conf SUPERVISOR_PID=$folder/supervisord.pid
# shellcheck disable=SC2034
PROCESSES=(controller)
# The real one names the paths and ports of `make up`. dockerd, which is always in the configuration, is never started.
# shellcheck disable=SC2034,SC2317
describe_process() { RUN_AS=$(id -un) STOP_SIGNAL=TERM ARGV=("${WORDS[@]}"); }

supervisor_install
supervisor_start controller
exec sleep infinity
