#!/usr/bin/env bash
# Walks through the README as a reader would: pastes its blocks into one shell, one command after the other, and compares
# the output with the README. Runs inside a newcomer's machine and sources no other file, because the checkout does not
# exist yet.
#
# In:  the folder in which to begin.
# Read from the README:
#   ```sh      commands. `#=> words`: the command's output has these words, in this order.
#   ```text    how the output of the last command before it ends. Refs may be others.
#   <!-- needs: what (who runs it) -->   above a block: not run here, because the machine lacks it. One that needs a host is run
#              where there is a second host; second_host.sh has what comes from `ssh` on.
# Every command must exit with 0.
set -uo pipefail

README=${NEWCOMER_README:-/srv/README.md}
ADDRESS=/srv/supalove.git
# There if the machine has a way to a second host.
SECOND_HOST=${NEWCOMER_SECOND_HOST:-/srv/second_host.sh}
WORK=$(mktemp -d)
trap 'rm -rf "$WORK"' EXIT
OUTPUT=$WORK/output
# Maximum duration of a second `make up`, which has nothing to do.
QUICK_SECONDS=120
FAILURES=0 COMMANDS=0 BLOCKS=0

fail() { # what, details
  FAILURES=$((FAILURES + 1))
  printf 'NEWCOMER FAILED: README line %s: %s\n' "$README_LINE" "$1"
  shift
  [[ $# -eq 0 ]] || printf '  %s\n' "$@"
}

# --- Statements of the README outside its blocks ---

rooted() { if [[ $EUID -eq 0 ]]; then "$@"; else sudo "$@"; fi; }
containers() { rooted docker ps --quiet --no-trunc | sort; }
first() { PGSERVICEFILE=.supalove/pg_service.conf psql service=first --quiet --tuples-only --no-align -c "$1"; }
listening() { ss -Hltn '( sport = :8000 or sport = :8001 or sport = :54329 or sport = :5500 )'; }
ref_of_first() { jq -r .project_ref .supalove/up.json; }

before_command() { # command
  BEGAN=$SECONDS WAS_UP=no
  [[ $1 == 'make up'* && -e .supalove/up.json ]] || return 0
  REF=$(ref_of_first)
  if [[ -n $(listening 2>/dev/null) ]]; then
    WAS_UP=yes
    CONTAINERS=$(containers)
  fi
}

after_command() { # command
  case $1 in
    'make up'*) after_up ;;
    'make down'*) [[ -z $(listening) ]] || fail 'something listens after make down' "$(listening)" ;;
    'make clean'*) after_clean ;;
    'supalove join-token create'*) sed -n 's/^run on the host, as root: *//p' "$OUTPUT" >"$WORK/join-command" ;;
  esac
}

after_up() {
  if [[ -z ${REF:-} ]]; then
    grep -qE '^\[ *[0-9]+s\] joining this host with a join token$' "$OUTPUT" || fail 'no such progress line'
    [[ $(stat -c %U "/proc/$(ps_of '[a-z/]*supalove-controller' | cut -d' ' -f1)") == supalove ]] || fail 'the controller does not run as its own user'
    first 'create table walked (steps int); insert into walked values (42)' || fail 'the first project keeps nothing'
    return
  fi
  [[ $(ref_of_first) == "$REF" ]] || fail 'the first project is another one'
  [[ $(first 'select steps from walked') == 42 ]] || fail 'the data of the first project is gone'
  [[ $WAS_UP == yes ]] || return 0
  [[ $((SECONDS - BEGAN)) -le $QUICK_SECONDS ]] || fail "a second make up took $((SECONDS - BEGAN)) s"
  [[ $(containers) == "$CONTAINERS" ]] || fail 'a second make up changed the containers'
}

after_clean() {
  local left
  for left in /var/lib/supalove .supalove /etc/docker/daemon.json; do
    [[ ! -e $left ]] || fail "make clean left $left"
  done
  ! getent passwd supalove >/dev/null || fail 'make clean left the user supalove'
  left=$(rooted nft list tables | grep supalove)
  [[ -z $left ]] || fail 'make clean left packet filter rules' "$left"
  left=$(rooted ls /var/lib/docker/volumes /var/lib/docker/containers 2>/dev/null | grep -E '^(supalove_|[0-9a-f]{64})')
  [[ -z $left ]] || fail 'make clean left containers or volumes' "$left"
  left=$(ps_of 'supalove|supervisord|dockerd|containerd|postgres')
  [[ -z $left ]] || fail 'make clean left processes' "$left"
  [[ -z $(listening) ]] || fail 'something listens after make clean' "$(listening)"
}

