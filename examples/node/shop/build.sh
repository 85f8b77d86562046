#!/usr/bin/env bash
# Installs what the lock file names, unless that has been done, and compiles the shop into dist/.
set -euo pipefail
cd "$(dirname "$0")"

command -v npm >/dev/null || { echo 'stroboscope: npm is missing: it comes with Node, https://nodejs.org' >&2; exit 1; }
if ! cmp --quiet package-lock.json node_modules/.lock; then
    npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
    cp package-lock.json node_modules/.lock
fi
npx --no-install tsc
