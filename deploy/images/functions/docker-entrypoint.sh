#!/bin/sh
# Flags and sub-commands of deno go to deno, anything else is run as it is.
set -eu
case "${1:-}" in
  -* | '' | add | audit | approve-scripts | bench | bundle | cache | check | clean | compile | completions | \
    coverage | deploy | doc | eval | fmt | help | info | init | install | jupyter | lint | lsp | outdated | \
    publish | remove | repl | run | serve | task | test | types | uninstall | update | upgrade | vendor | x)
    exec deno "$@"
    ;;
esac
exec "$@"
