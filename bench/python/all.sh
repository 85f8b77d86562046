#!/usr/bin/env bash
# The whole of `make bench-python`: for each interpreter an environment with the peer and our wheel (release, fat LTO), the
# measurements, and the page. What is given here goes on to run.py; then the kept figures stay as they are.
#
#   bench/python/all.sh [--quick] [--only PART] ...         BENCH_PYTHONS="3.12 3.13" are measured
set -euo pipefail
cd "$(dirname "$0")/../.."

command -v cc >/dev/null || { echo "stroboscope: a C compiler (cc) is missing: apt-get install build-essential" >&2; exit 1; }
found=$(bindings-python/tools/pythons.sh)
failed=0
requirements=bench/python/requirements.txt

run() {
    echo "+ $*"
    "$@"
}

for minor in ${BENCH_PYTHONS:-3.12 3.13}; do
    python=$(awk -v minor="$minor" '$1 == minor { print $2 }' <<<"$found")
    if [ -z "$python" ]; then
        echo "stroboscope: no CPython $minor here, so it is not measured" >&2
        continue
    fi
    environment=.venv-bench-$minor
    if ! "$environment/bin/python" -c '' 2>/dev/null; then
        run "$python" -m venv --clear "$environment"
    fi
    run "$environment/bin/python" -m pip install --quiet --disable-pip-version-check -r "$requirements"
    run "$environment/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --force-reinstall ./bindings-python
    # A part that could not be measured says so in the page; the rest is kept.
    run "$environment/bin/python" bench/python/run.py "$@" || failed=1
done
if [ $# = 0 ]; then
    run python3 bench/report.py
fi
exit "$failed"
