#!/usr/bin/env bash
# Prints the CPythons on this machine that Stroboscope can be built and tested with, oldest first: "3.12 /usr/bin/python3.12".
#
#   pythons.sh            one line per minor version
#   pythons.sh oldest     the path of the oldest
#   pythons.sh newest     the path of the newest
#   pythons.sh ends       the lines of the oldest and the newest
#   pythons.sh middle     the lines between them
#
# Candidates are run, not looked up: a pyenv shim answers `command -v` and fails when it is called.
set -euo pipefail

# Says "ok 3.12 /real/path", or "no 3.11.7 why".
question='
import os, sys, sysconfig
version = "%d.%d.%d" % sys.version_info[:3]
def no(why): print("no", version, why); sys.exit()
if sys.version_info < (3, 12): no("is too old")
if sys.version_info >= (3, 15): no("is newer than this version knows")
if sys.implementation.name != "cpython": no("is not CPython")
if sysconfig.get_config_var("Py_GIL_DISABLED"): no("is free-threaded")
if not os.path.exists(os.path.join(sysconfig.get_paths()["include"], "Python.h")): no("has no headers: apt-get install python%d.%d-dev" % sys.version_info[:2])
try: import venv, ensurepip
except ImportError: no("cannot make environments: apt-get install python%d.%d-venv" % sys.version_info[:2])
print("ok", "%d.%d" % sys.version_info[:2], sys.executable)
'

candidates() {
    printf '%s\n' python3.14 python3.13 python3.12 python3 python
    local path
    for path in "${PYENV_ROOT:-$HOME/.pyenv}"/versions/*/bin/python3; do
        if [ -x "$path" ]; then printf '%s\n' "$path"; fi
    done
}

ask_all() {
    local candidate
    while read -r candidate; do
        "$candidate" -c "$question" 2>/dev/null || true
    done
}

one_per_minor() {
    awk '$1 == "ok" && !seen[$2]++ { print $2, $3 }' | sort -t. -k2n
}

answers=$(candidates | ask_all)
found=$(one_per_minor <<<"$answers")

# Last resort: uv, where it is installed, downloads one into the checkout.
if [ -z "$found" ] && command -v uv >/dev/null; then
    root=$(cd "$(dirname "$0")/../.." && pwd)
    echo "no CPython 3.12 or newer here: uv downloads one into .tools/python" >&2
    UV_PYTHON_INSTALL_DIR="$root/.tools/python" uv python install --no-bin 3.13 >&2 || true
    answers+=$'\n'$(printf '%s\n' "$root"/.tools/python/*/bin/python3 | ask_all)
    found=$(one_per_minor <<<"$answers")
fi

if [ -z "$found" ]; then
    # The nearest miss helps most: a new one that lacks something, else the newest of the old ones.
    miss=$(awk '$1 == "no"' <<<"$answers" | sort -u -k2,2V | tail -n 1)
    case "$miss" in
        '') echo "stroboscope needs CPython 3.12 or newer; found none" >&2 ;;
        *' is too old') echo "stroboscope needs CPython 3.12 or newer; found $(cut -d' ' -f2 <<<"$miss")" >&2 ;;
        *) echo "stroboscope needs CPython 3.12 or newer; found $(cut -d' ' -f2 <<<"$miss"), which $(cut -d' ' -f3- <<<"$miss")" >&2 ;;
    esac
    exit 1
fi

case "${1:-all}" in
    all) echo "$found" ;;
    oldest) head -n 1 <<<"$found" | cut -d' ' -f2- ;;
    newest) tail -n 1 <<<"$found" | cut -d' ' -f2- ;;
    ends) sed -n '1p;$p' <<<"$found" | uniq ;;
    middle) sed '1d;$d' <<<"$found" ;;
    *) echo "usage: pythons.sh [all|oldest|newest|ends|middle]" >&2; exit 2 ;;
esac
