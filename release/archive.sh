#!/bin/bash
# Makes this platform's archive and its SBOM: release/archive.sh DIST REPOSITORY
set -eu
cd "$(dirname "$0")/.."
dist=${1:?say which folder} repository=${2:?say where releases are published}
tools=build/tools
git config --global --get-all safe.directory | grep -qxF "$PWD" || git config --global --add safe.directory "$PWD"
python3 -m venv "$tools"
# shellcheck disable=SC1090,SC1091
. "$tools/bin/activate" 2>/dev/null || . "$tools/Scripts/activate"
python -m pip install -q --disable-pip-version-check -c krew/constraints.txt PyYAML cyclonedx-bom
python krew/build.py --dist "$dist" --repository "$repository"
frozen=$(find build/krew -mindepth 3 -maxdepth 3 \( -path '*/bin/python' -o -path '*/Scripts/python.exe' \) | head -n 1)
archive=$(find "$dist" -maxdepth 1 -name 'kubectl-argo_rescue_*.tar.gz' | head -n 1)
release/sbom.sh "$frozen" "${archive%.tar.gz}.cdx.json"
