"""Modules of the program's that are called as those of the standard library: it gets them, as without us."""

import array
import decimal
import enum
import importlib.util
import json
import opcode
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from processes import events, message, plain, preload, strobe, write

from stroboscope import _native

own = [
    *("_datetime", "_decimal", "_json", "_opcode", "argparse", "array", "collections", "contextlib", "copyreg"),
    *("dataclasses", "datetime", "decimal", "enum", "fractions", "functools", "heapq", "importlib", "inspect", "json"),
    *("keyword", "linecache", "logging", "math", "numbers", "opcode", "operator", "pathlib", "re", "reprlib", "select"),
    *("shutil", "signal", "socket", "string", "struct", "threading", "tokenize", "traceback", "types", "typing"),
    *("unicodedata", "uuid", "warnings", "weakref", "__future__", "_opcode_metadata"),
]

imports_its_own = """
    import os, sys

    def is_own(name):
        return getattr(__import__(name), "own", False)

    found = [name for name in NAMES if not is_own(name)]
    print(sys.argv[1], found, flush=True)
    if sys.argv[1] != "below":
        child = os.fork()
        if not child:
            is_own("json")
            print("forked", found, flush=True)
            os._exit(0)
        os.waitpid(child, 0)
        os.spawnv(os.P_WAIT, sys.executable, [sys.executable, __file__, "below"])
"""

ways = {
    "command": {},
    "preload": {"PYTHONPATH": preload, "DD_DYNAMIC_INSTRUMENTATION_ENABLED": "true"},
    "not switched on": {"PYTHONPATH": preload, "DD_DYNAMIC_INSTRUMENTATION_ENABLED": "maybe"},
}


