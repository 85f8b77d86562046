"""A probe finds its place: however the code was loaded, whatever it is, and whoever else watches it."""

import asyncio
import contextlib
import dis
import functools
import gc
import importlib
import importlib.util
import itertools
import json
import marshal
import os
import runpy
import subprocess
import sys
import sysconfig
import textwrap
import threading
import time
import types
import weakref
import zipfile
from pathlib import Path

import processes
import pytest
from processes import add, report

import stroboscope
from stroboscope import _native


def wait_for(state, probe_id="p"):
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if report(probe_id)["state"] == state or (state, report(probe_id)["state"]) == ("installed", "emitting"):
            return report(probe_id)
        time.sleep(0.005)
    raise AssertionError(report(probe_id))


def events():
    assert _native.flush(5.0)
    return [json.loads(event) for event in _native._test_events()]


def hits(probe_id="p"):
    """Events by probe: the counters may lag behind the program's thread."""
    return sum(event["debugger"]["snapshot"]["probe"]["id"] == probe_id for event in events())


def on_line(file, line, probe_id="p", **fields):
    return add(probe_id, where={"sourceFile": str(file), "lines": [str(line)]}, **({"template": "hit"} | fields))


def on_method(module, method, probe_id="p", **fields):
    return add(probe_id, where={"typeName": module, "methodName": method}, **({"template": "hit"} | fields))


def line_of(source, mark):
    return next(number for number, line in enumerate(source.splitlines(), 1) if f"# {mark}" in line)


@contextlib.contextmanager
def session(options=()):
    before = {tool: sys.monitoring.get_tool(tool) for tool in range(6)}
    _native.start(list(options), True)
    try:
        yield
    finally:
        assert _native.stop(5.0)
        assert {tool: sys.monitoring.get_tool(tool) for tool in range(6)} == before


@pytest.fixture
def started():
    with session():
        yield


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


counter = iter(range(10_000))


def write(folder, source, name=None):
    """A module that no other test has: its name, and its source."""
    name = name or f"placed_{os.getpid()}_{next(counter)}"
    source = textwrap.dedent(source).lstrip("\n")
    (folder / f"{name}.py").write_text(source)
    importlib.invalidate_caches()
    return name, source


ALL = """
import functools
LIMIT = 2  # module
def plain(x):
    return x + 1  # plain
def outer():
    def inner(x):
        return x + 2  # inner
    return inner
def wrapping(function):
    @functools.wraps(function)
    def wrapper(*values):
        return function(*values)  # wrapper
    return wrapper
@wrapping
def decorated(x):
    return x + 3  # decorated
@functools.lru_cache
def cached(x):
    return x + 4  # cached
double = lambda x: (
    x * 2)  # lambda
renamed = plain
class Base:
    def inherited(self):
        return "base"  # inherited
class Thing(Base):
    SIZE = LIMIT * 2  # class
    @property
    def size(self):
        return self.SIZE  # getter
    @size.setter
    def size(self, value):
        self.SIZE = value  # setter
    @staticmethod
    def static(x):
        return x + 5  # static
    @classmethod
    def made(cls):
        return cls()  # classmethod
    def method(self):
        return [x for x in range(3)  # comprehension
                if x != 1]
    class Part:
        def deep(self):
            return 7  # deep
def numbers(n):
    for i in range(n):
        yield i  # yield
async def answer(x):
    return x + 6  # async
async def stream(n):
    for i in range(n):
        yield i  # stream
def tried(fail):
    try:
        if fail:
            raise ValueError
    except ValueError:
        pass
    finally:
        done = True  # finally
    with open(__file__) as file:
        done = file.name  # with
    match fail:
        case True:
            return 1  # match
        case _:
            return 2
"""


async def collect(stream):
    return [item async for item in stream]


USES = {
    "plain": (lambda m: m.plain(1), 1),
    "inner": (lambda m: (m.outer()(1), m.outer()(2)), 2),
    "wrapper": (lambda m: m.decorated(1), 1),
    "decorated": (lambda m: m.decorated(1), 1),
    "cached": (lambda m: (m.cached(100), m.cached(100)), 1),
    "lambda": (lambda m: m.double(2), 1),
    "inherited": (lambda m: m.Thing().inherited(), 1),
    "getter": (lambda m: m.Thing().size, 1),
    "setter": (lambda m: setattr(m.Thing(), "size", 3), 1),
    "static": (lambda m: m.Thing.static(1), 1),
    "classmethod": (lambda m: m.Thing.made(), 1),
    "comprehension": (lambda m: m.Thing().method(), 1),
    "deep": (lambda m: m.Thing.Part().deep(), 1),
    "yield": (lambda m: list(m.numbers(3)), 3),
    "async": (lambda m: asyncio.run(m.answer(1)), 1),
    "stream": (lambda m: asyncio.run(collect(m.stream(2))), 2),
    "finally": (lambda m: (m.tried(True), m.tried(False)), 2),
    "with": (lambda m: m.tried(False), 1),
    "match": (lambda m: m.tried(True), 1),
}


@pytest.mark.parametrize("early", [True, False], ids=["before_import", "after_import"])
@pytest.mark.parametrize("mark", USES)
def test_a_line_in_every_kind_of_code(folder, mark, early):
    use, expected = USES[mark]
    name, source = write(folder, ALL)
    if early:
        with session():
            on_line(f"{name}.py", line_of(source, mark))
            assert report()["state"] == "waiting" and "not imported yet" in report()["reason"]
            use(importlib.import_module(name))
            assert hits() == expected
    else:
        module = importlib.import_module(name)
        gc.collect()
        with session():
            assert on_line(f"{name}.py", line_of(source, mark))["state"] == "installed", report()
            use(module)
            assert hits() == expected


def test_module_and_class_lines_run_once_at_import(started, folder):
    name, source = write(folder, ALL)
    on_line(f"{name}.py", line_of(source, "module"), "module")
    on_line(f"{name}.py", line_of(source, "class"), "class")
    importlib.import_module(name)
    assert (hits("module"), hits("class")) == (1, 1)


def test_module_lines_that_ran_before(folder):
    name, source = write(folder, ALL)
    importlib.import_module(name)
    with session():
        on_line(f"{name}.py", line_of(source, "module"))
        # The line below the last that is left is a function's: this one is not there any more.
        assert report()["state"] == "error" and "ran before the probe came" in report()["reason"]


METHODS = {
    "plain": (lambda m: m.plain(1), 1, "plain"),
    "outer.inner": (lambda m: m.outer()(1), 1, "outer.<locals>.inner"),
    "outer.<locals>.inner": (lambda m: m.outer()(1), 1, "outer.<locals>.inner"),
    "decorated": (lambda m: m.decorated(1), 1, "decorated"),
    "cached": (lambda m: m.cached(200), 1, "cached"),
    "double": (lambda m: m.double(2), 1, "<lambda>"),
    "renamed": (lambda m: m.renamed(2), 1, "plain"),
    "Thing.size": (lambda m: (m.Thing().size, setattr(m.Thing(), "size", 3)), 1, "Thing.size"),
    "Thing.static": (lambda m: m.Thing.static(1), 1, "Thing.static"),
    "Thing.made": (lambda m: m.Thing.made(), 1, "Thing.made"),
    "Thing.Part.deep": (lambda m: m.Thing.Part().deep(), 1, "Thing.Part.deep"),
    "Base.inherited": (lambda m: m.Thing().inherited(), 1, "Base.inherited"),
    "numbers": (lambda m: list(m.numbers(3)), 1, "numbers"),
    "answer": (lambda m: asyncio.run(m.answer(1)), 1, "answer"),
    "stream": (lambda m: asyncio.run(collect(m.stream(2))), 1, "stream"),
}


@pytest.mark.parametrize("early", [True, False], ids=["before_import", "after_import"])
@pytest.mark.parametrize("method", METHODS)
def test_a_method_of_every_kind(folder, method, early):
    use, expected, qualified = METHODS[method]
    name, _ = write(folder, ALL)
    module = None if early else importlib.import_module(name)
    with session():
        on_method(name, method)
        if early:
            assert report()["state"] == "waiting" and "not imported yet" in report()["reason"]
            module = importlib.import_module(name)
        assert wait_for("installed")["method"] == qualified
        use(module)
        assert hits() == expected


def test_the_class_may_be_in_the_type_name(started, folder):
    name, _ = write(folder, ALL)
    module = importlib.import_module(name)
    assert on_method(f"{name}.Thing", "static")["state"] == "installed"
    module.Thing.static(1)
    assert hits() == 1


@pytest.mark.parametrize(
    ("module", "method", "words"),
    [
        ("", "Thing.inherited", ["inherited", ".Base", "name that class"]),
        ("", "functools.wraps", ["no Python function"]),
        ("", "Thing", ["is a class"]),
        ("", "plian", ["no Python function `plian`", "nearest: plain"]),
        ("math", "sin", ["not a Python function"]),
        ("builtins", "len", ["not a Python function"]),
        ("time", "sleep", ["not a Python function"]),
    ],
)
def test_what_cannot_be_placed_says_why(started, folder, module, method, words):
    name, _ = write(folder, ALL)
    importlib.import_module(name)
    seen = on_method(module or name, method)
    assert seen["state"] == "error"
    assert all(word in seen["reason"] for word in words), seen["reason"]


@pytest.fixture
def package(folder):
    """A package with a submodule `inner`, which it does not import."""
    name = f"package_{os.getpid()}_{next(counter)}"
    (folder / name).mkdir()
    (folder / name / "__init__.py").write_text("class Made:\n    def run(self):\n        return 1\n")
    (folder / name / "inner.py").write_text("def g():\n    return 1\n")
    importlib.invalidate_caches()
    return name


