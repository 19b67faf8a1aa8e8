# shellcheck shell=bash
# The checkout and whoever calls: rights, masks, paths, ports, what an earlier run left. Sourced by machines_test.sh.
# shellcheck disable=SC2154,SC2317  # scratch is of testing.sh; what takes the place of a function is called by others

# --- Rights ---

as_a_user() { (is_root() { false; }; "$@"); }
plant
expect_words 'without sudo it is said what is needed' 'this needs root or sudo' \
  "$(with_only_stand_ins eval 'as_a_user words_of need_rights')"
stand_in sudo 'exit 1'
expect_words 'a sudo that refuses' 'sudo refused' "$(with_stand_ins as_a_user words_of need_rights)"
stand_in sudo '[[ $* == "-n true" ]]'
expect 'a sudo that asks for no password is not made to ask' 0 "$(with_stand_ins as_a_user code_of need_rights)"
stand_in sudo '[[ $1 == -n || $1 == -v ]] || exec "$@"'
sleep 100 &
sleeper=$!
with_only_stand_ins eval 'as_a_user signal TERM "$sleeper"'
wait "$sleeper" 2>/dev/null || true
expect 'a process is ended without a program named kill' 1 "$(code_of is_alive "$sleeper")"
export http_proxy=http://proxy:3128
stand_in apt-get 'echo "proxy: $http_proxy" >>'"$scratch/calls"
with_stand_ins as_a_user apt_run update
expect 'a proxy outlives sudo' 1 "$(called "http_proxy=$http_proxy")"
unset http_proxy

# --- Masks and paths ---

