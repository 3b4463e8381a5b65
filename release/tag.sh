#!/bin/sh
# Fails where a tag and the program disagree: release/tag.sh vVERSION
set -eu
cd "$(dirname "$0")/.."
tag=${1:?say which tag: vVERSION}
grep -qx "__version__ = \"${tag#v}\"" kubectl_argo_rescue/__init__.py || {
  echo "kubectl_argo_rescue/__init__.py does not say ${tag#v}" >&2
  exit 1
}
python3 krew/release_notes.py "$tag" >/dev/null
