#!/bin/sh
# Runs a compile command and keeps what it says: nvcc-log.sh LOG COMMAND... LOG is shown when the command fails;
# scripts/cuda-report.mjs reads it otherwise.
log=$1
shift
if "$@" >"$log" 2>&1; then
  exit 0
fi
cat "$log" >&2
rm -f "$log"
exit 1
