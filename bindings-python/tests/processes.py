"""Starts real programs, with and without the command, for tests of whole processes; and adds probes to this one."""

import json
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import stroboscope
from stroboscope import _native

seconds_to_wait = 60.0
preload = str(Path(stroboscope.__file__).parent / "_preload")


def clean_environment(**more: str) -> dict[str, str]:
    ours = ("STROBE_", "DD_", "PYTHONPATH", "PYTHONDEVMODE", "PYTHONUNBUFFERED")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)} | more


def plain(folder: Path, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=folder,
        env=clean_environment(**environment),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=seconds_to_wait,
        check=False,
    )


def strobe(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return plain(folder, sys.executable, "-m", "stroboscope", "run", *arguments, **environment)


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(text).lstrip())
    return path


def other_python(minor: str) -> str | None:
    """Another interpreter that could carry probes, as the tools of this checkout find them; `None` if there is none."""
    tool = Path(__file__).parents[1] / "tools/pythons.sh"
    found = subprocess.run(["bash", str(tool)], capture_output=True, text=True, check=False, timeout=60).stdout
    return dict(line.split(" ", 1) for line in found.splitlines()).get(minor)


def line_of(path: Path, marker: str) -> int:
    return next(number for number, line in enumerate(path.read_text().splitlines(), 1) if marker in line)


def events(text: str) -> list[dict]:
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


def message(event: dict) -> str:
    return event["message"]


def add(probe_id: str = "p", **fields) -> dict:
    """Adds a log probe to this process and says what became of it so far."""
    definition = {
        "id": probe_id,
        "version": 1,
        "type": "LOG_PROBE",
        "language": "python",
        "where": fields.pop("where"),
        "sampling": {"snapshotsPerSecond": 5000},
        **fields,
    }
    _native.add_probe(json.dumps(definition))
    return report(probe_id)


def report(probe_id: str = "p") -> dict:
    """The status of a probe of this process."""
    return next(probe for probe in _native.status() if probe["id"] == probe_id)


def contains_lines(text: str, lines: str) -> bool:
    """True if all lines are in the text, in order; ours may stand between them. Addresses of objects may differ."""
    left = iter(re.sub(r"0x[0-9a-f]+", "0x", text).splitlines())
    return all(line in left for line in re.sub(r"0x[0-9a-f]+", "0x", lines).splitlines())
