#!/bin/sh
# Writes SHA256SUMS of all that is released into a folder: release/checksums.sh DIST
set -eu
cd "${1:?say which folder}"
rm -f SHA256SUMS
find . -maxdepth 1 -type f ! -name 'SHA256SUMS*' | sed 's|^\./||' | LC_ALL=C sort | xargs sha256sum >SHA256SUMS
