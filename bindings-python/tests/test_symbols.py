"""What is told of modules to those who write probes: the symbol database, to the stand-in of `tests/agent`."""

import base64
import gzip
import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from processes import plain, write
from test_upload import Agent

symbols_path = "/symdb/v1/input"


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    folder = tmp_path / "agent"
    folder.mkdir()
    here = Agent(folder, "configures")
    yield here
    here.stop()


def forms(agent: Agent) -> list[tuple[dict[str, Any], dict[str, Any], dict[str, str]]]:
    """The event, the file and the headers of each form that came."""
    found = []
    for request in agent.ask(f"/_requests?path={symbols_path}"):
        body = base64.b64decode(request["body_base64"])
        event_part, file_part = body.split(b"\r\nContent-Type: ")[1:]
        event = json.loads(event_part[event_part.index(b"{") : event_part.rindex(b"}") + 1])
        packed = file_part[file_part.index(b"\r\n\r\n") + 4 :][: event["attachmentSize"]]
        found.append((event, json.loads(gzip.decompress(packed)), request["headers"]))
    return found


def modules(agent: Agent) -> dict[str, dict[str, Any]]:
    scopes = [scope for _, file, _ in forms(agent) for scope in file["scopes"]]
    names = [scope["name"] for scope in scopes]
    assert len(names) == len(set(names)), "each module once"
    return dict(zip(names, scopes, strict=True))


program = """
    import importlib, json, os, sys, time, stroboscope

    def told(count):
        until = time.monotonic() + 50
        while stroboscope.stats()["uploads"]["symbols"] < count and time.monotonic() < until:
            time.sleep(0.01)
        return stroboscope.stats()["uploads"]["symbols"]

"""


def run(folder: Path, text: str, agent: Agent, **environment: str) -> Any:
    script = write(folder, "main.py", program)
    write(folder, "part.py", text)
    script.write_text(script.read_text() + (folder / "part.py").read_text())
    forced = {"DD_TRACE_AGENT_URL": agent.url, "_DD_SYMBOL_DATABASE_FORCE_UPLOAD": "true", "DD_SERVICE": "shop"}
    result = plain(folder, sys.executable, script.name, **{**forced, **environment})
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    return json.loads(result.stdout) if result.stdout else None


shop = """
    import functools
    from collections import OrderedDict

    RATE = 2
    _hidden = 3

    class Base:
        kind = "base"

    class Cart(Base, OrderedDict):
        limit = 7

        class Entry:
            def price(self):
                return 1

        def __init__(self, items):
            self.items = items

        @property
        def size(self):
            return len(self.items)

        @staticmethod
        def empty():
            return Cart([])

        @classmethod
        def of(cls, *items, **more):
            return cls(items)

        def total(self, rate, /, *, tax=1):
            sum = 0
            for item in self.items:
                sum += (
                    item
                    * rate
                )

            def more(x):
                return x + sum + tax

            return more([y for y in (1, 2)][0])

    def rows(n):
        yield from range(n)

    async def ask(n):
        return n

    async def stream():
        yield 1

    @functools.cache
    def wrapped(a):
        b = a
        return lambda c: b + c
"""

start_first = """
    stroboscope.start()
    import shop
"""
start_last = """
    import shop
    stroboscope.start()
"""


def inner(scope: dict[str, Any], *path: str) -> dict[str, Any]:
    for name in path:
        scope = next(inner for inner in scope["scopes"] if inner["name"] == name)
    return scope


def named(scope: dict[str, Any], kind: str) -> list[str]:
    return [symbol["name"] for symbol in scope["symbols"] if symbol["symbol_type"] == kind]


