#!/bin/sh
# Gets a headless browser where there is none: release/browser.sh
set -eu
for name in chromium-headless-shell chrome-headless-shell chromium google-chrome; do
  if command -v "$name" >/dev/null; then exit 0; fi
done
if ! command -v apt-get >/dev/null || [ "$(id -u)" != 0 ]; then
  echo "there is no headless browser: install one (Debian: apt install chromium-headless-shell)" >&2
  exit 1
fi
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium-headless-shell