@pytest.mark.parametrize("early", [True, False], ids=["before_import", "after_import"])
def test_a_submodule_is_waited_for_though_its_package_is_loaded(started, package, early):
    if not early:
        importlib.import_module(package)
    on_method(f"{package}.inner", "g")
    importlib.import_module(package)
    seen = report()
    assert seen["state"] == "waiting" and f"module `{package}.inner`" in seen["reason"], seen
    assert "is not imported yet" in seen["reason"]
    importlib.import_module(f"{package}.inner").g()
    assert hits() == 1


def test_a_class_of_a_package_is_no_submodule(started, package):
    module = importlib.import_module(package)
    assert on_method(f"{package}.Made", "run")["state"] == "installed"
    module.Made().run()
    assert hits() == 1


def test_a_module_that_is_not_there_is_told_with_what_is_like_it(started, package):
    # It may be a class.
    assert f"module `{package}` (" in on_method(f"{package}.iner", "g", "early")["reason"]
    assert f"nearest: {package}.inner;" in on_method(f"{package}.iner.Class", "g", "class")["reason"]
    assert f"nearest: {package}.inner;" in on_method(f"{package}s.inner", "g", "other")["reason"]
    importlib.import_module(package)
    seen = on_method(f"{package}.inned", "g")
    assert seen["state"] == "error", seen
    assert seen["reason"].endswith(f"and no module `{package}.inned`; nearest: {package}.inner"), seen
    assert "nearest" not in on_method(f"{package}.nothing_like_it", "g", "far")["reason"]


def test_what_waits_costs_a_module_that_is_imported_nothing(started, folder):
    waits, loads = [[write(folder, "x = 1\n")[0] for _ in range(20)] for _ in range(2)]
    for number, name in enumerate(waits):
        for line in range(10):
            on_line(folder / f"{name}.py", 1, f"line {number} {line}")
        on_method(name, "f", f"method {number}")
    before = _native._test_hooks()["asked"]
    for name in loads:
        importlib.import_module(name)
    assert _native._test_hooks()["asked"] - before <= len(loads)


