"""Values that fight back: every hook of theirs counts and raises, and the count must stay 0. And values that are merely
huge, endless, half made or changing. The result is right, it is quick, and nothing crashes."""

import array
import collections
import ctypes
import datetime
import decimal
import enum
import fractions
import gc
import json
import mmap
import operator
import os
import pathlib
import platform
import subprocess
import sys
import textwrap
import threading
import time
import tracemalloc
import types
import uuid
import weakref

import numpy
import pytest

from stroboscope import _native

RAN = []
ARMED = False

HOOKS = """
abs add aenter aexit aiter and anext await bool buffer bytes call ceil class_getitem complex contains delattr delete
delitem dir divmod enter eq exit float floor floordiv format fspath ge get getattr getattribute getitem getnewargs
getnewargs_ex getstate gt hash iadd iand ifloordiv ilshift imatmul imod imul index instancecheck int invert ior ipow
irshift isub iter itruediv ixor le len length_hint lshift lt matmul missing mod mul ne neg next or pos pow radd rand
rdivmod reduce reduce_ex release_buffer repr reversed rfloordiv rlshift rmatmul rmod rmul ror round rpow rrshift
rshift rsub rtruediv rxor set setattr setitem setstate sizeof str sub subclasscheck subclasshook truediv trunc xor
"""


def hook(name, base):
    """Counts and raises once armed; before, it is as in the base, so that values can be made."""
    default = getattr(base, name, None)

    def ran(self, *args, **named):
        if ARMED:
            RAN.append(name)
            raise RuntimeError(name)
        if default is not None:
            return default(self, *args, **named)
        if name == "__getattr__":
            raise AttributeError(*args)
        return name == "__bool__" or NotImplemented

    return ran


def hooks_of(base, without=()):
    names = [f"__{name}__" for name in HOOKS.split()]
    # A class that can be called, entered or walked is another kind of value only if it says so on purpose: here all do.
    return {name: hook(name, base) for name in names if name not in without}


class Meta(type):
    """A class whose class fights back as well."""


for _name, _hook in hooks_of(type, without=("__set__", "__get__", "__delete__")).items():
    setattr(Meta, _name, _hook)


class Descriptor:
    """A data descriptor of the program."""

    def __get__(self, instance, owner):
        return self.ran("descriptor __get__")

    def __set__(self, instance, value):
        self.ran("descriptor __set__")

    def __delete__(self, instance):
        self.ran("descriptor __delete__")

    def ran(self, what):
        if ARMED:
            RAN.append(what)
            raise RuntimeError(what)
        return self


class Plain:
    """A descriptor without __set__."""

    def __get__(self, instance, owner):
        return Descriptor.ran(self, "plain __get__")


def lie(self):
    return Descriptor.ran(self, "__class__") and int


WITHOUT = {
    # Needed to make the value, or only a mark that turns off a feature of the base.
    "__class_getitem__",
    "__subclasshook__",
    "__set__",
    "__get__",
    "__delete__",
}


def hostile(base, *args):
    body = hooks_of(base, WITHOUT)
    body |= {"computed": property(lie), "data": Descriptor(), "plain": Plain(), "__class__": property(lie), "shared": 5}
    meta = Meta if type(base) is type else type("BothMeta", (Meta, type(base)), {})
    made = meta(f"Hostile_{base.__name__}", (base,), body)
    instance = made(*args)
    own = getattr(base, "__setattr__", object.__setattr__)
    own(instance, "own", 1)
    own(instance, "data_", [1, 2])
    return instance


HOSTILE = {
    "object": lambda: hostile(object),
    "int": lambda: hostile(int, 7),
    "float": lambda: hostile(float, 1.5),
    "complex": lambda: hostile(complex, 1 + 2j),
    "str": lambda: hostile(str, "text"),
    "bytes": lambda: hostile(bytes, b"bytes"),
    "bytearray": lambda: hostile(bytearray, b"bytes"),
    "list": lambda: hostile(list, [1, 2]),
    "empty list": lambda: hostile(list),
    "tuple": lambda: hostile(tuple, (1, 2)),
    "dict": lambda: hostile(dict, {"k": 1, "own": 2}),
    "empty dict": lambda: hostile(dict),
    "set": lambda: hostile(set, {1, 2}),
    "frozenset": lambda: hostile(frozenset, {1, 2}),
    "deque": lambda: hostile(collections.deque, [1, 2]),
    "OrderedDict": lambda: hostile(collections.OrderedDict, {"k": 1}),
    "defaultdict": lambda: hostile(collections.defaultdict),
    "Counter": lambda: hostile(collections.Counter),
    "array": lambda: hostile(array.array, "i", [1]),
    "Decimal": lambda: hostile(decimal.Decimal, "1.5"),
    "Fraction": lambda: hostile(fractions.Fraction, 1, 3),
    "Exception": lambda: hostile(Exception, "message", hostile(object)),
    "KeyError": lambda: hostile(KeyError, hostile(str, "text")),
    "datetime": lambda: hostile(datetime.datetime, 2024, 1, 2),
    "timedelta": lambda: hostile(datetime.timedelta, 1),
    "PurePosixPath": lambda: hostile(pathlib.PurePosixPath, "a"),
    "SimpleNamespace": lambda: hostile(types.SimpleNamespace),
    "ModuleType": lambda: hostile(types.ModuleType, "module"),
    "class": lambda: Meta("HostileClass", (), hooks_of(object, WITHOUT)),
}


@pytest.fixture
def armed():
    """What the test makes is made before; from `start` on every hook counts."""

    class Arm:
        def __enter__(self):
            global ARMED  # noqa: PLW0603 - what the hooks look at
            gc.disable()
            RAN.clear()
            ARMED = True

        def __exit__(self, *_):
            global ARMED  # noqa: PLW0603 - what the hooks look at
            ARMED = False
            gc.enable()

    yield Arm()
    assert not RAN, collections.Counter(RAN)


EXPRESSIONS = """
v|v == v|v != v|v == other|v == 1|v == "text"|v == null|list == list|list == twin|m == m|m == n
v < 1|v >= v|v < "a"|!v|v && true|v || false|isDefined(v)|isUndefined(v.nothing)
len(v)|isEmpty(v)|count(v)|contains(v, 1)|contains(v, v)|contains(list, v)|contains(list, other)|contains(s, v)
contains(v, "t")|contains("text", v)|startsWith(v, "t")|endsWith(v, v)|matches(v, "t")|matches("text", v)
substring(v, 0)|substring("text", v)|v[0]|v["k"]|v["own"]|v[v]|list[v]|m[v]|m["k"]|n[other]|v.own|v.nothing
v.computed|v.data|v.plain|v.shared|v.__class__|v.__dict__|v.name|v.message|v.args|v.own.own|v.data_[1]|v.__len__|v.real|v.keys
any(v, {@it == 1})|all(v, {@it == @it})|filter(v, {@it == v})|any(list, {@it == other})|filter(m, {@key == v})
all(m, {@value == v})
filter(s, {@it == v})|any(v, {@value == 1})|v instanceof "int"|v instanceof "Hostile_object"
v instanceof "builtins.object"
""".replace("\n", "|").split("|")
EXPRESSIONS = [text for text in EXPRESSIONS if text]


def test_the_hooks_do_count(armed):
    value = hostile(object)
    for name, use in (("repr", repr), ("hash", hash), ("eq", lambda held: held == 1), ("bool", bool), ("str", str)):
        with armed, pytest.raises(RuntimeError):
            use(value)

        assert tuple(RAN) == (f"__{name}__",)
    with armed, pytest.raises(RuntimeError):
        assert value.computed
    RAN.clear()


def surroundings(value):
    other = hostile(object)
    return {
        "v": value,
        "other": other,
        "list": [value, 1],
        "twin": [other, 1],
        "m": Keyed((value, other), ("k", value)).made,
        "n": Keyed((other, value), ("k", 1)).made,
        "s": Keyed((value, 1), (other, 2)).members,
    }


