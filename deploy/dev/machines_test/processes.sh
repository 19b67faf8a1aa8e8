# shellcheck shell=bash
# The processes of `make up`: as whom they run, what their units take from them, and folders of runs that somebody planted.
# Sourced by machines_test.sh.

# shellcheck disable=SC2154  # of machines_test.sh

# --- The controller's user ---
plant
stand_in getent ''
stand_in useradd
stand_in install
expect 'without a user of the name one is made' 0 "$(with_stand_ins code_of ensure_controller_user)"
expect 'which nobody can log in as' 1 "$(called '^useradd --system .*/nologin .* supalove$')"
plant
stand_in getent "echo supalove:x:998:998:Supalove controller:$CONTROLLER_HOME:/usr/sbin/nologin"
stand_in useradd
stand_in install
stand_in userdel
expect 'its own user is taken' 0 "$(with_stand_ins code_of ensure_controller_user)"
expect 'and not made again' 0 "$(called '^useradd')"
expect 'and removed in the end' 0 "$(with_stand_ins code_of remove_controller_user)"
expect 'once' 1 "$(called '^userdel supalove$')"
plant
stand_in getent 'echo supalove:x:1000:1000::/home/supalove:/bin/bash'
stand_in userdel
expect_words 'a person of that name is not taken for it' 'another user named supalove' "$(with_stand_ins words_of ensure_controller_user)"
with_stand_ins remove_controller_user
expect 'and never removed' 0 "$(called '^userdel')"

# --- Units ---
plant
plant_program /usr/lib/postgresql/15/bin/postgres
for name in controller postgres agent; do
  describe_process "$name"
  systemd_unit "$name" >"$scratch/supalove-$name.service"
  case $name in
    controller) expect 'the controller has its own user' supalove "$RUN_AS" ;;
  esac
  if has systemd-analyze; then
    # "→ Overall exposure level for x.service: 1.7 OK 🙂"
    exposure=$(systemd-analyze security --offline=true "$scratch/supalove-$name.service" 2>/dev/null | awk '/Overall exposure/ { print $(NF - 2) }')
    echo "systemd-analyze security: supalove-$name.service $exposure"
    expect "the unit of $name is scored" 0 "$(code_of grep -qE '^[0-9]+\.[0-9]$' <<<"$exposure")"
  fi
  expect_words "$name gets no new privileges" 'NoNewPrivileges=yes' "$(cat "$scratch/supalove-$name.service")"
done
expect_words 'the controller has no capability' $'\nCapabilityBoundingSet=\n' "$(cat "$scratch/supalove-controller.service")"

# --- Folders of runs ---
if [[ $EUID -eq 0 ]]; then
  plant
  ensure_runs
  expect 'a run gets a folder below one of root'"'"'s' "$RUNS/test" "$(made=$(new_run test) && echo "${made%.*}")"
  expect 'and is found again' 1 "$(old_runs test | wc -l)"
  for planted in 'chown 65534' 'chmod 1777' 'chmod 0775'; do
    plant
    ensure_runs
    mkdir "$RUNS/host.planted"
    $planted "$RUNS"
    expect "after $planted nothing in it is believed" 0 "$(old_runs host | wc -l)"
    expect_words 'and no run begins' 'only root can change' "$(words_of new_run test)"
  done
  plant
  mkdir -p "$scratch/elsewhere/host.planted"
  ln -s "$scratch/elsewhere" "$RUNS"
  expect 'through a link nothing is found' 0 "$(old_runs host | wc -l)"
  expect_words 'and no run begins' 'only root can change' "$(words_of new_run test)"
  # As somebody else could have planted it in a folder that all may write.
  mkdir -p "$scratch/tmp/host.planted"
  expect_words 'a host elsewhere is not removed' 'is not a test host' "$(words_of "$here/dockerhost.sh" down "$scratch/tmp/host.planted")"
  expect 'and is left as it is' 0 "$(code_of test -d "$scratch/tmp/host.planted")"
fi
