#!/usr/bin/env bash
# `make down`: stops what `make up` started and keeps the data. The next `make up` starts everything again.
set -euo pipefail
shopt -s extglob
here=$(dirname "${BASH_SOURCE[0]}")
for part in lib install release dockerd postgres processes fleet; do
  # shellcheck source=/dev/null
  . "$here/$part.sh"
done

need_rights
own_data || { say 'nothing to stop: there was no make up here'; exit 0; }
stop_processes
stop_fleet
stop_engine
say 'stopped; data kept'
