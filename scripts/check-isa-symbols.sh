#!/bin/sh
# Fails when an object built for one instruction set defines a weak symbol: the linker may keep that copy for the whole
# library, which then dies with an illegal instruction on CPUs that lack the set.
# Usage: check-isa-symbols.sh NM OBJECT...
set -eu
nm=$1
shift
status=0
for object in "$@"; do
  # W and V: weak functions and objects; u: unique across the process. All come from inline code of shared headers.
  weak=$("$nm" -C --defined-only "$object" | grep -E '^[0-9a-f]+ [WVu] ' || true)
  if [ -n "$weak" ]; then
    printf '%s defines weak symbols; put the code in an unnamed namespace or make it static:\n%s\n' "$object" "$weak" >&2
    status=1
  fi
done
exit $status
