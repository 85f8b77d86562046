"""The probe definitions, one file for both sides: one function of `targets.py`, one probe.

After: `run.py` writes them to a file; the peer reads that file itself, ours gets each through `add_probe`.
"""

import os
import re

here = os.path.dirname(os.path.abspath(__file__))
targets_file = os.path.join(here, "targets.py")
_lifted = {"sampling": {"snapshotsPerSecond": 1_000_000_000}}

_condition = {
    "when": {
        "dsl": "len(items) > 3 && user.id == 42",
        "json": {
            "and": [
                {"gt": [{"len": {"ref": "items"}}, 3]},
                {"eq": [{"getmember": [{"ref": "user"}, "id"]}, 42]},
            ]
        },
    }
}
_log = {
    "captureSnapshot": False,
    "template": "x={x} y={y}",
    "segments": [
        {"str": "x="},
        {"dsl": "x", "json": {"ref": "x"}},
        {"str": " y="},
        {"dsl": "y", "json": {"ref": "y"}},
    ],
}
_snapshot = {"captureSnapshot": True, "template": "hit", "segments": [{"str": "hit"}]}
_of_x = {"value": {"dsl": "x", "json": {"ref": "x"}}}
_metric = {"type": "METRIC_PROBE", "metricName": "bench", "evaluateAt": "EXIT"}
_count, _histogram = {**_metric, "kind": "COUNT"}, {**_metric, **_of_x, "kind": "HISTOGRAM"}
_span = {"type": "SPAN_PROBE"}
_tags = [
    {"name": f"bench.{name}", "value": {"template": f"{{{name}}}", "segments": [{"dsl": name, "json": {"ref": name}}]}}
    for name in ("x", "y")
]
_decoration = {"type": "SPAN_DECORATION_PROBE", "targetSpan": "ACTIVE", "decorations": [{"tags": _tags}]}
_plain_log = {**_snapshot, "captureSnapshot": False}


def marked_lines(path=targets_file):
    """Line numbers by marker."""
    with open(path) as file:
        found = ((number, re.search(r"# probe: (\w+)$", line)) for number, line in enumerate(file, 1))
        return {match.group(1): number for number, match in found if match}


def _probe(name, where, *parts):
    probe = {"id": name, "version": 1, "type": "LOG_PROBE", "language": "python", "where": where, "tags": []}
    for part in parts:
        probe.update(part)
    return probe


def line_probe(name, path, line, *parts):
    """A probe on a line; without parts a log of a fixed text."""
    return _probe(name, {"sourceFile": path, "lines": [str(line)]}, *(parts or (_plain_log,)))


def build():
    """The probes of the rows. No `sampling`: the default rate, one snapshot a second."""
    lines = marked_lines()

    def line(name, *parts):
        return line_probe(name, targets_file, lines[name], *parts)

    def method(name, *parts):
        return _probe(name, {"typeName": "targets", "methodName": f"{name}_p"}, *parts)

    return [
        line("condition_false", _snapshot, _condition),
        line("limited", _snapshot),
        line("condition_limited", _snapshot, _condition),
        line("line_log", _log, _lifted),
        line("line_small", _snapshot, _lifted),
        method("method_small", _snapshot, _lifted),
        method("method_medium", _snapshot, _lifted),
        method("method_large", _snapshot, _lifted),
        line("metric_line", _histogram),
        method("metric_method", _count),
        method("span_method", _span),
        method("decoration", _decoration),
        line("other_lines"),
    ]


def memory_probe():
    """The only probe of a process whose memory is watched."""
    return line_probe("memory", targets_file, marked_lines()["memory"], _snapshot, _lifted)