class Keyed:
    """A dictionary and a set of keys that cannot be hashed by themselves: they stand there by their address."""

    def __init__(self, *entries):
        self.made, self.members = {}, set()
        for key, value in entries:
            try:
                self.made[key] = value
                self.members.add(key)
            except TypeError:
                self.made[id(key)] = value
                self.members.add(id(key))


@pytest.mark.parametrize("kind", HOSTILE)
def test_no_hook_runs_in_expressions(kind, armed):
    variables = surroundings(HOSTILE[kind]())
    categories = collections.Counter()
    with armed:
        for text in EXPRESSIONS:
            for use in ("eval", "condition", "GAUGE"):
                how, came, _ = _native._test_evaluate(use, variables, None, text)
                categories[came if how == "error" else how] += 1
    assert not RAN, collections.Counter(RAN)
    assert categories["value"] > 40 and not categories["syntax"] and not categories["host"], categories


@pytest.mark.parametrize("kind", HOSTILE)
def test_no_hook_runs_in_captures_and_messages(kind, armed):
    variables = surroundings(HOSTILE[kind]())
    segments = [(None, text, None) for text in ("v", "list", "m", "s", "v.own", "v.data_", "filter(list, {@it == v})")]
    with armed:
        events = [
            _native._test_event(variables, segments, limits, rules)
            for limits in ((3, 100, 255, 20), (0, 0, 0, 0), (10, 1, 1, 1))
            for rules in (([], [], []), (["own"], [], ["Hostile_object", "*.Hostile_int"]))
        ]
    assert not RAN, collections.Counter(RAN)
    assert all(json.loads(event)["message"] for event in events)


SOURCE = textwrap.dedent(
    """
    def probed(v, other, list, twin, m, n, s):
        kept = v
        return 1  # here
    """
)