@pytest.mark.parametrize("start", [start_first, start_last])
def test_classes_functions_and_their_variables_are_told(tmp_path: Path, agent: Agent, start: str) -> None:
    source = write(tmp_path, "shop.py", shop)
    assert run(tmp_path, start + "    print(told(2))\n", agent, DD_ENV="e1", DD_VERSION="1.2") >= 1
    told = modules(agent)
    module = told["shop"]
    assert module["scope_type"] == "MODULE"
    assert module["source_file"] == str(source)
    assert (module["start_line"], module["end_line"]) == (0, 2147483647)
    content = source.read_bytes()
    blob = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
    assert module["language_specifics"] == {"file_hash": blob}
    assert {"RATE", "_hidden"} <= set(named(module, "STATIC_FIELD"))
    assert not {"functools", "Cart", "rows", "__name__"} & set(named(module, "STATIC_FIELD"))
    assert {scope["name"] for scope in module["scopes"]} >= {"Base", "Cart", "rows", "ask", "stream", "wrapped"}

    cart = inner(module, "Cart")
    assert cart["scope_type"] == "CLASS"
    assert cart["language_specifics"]["super_classes"] == ["shop.Base", "collections.OrderedDict", "builtins.dict"]
    assert named(cart, "STATIC_FIELD") == ["limit"]
    assert inner(cart, "Entry", "price")["scope_type"] == "FUNCTION"
    methods = {scope["name"]: scope["language_specifics"].get("method_type") for scope in cart["scopes"]}
    assert methods == {
        "Entry": None,
        "__init__": None,
        "size": "property",
        "empty": "static",
        "of": "class",
        "total": None,
    }
    assert named(inner(cart, "of"), "ARG") == ["cls", "items", "more"]
    total = inner(cart, "total")
    assert named(total, "ARG") == ["self", "rate", "tax"]
    assert {"sum", "item", "more"} <= set(named(total, "LOCAL"))
    begin = next(number for number, line in enumerate(shop.strip().splitlines(), 1) if "def total" in line)
    assert total["start_line"] == begin
    # Each statement begins a place, and one over several lines is one.
    lines = [line for span in total["injectible_lines"] for line in range(span["start"], span["end"] + 1)]
    assert lines == [begin + after for after in (1, 2, 3, 8, 11)]
    assert total["has_injectible_lines"] is True
    more = inner(total, "more")
    assert (more["scope_type"], named(more, "ARG")) == ("CLOSURE", ["x"])
    kinds = {name: inner(module, name)["language_specifics"].get("function_type") for name in ("rows", "ask", "stream")}
    assert kinds == {"rows": "generator", "ask": "coroutine", "stream": "asyncgen"}
    assert inner(module, "wrapped", "<lambda>")["scope_type"] == "CLOSURE"

    event, file, headers = forms(agent)[0]
    about = ["service", "version", "language"]
    assert [file[name] for name in about] == [event[name] for name in about] == ["shop", "1.2", "python"]
    assert (file["env"], file["schema_version"], event["type"]) == ("e1", 1, "symdb")
    assert (event["uploadId"], event["batchNum"], event["final"]) == (
        file["upload_id"],
        file["batch_num"],
        file["final"],
    )
    assert "env:e1" in headers["x-datadog-additional-tags"].split(",")
    assert event["runtimeId"] in headers["x-datadog-additional-tags"]


def test_a_probe_can_be_where_it_is_told(tmp_path: Path, agent: Agent) -> None:
    write(tmp_path, "shop.py", shop)
    text = """
    stroboscope.start(symbol_database_includes="email")
    import shop, email.message
    told(2 + sum(name.partition(".")[0] == "email" for name in sys.modules))
    """
    run(tmp_path, text, agent)
    places = {}
    for scope in modules(agent).values():
        waiting = [scope]
        while waiting:
            one = waiting.pop()
            waiting += one["scopes"]
            for span in one["injectible_lines"]:
                for line in range(span["start"], span["end"] + 1):
                    places.setdefault(scope["source_file"], set()).add(line)
    assert any(file.endswith("email/message.py") for file in places)
    text = """
    from stroboscope import _native
    stroboscope.start(symbol_database_force_upload=False)
    import shop, email.message
    wrong = []
    with open("places.json") as file:
        places = json.load(file)
    for path, lines in places.items():
        for line in lines:
            where = {"sourceFile": path, "lines": [str(line)]}
            stroboscope.add_probe({"id": f"{path}:{line}", "type": "LOG_PROBE", "where": where, "template": "x"})
    def waiting():
        return [[one["id"], one["state"]] for one in stroboscope.status() if one["state"] != "installed"]
    until = time.monotonic() + 50
    while waiting() and time.monotonic() < until:
        time.sleep(0.01)
    print(json.dumps(waiting()))
    """
    files = {file: sorted(lines) for file, lines in places.items() if not file.endswith("main.py")}
    write(tmp_path, "places.json", json.dumps(files))
    assert run(tmp_path, text, agent) == []


