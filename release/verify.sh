#!/bin/sh
# Checks the signature of SHA256SUMS by a public key in PEM, then what is there of what it lists:
# release/verify.sh DIST KEY
set -eu
cd "${1:?say which folder}"
openssl dgst -sha256 -verify "${2:?say which public key}" -signature SHA256SUMS.sig SHA256SUMS
sha256sum --check --strict --ignore-missing SHA256SUMS