def test_a_module_whose_loading_is_put_off_is_waited_for(started, folder):
    name, _ = write(folder, "def f():\n    return 1\n")
    spec = importlib.util.find_spec(name)
    spec.loader = importlib.util.LazyLoader(spec.loader)
    sys.modules[name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for probe_id, seen in (("m", on_method(name, "f", "m")), ("l", on_line(f"{name}.py", 2, "l"))):
        assert seen["state"] == "waiting" and "is not imported yet; the probe waits for it" in seen["reason"], probe_id
    assert module.f() == 1
    assert (hits("m"), hits("l")) == (1, 1)


def test_a_submodule_in_an_archive_is_waited_for(started, tmp_path, monkeypatch):
    name = f"archived_{os.getpid()}_{next(counter)}"
    with zipfile.ZipFile(tmp_path / "app.zip", "w") as archive:
        archive.writestr(f"{name}/__init__.py", "")
        archive.writestr(f"{name}/inner.py", "def g():\n    return 1\n")
    monkeypatch.syspath_prepend(str(tmp_path / "app.zip"))
    importlib.import_module(name)
    seen = on_method(f"{name}.inner", "g")
    assert seen["state"] == "waiting" and "is not imported yet" in seen["reason"], seen
    importlib.import_module(f"{name}.inner").g()
    assert hits() == 1


def test_source_of_a_compiled_module_says_so(started, folder):
    name, _ = write(folder, "def f():\n    return 1\n")
    (folder / f"{name}.py").rename(folder / f"{name}.pyx")
    (folder / f"{name}{sysconfig.get_config_var('EXT_SUFFIX')}").touch()
    seen = on_line(folder / f"{name}.pyx", 2)
    assert seen["state"] == "error" and "its module is compiled" in seen["reason"], seen


def test_a_property_without_a_getter_is_no_function(started, folder):
    name, _ = write(folder, "class A:\n    size = property(None, lambda self, to: None)\n")
    importlib.import_module(name)
    assert "a `property` whose getter is none" in on_method(name, "A.size")["reason"]


RAISES = """
import contextlib
def after(*_):
    raise KeyError(1)
def other():
    try:
        after()  # other
    except ValueError:
        pass
def last():
    try:
        after()  # last
    finally:
        x = 1
def ends():
    with contextlib.nullcontext():
        after()  # ends
def again():
    try:
        after()
    except KeyError as error:
        raise error  # again
def bare():
    try:
        after()  # bare
    except KeyError:
        raise
def yields():
    try:
        yield
        after()  # yields
    finally:
        x = 1
def plainly():
    x = 1
    after()  # plainly
"""


@pytest.mark.parametrize("function", ["other", "last", "ends", "again", "bare", "yields", "plainly"])
def test_the_top_line_of_a_method_that_raised_is_the_one_that_raised(started, folder, function):
    name, source = write(folder, RAISES)
    module = importlib.import_module(name)
    on_method(name, function, captureSnapshot=True)
    with pytest.raises(KeyError):
        list(getattr(module, function)() or ())
    (event,) = events()
    snapshot = event["debugger"]["snapshot"]
    assert snapshot["stack"][0]["lineNumber"] == line_of(source, function)
    assert snapshot["stack"][0]["function"] == function


def test_a_name_that_is_imported_says_where_it_is_from(started, folder):
    inner, _ = write(folder, "def f():\n    return 1\n")
    outer, _ = write(folder, f"from {inner} import f\n")
    importlib.import_module(outer)
    seen = on_method(outer, "f")
    assert seen["state"] == "error" and f"defined in module `{inner}`" in seen["reason"]


def test_a_name_that_never_comes_is_an_error_after_the_import(started, folder):
    name, _ = write(folder, ALL)
    on_method(name, "nothing_like_it")
    importlib.import_module(name)
    assert "no Python function" in wait_for("error")["reason"]


def test_the_status_is_true_as_soon_as_the_module_has_run(started, folder):
    name, _ = write(folder, ALL)
    on_method(name, "Thing.methd")
    importlib.import_module(name)
    seen = report()
    assert seen["state"] == "error" and "nearest: Thing.method" in seen["reason"], seen


def test_a_name_that_comes_late_is_waited_for_in_words(started, folder):
    name, _ = write(
        folder,
        """
        import stroboscope
        during = stroboscope.status()[0]
        made = {}
        exec("def late(x):\\n    return x", globals())
        """,
    )
    on_method(name, "late")
    module = importlib.import_module(name)
    assert module.during["state"] == "waiting" and "the module still runs" in module.during["reason"], module.during
    assert wait_for("installed")["file"] == "<string>"
    assert module.late(1) == 1
    assert hits() == 1


def test_names_beside_are_looked_for_in_classes_of_c(started):
    seen = on_method("collections", "OrderedDict.popitemm")
    assert seen["state"] == "error" and "nearest: OrderedDict.popitem" in seen["reason"]


def test_a_generated_method_is_placed(started, folder):
    name, _ = write(folder, "from dataclasses import dataclass\n@dataclass\nclass Point:\n    x: int\n")
    module = importlib.import_module(name)
    seen = on_method(name, "Point.__init__")
    assert (seen["state"], seen["method"]) == ("installed", "Point.__init__"), seen
    module.Point(1)
    assert hits() == 1


def test_a_method_says_where_it_begins(started, folder):
    name, source = write(folder, ALL)
    importlib.import_module(name)
    seen = on_method(name, "plain")
    assert (Path(seen["file"]).name, seen["lines"]) == (f"{name}.py", [line_of(source, "plain") - 1])


def test_two_functions_of_one_name_are_both_probed_and_told(started, folder):
    name, _ = write(folder, "def f():\n    return 1\nold = f\ndef f():\n    return 2\n")
    module = importlib.import_module(name)
    seen = on_method(name, "f")
    assert seen["state"] == "installed" and "2 functions have this name, at lines 1, 4" in seen["reason"], seen
    assert (module.old(), module.f()) == (1, 2)
    assert hits() == 2


def test_a_compiled_module_is_named_as_such(started, folder):
    compiled = Path(importlib.import_module("_asyncio").__file__)
    (folder / "_asyncio.py").write_text("def f():\n    return 1\n")
    (folder / compiled.name).symlink_to(compiled)
    seen = on_line(folder / "_asyncio.py", 2)
    assert seen["state"] == "error" and "is compiled" in seen["reason"] and str(folder) in seen["reason"], seen
    seen = on_method("_asyncio", "get_event_loop", "m")
    assert seen["state"] == "error" and "is compiled" in seen["reason"], seen


def test_of_several_lines_the_good_ones_are_named(started, folder):
    name, source = write(folder, ALL)
    importlib.import_module(name)
    good = line_of(source, "plain")
    seen = add(where={"sourceFile": f"{name}.py", "lines": [str(good), "900"]}, template="hit")
    assert seen["state"] == "error" and f"without it the others ({good}) could be probed" in seen["reason"], seen


def test_nothing_like_it_waits(started):
    seen = on_line("no/such/place_at_all.py", 3)
    assert seen["state"] == "waiting" and "not found" in seen["reason"]
    on_method("no_such_module_at_all", "f", "m")
    assert report("m")["state"] == "waiting" and "not found" in report("m")["reason"]


def test_our_own_calls_hit_nothing(started):
    on_method("json", "dumps")
    on_method("json.encoder", "JSONEncoder.encode", "encode")
    before = hits(), hits("encode")
    for number in range(3):
        definition = {"id": f"more{number}", "type": "LOG_PROBE", "where": {"typeName": "os", "methodName": "getcwdb"}}
        stroboscope.add_probe({**definition, "template": "x"})
    stroboscope.status()
    assert (hits(), hits("encode")) == before
    json.dumps({})
    assert (hits(), hits("encode")) == (before[0] + 1, before[1] + 1)


def test_our_own_code_is_blocked(started):
    assert on_line("stroboscope/__init__.py", 20)["state"] == "blocked"
    assert on_method("stroboscope", "start", "m")["state"] == "blocked"


# ---- how code comes to be loaded ---------------------------------------------------------------------------------


def test_a_reloaded_module_is_probed_again(started, folder):
    name, source = write(folder, ALL)
    module = importlib.import_module(name)
    old = module.plain
    on_line(f"{name}.py", line_of(source, "plain"), "line")
    on_method(name, "plain", "method")
    module.plain(1)
    importlib.reload(module)
    assert module.plain is not old
    module.plain(1)
    old(1)
    assert (hits("line"), hits("method")) == (3, 3)


def edit(folder, module, source):
    """Writes the module anew and loads it again; its bytecode cache must not be taken for it."""
    path = folder / f"{module.__name__}.py"
    path.write_text(textwrap.dedent(source).lstrip("\n"))
    later = path.stat().st_mtime + 10
    os.utime(path, (later, later))
    importlib.reload(module)


def test_a_line_that_an_edit_removes_is_said_to_be_gone_and_comes_back(started, folder):
    before = "def f(x):\n    y = x\n    z = y\n    return z\n"
    name, _ = write(folder, before)
    module = importlib.import_module(name)
    old = module.f
    on_line(f"{name}.py", 3)
    wait_for("installed")
    module.f(1)
    edit(folder, module, "def f(x):\n    return x\n")
    gone = wait_for("error")["reason"]
    assert "no executable code at line 3" in gone and "stays in the functions that it had before" in gone
    module.f(1)
    assert hits() == 1
    old(1)  # it still runs somewhere: its hits are not lost
    assert hits() == 2
    edit(folder, module, before)
    wait_for("installed")
    module.f(1)
    assert hits() == 3


def test_a_name_that_is_made_as_the_module_runs_is_followed_through_a_reload(started, folder):
    source = """
        import time
        def make():
            def inner(x):
                return x
            return inner
        time.sleep({pause})
        f = make()
    """
    name, _ = write(folder, source.format(pause=0))
    module = importlib.import_module(name)
    on_method(name, "f")
    wait_for("installed")
    module.f(1)
    # While it runs again, the name leads to the old function.
    edit(folder, module, source.format(pause=0.2))
    deadline = time.monotonic() + 10
    while hits() < 2 and time.monotonic() < deadline:
        module.f(1)
        time.sleep(0.02)
    assert hits() >= 2 and wait_for("installed")


def test_of_several_lines_either_all_are_placed_or_none(started, folder):
    name, _ = write(folder, "def f(x):\n    y = x\n    return y\n")
    module = importlib.import_module(name)
    add("p", where={"sourceFile": f"{name}.py", "lines": ["2", "99"]}, template="hit")
    assert "the others (2) could be probed" in wait_for("error")["reason"]
    module.f(1)
    assert hits() == 0


def test_a_module_reloaded_before_the_probe_has_two_copies(folder):
    name, source = write(folder, ALL)
    module = importlib.import_module(name)
    old = module.plain
    importlib.reload(module)
    with session():
        on_line(f"{name}.py", line_of(source, "plain"))
        module.plain(1)
        old(1)
        assert hits() == 2


def test_runpy(started, folder):
    name, source = write(folder, ALL)
    on_line(f"{name}.py", line_of(source, "module"))
    runpy.run_path(str(folder / f"{name}.py"))
    runpy.run_module(name)
    assert hits() == 2


@pytest.mark.parametrize("early", [True, False], ids=["before_import", "after_import"])
def test_zip_imports(folder, monkeypatch, early):
    name = f"zipped_{next(counter)}"
    archive = folder / "lib.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr(f"{name}.py", "def f():\n    return 1\n")
    monkeypatch.syspath_prepend(str(archive))
    module = None if early else importlib.import_module(name)
    with session():
        on_line(f"lib.zip/{name}.py", 2, "line")
        on_method(name, "f", "method")
        module = module or importlib.import_module(name)
        module.f()
        assert (hits("line"), hits("method")) == (1, 1)
    del sys.modules[name]


@pytest.mark.parametrize("early", [True, False], ids=["before", "after"])
def test_compiled_by_hand(early):
    space = {"__name__": "by_hand"}
    compiled = compile("def f():\n    return 1\n", "/nowhere/by_hand.py", "exec")
    if not early:
        exec(compiled, space)
    with session():
        on_line("nowhere/by_hand.py", 2, "line")
        on_method("by_hand", "f", "method")
        if early:
            exec(compiled, space)
        space["f"]()
        assert hits("line") == 1
        assert hits("method") == (1 if early else 0)


def test_frozen_modules_of_the_standard_library(started):
    source = Path(os.__file__).read_text().splitlines()
    line = next(at for at, text in enumerate(source, 1) if text.startswith("def makedirs")) + 1
    while "head, tail" not in source[line - 1]:
        line += 1
    seen = on_line("os.py", line)
    assert seen["state"] == "installed" and seen["file"] == os.__file__, seen
    on_method("posixpath", "basename", "method")
    os.makedirs("/tmp", exist_ok=True)
    assert hits() == 1
    before = hits("method")
    os.path.basename("/a/b")
    assert hits("method") == before + 1


def test_the_standard_library_and_third_parties(started):
    import email.message

    import iniconfig

    assert on_method("email.message", "Message.add_header")["state"] == "installed"
    assert on_method("iniconfig", "IniConfig.__init__", "third")["state"] in ("installed", "error")
    email.message.Message().add_header("a", "b")
    assert hits() == 1
    assert iniconfig


def test_a_function_that_no_module_holds(folder):
    name, source = write(folder, ALL)
    module = importlib.import_module(name)
    kept = [module.outer(), module.plain]
    del module, sys.modules[name]
    gc.collect()
    with session():
        assert on_line(folder / f"{name}.py", line_of(source, "inner"))["state"] == "installed"
        kept[0](1)
        assert hits() == 1


def test_code_that_the_collector_hides(folder):
    name, source = write(folder, ALL)
    module = importlib.import_module(name)
    gc.freeze()
    try:
        with session():
            on_line(f"{name}.py", line_of(source, "plain"))
            on_line(f"{name}.py", line_of(source, "deep"), "deep")
            on_line(f"{name}.py", line_of(source, "decorated"), "decorated")
            module.plain(1)
            module.Thing.Part().deep()
            module.decorated(1)
            assert (hits(), hits("deep"), hits("decorated")) == (1, 1, 1)
    finally:
        gc.unfreeze()


def test_the_better_file_of_two(started, folder):
    for package in ("one", "two"):
        (folder / package).mkdir()
        (folder / package / "common.py").write_text("def f():\n    return 1\n")
    importlib.invalidate_caches()
    modules = {package: importlib.import_module(f"{package}.common") for package in ("one", "two")}
    seen = on_line("common.py", 2, "either")
    assert seen["state"] == "error" and "ambiguous" in seen["reason"]
    assert on_line("src/two/common.py", 2, "two")["state"] == "installed"
    for module in modules.values():
        module.f()
    assert hits("two") == 1
    for package in ("one", "two"):
        del sys.modules[package]


def packages(folder, *paths):
    """Packages, each with a module of one function whose second line is its body."""
    for path in paths:
        parts = Path(path).parts
        for depth in range(1, len(parts)):
            package = folder.joinpath(*parts[:depth])
            package.mkdir(exist_ok=True)
            (package / "__init__.py").touch()
        (folder / path).write_text("def f():\n    return 1\n")
    importlib.invalidate_caches()


def module_of(path):
    return importlib.import_module(path.removesuffix(".py").replace("/", "."))


def test_a_file_that_exists_is_waited_for(started, folder, monkeypatch):
    packages(folder, "aa/helper.py", "bb/helper.py")
    monkeypatch.chdir(folder)
    on_line(folder / "bb/helper.py", 2, "absolute")
    on_line("bb/helper.py", 2, "relative")
    other = module_of("aa/helper.py")
    for probe in ("absolute", "relative"):
        assert report(probe)["state"] == "waiting" and f"{folder}/bb/helper.py" in report(probe)["reason"]
    right = module_of("bb/helper.py")
    other.f(), right.f()
    for probe in ("absolute", "relative"):
        assert report(probe)["file"] == f"{folder}/bb/helper.py" and hits(probe) == 1


def test_a_name_alone_leads_into_no_library(started):
    seen = on_line("jsn/encoder.py", 200)
    assert seen["state"] == "waiting" and "json/encoder.py" in seen["reason"]
    seen = on_line("/nowhere/pkg/parser.py", 3, "absolute")
    assert seen["state"] == "waiting" and "not found" in seen["reason"]


def test_a_probe_moves_to_a_file_that_matches_better(started, folder):
    packages(folder, "deep/helper.py")
    hidden = folder / "hidden/near/deep/helper.py"
    hidden.parent.mkdir(parents=True)
    hidden.write_text("def f():\n    return 1\n")
    on_line("src/near/deep/helper.py", 2)
    worse = module_of("deep/helper.py").f
    assert worse() == 1
    assert report()["file"] == f"{folder}/deep/helper.py"
    better = runpy.run_path(str(hidden))["f"]
    seen = report()
    assert seen["file"] == str(hidden) and f"moved from {folder}/deep/helper.py:2" in seen["reason"]
    worse(), better()
    assert hits() == 2, "one in each, one after the other"


def test_files_that_match_alike_are_ambiguous_whenever_they_load(started, folder):
    packages(folder, "shop/api/views.py", "admin/api/views.py")
    on_line("api/views.py", 2)
    first = module_of("shop/api/views.py")
    first.f()
    assert report()["state"] in ("installed", "emitting")
    second = module_of("admin/api/views.py")
    seen = report()
    assert seen["state"] == "error" and "ambiguous" in seen["reason"]
    assert "shop/api/views.py" in seen["reason"] and "admin/api/views.py" in seen["reason"]
    first.f(), second.f()
    assert hits() == 1


@pytest.mark.parametrize("early", [True, False])
def test_a_link_is_the_file_that_it_leads_to(started, folder, early):
    name, source = write(folder, ALL)
    (folder / f"link_of_{name}.py").symlink_to(f"{name}.py")
    importlib.invalidate_caches()
    if early:
        module = importlib.import_module(f"link_of_{name}")
    on_line(folder / f"{name}.py", line_of(source, "plain"))
    if not early:
        module = importlib.import_module(f"link_of_{name}")
    module.plain(1)
    assert hits() == 1
    assert Path(report()["file"]).name == f"link_of_{name}.py"


def test_other_spellings_of_a_path(started, folder):
    name, source = write(folder, ALL)
    module = importlib.import_module(name)
    line = line_of(source, "plain")
    for at, path in enumerate(
        (f"build/x/{folder.name}/{name}.py", f"{folder.name}\\{name}.py", f"{folder}/{name}.py".upper())
    ):
        assert on_line(path, line, f"p{at}")["state"] == "installed", report(f"p{at}")
    module.plain(1)
    assert [hits(f"p{at}") for at in range(3)] == [1, 1, 1]


SCRIPT = """
import json, sys
from stroboscope import _native
{before}
_native.start([], True)
def add(where):
    _native.add_probe(json.dumps({{"id": "p", "version": 1, "type": "LOG_PROBE", "language": "python", "where": where,
                                  "template": "hit", "sampling": {{"snapshotsPerSecond": 5000}}}}))
    return _native.status()[0]
{body}
"""


def run(script, *arguments, **options):
    done = subprocess.run(
        [sys.executable, *arguments, str(script)], capture_output=True, text=True, timeout=60, check=False, **options
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "where", [{"typeName": "shop", "methodName": "f"}, {"typeName": "__main__", "methodName": "f"}]
)
def test_a_script_is_known_by_its_own_name(folder, where):
    body = f"""
def f():
    return 1
seen = add({where!r})
assert seen["state"] == "installed", seen
f()
_native.flush(5.0)
print(len(_native._test_events()))
_native.stop(5.0)
"""
    (folder / "shop.py").write_text(SCRIPT.format(before="", body=body))
    assert run(folder / "shop.py") == "1\n"


def test_the_running_line_of_a_script_and_of_a_relative_path(folder):
    body = """
seen = add({"sourceFile": "shop.py", "lines": [str(LINE)]})
assert seen["state"] == "installed", seen
x = 1  # here
_native.flush(5.0)
print(len(_native._test_events()))
_native.stop(5.0)
"""
    text = SCRIPT.format(before="", body=body)
    (folder / "shop.py").write_text(text.replace("LINE", str(line_of(text, "here"))))
    assert run("shop.py", cwd=folder) == "1\n"


# ---- statements --------------------------------------------------------------------------------------------------

STATEMENTS = {
    "if (a and  # here\n    b):\n    f()": [(1, 1, 1), (1, 0, 1), (0, 1, 1)],
    "while (a and  # here\n       b):\n    a = 0": [(1, 1, 2), (0, 1, 1)],
    "x = (a  # here\n     if b\n     else f())": [(1, 1, 1), (1, 0, 1)],
    "return (a  # here\n        if b\n        else f())": [(1, 1, 1), (1, 0, 1)],
    "assert (a or  # here\n        b or\n        True)": [(1, 1, 1), (0, 0, 1)],
    "if (  # here\n    not a\n    or b\n):\n    f()\nelse:\n    f()": [(1, 0, 1), (1, 1, 1), (0, 0, 1)],
    "f(a,  # here\n  b)": [(1, 1, 1)],
    "if a and \\\n   b:  # continued\n    f()": [],
    "x = [i  # here\n     for i in range(3)\n     if i != a]": [(1, 1, 1)],
    "x = {  # here\n    'a': a if b else f(),\n    'b': (b or\n          f()),\n}": [(1, 1, 1), (0, 0, 1)],
    "for i in range(  # here\n        3):\n    f()": [(1, 1, 1)],
    "with (open('/dev/null') as one,  # here\n      open('/dev/null') as two):\n    f()": [(1, 1, 1)],
    "raise_ = (ValueError(  # here\n    'x') if a else\n    None)": [(1, 1, 1), (0, 0, 1)],
    "match (a,  # here\n       b):\n    case (1, 1) if (a and\n                    b):\n        f()": [
        (1, 1, 1),
        (1, 0, 1),
    ],
    "del (a,  # here\n     b)": [(1, 1, 1)],
    "try:\n    return f(a)\nfinally:\n    a = b  # here": [(1, 1, 1), (0, 1, 1)],
    "try:\n    return f(a)\nfinally:\n    for _ in (a, b):\n        f(1)  # here": [(1, 1, 2)],
    "try:\n    return f(a)\nfinally:\n    x = y = None  # here": [(1, 1, 1)],
    "x = f'''  # here\n{a if\nb else f()}\n'''": [(1, 1, 1), (1, 0, 1)],
}


@pytest.mark.parametrize("statement", [statement for statement, runs in STATEMENTS.items() if runs])
def test_a_statement_of_several_lines_fires_once_an_execution(started, folder, statement):
    # In the string of the last case the mark is a part of it.
    name, source = write(folder, f"def f(*values):\n    return 0\ndef g(a, b):\n{textwrap.indent(statement, '    ')}\n")
    module = importlib.import_module(name)
    line = line_of(source, "here")
    assert on_line(f"{name}.py", line)["lines"] == [line]
    expected = 0
    for a, b, count in STATEMENTS[statement]:
        with contextlib.suppress(StopIteration):
            module.g(a, b)
        expected += count
        assert hits() == expected, (a, b)


SOFT = """
type Number = int
type Pair[T: (
    int, str)] = tuple[
    T, T]
def generic[
    T: (int, str),
](x: T) -> T:
    if"{" in "x":
        return x
    return x
class Box[T]:
    def put[U: (
        int, str)](self, x: U): pass
def g(a, b):
    x = (a  # here
         if b
         else 0)
    return x
"""


@pytest.mark.parametrize("encode", [str.encode, lambda text: text.replace("\n", "\r\n").encode("utf-8-sig")])
def test_source_with_every_kind_of_scope_is_followed(started, folder, encode):
    name, source = write(folder, SOFT)
    (folder / f"{name}.py").write_bytes(encode(source))
    module = importlib.import_module(name)
    line = line_of(source, "here")
    assert on_line(f"{name}.py", line + 1)["lines"] == [line]
    module.g(1, 1)
    module.g(1, 0)
    assert hits() == 2


def test_a_hit_shows_the_line_of_its_statement(started, folder):
    name, _ = write(folder, "def g(a):\n    x = (  # here\n        a,\n    )\n    return x\n")
    module = importlib.import_module(name)
    on_line(f"{name}.py", 2, captureSnapshot=True)
    module.g(1)
    (event,) = events()
    snapshot = event["debugger"]["snapshot"]
    assert snapshot["probe"]["location"]["lines"] == ["2"]
    assert (snapshot["stack"][0]["function"], snapshot["stack"][0]["lineNumber"]) == ("g", 2)


def test_the_body_of_a_lambda_on_lines_of_its_own(started, folder):
    name, _ = write(folder, "made = (lambda v:\n    v + 1)\n")
    module = importlib.import_module(name)
    assert on_line(f"{name}.py", 2)["lines"] == [2]
    module.made(1)
    module.made(2)
    assert hits() == 2


def test_a_finally_after_the_return_of_what_was_awaited(started, folder):
    name, _ = write(folder, "async def g(f):\n    try:\n        return await f()\n    finally:\n        x = 1\n")
    module = importlib.import_module(name)

    async def nap():
        await asyncio.sleep(0)

    on_line(f"{name}.py", 5)
    asyncio.run(module.g(nap))
    assert hits() == 1


def test_a_line_in_the_middle_is_served_by_the_first(started, folder):
    name, _ = write(folder, "def g(a, b):\n    if (a and\n        b):\n        return 1\n    return 2\n")
    module = importlib.import_module(name)
    seen = on_line(f"{name}.py", 3)
    assert seen["lines"] == [2] and "line 2 is used instead" in seen["reason"]
    module.g(1, 1)
    module.g(0, 1)
    assert hits() == 2


ANNOTATED = """
class Point:
    x: int
    y: float = 2.0  # field
    type Other = int
SIZE: int = 3  # module
def total(a: int,
          b: list[int] = []) -> int:  # rest
    if (a and
            b):  # second
        return a
    return 0
"""


@pytest.mark.parametrize(
    ("mark", "line", "function"),
    [
        ("field", 3, "Point"),
        ("module", 5, "<module>"),
        ("rest", 6, "<module>"),
        ("second", 8, "total"),
    ],
)
def test_annotations_are_no_statements(started, folder, mark, line, function):
    """CPython 3.14 keeps annotations in functions of their own, which run when somebody asks for them."""
    name, source = write(folder, ANNOTATED)
    on_line(f"{name}.py", line_of(source, mark))
    module = importlib.import_module(name)
    assert wait_for("installed")["lines"] == [line]
    assert module.total(1, [2]) == 1
    assert module.Point.__annotations__ == {"x": int, "y": float}
    assert module.total.__annotations__["return"] is int
    assert module.__annotations__ == {"SIZE": int}
    (event,) = events()
    assert event["debugger"]["snapshot"]["stack"][0]["function"] == function


@pytest.mark.skipif(sys.version_info < (3, 14), reason="template strings came with 3.14")
def test_a_template_string(started, folder):
    name, source = write(folder, "def greet(who):\n    text = t'to {who!r:>5}'\n    return text  # here\n")
    module = importlib.import_module(name)
    on_line(
        f"{name}.py", line_of(source, "here"), template="{text.strings} {text.interpolations}", captureSnapshot=True
    )
    module.greet("all")
    (event,) = events()
    assert event["message"].startswith('["to ", ""] [Interpolation')
    (captured,) = event["debugger"]["snapshot"]["captures"]["lines"].values()
    (part,) = captured["locals"]["text"]["fields"]["interpolations"]["elements"]
    assert part["fields"]["value"]["value"] == "'all'"
    assert part["fields"]["format_spec"]["value"] == "'>5'"


def test_source_that_changed_is_not_believed(folder):
    name, _ = write(folder, "def g(a, b):\n    if a:\n        b = 2\n    return b\n")
    module = importlib.import_module(name)
    (folder / f"{name}.py").write_text("x = (1,\n2,\n3)\n")
    with session():
        assert on_line(f"{name}.py", 3)["lines"] == [3]
        module.g(1, 1)
        assert hits() == 1


def test_loop_headers(started, folder):
    """`for` evaluates its iterable once; `while` evaluates its condition every time."""
    name, _ = write(folder, "def g(n):\n    for i in range(n):\n        n -= 1\n    while n < 3:\n        n += 1\n")
    module = importlib.import_module(name)
    for line in (2, 3, 4, 5):
        on_line(f"{name}.py", line, str(line))
    module.g(3)
    assert [hits(str(line)) for line in (2, 3, 4, 5)] == [1, 3, 4, 3]


# ---- several probes ----------------------------------------------------------------------------------------------


def tool():
    return _native._test_hooks()["tool"]


# Where a comment stands, and the line that is used for it: the next one of the same function.
BLOCKS = """
class C:
    def m(self):
        a = 1

        # in a method
        return a

    # in a class
    b = 2


def f(items):
    for one in items:
        a = one

        # in a for
        b = a
    with open("/dev/null") as file:

        # in a with
        b = file
    try:
        # in a try
        {}["x"]
    except KeyError:
        b = 1

        # in an except
        return b
"""


@pytest.mark.parametrize("mark", ["in a method", "in a class", "in a for", "in a with", "in a try", "in an except"])
def test_a_line_without_code_moves_down_and_never_up(folder, mark):
    # Each its own name: a file of the same name that was loaded before would be meant too.
    name = "blocks_" + mark.replace(" ", "_")
    (folder / f"{name}.py").write_text(BLOCKS)
    line = line_of(BLOCKS, mark)
    with session():
        if mark == "in a class":
            # It runs once, as the module is loaded.
            on_line(f"{name}.py", line)
            module = importlib.import_module(name)
        else:
            module = importlib.import_module(name)
            on_line(f"{name}.py", line)
        probe = wait_for("installed")
        assert probe["lines"] == [line + 1], probe
        module.C().m()
        module.f([1])
        assert hits() == 1


def test_lines_that_come_down_to_one_are_one(started, folder):
    source = "def f():\n    a = 1\n\n    # one\n    # two\n    return a\n"
    (folder / "slides.py").write_text(source)
    module = importlib.import_module("slides")
    add(where={"sourceFile": "slides.py", "lines": ["3", "4", "6"]}, template="hit")
    probe = wait_for("installed")
    assert probe["lines"] == [6]
    module.f()
    assert hits() == 1


def test_several_probes_on_one_line_and_method(started, folder):
    name, source = write(folder, ALL)
    module = importlib.import_module(name)
    line = line_of(source, "plain")
    for probe in ("a", "b", "c"):
        on_line(f"{name}.py", line, f"line {probe}")
        on_method(name, "plain", f"method {probe}")
    module.plain(1)
    assert all(hits(f"{kind} {probe}") == 1 for kind in ("line", "method") for probe in "abc")
    assert _native.remove_probe("line b") and _native.remove_probe("method a")
    settle(lambda: _native._test_hooks()["placed"] == 4)
    module.plain(1)
    assert (hits("line a"), hits("line b"), hits("method a"), hits("method c")) == (2, 1, 1, 2)
    for probe in ("line a", "line c", "method b", "method c"):
        _native.remove_probe(probe)
    settle(lambda: sys.monitoring.get_local_events(tool(), module.plain.__code__) == 0)
    assert not sys.monitoring.get_events(tool()) & sys.monitoring.events.PY_UNWIND


def settle(done):
    deadline = time.monotonic() + 5
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_a_new_probe_at_a_place_that_was_passed_fires(started, folder):
    name, _ = write(folder, "def g(a):\n    a += 1\n    a += 2\n    return a\n")
    module = importlib.import_module(name)
    on_line(f"{name}.py", 2, "first")
    module.g(1)  # the other lines were passed, and switched off
    on_line(f"{name}.py", 3, "second")
    module.g(1)
    assert (hits("first"), hits("second")) == (2, 1)


def test_a_disarmed_probe_does_not_keep_others_of_its_line_off(started, folder):
    name, _ = write(folder, "def g(a):\n    a += 1\n    return a\n")
    module = importlib.import_module(name)
    on_line(f"{name}.py", 2, "slow", sampling={"snapshotsPerSecond": 0.001})
    for _ in range(20_000):
        module.g(1)
    assert report("slow")["disarmed"]
    on_line(f"{name}.py", 2, "fast")
    for _ in range(5):
        module.g(1)
    assert (hits("slow"), hits("fast")) == (1, 5)


def test_a_disarmed_probe_comes_back(started, folder):
    name, _ = write(folder, "def g(a):\n    a += 1\n    return a\n")
    module = importlib.import_module(name)
    on_line(f"{name}.py", 2, sampling={"snapshotsPerSecond": 10})
    deadline = time.monotonic() + 1.2
    while time.monotonic() < deadline:
        module.g(1)
    # Ten at once, and ten a second: it was disarmed in between, and was not lost.
    assert 15 <= hits() <= 25


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_hits_of_a_forked_child_are_not_the_parents(folder):
    body = """
import os
def f(x):
    x += 1
    return x
seen = add({"sourceFile": "forks.py", "lines": [str(LINE)]})
assert seen["state"] == "installed", seen
child = os.fork()
if not child:
    for _ in range(3):
        f(1)
    _native._test_hooks()
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
f(1)
_native.flush(5.0)
print(len(_native._test_events()))
_native.stop(5.0)
"""
    text = SCRIPT.format(before="", body=body)
    line = next(at for at, one in enumerate(text.splitlines(), 1) if "x += 1" in one)
    (folder / "forks.py").write_text(text.replace("LINE", str(line)))
    assert run(folder / "forks.py") == "1\n"


# ---- others that watch -------------------------------------------------------------------------------------------


def probed(folder):
    name, source = write(folder, ALL)
    module = importlib.import_module(name)
    on_line(f"{name}.py", line_of(source, "plain"), "line")
    on_method(name, "plain", "method")
    return module


def check(module, before=0):
    module.plain(1)
    assert (hits("line"), hits("method")) == (before + 1, before + 1)


def test_beside_settrace(started, folder):
    seen = []

    def trace(frame, event, argument):
        seen.append((frame.f_code.co_name, event))
        return trace

    module = probed(folder)
    before = sys.gettrace()
    sys.settrace(trace)
    try:
        module.plain(1)
    finally:
        sys.settrace(before)
    assert ("plain", "line") in seen and ("plain", "return") in seen
    check(module, 1)


def test_beside_cprofile(started, folder):
    import cProfile

    module = probed(folder)
    profile = cProfile.Profile()
    profile.enable()
    module.plain(1)
    profile.disable()
    assert any(getattr(entry.code, "co_name", "") == "plain" for entry in profile.getstats())
    check(module, 1)


def test_beside_bdb(started, folder):
    import bdb

    module = probed(folder)

    class Debugger(bdb.Bdb):
        lines = 0

        def user_line(self, frame):
            Debugger.lines += frame.f_code.co_name == "plain"

    before = sys.gettrace()
    try:
        Debugger().runcall(module.plain, 1)
    finally:
        sys.settrace(before)
    assert Debugger.lines == 1
    check(module, 1)


def same_beside_us(folder, source, mark):
    """Runs a script without us and with a probe on its marked line, which must print the same: that, and the events."""
    script = processes.write(folder, "beside.py", source)
    without = processes.plain(folder, sys.executable, script.name)
    place = f"beside.py:{processes.line_of(script, f'# {mark}')}"
    with_us = processes.strobe(
        folder, "--at", place, "--capture", "--rate", "all", "--json", "seen", "--", sys.executable, script.name
    )
    assert (with_us.returncode, with_us.stdout) == (without.returncode, without.stdout), with_us.stderr
    return without.stdout, processes.events((folder / "seen").read_text())


def test_beside_set_trace(folder):
    printed, seen = same_beside_us(
        folder,
        """
        import io, pdb, sys

        def debugger():
            orders = io.StringIO("step\\ncontinue\\n")
            return pdb.Pdb(stdin=orders, stdout=sys.stdout, nosigint=True, readrc=False)

        def stopped(x):
            debugger().set_trace()
            x += 1
            x += 1
            return x  # probe

        def elsewhere(x):
            debugger().set_trace()
            x += 1
            return x

        stopped(1), elsewhere(1), stopped(1)
        """,
        "probe",
    )
    assert printed.count("stopped()") == 4 and printed.count("elsewhere()") == 2
    assert len(seen) == 2


def test_beside_another_that_hangs_something_on_code(folder):
    printed, seen = same_beside_us(
        folder,
        """
        import ctypes, gc

        freed = []
        free = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(freed.append)
        api = ctypes.pythonapi
        api.PyUnstable_Eval_RequestCodeExtraIndex.restype = ctypes.c_ssize_t
        index = api.PyUnstable_Eval_RequestCodeExtraIndex(free)

        def reached():
            return 1  # probe

        space = {"reached": reached}
        exec("def through(): return reached()\\ndef marked(): pass", space)
        hang = api.PyUnstable_Code_SetExtra
        hang.argtypes = ctypes.py_object, ctypes.c_ssize_t, ctypes.c_void_p
        hang(space["marked"].__code__, index, 7)
        space["through"]()
        space.clear()
        gc.collect()
        print(freed)
        """,
        "probe",
    )
    assert printed == "[7]\n"
    assert [frame["function"] for frame in seen[0]["debugger"]["snapshot"]["stack"]][1] == "through"


@pytest.mark.parametrize("core", ["ctrace", "sysmon"])
def test_beside_coverage(folder, core):
    pytest.importorskip("coverage")
    body = """
import json
def f():
    return 1
seen = add({"typeName": "shop", "methodName": "f"})
f()
_native.flush(5.0)
print(len(_native._test_events()))
_native.stop(5.0)
"""
    (folder / "shop.py").write_text(SCRIPT.format(before="", body=body))
    environment = {**os.environ, "COVERAGE_CORE": core, "COVERAGE_FILE": str(folder / "coverage")}
    assert run(folder / "shop.py", "-m", "coverage", "run", env=environment) == "1\n"
    report_it = [sys.executable, "-m", "coverage", "report"]
    done = subprocess.run(report_it, env=environment, capture_output=True, text=True, check=True)
    assert "shop.py" in done.stdout and "100%" in done.stdout, done.stdout


def test_beside_another_tool(started, folder):
    module = probed(folder)
    seen = []
    monitoring = sys.monitoring
    monitoring.use_tool_id(5, "other")
    try:
        monitoring.register_callback(5, monitoring.events.LINE, lambda code, line: seen.append(line))
        monitoring.set_local_events(5, module.plain.__code__, monitoring.events.LINE)
        module.plain(1)
        assert len(seen) == 1
        monitoring.restart_events()
        check(module, 1)
        monitoring.set_local_events(5, module.plain.__code__, 0)
        monitoring.register_callback(5, monitoring.events.LINE, None)
    finally:
        monitoring.free_tool_id(5)
    check(module, 2)


LOOP = """
def loop(n):
    total = 0  # first
    for i in range(n):
        total += i  # body
    return total
"""

#: What another tool may do between two calls: it listens to lines everywhere, or in this code; it ends that; all events
#: come anew; a trace function comes and goes.
OTHERS = {
    "everywhere": ["everywhere"],
    "in_this_code": ["here"],
    "twice": ["everywhere", "end", "everywhere"],
    "restarted": ["everywhere", "restart"],
    "two_tools": ["everywhere", "second", "restart"],
    "with_a_trace_function": ["everywhere", "trace", "untrace"],
    "after_a_trace_function": ["trace", "everywhere", "untrace", "restart"],
}


@pytest.mark.parametrize("answer", ["disables", "keeps"])
@pytest.mark.parametrize("others", OTHERS)
@pytest.mark.parametrize("first", [True, False], ids=["tool_first", "probe_first"])
def test_no_hit_is_lost_beside_a_tool_that_switches_lines_off(folder, others, answer, first):
    name, source = write(folder, LOOP)
    module = importlib.import_module(name)
    monitoring, code = sys.monitoring, module.loop.__code__
    lines = monitoring.events.LINE
    before = sys.gettrace()

    def trace(frame, event, argument):
        return trace

    do = {
        "everywhere": lambda: monitoring.set_events(0, lines),
        "second": lambda: monitoring.set_events(1, lines),
        "here": lambda: monitoring.set_local_events(0, code, lines),
        "end": lambda: monitoring.set_events(0, 0),
        "restart": monitoring.restart_events,
        "trace": lambda: sys.settrace(trace),
        "untrace": lambda: sys.settrace(before),
    }

    def steps():
        wanted = monitoring.DISABLE if answer == "disables" else None
        for tool in (0, 1):
            monitoring.use_tool_id(tool, "other")
            monitoring.register_callback(tool, lines, lambda code, line: wanted)
        for step in OTHERS[others]:
            do[step]()
            yield

    running = steps()
    if first:
        next(running)
    _native.start([], True)
    try:
        on_line(f"{name}.py", line_of(source, "first"), "first")
        on_line(f"{name}.py", line_of(source, "body"), "body")
        calls = 0
        for _ in itertools.chain([None], running):
            for _ in range(2):
                module.loop(3)
                calls += 1
                assert (hits("first"), hits("body")) == (calls, 3 * calls)
    finally:
        assert _native.stop(5.0)
        sys.settrace(before)
        for tool in (0, 1):
            monitoring.set_local_events(tool, code, 0)
            monitoring.set_events(tool, 0)
            monitoring.register_callback(tool, lines, None)
            monitoring.free_tool_id(tool)


def test_without_another_tool_lines_are_not_listened_to(started, folder):
    name, source = write(folder, LOOP)
    code = importlib.import_module(name).loop.__code__
    on_line(f"{name}.py", line_of(source, "body"))
    assert sys.monitoring.get_local_events(tool(), code) == sys.monitoring.events.INSTRUCTION


@pytest.mark.parametrize("mark", ["first", "body"])
def test_lines_beside_coverage(folder, mark):
    pytest.importorskip("coverage")
    body = """
def loop(n):
    total = 0  # first
    for i in range(n):
        total += i  # body
    return total
seen = add({"sourceFile": "shop.py", "lines": ["LINE"]})
loop(3)
loop(3)
_native.flush(5.0)
print(len(_native._test_events()))
_native.stop(5.0)
"""
    text = SCRIPT.format(before="", body=body)
    (folder / "shop.py").write_text(text.replace("LINE", str(line_of(text, mark))))
    environment = {**os.environ, "COVERAGE_CORE": "sysmon", "COVERAGE_FILE": str(folder / "coverage")}
    expected = {"first": "2\n", "body": "6\n"}[mark]
    assert run(folder / "shop.py", "-m", "coverage", "run", env=environment) == expected


@contextlib.contextmanager
def taken(*tools):
    for one in tools:
        sys.monitoring.use_tool_id(one, "other")
    try:
        yield
    finally:
        for one in tools:
            sys.monitoring.free_tool_id(one)


def test_with_one_id_free_modules_are_found_by_looking(folder):
    name, source = write(folder, ALL)
    with taken(3, 5), session():
        assert _native._test_hooks()["discovery_tool"] is None
        on_line(f"{name}.py", line_of(source, "plain"), "line")
        on_method(name, "plain", "method")
        assert report("line")["state"] == "waiting"
        module = importlib.import_module(name)
        wait_for("installed", "line")
        wait_for("installed", "method")
        check(module)


def test_with_no_id_free_the_refusal_is_clear():
    with taken(3, 4, 5), pytest.raises(RuntimeError, match="taken by other tools"):
        _native.start([], True)
    with session():
        pass


def test_stop_leaves_the_interpreter_as_it_was(folder):
    name, source = write(folder, ALL)
    module = importlib.import_module(name)
    with session():
        on_line(f"{name}.py", line_of(source, "plain"), "line")
        on_method(name, "plain", "method")
        ours = tool()
        assert sys.monitoring.get_events(ours) & sys.monitoring.events.PY_UNWIND
        check(module)
    assert all(sys.monitoring.get_tool(tool) != "stroboscope" for tool in range(6))
    sys.monitoring.use_tool_id(ours, "later")
    assert sys.monitoring.get_events(ours) == 0
    assert sys.monitoring.get_local_events(ours, module.plain.__code__) == 0
    for event in ("INSTRUCTION", "PY_START", "PY_RESUME", "PY_RETURN", "PY_UNWIND"):
        assert sys.monitoring.register_callback(ours, getattr(sys.monitoring.events, event), None) is None
    sys.monitoring.free_tool_id(ours)
    module.plain(1)


def test_a_subinterpreter_is_refused_politely(started, folder):
    interpreters = pytest.importorskip("_xxsubinterpreters" if sys.version_info < (3, 13) else "_interpreters")
    module = probed(folder)
    other = interpreters.create()
    text = f"""
import sys
sys.path[:] = {sys.path!r}
try:
    import stroboscope
except ImportError as error:
    message = str(error)
assert "subinterp" in message
"""
    problem = interpreters.run_string(other, text)
    assert problem is None
    interpreters.destroy(other)
    check(module)


def test_of_ten_thousand_open_calls_the_oldest_is_dropped_and_counted(folder):
    with session([("rate_limits", "off"), ("cpu_budget", "100")]):
        name, _ = write(folder, "def job():\n    yield 1\n")
        module = importlib.import_module(name)
        on_method(name, "job", captureSnapshot=True, evaluateAt="ENTRY")
        wait_for("installed")
        calls = [module.job() for _ in range(10_050)]
        for call in calls:
            next(call)
        for call in calls:
            next(call, None)
        assert _native.flush(5.0)
        told = report()
        assert told["hits"] == 10_050
        assert told["dropped"]["queueFull"] >= 50
        assert told["emitted"] + sum(told["dropped"].values()) == 10_050


def test_private_names_are_read_as_they_are_written(started, folder):
    name, source = write(
        folder,
        """
        class _Account:
            def __init__(self):
                self.__total = 3

            def total(self):
                __rate = 2
                def inner(other):
                    return self.__total * __rate  # inner
                return inner(self)  # here

        class Outside:
            pass

        def plain(account, other):
            return account  # plain
        """,
    )
    module = importlib.import_module(name)
    text = "{self.__total} {__rate} {self._Account__total}"
    on_line(f"{name}.py", line_of(source, "here"), "a", template=text)
    on_line(f"{name}.py", line_of(source, "inner"), "b", template=text + " {other.__total}")
    on_line(f"{name}.py", line_of(source, "plain"), "c", template="{account.__total} {other.__total}")
    for probe_id in "abc":
        wait_for("installed", probe_id)
    module._Account().total()
    other = module.Outside()
    other.__dict__["__total"] = 5
    module.plain(module._Account(), other)
    told = {event["debugger"]["snapshot"]["probe"]["id"]: event["message"] for event in events()}
    assert (told["a"], told["b"]) == ("3 2 3", "3 2 3 3")
    assert told["c"].endswith(" 5") and "__total" in told["c"]


# ---- threads, coroutines, generators -----------------------------------------------------------------------------


def test_hits_in_threads(started, folder):
    name, source = write(folder, ALL)
    module = importlib.import_module(name)
    on_line(f"{name}.py", line_of(source, "plain"))
    on_method(name, "plain", "method")

    def work():
        for _ in range(50):
            module.plain(1)

    threads = [threading.Thread(target=work, name=f"worker-{at}") for at in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (hits(), hits("method")) == (200, 200)
    assert {event["logger"]["thread_name"].split(";")[0] for event in events()} == {f"worker-{at}" for at in range(4)}


RETURNED = [{"str": ""}, {"dsl": "@return", "json": {"ref": "@return"}}]
DURATION = [{"str": ""}, {"dsl": "@duration", "json": {"ref": "@duration"}}]


def test_a_coroutine_lasts_over_its_suspension(started, folder):
    name, _ = write(
        folder,
        """
        import asyncio
        async def slow(x):
            await asyncio.sleep(0.05)
            return x * 2
        async def main():
            return await asyncio.gather(slow(1), slow(2), slow(3))
    """,
    )
    module = importlib.import_module(name)
    on_method(name, "slow", "return", template="{@return}", segments=RETURNED)
    on_method(name, "slow", "duration", template="{@duration}", segments=DURATION)
    assert asyncio.run(module.main()) == [2, 4, 6]
    seen = [event for event in events()]
    returned = [event["message"] for event in seen if event["debugger"]["snapshot"]["probe"]["id"] == "return"]
    durations = [
        float(event["message"]) for event in seen if event["debugger"]["snapshot"]["probe"]["id"] == "duration"
    ]
    assert sorted(returned) == ["2", "4", "6"]
    assert len(durations) == 3 and all(duration >= 45 for duration in durations), durations


def test_a_method_lasts_as_long_as_the_clock_of_the_program_says(started, folder):
    name, _ = write(
        folder,
        """
        from time import perf_counter_ns
        def busy(nanoseconds):
            began = perf_counter_ns()
            while perf_counter_ns() - began < nanoseconds:
                pass
            return perf_counter_ns() - began
    """,
    )
    module = importlib.import_module(name)
    on_method(name, "busy", "busy", template="", segments=[{"str": ""}])
    bounds = []
    # Short and long ones, before and after the length of a tick is known.
    for nanoseconds in [0, 10_000, 1_000_000, 150_000_000, 0, 10_000, 1_000_000, 50_000_000, 1_300_000_000]:
        began = time.perf_counter_ns()
        least = module.busy(nanoseconds)
        bounds.append((least, time.perf_counter_ns() - began))
    durations = [event["duration"] for event in events()]
    assert len(durations) == len(bounds)
    for duration, (least, most) in zip(durations, bounds, strict=True):
        assert least * (1 - 1e-4) - 200 <= duration <= most * (1 + 1e-4) + 200, (durations, bounds)


def test_each_activation_of_a_recursion_is_a_hit(started, folder):
    name, _ = write(folder, "def down(n):\n    return 0 if n == 0 else 1 + down(n - 1)\n")
    module = importlib.import_module(name)
    on_method(name, "down", template="{@return}", segments=RETURNED)
    module.down(5)
    assert [event["message"] for event in events()] == ["0", "1", "2", "3", "4", "5"]


def test_generators_end_by_exhaustion_or_close(started, folder):
    name, _ = write(
        folder,
        """
        def numbers(n):
            for i in range(n):
                yield i
            return "end"
        def caught():
            try:
                yield 1
            finally:
                done = True
    """,
    )
    module = importlib.import_module(name)
    on_method(name, "numbers", template="{@return}", segments=RETURNED)
    made = module.numbers(3)
    assert events() == []  # the call alone starts nothing
    assert list(made) == [0, 1, 2]
    assert [event["message"] for event in events()] == ["end"]
    # Closed and dropped early, over and over: nothing is left behind, and the next activation is seen whole.
    for _ in range(1_000):
        early = module.numbers(3)
        next(early)
        early.close()
        next(module.numbers(3))
    list(module.numbers(1))
    assert [event["message"] for event in events()][-1] == "end"
    on_line(f"{name}.py", 9, "line")
    waiting = module.caught()
    next(waiting)
    waiting.close()
    assert hits("line") == 1


def test_a_generator_that_is_closed_is_a_hit_or_the_status_says_that_it_is_not(started, folder):
    name, _ = write(folder, "def numbers(n):\n    for i in range(n):\n        yield i\ndef plain():\n    return 1\n")
    module = importlib.import_module(name)
    assert "ends unseen" not in on_method(name, "plain", "plain")["reason"]
    reason = on_method(name, "numbers")["reason"]
    made = module.numbers(3)
    next(made)
    made.close()
    assert hits() == (0 if "ends unseen" in reason else 1)
    next(module.numbers(3))
    assert hits() == (0 if "ends unseen" in reason else 2)


def test_a_suspended_generator_sees_a_probe_that_comes_later(started, folder):
    name, _ = write(folder, "def numbers(n):\n    for i in range(n):\n        yield i\n        n = 0\n")
    module = importlib.import_module(name)
    made = module.numbers(3)
    next(made)
    on_line(f"{name}.py", 4)
    assert list(made) == [1, 2]
    assert hits() == 3


# ---- cost --------------------------------------------------------------------------------------------------------


def test_code_is_looked_for_only_when_the_index_lacks_it(folder):
    def looks():
        return _native._test_hooks()["looks"]

    old, source = write(folder, ALL)
    importlib.import_module(old)
    with session():
        assert looks() == 0
        new, _ = write(folder, ALL)
        importlib.import_module(new)
        on_line(f"{new}.py", line_of(source, "plain"), "new")
        on_method(new, "outer.inner", "new method")
        assert looks() == 0  # seen as it started
        on_line(f"{old}.py", line_of(source, "plain"), "old")
        assert looks() == 1
        on_line(f"{old}.py", line_of(source, "deep"), "old again")
        on_line("no/such/place.py", 1, "missing")
        on_line("no/such/other_place.py", 1, "missing too")
        assert looks() == 1  # one look has seen all files


SWAPPED = """
def a(x):
    y = x + 1  # here
    return y


def b(x):
    return x
"""


def compiled_again(source, text, name):
    """The code of a function as a tool would make it that puts edited source into force."""
    space = {}
    exec(compile(text, str(source), "exec"), space)
    return space[name].__code__


def swapped_module(folder):
    """Its name, the module, its file and its text."""
    name, text = write(folder, SWAPPED)
    return name, importlib.import_module(name), folder / f"{name}.py", text


def test_a_probe_on_a_line_follows_its_function_to_other_code(started, folder):
    _, module, source, text = swapped_module(folder)
    on_line(str(source), line_of(text, "here"), template="y={y} x={x}")
    wait_for("installed")
    module.a.__code__ = compiled_again(source, text.replace("x + 1  #", "x + 100  #"), "a")
    assert module.a(1) == 101
    module.a.__code__ = compiled_again(source, text, "a")
    assert module.a(1) == 2
    assert hits() == 2 and report()["state"] == "emitting"


def test_a_probe_on_a_method_follows_its_function_to_other_code(started, folder):
    name, module, source, text = swapped_module(folder)
    on_method(name, "a")
    wait_for("installed")
    module.a(1)
    module.a.__code__ = compiled_again(source, text, "b")
    module.a(1)
    assert hits() == 2 and report()["state"] == "emitting"
    _native.remove_probe("p")
    module.a(1)
    assert hits() == 2


def test_a_probe_whose_function_got_code_without_its_line_says_so_until_it_is_back(started, folder):
    _, module, source, text = swapped_module(folder)
    on_line(str(source), line_of(text, "here"))
    wait_for("installed")
    before = module.a.__code__
    module.a.__code__ = module.b.__code__
    module.a(1)
    assert hits() == 0
    wait_for("error")
    assert "function `a` got other code" in report()["reason"], report()
    module.a.__code__ = before
    wait_for("installed")
    module.a(1)
    assert hits() == 1


def other_code(function):
    """The function's code with another constant, as tools make it that change code in place."""
    code = function.__code__
    # Since 3.14 a small number stands in the instruction.
    before, after = (bytes([dis.opmap.get("LOAD_SMALL_INT", 0), number]) for number in (1, 100))
    inner = lambda one: one.replace(  # noqa: E731
        co_consts=tuple(map(change, one.co_consts)), co_code=one.co_code.replace(before, after)
    )
    change = lambda one: 100 if one == 1 else inner(one) if isinstance(one, type(code)) else one  # noqa: E731
    return inner(code)


def test_a_probe_that_comes_after_its_function_got_other_code_is_in_that(started, folder):
    name, module, source, text = swapped_module(folder)
    on_line(str(source), line_of(text, "here"), "first")
    wait_for("installed", "first")
    module.a.__code__ = other_code(module.a)
    assert module.a(1) == 101
    on_line(str(source), line_of(text, "here"), "line")
    on_method(name, "a", "method")
    on_line(str(source), line_of(text, "here"), "first", version=1)
    for probe in ("line", "method", "first"):
        wait_for("installed", probe)
    module.a(1)
    assert [hits("first"), hits("line"), hits("method")] == [2, 1, 1]


@pytest.mark.parametrize("sampled", [False, True])
def test_other_code_is_noted_before_there_is_any_probe(started, folder, sampled):
    name, module, source, text = swapped_module(folder)
    if sampled:
        module.a.__code__ = compiled_again(source, text.replace("# here", "# here\n    y += 0"), "a")
    module.b.__code__ = compiled_again(source, text, "a")
    on_line(str(source), line_of(text, "here"))
    on_method(name, "b", "b")
    wait_for("installed")
    wait_for("installed", "b")
    module.b(1)
    module.a(1)
    assert hits() == 2 and hits("b") == 1


def test_other_code_from_another_file_is_found_by_the_name_that_leads_to_it(started, folder):
    name, module, _, _ = swapped_module(folder)
    module.a.__code__ = compiled_again(folder / "elsewhere.py", SWAPPED, "b")
    on_method(name, "a")
    wait_for("installed")
    module.a(1)
    assert hits() == 1


def test_a_status_is_no_error_any_more_once_the_function_has_its_own_code_again(started, folder):
    _, module, source, text = swapped_module(folder)
    on_line(str(source), line_of(text, "here"))
    wait_for("installed")
    before = module.a.__code__
    module.a.__code__ = compiled_again(folder / "elsewhere.py", text, "a")
    module.a(1)
    wait_for("error")
    module.a.__code__ = before
    wait_for("installed")
    module.a(1)
    assert hits() == 1 and report()["state"] == "emitting"


def test_a_probe_on_lines_of_two_functions_follows_the_one_that_got_other_code(started, folder):
    _, module, source, text = swapped_module(folder)
    here = line_of(text, "here")
    add("p", where={"sourceFile": str(source), "lines": [str(here), str(here + 5)]}, template="hit")
    wait_for("installed")
    module.a.__code__ = other_code(module.a)
    module.a(1)
    module.b(1)
    assert hits() == 2 and report()["lines"] == [here, here + 5], report()


NESTED = """
def outer():
    def inner(k):
        y = k + 1  # here
        return y
    return inner
"""


@pytest.mark.parametrize("edited", [False, True])
def test_probes_follow_the_functions_inside_one_that_gets_other_code(started, folder, edited):
    name, text = write(folder, NESTED)
    module = importlib.import_module(name)
    source = folder / f"{name}.py"
    on_line(str(source), line_of(text, "here"), "line")
    on_method(name, "outer.inner", "method")
    wait_for("installed", "line")
    wait_for("installed", "method")
    module.outer.__code__ = (
        compiled_again(source, text.replace("+ 1", "+ 100"), "outer") if edited else other_code(module.outer)
    )
    assert module.outer()(1) == 101
    assert (hits("line"), hits("method")) == (1, 1)


def test_a_method_that_is_not_in_the_code_around_it_any_more_says_so(started, folder):
    name, text = write(folder, NESTED)
    module = importlib.import_module(name)
    on_method(name, "outer.inner")
    wait_for("installed")
    inner = module.outer()
    before = module.outer.__code__
    module.outer.__code__ = compiled_again(folder / f"{name}.py", text.replace("inner", "other"), "outer")
    assert "`outer.<locals>.inner` is not in it" in wait_for("error")["reason"]
    inner(1)
    assert hits() == 1
    module.outer.__code__ = before
    wait_for("installed")


@pytest.mark.parametrize("makes", ["exec", "run_path", "reload"])
def test_copies_that_are_thrown_away_push_out_none_that_is_in_use(started, folder, makes):
    name, text = write(folder, SWAPPED)
    module = importlib.import_module(name)
    source = folder / f"{name}.py"
    first = module.a
    for _ in range(50):
        if makes == "exec":
            exec(compile(text, str(source), "exec"), {})
        elif makes == "run_path":
            runpy.run_path(str(source))
        else:
            importlib.reload(module)
    on_line(str(source), line_of(text, "here"), "line")
    on_method(name, "a", "method")
    wait_for("installed", "line")
    wait_for("installed", "method")
    first(1)
    importlib.import_module(name).a(1)
    assert (hits("line"), hits("method")) == (2, 2)


def test_code_that_nobody_uses_any_more_is_let_go_though_probes_were_in_it(started, folder):
    name, text = write(folder, SWAPPED)
    source = folder / f"{name}.py"
    on_line(str(source), line_of(text, "here"), "line")
    on_method(name, "a", "method")
    module = importlib.import_module(name)
    gone = []
    for _ in range(200):
        space = {"__name__": name}
        exec(compile(text, str(source), "exec"), space)
        gone.append(weakref.ref(space["a"].__code__))
        space["a"](1)
        space.clear()
    gc.collect()
    assert sum(one() is not None for one in gone) < 40
    module.a(1)
    assert (hits("line"), hits("method")) == (201, 201)


def test_a_file_that_was_edited_and_loaded_again_is_probed_in_both_its_copies(started, folder):
    name, text = write(folder, SWAPPED)
    module = importlib.import_module(name)
    before = module.a
    source = folder / f"{name}.py"
    source.write_text(text.replace("    return y", "    y += 0\n    return y"))
    importlib.reload(module)
    on_line(str(source), line_of(text, "here"))
    wait_for("installed")
    assert module.a is not before
    module.a(1)
    before(1)
    assert hits() == 2


def test_a_probe_says_that_it_is_not_in_all_copies(started, folder):
    name, text = write(folder, SWAPPED)
    source = folder / f"{name}.py"
    code = compile(text, str(source), "exec")
    kept = [code]
    kept += [compile(text, str(source), "exec") for _ in range(1_010)]
    for one in kept:
        exec(one, {})
    on_line(str(source), line_of(text, "here"))
    reason = wait_for("installed")["reason"]
    assert "more copies of this code are in use than a probe can be in: it is in 1000 of them" in reason


def test_a_file_imported_under_two_names_is_probed_in_both_whenever_the_probe_comes(started, folder):
    name, text = write(folder, SWAPPED)
    link = folder / f"link_of_{name}.py"
    link.symlink_to(f"{name}.py")
    files = {"own": folder / f"{name}.py", "link": link}
    line = line_of(text, "here")
    for probe, file in files.items():
        on_line(str(file), line, f"early {probe}")
    one, other = importlib.import_module(name), importlib.import_module(link.stem)
    for probe, file in files.items():
        wait_for("installed", f"early {probe}")
        on_line(str(file), line, f"late {probe}")
        wait_for("installed", f"late {probe}")
    one.a(1)
    other.a(1)
    assert {probe: hits(probe) for probe in ("early own", "early link", "late own", "late link")} == {
        "early own": 2,
        "early link": 2,
        "late own": 2,
        "late link": 2,
    }


def by_value(source, text, name):
    """A function as it comes from another process: its code was never run by its file."""
    code = marshal.dumps(next(one for one in compile(text, str(source), "exec").co_consts if hasattr(one, "co_code")))
    return types.FunctionType(marshal.loads(code), {"__name__": name, "__builtins__": __builtins__})


@pytest.mark.parametrize("early", [True, False])
def test_functions_that_come_by_value_are_probed_though_their_file_never_ran(started, folder, early):
    name, text = write(folder, SWAPPED)
    source = folder / f"{name}.py"

    def probes():
        on_line(str(source), line_of(text, "here"), "line")
        on_method(name, "a", "method")
        on_line(str(source), line_of(text, "here") + 5, "b")
        on_method(name, "b", "method b")

    if early:
        probes()
        wait_for("waiting", "line")
        wait_for("waiting", "method")
        function = by_value(source, text, name)
    else:
        function = by_value(source, text, name)
        probes()
    wait_for("installed", "line")
    wait_for("installed", "method")
    function(1)
    by_value(source, text, name)(1)
    assert (hits("line"), hits("method")) == (2, 2)
    # What did not come may still do, in its file too.
    for probe in ("b", "method b"):
        assert "is not imported" in wait_for("waiting", probe)["reason"]
    importlib.import_module(name).b(1)
    assert (hits("b"), hits("method b")) == (1, 1)


def test_a_function_made_of_known_code_is_no_news(started, folder):
    _, module, source, text = swapped_module(folder)
    on_line(str(source), line_of(text, "here"))
    wait_for("installed")
    same = types.FunctionType(module.a.__code__, vars(module))
    same(1)
    with pytest.raises(TypeError):
        types.FunctionType()
    assert hits() == 1


def test_a_name_that_leads_to_a_function_of_another_module_says_so(started, folder):
    name, module, _, _ = swapped_module(folder)
    module.a = on_line
    on_method(name, "a")
    reason = wait_for("installed")["reason"]
    assert f"leads to function `on_line` of module `{__name__}` now" in reason


def test_what_wraps_a_function_leads_to_it(started, folder):
    name, module, _, _ = swapped_module(folder)
    own = module.a

    def wrapper(*args):
        return own(*args)

    module.a = functools.partial(wrapper)
    on_method(name, "a")
    assert "leads to" not in wait_for("installed")["reason"]


def test_a_session_ends_in_order_though_another_tool_gave_all_ids_back(folder):
    with session():
        _, module, source, text = swapped_module(folder)
        on_line(str(source), line_of(text, "here"))
        wait_for("installed")
        module.a(1)
        assert hits() == 1
        for one in range(6):
            sys.monitoring.free_tool_id(one)


def test_a_module_that_is_named_as_a_path_or_in_the_method_is_told_by_its_name(started, folder):
    name, _ = write(folder, SWAPPED)
    package = folder / f"pack_{name}"
    package.mkdir()
    (package / "util.py").write_text(SWAPPED)
    importlib.import_module(f"pack_{name}.util")
    for probe, module in {"p": f"pack_{name}/util", "q": f"pack_{name}/util.py"}.items():
        on_method(module, "a", probe)
        assert f"is a path, and modules have names with dots; nearest: pack_{name}.util" in report(probe)["reason"]
    on_method(f"pack_{name}", "util.a", "r")
    assert f"nearest: pack_{name}.util:a" in wait_for("error", "r")["reason"]
