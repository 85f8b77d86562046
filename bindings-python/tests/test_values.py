"""What the core sees of real Python objects, and that looking runs nothing of the program."""

import array
import collections
import csv
import datetime
import decimal
import enum
import fractions
import functools
import io
import itertools
import json
import pathlib
import sys
import types
import unittest.mock
import uuid

import pytest

from stroboscope import _native

view = _native._test_view
member = _native._test_member


def kind(value):
    return view(value)["kind"]


class Colour(enum.Enum):
    RED = 1


class Level(enum.IntEnum):
    LOW = 1


Point = collections.namedtuple("Point", "x y")


class Slotted:
    __slots__ = ("a", "b")


class SlottedChild(Slotted):
    __slots__ = ("c",)


class Both(Slotted):
    def __init__(self):
        self.own = 1
        self.a = 2


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "null"),
        (True, "bool"),
        (7, "int"),
        (Level.LOW, "int"),
        (1 << 70, "big"),
        (1.5, "float"),
        (1j, "complex"),
        (decimal.Decimal("1.10"), "decimal"),
        ("x", "str"),
        (b"x", "bytes"),
        (bytearray(b"x"), "bytes"),
        (memoryview(b"x"), "bytes"),
        ([1], "list"),
        ((1,), "list"),
        (collections.deque([1]), "list"),
        (range(3), "list"),
        (array.array("d", [1.0]), "list"),
        ({}.keys(), "list"),
        ({}.values(), "list"),
        (collections.OrderedDict().keys(), "list"),
        (collections.OrderedDict().values(), "list"),
        ({}.items(), "map"),
        (collections.OrderedDict().items(), "map"),
        ({1}, "set"),
        (frozenset(), "set"),
        ({}, "map"),
        (types.MappingProxyType({}), "map"),
        (collections.OrderedDict(), "map"),
        (collections.defaultdict(int), "map"),
        (collections.Counter("a"), "map"),
        (Point(1, 2), "named"),
        (Colour.RED, "enum"),
        (ValueError("x"), "exception"),
        (len, "function"),
        (kind, "function"),
        (int, "function"),
        (sys, "function"),
        ([].append, "function"),
        (Slotted, "function"),
        (iter([]), "iterator"),
        ((x for x in []), "iterator"),
        (open(__file__), "iterator"),  # noqa: SIM115
        (zip(), "iterator"),
        (Slotted(), "object"),
        (object(), "object"),
        (datetime.date(2024, 2, 3), "scalar"),
        (uuid.uuid4(), "scalar"),
        (pathlib.Path("a"), "scalar"),
        (fractions.Fraction(1, 3), "scalar"),
    ],
)
def test_kinds(value, expected):
    assert kind(value) == expected


@pytest.mark.parametrize("number", [0, 1, -1, 2**30 - 1, 2**30, -(2**30), 2**60, 2**63 - 1, -(2**63)])
def test_integers_of_64_bits_are_exact(number):
    assert view(number)["value"] == number


@pytest.mark.parametrize("number", [2**63, -(2**63) - 1, 10**400, -(10**5000)], ids=["above", "below", "400", "5000"])
def test_larger_integers_come_as_digits(number):
    seen = view(number)
    assert seen["kind"] == "big"
    total = sum(digit << (seen["bits"] * place) for place, digit in enumerate(seen["digits"]))
    assert (-total if seen["negative"] else total) == number


@pytest.mark.parametrize("text", ["", "abc", "h\xe9", "\u4e16", "\U0001f600x", "\ud800", "a\0b", "x" * 100_000])
def test_text_of_every_storage(text):
    seen = view(text)
    assert seen["len"] == len(text)
    assert seen["value"] == "".join("\ufffd" if 0xD800 <= ord(c) < 0xE000 else c for c in text)


@pytest.mark.parametrize("text", ["0", "-0", "1.10", "-12345678901234567890123.45", "1E+30", "1E-400", "123E999999"])
def test_decimals(text):
    seen, (sign, digits, exponent) = view(decimal.Decimal(text)), decimal.Decimal(text).as_tuple()
    coefficient = sum(word * 10 ** (19 * place) for place, word in enumerate(seen["words"]))
    assert (seen["negative"], coefficient, seen["exponent"]) == (bool(sign), int("".join(map(str, digits))), exponent)


def test_decimals_that_are_no_numbers_are_floats_to_expressions_and_decimals_to_people():
    assert view(decimal.Decimal("-Infinity"))["value"] == float("-inf")
    assert view(decimal.Decimal("NaN"))["value"] != view(decimal.Decimal("sNaN"))["value"]
    for text in ("NaN", "-NaN", "sNaN", "NaN123", "Infinity", "-Infinity"):
        value = decimal.Decimal(text)
        assert captured(value) == {"type": "Decimal", "value": repr(value)}
    assert captured(decimal.Decimal("1.10")) == {"type": "Decimal", "value": "Decimal('1.10')"}


