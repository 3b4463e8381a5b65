#!/bin/sh
# Signs SHA256SUMS, and by it all that it lists: release/sign.sh DIST
# With SIGNING_KEY, a private key in PEM, by OpenSSL: SHA256SUMS.sig. Without, keyless by sigstore, which needs
# the identity that a forge gives to a workflow: SHA256SUMS.sigstore.json.
set -eu
cd "${1:?say which folder}"
if [ -n "${SIGNING_KEY:-}" ]; then
  openssl dgst -sha256 -sign "$SIGNING_KEY" -out SHA256SUMS.sig SHA256SUMS
else
  "${PYTHON:-python3}" -m sigstore sign --bundle SHA256SUMS.sigstore.json SHA256SUMS
fi
