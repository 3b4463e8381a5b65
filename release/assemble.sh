#!/bin/bash
# Makes what a release has beside its archives: wheel and sdist, manifest, formula, checksums.
# release/assemble.sh DIST REPOSITORY
set -eu
cd "$(dirname "$0")/.."
dist=${1:?say which folder} repository=${2:?say where releases are published}
python3 -m venv build/assembling
python=build/assembling/bin/python
$python -m pip install -q --disable-pip-version-check -c krew/constraints.txt -c release/constraints.txt PyYAML setuptools sigstore uv
$python -m krew.wheel --dist "$dist"
$python krew/build.py --manifest-only --dist "$dist" --repository "$repository"
$python -m krew.formula --dist "$dist" --repository "$repository"
release/checksums.sh "$dist"
