#!/usr/bin/env bash
# The README's second host on a bare machine: from a minimal Debian that its user reaches by SSH to a node with a project, and
# back. The walk runs this in its checkout while the platform runs. What stand-ins can show of wrong hosts is in
# controller/tests/fleet/onboarding.rs; this has what only a real root shows.
#
# In:  the README's block from `ssh` on; the command that `supalove join-token create` printed. Two files.
# Out: what is done there, and what was said. Exit code 0 if all is as it should be.
set -uo pipefail
BLOCK=$1
JOIN=$(cat "$2")
SCRATCH=$(mktemp -d)
trap 'end_tunnel; rm -rf "$SCRATCH"' EXIT
OUTPUT=$SCRATCH/output
FAILURES=0

fail() { # what, details
  FAILURES=$((FAILURES + 1))
  printf 'SECOND HOST FAILED: %s\n' "$1"
  shift
  [[ $# -eq 0 ]] || printf '  %s\n' "$@"
}
step() { printf '[%4ss] second host: %s\n' "$SECONDS" "$*"; }

# --- What the README says ---

# Leaves TUNNEL, the words of the README's ssh, and OPTIONS, which follow the printed command there.
read_block() {
  local shown printed
  read -ra TUNNEL < <(sed '1!d; s/ *#.*//' "$BLOCK")
  shown=$(sed '1d; s/\\$//' "$BLOCK" | tr -s '[:space:]' ' ' | sed 's/^ //; s/ $//')
  printed=$(sed -E 's,sha256//[^ ]+,sha256//…,; s,slj1\.[^ ]+,slj1.…,' <<<"$JOIN")
  OPTIONS=${shown#"$printed"}
  [[ $OPTIONS != "$shown" ]] || fail 'the README shows another command than is printed' "$printed"
}

# The session of the README's user, open as long as the host is a node.
begin_tunnel() {
  "${TUNNEL[0]}" -n -N -o ExitOnForwardFailure=yes "${TUNNEL[@]:1}" &
  SESSION=$!
}
end_tunnel() { [[ -z ${SESSION:-} ]] || kill "$SESSION" 2>/dev/null; }

# --- The host ---

on() { ssh -n "${TUNNEL[-1]}" "$1"; } # command

# Runs a command there. Its output is in $OUTPUT; that of commands that went well is of no interest.
says() { # exit code, command, words that the output has
  local code=0 word
  on "$2" >"$OUTPUT" 2>&1 || code=$?
  [[ $code -eq $1 ]] || fail "exit code $code instead of $1" "$(said)"
  for word in "${@:3}"; do
    grep -qF -e "$word" "$OUTPUT" || fail "this is not said: $word" "$(said)"
  done
}

said() { tail -n 40 "$OUTPUT"; }

# The same for a command that must change nothing there.
changes_nothing() { # exit code, command, words
  local before
  before=$(files)
  [[ $before == *' /etc/hostname'* ]] || fail 'the files of the host cannot be listed'
  says "$@"
  sed 's/^/    /' "$OUTPUT"
  diff <(echo "$before") <(files) >"$SCRATCH/changes" || fail 'the host has changed' "$(head -n 40 "$SCRATCH/changes")"
}

# All files, with what shows a change. Not those that apt and signing in change.
files() {
  on 'find / /run -xdev \( -path /var/lib/apt -o -path /var/cache -o -path "/var/log/[wb]tmp" -o -path /var/log/lastlog \) -prune \
    -o -type d -printf "%M %u %p\n" -o -printf "%M %u %s %T@ %p\n"' | LC_ALL=C sort
}

# What of Supalove is on the host: files, processes, packet rules, what the engine has. Not the images.
ours() {
  on 'find / /run -xdev -name "*supalove*" -not -path "/var/lib/docker/*"
    for process in /proc/[0-9]*; do tr "\0" " " <$process/cmdline 2>/dev/null; echo; done | grep "^[^ ]*[s]upalove"
    nft list tables | grep supalove
    grep supalove- /proc/mounts | grep -v ^supalove-newcomer
    for kind in containers/json?all=1 volumes networks; do
      curl --silent --unix-socket /run/docker.sock "http://localhost/$kind" | grep -o "\"supalove[^\"]*\""
    done'
}

nothing_of_ours() {
  local left
  left=$(ours)
  [[ -z $left ]] || fail "$1 left something" "$left"
}

# Otherwise that nothing is found says nothing.
all_is_found() {
  local found word
  found=$(ours)
  for word in /usr/local/bin/supalove-agent 'supalove-agent run' 'table inet supalove_' '"supalove'; do
    grep -qF -e "$word" <<<"$found" || fail "the node has no $word" "$found"
  done
}

# --- From nothing to a node ---

bare() {
  local command="$JOIN${OPTIONS/ --install-docker/}"
  step 'it is bare'
  [[ -z $(on 'command -v curl python3 ip nft dockerd supervisord') ]] || fail 'this host is not bare'
  step 'the command without curl'
  changes_nothing 127 "$command" 'curl: command not found'
  says 0 'apt-get update -q && apt-get install -qy --no-install-recommends curl'
  step 'the command without Docker, nftables, supervisor, CA certificates'
  changes_nothing 1 "$command" 'FAILURE  NFTABLES' 'install the package nftables' 'FAILURE  ENGINE' 'apt-get install docker.io' \
    'FAILURE  SUPERVISOR' 'install the package supervisor' '--install-docker' 'no agent was installed'
}

packages() {
  step 'what would be done, in a shell of a plain su'
  changes_nothing 0 "PATH=/usr/local/bin:/usr/bin:/bin; $JOIN$OPTIONS --dry-run" 'would install through apt-get: docker.io' \
    "as $NAME"
  step 'without a source of packages'
  says 0 'mkdir /root/away && mv /etc/apt/sources.list* /root/away'
  changes_nothing 1 "$JOIN$OPTIONS" 'could not install docker.io' 'install the packages by hand'
  says 0 'mv /root/away/* /etc/apt && rmdir /root/away'
}

joins() {
  local began
  step 'with packages, where programs cannot be written'
  says 0 'mount -t tmpfs -o ro tmpfs /usr/local/bin'
  says 1 "$JOIN$OPTIONS" 'starting the Docker Engine' 'ok       ENGINE' 'ok       LIVE_RESTORE' \
    'cannot write /usr/local/bin/supalove-agent.new' 'mounted read-only'
  nothing_of_ours 'a join that failed'
  says 0 'umount /usr/local/bin'
  step 'the same command, when that is mended'
  began=$SECONDS
  says 0 "$JOIN$OPTIONS"
  said
  [[ $(tail -n 1 "$OUTPUT") == "node $NAME is ready in cluster default" ]] || fail 'it should end otherwise'
  step "ready after $((SECONDS - began)) s"
}

project() {
  local ref url
  step 'a project there'
  supalove projects create far >"$OUTPUT" 2>&1 || fail 'no project there' "$(said)"
  url=$(supalove projects connection far --output json | jq -r .apiUrl)
  [[ $url == "http://${OPTIONS##* }:"* ]] || fail "it is at $url"
  [[ $(curl -s "$url/functions/v1/hello?name=Ada") == *'Hello, Ada!'* ]] || fail "$url does not answer"
  all_is_found
  step 'the command again, and away'
  says 0 "$JOIN" "node $NAME is ready"
  ! grep -q starting "$OUTPUT" || fail 'the same command started the agent again'
  ref=$(supalove projects get far --output json | jq -r .project.ref)
  says 1 "$JOIN --uninstall" "still has projects: $ref" 'the agent stays'
  supalove projects delete far --undo-window 0 --yes >"$OUTPUT" 2>&1 || fail 'the project stays' "$(said)"
}

leaves() {
  says 0 "$JOIN --uninstall" "supalove nodes remove $NAME"
  nothing_of_ours '--uninstall'
  says 0 "$JOIN --uninstall" 'no agent of this command'
  supalove nodes remove "$NAME" --yes >/dev/null || fail 'the node stays'
}

read_block
NAME=$(on 'uname -n')
if [[ $FAILURES -eq 0 ]]; then
  begin_tunnel
  bare
  packages
  joins
  # What comes next needs a node.
  if [[ $FAILURES -eq 0 ]]; then project && leaves; fi
fi
step "$FAILURES failures"
[[ $FAILURES -eq 0 ]]
