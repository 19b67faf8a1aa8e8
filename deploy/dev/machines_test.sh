#!/usr/bin/env bash
# Tests of `make up`'s steps on machines of all kinds: what need not be there, what is already, what is in the way.
# The machines are folders, the programs stand-ins; nothing of this machine is touched.
set -euo pipefail
shopt -s extglob
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=deploy/dev/testing.sh
. "$here/testing.sh"
export SUPALOVE_TEST_SYSTEM=$scratch/machine
for part in lib install release build dockerd postgres processes platform fleet; do
  # shellcheck source=/dev/null
  . "$here/$part.sh"
done
# The planted machines are the caller's own.
is_root() { true; }

# A process each: what one file puts in the place of a function is not there for the next.
for part in "$here"/machines_test/*.sh; do
  (
    # shellcheck source=/dev/null
    . "$part"
    echo "$passed $failed" >"$scratch/counts"
  )
  read -r passed failed <"$scratch/counts"
done
end_of_tests
