#!/usr/bin/env bash
# Installs the foreign clients of the tests into target/clients: a Python with the SDK in venv/, grpcurl in bin/;
# and builds the TypeScript SDK in its own folder. Skips what is current.
set -euo pipefail
shopt -s extglob
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
for part in lib install postgres; do
  # shellcheck source=/dev/null
  . "$here/$part.sh"
done
CLIENTS=$ROOT/target/clients
# The newest grpcurl that a Go can build; Debian 12 has Go 1.19.
GRPCURL=v1.9.4 GRPCURL_GO=1.25 GRPCURL_OLD=v1.8.9

# True if a stamp exists and is not older than these files.
is_current() { # stamp, file...
  local stamp=$1 file
  shift
  for file in "$@"; do [[ -e $stamp && ! $file -nt $stamp ]] || return 1; done
}

python_sdk() {
  local sdk=$ROOT/sdk/python venv=$CLIENTS/venv
  if ! is_current "$venv/.supalove-stamp" "$sdk/requirements.lock"; then
    python3 -m venv --clear "$venv"
    pip_ install --no-compile --require-hashes --requirement "$sdk/requirements.lock"
    touch "$venv/.supalove-stamp"
  fi
# An old build folder would keep files that the sources no longer have.
  rm -rf -- "$sdk/build"
  pip_ install --no-index --no-deps --no-build-isolation --force-reinstall "$sdk"
}

pip_() { "$CLIENTS/venv/bin/python" -m pip --quiet --disable-pip-version-check --no-input "$@"; }

typescript_sdk() {
  local sdk=$ROOT/sdk/typescript
  if ! is_current "$sdk/node_modules/.supalove-stamp" "$sdk/package-lock.json"; then
    npm ci --prefix "$sdk" --loglevel=error --no-audit --no-fund
    touch "$sdk/node_modules/.supalove-stamp"
  fi
  npm run --prefix "$sdk" --silent build
}

grpcurl() {
  local version=$GRPCURL go
  go=$(go env GOVERSION)
  at_least "${go#go}" "$GRPCURL_GO" || version=$GRPCURL_OLD
  [[ -e $CLIENTS/bin/grpcurl-$version ]] && return
  GOBIN=$CLIENTS/bin go install "github.com/fullstorydev/grpcurl/cmd/grpcurl@$version"
  ln -f "$CLIENTS/bin/grpcurl" "$CLIENTS/bin/grpcurl-$version"
}

check_toolchains
install_only jq:jq python3:python3 go:golang-go
# Debian has the module in a package of its own.
python3 -c 'import ensurepip, venv' 2>/dev/null || apt_install python3-venv
mkdir -p "$CLIENTS/bin"
# In parallel: one downloads while another compiles.
jobs=()
for client in python_sdk typescript_sdk grpcurl; do
  "$client" &
  jobs+=("$client:$!")
done
failed=()
for job in "${jobs[@]}"; do
  wait "${job#*:}" || failed+=("${job%%:*}")
done
[[ ${#failed[@]} -eq 0 ]] || die "not ready: ${failed[*]}" 'the errors are above'
say 'the clients are ready'
