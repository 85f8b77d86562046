"""One run of a suite: bare, watched by a tool that is not ours, or with probes in one of three ways.

It gives how the tests ended, what was printed, and what we left in the first process.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
import xml.etree.ElementTree as xml
from dataclasses import asdict, dataclass, field
from pathlib import Path

from probes import Made
from suites import HERE, ROOT, Suite

MODES = {
    "probed": "a probe on every line and method",
    "churn": "the same probes come and go all the time",
    "hostile": "a random tenth, with the largest captures",
}
# What nobody puts into the environment of a test by accident.
KEPT = ("PATH", "HOME", "LANG", "TMPDIR", "USER")


@dataclass
class Outcome:
    """What a run gave."""

    tests: dict[str, str]
    printed: list[str]
    ended: str  # how the process ended
    seconds: float
    account: dict | None  # see inside/sitecustomize.py
    events: int = 0
    fired: list[str] = field(default_factory=list)
    measured: list[str] = field(default_factory=list)  # names of metrics that left the process

    def write(self, into: Path) -> None:
        """Keeps it for a later call."""
        into.write_text(json.dumps(asdict(self)))

    @classmethod
    def read(cls, kept: Path) -> Outcome:
        """What was kept."""
        return cls(**json.loads(kept.read_text()))


class Metrics:
    """A server for metrics, on a Unix socket: it only notes their names."""

    def __init__(self) -> None:
        self.folder = tempfile.mkdtemp(prefix="exploration-")
        self.path = f"{self.folder}/metrics"
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        self.socket.settimeout(0.2)
        self.names: set[str] = set()
        self.ends = False
        self.thread = threading.Thread(target=self.serve)
        self.thread.start()

    def serve(self) -> None:
        """Reads until there is nothing more after the end."""
        while True:
            try:
                data = self.socket.recv(1 << 16)
            except TimeoutError:
                if self.ends:
                    return
            else:
                self.names.update(name.decode() for name in re.findall(rb"metric\.probe\.(p\d+):", data))

    def close(self) -> set[str]:
        """The names of all metrics that came."""
        self.ends = True
        self.thread.join()
        self.socket.close()
        shutil.rmtree(self.folder)
        return self.names


@functools.cache
def loopback_only() -> tuple[str, ...]:
    """What a command begins with that runs it in a network with loopback only; nothing where that is not allowed."""
    if shutil.which("unshare") is None:
        return ()
    bring_up = 'ip link set lo up 2>/dev/null || ifconfig lo up 2>/dev/null; exec "$@"'
    whole = ("unshare", "-rn", "sh", "-c", bring_up, "sh")
    allowed = subprocess.run([*whole, "true"], capture_output=True, check=False).returncode == 0
    return whole if allowed else ()


@functools.cache
def preload(python: Path) -> str:
    """The folder that starts us in a Python."""
    where = "import stroboscope, pathlib; print(pathlib.Path(stroboscope.__file__).with_name('_preload'))"
    return subprocess.check_output([python, "-c", where], text=True).strip()


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
            ended = f"not at its end after {limit:.0f} s"
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    if b"Fatal Python error" in log.read_bytes():
        ended += ", with a fatal error"
    return ended


def environment_of(suite: Suite, mode: str, files: dict[str, Path], metrics: str) -> dict[str, str]:
    """The environment of a run."""
    inside = str(HERE / "inside")
    told = {"mode": mode, "account": str(files["account"]), "probes": str(files["probes"])}
    base = {name: os.environ[name] for name in KEPT if name in os.environ}
    base |= {"PYTHONHASHSEED": "1", "PYTHONPATH": inside, "EXPLORATION": json.dumps(told), **dict(suite.variables)}
    if mode in ("bare", "watch"):
        return base
    # The preload and not the command: nothing may be printed, since tests compare what their children print.
    ours = {
        "PYTHONPATH": f"{preload(suite.python)}:{inside}",
        "DD_DYNAMIC_INSTRUMENTATION_ENABLED": "true",
        "DD_DOGSTATSD_URL": f"unix://{metrics}",
        "STROBE_NDJSON": str(files["events"]),
        "STROBE_TERMINAL": "never",
        # What probes on all lines cost is not what is asked here.
        "STROBE_CPU_BUDGET": "100",
    }
    if mode != "churn":
        ours["DD_DYNAMIC_INSTRUMENTATION_PROBE_FILE"] = str(files["probes"])
    return base | ours


def run(suite: Suite, mode: str, made: Made | None, limit: float, again: bool = False) -> Outcome:
    """Runs a suite in one way, and reads what it reported."""
    stem = f"{suite.stem.name}.{mode}{'-again' if again else ''}"
    kinds = ("xml", "log", "ndjson", "account", "probes")
    files = {kind: suite.stem.with_name(f"{stem}.{kind}") for kind in kinds}
    files["events"] = files["ndjson"]
    for file in files.values():
        file.unlink(missing_ok=True)
    if made:
        made.write(files["probes"])
    elif mode == "watch":
        files["probes"].write_text("".join(f"{file}\n" for file in suite.files))
    metrics = Metrics()
    command = [str(suite.python), *(word.replace("{report}", str(files["xml"])) for word in suite.command)]
    begun = time.monotonic()
    ended = execute(command, suite.folder, environment_of(suite, mode, files, metrics.path), files["log"], limit)
    seconds = time.monotonic() - begun
    measured = sorted(metrics.close())
    output = files["log"].read_text(errors="replace")
    tests = junit(files["xml"]) if files["xml"].exists() else verbose(output)
    account = json.loads(files["account"].read_text()) if files["account"].exists() else None
    events, fired = seen(files["events"])
    fired |= set((account or {}).get("fired", []))
    return Outcome(tests, lines_of(output), ended, seconds, account, events, sorted(fired | set(measured)), measured)


def seen(file: Path) -> tuple[int, set[str]]:
    """How many events there were, and the probes that they are of."""
    events, fired = 0, set()
    if file.exists():
        with file.open("rb") as lines:
            for line in lines:
                found = re.search(rb'"probe":\{"id":"([^"]*)"', line)
                events += 1
                fired |= {found[1].decode()} if found else set()
        file.unlink()
    return events, fired


def junit(report: Path) -> dict[str, str]:
    """Test names and how they ended, from a JUnit report."""
    if not report.stat().st_size:
        return {}
    ends: dict[str, str] = {}
    for case in xml.parse(report).getroot().iter("testcase"):
        name = "::".join(part for part in (case.get("classname"), case.get("name")) if part)
        bad = [child.tag for child in case if child.tag in ("failure", "error", "skipped")]
        if not name:
            continue  # so `python -m test` reports a test that failed in a subtest: it has no result then
        # A name may occur more than once; then its ends are kept in order.
        ends[name] = ", ".join([*([ends[name]] if name in ends else []), bad[0] if bad else "passed"])
    return ends


def verbose(output: str) -> dict[str, str]:
    """The same from what `unittest` prints if it is asked to be verbose."""
    ends = {}
    words = {
        "ok": "passed",
        "FAIL": "failure",
        "ERROR": "error",
        "expected failure": "passed",
        "unexpected success": "failure",
    }
    name = ""
    for line in output.splitlines():
        if begun := re.match(r"(\w+ \([\w.]+\))", line):
            name = begun[1]
        if (end := re.search(r"\.\.\. (ok|FAIL|ERROR|expected failure|unexpected success|skipped .*)$", line)) and name:
            ends[name] = "skipped" if end[1].startswith("skipped") else words[end[1]]
            name = ""
    return ends


# What differs from run to run with any program.
VAGUE = [
    (re.compile(pattern), put)
    for pattern, put in [
        (r"\x1b\[[\d;]*m", ""),
        (r"0x[0-9a-fA-F]{6,}", "0xADDRESS"),
        (r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+|,\d+)?", "TIME"),
        (r"\b\d+:\d\d:\d\d\b", "TIME"),
        (r"load avg: [\d.]+", "LOAD"),
        (r"(127\.0\.0\.1|localhost|::1\]?)(:|', )\d+", r"\1\2PORT"),
        (r"(\b\d+(\.\d+)? ?(ms|sec|s|seconds|min|minutes)\b ?)+", "DURATION "),
        (r"/tmp/[\w./-]+", "/tmp/NAME"),
        (r"(pid|PID)[ =:]*\d+", r"\1 N"),
        (r"(Thread|thread|Task|id)-\d+", r"\1-N"),
    ]
]


def lines_of(output: str) -> list[str]:
    """What was printed, sorted, without what is never the same, and without where it was."""
    text = output.replace(str(ROOT), "")
    for pattern, put in VAGUE:
        text = pattern.sub(put, text)
    return sorted(line.strip() for line in text.splitlines() if line.strip())
