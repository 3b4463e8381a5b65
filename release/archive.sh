#!/bin/bash
# Makes this platform's archive and its SBOM: release/archive.sh DIST REPOSITORY
set -eu
cd "$(dirname "$0")/.."
dist=${1:?say which folder} repository=${2:?say where releases are published}
tools=build/tools
# In a container the checkout is somebody else's; this holds for what is run here alone.
export GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=safe.directory GIT_CONFIG_VALUE_0="$PWD"
python3 -m venv "$tools"
# shellcheck disable=SC1090,SC1091
. "$tools/bin/activate" 2>/dev/null || . "$tools/Scripts/activate"
python -m pip install -q --disable-pip-version-check -c krew/constraints.txt -c release/constraints.txt PyYAML cyclonedx-bom
python krew/build.py --dist "$dist" --repository "$repository"
frozen=$(python -c 'from krew import build; print(build.build_environment(build.this_platform()[0]))')
archive=$(find "$dist" -maxdepth 1 -name 'kubectl-argo_rescue_*.tar.gz' | head -n 1)
release/sbom.sh "$frozen" "${archive%.tar.gz}.cdx.json"
