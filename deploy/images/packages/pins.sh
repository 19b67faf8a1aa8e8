#!/bin/sh
# Prints apt preferences that choose the versions of a packages.list. A version that no source has is ignored by apt, which
# then chooses the newest: so a host can build after Debian has replaced a package.
# In: the list; there may be none.
set -eu
[ -e "$1" ] || exit 0
awk -F= '!/^#/ && NF == 2 { printf "Package: %s\nPin: version %s\nPin-Priority: 1001\n\n", $1, $2 }' "$1"
