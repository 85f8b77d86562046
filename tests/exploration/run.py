"""Runs the tests of foreign programs with a probe on every line and compares each result with a run without.

See README.md. Exit code 1: a test ended otherwise with probes than without.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import fnmatch
import functools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import time
import tomllib
import xml.etree.ElementTree as xml
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
WORK = ROOT / "target" / "exploration"
WHOLE = "(the whole process)"


@dataclass(frozen=True)
class Program:
    """A program from PyPI whose source distribution carries its tests."""

    version: str
    package: str  # folder of the code below site-packages
    tests: tuple[str, ...] = ("tests",)
    needs: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


PROGRAMS = {
    "attrs": Program("25.3.0", "attr", needs=("hypothesis==6.148.2", "cloudpickle==3.1.2"), options=("-m", "not slow")),
    "flask": Program("3.1.2", "flask"),
    "requests": Program(
        "2.32.5",
        "requests",
        needs=("pytest-httpbin==2.1.0", "pytest-mock==3.15.1", "trustme==1.2.1", "PySocks==1.7.1"),
    ),
}

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


@dataclass(frozen=True)
class Suite:
    """Tests that can be run."""

    command: list[str]
    folder: Path
    files: list[Path]  # the sources that are probed
    python: Path
    report_option: str
    stem: Path  # what its files begin with


@dataclass
class Outcome:
    """What a run gave."""

    tests: dict[str, str]
    seconds: float
    ended: str = ""  # how the process ended
    events: int = 0
    fired: set[str] = field(default_factory=set)


def lines_with_code(file: Path) -> list[int]:
    """The first lines of all statements of a file, without docstrings and declarations."""
    try:
        tree = ast.parse(file.read_bytes())
    except SyntaxError:
        return []
    lines = set()
    for node in ast.walk(tree):
        skipped = (ast.Global, ast.Nonlocal)
        docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if isinstance(node, ast.stmt) and not isinstance(node, skipped) and not docstring:
            lines.add(node.lineno)
    return sorted(lines)


def probes_on_every_line(files: list[Path], into: Path) -> tuple[int, int]:
    """Writes a probe file with ten lines a probe. Gives the numbers of probes and of lines."""
    probes = []
    total = 0
    for file in files:
        lines = lines_with_code(file)
        total += len(lines)
        for start in range(0, len(lines), 10):
            number = len(probes)
            probe = {
                "id": f"{file.name}-{number}",
                "version": 1,
                "type": "LOG_PROBE",
                "where": {"sourceFile": str(file), "lines": [str(line) for line in lines[start : start + 10]]},
            }
            if number % 3 == 0:
                probe |= {"template": "seen", "captureSnapshot": True}
            elif number % 3 == 1:
                probe |= {"template": "self is {self} and args are {args}", "sampling": {"snapshotsPerSecond": 5}}
            else:
                when = {"dsl": "isDefined(self) && len(self.name) > 3 || isDefined(value)"}
                probe |= {"template": "condition held", "when": when, "sampling": {"snapshotsPerSecond": 2}}
            probes.append(probe)
    into.write_text(json.dumps(probes))
    return len(probes), total


@functools.cache
def loopback_only() -> tuple[str, ...]:
    """What a command begins with that runs it in a network with loopback only; nothing where that is not allowed."""
    if shutil.which("unshare") is None:
        return ()
    bring_up = 'ip link set lo up 2>/dev/null || ifconfig lo up 2>/dev/null; exec "$@"'
    whole = ("unshare", "-rn", "sh", "-c", bring_up, "sh")
    allowed = subprocess.run([*whole, "true"], capture_output=True, check=False).returncode == 0
    return whole if allowed else ()


def execute(command: list[str], folder: Path, environment: dict[str, str], log: Path, limit: float) -> str:
    """Runs a command to its end, with all that it left behind. Says how it ended."""
    with log.open("wb") as out:
        process = subprocess.Popen(
            [*loopback_only(), *command],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            code = process.wait(limit)
            ended = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
        except subprocess.TimeoutExpired:
            ended = f"timed out after {limit:.0f} s"
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    if b"Fatal Python error" in log.read_bytes():
        ended += ", with a fatal error"
    return ended


def run_suite(suite: Suite, label: str, probes: Path | None, limit: float) -> Outcome:
    """Runs a suite, with or without probes, and reads what it reported."""
    report = suite.stem.with_name(f"{suite.stem.name}.{label}.xml")
    report.unlink(missing_ok=True)
    events = report.with_suffix(".ndjson")
    events.unlink(missing_ok=True)
    environment = {**os.environ, "PYTHONHASHSEED": "1"}
    if probes is not None:
        # The preload and not the command: nothing may be printed, since tests compare what their children print.
        where = "import stroboscope, pathlib; print(pathlib.Path(stroboscope.__file__).with_name('_preload'))"
        environment |= {
            "PYTHONPATH": subprocess.check_output([suite.python, "-c", where], text=True).strip(),
            "DD_DYNAMIC_INSTRUMENTATION_ENABLED": "true",
            "DD_DYNAMIC_INSTRUMENTATION_PROBE_FILE": str(probes),
            "STROBE_NDJSON": str(events),
            "STROBE_TERMINAL": "never",
            "STROBE_CPU_BUDGET": "100",
        }
    started = time.monotonic()
    log = report.with_suffix(".log")
    command = [str(suite.python), *suite.command, f"{suite.report_option}={report}"]
    ended = execute(command, suite.folder, environment, log, limit)
    outcome = Outcome(read_report(report), time.monotonic() - started, ended)
    # Tests that are skipped whole report none. Of others the end of the process counts as one result more.
    outcome.tests[WHOLE] = ended
    if events.exists():
        with events.open("rb") as lines:
            for line in lines:
                found = re.search(rb'"probe":\{"id":"([^"]*)"', line)
                outcome.events += 1
                outcome.fired |= {found[1].decode()} if found else set()
        events.unlink()
    return outcome


def read_report(report: Path) -> dict[str, str]:
    """Test names and how they ended, from a JUnit report."""
    if not report.exists() or not report.stat().st_size:
        return {}
    ends = {}
    for case in xml.parse(report).getroot().iter("testcase"):
        name = "::".join(part for part in (case.get("classname"), case.get("name")) if part)
        bad = [child.tag for child in case if child.tag in ("failure", "error", "skipped")]
        if not name:
            continue  # so `python -m test` reports a test that failed in a subtest: it has no result then
        # A name may occur more than once; then its ends are kept in order.
        ends[name] = ", ".join([*([ends[name]] if name in ends else []), bad[0] if bad else "passed"])
    return ends


def foreign(name: str, environment: Path, minor: str) -> Suite:
    """Fetches a program from PyPI with its tests."""
    program = PROGRAMS[name]
    home = WORK / f"{name}-{minor}"
    python = home / "venv/bin/python"
    source = home / f"{name}-{program.version}"
    if not (home / "ready").exists():
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir(parents=True)
        subprocess.run([environment / "bin/python", "-m", "venv", home / "venv"], check=True)
        pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "pytest==8.4.2", f"{name}=={program.version}", *program.needs], check=True)
        fetch = [python, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:", "--dest", home]
        subprocess.run([*fetch, f"{name}=={program.version}"], check=True)
        with tarfile.open(next(home.glob("*.tar.gz"))) as archive:
            archive.extractall(home, filter="data")
        (home / "ready").touch()
    wheels = sorted((ROOT / f"target/wheels-{minor}").glob("*.whl"), key=lambda wheel: wheel.stat().st_mtime)
    wheel = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--force-reinstall", "--no-deps"]
    subprocess.run([*wheel, wheels[-1]], check=True)
    package = next((home / "venv/lib").glob(f"python*/site-packages/{program.package}"))
    command = ["-m", "pytest", "-q", "-p", "no:cacheprovider", *program.options, *program.tests]
    return Suite(command, source, sorted(package.rglob("*.py")), python, "--junitxml", WORK / f"{name}-{minor}")


def standard(test: str, environment: Path, minor: str, listed: list[dict]) -> Suite:
    """A file of the standard library's own tests."""
    python = environment / "bin/python"
    own, about, imported = [], [], []
    kinds = {"own": own, "about": about, "imported": imported}
    into = own
    for line in subprocess.check_output([python, "-c", SOURCES, test], text=True).splitlines():
        into = kinds.get(line, into)
        if line not in kinds and Path(line) not in own + about + imported:
            into.append(Path(line))
    room = IMPORTED_LINES
    for file in imported:
        room -= len(lines_with_code(file))
        if room >= 0:
            about.append(file)
    command = ["-m", "test", "-q", "--randseed=1"]
    for pattern in (pattern for entry in listed for pattern in entry.get("left_out", [])):
        command += [f"--ignore={pattern}"] if pattern.startswith(f"test.{test}.") else []
    command.append(f"test.{test}" if "." in test else test)
    return Suite(command, WORK, own + about, python, "--junit-xml", WORK / f"stdlib-{test}-{minor}")


