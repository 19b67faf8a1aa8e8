#!/usr/bin/env bash
# `make clean`: stops everything and removes what `make up` made: processes, containers, networks, volumes, the local
# images, packet filter rules, data and secrets. Packages that it installed stay, and so does everything else.
set -euo pipefail
shopt -s extglob
here=$(dirname "${BASH_SOURCE[0]}")
for part in lib install release dockerd postgres processes fleet; do
  # shellcheck source=/dev/null
  . "$here/$part.sh"
done

remove_data() {
  say "removing $DATA and $STATE"
  remove_live_restore
  unmount_below "$DATA"
  as_root rm -rf --one-file-system -- "$DATA" "$STATE"
}

need_rights
if ! own_data; then
  as_root rm -rf --one-file-system -- "$STATE"
  say 'nothing to remove: there was no make up here'
  exit 0
fi
stop_processes
if remove_own_fleet; then stop_engine; fi
if has_systemd; then systemd_uninstall; fi
remove_controller_user
remove_data
say 'removed: processes, containers, images, data; installed packages stay'
