#!/bin/sh
# Puts the plugin and kubectl where a rootless image has them: release/image.sh ROOT WHEEL KUBECTL
# The Containerfile runs it with / as ROOT; a test runs it in an empty folder.
set -eu
root=${1:?say where} wheel=${2:?say which wheel} kubectl=${3:?say which kubectl}
mkdir -p "$root/opt" "$root/usr/local/bin" "$root/state"
python3 -m venv "$root/opt/argo-rescue"
"$root/opt/argo-rescue/bin/python" -m pip install --quiet --no-cache-dir --disable-pip-version-check "$wheel"
ln -sf ../../../opt/argo-rescue/bin/kubectl-argo_rescue "$root/usr/local/bin/kubectl-argo_rescue"
install -m 0755 "$kubectl" "$root/usr/local/bin/kubectl"
chmod 0777 "$root/state"
