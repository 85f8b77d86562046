#!/usr/bin/env bash
# Prints the Nodes that Stroboscope is tested with: paths, one a line.
#
#   nodes.sh         the one here
#   nodes.sh others  those of `all` but the one here
#   nodes.sh all     one of each release that is supported, oldest first; those that are not here come from npm, into target/nodes
set -euo pipefail
cd "$(dirname "$0")/../.."

# The package `node` of npm, which brings the program for this platform.
releases=(20.20.2 22.23.3 24.21.0)

here=$(command -v node) || {
    echo 'stroboscope: node is missing: install Node 20 or newer from https://nodejs.org' >&2
    exit 1
}

fetched() {
    local version=$1 folder=target/nodes/$1
    local node=$folder/node_modules/node/bin/node
    if ! "$node" --version >/dev/null 2>&1; then
        echo "+ npm install --prefix $folder node@$version" >&2
        mkdir -p "$folder"
        npm install --prefix "$folder" --no-save --no-package-lock --no-audit --no-fund --loglevel=error "node@$version" >&2
    fi
    echo "$PWD/$node"
}

case "${1:-here}" in
    here) echo "$here" ;;
    all | others)
        major=$("$here" --version | sed 's/^v\([0-9]*\).*/\1/')
        for version in "${releases[@]}"; do
            if [ "${version%%.*}" != "$major" ]; then fetched "$version"; elif [ "$1" = all ]; then echo "$here"; fi
        done
        ;;
    *)
        echo 'usage: nodes.sh [here|others|all]' >&2
        exit 2
        ;;
esac
