#!/usr/bin/env bash
# Sums what test programs counted into one line, "N passed, N failed".
#
# In:  the number of steps that failed, and files with the output of the steps: cargo's "test result: ok. 8 passed;
#      0 failed; …", Deno's "ok | 8 passed | 0 failed", our scripts' "8 passed, 0 failed".
# A step that failed without a failed test (it did not compile, it crashed) counts as one failure.
set -euo pipefail
steps=$1
shift
cat -- /dev/null "$@" | awk -v steps="$steps" '
  { gsub(/\033\[[0-9;]*m/, "") }
  /^test result:/ || /^(ok|FAILED) \|/ || /^[0-9]+ passed, [0-9]+ failed$/ {
    for (i = 2; i <= NF; i++) {
      if ($i ~ /^passed/) passed += $(i - 1)
      if ($i ~ /^failed/) failed += $(i - 1)
    }
  }
  END {
    if (failed < steps) failed = steps
    printf "%d passed, %d failed\n", passed, failed
  }'
