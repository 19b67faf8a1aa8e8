#!/bin/sh
# Inside the build of an image: installs Debian packages in the versions of packages.list, beside this file, where the
# sources have them, else in the newest. build.sh compares afterwards and says what differs.
# In: names of packages.
set -eu
here=$(dirname "$0")
pins=/etc/apt/preferences.d/recorded
export DEBIAN_FRONTEND=noninteractive
install_packages() { apt-get install -qq -y --no-install-recommends "$@"; }

apt-get update -qq
sh "$here/pins.sh" "$here/packages.list" >"$pins"
install_packages "$@" || {
  echo 'the recorded package versions cannot be installed together; trying the newest' >&2
  rm "$pins"
  install_packages "$@"
}
rm -f "$pins"
