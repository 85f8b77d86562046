#!/usr/bin/env bash
# Builds the addon and puts it where the package loads it. PROFILE names a cargo profile; without it, `ci`.
set -euo pipefail
cd "$(dirname "$0")/.."

profile=${PROFILE:-ci}
cargo build --quiet --package stroboscope-node --profile "$profile"
target=${CARGO_TARGET_DIR:-../target}
case "$(uname -s)" in
    Darwin) built=libstroboscope_node.dylib ;;
    *) built=libstroboscope_node.so ;;
esac
mkdir -p native
# A running program may have the old one mapped: it keeps its file, the name gets the new one.
cp "$target/$profile/$built" "native/.new.$$"
mv "native/.new.$$" native/stroboscope.node
