"""The standard library's own tests as suites, and which sources a file of them is about."""

from __future__ import annotations

import subprocess
from pathlib import Path

from probes import places_in
from suites import WORK, Suite

# Those of the standard library's tests that come first: the likeliest to see a tool like ours.
FIRST = """
sys_settrace sys_setprofile monitoring trace pdb bdb inspect dis code frame generators coroutines asyncgen exceptions
traceback gc weakref threading thread fork1 subprocess multiprocessing_fork signal faulthandler importlib
runpy zipimport capi descr dict typing dataclasses unittest doctest logging socket ssl http sqlite3 decimal re pickle
copy tracemalloc interpreters
""".split()  # noqa: SIM905

# Those that start so many processes that they take as long as all others: last.
LAST = ("multiprocessing_forkserver", "multiprocessing_spawn", "multiprocessing_main_handling", "concurrent_futures")

# Lines of the modules that a test imports, probed besides those of the test itself and of what it is named after. Each
# child process of a test places them all anew.
IMPORTED_LINES = 6000

# Run by the Python under test: the sources that a test of the standard library is about, nearest first.
SOURCES = """
import ast, importlib.util, pathlib, re, sys

def source(name):
    try:
        found = importlib.util.find_spec(name)
    except Exception:  # importing its package failed, or was refused: a whole package of tests may be skipped so
        return None
    if found is None:
        return None
    state = getattr(found, "loader_state", None)
    origin = getattr(state, "filename", None) if found.origin == "frozen" else found.origin
    return pathlib.Path(origin) if origin and origin.endswith(".py") else None

def whole(name):
    file = source(name)
    if file is None:
        return []
    return sorted(file.parent.rglob("*.py")) if file.name == "__init__.py" else [file]

print(pathlib.Path(importlib.util.__file__).parent.parent)
test = sys.argv[1]
own = source("test").parent.joinpath(*test.split("."))
files = sorted(own.rglob("*.py")) if own.is_dir() else [own.with_suffix(".py")]
print("own", *files, sep="\\n")
for part in test.split("."):
    bare = part.removeprefix("test_").rstrip("0123456789")
    for name in (bare, "_" + bare, "_py" + bare, bare.split("_")[0]):
        print("about", *(whole(name) if name not in ("test", "") else []), sep="\\n")
names = []
for file in files:
    try:
        nodes = list(ast.walk(ast.parse(file.read_bytes())))
    except SyntaxError:
        continue
    for node in nodes:
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names += [node.module, *(node.module + "." + alias.name for alias in node.names)]
for name in dict.fromkeys(names):
    # What runs the tests is not looked at, unless a test is about it.
    if name.split(".")[0] not in ("unittest", "test", "__future__") and (file := source(name)):
        print("imported", file, sep="\\n")
"""


def suite_of(test: str, environment: Path, minor: str, exceptions: list[dict]) -> Suite:
    """A file of the standard library's own tests."""
    python = environment / "bin/python"
    own, about, imported = [], [], []
    kinds = {"own": own, "about": about, "imported": imported}
    into = own
    library, *lines = subprocess.check_output([python, "-c", SOURCES, test], text=True).splitlines()
    for line in lines:
        into = kinds.get(line, into)
        if line not in kinds and Path(line) not in own + about + imported:
            into.append(Path(line))
    room = IMPORTED_LINES
    for file in imported:
        room -= sum(len(place.get("lines", ())) for place in places_in(file, ()))
        if room >= 0:
            about.append(file)
    command = ["-m", "test", "-q", "--randseed=1", "--junit-xml={report}"]
    for pattern in (pattern for entry in exceptions for pattern in entry.get("left_out", [])):
        command += [f"--ignore={pattern}"] if pattern.startswith(f"test.{test}.") else []
    command.append(f"test.{test}" if "." in test else test)
    return Suite(
        name=f"stdlib:{test}",
        command=tuple(command),
        folder=WORK,
        python=python,
        files=tuple(own + about),
        roots=(Path(library),),
        stem=WORK / f"stdlib-{test}-{minor}",
    )


def every_test(environment: Path) -> list[str]:
    """All files of the standard library's own tests, those first that are the likeliest to see us."""
    listed = subprocess.check_output([environment / "bin/python", "-m", "test", "--list-tests"], text=True, cwd=WORK)
    tests = [line.removeprefix("test.") for line in listed.split()]

    def place(test: str) -> int:
        bare = test.split(".", maxsplit=1)[0].removeprefix("test_")
        if bare in LAST:
            return len(FIRST) + 1
        exact = (at for at, first in enumerate(FIRST) if bare == first)
        begins = (at for at, first in enumerate(FIRST) if bare.startswith(first + "_") or bare == first + "lib")
        return next(exact, next(begins, len(FIRST)))

    return sorted(tests, key=place)
