"""Probes on running Python code, end to end within the process: from a definition to the event."""

import importlib
import json
import sys
import textwrap
import threading
import time

import pytest
from processes import add, report

from stroboscope import _native

SOURCE = textwrap.dedent(
    """
    LIMIT = 3
    class Cart:
        def __init__(self, items):
            self.items = items
            self.password = "hunter2"
        def add(self, item, times=1):
            for _ in range(times):
                self.items.append(item)  # append
            total = len(self.items)
            return total + LIMIT  # total
    def fail(text):
        raise ValueError(text)
    def handle(text):
        try:
            fail(text)
        except ValueError:
            return "handled"  # handled
    def numbers(n):
        for i in range(n):
            yield i
        return "end"
    STARTED = True  # module
    """
)


def line_of(mark):
    return next(number for number, line in enumerate(SOURCE.splitlines(), 1) if f"# {mark}" in line)


@pytest.fixture
def started():
    before = {tool: sys.monitoring.get_tool(tool) for tool in range(6)}
    _native.start([], True)
    yield
    assert _native.stop(5.0)
    assert {tool: sys.monitoring.get_tool(tool) for tool in range(6)} == before
    assert all(sys.monitoring.get_events(tool) == 0 for tool in range(6) if before[tool])


@pytest.fixture
def shop(tmp_path, monkeypatch):
    name = f"shop_{time.monotonic_ns()}"
    (tmp_path / f"{name}.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield name
    sys.modules.pop(name, None)


def wait(state, probe_id="p"):
    for _ in range(500):
        if report(probe_id)["state"] in (state, "emitting"):
            return report(probe_id)
        time.sleep(0.01)
    raise AssertionError(report(probe_id))


def events():
    assert _native.flush(5.0)
    return [json.loads(event) for event in _native._test_events()]


def segment(name):
    return {"dsl": name, "json": {"ref": name}}


def test_a_line_log(started, shop):
    module = importlib.import_module(shop)
    add(
        where={"sourceFile": f"{shop}.py", "lines": [str(line_of("total"))]},
        template="total {total}",
        segments=[{"str": "total "}, segment("total")],
    )
    seen = wait("installed")
    assert seen["lines"] == [line_of("total")]
    module.Cart([]).add("x", 4)
    (event,) = events()
    assert event["message"] == "total 4"
    frame = event["debugger"]["snapshot"]["stack"][0]
    assert (frame["function"], frame["lineNumber"]) == ("add", line_of("total"))
    assert event["logger"]["method"] == "add"
    assert event["logger"]["thread_name"].startswith("MainThread")


@pytest.mark.parametrize(
    ("setting", "captures", "frames"),
    [("all", False, ["add", "caller"]), ("place", False, ["add"]), ("place", True, ["add", "caller"])],
)
def test_a_log_shows_as_much_of_the_stack_as_the_setting_says(shop, setting, captures, frames):
    _native.start([("log_stack", setting)], True)
    try:
        module = importlib.import_module(shop)
        where = {"sourceFile": f"{shop}.py", "lines": [str(line_of("total"))]}
        add(where=where, template="here", segments=[{"str": "here"}], captureSnapshot=captures)
        wait("installed")

        def caller():
            return module.Cart([]).add("x")

        caller()
        (event,) = events()
    finally:
        assert _native.stop(5.0)
    stack = event["debugger"]["snapshot"]["stack"]
    # What is below the caller is pytest's.
    assert [frame["function"] for frame in stack[:2]] == frames


def test_a_snapshot_with_a_condition(started, shop):
    module = importlib.import_module(shop)
    add(
        where={"sourceFile": f"{shop}.py", "lines": [str(line_of("append"))]},
        captureSnapshot=True,
        when={"dsl": "", "json": {"eq": [{"len": {"getmember": [{"ref": "self"}, "items"]}}, 2]}},
    )
    wait("installed")
    module.Cart([]).add("x", 5)
    (event,) = events()
    point = event["debugger"]["snapshot"]["captures"]["lines"][str(line_of("append"))]
    assert point["arguments"]["times"] == {"type": "int", "value": "5"}
    cart = point["arguments"]["self"]["fields"]
    assert cart["items"]["size"] == 2
    assert "hunter2" not in json.dumps(event) and cart["password"]["notCapturedReason"] == "redactedIdent"
    # A capturing probe has one token: after the event the condition is not asked.
    assert (report()["hits"], report()["rejected"], report()["dropped"]) == (5, 2, {"rateLimitProbe": 2})


def test_module_globals_that_the_code_names(started, shop):
    module = importlib.import_module(shop)
    add(where={"sourceFile": f"{shop}.py", "lines": [str(line_of("total"))]}, captureSnapshot=True)
    wait("installed")
    module.Cart([]).add("x")
    (event,) = events()
    point = event["debugger"]["snapshot"]["captures"]["lines"][str(line_of("total"))]
    assert point["staticFields"] == {"LIMIT": {"type": "int", "value": "3"}}
    assert point["locals"]["total"] == {"type": "int", "value": "1"}


def test_a_method_that_returns(started, shop):
    module = importlib.import_module(shop)
    add(where={"typeName": shop, "methodName": "Cart.add"}, captureSnapshot=True)
    wait("installed")
    module.Cart([]).add("x", 2)
    (event,) = events()
    captures = event["debugger"]["snapshot"]["captures"]
    assert captures["return"]["locals"]["@return"] == {"type": "int", "value": "5"}
    assert event["duration"] > 0


def test_a_method_that_throws(started, shop):
    module = importlib.import_module(shop)
    add(where={"typeName": shop, "methodName": "fail"}, captureSnapshot=True)
    wait("installed")
    assert module.handle("broken") == "handled"
    (event,) = events()
    point = event["debugger"]["snapshot"]["captures"]["return"]
    assert point["throwable"]["type"] == "ValueError" and point["throwable"]["message"] == "broken"


def test_the_exception_being_handled(started, shop):
    module = importlib.import_module(shop)
    add(where={"sourceFile": f"{shop}.py", "lines": [str(line_of("handled"))]}, captureSnapshot=True)
    wait("installed")
    module.handle("broken")
    (event,) = events()
    throwable = event["debugger"]["snapshot"]["captures"]["lines"][str(line_of("handled"))]["throwable"]
    assert throwable["message"] == "broken"
    assert [frame["function"] for frame in throwable["stacktrace"]] == ["fail", "handle"]


def test_a_generator_is_one_call(started, shop):
    module = importlib.import_module(shop)
    add(where={"typeName": shop, "methodName": "numbers"}, captureSnapshot=True)
    wait("installed")
    assert list(module.numbers(3)) == [0, 1, 2]
    (event,) = events()
    assert event["debugger"]["snapshot"]["captures"]["return"]["locals"]["@return"]["value"] == "'end'"


def test_a_probe_waits_for_its_module_and_sees_its_first_run(started, shop):
    add("line", where={"sourceFile": f"{shop}.py", "lines": [str(line_of("module"))]}, template="loaded")
    add("method", where={"typeName": shop, "methodName": "fail"}, template="failed")
    wait("waiting", "line")
    wait("waiting", "method")
    module = importlib.import_module(shop)
    wait("installed", "line")
    wait("installed", "method")
    module.handle("x")
    assert sorted(event["message"] for event in events()) == ["failed", "loaded"]


def test_a_removed_probe_is_silent(started, shop):
    module = importlib.import_module(shop)
    add(where={"sourceFile": f"{shop}.py", "lines": [str(line_of("total"))]}, template="x")
    wait("installed")
    assert _native.remove_probe("p")
    for _ in range(500):
        if sys.monitoring.get_local_events(_native_tool(), module.Cart.add.__code__) == 0:
            break
        time.sleep(0.01)
    module.Cart([]).add("x")
    assert events() == []


def _native_tool():
    return _native._test_hooks()["tool"]


def test_what_is_not_there_is_said(started, shop):
    importlib.import_module(shop)
    add("method", where={"typeName": shop, "methodName": "Cart.ad"}, template="x")
    seen = wait("error", "method")
    assert "Cart.add" in seen["reason"]
    add("line", where={"sourceFile": f"{shop}.py", "lines": ["4000"]}, template="x")
    assert "4000" in wait("error", "line")["reason"]


def test_a_frame_that_is_running_is_seen(started, tmp_path, monkeypatch):
    (tmp_path / "looping.py").write_text("stop = False\ndef loop():\n    n = 0\n    while not stop:\n        n += 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    looping = importlib.import_module("looping")
    thread = threading.Thread(target=looping.loop, name="looper")
    thread.start()
    try:
        add(where={"sourceFile": "looping.py", "lines": ["5"]}, template="n", sampling={"snapshotsPerSecond": 1})
        wait("installed")
        time.sleep(0.3)
        assert 1 <= len(events()) <= 3
        assert events()[0]["logger"]["thread_name"].startswith("looper")
    finally:
        looping.stop = True
        thread.join()
        sys.modules.pop("looping")


ALIKE = """
class Meter:
    def __init__(self):
        self.µ, self.__µ = 5, 6
    def read(self, µ, sªm, pªssword):
        ﬁrst = {"µ": 7, "μ": 8}
        return self  # here
"""


def test_names_are_those_that_python_makes_of_them(started, tmp_path, monkeypatch):
    name = f"alike_{time.monotonic_ns()}"
    (tmp_path / f"{name}.py").write_text(ALIKE, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    module = importlib.import_module(name)
    expressions = ["µ", "μ", "sam", "sªm", "self.µ", "self.__µ", "first['µ']", "ﬁrst['μ']"]
    expressions += ["pªssword", "password"]
    add(
        where={"sourceFile": f"{name}.py", "lines": ["7"]},
        template="t",
        segments=[part for text in expressions for part in ({"dsl": text}, {"str": " "})],
    )
    wait("installed")
    module.Meter().read(3, 4, "s3cr3t")
    (event,) = events()
    sys.modules.pop(name)
    assert event["message"].startswith("3 3 4 4 5 6 7 8 {"), event["message"]
    assert "s3cr3t" not in event["message"]


def test_the_throwable_says_what_python_says(started, shop):
    module = importlib.import_module(shop)
    module.fail = open
    add(where={"sourceFile": f"{shop}.py", "lines": [str(line_of("handled"))]}, captureSnapshot=True)
    wait("installed")
    with pytest.raises(FileNotFoundError) as caught:
        module.handle("/no/such/file")
    assert str(caught.value).endswith("'/no/such/file'")
    module.fail = "€".encode
    module.handle("ascii")
    (event,) = events()
    (line,) = event["debugger"]["snapshot"]["captures"]["lines"].values()
    assert line["throwable"]["message"].startswith("'ascii' codec can't encode character '\\u20ac' in position 0")