# Without ps, which a small Debian lacks.
ps_of() { # pattern
  local folder
  for folder in /proc/[0-9]*; do
    tr '\0' ' ' <"$folder/cmdline" 2>/dev/null | grep -E "^[^ ]*($1)" | sed "s|^|${folder#/proc/} |"
  done
}

has() { command -v "$1" >/dev/null; }

# --- Commands ---

# Runs a command in this shell, as pasting it does: `cd` and variables stay. What it prints is in $OUTPUT.
run() { # command
  local code
  printf '%s $ %s\n' "${PWD##*/}" "$1"
  before_command "$1"
  eval "$1" > >(tee "$OUTPUT") 2>&1 </dev/null 7<&- 8<&-
  code=$?
# Waits until the pipe is closed: an ended command must not leave a process that holds it open.
  wait $!
  COMMANDS=$((COMMANDS + 1))
  if [[ $code -ne 0 ]]; then
    fail "exit code $code: $1"
    return 1
  fi
  [[ $1 != *'#=>'* ]] || has_words "${1##*#=>}"
  after_command "$1"
  return 0
}

has_words() { # words
  local word rest
  rest=$(tr '\n' ' ' <"$OUTPUT")
  for word in $1; do
    if [[ $rest != *"$word"* ]]; then
      fail "the output should have: $1"
      return
    fi
    rest=${rest#*"$word"}
  done
}

ends_with() { # file with lines
  local expected found
  expected=$(without_refs <"$1")
  found=$(tail -n "$(wc -l <"$1")" "$OUTPUT" | without_refs)
  [[ $found == "$expected" ]] || fail 'the output should end otherwise' "$(diff <(echo "$expected") <(echo "$found"))"
}

without_refs() { sed -E 's/\b[a-z]{20}\b/REF/g; s/[[:space:]]+$//'; }

is_whole() { [[ $1 != *\\ ]] && bash -n <<<"$1" 2>/dev/null; }

# Runs a block, command by command. A command continues while the shell would ask for more input.
run_block() { # file, its first line in the README
  local line command='' number=$2
  BLOCKS=$((BLOCKS + 1))
  while IFS= read -r line <&7; do
    number=$((number + 1))
    [[ -n $command || -n ${line//[[:space:]]/} ]] || continue
    command+=${command:+$'\n'}${line//<address of this repository>/$ADDRESS}
    is_whole "$command" || continue
    README_LINE=$number
    CURRENT=$command
# Skip the rest of the block, which would fail too.
    run "$command" || return 1
    command=
  done 7<"$1"
}

# --- The README ---

walk() {
  local line number=0 kind='' start needs='' block=$WORK/block
  while IFS= read -r line <&8; do
    number=$((number + 1))
    if [[ -n $kind ]]; then
      if [[ $line == '```' ]]; then
        README_LINE=$start
        end_of_block "$kind" "$needs" "$start" "$block" || return
        kind='' needs=''
      else
        printf '%s\n' "$line" >>"$block"
      fi
    elif [[ $line == '```'* ]]; then
      kind=${line#'```'} start=$number
      kind=${kind:-none}
      : >"$block"
    elif [[ $line =~ ^'<!-- needs: '(.*)' -->'$ ]]; then
      needs=${BASH_REMATCH[1]}
    elif [[ -n $line ]]; then
      needs=''
    fi
  done 8<"$README"
}

end_of_block() { # kind, needs, line, file
  case $1 in
    sh)
      if [[ $2 == 'host '* && -e $SECOND_HOST ]]; then
        on_second_host "$4" "$3"
      elif [[ -n $2 ]]; then
        printf 'README line %s: not run here, it needs %s\n' "$3" "$2"
      else
        run_block "$4" "$3"
      fi
      ;;
    text) ends_with "$4" ;;
    *) fail "a block of the kind '$1': it is neither run nor compared" ;;
  esac
}

# Runs a block of which the end is for the second host.
on_second_host() { # file, its first line in the README
  sed '/^ssh /,$d' "$1" >"$WORK/before"
  sed -n '/^ssh /,$p' "$1" >"$WORK/there"
  run_block "$WORK/before" "$2" || return
  has ssh || run 'rooted apt-get install -qy --no-install-recommends openssh-client' || return
  README_LINE=$2
  bash "$SECOND_HOST" "$WORK/there" "$WORK/join-command" 8<&- || fail 'the second host is not as it should be'
}

mkdir -p "$1"
cd "$1" || exit 1
# As in a shell at a terminal.
set +u
# The walk must not end early without a message.
walk || [[ $FAILURES -gt 0 ]] || fail "the walk broke off after: $CURRENT"
printf 'walked: %d blocks, %d commands, %d failures\n' "$BLOCKS" "$COMMANDS" "$FAILURES"
[[ $FAILURES -eq 0 && $COMMANDS -gt 0 ]]