def captured(value, rules=((), (), ())):
    event = json.loads(_native._test_event({"v": value}, None, (3, 100, 255, 20), rules))
    return event["debugger"]["snapshot"]["captures"]["lines"]["1"]["arguments"]["v"]


def test_views_of_a_dictionary_that_keeps_its_own_order():
    ordered = collections.OrderedDict(b=1, a=2)
    ordered.move_to_end("b")
    for of in (ordered, dict(ordered)):
        assert values(view(of.keys())) == ["a", "b"]
        assert values(view(of.values())) == [2, 1]
        assert keys(view(of.items())) == ["a", "b"]
        assert captured(of.items())["size"] == 2
    assert captured({"password": "x"}.items())["entries"][0][1]["notCapturedReason"] == "redactedIdent"


def test_a_window_on_a_redacted_dictionary_is_redacted():
    class Vault(dict):
        pass

    held = Vault(a="s3cr3t")
    for window in (held, types.MappingProxyType(held), held.keys(), held.values(), held.items()):
        assert captured(window, ((), (), ("Vault",)))["notCapturedReason"] == "redactedType"
        assert captured(window).get("notCapturedReason") is None


def test_instances_of_the_programs_classes_show_their_fields_whatever_they_inherit():
    class Rows:
        def __init__(self):
            self.table = "orders"

        def _step(self, _):
            raise StopIteration

        __next__ = functools.partialmethod(_step, 1)

    def made(base, *args):
        thing = type("Made", (base,), {})(*args)
        thing.table = "orders"
        return thing

    things = [Rows(), made(io.StringIO), made(map, str, []), made(io.FileIO, __file__), made(zip)]
    for thing in [*things, unittest.mock.MagicMock(table="orders"), unittest.mock.AsyncMock(table="orders")]:
        seen = view(thing, 1)
        assert (seen["kind"], seen["fields"]["table"]["value"]) == ("object", "orders"), thing
        assert member(thing, "table")["value"] == "orders"
    things[3].close()
    with open(__file__, "rb") as file:
        assert kind(file) == "iterator"
    assert kind(csv.reader([])) == "iterator"


def test_attributes_whose_names_are_no_text_are_marked():
    thing = types.SimpleNamespace(a=1)
    vars(thing)[3] = "x"
    assert captured(thing)["fields"] == {
        "a": {"type": "int", "value": "1"},
        "?": {"notCapturedReason": "attributes whose names are no text"},
    }


def test_memory_of_any_format_is_bytes_and_what_is_not_one_piece_is_marked():
    data = bytes(range(8))
    released = memoryview(data)
    released.release()
    for memory in (memoryview(data), memoryview(data).cast("I"), memoryview(data).cast("B", (2, 4))):
        assert view(memory)["value"] == data
        assert captured(memory) == {"type": "memoryview", "value": repr(data)}
    assert captured(memoryview(data)[2:5])["value"] == repr(data[2:5])
    for memory in (memoryview(data)[::2], memoryview(data)[::-1], released):
        (field,) = captured(memory)["fields"].items()
        assert field[0] == "?" and "not one piece" in field[1]["notCapturedReason"]


def test_names_that_are_cut_end_with_dots():
    function = lambda: None  # noqa: E731
    function.__qualname__ = "f" * 5000
    assert captured(function)["value"] == "f" * 4093 + "\u2026"
    thing = types.SimpleNamespace(**{"n" * 600: 1, "m" * 512: 2})
    assert list(captured(thing)["fields"]) == ["n" * 509 + "\u2026", "m" * 512]
    assert captured(type("C" * 600, (), {})())["type"] == "C" * 509 + "\u2026"


def values(seen):
    return [element["value"] for element in seen["elements"]]


def test_sequences_and_sets_show_their_elements_in_order():
    deque = collections.deque(range(300))
    deque.rotate(100)
    deque.popleft()
    assert values(view(deque)) == list(deque)
    assert values(view(range(5, -20, -3))) == list(range(5, -20, -3))
    assert values(view({3, 1, 2})) == list({3, 1, 2})
    assert values(view({"a": 1, "b": 2}.values())) == [1, 2]
    for code in "bBhHiIlLqQfd":
        numbers = array.array(code, [0, 1, 100])
        assert values(view(numbers)) == list(numbers)
    assert values(view(array.array("w" if sys.version_info >= (3, 13) else "u", "h\u4e16"))) == ["h", "\u4e16"]
    wide = view(array.array("Q", [2**64 - 1]))["elements"][0]
    assert (wide["kind"], wide["digits"], wide["bits"]) == ("big", [2**32 - 1] * 2, 32)