def tests_of_standard_library(environment: Path) -> list[str]:
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


def listed_reason(listed: list[dict], test: str) -> str | None:
    """Why a test is expected to end otherwise, if it is."""
    for entry in listed:
        if any(fnmatch.fnmatchcase(test, pattern) for pattern in entry["tests"]):
            return entry["reason"]
    return None


def crashed(ends: tuple[str, ...]) -> bool:
    """True if the interpreter died."""
    return any("signal" in end or "fatal" in end for end in ends)


def compare(suite: Suite, limit: float) -> dict:
    """Runs a suite without and with probes. What differs is run again both ways, to tell what is unsteady by itself."""
    probes = suite.stem.with_name(f"{suite.stem.name}.probes.json")
    count, lines = probes_on_every_line(suite.files, probes)
    plain = run_suite(suite, "plain", None, limit)
    # Ten times as long and a minute is slow; more is a failure, and said to be one.
    patience = min(limit, 60 + 10 * plain.seconds)
    probed = run_suite(suite, "probed", probes, patience)

    def ends(outcome: Outcome, test: str) -> str:
        return outcome.tests.get(test, "no result")

    def whole_only(outcome: Outcome) -> bool:
        return len(outcome.tests) == 1

    if whole_only(plain) or whole_only(probed):
        tests = {WHOLE} if plain.tests != probed.tests else set()
    else:
        tests = {test for test in plain.tests.keys() | probed.tests.keys() if ends(plain, test) != ends(probed, test)}
    differ = []
    if tests:
        plain_again = run_suite(suite, "plain-again", None, limit)
        probed_again = run_suite(suite, "probed-again", probes, patience)
        for test in sorted(tests):
            without = (ends(plain, test), ends(plain_again, test))
            with_probes = (ends(probed, test), ends(probed_again, test))
            # The same result was seen both with and without: it comes and goes by itself. A crash is one however rare.
            steady = not set(without) & set(with_probes) or (crashed(with_probes) and not crashed(without))
            differ.append({"test": test, "without": without, "with": with_probes, "steady": steady})
    return {
        "tests": len(plain.tests) - 1,
        "ended": [plain.ended, probed.ended],
        "skipped": sum("skipped" in end for end in plain.tests.values()),
        "failed_without": sorted(t for t, e in plain.tests.items() if t != WHOLE and ("fail" in e or "error" in e)),
        "differ": differ,
        "probes": count,
        "lines": lines,
        "files": [str(file) for file in suite.files],
        "fired": len(probed.fired),
        "events": probed.events,
        "seconds": [round(plain.seconds, 1), round(probed.seconds, 1)],
    }


