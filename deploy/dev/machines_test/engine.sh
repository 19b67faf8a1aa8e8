# shellcheck shell=bash
# shellcheck disable=SC2153,SC2154  # DATA and scratch are of testing.sh
# The Docker Engine's configuration and how it is started, stopped and told. Sourced by machines_test.sh.

configured() { if [[ -e $DAEMON_JSON ]]; then tr -d ' \n' <"$DAEMON_JSON"; else echo none; fi; }
marked() { if [[ -e $DATA/set-live-restore ]]; then echo yes; else echo no; fi; }
# Writes live-restore on a planted machine. In: what the file has; nothing: there is no file.
live_restore_on() {
  plant
  [[ $# -eq 0 ]] || plant_file /etc/docker/daemon.json "$1"
  code_of write_live_restore
}

expect 'no daemon.json: one is made' 0 "$(live_restore_on)"
expect 'with live-restore' '{"live-restore":true}' "$(configured)"
expect 'and readable as such files are' 644 "$(stat -c %a "$DAEMON_JSON")"
expect 'and that is noted for make clean' yes "$(marked)"
remove_live_restore
expect 'which takes it away again' none "$(configured)"

expect 'an empty daemon.json is no error' 0 "$(live_restore_on '')"
expect 'and gets live-restore' '{"live-restore":true}' "$(configured)"
expect 'nor is one with blanks only' 0 "$(live_restore_on $' \n\n')"
expect 'and it gets live-restore' '{"live-restore":true}' "$(configured)"

expect 'other keys stay' 0 "$(live_restore_on '{"data-root": "/srv/docker", "live-restore": false}')"
expect 'beside live-restore' '{"data-root":"/srv/docker","live-restore":true}' "$(configured)"
remove_live_restore
expect 'and stay after make clean' '{"data-root":"/srv/docker"}' "$(configured)"

expect 'live-restore that is on stays as it is' 0 "$(live_restore_on '{ "live-restore": true }')"
expect 'to the byte' '{ "live-restore": true }' "$(cat "$DAEMON_JSON")"
expect 'and make clean leaves it' no "$(marked)"

commented=$'{\n  // of ours\n  "debug": true\n}'
expect 'comments are refused, as the engine refuses them' 1 "$(live_restore_on "$commented")"
expect_words 'with the name of the file' "$DAEMON_JSON cannot be read as JSON" "$(words_of write_live_restore)"
expect 'which stays as it is' "$commented" "$(cat "$DAEMON_JSON")"
expect 'a list is refused' 1 "$(live_restore_on '[1]')"
expect 'two objects are refused' 1 "$(live_restore_on '{} {}')"

plant
plant_file /etc/docker-ours/daemon.json '{"debug": true}'
ln -s docker-ours "$SYSTEM/etc/docker"
write_live_restore
expect 'a linked folder stays a link' '{"debug":true,"live-restore":true}' "$(tr -d ' \n' <"$SYSTEM/etc/docker-ours/daemon.json")"

plant
plant_file /etc/docker/daemon.json '{"debug": true}'
chmod 0600 "$DAEMON_JSON"
[[ $EUID -ne 0 ]] || chown 65534 "$DAEMON_JSON"
write_live_restore
expect 'mode and owner of the file stay' "600 $(if [[ $EUID -eq 0 ]]; then echo 65534; else id -u; fi)" \
  "$(stat -c '%a %u' "$DAEMON_JSON")"

# Nobody can write where a folder is none; root could on a folder without write permission.
plant
rm -rf "${SYSTEM:?}/etc" && touch "$SYSTEM/etc"
expect 'an /etc that cannot be written ends make up' 1 "$(code_of write_live_restore)"
expect_words 'with what to do' 'add "live-restore": true to the configuration' "$(words_of write_live_restore)"
expect 'and nothing is noted for make clean' no "$(marked)"

plant
touch "$DATA/set-live-restore"
expect 'make clean without the file goes on' 0 "$(code_of remove_live_restore)"
plant_file /etc/docker/daemon.json '{ broken'
touch "$DATA/set-live-restore"
expect 'make clean with a broken file goes on' 0 "$(code_of remove_live_restore)"
expect_words 'and says that live-restore stays' 'live-restore stays' "$(words_of remove_live_restore)"

# --- Starting ---

# An engine that answers once it was started. In: what it says about live-restore.
plant_engine() {
  stand_in docker '[[ -e '"$scratch"'/engine-runs ]] || exit 1; case $* in *LiveRestore*) echo '"$1"';; *) echo 20.10;; esac'
  rm -f "$scratch/engine-runs"
}
ensure() { with_stand_ins ensure_engine; }
process_start() { touch "$scratch/engine-runs"; echo "supervisor starts $1" >>"$scratch/calls"; }

plant
plant_engine true
expect 'without systemd the engine runs under the supervisor' 0 "$(code_of ensure)"
expect 'which starts it' 1 "$(called 'supervisor starts dockerd')"
expect 'a second time nothing is done' 0 "$(: >"$scratch/calls"; code_of ensure)"
expect 'nothing at all' 0 "$(called 'supervisor starts')"

plant
plant_engine true
mkdir -p "$SYSTEM/run/systemd/system"
stand_in systemctl '[[ $1 != start ]] || touch '"$scratch"'/engine-runs'
expect 'with systemd its unit is started' 0 "$(code_of ensure)"
expect 'by systemd' 1 "$(called 'systemctl start docker.service')"
expect 'and not by the supervisor' 0 "$(called 'supervisor starts')"

plant
plant_engine true
mkdir -p "$SYSTEM/run/systemd/system"
stand_in systemctl 'exit 1'
expect 'with systemd and no unit of an engine make up ends' 1 "$(code_of ensure)"
expect_words 'and says so' 'systemd has no docker.service' "$(words_of ensure)"
expect 'before it writes anything' none "$(configured)"

# An engine that runs without live-restore and takes it when it is told to.
plant
plant_engine '$(cat '"$scratch"'/restore)'
echo false >"$scratch/restore"
touch "$scratch/engine-runs"
mkdir -p "$SYSTEM/run/systemd/system"
stand_in systemctl '[[ $1 != reload ]] || echo true >'"$scratch"'/restore'
expect 'an engine of systemd without live-restore is reloaded' 0 "$(code_of ensure)"
expect 'by systemd, whose pid file may be anywhere' 1 "$(called 'systemctl reload docker.service')"
rm -rf "$SYSTEM/run/systemd"
echo false >"$scratch/restore"
expect 'an engine without a pid file cannot be told' 1 "$(code_of ensure)"
expect_words 'and that is said' 'restart it' "$(words_of ensure)"
plant_file /var/run/docker.pid "$$"
expect 'a pid that is somebody else now is no engine' 1 "$(code_of ensure)"

# --- An engine that was killed while it deleted a network ---

half_deleted=$'panic: runtime error: index out of range [0] with length 0\n\ngoroutine 1 [running]:
github.com/docker/libnetwork.(*controller).reservePools(0x5)\n\t/src/controller.go:956 +0xb65'
plant_broken_engine() { # its last words, the folder of its data
  local data=${2:-/var/lib/docker}
  plant
  plant_engine true
  plant_file "$data/network/files/local-kv.db" 'half deleted'
  plant_file /var/log/words "$1"
  stand_in dockerd '[[ -e '"$SYSTEM$data"'/network/files/local-kv.db ]] || { echo $$ >'"$ENGINE_PID"'; touch '"$scratch"'/engine-runs; exec sleep 5; }
    echo "time=x msg=starting"; cat '"$SYSTEM"'/var/log/words; exit 2'
  mkdir -p "$SYSTEM/var/run"
}
start_for_tests() { with_stand_ins start_test_engine "$scratch/dockerd.log"; }

plant_broken_engine "$half_deleted"
expect 'an engine that panics over a half deleted network is started again' 0 "$(code_of start_for_tests)"
expect 'without its database of networks' 'half deleted' "$(cat "$ENGINE_DATA/network/files/local-kv.db.broken")"
expect 'and only once' 2 "$(called '^dockerd ')"
plant_broken_engine "$half_deleted" /srv/docker
plant_file /etc/docker/daemon.json "{\"data-root\": \"$SYSTEM/srv/docker\"}"
expect 'also one whose data is elsewhere by its configuration' 0 "$(code_of start_for_tests)"
expect 'and its database of networks with it' 'half deleted' "$(cat "$SYSTEM/srv/docker/network/files/local-kv.db.broken")"
plant_broken_engine "$half_deleted"
plant_file /etc/docker/daemon.json 'no JSON'
expect 'a configuration that cannot be read means the default' "$ENGINE_DATA" "$(with_stand_ins engine_data)"
plant_file /etc/docker/daemon.json '{"data-root": "/srv/docker"}'
stand_in docker '[[ $1 != info ]] || echo /srv/running'
expect 'an engine that answers says it itself' /srv/running "$(with_stand_ins engine_data)"
plant_broken_engine "$half_deleted"
expect_words 'which is said' 'database of networks is now' "$(words_of start_for_tests)"
plant_broken_engine "$half_deleted"$'\ntime=y msg="it started all the same"'
expect 'an older panic is none' 1 "$(code_of start_for_tests)"
plant_broken_engine 'panic: disk full'
expect 'nor does another one cost the networks' 1 "$(code_of start_for_tests)"
expect 'whose database stays' 'half deleted' "$(cat "$ENGINE_DATA/network/files/local-kv.db")"
expect_words 'and which is shown' 'panic: disk full' "$(words_of start_for_tests)"
