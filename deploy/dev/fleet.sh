# shellcheck shell=bash
# The containers of this installation, found by the agent's label. Sourced.

# Identity of the fleet that this host's agent belongs to; nothing if it never joined.
fleet_id() { identity fleet_id; }

# A field of the agent's identity; nothing if it never joined.
identity() { # field
  as_root test -e "$DATA/agent/identity.json" || return 0
  as_root cat "$DATA/agent/identity.json" | jq -r --arg field "$1" '.[$field] // empty'
}

stop_fleet() {
  local fleet containers
  fleet=$(fleet_id)
  [[ -n $fleet ]] && engine_answers || return 0
  mapfile -t containers < <(docker_ ps --quiet --filter "label=supalove.fleet=$fleet")
  [[ ${#containers[@]} -gt 0 ]] || return 0
  say "stopping ${#containers[@]} containers"
  docker_ stop --time 30 "${containers[@]}" >/dev/null
}

is_own_fleet() { [[ -n $1 && $1 == "$(fleet_id)" ]]; }

# Removes containers, networks, volumes, rules and local images. False if no engine answers.
remove_own_fleet() {
  [[ -n $(fleet_id) ]] || return 0
  if ! engine_answers; then
    process_start_engine
  fi
  say 'removing containers, networks and volumes'
  remove_fleet is_own_fleet
  remove_engine_volumes
  remove_host_rules
  remove_local_images
}

# Only the engine can remove volumes, so it must run.
process_start_engine() {
  if has_systemd; then
    as_root systemctl start docker.service
  else
    install_processes
    process_start dockerd
  fi
  wait_for 60 'the Docker Engine answers' engine_answers ||
    die 'the Docker Engine does not answer, so its volumes cannot be removed' "see $LOGS/dockerd.log"
}

# What stands for a node in names on the host: the first 8 hex digits of the id's SHA-256.
node_short() { # node id
  printf %s "$1" | sha256sum | cut -c 1-8
}

# The agent keeps its packet filter rules in a table named after its node.
rules_table() { # node id
  printf 'supalove_%s\n' "$(node_short "$1")"
}

# Where the engine has a disk of its own the agent keeps the projects' volumes there, beside the engine's.
remove_engine_volumes() {
  local node root folder
  node=$(identity node_id)
  [[ -n $node ]] || return 0
  root=$(docker_ info --format '{{.DockerRootDir}}') || root=''
  if [[ $root != /* ]]; then
    warn 'the engine does not tell where its folder is; volumes of projects may be left there'
    return 0
  fi
  folder=$root/supalove-volumes-$(node_short "$node")
  as_root test -d "$folder" || return 0
  say "removing $folder"
  unmount_below "$folder"
  as_root rm -rf --one-file-system -- "$folder"
}

# Volumes of projects may have file systems of their own.
unmount_below() { # folder
  local mount
  while read -r mount; do
    as_root umount "$mount" || warn "cannot unmount $mount"
  done < <(folder=$1/ awk 'index($2, ENVIRON["folder"]) == 1 { print $2 }' "$MOUNTS" | sort -r)
}

remove_host_rules() {
  local node table
  has_tool nft || return 0
  node=$(identity node_id)
  [[ -n $node ]] || return 0
  table=$(rules_table "$node")
  as_root nft list table inet "$table" >/dev/null 2>&1 || return 0
  say "removing the packet filter table $table"
  as_root nft delete table inet "$table"
}

# The images of deploy/images carry the label of their inputs.
remove_local_images() {
  local images
  mapfile -t images < <(docker_ images --quiet --filter label=dev.supalove.inputs | sort -u)
  [[ ${#images[@]} -gt 0 ]] || return 0
  say "removing ${#images[@]} local images"
# Keeps an image that a foreign container uses.
  docker_ rmi --force "${images[@]}" >/dev/null 2>&1 || true
}

# Ends the supervisor and with it our engine, unless foreign containers run on it.
stop_engine() {
  has_systemd && return
  if supervisor_is_up && supervisor_running dockerd && [[ -n $(docker_ ps --quiet) ]]; then
    say 'the Docker Engine keeps running: other containers use it'
    return
  fi
  supervisor_down
}