@pytest.fixture
def module(tmp_path, monkeypatch):
    name = f"hostile_{time.monotonic_ns()}"
    (tmp_path / f"{name}.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield __import__(name)
    sys.modules.pop(name, None)


@pytest.fixture
def started():
    _native.start([], True)
    yield
    assert _native.stop(5.0)


def line_probe(module, probe_id, **fields):
    where = {"sourceFile": f"{module.__name__}.py", "lines": ["4"]}
    probe = {"id": probe_id, "version": 1, "type": "LOG_PROBE", "language": "python", "where": where}
    _native.add_probe(json.dumps({**probe, "sampling": {"snapshotsPerSecond": 5000}, **fields}))


def method_probe(module, probe_id, **fields):
    where = {"typeName": module.__name__, "methodName": "probed"}
    probe = {"id": probe_id, "version": 1, "type": "LOG_PROBE", "language": "python", "where": where}
    _native.add_probe(json.dumps({**probe, "sampling": {"snapshotsPerSecond": 5000}, **fields}))


def wait_until_installed():
    end = time.monotonic() + 10
    while time.monotonic() < end:
        if all(probe["state"] in ("installed", "emitting") for probe in _native.status()):
            return
        time.sleep(0.01)
    raise AssertionError(_native.status())


def drained():
    assert _native.flush(5.0)
    return [json.loads(event) for event in _native._test_events()]


def test_no_hook_runs_in_the_hits_of_probes(started, module, armed):
    for number, text in enumerate(EXPRESSIONS):
        segments = [{"dsl": text, "json": None}]
        line_probe(module, f"line-{number}", segments=segments, when={"dsl": f"{text} || true", "json": None})
    line_probe(module, "snapshot", captureSnapshot=True)
    method_probe(module, "method", captureSnapshot=True, segments=[{"dsl": "@return", "json": None}])
    wait_until_installed()
    made = [surroundings(make()) for make in HOSTILE.values()]
    with armed:
        for variables in made:
            module.probed(**variables)
    events = drained()
    assert not RAN, collections.Counter(RAN)
    assert len(events) > len(made) * 30
    snapshot = next(event for event in events if event["debugger"]["snapshot"]["probe"]["id"] == "snapshot")
    point = snapshot["debugger"]["snapshot"]["captures"]["lines"]["4"]
    assert point["arguments"]["v"]["fields"]["own"] == {"type": "int", "value": "1"}


def test_what_was_captured_is_not_kept(started, module):
    class Thing:
        pass

    line_probe(module, "snapshot", captureSnapshot=True, segments=[{"dsl": "v", "json": {"ref": "v"}}])
    wait_until_installed()
    thing = Thing()
    gone = weakref.ref(thing)
    before = sys.getrefcount(thing)
    module.probed(thing, 1, 2, 3, 4, 5, 6)
    assert sys.getrefcount(thing) == before
    del thing
    assert gone() is None
    assert drained()


class Field:
    def __init__(self, number):
        self.number = number
        self.text = "text"


def test_no_dictionary_is_made():
    things = [Field(number) for number in range(2000)]
    variables = {"things": things, "one": things[0]}
    segments = [(None, "one.number", None), (None, "one", None), (None, "any(things, {@it.text == 'x'})", None)]
    _native._test_event(variables, segments, (4, 5000, 255, 20))
    sizes = [sys.getsizeof(thing) for thing in things]
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    event = _native._test_event(variables, segments, (4, 5000, 255, 20))
    assert event.count('"number"') == 2001
    del event
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    # A dictionary of two fields has about 100 bytes: 2,000 of them would show.
    assert grown < 20_000
    assert [sys.getsizeof(thing) for thing in things] == sizes
    assert not any(isinstance(held, dict) for thing in things for held in gc.get_referents(thing))


# ---- values that are merely unusual ----------------------------------------------------------------------------------


SLOW = 5


def timed(work, limit):
    """Runs it; it must be quick: the limit is for a slow machine and a build without optimisation."""
    started = time.perf_counter()
    result = work()
    took = time.perf_counter() - started
    assert took < limit, f"it took {took:.3f} s"
    return result


def event_of(segments=(), limits=(3, 100, 255, 20), **variables):
    segments = [(None, text, None) for text in segments]
    return json.loads(timed(lambda: _native._test_event(variables, segments, limits), SLOW))


def captured(value, limits=(3, 100, 255, 20)):
    event = event_of(limits=limits, v=value)
    return event["debugger"]["snapshot"]["captures"]["lines"]["1"]["arguments"]["v"]


def message(value):
    return event_of(["v"], None, v=value)["message"]


def evaluate(text, **variables):
    how, came, _ = timed(lambda: _native._test_evaluate("eval", variables, None, text), SLOW)
    return came if how == "value" else how + ":" + came


def test_nan():
    assert captured(float("nan")) == {"type": "float", "value": "nan"}
    assert evaluate("v == v", v=float("nan")) is False
    assert evaluate("v < 1 || v >= 1", v=float("nan")) is False
    assert evaluate("!v", v=float("nan")) is True
    assert evaluate("v == w", v=[float("nan")], w=[float("nan")]) is False


@pytest.mark.parametrize("power", [400, 1_000_000])
def test_huge_integers(power):
    # Made by shifting: decimal text of such a number takes Python itself long.
    huge = 10**400 if power == 400 else (1 << 3_321_928) + 12345
    shown = captured(huge)
    if power == 400:
        assert shown == {"type": "int", "value": str(huge)}
        assert message(huge) == str(huge)
    else:
        assert shown["truncated"] and shown["size"] == huge.bit_length()
        assert shown["value"] == hex(huge)[:258]
        assert message(huge).startswith("0x1000")
    assert evaluate("v == w", v=huge, w=huge + 0) is True
    assert evaluate("v == w", v=huge, w=huge + 1) is False
    assert evaluate("v > w", v=huge, w=float("inf")) is False
    assert evaluate("v > w", v=huge, w=1.7e308) is True
    assert evaluate("v > w", v=-huge, w=decimal.Decimal("-1E+999999999")) is True
    assert evaluate("v == true", v=huge) is False


def test_a_decimal_of_a_billion_digits():
    vast, tiny = decimal.Decimal("1E+999999999"), decimal.Decimal("1E-999999999")
    assert captured(vast) == {"type": "Decimal", "value": "Decimal('1E+999999999')"}
    assert message(vast) == "1E+999999999"
    assert evaluate("v == 1", v=vast) is False
    assert evaluate("v > w", v=vast, w=10**400) is True
    assert evaluate("v > 0 && v < 1", v=tiny) is True
    assert evaluate("v == w", v=vast, w=decimal.Decimal("1E+999999999")) is True
    assert evaluate("v == w", v=vast, w=decimal.Decimal("10E+999999998")) is True
    # Written down to the smaller exponent, which takes thirty digits and not a billion.
    assert evaluate("v == w", v=vast, w=decimal.Decimal("1.0000000000000000000000000001E+999999999")) is False
    context = decimal.Context(prec=5000, Emax=decimal.MAX_EMAX, Emin=decimal.MIN_EMIN)
    long = context.create_decimal("1." + "0" * 4500 + "1")
    assert evaluate("v == 1", v=long) == "error:limit"
    assert captured(decimal.Decimal("sNaN"))["type"] == "Decimal"


def test_lone_surrogates():
    lone = "a\ud800b\udfff"
    assert captured(lone) == {"type": "str", "value": "'a\\ud800b\\udfff'"}
    assert "\ufffd" in message(lone)
    assert evaluate("len(v)", v=lone) == 4
    assert evaluate("v == w", v=lone, w="a\ud800b\udfff") is True
    assert evaluate("v == w", v=lone, w="a\ud801b\udfff") is False
    assert evaluate("contains(v, w)", v=lone, w="\ud800b") is True
    assert evaluate("substring(v, 1, 2)", v=lone) == "\ud800"
    assert evaluate("matches(v, 'b')", v=lone) is True
    assert evaluate("m[v]", v=lone, m={lone: 5}) == 5
    assert captured({lone: 1})["entries"][0][0]["value"] == "'a\\ud800b\\udfff'"
    thing = types.SimpleNamespace()
    setattr(thing, lone, 1)
    assert len(captured(thing)["fields"]) == 1


@pytest.mark.parametrize("letter", ["x", "\xe9", "\u4e16", "\U0001f600"], ids=["ascii", "latin", "wide", "astral"])
def test_a_text_of_50_million_letters(letter):
    long = letter * 50_000_000
    shown = captured(long)
    assert (shown["size"], shown["truncated"], len(shown["value"])) == (50_000_000, True, 257)
    assert len(message(long)) == 8193
    assert evaluate("len(v)", v=long) == 50_000_000
    assert evaluate("v == w", v=long, w=long) is True
    assert evaluate("startsWith(v, 'x') || true", v=long) is True
    assert evaluate("matches(v, 'y')", v=long) == "error:limit"
    assert evaluate("substring(v, 49999999)", v=long) == letter
    assert evaluate("isEmpty(v)", v=long) is False
    assert captured(long, (3, 100, 100_000_000, 20))["size"] == 50_000_000


def test_50_million_bytes():
    long = bytes(50_000_000)
    assert captured(long)["size"] == 50_000_000
    assert captured(memoryview(long))["size"] == 50_000_000
    assert evaluate("v[49999999]", v=long) == 0
    assert evaluate("any(v, {@it == 1})", v=long) == "error:limit"


def test_cycles():
    cycle = []
    cycle.append(cycle)
    mapping = {}
    mapping["self"] = mapping
    thing = types.SimpleNamespace()
    thing.me = thing
    error = ValueError("x")
    error.__cause__ = error
    for value in (cycle, mapping, thing, error):
        assert '"depth"' in json.dumps(captured(value))
        assert "depth" in json.dumps(captured(value, (1000, 100, 255, 20)))
        assert message(value)
    other = []
    other.append(other)
    assert evaluate("v == w", v=cycle, w=other) == "error:limit"
    assert evaluate("v == v", v=thing) is True
    twin = {}
    twin["self"] = twin
    assert evaluate("v == w", v=mapping, w=twin) == "error:limit"
    assert evaluate("contains(v, w)", v=cycle, w=other) == "error:limit"


def test_deep_nesting_on_a_small_stack():
    deep, twin = [], []
    for _ in range(100_000):
        deep, twin = [deep], [twin]
    seen = []

    def run():
        seen.append(captured(deep, (1_000_000, 100, 255, 20)))
        seen.append(evaluate("v == w", v=deep, w=twin))
        seen.append(evaluate("len(" + "[" * 0 + "v)", v=deep))

    before = threading.stack_size(512 * 1024)
    try:
        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
    finally:
        threading.stack_size(before)
    assert seen[1:] == ["error:limit", 1]


def test_a_collection_of_a_million():
    numbers = list(range(1_000_000))
    assert captured(numbers)["size"] == 1_000_000
    assert evaluate("any(v, {@it == 999999})", v=numbers) == "error:limit"
    assert evaluate("contains(v, 999999)", v=numbers) is True
    assert evaluate("v == w", v=[*numbers, 1], w=[*numbers, 2]) == "error:limit"
    mapping = dict.fromkeys(numbers)
    assert captured(mapping)["size"] == 1_000_000
    assert evaluate("v[999999]", v=mapping) is None
    assert captured(set(numbers))["size"] == 1_000_000
    assert captured(collections.deque(numbers))["size"] == 1_000_000
    assert captured(range(10**30)) == {"type": "range", "value": f"range(0, {10**30})"}


class Zone(datetime.tzinfo):
    def utcoffset(self, when):
        RAN.append("utcoffset")
        raise RuntimeError

    tzname = dst = fromutc = utcoffset


def test_a_time_zone_of_the_program():
    RAN.clear()
    assert captured(datetime.datetime(2024, 1, 2, 3, 4, tzinfo=Zone())) == {
        "type": "datetime",
        "value": "2024-01-02T03:04:00",
    }
    assert captured(datetime.time(3, 4, tzinfo=Zone()))["value"] == "03:04:00"
    assert captured(datetime.datetime(2024, 1, 2, tzinfo=datetime.UTC))["value"] == "2024-01-02T00:00:00+00:00"
    assert evaluate("v == v", v=datetime.datetime(2024, 1, 2, tzinfo=Zone())) is True
    assert not RAN


def test_scalars_show_their_text():
    big = 10**30
    expected = {
        range(5): "range(0, 5)",
        range(1, 10, 2): "range(1, 10, 2)",
        range(-big, big): f"range({-big}, {big})",
        fractions.Fraction(1, 3): "1/3",
        fractions.Fraction(-big, big + 1): f"-{big}/{big + 1}",
        fractions.Fraction(10**1000): str(10**1000),
        fractions.Fraction(2**63, 3**40): f"{2**63}/{3**40}",
        uuid.UUID(int=5): "00000000-0000-0000-0000-000000000005",
        pathlib.PurePosixPath("a/b"): "a/b",
        datetime.timedelta(seconds=1.5): "1.5s",
    }
    for value, text in expected.items():
        assert captured(value) == {"type": type(value).__name__, "value": text}
    huge = captured(fractions.Fraction(7**5000))["value"]
    assert huge == hex(7**5000)[:258] + "…"


class Level(enum.IntEnum):
    LOW = 1


class Word(enum.StrEnum):
    HELLO = "hello"


class Right(enum.IntFlag):
    READ = 1
    WRITE = 2


class Weight(float, enum.Enum):
    HEAVY = 1.5


def test_enumeration_members_show_their_names():
    assert captured(Level.LOW) == {"type": "Level", "value": "LOW"}
    assert captured(Word.HELLO) == {"type": "Word", "value": "HELLO"}
    assert captured(Right.READ | Right.WRITE) == {"type": "Right", "value": "READ|WRITE"}
    assert captured(Weight.HEAVY) == {"type": "Weight", "value": "HEAVY"}
    assert captured({Word.HELLO: 1})["entries"][0][0] == {"type": "Word", "value": "HELLO"}
    assert evaluate("v == 1", v=Level.LOW) is True
    assert evaluate("v == 'hello'", v=Word.HELLO) is True
    assert evaluate("v.name", v=Level.LOW) == "LOW"
    assert evaluate("v.value", v=Weight.HEAVY) == 1.5
    assert (message(Level.LOW), message(Word.HELLO)) == ("1", "hello")
    assert evaluate("v == 'HEAVY'", v=Weight.HEAVY) is True


class Slots:
    __slots__ = ("one", "two")


class SlottedRows(dict):
    __slots__ = ("unit",)


class Rows(dict):
    pass


def test_fields_of_empty_subclasses():
    rows = Rows()
    assert captured(rows) == {"type": "Rows", "entries": [], "size": 0}
    rows.unit = "kg"
    assert captured(rows) == {"type": "Rows", "fields": {"unit": {"type": "str", "value": "'kg'"}}}
    rows["a"] = 1
    assert list(captured(rows)) == ["type", "entries", "size"]
    slotted = SlottedRows()
    assert captured(slotted)["entries"] == []
    slotted.unit = "kg"
    assert captured(slotted)["fields"]["unit"]["value"] == "'kg'"
    assert captured(collections.defaultdict(list)) == {"type": "defaultdict", "entries": [], "size": 0}
    assert captured(collections.OrderedDict())["entries"] == []
    assert captured([]) == {"type": "list", "elements": [], "size": 0}
    assert (message(Rows(unit=1)), evaluate("len(v)", v=SlottedRows())) == ('{"unit": 1}', 0)


def test_numpy():
    for name, value, text in (
        ("bool_", True, "True"), ("int8", -5, "-5"), ("int16", -300, "-300"), ("int32", -70_000, "-70000"),
        ("int64", -(2**40), str(-(2**40))), ("uint8", 255, "255"), ("uint16", 65_535, "65535"),
        ("uint32", 2**32 - 1, str(2**32 - 1)), ("uint64", 2**64 - 1, str(2**64 - 1)), ("float32", 0.5, "0.5"),
        ("float64", 0.1, "0.1"), ("complex128", 1 + 2j, "(1+2j)"),
    ):  # fmt: skip
        scalar = getattr(numpy, name)(value)
        assert captured(scalar) == {"type": type(scalar).__qualname__, "value": text}
        if name != "complex128":
            assert evaluate("v == w", v=scalar, w=value) is True
        # An element has the type that it has when the program takes it out, in either byte order.
        for made in (numpy.array([value, value], dtype=name), numpy.array([value, value]).astype(name).byteswap()):
            if made.dtype.itemsize > 1 and made[0] != value:
                made = made.view(made.dtype.newbyteorder())  # noqa: PLW2901
            shown = [{"type": type(scalar).__qualname__, "value": text}] * 2
            assert captured(made)["elements"] == shown, made.dtype
    numbers = numpy.arange(10)[::-2]
    assert [element["value"] for element in captured(numbers)["elements"]] == ["9", "7", "5", "3", "1"]
    assert captured(numbers)["size"] == 5
    assert evaluate("v[-1]", v=numbers) == 1
    assert evaluate("any(v, {@it == 3}) && len(v) == 5", v=numbers) is True
    assert captured(numpy.array([None, "x"], dtype=object))["elements"][1] == {"type": "str", "value": "'x'"}
    assert captured(numpy.arange(1_000_000))["size"] == 1_000_000


def test_numpy_arrays_of_any_number_of_dimensions():
    grid = numpy.arange(24).reshape(2, 3, 4)
    plain = lambda v: [plain(e) for e in v["elements"]] if "elements" in v else v["value"]  # noqa: E731
    texts = lambda v: [texts(e) for e in v] if isinstance(v, list) else str(v)  # noqa: E731
    for made in (grid, grid[::-1, ::2, 1:3], grid.T, numpy.asfortranarray(grid), numpy.zeros((2, 0)), grid[0]):
        assert plain(captured(made)) == texts(made.tolist())
        assert captured(made)["type"] == "ndarray"
    row = captured(grid)["elements"][0]
    assert (row["type"], row["size"], row["elements"][0]["size"]) == ("ndarray", 3, 4)
    assert evaluate("v[1][2][3] == 23 && len(v) == 2 && len(v[0]) == 3", v=grid) is True
    assert evaluate("any(v, {any(@it, {contains(@it, 23)})})", v=grid) is True
    assert message(grid[0][:2]) == "[[...], [...]]"
    assert captured(numpy.array([[1, 2]]).view(numpy.matrix))["elements"][0]["size"] == 2
    assert captured([numpy.eye(2)] * 3)["elements"][2]["elements"][1]["elements"][1]["value"] == "1.0"
    # Of no dimension: its item. One that holds itself ends.
    assert captured(numpy.array(5)) == {"type": "ndarray", "value": "5"}
    assert captured(numpy.array("mug")) == {"type": "ndarray", "value": "'mug'"}
    assert evaluate("v == 5", v=numpy.array(5)) is True
    own = numpy.array(None, dtype=object)
    own[()] = own
    assert "no dimension" in reason(captured(own))
    refuses("v == 1", "host", v=own)


def test_a_numpy_array_of_no_dimension_is_its_item():
    class Cup:
        size = 3

        def __init__(self):
            self.password, self.colour = "hunter2", "red"

    def of(value):
        made = numpy.empty((), dtype=object)
        made[()] = value
        return made

    record = numpy.array((7, "mug"), dtype=[("a", "i4"), ("password", "U4")])
    secret = {"type": "str_", "notCapturedReason": "redactedIdent"}
    fields = {"a": {"type": "int32", "value": "7"}, "password": secret}
    assert captured(record) == {"type": "ndarray", "fields": fields}
    assert evaluate("v.a == 7 && isUndefined(v.nosuch) && v.ndim != 1", v=record) == "error:side_effect"
    assert evaluate("v.a == 7 && isUndefined(v.nosuch)", v=record) is True
    assert evaluate("v.password", v=record) == "error:redacted"
    assert message(record) == "ndarray{a: 7, password: {redacted}}"
    assert evaluate("v == null && !v", v=of(None)) is True
    assert captured(of(None)) == {"type": "ndarray", "isNull": True}
    things = of({"a": [1, 2], "password": "x"})
    assert [key["value"] for key, _ in captured(things)["entries"]] == ["'a'", "'password'"]
    assert "'x'" not in json.dumps(captured(things))
    assert evaluate("v.a[1] == 2 && len(v) == 2 && contains(v, 'a') && any(v, {@key == 'a'})", v=things) is True
    assert evaluate("v.password", v=things) == "error:redacted"
    assert evaluate("v[1] == 'b' && v == w", v=of(["a", "b"]), w=["a", "b"]) is True
    cup = Cup()
    assert evaluate("v.colour == 'red' && v.size == 3 && v == w", v=of(cup), w=cup) is True
    assert evaluate("v instanceof 'Cup' && v instanceof 'ndarray'", v=of(cup)) is True
    assert captured(of(cup))["fields"]["password"]["notCapturedReason"] == "redactedIdent"
    assert captured(of(of(5))) == {"type": "ndarray", "value": "5"}
    assert captured(of({1})) == {"type": "ndarray", "elements": [{"type": "int", "value": "1"}], "size": 1}
    assert evaluate("v.message", v=of(ValueError("no cup"))) == "no cup"
    moment = numpy.array("2024-02-29", dtype="M8[D]")
    assert captured(moment) == {"type": "ndarray", "value": "2024-02-29"}


def test_masked_numpy_elements_are_null():
    masked = numpy.ma.array([1.5, 2.5, 3.5], mask=[False, True, False])
    hidden = {"type": "float64", "isNull": True}
    assert captured(masked)["elements"] == [
        {"type": "float64", "value": "1.5"}, hidden, {"type": "float64", "value": "3.5"}
    ]  # fmt: skip
    assert message(masked) == "[1.5, null, 3.5]"
    assert evaluate("v[1] == null && !contains(v, 2.5) && any(v, {@it != null && @it > 3})", v=masked) is True
    grid = numpy.ma.array(numpy.arange(6).reshape(2, 3), mask=[[0, 0, 1], [1, 0, 0]])[:, ::-1]
    assert [[e.get("value") for e in row["elements"]] for row in captured(grid)["elements"]] == [
        [None, "1", "0"], ["5", "4", None]
    ]  # fmt: skip
    objects = numpy.ma.array(["a", {"b": 1}], mask=[True, False], dtype=object)
    assert captured(objects)["elements"][0]["isNull"] is True
    assert evaluate("v[0] == null && v[1].b == 1", v=objects) is True
    records = numpy.ma.array([(1, 2.5), (3, 4.5)], mask=[(0, 1), (1, 0)], dtype=[("a", "i4"), ("b", "f4")])
    assert captured(records)["elements"][0]["fields"]["b"] == {"type": "float32", "isNull": True}
    assert evaluate("v[0].a == 1 && v[0].b == null && v[1].a == null && v[1].b == 4.5", v=records) is True
    assert captured(numpy.ma.masked) == {"type": "MaskedConstant", "isNull": True}
    assert message(numpy.ma.masked) == "null"
    assert evaluate("any(v, {@it == 2})", v=numpy.ma.array([1, 2])) is True, "no mask at all"
    odd = numpy.ma.array([1, 2, 3], mask=[0, 1, 0])
    odd.__dict__["_mask"] = numpy.zeros(7, dtype=bool)
    assert "mask" in reason(captured(odd)["elements"][0])
    refuses("v[0] == 1", "host", v=odd)


def test_numpy_elements_of_every_kind():
    element = lambda value: captured(numpy.array([value, value]))["elements"][1]  # noqa: E731
    assert element("h\xe9\u4e16") == {"type": "str_", "value": "'h\xe9\u4e16'"}
    assert element(b"ab") == {"type": "bytes_", "value": "b'ab'"}
    assert element(1 + 2j) == {"type": "complex128", "value": "(1+2j)"}
    assert element(numpy.complex64(1 - 2j)) == {"type": "complex64", "value": "(1-2j)"}
    assert evaluate("v[0] instanceof 'str' && v[0] instanceof 'str_'", v=numpy.array(["a"])) is True
    assert evaluate("v[0] instanceof 'int8' && v[0] instanceof 'integer'", v=numpy.array([1], "i1")) is True
    assert captured(numpy.void(b"a\0b\0")) == {"type": "void", "value": "b'a\\x00b\\x00'"}
    for half in (1.5, -0.0, 6e-8, 65504.0, float("inf")):
        half = numpy.float16(half)  # noqa: PLW2901
        assert element(half) == {"type": "float16", "value": repr(float(half))}
        assert captured(half) == {"type": "float16", "value": repr(float(half))}
    assert captured(numpy.complex64(1 - 2j)) == {"type": "complex64", "value": "(1-2j)"}
    assert evaluate('v[1] == "mug"', v=numpy.array(["kettle", "mug"])) is True
    assert evaluate('any(v, {startsWith(@it, "m")})', v=numpy.array(["kettle", "mug"])) is True
    for text, unit in (
        ("2024-02-29", "D"), ("1969-12-31", "D"), ("0001-03-01", "D"), ("2024", "Y"), ("1953-11", "M"),
        ("2024-02-29", "W"), ("2024-02-29T23", "h"), ("1969-12-31T23:59", "m"), ("2024-02-29T23:59:58", "s"),
        ("1969-12-31T23:59:59.001", "ms"), ("2024-02-29T23:59:59.000001", "us"), ("2024-02-29", "ns"),
        ("1970-01-01T00:00:00.5", "ps"), ("1970-01-01", "fs"), ("1970-01-01", "as"), ("2024-02-29T00:00", "25m"),
        ("NaT", "D"),
    ):  # fmt: skip
        moment = numpy.datetime64(text, unit)
        assert captured(moment) == {"type": "datetime64", "value": str(moment)}
        assert element(moment) == {"type": "datetime64", "value": str(moment)}
    for unit in ("Y", "M", "W", "D", "h", "m", "s", "ms", "us", "ns", "ps", "fs", "as"):
        span = numpy.timedelta64(-5, unit)
        assert captured(span) == {"type": "timedelta64", "value": str(span)}
    assert element(numpy.timedelta64(3, "D")) == {"type": "timedelta64", "value": "3 days"}


def test_numpy_fields_are_judged_by_their_titles_too():
    kinds = [(("password", "a"), "U6"), (("Title", "b"), "i4"), (("x", "token"), "i4"), ("c", "i4")]
    records = numpy.array([("s3cr3t", 1, 2, 3)], dtype=numpy.dtype(kinds, align=True))
    for shown in (captured(records)["elements"][0]["fields"], captured(records[0])["fields"]):
        withheld = [name for name, field in shown.items() if "notCapturedReason" in field]
        assert (withheld, list(shown)) == (["a", "token"], ["a", "b", "token", "c"])
    assert "s3cr3t" not in json.dumps(event_of(["v", "v[0]", "w", "v[0].a", "w.a", "w['a']"], v=records, w=records[0]))
    assert evaluate("v[0].b == 1 && w.c == 3 && w['b'] == 1", v=records, w=records[0]) is True
    for expression in ("v[0].a", "w.a", "w['a']", "isDefined(w.a) && w.a == 's3cr3t'"):
        assert str(evaluate(expression, v=records, w=records[0])) != "s3cr3t"
        assert evaluate(expression, v=records, w=records[0]) is not True


def test_numpy_records():
    packed = [("a", "i1"), ("b", "f8"), ("name", "U3"), ("password", "U3"), ("big", "u8")]
    records = numpy.array([(1, 2.5, "mug", "abc", 7), (2, 3.5, "pan", "def", 2**64 - 1)], dtype=packed)
    aligned = records.astype(numpy.dtype(packed, align=True))
    fields = {
        "a": {"type": "int8", "value": "2"},
        "b": {"type": "float64", "value": "3.5"},
        "name": {"type": "str_", "value": "'pan'"},
        "password": {"type": "str_", "notCapturedReason": "redactedIdent"},
        "big": {"type": "uint64", "value": str(2**64 - 1)},
    }
    swapped = records.astype(records.dtype.newbyteorder())
    for made in (aligned, records, swapped):
        assert captured(made)["elements"][1] == {"type": "void", "fields": fields}
        assert captured(made[1]) == {"type": "void", "fields": fields}
        assert captured(made.view(numpy.recarray)[1]) == {"type": "record", "fields": fields}
        assert captured(made.reshape(2, 1))["elements"][1]["elements"][0]["fields"] == fields
        assert evaluate("v[1].b == 3.5 && w.a == 2 && v[0].name == 'mug'", v=made, w=made[1]) is True
        assert evaluate("any(v, {@it.name == 'pan' && @it.big == 18446744073709551615})", v=made) is True
        assert evaluate("v[0].name", v=made) == "mug"
    assert evaluate("v[0] == v[0] && v[0] != v[1] && v[0].nosuch", v=records) == "error:undefined"


def test_numpy_records_within_records_and_of_many_fields():
    inner = [("x", ">i4"), ("password", "U4"), ("tags", "U2", (2, 3))]
    nested = numpy.zeros((2, 2), dtype=[("flag", "?"), ("in", inner, (2,)), ("one", inner), ("many", "i2", (3,))])
    nested["in"]["x"] = numpy.arange(8).reshape(2, 2, 2)
    nested["in"]["password"] = "abcd"
    nested["in"]["tags"] = numpy.array([f"{number}" for number in range(48)]).reshape(2, 2, 2, 2, 3)
    nested["one"]["tags"][1, 0] = [["a", "b", "c"], ["d", "e", "f"]]
    nested["many"][1, 1] = [5, 6, 7]
    shown = captured(nested, limits=(9, 100, 255, 20))
    record = shown["elements"][1]["elements"][0]["fields"]
    assert (record["in"]["type"], record["in"]["size"], record["in"]["elements"][1]["type"]) == ("ndarray", 2, "void")
    last = record["in"]["elements"][1]["fields"]
    assert last["x"] == {"type": "int32", "value": "5"}
    assert last["password"] == {"type": "str_", "notCapturedReason": "redactedIdent"}
    assert [[tag["value"] for tag in row["elements"]] for row in last["tags"]["elements"]] == [
        ["'30'", "'31'", "'32'"], ["'33'", "'34'", "'35'"]
    ]  # fmt: skip
    assert "abcd" not in json.dumps(shown)
    texts = "len(v[1][0].many) == 3 && v[1][1].many[2] == 7 && v[1][0].one.tags[1][2] == 'f' && v[1][0]['in'][1].x == 5"
    assert evaluate(texts, v=nested) is True
    assert evaluate("v.many[1] == 6 && w[0].x == 6 && w[-1].tags[-1][-1] == '47'", v=nested[1, 1], w=nested["in"][1, 1])
    assert evaluate("v[0][0].one.password", v=nested) == "error:redacted"
    wide = numpy.zeros(2, dtype=[(f"f{index}", "i1") for index in range(700)])
    wide["f699"] = [3, 4]
    assert evaluate("v[1].f699 == 4 && v[0].f699 == 3", v=wide) is True
    held = numpy.zeros(2, dtype=[("n", "i1"), ("in", [("o", "O"), ("p", "O", (2,))])])
    held["in"]["p"][1] = ["a", {"b": 1}]
    assert evaluate("v[1]['in'].p[1].b == 1 && v[1]['in'].p[0] == 'a' && v[0]['in'].o == 0", v=held) is True


def test_what_is_not_read_of_numpy_is_no_answer():
    wide = numpy.array([1, 2], dtype=numpy.longdouble)
    for value in (wide[0], numpy.clongdouble(1)):
        assert "is not read" in reason(captured(value))
    assert all("is not read" in reason(one) for one in captured(wide)["elements"])
    for text in ("v[0] == 1", "v[0] != 1", "contains(v, 1)", "any(v, {@it == 1})", "v == w", "!v[0]", "len(v[0])"):
        refuses(text, "host", v=wide, w=[1, 2])
    assert evaluate("isDefined(v[0]) || v[0] == null || any(v, {isDefined(@it) && @it == 1})", v=wide) is False
    refuses("v == 1", "host", v=wide[0])
    refuses("contains(v, 3)", "host", v=[wide[0], 3])
    view = memoryview(b"abc")
    view.release()
    refuses("v == w", "host", v=view, w=b"abc")
    refuses("v == w", "host", v=range(2**70), w=range(2**70))


def test_many_numpy_arrays_in_one_hit():
    grids = [numpy.zeros((2, 2)) for _ in range(3000)]
    grids[2999][1][1] = 5
    assert evaluate("count(filter(v, {isDefined(@it[0][0])})) == 3000", v=grids) is True
    assert evaluate("any(v, {any(@it, {any(@it, {@it == 5})})})", v=grids) is True
    records = list(numpy.zeros(3000, dtype=[("id", "i4"), ("b", "M8[D]")]))
    assert evaluate("all(v, {@it.id == 0}) && contains(w, v[2999]) && v == w", v=records, w=list(records)) is True
    shown = captured(grids, limits=(4, 5000, 255, 20))["elements"]
    assert len(shown) == 3000 and shown[2999]["elements"][1]["elements"][1]["value"] == "5.0"
    many = [numpy.zeros((1, 1, 1)) for _ in range(70_000)]
    assert evaluate("v == w", v=many, w=list(map(numpy.copy, many))) == "error:host", "said, not counted wrongly"
    huge = numpy.broadcast_to(numpy.int64(7), (10**7, 10**7, 10))
    assert evaluate("v[0][-1][-1] == 7 && len(v[1][0]) == 10 && len(v[-1]) == 10000000", v=huge) is True
    refuses("len(v[-1][-1])", "host", v=huge)
    assert captured(numpy.zeros((1, 1)))["elements"][0]["size"] == 1, "the next hit begins anew"


def test_swapped_and_unaligned_numpy_text():
    words = numpy.array(["kettle", "h\xe9\u4e16", "", "\U0001f600"])
    for made in (words, words.astype(words.dtype.newbyteorder())):
        assert [one["value"] for one in captured(made)["elements"]] == [repr(word) for word in words.tolist()]
        assert evaluate("v[0] == 'kettle' && contains(v, '') && v[-1] == w[-1]", v=made, w=words) is True
    for code, value in (
        ("f2", 1.5),
        ("f4", 2.5),
        ("c8", 1 - 2j),
        ("c16", 1 + 2j),
        ("M8[D]", "2024-02-29"),
        ("m8[s]", 5),
    ):
        plain = numpy.array([value], dtype=code)
        assert captured(plain.astype(plain.dtype.newbyteorder())) == captured(plain)
    # What has to be copied is copied within bounds.
    long = numpy.zeros(40, dtype=[("n", "i1"), ("t", "U100000")])
    long["t"] = "x" * 100_000
    refuses("count(filter(v, {len(@it.t) == 100000})) == 40", "host", v=long)
    assert evaluate("len(v[39].t) == 100000", v=long) is True


def test_members_of_c_that_are_characters():
    kind = numpy.dtype("M8[D]")
    assert captured(kind)["fields"]["kind"] == {"type": "str", "value": "'M'"}
    assert evaluate("v.kind == 'M' && v.char == 'M' && v.byteorder == '=' && v.num == 21", v=kind) is True
    assert evaluate("v.kind == 'i'", v=numpy.dtype("i4")) is True


def test_no_flag_at_all():
    class Shade(enum.Flag):
        DARK = 1
        WARM = 2

    assert captured(Shade(0)) == {"type": Shade.__qualname__, "value": "0"}
    assert message(Shade(0)) == "Shade.0"
    assert message(Shade.DARK | Shade.WARM) == "Shade.DARK|WARM"
    assert evaluate("v == w && v != x && v.value == 0", v=Shade(0), w=Shade(0), x=Shade.WARM) is True
    assert captured(Right(0)) == {"type": "Right", "value": "0"}


def test_a_slot_in_a_class_that_it_was_not_made_for():
    class Donor:
        __slots__ = ("p", "q", "r", "s", "t", "u", "v", "w")

    class Empty:
        __slots__ = ()
        x, start, co = Donor.w, slice.__dict__["start"], types.CodeType.__dict__["co_name"]

    class Number(int):
        x = Donor.w

    class Named(tuple):
        __slots__ = ()
        _fields = ("a", "b")
        x = Donor.w

    class Child(Donor):
        z = Donor.w

    # Reading one of these as a field would read what stands behind the object.
    assert captured([Empty() for _ in range(20)])["elements"][7]["fields"] == {}
    assert list(captured(Named((1, 2)))["fields"]) == ["a", "b"]
    for value in (Empty(), Number(3), Named((1, 2)), type("Text", (str,), {"x": Donor.w})("k")):
        assert evaluate("v.x", v=value) in ("error:undefined", "error:type")
        assert evaluate("isDefined(v.x) || isDefined(v.start) || isDefined(v.co)", v=value) is False
        with pytest.raises(TypeError):
            _ = value.x
    # An heir has it, by both names; it is still one field.
    child = Child()
    child.w = 7
    assert captured(child)["fields"] == {"w": {"type": "int", "value": "7"}}
    assert evaluate("v.w == 7 && v.z == 7", v=child) is True
    # What `attrs.define` does with a class that has `__slots__`: the old descriptors stand in the new class.
    made = type("Made", (), {"__slots__": ("a",), **{name: Donor.__dict__[name] for name in "pqrst"}})()
    made.a = 1
    assert captured(made)["fields"] == {"a": {"type": "int", "value": "1"}}


def test_a_weak_proxy_is_no_iterator():
    class Thing:
        def __iter__(self):
            return self

        def __next__(self):
            return 1

    thing = Thing()
    for proxy in (weakref.proxy(thing), weakref.proxy(test_nan)):
        assert captured(proxy) == {"type": type(proxy).__qualname__, "fields": {}}
        assert message(proxy) == f"<{type(proxy).__qualname__}>"
    assert evaluate("v.x", v=weakref.proxy(thing)) == "error:side_effect"


def reason(shown):
    """Why something could not be read."""
    return shown["fields"]["?"]["notCapturedReason"]


def refuses(text, category, **variables):
    """An expression ends in an error of this category. pytest must not show the values: that would be the end of it."""
    __tracebackhide__ = True
    came = evaluate(text, **variables)
    assert came == f"error:{category}"


def lost(value, why):
    """All that is shown of a value is why it cannot be read."""
    __tracebackhide__ = True
    came = json.dumps(captured(value))
    assert why in came and '"?"' in came


def mapped(path, size=1 << 20, fill=b"\x07"):
    path.write_bytes(fill * size)
    with path.open("r+b") as file:
        return mmap.mmap(file.fileno(), size)


def test_an_array_whose_memory_map_was_closed(tmp_path):
    memory = mapped(tmp_path / "map")
    numbers = numpy.ndarray((1 << 17,), dtype="f8", buffer=memory)
    grid, part = numbers[:1024].reshape(32, 32), numbers[5:7]
    records = numpy.ndarray((4,), dtype=[("a", "i4"), ("o", "U4")], buffer=memory)
    record = records[1]
    # While it is there, it is shown as any other.
    assert captured(grid)["elements"][3]["elements"][1] == {"type": "float64", "value": repr(float(grid[3][1]))}
    assert captured(record)["fields"]["a"] == {"type": "int32", "value": str(0x07070707)}
    assert evaluate("v[1] == w", v=part, w=float(part[1])) is True
    memory.close()
    for value in (numbers, grid, part, records, record, [numbers][0][::-1]):
        lost(value, "map that it shows was closed")
        came = message(value)
        assert "closed" in came
    refuses("v[0] == 0", "host", v=numbers)


def test_memory_of_a_file_that_was_cut_short(tmp_path):
    path = tmp_path / "map"
    memory = mapped(path)
    numbers = numpy.frombuffer(memory, dtype="u8")
    texts = numpy.frombuffer(memory, dtype="S16")
    view = memoryview(memory)
    os.truncate(path, 8192)
    # What is left is right, what is not says so.
    assert captured(numbers)["elements"][0] == {"type": "uint64", "value": str(0x0707070707070707)}
    assert evaluate("v[1023] == w && v[1] == w", v=numbers, w=0x0707070707070707) is True
    refuses("v[1024] == 0", "host", v=numbers)
    refuses("any(v, {@it == 0})", "host", v=numbers)
    refuses("v[512] == w", "host", v=texts, w="x")
    assert captured(texts)["elements"][1]["value"] == repr(b"\x07" * 16)
    shown = captured(numbers[1020:1030])["elements"]
    assert shown[3]["value"] == str(0x0707070707070707) and "not there" in reason(shown[4])
    lost(numbers[2000:], "not there")
    grid = captured(numbers[1020:1030].reshape(2, 5))["elements"]
    assert "value" in grid[0]["elements"][3] and "not there" in reason(grid[1]["elements"][4])
    # Of a view that is long no more than the beginning is copied.
    os.truncate(path, 1 << 20)
    long = captured(view)
    assert (long["size"], long["truncated"]) == (1 << 20, True)
    assert long["value"].startswith(r"b'\x07\x07")
    refuses("v[0]", "host", v=view)
    assert evaluate("v[1] == 7 && len(v) == 300", v=view[:300]) is True
    os.truncate(path, 0)
    lost(view, "not there")
    lost(view[5000:5100], "not there")


def test_arrays_over_memory_that_went_elsewhere():
    data = bytearray(b"\x01" * 64)
    shown = numpy.ndarray((8,), dtype="u8", buffer=data)
    assert captured(shown)["elements"][7]["value"] == str(0x0101010101010101)
    data.extend(bytes(1 << 20))
    lost(shown, "outside")
    base = numpy.arange(100)
    part = base[10:20]
    base.resize((1 << 20,), refcheck=False)
    lost(part, "outside")
    # One that is made to reach beyond its end: what is there is told, as far as it is there.
    beyond = numpy.lib.stride_tricks.as_strided(numpy.arange(8), shape=(1 << 40,))
    assert [one["value"] for one in captured(beyond)["elements"][:8]] == [str(number) for number in range(8)]
    refuses("v[1099511627775] == 0", "host", v=beyond)
    window = numpy.lib.stride_tricks.sliding_window_view(numpy.arange(6), 3)
    assert evaluate("v[3][2] == 5 && v[0][0] == 0", v=window) is True
    # An address is no object because somebody says so.
    objects = numpy.array([[1], "x", None], dtype=object)
    shifted = numpy.lib.stride_tricks.as_strided(objects, shape=(2,), strides=(1,))
    assert all("no object" in reason(one) or "not there" in reason(one) for one in captured(shifted)["elements"])
    assert captured(objects[::-1])["elements"][1]["value"] == "'x'"
    held = numpy.zeros(3, dtype=[("n", "i1"), ("o", "O")])
    held["o"][1] = "kept"
    assert captured(held["o"])["elements"][1]["value"] == captured(held[1])["fields"]["o"]["value"] == "'kept'"
    numbers = (ctypes.c_int * 3)(1, 2, 3)
    for view in (numpy.ctypeslib.as_array(numbers), numpy.frombuffer(array.array("i", [1, 2, 3]), dtype="i4")):
        assert evaluate("v[2] == 3 && len(v) == 3", v=view) is True
    assert evaluate("v[4] == 2", v=memoryview(numbers).cast("B")) is True
    assert captured(numpy.frombuffer(b"\x05\x06", dtype="u1"))["elements"][1]["value"] == "6"


FILTERED = """
import ctypes, json, mmap, numpy, struct, sys
from stroboscope import _native
memory = mmap.mmap(-1, 8192)
memory.write(bytes([7]) * 8192)
numbers = numpy.frombuffer(memory, dtype="u8")
beyond = numpy.lib.stride_tricks.as_strided(numbers, shape=(1 << 40,))
# Whoever makes this one call ends; all others are let through.
call = {"x86_64": 310, "aarch64": 270}[sys.argv[1]]
rules = [(0x20, 0, 0, 0), (0x15, 0, 1, call), (0x06, 0, 0, 0x80000000), (0x06, 0, 0, 0x7FFF0000)]
code = b"".join(struct.pack("HBBI", *rule) for rule in rules)
block = ctypes.create_string_buffer(code, len(code))
program = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(rules), ctypes.addressof(block)), 16)
libc = ctypes.CDLL(None)
assert libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, program, 0, 0) == 0
shown = [_native._test_evaluate("eval", {"v": beyond}, None, text) for text in ("v[3]", "len(v[1099511627775])")]
print(json.dumps([[str(part) for part in one[:2]] for one in shown]))
"""


def test_memory_is_copied_where_calls_of_the_system_are_filtered():
    command = [sys.executable, "-c", FILTERED, platform.machine()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == [["value", str(0x0707070707070707)], ["error", "host"]]


def test_a_type_of_elements_that_is_not_numpys_own():
    numbers = numpy.array([1.0, 2.0, 3.0])
    scaled = numbers.view(numpy._core._multiarray_umath._get_sfloat_dtype()(2.0))
    texts = numpy.array(["abc", "x" * 100], dtype=numpy.dtypes.StringDType())
    for value in (scaled, texts):
        assert "is not read" in reason(captured(value)["elements"][0])


def test_a_text_that_is_nothing_but_padding():
    for kind, width in (("U", 5_000_000), ("S", 20_000_000)):
        texts = numpy.zeros(3, f"{kind}{width}")
        assert "zeros" in reason(captured(texts)["elements"][0])
        assert evaluate("any(v, {len(@it) > 0})", v=texts) == "error:host"
        short = numpy.array(["mug" if kind == "U" else b"mug"] * 2, dtype=f"{kind}50000")
        assert captured(short)["elements"][1]["value"] == repr(short[1].item())
        assert evaluate("len(v[0])", v=short) == 3


def emptied(made, count, remove):
    for number in range(count - 1):
        remove(made, number)
    return made


def test_collections_that_were_emptied():
    """Their tables are as large as ever. Walks over them pause, so that somebody looks at the clock."""
    count = 300_000
    last = count - 1
    holes = emptied(dict.fromkeys(range(count)), count, dict.pop)
    members = emptied(set(range(count)), count, set.discard)
    ordered = collections.OrderedDict.fromkeys(range(count))
    emptied(ordered, count, dict.pop)
    for value in (holes, ordered):
        assert [entry[0]["value"] for entry in captured(value)["entries"]] == [str(last)]
        assert evaluate(f"contains(v, {last}) && any(v, {{@key == {last}}}) && v == w", v=value, w={last: None}) is True
        assert evaluate("contains(v, 5) || any(v, {@key == 5})", v=value) is False
        assert captured(value.keys())["elements"] == [{"type": "int", "value": str(last)}]
    assert captured(members)["elements"] == [{"type": "int", "value": str(last)}]
    assert evaluate(f"contains(v, {last}) && any(v, {{@it == {last}}}) && v == w", v=members, w={last}) is True
    # By a position, and of fields, nobody looks at the clock: what is left behind so much emptiness is not looked for.
    assert evaluate("v[0]", v=holes.keys()) == "error:host"
    names = emptied(
        types.SimpleNamespace(**{f"a{n}": n for n in range(count)}), count, lambda v, n: delattr(v, f"a{n}")
    )
    assert "emptied" in reason(captured(names))
    assert evaluate(f"v.a{last}", v=names) == last


def test_elements_by_position():
    for size in (1, 63, 64, 65, 200, 1000):
        deque = collections.deque(range(size + 40))
        deque.rotate(17)
        for _ in range(40):
            deque.popleft()
        for place in {0, 1, size // 2, size - 2, size - 1, 62, 63, 64} & set(range(size)):
            assert evaluate(f"v[{place}] == w && v[{place - size}] == w", v=deque, w=deque[place]) is True
    keys = dict.fromkeys(range(100))
    assert evaluate("v[99] == 99 && v[-100] == 0", v=keys.keys()) is True
    del keys[7]
    assert evaluate("v[7] == 8 && v[6] == 6 && len(v) == 99", v=keys.keys()) is True
    # A range of which only the beginning fits 64 bits ends as well.
    assert message(range(2**63 - 1, 2**64 - 10)) == "range{?: {a range beyond 64 bits}}"
    assert evaluate("v[0]", v=range(2**63 - 1, 2**64 - 10)) == "error:host"
    assert evaluate("v[-1] == w", v=range(2**63 - 5, 2**63), w=2**63 - 1) is True


class Color(enum.Enum):
    RED = 1


class Three(tuple):
    __slots__ = ()
    _fields = ("a", "b", "c")


def half_made():
    """Objects whose __init__ did not run, or not to its end."""
    yield object.__new__(Color)
    yield fractions.Fraction.__new__(fractions.Fraction)
    yield object.__new__(fractions.Fraction)
    yield object.__new__(uuid.UUID)
    yield object.__new__(pathlib.PurePosixPath)
    yield collections.OrderedDict.__new__(collections.OrderedDict)
    yield collections.deque.__new__(collections.deque)
    yield collections.defaultdict.__new__(collections.defaultdict)
    yield Slots()
    yield Three((1,))
    yield Three((1, 2, 3, 4))
    yield int.__new__(Level)
    yield str.__new__(Word)
    yield Exception.__new__(Exception)
    yield OSError.__new__(OSError)
    yield UnicodeDecodeError.__new__(UnicodeDecodeError, "a", b"", 0, 1, "b")
    yield types.ModuleType.__new__(types.ModuleType)
    yield weakref.ref(Field(1))
    yield weakref.proxy(Field(1))
    yield memoryview_released()
    yield super.__new__(super)
    yield property()
    yield staticmethod.__new__(staticmethod)
    yield classmethod.__new__(classmethod)
    yield functions_without_module()
    yield types.MethodType(operator.itemgetter(1), 5)
    yield datetime.datetime.now().astimezone()
    yield collections.OrderedDict(a=1).items()
    yield iter(collections.OrderedDict(a=1))
    yield types.MappingProxyType(collections.UserDict(a=1))
    yield types.MappingProxyType({})
    yield collections.ChainMap({}, {})
    yield [].__iter__()
    yield types.SimpleNamespace(**{"": 1, "a.b": 2, "\ud800": 3})
    yield type("", (), {})()
    yield type("Odd", (), {"__qualname__": "\ud800"})()


def memoryview_released():
    view = memoryview(b"x")
    view.release()
    return view


def functions_without_module():
    def made():
        pass

    del made.__module__
    return made


HALF_MADE = list(half_made())


@pytest.mark.parametrize("number", range(len(HALF_MADE)))
def test_half_made_objects(number):
    value = HALF_MADE[number]
    shown = captured(value)
    # A class without a name has that of its ancestor.
    name = type(value).__qualname__ or "object"
    assert shown["type"] == name.encode("utf-8", "replace").decode().replace("?", "\ufffd")
    assert isinstance(message(value), str)
    for text in EXPRESSIONS:
        variables = {"v": value, "other": 1, "list": [value], "twin": [1], "m": {"k": value}, "n": {}, "s": set()}
        came = evaluate(text, **variables)
        unread = list(shown.get("fields", ())) == ["?"]
        assert unread or not (type(came) is str and came.startswith("error:host")), (text, came)


def test_a_lying_qualified_name():
    class Thing:
        pass

    Thing.__qualname__ = "x" * 100_000
    Thing.__module__ = "y" * 100_000
    assert captured(Thing())["type"] == "x" * 509 + "…"  # too long a name is not kept, and is cut
    Thing.__module__ = 5
    assert captured(Thing())["fields"] == {}
    assert evaluate("v instanceof 'Thing'", v=Thing()) is True


def test_an_object_within_its_own_construction(started, module):
    class Slow:
        def __init__(self):
            self.first = 1
            module.probed(self, 1, 2, 3, 4, 5, 6)
            self.second = 2

    line_probe(module, "snapshot", captureSnapshot=True)
    wait_until_installed()
    Slow()
    (event,) = drained()
    shown = event["debugger"]["snapshot"]["captures"]["lines"]["4"]["arguments"]["v"]
    assert shown["fields"] == {"first": {"type": "int", "value": "1"}}


def test_containers_that_another_thread_changes(started, module):
    line_probe(module, "snapshot", captureSnapshot=True, segments=[{"dsl": "any(m, {@key == 'x'})", "json": None}])
    line_probe(module, "log", segments=[{"dsl": "v", "json": None}, {"dsl": "filter(list, {@it == -1})", "json": None}])
    wait_until_installed()
    mapping, numbers, members, thing = {}, [], set(), types.SimpleNamespace()
    stop = threading.Event()

    def change():
        number = 0
        while not stop.is_set():
            number += 1
            mapping[f"k{number % 500}"] = [number]
            mapping.pop(f"k{(number * 7) % 500}", None)
            numbers.append(number)
            members.add(number % 300)
            members.discard((number * 7) % 300)
            setattr(thing, f"f{number % 40}", number)
            if number % 1000 == 0:
                numbers.clear()
                vars(thing).clear()
                mapping.clear()

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    threads = [threading.Thread(target=change) for _ in range(3)]
    try:
        for thread in threads:
            thread.start()
        end = time.monotonic() + 2
        while time.monotonic() < end:
            module.probed(thing, 1, numbers, [], mapping, {}, members)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
        sys.setswitchinterval(before)
    events = drained()
    assert len(events) >= 2
    assert not any("host" in json.dumps(event["debugger"]["snapshot"]["evaluationErrors"]) for event in events)


def test_threads_have_their_names(started, module):
    line_probe(module, "log", segments=[{"str": "hit"}])
    wait_until_installed()
    import _thread

    done = threading.Event()

    def nameless():
        module.probed(1, 2, 3, 4, 5, 6, 7)
        done.set()

    module.probed(1, 2, 3, 4, 5, 6, 7)
    named = threading.Thread(target=module.probed, args=range(7), name="worker-é")
    named.start()
    named.join()
    _thread.start_new_thread(nameless, ())
    assert done.wait(5)
    names = [event["logger"]["thread_name"].rpartition(";pid:")[0] for event in drained()]
    assert names == ["MainThread", "worker-é", ""]


def test_stacks_have_no_columns(started, module):
    line_probe(module, "log", segments=[{"str": "hit"}])
    wait_until_installed()
    module.probed(1, 2, 3, 4, 5, 6, 7)
    (event,) = drained()
    for frame in event["debugger"]["snapshot"]["stack"]:
        assert set(frame) == {"fileName", "function", "lineNumber"}
