"""Runs the tests of foreign programs with a probe on every line and compares each result with a run without.

See README.md. Exit code 1: a test ended otherwise with probes than without.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import time
import xml.etree.ElementTree as xml
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
WORK = ROOT / "target" / "exploration"


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

# Module: the tests that exercise it. `python -m test` runs them.
STDLIB = {
    "json": ["test_json"],
    "collections": ["test_collections", "test_userdict", "test_userlist"],
    "textwrap": ["test_textwrap"],
    "dataclasses": ["test_dataclasses"],
    "argparse": ["test_argparse"],
    "asyncio": ["test_asyncio.test_tasks", "test_asyncio.test_futures", "test_asyncio.test_locks"],
    "contextlib": ["test_contextlib", "test_contextlib_async"],
    "difflib": ["test_difflib"],
    "enum": ["test_enum"],
    "functools": ["test_functools"],
    "heapq": ["test_heapq"],
    "statistics": ["test_statistics"],
    "typing": ["test_typing"],
    "unittest": ["test_unittest"],
}


@dataclass
class Outcome:
    """What a run gave."""

    tests: dict[str, str]
    seconds: float
    events: int = 0
    fired: int = 0
    complaints: list[str] = field(default_factory=list)


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
                probe |= {"template": "self is {self} and args are {args}"}
            else:
                when = {"dsl": "isDefined(self) && len(self.name) > 3 || isDefined(value)"}
                probe |= {"template": "condition held", "when": when, "sampling": {"snapshotsPerSecond": 2}}
            probes.append(probe)
    into.write_text(json.dumps(probes))
    return len(probes), total


def isolated(command: list[str]) -> list[str]:
    """The command in a network with loopback only, where that is allowed."""
    if shutil.which("unshare") is None:
        return command
    bring_up = 'ip link set lo up 2>/dev/null || ifconfig lo up 2>/dev/null; exec "$@"'
    whole = ["unshare", "-rn", "sh", "-c", bring_up, "sh"]
    allowed = subprocess.run([*whole, "true"], capture_output=True, check=False).returncode == 0
    return [*whole, *command] if allowed else command


def run_suite(command: list[str], folder: Path, report: Path, probes: Path | None, python: Path) -> Outcome:
    """Runs a suite, with or without probes, and reads what it reported."""
    report.unlink(missing_ok=True)
    events = report.with_suffix(".ndjson")
    events.unlink(missing_ok=True)
    environment = {**os.environ, "PYTHONHASHSEED": "1"}
    if probes is not None:
        # The preload and not the command: nothing may be printed, since tests compare what their children print.
        where = "import stroboscope, pathlib; print(pathlib.Path(stroboscope.__file__).with_name('_preload'))"
        environment |= {
            "PYTHONPATH": subprocess.check_output([python, "-c", where], text=True).strip(),
            "DD_DYNAMIC_INSTRUMENTATION_ENABLED": "true",
            "DD_DYNAMIC_INSTRUMENTATION_PROBE_FILE": str(probes),
            "STROBE_NDJSON": str(events),
            "STROBE_TERMINAL": "never",
            "STROBE_CPU_BUDGET": "100",
        }
    command = [str(python), *command]
    started = time.monotonic()
    log = report.with_suffix(".log")
    with log.open("wb") as out:
        ended = subprocess.run(
            isolated(command),
            cwd=folder,
            env=environment,
            stdout=out,
            stderr=subprocess.STDOUT,
            check=False,
            timeout=3600,
        )
    seconds = time.monotonic() - started
    outcome = Outcome(read_report(report), seconds)
    if not outcome.tests:
        outcome.complaints.append(f"no test was reported (exit code {ended.returncode}); see {log}")
    text = log.read_text(errors="replace")
    if "Fatal Python error" in text or ended.returncode < 0:
        outcome.complaints.append(f"the interpreter died (exit code {ended.returncode}); see {log}")
    if events.exists():
        with events.open("rb") as lines:
            ids = [re.search(rb'"probe":\{"id":"([^"]*)"', line) for line in lines]
        outcome.events = len(ids)
        outcome.fired = len({found[1] for found in ids if found})
    return outcome


def read_report(report: Path) -> dict[str, str]:
    """Test names and how they ended, from a JUnit report."""
    if not report.exists():
        return {}
    ends = {}
    for case in xml.parse(report).getroot().iter("testcase"):
        name = f"{case.get('classname')}::{case.get('name')}"
        bad = [child.tag for child in case if child.tag in ("failure", "error", "skipped")]
        # A name may occur more than once; then its ends are kept in order.
        ends[name] = ends.get(name, "") + (bad[0] if bad else "passed") + " "
    return ends


def foreign(name: str, environment: Path) -> tuple[list[str], Path, list[Path], Path]:
    """Fetches a program from PyPI with its tests. Gives its pytest command, folder, files and interpreter."""
    program = PROGRAMS[name]
    minor = subprocess.check_output(
        [environment / "bin/python", "-c", "import sys; print('%d.%d' % sys.version_info[:2])"], text=True
    ).strip()
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
    return command, source, sorted(package.rglob("*.py")), python


def standard(module: str, environment: Path) -> tuple[list[str], Path, list[Path], Path]:
    """The tests of a module of the standard library."""
    python = environment / "bin/python"
    where = f"import {module}; print({module}.__file__)"
    file = Path(subprocess.check_output([python, "-c", where], text=True).strip())
    files = sorted(file.parent.rglob("*.py")) if file.name == "__init__.py" else [file]
    return ["-m", "test", "-q", *STDLIB[module]], WORK, files, python


def explore(name: str, environment: Path) -> bool:
    """Runs a suite twice and prints how they differ. True if they do not."""
    WORK.mkdir(parents=True, exist_ok=True)
    is_standard = name.startswith("stdlib:")
    command, folder, files, python = (
        standard(name.removeprefix("stdlib:"), environment) if is_standard else foreign(name, environment)
    )
    stem = WORK / name.replace(":", "-")
    probes = stem.with_suffix(".probes.json")
    count, lines = probes_on_every_line(files, probes)
    print(f"{name}: {count} probes on {lines} lines of {len(files)} files", flush=True)
    runs = {}
    for label, with_probes in (("plain", None), ("probed", probes)):
        report = stem.with_name(f"{stem.name}.{label}.xml")
        option = f"--junit-xml={report}" if is_standard else f"--junitxml={report}"
        runs[label] = run_suite([*command, option], folder, report, with_probes, python)
    plain, probed = runs["plain"], runs["probed"]
    differ = []
    for test in sorted(plain.tests.keys() | probed.tests.keys()):
        before, after = (run.tests.get(test, "not run").strip() for run in (plain, probed))
        if before != after:
            differ.append(f"  {test}: {before} without, {after} with")
    complaints = [f"  without: {text}" for text in plain.complaints] + [f"  with: {text}" for text in probed.complaints]
    print("\n".join(complaints + differ[:50]), end="\n" if complaints or differ else "")
    print(
        f"{name}: {len(probed.tests)} tests, {len(differ)} differ; {count} probes, {lines} lines, "
        f"{probed.fired} fired, {probed.events} events; {plain.seconds:.1f} s without, {probed.seconds:.1f} s with",
        flush=True,
    )
    if probed.events == 0:
        print(f"  with: no event was seen; see {stem}.probed.log")
        return False
    return not (complaints or differ)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--environment", type=Path, help="an environment with the wheel, such as .venv-3.13")
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("name", nargs="*")
    options = parser.parse_args()
    names = [*PROGRAMS, *(f"stdlib:{module}" for module in STDLIB)]
    if options.list:
        print("\n".join(names))
        return 0
    chosen = names if options.all else options.name
    unknown = [name for name in chosen if name not in names]
    if not chosen or unknown or options.environment is None:
        parser.error(f"unknown: {', '.join(unknown)}" if unknown else "an --environment and a name, --all or --list")
    # Not a list comprehension that stops early: every suite is run, whatever became of those before.
    results = [explore(name, options.environment.absolute()) for name in chosen]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
