#!/usr/bin/env bash
# `make fuzz`: feeds every parser of untrusted bytes mutated inputs, optimised but with overflow checks.
#
# In: SUPALOVE_FUZZ_CASES, inputs per target (a million); SUPALOVE_FUZZ_SEED, which ones (a new number each time).
# Out: a line per target; exit code 0 only if none panicked. A failure prints its shortest input and the seed.
# Needs no engine and no database.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=/dev/null
. "$here/lib.sh"

export SUPALOVE_FUZZ_CASES=${SUPALOVE_FUZZ_CASES:-1000000} SUPALOVE_FUZZ_SEED=${SUPALOVE_FUZZ_SEED:-$(date +%s)}
# The search for the shortest failing input panics at each step.
export RUST_BACKTRACE=0
cd "$ROOT"
say "fuzz: $SUPALOVE_FUZZ_CASES inputs per target, seed $SUPALOVE_FUZZ_SEED"
started=$SECONDS
cargo test --profile fuzz --workspace --lib --bins --locked fuzz:: -- --nocapture
say "fuzz: all targets passed after $((SECONDS - started)) s"
