#!/usr/bin/env bash
# Fetches the Deno binary through npm's own client and checks it against the pin below.
# In:  the build context folder. Out: `deno` in it.
set -euo pipefail
context=$1
version=2.9.6

case $(uname -m) in
  x86_64)
    package=@deno/linux-x64-glibc
    sha512=3md4TKLCuzsLDmfOoC5KN7NAZaxSVkMgm64vg6foD00JBADCpYS2/5QqXfzgnP5ZQz3iLP9vBQJtEgc116OAoQ==
    ;;
  *)
    echo "fetch.sh: no Deno binary is pinned for $(uname -m)" >&2
    exit 1
    ;;
esac
command -v npm >/dev/null || { echo "fetch.sh: 'npm' is missing; install Node.js 20 or newer" >&2; exit 1; }

# With --silent npm would not even say why it fails.
npm pack --loglevel=error --pack-destination "$context" "$package@$version" >/dev/null ||
  { echo "fetch.sh: npm could not fetch $package@$version" >&2; exit 1; }
archive=$(echo "$context"/*.tgz)
found=$(openssl dgst -sha512 -binary "$archive" | openssl base64 -A)
[[ $found == "$sha512" ]] || { echo "fetch.sh: $package@$version has another checksum than the pinned one" >&2; exit 1; }
tar --extract --gzip --file "$archive" --directory "$context" --strip-components=1 package/deno
rm -f "$archive"
chmod 0755 "$context/deno"
