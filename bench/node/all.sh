#!/usr/bin/env bash
# The whole of `make bench-node`: the peer and the other Nodes from npm, our addon as it ships (release, fat LTO), the
# measurements of each Node, and the page. What is given here goes on to run.mjs; then the kept figures stay as they are.
#
#   bench/node/all.sh [--quick] [--only PART] ...         BENCH_NODES="20 22 24" are measured
set -euo pipefail
cd "$(dirname "$0")/../.."

failed=0

run() {
    echo "+ $*"
    "$@"
}

# Without scripts: what the peer would build there is for its other products.
if ! cmp -s bench/node/package-lock.json bench/node/node_modules/.installed; then
    run npm ci --prefix bench/node --no-audit --no-fund --ignore-scripts --loglevel error
    cp bench/node/package-lock.json bench/node/node_modules/.installed
fi
run env PROFILE="${PROFILE:-release}" bindings-node/tools/addon.sh

# The Node of this machine where its number fits, else that of npm.
program() {
    if [ "$(node -p 'process.versions.node.split(".")[0]')" = "$1" ]; then
        command -v node
    else
        find "$PWD/bench/node/node_modules" -path "*/node$1-*/bin/node"
    fi
}

for major in ${BENCH_NODES:-20 22 24}; do
    node=$(program "$major")
    if [ -z "$node" ]; then
        echo "stroboscope: no Node $major here, so it is not measured" >&2
        continue
    fi
    # A part that could not be measured says so in the page; the rest is kept.
    run "$node" bench/node/run.mjs --node "$node" "$@" || failed=1
done
if [ $# = 0 ]; then
    run python3 bench/report.py
fi
exit "$failed"
