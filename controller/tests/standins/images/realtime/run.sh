#!/bin/bash
# The start of realtime as stack-contract.md §7.2 tells it: open files, migrations and seed as nobody, server.
set -euo pipefail

if [[ $(id -u) != 0 ]]; then
  echo "stand-in realtime: the contract is not met: it must start as root, not as uid $(id -u) (§7.2)" >&2
  exit 1
fi
# Ends here if the variable is not defined, as the original does (§7.1).
if [[ -n $RLIMIT_NOFILE ]]; then
  ulimit -Sn "$RLIMIT_NOFILE"
fi
sudo -E -u nobody /app/bin/stand-in realtime-migrate
exec "$@"