def judge(name: str, result: dict, listed: list[dict]) -> dict[str, list[dict]]:
    """The differences of a suite by what they are."""
    kinds: dict[str, list[dict]] = {"differ": [], "listed": [], "unsteady": []}
    for difference in result["differ"]:
        test = difference["test"] if difference["test"] != WHOLE else f"{name} {WHOLE}"
        reason = listed_reason(listed, test)
        kind = "listed" if reason else "differ" if difference["steady"] else "unsteady"
        kinds[kind].append(difference | {"test": test, "reason": reason})
    # The end of a process is one result more: it says nothing new of a process that failed for the tests beside it.
    for kind, found in kinds.items():
        if any(kinds[other] for other in kinds) and len(result["differ"]) > 1:
            kinds[kind] = [
                one for one in found if not (one["test"].endswith(WHOLE) and all("exit code" in e for e in one["with"]))
            ]
    return kinds


def row(name: str, result: dict, kinds: dict[str, list[dict]]) -> str:
    """One line about a suite."""
    numbers = ", ".join(f"{len(found)} {kind}" for kind, found in kinds.items() if found or kind == "differ")
    return (
        f"{name}: {result['tests']} tests ({result['skipped']} skipped), {numbers}; {result['probes']} probes on "
        f"{result['lines']} lines of {len(result['files'])} files, {result['fired']} fired, {result['events']} events; "
        f"{result['seconds'][0]} s without, {result['seconds'][1]} s with"
    )


def details(kinds: dict[str, list[dict]]) -> str:
    """The tests that ended otherwise, one a line; of those that are listed, one reason a line."""
    lines = []
    for kind in ("differ", "unsteady"):
        for one in kinds[kind]:
            without, with_probes = (" and ".join(dict.fromkeys(one[key])) for key in ("without", "with"))
            lines.append(f"  {kind}: {one['test']}: {without} without, {with_probes} with\n")
    for reason in dict.fromkeys(one["reason"] for one in kinds["listed"]):
        tests = [one["test"] for one in kinds["listed"] if one["reason"] == reason]
        lines.append(f"  listed: {reason}: {len(tests)} tests: {' '.join(tests)}\n")
    return "".join(lines)