def run_in(way: str, folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    if way == "command":
        return strobe(folder, "--method", "__main__:is_own", "--log", "asks for {name}", "--", *command)
    return plain(folder, sys.executable, *command, **ways[way])


@pytest.mark.parametrize("way", ways)
def test_the_program_gets_its_own_modules(tmp_path: Path, way: str) -> None:
    for name in own:
        write(tmp_path, f"program/{name}.py", "own = True\n")
    script = str(write(tmp_path, "program/main.py", imports_its_own.replace("NAMES", repr(own))))
    expected = "first []\nforked []\nbelow []\n"
    assert plain(tmp_path, sys.executable, script, "first").stdout == expected
    result = run_in(way, tmp_path, script, "first")
    assert result.stdout == expected, result.stderr
    assert "Traceback" not in result.stderr
    assert "Warning" not in result.stderr
    if way == "command":
        assert result.stderr.count("asks for json") == 3
        assert f"{2 * len(own) + 1:,} hits" in result.stderr


def test_the_command_starts_in_a_folder_with_modules_of_any_name(tmp_path: Path) -> None:
    # Python itself imports these as it comes to the module behind -m.
    names = [name for name in own if name not in ("importlib", "threading", "types", "warnings")]
    for name in names:
        write(tmp_path, f"{name}.py", "own = True\n")
    write(tmp_path, "main.py", imports_its_own.replace("NAMES", repr(names)))
    for path in ("", str(tmp_path)):
        options = ["--method", "__main__:is_own", "--log", "asks for {name}"]
        result = strobe(tmp_path, *options, "--", "main.py", "first", PYTHONPATH=path)
        assert result.stdout == "first []\nforked []\nbelow []\n", result.stderr
        assert result.stderr.count("asks for json") == 3


@pytest.mark.parametrize("way", ways)
def test_no_module_is_there_that_would_not_be(tmp_path: Path, way: str) -> None:
    write(
        tmp_path,
        "main.py",
        """
        import sys

        def is_own(name):
            return name

        is_own("it")
        from _imp import is_frozen
        ours = {name for name in sys.modules if name.partition(".")[0] == "stroboscope"}
        print(sorted(name for name in set(sys.modules) - ours - {*sys.builtin_module_names} if not is_frozen(name)))
        """,
    )
    assert run_in(way, tmp_path, "main.py").stdout == plain(tmp_path, sys.executable, "main.py").stdout


def test_a_program_that_starts_a_session_keeps_its_own_modules(tmp_path: Path) -> None:
    for name in own:
        write(tmp_path, f"{name}.py", "print('runs')\nown = True\n")
    write(
        tmp_path,
        "main.py",
        """
        import sys
        before = set(sys.modules)
        import _collections
        import stroboscope

        def work(it, first):
            return it

        stroboscope.start(ndjson="out.ndjson")
        where = {"typeName": "__main__", "methodName": "work"}
        text = 'a "quoted" \\\\ line\\n \\u4e16\\U0001f600 {it} {ﬁrst}'
        stroboscope.add_probe({"id": "p", "type": "LOG_PROBE", "where": where, "template": text})
        work(_collections.deque([1, 2]), 3)
        stroboscope.stop()
        added = set(sys.modules) - before - {*sys.builtin_module_names}
        print(sorted(name for name in added if name.partition(".")[0] != "stroboscope"))
        import array, json
        print(array.own, json.own)
        """,
    )
    result = plain(tmp_path, sys.executable, "main.py")
    assert (result.stdout, result.stderr) == ("[]\nruns\nruns\nTrue True\n", "")
    (event,) = events((tmp_path / "out.ndjson").read_text())
    assert message(event) == 'a "quoted" \\ line\n \u4e16\U0001f600 [1, 2] 3'


def test_a_module_of_the_programs_takes_no_log_lines(tmp_path: Path) -> None:
    write(tmp_path, "logging.py", "def getLogger(*name):\n    print('called', name)\n")
    write(
        tmp_path,
        "main.py",
        """
        import logging
        import stroboscope
        stroboscope.start(ndjson="out.ndjson", upload_timeout="nonsense")
        stroboscope.flush()
        stroboscope.stop()
        print("runs")
        """,
    )
    result = plain(tmp_path, sys.executable, "main.py")
    assert (result.stdout, result.stderr) == ("runs\n", "")


def test_a_look_at_a_decimal_settles_no_context(tmp_path: Path) -> None:
    write(
        tmp_path,
        "main.py",
        """
        import decimal, threading
        number = decimal.Decimal("1.5")

        def work(number):
            return number

        def other():
            work(number)
            decimal.DefaultContext.prec = 5
            print(decimal.Decimal(1) / 3)

        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        """,
    )
    result = strobe(tmp_path, "--method", "__main__:work", "--log", "it is {number}", "--", "main.py")
    assert result.stdout == "0.33333\n"
    assert "it is 1.5" in result.stderr


def test_the_first_decimal_of_a_program_is_rounded_as_it_says(tmp_path: Path) -> None:
    write(tmp_path, "main.py", "import decimal\ndecimal.DefaultContext.prec = 5\nprint(decimal.Decimal(1) / 3)\n")
    assert run_in("command", tmp_path, "main.py").stdout == "0.33333\n"


def again(name: str) -> ModuleType:
    """A second copy of a module."""
    spec = importlib.util.find_spec(name)
    assert spec
    assert spec.loader
    before = sys.modules[name]
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    finally:
        sys.modules[name] = before
    return module


def test_classes_of_a_second_copy_are_known() -> None:
    import _decimal

    for Array in (array.array, again("array").array):
        seen = _native._test_view(Array("h", [1, -2, 3]))
        assert [element["value"] for element in seen["elements"]] == [1, -2, 3]
        below = type("Below", (Array,), {})
        assert _native._test_view(below("d", [0.5]))["elements"][0]["value"] == 0.5
    for Decimal in (decimal.Decimal, _decimal.Decimal, again("_decimal").Decimal):
        assert _native._test_view(Decimal("-1.25"))["words"] == [125]
        assert _native._test_view(type("Below", (Decimal,), {})("2"))["words"] == [2]
    other = again("enum")
    assert other.EnumType is not enum.EnumType
    for Enum in (enum.Enum, other.Enum):
        assert _native._test_view(Enum("Colour", "RED").RED)["kind"] == "enum"


@pytest.mark.parametrize("name", ["array.array", "decimal.Decimal", "datetime.datetime", "datetime.timezone"])
def test_a_class_of_the_programs_is_its_own_whatever_it_is_called(name: str) -> None:
    class Own:
        def __init__(self) -> None:
            self.field = 1

    module, _, bare = name.rpartition(".")
    for made in (type(name, (Own,), {}), type(bare, (Own,), {"__module__": module, "__qualname__": bare})):
        seen = _native._test_view(made())
        assert seen["kind"] == "object"
        assert seen["fields"]["field"]["value"] == 1


def test_members_of_an_enumeration_without_names_are_objects() -> None:
    meta: Any = type("EnumType", (type,), {"__module__": "enum"})
    made = meta("Colour", (), {})()
    made.field = 1
    assert _native._test_view(made)["kind"] == "object"


def test_opcodes_are_those_of_the_module() -> None:
    found = _native._test_opcodes()
    assert {name: number for name, (number, _) in found.items()} == {
        name: number for name, number in opcode.opmap.items() if number < 256
    }
    # The argument of END_ASYNC_FOR says where the loop awaits.
    jumps = {opcode.opname[number] for number in opcode.hasjrel if number < 256} - {"END_ASYNC_FOR"}
    assert {name for name, (_, jumps) in found.items() if jumps} == jumps


def test_a_definition_says_what_json_would_make_of_it() -> None:
    from stroboscope import _json

    class Text(str):
        __slots__ = ()

    level = enum.IntEnum("Level", "LOW")
    mode = enum.StrEnum("Mode", "FAST")
    values = [
        *("", "plain", 'a "b" \\ /', "\x00\x1f\x7f\x80\u2028\ud800\udfff\U0001f600", Text("é"), mode.FAST),
        *(0, -(10**40), True, None, 1.5, 1e300, -0.0, level.LOW, [], {}, (), [[], {}], (1, (2,))),
        *({"a": [1, {"b": None}], "": 2}, {1: 2, None: 3, False: 4, 1.5: 5, "é": 6}),
    ]
    for value in values:
        assert json.loads(_json(value)) == json.loads(json.dumps(value))
    assert json.loads(_json(float("nan"))) == "\ud800nan", "no text that JSON has, so that its field refuses it"
    with pytest.raises(TypeError, match="set is not JSON serializable"):
        _json({"a": {1}})