def test_a_set_with_removed_members():
    numbers = set(range(100))
    for number in range(0, 100, 3):
        numbers.discard(number)
    assert values(view(numbers)) == list(numbers)


def keys(seen):
    return [key["value"] for key, _ in seen["entries"]]


def test_an_ordered_dict_keeps_its_own_order():
    ordered = collections.OrderedDict((number, number) for number in range(50))
    ordered.move_to_end(3)
    ordered.move_to_end(40, last=False)
    del ordered[7]
    assert keys(view(ordered)) == list(ordered)


def test_maps_find_string_keys_without_the_programs_eq():
    class Evil:
        def __hash__(self):
            return hash("x")

        def __eq__(self, other):
            raise AssertionError("ran")

    assert _native._test_lookup({"x": 5}, "x")["value"] == 5
    assert _native._test_lookup({"x": 5}, "y") == "absent"
    assert _native._test_lookup({"h\xe9": 1, "\u4e16": 2}, "\u4e16")["value"] == 2
    assert _native._test_lookup({Evil(): 1}, "x") is None
    many = {f"k{number}": number for number in range(100_000)}
    assert all(_native._test_lookup(many, f"k{number}")["value"] == number for number in (0, 99_999, 5_000))


def test_instances_show_fields_in_the_order_they_were_set():
    class Thing:
        def __init__(self, swapped):
            if swapped:
                self.b, self.a = 1, 2
            else:
                self.a, self.b = 2, 1

    assert list(view(Thing(False))["fields"]) == ["a", "b"]
    assert list(view(Thing(True))["fields"]) == ["b", "a"]
    thing = Thing(False)
    del thing.a
    thing.c = 3
    assert list(view(thing)["fields"]) == ["b", "c"]


def test_looking_makes_no_dictionary():
    class Thing:
        def __init__(self):
            self.a = 1

    thing = Thing()
    before = sys.getsizeof(thing)
    assert view(thing)["fields"]["a"]["value"] == 1
    assert sys.getsizeof(thing) == before
    import gc

    assert not any(isinstance(held, dict) for held in gc.get_referents(thing))


def test_slots():
    child = SlottedChild()
    child.a, child.c = 1, 3
    assert {name: field["value"] for name, field in view(child)["fields"].items()} == {"a": 1, "c": 3}
    assert set(view(Both())["fields"]) == {"own", "a"}
    assert member(child, "b") == "absent"
    assert member(child, "a")["value"] == 1


class Dunder:
    __slots__ = ("__dict__", "__odd__", "__weakref__", "plain")


def test_slots_are_shown_whatever_they_are_called():
    value = Dunder()
    value.__odd__, value.plain, value.own = {"password": "s3cr3t"}, 2, 3
    assert list(view(value)["fields"]) == ["own", "__odd__", "plain"]
    assert "s3cr3t" not in json.dumps(captured(value))
    # What C adds to its own classes is not the program's.
    assert not any(name.startswith("__") for name in view(functools.partial(print))["fields"])


def test_a_class_without_a_name_has_that_of_its_ancestor():
    assert captured(type("", (), {})()) == {"type": "object", "fields": {}}
    assert captured(type("", (Dunder,), {})()) == {"type": "Dunder", "fields": {}}


def test_a_named_tuple_with_more_elements_than_names_says_so():
    pair = collections.namedtuple("Pair", "a b")
    long = captured(tuple.__new__(pair, (1, 2, 3)))
    assert list(long["fields"]) == ["a", "b", "?"]
    assert "more elements than names" in json.dumps(long["fields"]["?"])
    assert list(captured(tuple.__new__(pair, (1,)))["fields"]) == ["a"]


class Outer:
    class Card:
        pass


@pytest.mark.parametrize("name", ["Outer.Card", "Card", f"{__name__}.Outer.Card", "object", "builtins.object"])
def test_instanceof_knows_the_type_as_it_is_shown(name):
    card = Outer.Card()
    assert captured(card)["type"] == "Outer.Card"
    for expression, expected in ((f'v instanceof "{name}"', True), (f'v instanceof "x{name}"', False)):
        assert _native._test_evaluate("eval", {"v": card}, None, expression, None)[1] is expected
    assert captured(card, ((), (), (name,)))["notCapturedReason"] == "redactedType"