def table(report: dict[str, dict], listed: list[dict]) -> str:
    """All that a report holds, added up, with every difference named."""
    sums = dict.fromkeys(("tests", "skipped", "fired", "events"), 0)
    bad_without = [test for result in report.values() for test in result["failed_without"]]
    kinds_of_all: dict[str, list[dict]] = {"differ": [], "listed": [], "unsteady": []}
    for name, result in report.items():
        for key in sums:
            sums[key] += result[key]
        for kind, found in judge(name, result, listed).items():
            kinds_of_all[kind] += found
    files = {file for result in report.values() for file in result["files"]}
    lines = sum(len(lines_with_code(Path(file))) for file in files if Path(file).exists())
    without, with_probes = (sum(result["seconds"][at] for result in report.values()) for at in (0, 1))
    ran = tuple(f"test.{name.removeprefix('stdlib:')}." for name in report)
    pairs = [(entry["reason"], test) for entry in listed for test in entry.get("left_out", [])]
    left_out = "".join(f"  left out: {reason}: {test}\n" for reason, test in pairs if test.startswith(ran))
    return (
        f"{details(kinds_of_all)}{left_out}"
        f"{len(report)} suites, {sums['tests']} tests ({sums['skipped']} skipped, {len(bad_without)} fail both ways); "
        f"{lines} lines of {len(files)} files probed, {sums['fired']} probes fired, {sums['events']} events; "
        f"{without:.0f} s without, {with_probes:.0f} s with\n"
        f"{len(kinds_of_all['differ'])} differ, {len(kinds_of_all['listed'])} differ and are listed with a reason, "
        f"{len(kinds_of_all['unsteady'])} differed once and not again"
    )


def read_results(file: Path) -> dict[str, dict]:
    """The suites of a report; the last result of each counts."""
    if not file.exists():
        return {}
    entries = (json.loads(line) for line in file.read_text().splitlines())
    return {entry["suite"]: entry for entry in entries}


def as_in_a_terminal() -> None:
    """Undoes what a shell does to commands in the background: their children would ignore Ctrl-C, which tests send."""
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, lambda *_: None)


def main() -> int:
    as_in_a_terminal()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--environment", type=Path, required=True, help="one with the wheel, such as .venv-3.13")
    parser.add_argument("--all", action="store_true", help="every suite")
    parser.add_argument("--stdlib", action="store_true", help="every suite of the standard library")
    parser.add_argument("--list", action="store_true", help="only print the names")
    parser.add_argument("--report", type=Path, help="one JSON object a suite is added to this file")
    parser.add_argument("--resume", action="store_true", help="leave out the suites that are in the report")
    parser.add_argument("--table", action="store_true", help="run nothing, only print what the report holds")
    parser.add_argument("--limit", type=float, default=1200, help="seconds that one run of a suite may take")
    parser.add_argument("name", nargs="*", help="attrs, flask, requests, stdlib:test_json …")
    options = parser.parse_args()
    environment = options.environment.absolute()
    WORK.mkdir(parents=True, exist_ok=True)
    which = "import sys; print('%d.%d' % sys.version_info[:2])"
    minor = subprocess.check_output([environment / "bin/python", "-c", which], text=True).strip()
    file = options.report or WORK / f"report-{minor}.jsonl"
    listed = tomllib.loads(Path(__file__).with_name("exceptions.toml").read_text())["exception"]
    if options.table:
        print(table(read_results(file), listed))
        return 0
    standards = [f"stdlib:{test}" for test in tests_of_standard_library(environment)]
    names = [*PROGRAMS, *standards]
    chosen = names if options.all else standards if options.stdlib else options.name
    unknown = [name for name in chosen if name not in names]
    if options.list:
        print("\n".join(names))
        return 0
    if not chosen or unknown:
        parser.error(f"unknown: {', '.join(unknown)}" if unknown else "a name, --stdlib, --all, --table or --list")
    if options.resume:
        done = read_results(file)
        chosen = [name for name in chosen if name not in done]
    results = {}
    for number, name in enumerate(chosen, 1):
        test = name.removeprefix("stdlib:")
        from_library = test != name
        suite = standard(test, environment, minor, listed) if from_library else foreign(name, environment, minor)
        results[name] = compare(suite, options.limit)
        with file.open("a") as out:
            out.write(json.dumps({"suite": name, "python": minor, **results[name]}) + "\n")
        kinds = judge(name, results[name], listed)
        print(f"[{number}/{len(chosen)}] {row(name, results[name], kinds)}\n{details(kinds)}", end="", flush=True)
    print(table(results, listed))
    bad = [name for name in results if judge(name, results[name], listed)["differ"]]
    silent = [name for name, result in results.items() if result["tests"] and not result["events"]]
    if silent:
        print(f"no event was seen of: {', '.join(silent)}")
    if bad:
        print(f"differ: {', '.join(bad)}; the logs are beside {WORK}")
    return 1 if bad or len(silent) == len(results) else 0


if __name__ == "__main__":
    sys.exit(main())
