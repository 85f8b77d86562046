"""A panic of ours, wherever it happens: the program goes on, nothing is printed, the probe is stopped and says why."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

# The program prints what it computes and, at its end, what became of the probes.
program = """
import json, sys, time
import stroboscope
from stroboscope import _native

def add(a, b):
    total = a + b
    return total

def other(a):
    return a

def state(id):
    return next(probe for probe in stroboscope.status() if probe["id"] == id)

def until(wanted):
    for _ in range(500):
        if wanted():
            return True
        time.sleep(0.01)
    return False

def probe(id, method):
    stroboscope.add_probe({
        "id": id, "version": 1, "type": "LOG_PROBE", "where": {"typeName": "__main__", "methodName": method},
        "when": {"dsl": "a > 0"}, "template": "a is {a}", "captureSnapshot": True,
    })

place = sys.argv[1]
stroboscope.start(terminal="never", rate_limits=False, ndjson=sys.argv[2])
probe("bystander", "other")
if place != "hook":
    probe("victim", "add")
_native._test_panic(place)
if place == "hook":
    probe("victim", "add")
if place == "round":
    time.sleep(0.2)
results = [add(n, n) for n in range(1, 6)]
stopped = place == "round" or until(lambda: state("victim")["state"] == "error")
more = [add(n, n) for n in range(1, 6)] + [other(n) for n in range(1, 4)]
stroboscope.flush(5.0)
print(json.dumps({
    "results": results, "more": more, "stopped": stopped, "victim": state("victim"), "bystander": state("bystander"),
}, default=str))
stroboscope.stop()
"""


@pytest.mark.parametrize("place", ["hit", "condition", "message", "capture", "send", "render", "hook", "round"])
def test_a_panic_of_ours_stops_the_probe_and_nothing_else(tmp_path: Path, place: str) -> None:
    script = tmp_path / "faulty.py"
    script.write_text(program)
    events = tmp_path / "events.ndjson"
    result = subprocess.run(
        [sys.executable, script, place, events], capture_output=True, text=True, timeout=60, check=False
    )
    assert (result.returncode, result.stderr) == (0, ""), result.stderr
    said = json.loads(result.stdout)
    assert said["results"] == [2, 4, 6, 8, 10]
    assert said["more"] == [2, 4, 6, 8, 10, 1, 2, 3]
    assert said["stopped"], said
    assert said["bystander"]["state"] == "emitting"
    assert said["bystander"]["emitted"] == 3
    if place == "round":
        # A round that failed is made up for by the next one.
        assert said["victim"]["state"] == "emitting"
        assert said["victim"]["emitted"] == 10
        return
    if place != "hook":
        # Nothing is lost without being counted; what was emitted before the record failed to become an event is both.
        lost = said["victim"]["dropped"].get("internal", 0)
        assert lost >= 1
        assert said["victim"]["hits"] + (place == "render") == said["victim"]["emitted"] + lost, said["victim"]
    assert "our own code failed" in said["victim"]["reason"]
    seen = [json.loads(line)["debugger"]["snapshot"]["probe"]["id"] for line in events.read_text().splitlines()]
    assert seen.count("bystander") == 3
    # None of the hits after the panic is captured.
    assert seen.count("victim") <= 5
