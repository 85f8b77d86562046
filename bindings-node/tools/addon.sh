#!/usr/bin/env bash
# Builds the addon and puts it where the package loads it, or into the folder INTO. PROFILE names a cargo profile; without it,
# `ci`. TARGET names what it is built for; without it, this machine.
set -euo pipefail
cd "$(dirname "$0")/.."

profile=${PROFILE:-ci}
into=${INTO:-native}
case "${TARGET:-}" in
    # By itself Rust links a C library of its own into all that is made for musl, and no addon can be made that way.
    *-musl) export RUSTFLAGS="${RUSTFLAGS:-} -C target-feature=-crt-static" ;;
esac
cargo build --quiet --package stroboscope-node --profile "$profile" ${TARGET:+--target "$TARGET"}
target=${CARGO_TARGET_DIR:-../target}${TARGET:+/$TARGET}
case "${TARGET:-$(uname -s)}" in
    *[Dd]arwin*) built=libstroboscope_node.dylib ;;
    *) built=libstroboscope_node.so ;;
esac
mkdir -p "$into"
# A running program may have the old one mapped: it keeps its file, the name gets the new one.
cp "$target/$profile/$built" "$into/.new.$$"
mv "$into/.new.$$" "$into/stroboscope.node"
