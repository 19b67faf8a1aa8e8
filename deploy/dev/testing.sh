# shellcheck shell=bash
# Shared by the tests of these scripts: counting, prepared machines, stand-in commands. Sourced.

passed=0 failed=0
scratch=$(mktemp -d)
# Not by a child that is ended before it has become the program that it is to run.
trap '[[ $BASHPID != $$ ]] || rm -rf "$scratch"' EXIT

expect() { # what, expected, found
  if [[ $2 == "$3" ]]; then
    passed=$((passed + 1))
  else
    failed=$((failed + 1))
    printf 'FAILED: %s\n  expected: %s\n  found:    %s\n' "$1" "$2" "$3"
  fi
}
expect_words() { # what, words, text
  if [[ $3 == *"$2"* ]]; then expect "$1" yes yes; else expect "$1" "… $2 …" "$3"; fi
}
code_of() { local code=0; ("$@") >/dev/null 2>&1 || code=$?; echo "$code"; }
# Prints the output of a command, even if it fails.
words_of() { ("$@") 2>&1 || true; }

end_of_tests() {
  printf '%d passed, %d failed\n' "$passed" "$failed"
  [[ $failed -eq 0 ]]
}

# Creates an empty machine and points all paths of the scripts to it. Source the scripts before with
# SUPALOVE_TEST_SYSTEM=$scratch/machine.
plant() {
  rm -rf -- "${scratch:?}"/{machine,bin,calls}
  mkdir -p "$scratch/machine/etc" "$scratch/machine/var/lib/supalove" "$scratch/machine/run" "$scratch/bin"
  : >"$scratch/calls"
}

plant_file() { # path on the machine, contents
  mkdir -p "$(dirname "$scratch/machine$1")"
  printf '%s' "$2" >"$scratch/machine$1"
}

plant_program() { # path on the machine
  plant_file "$1" '#!/bin/sh'
  chmod 0755 "$scratch/machine$1"
}

# Replaces a command by a stand-in, which records its calls in $scratch/calls.
stand_in() { # name, what it does
  printf '#!/bin/bash\necho "%s $*" >>%q\n%s\n' "$1" "$scratch/calls" "${2:-}" >"$scratch/bin/$1"
  chmod 0755 "$scratch/bin/$1"
}

# Runs a command with the stand-ins first in PATH.
with_stand_ins() { (PATH=$scratch/bin:$PATH; hash -r; "$@"); }
# Runs it with only the stand-ins, bash's builtins and these tools.
with_only_stand_ins() {
  local tool
  for tool in bash sh cat awk sed sort head tail mktemp rm mkdir env install tee grep dirname basename jq; do
    [[ -e $scratch/bin/$tool ]] || ln -s "$(type -P "$tool")" "$scratch/bin/$tool"
  done
  (PATH=$scratch/bin; hash -r; "$@")
}
called() { grep -c -- "$1" "$scratch/calls" || true; } # pattern