# A checkout of its own in a folder. Out: its path.
plant_checkout() { # folder
  mkdir -p "$1/deploy"
  cp -r "$here/../dev" "$here/../stacks" "$1/deploy/"
}
in_checkout() { # path, commands...
  # Checked here, run there.
  (cd "$1" && bash -euc 'umask 077; shopt -s extglob
    for part in lib install release dockerd postgres processes platform fleet; do . "deploy/dev/$part.sh"; done
    is_root() { true; }; '"$2")
}
plant
rm -rf "$DATA"
masked="$scratch/my checkouts/supalove"
plant_checkout "$masked"
expect 'with the umask 077 all is made' 0 "$(code_of in_checkout "$masked" make_state)"
expect 'so that others can pass and read' '755 644' "$(stat -c %a "$DATA" "$MARKER" | xargs)"
expect 'but not what is secret' '700 700' "$(stat -c %a "$masked/.supalove" "$masked/.supalove/secrets" | xargs)"
expect 'nor the secrets themselves' 600 \
  "$(in_checkout "$masked" 'random_key | put_secret "$SECRETS/key"; stat -c %a "$SECRETS/key"')"
expect 'a path with a space is known again' 0 "$(code_of in_checkout "$masked" 'own_data')"
expect_words 'in the supervisor'"'"'s configuration it is one word' \
  "command = \"$masked/deploy/dev/dockerd-run.sh\"" "$(in_checkout "$masked" 'supervisor_program dockerd')"
expect_words 'in a unit too' "\"$masked/deploy/dev/dockerd-run.sh\"" "$(in_checkout "$masked" 'systemd_unit dockerd')"
mkdir -p "$DATA/bin"
printf '#!/bin/sh\necho "$SUPALOVE_CREDENTIALS"' >"$DATA/bin/supalove"
chmod 0755 "$DATA/bin/supalove"
in_checkout "$masked" write_wrapper
expect 'and the command line starts there' "$masked/.supalove/credentials.json" "$("$masked/.supalove/bin/supalove")"
expect 'as somebody else if asked' /elsewhere "$(SUPALOVE_CREDENTIALS=/elsewhere "$masked/.supalove/bin/supalove")"
expect_words 'a second checkout is refused' "belongs to the checkout in $masked" "$(words_of make_state)"
rm "$MARKER"
expect_words 'and so is a folder of nobody' 'was not made by make up' "$(words_of make_state)"
for character in '"' "'" '%' '$' ':' ';' '#' $'\\'; do
  expect_words "a path with $character is refused at once" 'spaces are fine' "$(ROOT=$scratch/a${character}b words_of check_path)"
done
if [[ $EUID -eq 0 ]]; then
  rm -rf "$DATA"
  chown 65534 "$masked/.supalove"
  expect_words 'what another user made here is named' 'belongs to nobody' "$(words_of in_checkout "$masked" make_state)"
fi

# --- Ports ---

# `ss` on a machine where somebody listens. In: the port, and nothing else is taken.
plant_listener() { stand_in ss '[[ $* != *":'"$1"'" ]] || echo "LISTEN 0 128 127.0.0.1:'"$1"'"'; }
# Only the function, without what else up.sh does.
eval "$(sed -n '/^check_port() {/,/^}/p' "$here/up.sh")"
ports() {
  check_port postgres "$POSTGRES_PORT"
  check_port controller "$PUBLIC_PORT"
  check_port controller "$NODE_PORT"
}
plant
process_running() { false; }
for port in 8000 8001 54329; do
  plant_listener "$port"
  expect_words "port $port taken: it is named" "uses port $port" "$(with_stand_ins words_of ports)"
done
for port in 5432 5500; do
  plant_listener "$port"
  expect "port $port taken is no reason to stop" 0 "$(with_stand_ins code_of ports)"
done
process_running() { true; }
plant_listener 8000
expect 'nor is our own process' 0 "$(with_stand_ins code_of ports)"

# --- What an earlier run left, or never made ---

plant
engine_answers() { true; }
docker_() { echo "docker $*" >>"$scratch/calls"; }
expect 'make down before any join has nothing to stop' 0 "$(code_of stop_fleet)"
expect 'and asks no engine' 0 "$(called docker)"
expect 'make clean before any join removes no rules' 0 "$(code_of remove_host_rules)"
plant_file "${DATA#"$SYSTEM"}/agent/identity.json" '{"fleet_id": "flt_1", "node_id": "nod_1"}'
expect 'after a join the fleet is known' flt_1 "$(fleet_id)"
volumes=$scratch/machine/engine/supalove-volumes-$(node_short nod_1)
others=$scratch/machine/engine/supalove-volumes-01234567
mkdir -p "$volumes/supalove_p_db_data/fs" "$others"
printf '/dev/loop1 %s ext4 rw 0 0\n' "$volumes/supalove_p_db_data/fs" "$others/fs" >"$scratch/machine/mounts"
stand_in umount
(
  docker_() { echo "$scratch/machine/engine"; }
  # shellcheck disable=SC2034
  MOUNTS=$scratch/machine/mounts
  with_stand_ins remove_engine_volumes >/dev/null
)
expect 'volumes beside the engine'"'"'s are removed' no "$([[ -e $volumes ]] && echo yes || echo no)"
expect 'after their file systems are unmounted' 1 "$(called "umount $volumes/supalove_p_db_data/fs")"
expect 'and no other node'"'"'s' 'yes 1' "$([[ -e $others ]] && echo yes || echo no) $(called umount)"
# As that of a user, this PATH leads to no /usr/sbin.
plant_program /usr/sbin/nft
stand_in sudo 'case $1 in cat | test) "$@" ;; esac'
for tool in sha256sum cut; do ln -s "$(type -P "$tool")" "$scratch/bin/$tool"; done
with_only_stand_ins eval 'as_a_user remove_host_rules >/dev/null'
expect 'a user whose PATH has no nft removes the rules all the same' 1 \
  "$(called "sudo nft delete table inet $(rules_table nod_1)")"
plant_file "${DATA#"$SYSTEM"}/agent/identity.json" ''
expect 'an identity that was never written to its end is none' '' "$(fleet_id)"
