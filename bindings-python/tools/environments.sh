#!/usr/bin/env bash
# Makes .venv-3.12, .venv-3.13 … in the root, each with the wheel of this checkout and what demo and tests need.
#
#   environments.sh all|oldest|newest|ends|middle        which Pythons: see pythons.sh
#   environments.sh --tools WHICH                        without the wheel
#   environments.sh --list WHICH                         only prints the folders
#
# Quick when nothing changed: requirements and wheel have a stamp in the environment, compared with their sources.
set -euo pipefail
cd "$(dirname "$0")/../.."

missing() {
    echo "stroboscope: $1 is missing: $2" >&2
    exit 1
}

run() {
    echo "+ $*"
    "$@"
}

mode=whole
case "${1:-}" in
    --list | --tools)
        mode=${1#--}
        shift
        ;;
esac
which=${1:-ends}

case "$which" in
    oldest | newest)
        path=$(bindings-python/tools/pythons.sh "$which")
        lines="$("$path" -c 'import sys; print("%d.%d" % sys.version_info[:2])') $path"
        ;;
    *) lines=$(bindings-python/tools/pythons.sh "$which") ;;
esac

if [ "$mode" = list ]; then
    awk 'NF { print ".venv-" $1 }' <<<"$lines"
    exit
fi

if [ "$mode" = whole ]; then
    command -v cargo >/dev/null || missing cargo "install Rust from https://rustup.rs"
    command -v cc >/dev/null || missing "a C compiler (cc)" "apt-get install build-essential"
fi

requirements=bindings-python/requirements.txt
wheel_sources=(Cargo.toml Cargo.lock core/Cargo.toml core/src core/process bindings-python/Cargo.toml bindings-python/build.rs
    bindings-python/pyproject.toml bindings-python/src bindings-python/python)

# A hash, not times: a fresh checkout of another commit has new times everywhere, and old ones nowhere.
fingerprint() {
    find "$@" -type f ! -name '*.pyc' ! -name '*.so' -print0 | sort -z | xargs -0 cat | cksum
}

make_environment() {
    local minor=$1 python=$2 environment=.venv-$1
    if ! "$environment/bin/python" -c '' 2>/dev/null; then
        run "$python" -m venv --clear "$environment"
    fi
    local wanted
    wanted=$(fingerprint "$requirements")
    if [ "$(cat "$environment/.requirements" 2>/dev/null)" != "$wanted" ]; then
        run "$environment/bin/python" -m pip install --quiet --disable-pip-version-check -r "$requirements"
        echo "$wanted" >"$environment/.requirements"
    fi
    if [ "$mode" = tools ]; then return; fi
    wanted=$(fingerprint "${wheel_sources[@]}")
    if [ "$(cat "$environment/.wheel" 2>/dev/null)" != "$wanted" ]; then
        rm -rf "target/wheels-$minor"
        run "$environment/bin/maturin" build --quiet --profile ci --manifest-path bindings-python/Cargo.toml \
            --interpreter "$environment/bin/python" --out "target/wheels-$minor"
        run "$environment/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --force-reinstall \
            "target/wheels-$minor"/stroboscope-*.whl
        # Asked again, since building may have completed Cargo.lock.
        fingerprint "${wheel_sources[@]}" >"$environment/.wheel"
    fi
}

while read -r minor python; do
    if [ -n "$minor" ]; then make_environment "$minor" "$python"; fi
done <<<"$lines"
