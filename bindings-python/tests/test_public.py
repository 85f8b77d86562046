"""What is laid out in a way that this build does not know is read through public functions: slower, said, right."""

import collections
import importlib
import json
import os
import pathlib
import subprocess
import sys
import time
import weakref

import pytest

from stroboscope import _native

TESTS = pathlib.Path(__file__).parent

# What holds only while dictionaries are read by their layout.
BY_LAYOUT = (
    "makes_no_dictionary",
    "no_dictionary_is_made",
    "keeps_its_own_order",
    "find_string_keys",
    "that_were_emptied",
    "random",
)

IN_FRAMES = [
    f"placement.py::test_{name}"
    for name in (
        "a_line_in_every_kind_of_code",
        "module_and_class_lines_run_once_at_import",
        "annotations_are_no_statements",
        "a_coroutine_lasts_over_its_suspension",
        "each_activation_of_a_recursion_is_a_hit",
        "generators_end_by_exhaustion_or_close",
    )
]

SOURCE = """
class Order:
    pass
def price(order, times):
    if times > 9:
        late = times
    total = order.price * times
    return total  # here
class Shop:
    opened = 7
    closed = 9  # class
"""


@pytest.fixture
def doubted():
    yield _native._test_selftest
    assert _native._test_selftest([]) == []


def test_this_interpreter_is_read_by_its_layout():
    assert _native._test_selftest([]) == []
    _native.start([], True)
    try:
        assert _native._test_view(collections.deque([1]))["elements"][0]["value"] == 1
        assert all("note" not in probe for probe in _native.status())
    finally:
        _native.stop(5.0)


@pytest.mark.parametrize(
    ("doubts", "files"),
    [
        ("frames,instances,dictionaries", ("values", "probes", "hostile", "vectors")),
        ("frames", ("probes", *IN_FRAMES)),
        ("instances", ("probes", "values")),
        ("dictionaries", ("probes", "values")),
    ],
)
def test_the_other_tests_pass_the_public_way(doubts, files):
    wanted = [str(TESTS / f"test_{name}" if "::" in name else TESTS / f"test_{name}.py") for name in files]
    left_out = " and ".join(f"not {name}" for name in BY_LAYOUT)
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "doubt", "-p", "no:cacheprovider", "-k", left_out, *wanted],
        env={**os.environ, "PYTHONPATH": str(TESTS), "STROBE_TEST_DOUBT": doubts},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert ran.returncode == 0, ran.stdout[-4000:] + ran.stderr
    assert " passed" in ran.stdout


def hits(tmp_path, monkeypatch, probe, run):
    """One event of a probe at a mark, and what `start` and the status say."""
    name = f"public_{time.monotonic_ns()}"
    (tmp_path / f"{name}.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(str(tmp_path))
    mark = probe.pop("mark")
    line = next(number for number, text in enumerate(SOURCE.splitlines(), 1) if f"# {mark}" in text)
    where = {"sourceFile": f"{name}.py", "lines": [str(line)]}
    remarks = _native.start([], True)
    try:
        _native.add_probe(json.dumps({"id": "p", "version": 1, "type": "LOG_PROBE", "where": where, **probe}))
        run(importlib.import_module(name))
        assert _native.flush(5.0)
        (event,) = map(json.loads, _native._test_events())
        (status,) = _native.status()
    finally:
        _native.stop(5.0)
        sys.modules.pop(name, None)
    return remarks, status, event


def test_a_start_and_the_status_say_it(doubted, tmp_path, monkeypatch):
    said = doubted(["frames"])
    version = ".".join(map(str, sys.version_info[:3]))
    (remark,) = said
    assert remark.startswith(f"frames of CPython {version} are laid out in a way that this build does not know: ")

    def run(module):
        order = module.Order()
        order.price = 2.5
        assert module.price(order, 2) == 5.0

    probe = {"mark": "here", "template": "{total} {times}, late: {late}"}
    remarks, status, event = hits(tmp_path, monkeypatch, probe, run)
    assert remarks == said
    assert status["note"] == "slower: frames are read through public functions"
    assert event["message"].startswith("5.0 2, late: ")
    assert len(event["debugger"]["snapshot"]["evaluationErrors"]) == 1  # the variable that is not bound yet


def test_the_body_of_a_class(doubted, tmp_path, monkeypatch):
    doubted(["frames"])
    _, _, event = hits(tmp_path, monkeypatch, {"mark": "class", "template": "{opened}"}, lambda module: module.Shop)
    assert event["message"] == "7"


def test_nothing_is_kept_alive(doubted, tmp_path, monkeypatch):
    doubted(["frames", "instances", "dictionaries"])
    gone = []

    def run(module):
        order = module.Order()
        order.price = 1
        seen = weakref.ref(order)
        module.price(order, 3)
        del order
        gone.append(seen() is None)

    _, _, event = hits(tmp_path, monkeypatch, {"mark": "here", "captureSnapshot": True}, run)
    assert gone == [True]
    (captured,) = event["debugger"]["snapshot"]["captures"]["lines"].values()
    assert captured["arguments"]["order"]["fields"]["price"]["value"] == "1"
    assert captured["locals"]["total"]["value"] == "3"


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("deque", collections.deque([1])),
        ("ordered", collections.OrderedDict(a=1)),
    ],
)
def test_a_container_of_another_layout_is_what_it_is_besides(doubted, part, value):
    known = _native._test_view(value)
    assert doubted([part]) == []
    assert _native._test_view(value)["kind"] == ("map" if isinstance(value, dict) else "object")
    assert doubted([]) == []
    assert _native._test_view(value) == known


def test_numbers_of_another_layout_are_refused(doubted):
    with pytest.raises(ImportError, match="numbers or text of this interpreter are laid out in a way that"):
        doubted(["numbers"])