def test_members():
    class Thing:
        shared = 5

        def __init__(self):
            self.own = 1

        @property
        def computed(self):
            raise AssertionError("ran")

        def method(self):
            raise AssertionError("ran")

    thing = Thing()
    assert member(thing, "own")["value"] == 1
    assert member(thing, "shared")["value"] == 5
    assert member(thing, "computed") == "computed"
    assert member(thing, "method") == "computed"
    assert member(thing, "nothing") == "absent"
    assert member(Point(1, 2), "y")["value"] == 2
    assert member(Colour.RED, "name")["value"] == "RED"
    assert member(Colour.RED, "value")["value"] == 1
    assert member(fractions.Fraction(3, 4), "denominator")["value"] == 4
    assert member(KeyError("k"), "args")["len"] == 1
    assert member(OSError(2, "gone"), "errno")["value"] == 2
    assert member(sys, "maxsize")["value"] == sys.maxsize
    assert member(Thing, "shared")["value"] == 5
    assert member(1j + 2, "imag")["value"] == 1.0


def test_a_recycled_class_address_never_shows_an_old_name():
    for round in range(3000):
        made = type(f"Made{round}", (), {"__slots__": (f"s{round}",)})
        instance = made()
        setattr(instance, f"s{round}", round)
        seen = view(instance)
        assert seen["type"] == f"Made{round}"
        assert list(seen["fields"]) == [f"s{round}"]
        del made, instance


def test_a_class_that_changes_is_seen_changed():
    class Thing:
        pass

    thing = Thing()
    assert member(thing, "late") == "absent"
    Thing.late = 4
    assert member(thing, "late")["value"] == 4
    Thing.late = property(lambda self: 1 / 0)
    assert member(thing, "late") == "computed"


def test_exceptions():
    error = ValueError("broken", 3)
    error.extra = 5
    seen = view(error)
    assert seen["message"]["value"] == "broken"
    assert list(seen["fields"]) == ["extra", "args", "__cause__", "__context__", "__suppress_context__"]
    assert view(OSError(2, "gone"))["message"]["value"] == "[Errno 2] gone"
    assert view(ValueError())["message"] is None


class Named:
    name = "n"


class Moment(datetime.datetime):
    year = property(lambda self: 1 / 0)
    above = classmethod(lambda cls, *parts: type("Later", (cls,), {})(*parts))


def test_labels():
    utc = datetime.UTC
    india = datetime.timezone(datetime.timedelta(hours=5, minutes=30))

    class Zone(datetime.tzinfo):
        def utcoffset(self, when):
            raise AssertionError("ran")

    def label(value):
        return view(value)["label"]

    assert label(datetime.datetime(2024, 2, 3, 4, 5, 6, 70)) == "2024-02-03T04:05:06.000070"
    assert label(datetime.datetime(2024, 2, 3, tzinfo=utc)) == "2024-02-03T00:00:00+00:00"
    assert label(datetime.datetime(2024, 2, 3, tzinfo=india)) == "2024-02-03T00:00:00+05:30"
    assert label(datetime.datetime(2024, 2, 3, tzinfo=Zone())) == "2024-02-03T00:00:00"
    assert label(datetime.date(1, 2, 3)) == "0001-02-03"
    assert label(datetime.time(1, 2, 3)) == "01:02:03"
    assert label(datetime.timedelta(days=1, microseconds=5)) == "86400.000005s"
    assert label(datetime.timedelta(seconds=-1.5)) == "-1.5s"
    assert label(datetime.timedelta.max) == "86399999999999.999999s"
    assert label(datetime.timedelta.min) == "-86399999913600s"
    assert label(Moment(2024, 2, 3, 4, tzinfo=utc)) == "2024-02-03T04:00:00+00:00"
    assert label(Moment.above(2024, 2, 3)) == "2024-02-03T00:00:00"
    assert label(type("Day", (Named, datetime.date), {})(2024, 2, 3)) == "2024-02-03"
    assert label(type("Hour", (datetime.time,), {})(1, 2)) == "01:02:00"
    assert label(type("Span", (datetime.timedelta,), {})(2)) == "172800s"
    # As classes of C are called, which may keep their content elsewhere.
    assert view(type("c.Span", (datetime.timedelta,), {})(2))["kind"] == "object"
    some = uuid.uuid4()
    assert label(some) == str(some)
    assert label(uuid.UUID(int=2**128 - 1)) == "ffffffff-ffff-ffff-ffff-ffffffffffff"
    assert label(fractions.Fraction(3, 4)) == "3/4"
    for text in ["a/b", "/a//b/./c", ".", "/", "a/.."]:
        assert label(pathlib.Path(text)) == str(pathlib.Path(text))
        assert label(pathlib.Path(text, "x")) == str(pathlib.Path(text, "x"))
    assert label(Colour.RED) == "RED"
    assert label(int) == "<class 'int'>"
    assert label(kind) == "kind"
    assert label(len) == "len"
    assert label([].append) == "list.append"
    assert label(str.join) == "str.join"
    assert label(sys) == "sys"
    assert label(test_labels.__get__(1)) == "test_labels"
    assert label(x for x in []).endswith("<genexpr>")


