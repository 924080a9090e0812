#!/bin/sh
# Clones this repository's HEAD into an empty folder and runs one of the README's commands there, with nothing else done:
# fresh-clone.sh demo|test
set -eu
name=$1
root=$(cd "$(dirname "$0")/../../.." && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 1' INT TERM
git clone --quiet --no-hardlinks "$root" "$folder/clone"
cd "$folder/clone"
git log -1 --format='HEAD is %H'
commands=$(node scripts/readme-commands.mjs "$name")
printf '%s\n' "$commands"
sh -eu -c "$commands"
