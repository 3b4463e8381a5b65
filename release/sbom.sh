#!/bin/sh
# Writes the CycloneDX SBOM of the packages that an environment's Python has: release/sbom.sh PYTHON FILE
# The environment is the one that krew/build.py froze; cyclonedx-py must be on PATH.
set -eu
exec cyclonedx-py environment --output-reproducible --of JSON --sv 1.6 -o "${2:?say which file}" "${1:?say which Python}"