PIECES = [
    *("", ".", "/", "//", "///", "a", "/a", "//a", "//a/b", "///a", "a//b/", "./a", "../a", "c:", "c:x", "C:y", "d:"),
    *("c:/", "c:\\x", "\\", "\\a", r"\\srv", "//srv/share/x", "//srv/share/", "///srv/share", "//?/x", "//./"),
    *("\\\\srv\\", r"\\srv\share", r"\\?\UNC\srv\share", r"\\?\unc\srv\share\x", r"\\?\c:\x", r"\\.\COM1"),
    *("./c:", "x:y:z", "é:/ü", "aé", "日本", "a ", "c:.", "c:./x", "/.", "a\\b/c"),
]


@pytest.mark.parametrize("kind", [pathlib.PurePosixPath, pathlib.PureWindowsPath])
def test_paths_are_shown_as_they_are_written(kind):
    def shown(path):
        # Asked for its text a path keeps it, and there is nothing to tell any more.
        return view(path)["label"]

    for first in PIECES:
        for second in [None, *PIECES]:
            parts = [first] if second is None else [first, second]
            assert shown(kind(*parts)) == str(kind(*parts)), parts
    for parts in itertools.product(["a", "/b", "c:x", "//s/t", "C:", "d:/e", ""], repeat=3):
        assert shown(kind(*parts)) == str(kind(*parts)), parts
    for path in (kind(), kind("a/b/c").parent, kind("//s/t/u") / "v", kind("a").with_name("b"), kind("c:/a").root):
        assert path == "" or isinstance(path, str) or shown(path) == str(path)


def test_type_names():
    assert _native._test_type_names(True) == [
        ("builtins.bool", "bool"),
        ("builtins.int", "int"),
        ("builtins.object", "object"),
    ]
    assert _native._test_type_names(None)[0] == ("builtins.NoneType", "NoneType")
    assert _native._test_type_names(Colour.RED)[0] == (f"{__name__}.Colour", "Colour")
    assert _native._test_type_names(collections.deque())[0] == ("collections.deque", "deque")


def test_released_and_odd_memoryviews_are_not_read():
    released = memoryview(b"abc")
    released.release()
    assert view(released)["kind"] == "unreadable"
    assert view(memoryview(b"abcdef")[::2])["kind"] == "unreadable"
    assert view(memoryview(array.array("i", [1])))["kind"] == "bytes"
    assert view(memoryview(b""))["kind"] == "bytes"


def test_nothing_of_the_program_runs():
    ran = []

    def trap(name):
        def run(*args, **kwargs):
            ran.append(name)
            raise RuntimeError(name)

        return run

    names = [
        "__repr__",
        "__str__",
        "__len__",
        "__iter__",
        "__next__",
        "__getitem__",
        "__contains__",
        "__eq__",
        "__bool__",
        "__getattr__",
        "__getattribute__",
        "__format__",
        "__call__",
        "__index__",
        "__int__",
        "__float__",
        "__dir__",
        "__missing__",
        "__reversed__",
        "__del__",
        "__lt__",
        "__sizeof__",
        "__class_getitem__",
        "__instancecheck__",
    ]
    hooks = {name: trap(name) for name in names if name != "__del__"}
    hooks["computed"] = property(trap("computed"))
    hooks["__dict__"] = property(trap("__dict__"))

    class Meta(type):
        __getattribute__ = trap("meta getattribute")
        __instancecheck__ = trap("meta instancecheck")
        __subclasscheck__ = trap("meta subclasscheck")

    makers = [
        object,
        dict,
        list,
        set,
        str,
        bytes,
        tuple,
        int,
        float,
        Exception,
        collections.OrderedDict,
        collections.deque,
    ]
    for base in makers:
        namespace = {name: hook for name, hook in hooks.items() if not (name == "__dict__" and base is Exception)}
        hostile = Meta("Hostile", (base,), namespace)
        try:
            instance = base.__new__(hostile)
        finally:
            ran.clear()
        view(instance)
        member(instance, "computed")
        member(instance, "other")
        _native._test_lookup(instance, "x")
        _native._test_type_names(instance)
        view(hostile)
        member(hostile, "computed")
        assert ran == []
