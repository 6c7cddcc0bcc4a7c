#!/usr/bin/env bash
# Builds and checks everything that is handed out: `make packages`. Ends with a table.
set -euo pipefail
cd "$(dirname "$0")/../.."
# shellcheck source=csrc/cmake/common.sh
. csrc/cmake/common.sh

rm -f "$packages"/table "$packages"/lines-*
csrc/cmake/debs.sh amd64
csrc/cmake/debs.sh arm64
[ "$(cat "$packages"/lines-* 2>/dev/null | sort -u | wc -l)" -le 1 ] || die "amd64 and arm64 print different lines: $packages/lines-*"
csrc/cmake/wheels.sh "$@"

echo
{
  echo "file in build/packages|size|library|glibc from|checked"
  cat "$packages/table"
} | column --table --separator '|'