def test_two_thousand_modules_are_told_and_no_code_of_them_runs(tmp_path: Path, agent: Agent) -> None:
    body = """
    class Meta(type):
        def __getattribute__(cls, name):
            ran.append(name)
            return super().__getattribute__(name)
    class Sly(metaclass=Meta):
        def method(self): return 1
    class Odd:
        @property
        def __class__(self):
            ran.append("class")
            return int
    odd = Odd()
    def __getattr__(name):
        ran.append(name)
        raise AttributeError(name)
    """
    for number in range(2000):
        write(tmp_path, f"many/m{number}.py", f"value = {number}\ndef work(n):\n    return n + value\n")
    write(tmp_path, "many/sly.py", "from many import ran\n" + "\n".join(line[4:] for line in body.splitlines()))
    write(tmp_path, "many/__init__.py", "ran = []\n")
    text = """
    stroboscope.start()
    import many.sly
    for number in range(2000):
        importlib.import_module(f"many.m{number}")
    many.ran.clear()
    count = told(2003)
    print(json.dumps([count, many.ran]))
    """
    assert run(tmp_path, text, agent) == [2003, []]
    told = modules(agent)
    assert {f"many.m{number}" for number in range(2000)} | {"many", "many.sly", "__main__"} == set(told)
    assert inner(told["many.sly"], "Sly", "method")["scope_type"] == "FUNCTION"
    assert all(len(file["scopes"]) <= 400 for _, file, _ in forms(agent))


def test_libraries_are_left_out_and_modules_that_come_later_are_told(tmp_path: Path, agent: Agent) -> None:
    write(tmp_path, "shop.py", shop)
    write(tmp_path, "late.py", "def f(): return 1\n")
    text = """
    stroboscope.start()
    import shop, email.message
    told(2)
    import late
    print(told(3))
    """
    assert run(tmp_path, text, agent) == 3
    assert set(modules(agent)) == {"__main__", "shop", "late"}


@pytest.mark.parametrize("name", ["DD_SYMBOL_DATABASE_UPLOAD_ENABLED", "_DD_SYMBOL_DATABASE_FORCE_UPLOAD"])
def test_nothing_is_told_unasked_or_where_it_is_forbidden(tmp_path: Path, agent: Agent, name: str) -> None:
    text = """
    stroboscope.start()
    where = {"typeName": "__main__", "methodName": "told"}
    stroboscope.add_probe({"id": "p", "type": "LOG_PROBE", "template": "x", "where": where})
    told(0)
    time.sleep(2)
    stroboscope.stop()
    """
    run(tmp_path, text, agent, **{name: "false"})
    assert agent.events()
    assert forms(agent) == []


def test_remote_configuration_asks_for_symbols(tmp_path: Path, agent: Agent) -> None:
    path = "datadog/2/LIVE_DEBUGGING_SYMBOL_DB/symDb/config"
    agent.offer({path: {"upload_symbols": True}})
    write(tmp_path, "shop.py", shop)
    text = """
    stroboscope.start()
    import shop
    print(told(2))
    """
    asked = {"_DD_SYMBOL_DATABASE_FORCE_UPLOAD": "false", "DD_REMOTE_CONFIG_POLL_INTERVAL_SECONDS": "0.05"}
    assert run(tmp_path, text, agent, **asked) == 2
    assert set(modules(agent)) == {"__main__", "shop"}
    assert agent.problems() == []


def test_a_process_and_one_of_its_children_upload(tmp_path: Path, agent: Agent) -> None:
    write(tmp_path, "shop.py", shop)
    text = """
    stroboscope.start()
    import shop
    children = []
    stays, ends = os.pipe()
    done, says = os.pipe()
    for _ in range(4):
        pid = os.fork()
        if pid == 0:
            os.close(ends)
            os.set_blocking(stays, False)
            said = False
            while True:
                if not said and stroboscope.stats()["uploads"]["symbols"] == 2:
                    said = True
                    os.write(says, b"x")
                try:
                    os.read(stays, 1)
                    os._exit(0)
                except BlockingIOError:
                    time.sleep(0.01)
        children.append(pid)
    count = told(2)
    assert os.read(done, 1) == b"x"
    # Others that were not to would do it at about the same time.
    time.sleep(2)
    os.close(ends)
    for pid in children:
        os.waitpid(pid, 0)
    print(count)
    """
    assert run(tmp_path, text, agent) == 2
    found = forms(agent)
    parents = {event["parentId"] for event, _, _ in found}
    uploads = {event["uploadId"] for event, _, _ in found}
    assert len(uploads) == 2, "the parent and one child"
    assert len(parents) == 2
    assert None in parents
    assert parents - {None} <= uploads
