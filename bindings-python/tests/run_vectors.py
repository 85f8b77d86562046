"""Runs vector files with real Python objects: `run_vectors.py FILE…` prints each failure and `N passed, N failed`.

Values are built as a program would have them: classes with bases, fields in the instance, getters as properties that
count, enumerations, generators. They go through the adapters and the core that a probe's hit uses; no session is
needed. What an adapter has no part in (definitions, locations, statuses, rates, pruning) is decided by the core alone
and counted as skipped; `cargo run -p xtask -- vectors` runs it.
"""

import collections
import decimal
import enum
import json
import pathlib
import random
import sys
import uuid
import weakref

from stroboscope import _native

SECRET = "s3cr3t-value"
CORE_ALONE = ("definition", "file", "path", "line", "status", "rates", "prune")


class Skipped(Exception):
    """The vector cannot be run here; the text says why."""


class Failed(Exception):
    """The text says what was expected and what came."""


# ---- reading ---------------------------------------------------------------------------------------------------------


class Vector(dict):
    """The fields of a vector; `raw` has their text, so that no integer or double is written anew."""

    def __init__(self, text, start):
        super().__init__()
        self.raw = {}
        position = skip(text, start + 1)
        while text[position] != "}":
            name, position = DECODER.raw_decode(text, position)
            if name in self:
                raise ValueError(f"the field '{name}' is there twice")
            position = skip(text, skip(text, position) + 1)
            self[name], end = DECODER.raw_decode(text, position)
            self.raw[name] = text[position:end]
            position = skip(text, end)
            if text[position] == ",":
                position = skip(text, position + 1)
        self.end = position + 1

    def rules(self):
        config = self.get("config", {})
        names = ("redacted_identifiers", "redaction_excluded_identifiers", "redacted_types")
        return tuple(config.get(name, []) for name in names)


def no_number(name):
    raise ValueError(f"{name} is no JSON")


DECODER = json.JSONDecoder(parse_constant=no_number)


def skip(text, position):
    while text[position] in " \t\r\n":
        position += 1
    return position


def read(text):
    """The vectors of a file's text."""
    if not isinstance(DECODER.decode(text), dict):
        raise ValueError("it is no JSON object")
    head = Vector(text, skip(text, 0))
    number = head.get("format")
    if type(number) is not int or number != 1:
        raise ValueError(f"format {number} is not known, only 1")
    written = head.get("vectors")
    if not isinstance(written, list) or not all(isinstance(vector, dict) for vector in written):
        raise ValueError("its vectors are no array of objects")
    if not written:
        raise ValueError("there are no vectors in it")
    text = head.raw["vectors"]
    position = skip(text, 1)
    vectors = []
    while text[position] != "]":
        vectors.append(Vector(text, position))
        position = skip(text, vectors[-1].end)
        if text[position] == ",":
            position = skip(text, position + 1)
    if len(vectors) != len(written):
        raise ValueError(f"{len(vectors)} of {len(written)} vectors were read")
    return vectors


# ---- what a vector may hold ------------------------------------------------------------------------------------------

SHAPES = json.loads((pathlib.Path(__file__).parents[2] / "tests/toys/shape.json").read_text(encoding="utf-8"))
"""The runner of the core reads the same file, and says there how it is written."""


def check_shape(vector):
    """Fails if a vector holds anything that its kind does not know, or not all that it must."""
    kind = vector.get("kind")
    if kind not in SHAPES["kinds"]:
        raise Failed(f"unknown kind '{kind}'")
    fits({**SHAPES["of_all"], **SHAPES["kinds"][kind]}, vector, "the vector")


def fits(shape, found, place):
    match shape:
        case str():
            simple(shape, found, place)
        case [element]:
            if not isinstance(found, list):
                raise Failed(f"{place} is no array")
            for at, inner in enumerate(found):
                fits(element, inner, f"{place}[{at}]")
        case {"either": shapes}:
            reasons = []
            for one in shapes:
                try:
                    return fits(one, found, place)
                except Failed as reason:
                    reasons.append(str(reason))
            raise Failed(", or ".join(reasons))
        case _:
            fits_object(shape, found, place)
    return None


def fits_object(shape, found, place):
    if not isinstance(found, dict):
        raise Failed(f"{place} is no object")
    known = {name.rstrip("?"): inner for name, inner in shape.items()}
    for name, value in found.items():
        if name not in known and "*" not in known:
            raise Failed(f"{place} has an unknown field '{name}'")
        fits(known.get(name, known.get("*")), value, f"{place}.{name}")
    for name in shape:
        if name != "*" and not name.endswith("?") and name not in found:
            raise Failed(f"{place} has no '{name}'")


def simple(name, found, place):
    match name:
        case "any":
            fine = True
        case "text":
            fine = isinstance(found, str)
        case "bool":
            fine = isinstance(found, bool)
        case "true":
            fine = found is True
        case "count":
            fine = type(found) is int and found >= 0
        case "value":
            return fits_value(found, place)
        case _ if name.startswith("="):
            fine = isinstance(found, str) and found in name[1:].split("|")
        case _:
            return fits(SHAPES["named"][name], found, place)
    if not fine:
        raise Failed(f"{place} is not {name}")
    return None


def fits_value(found, place):
    match found:
        case list():
            for element in found:
                fits_value(element, place)
        case dict() if len(found) == 1 and next(iter(found)).startswith("$"):
            ((tag, inner),) = found.items()
            if tag not in SHAPES["tags"]:
                raise Failed(f"unknown tag {tag}")
            fits(SHAPES["tags"][tag], inner, f"{place}.{tag}")
        case dict():
            for name, inner in found.items():
                if name in SHAPES["tags"]:
                    raise Failed(f"{place} has the tag {name} beside other members")
                fits_value(inner, place)


# ---- the world of a vector -------------------------------------------------------------------------------------------

PLACES = {}
"""Hashes of members of sets, by id: they decide the order in which a set is walked."""
RAN = []
"""What ran of the program's code."""


def ran(what):
    RAN.append(what)
    return what


def hashed(self):
    ran("__hash__")
    return PLACES.get(id(self), 0)


def same(self, other):
    ran("__eq__")
    return self is other


def hashable(base):
    """A subclass whose instances may stand in a set, or as keys, beside others equal to them, at a place we choose."""
    return type(base.__name__, (base,), {"__hash__": hashed, "__eq__": same, "__module__": base.__module__})


BASES = (int, float, str, bytes, list, dict, set, decimal.Decimal, complex)
HASHABLE = {base: hashable(base) for base in BASES}


class OrderedEnum(enum.Enum):
    def __hash__(self):
        return PLACES.get(id(self), 0)


class Unusual:
    """What stands behind a proxy."""

    def __getattribute__(self, name):
        return ran(f"__getattribute__ of {name}")


class Sequence:
    def __getitem__(self, index):
        raise IndexError(ran("__getitem__"))


def counted_iterator():
    ran("an iterator")
    yield 1


def function(name):
    def made():
        ran("a function")

    made.__name__ = made.__qualname__ = name
    return made


def getter(name):
    return property(lambda _: ran(f"the getter {name}"))


def decimal_of(text):
    return decimal.Context(prec=decimal.MAX_PREC, Emax=decimal.MAX_EMAX, Emin=decimal.MIN_EMIN).create_decimal(text)


class World:
    """Builds the values of one vector and knows what each was written as."""

    def __init__(self, natural=False):
        self.natural = natural
        self.classes = {}
        self.enums = {}
        self.written = {}
        self.keep = []
        self.turn = 0
        PLACES.clear()

    def variables(self, written):
        self.find_enums(written)
        return {name: self.build(value) for name, value in (written or {}).items()}

    def find_enums(self, value):
        if isinstance(value, list):
            for element in value:
                self.find_enums(element)
        if isinstance(value, dict):
            for name, inner in value.items():
                if name == "$enum":
                    members = self.enums.setdefault(inner["class"], {})
                    members[inner["name"]] = inner.get("value")
                self.find_enums(inner)

    def build(self, value):
        match value:
            case list():
                return [self.build(element) for element in value]
            case dict() if len(value) == 1 and next(iter(value)).startswith("$"):
                ((tag, inner),) = value.items()
                return self.tagged(tag, inner, value)
            case dict():
                return {name: self.build(inner) for name, inner in value.items()}
            case _:
                return value

    def remember(self, made, value):
        self.keep.append(made)
        self.written[id(made)] = value
        return made

    def class_of(self, inner, root=object, getters=()):
        """The class of a value, its ancestors in a line above it."""
        line = [inner["class"], *inner.get("bases", [])]
        base = root
        for depth in range(len(line) - 1, -1, -1):
            name, key = line[depth], (root, tuple(line[depth:]), tuple(getters) if depth == 0 else ())
            if name in ("Exception", "builtins.Exception") and root is Exception:
                continue
            if key not in self.classes:
                module, _, bare = name.rpartition(".")
                body = {"__module__": module or "__main__", **{getter_: getter(getter_) for getter_ in key[2]}}
                if root in (object, Exception):
                    body["__hash__"] = lambda self: PLACES.get(id(self), 0)
                self.classes[key] = type(bare, (base,), body)
            base = self.classes[key]
        return base

    def fill(self, made, fields):
        self.turn += 1
        for name, value in (fields or {}).items():
            if isinstance(value, dict) and "$unreadable" in value:
                raise Skipped("Python reads every field of an instance")
            if self.turn % 2:
                object.__setattr__(made, name, self.build(value))
            else:
                vars(made)[name] = self.build(value)

    def tagged(self, tag, inner, value):
        make = getattr(self, f"make_{tag[1:]}", None)
        if make is None:
            raise Failed(f"unknown tag {tag}")
        return make(inner, value)

    def make_undefined(self, _inner, _value):
        raise Skipped("Python has no undefined")

    def make_int(self, inner, _value):
        return int(decimal.Decimal(inner)) if len(inner) > 4000 else int(inner)

    def make_float(self, inner, _value):
        return float(inner)

    def make_decimal(self, inner, _value):
        return decimal_of(inner)

    def make_bytes(self, inner, _value):
        return bytes.fromhex(inner)

    def make_record(self, inner, _value):
        return {name: self.build(value) for name, value in inner.items()}

    def make_map(self, inner, _value):
        made = {}
        for written_key, written_value in inner:
            key = self.key(written_key, made)
            made[key] = self.build(written_value)
        return made

    def key(self, written, among):
        """A key that may stand beside the others, plain if possible."""
        key = self.build(written)
        try:
            if key not in among:
                return key
        except TypeError:
            pass
        key = self.wrapped(key)
        if key in among:
            raise Skipped("a key or member that Python holds only once")
        PLACES[id(key)] = 1000 + len(self.keep)
        return key

    def wrapped(self, value):
        """The same value as something that can be hashed and is equal to nothing else."""
        base = type(value)
        if isinstance(value, weakref.ProxyType):
            return self.remember(HASHABLE[complex](1), {"$opaque": True})
        if base in HASHABLE:
            value = HASHABLE[base](value)
            self.keep.append(value)
        return value

    def make_set(self, inner, _value):
        if self.natural:
            return {self.build(member) for member in inner}
        for attempt in range(400):
            members = []
            for position, written in enumerate(inner):
                member = self.wrapped(self.build(written))
                PLACES[id(member)] = position if attempt == 0 else DICE.randrange(64)
                members.append(member)
            made = set(members)
            if len(made) < len(members):
                raise Skipped("a key or member that Python holds only once")
            if all(one is other for one, other in zip(made, members, strict=True)):
                return made
        raise Skipped("a set that Python walks in another order")

    def make_object(self, inner, value):
        cls = self.class_of(inner, getters=inner.get("getters", ()))
        made = self.remember(cls.__new__(cls), value)
        self.fill(made, inner.get("fields"))
        return made

    def make_exception(self, inner, value):
        cls = self.class_of(inner, Exception, inner.get("getters", ()))
        message = inner.get("message")
        made = self.remember(cls(message) if message else cls(), value)
        fields = {name: field for name, field in (inner.get("fields") or {}).items() if name not in OF_EXCEPTIONS}
        self.fill(made, fields)
        return made

    def make_enum(self, inner, value):
        name = inner["class"]
        if ("enum", name) not in self.classes:
            module, _, bare = name.rpartition(".")
            members = [(member, self.build(held)) for member, held in self.enums[name].items()]
            self.classes["enum", name] = OrderedEnum(bare, members, module=module or "__main__", qualname=bare)
        return self.remember(self.classes["enum", name][inner["name"]], value)

    def make_function(self, inner, value):
        return self.remember(function(inner), value)

    def make_iterator(self, _inner, value):
        # A generator would show its name in a capture.
        return self.remember(iter(Sequence()) if self.natural else counted_iterator(), value)

    def make_opaque(self, _inner, value):
        if self.natural:
            return self.remember(object(), value)
        behind = Unusual()
        self.keep.append(behind)
        return self.remember(weakref.proxy(behind), value)

    def make_complex(self, inner, _value):
        return complex(*(self.build(part) for part in inner))

    def make_repeat(self, inner, _value):
        return inner["text"] * inner["times"]

    def make_utf16(self, inner, _value):
        return b"".join(unit.to_bytes(2, "little") for unit in inner).decode("utf-16-le", "surrogatepass")

    def make_count(self, inner, _value):
        return list(range(inner["times"]))

    def make_keys(self, inner, _value):
        return {f"k{number}": None for number in range(inner["times"])}

    def make_wide(self, inner, value):
        fields = {f"f{number}": None for number in range(inner["times"])}
        return self.make_object({**inner, "fields": fields}, value)

    def make_nested(self, inner, _value):
        made = self.build(inner.get("value"))
        for _ in range(inner["times"]):
            made = [made]
        return made

    def make_cycle(self, _inner, _value):
        made = []
        made.append(made)
        return made

    def make_bigint(self, inner, _value):
        base, _, power = inner.removeprefix("-").partition("^")
        return (-1 if inner.startswith("-") else 1) * int(base) ** int(power)

    def make_named(self, inner, _value):
        module, _, bare = inner["class"].rpartition(".")
        named = collections.namedtuple(bare, inner["fields"], module=module)
        return named(*(self.build(field) for field in inner["fields"].values()))

    def make_scalar(self, inner, _value):
        import datetime
        import pathlib

        makers = {
            "datetime.datetime": datetime.datetime.fromisoformat,
            "pathlib.PosixPath": pathlib.PosixPath,
            "uuid.UUID": uuid.UUID,
        }
        if inner["class"] not in makers:
            raise Skipped(f"no recipe for {inner['class']}")
        return makers[inner["class"]](inner["text"])

    def make_typed(self, inner, value):
        own = {
            "tuple": lambda: tuple(self.build(inner["value"])),
            "list_iterator": lambda: self.remember(iter([1]), value),
            "_io.TextIOWrapper": self.open_file,
        }
        if inner["class"] in own:
            return own[inner["class"]]()
        of = self.build(inner["value"])
        return self.class_of(inner, type(of))(of)

    def make_shown(self, inner, _value):
        module, _, bare = inner["class"].rpartition(".")
        value = self.build(inner["value"])
        if inner["class"] == "range":
            return range(*map(int, inner["text"].removeprefix("range(").removesuffix(")").split(", ")))
        base = {int: enum.IntEnum, str: enum.StrEnum}[type(value)]
        return base(bare, [(inner["text"], value)], module=module)[inner["text"]]

    def make_extended(self, inner, _value):
        value = self.build(inner["value"])
        made = self.class_of(inner, type(value))(value)
        self.fill(made, inner["fields"])
        return made

    def open_file(self):
        self.keep.append(open(__file__))  # noqa: SIM115
        return self.keep[-1]

    def make_changing(self, _inner, _value):
        raise Skipped("nothing changes while the GIL is held")

    def close(self):
        for kept in self.keep:
            if hasattr(type(kept), "close") and not hasattr(type(kept), "throw"):
                kept.close()

    # ---- comparing ----

    def seen(self, value):  # noqa: PLR0911, PLR0912 - one case a kind
        """A value that came out, as something to be compared."""
        if id(value) in self.written:
            return told(self.written[id(value)])
        match value:
            case tuple():
                tag, items = value
                if tag == "$set":
                    return "set", tuple(sorted(map(self.seen, items), key=repr))
                return "map", tuple(sorted(((self.seen(key), self.seen(held)) for key, held in items), key=repr))
            case None:
                return ("null",)
            case bool():
                return "bool", value
            case int():
                return "int", int(value)
            case float():
                return "float", float.__repr__(value)
            case str():
                return "str", str.__str__(value)
            case bytes():
                return "bytes", bytes(value)
            case decimal.Decimal() if value.is_finite():
                return "decimal", decimal.Decimal(value).as_tuple()
            case decimal.Decimal():
                return "float", special(value)
            case list():
                return "list", tuple(self.seen(element) for element in value)
            case set():
                return "set", tuple(sorted(map(self.seen, value), key=repr))
            case dict():
                return "map", tuple(
                    sorted(((self.seen(key), self.seen(held)) for key, held in value.items()), key=repr)
                )
        raise Failed(f"an unexpected {type(value)}")


DICE = random.Random(7)
OF_EXCEPTIONS = ("args", "__cause__", "__context__", "__suppress_context__")


def special(value):
    """A decimal that is no number, as the text of a float."""
    return "nan" if value.is_nan() else repr(float(value))


def told(value):  # noqa: PLR0911, PLR0912 - one case a kind
    """A written value, as something to be compared."""
    match value:
        case list():
            return "list", tuple(map(told, value))
        case {"$set": members}:
            return "set", tuple(sorted(map(told, members), key=repr))
        case {"$map": entries}:
            return "map", tuple(sorted(((told(key), told(held)) for key, held in entries), key=repr))
        case {"$int": text}:
            return "int", int(text)
        case {"$float": text}:
            return "float", repr(float(text))
        case {"$decimal": text}:
            made = decimal_of(text)
            return ("decimal", made.as_tuple()) if made.is_finite() else ("float", special(made))
        case {"$bytes": text}:
            return "bytes", bytes.fromhex(text)
        case {"$object": inner} | {"$exception": inner} | {"$enum": inner}:
            fields = tuple((name, told(field)) for name, field in (inner.get("fields") or {}).items())
            bases, rest = tuple(inner.get("bases", ())), (inner.get("name"), inner.get("message"))
            return next(iter(value)), inner["class"], bases, rest, tuple(inner.get("getters", ())), fields
        case {"$record": members}:
            return told({"$map": list(members.items())})
        case {"$undefined": _}:
            raise Skipped("Python has no undefined")
        case dict() if len(value) == 1 and next(iter(value)).startswith("$"):
            ((tag, inner),) = value.items()
            return tag, inner
        case dict():
            return told({"$map": list(value.items())})
        case None:
            return ("null",)
        case bool():
            return "bool", value
        case int():
            return "int", value
        case float():
            return "float", repr(value)
        case str():
            return "str", value


# ---- the kinds of vectors --------------------------------------------------------------------------------------------


def of_this_host(vector):
    if vector.get("host") not in (None, "python"):
        raise Skipped("for another host")
    match vector.get("json"):
        case {"index": [{"ref": name}, int()]} if str(vector["vars"].get(name)).startswith("{'$record'"):
            raise Skipped("a dict is no record: its keys may be of any kind")


def wrapped(vector):
    """The JSON form, wrapped as often as the vector says."""
    text = vector.raw.get("json")
    wrap = vector.get("wrap")
    if text is None or wrap is None:
        return text
    op, times = json.dumps(wrap["op"]), wrap["times"]
    if "with" in wrap:
        return f"{{{op}: [" * times + text + f", {json.dumps(wrap['with'])}]}}" * times
    return f"{{{op}: " * times + text + "}" * times


def same_forms(vector):
    """Fails if the two forms of the expression are two expressions, or if there is none."""
    text, form = vector.get("dsl"), vector.raw.get("json")
    if text is None and form is None:
        raise Failed("there is no expression")
    if text is None or form is None or "wrap" in vector:
        return
    try:
        same = _native._test_print(None, text) == _native._test_print(form)
    except ValueError:
        return  # a text may be only what people read: then it does not parse
    if not same:
        raise Failed("dsl and json are two expressions")


def evaluate(vector, kind):
    of_this_host(vector)
    same_forms(vector)
    world = World()
    variables = world.variables(vector.get("vars"))
    RAN.clear()
    how, value, text = _native._test_evaluate(kind, variables, wrapped(vector), vector.get("dsl"), vector.rules())
    if RAN:
        raise Failed(f"the program's code ran: {RAN}")
    expect = vector["expect"]
    if "error" in expect:
        if how != "error" or expect["error"] not in (value, "any"):
            raise Failed(f"expected the error {expect['error']}, got {value!r} {text}")
        if not text:
            raise Failed("an error without a text")
        return
    wanted = told(expect["fires"] if kind == "condition" else expect["value"])
    if how == "error":
        raise Failed(f"expected {wanted}, got the error {value}: {text}")
    came = world.seen(value)
    if came != wanted:
        raise Failed(f"expected {wanted}, got {came}")


def evaluation(vector):
    evaluate(vector, "eval")


def condition(vector):
    evaluate(vector, "condition")


def metric(vector):
    evaluate(vector, vector.get("metric_kind", "GAUGE"))


def segments_of(vector):
    """`str`, `dsl` and raw `json` of each segment."""
    return [
        (segment.get("str"), segment.get("dsl"), None if segment.get("json") is None else json.dumps(segment["json"]))
        for segment in vector["segments"]
    ]


def is_message(wanted, message):
    """True if a message is as expected, where `{*}` stands for a brace, any error text and a brace."""
    before, star, after = wanted.partition("{*}")
    if not star:
        return wanted == message
    if not message.startswith(before + "{"):
        return False
    rest = message[len(before) + 1 :]
    return any(is_message(after, rest[at + 1 :]) for at, letter in enumerate(rest) if letter == "}")


def template(vector):
    of_this_host(vector)
    world, expect = World(), vector["expect"]
    variables = world.variables(vector.get("vars"))
    RAN.clear()
    try:
        event = json.loads(_native._test_event(variables, segments_of(vector), None, vector.rules()))
    except ValueError:
        if "error" in expect:
            return
        raise
    if RAN:
        raise Failed(f"the program's code ran: {RAN}")
    if not is_message(expect["message"], event["message"]):
        raise Failed(f"expected the message {expect['message']!r}, got {event['message']!r}")
    came = [error["expr"] for error in event["debugger"]["snapshot"]["evaluationErrors"]]
    wanted = [error["expr"] for error in expect.get("errors", [])]
    if came != wanted:
        raise Failed(f"expected evaluation errors of {wanted}, got {came}")
    came = failures(vector, variables)
    wanted = [error["error"] for error in expect.get("errors", [])]
    if len(came) != len(wanted) or any(one not in (other, "any") for one, other in zip(wanted, came, strict=True)):
        raise Failed(f"expected errors of the categories {wanted}, got {came}")


def failures(vector, variables):
    """The categories of the segments that fail, in order."""
    found = []
    for fixed, text, form in segments_of(vector):
        if fixed is not None and text is None and form is None:
            continue
        how, category, _ = _native._test_evaluate("eval", variables, form, text, vector.rules())
        if how == "error":
            found.append(category)
    return found


def parse(vector):
    if "error" in vector["expect"]:
        try:
            raise Failed(f"expected an error, got {_native._test_print(None, vector['text'])}")
        except ValueError:
            return
    start = skip(vector.raw["expect"], 0)
    expect = Vector(vector.raw["expect"], start)
    if not _native._test_parses_to(vector["text"], expect.raw["json"]):
        raise Failed(f"expected {expect.raw['json']}, got {_native._test_print(None, vector['text'])}")


def printed(vector):
    came = _native._test_print(vector.raw["json"])
    if came != vector["expect"]["text"]:
        raise Failed(f"expected {vector['expect']['text']}, got {came}")


def limits_of(vector):
    limits = vector.get("limits", {})
    defaults = {"maxReferenceDepth": 3, "maxCollectionSize": 100, "maxLength": 255, "maxFieldCount": 20}
    return tuple(limits.get(name, default) for name, default in defaults.items())


def captured(event):
    return event["debugger"]["snapshot"]["captures"]["lines"]["1"]["arguments"]


def without_order(value):
    """The members of a set in an order of their own."""
    match value:
        case dict():
            inner = {name: without_order(held) for name, held in value.items()}
            if value.get("type") in ("set", "frozenset") and "elements" in inner:
                inner["elements"] = sorted(inner["elements"], key=repr)
            return inner
        case list():
            return [without_order(element) for element in value]
    return value


def record(vector):
    if not vector["expect"]:
        raise Failed("nothing is expected")
    if "python" not in vector["expect"]:
        raise Skipped("says nothing of Python")
    world, name = World(natural=True), vector.get("name", "v")
    try:
        variables = world.variables({name: vector["value"]})
        RAN.clear()
        event = json.loads(_native._test_event(variables, None, limits_of(vector), vector.rules()))
    finally:
        world.close()
    if RAN:
        raise Failed(f"the program's code ran: {RAN}")
    came, wanted = captured(event)[name], vector["expect"]["python"]
    if without_order(came) != without_order(wanted):
        raise Failed(f"expected {shown(wanted)}, got {shown(came)}")


def shown(value):
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) < 1000 else text[:1000] + "…"


def spelt(name, spelling):
    first, rest = name[:1], name[1:]
    return {
        "as it is": name,
        "upper case": name.upper(),
        "snake case": f"__{first}_{rest}_",
        "dashes and dots": f"{first}-{rest[:1]}.{rest[1:]}",
        "dollar and at": f"$@{name}",
        "spaces": f"\t{first} {rest} ",
        "symbol": f"Symbol({name})",
        "private": f"#{name}",
        "class and name": f"_My__Class__{name}",
        "longer": f"{name}zz",
    }[spelling]


def redaction(vector):
    hidden = vector["expect"]["redacted"]
    done = 0
    for name in vector["names"]:
        for spelling in vector["spellings"]:
            for place in vector["places"]:
                in_place(spelt(name, spelling), place, hidden, vector.rules())
                done += 1
    if not done:
        raise Failed("the vector is empty")


def in_place(name, place, hidden, rules):
    def read(how, key):
        return f'{{"{how}": [{{"ref": "v"}}, {key}]}}'

    instance = {"$object": {"class": "Holder", "fields": {name: SECRET}}}
    record_ = {"$record": {name: SECRET}}
    written, expression = {
        "variable": ({name: SECRET}, f'{{"ref": {json.dumps(name)}}}'),
        "field": ({"v": instance}, '{"ref": "v"}'),
        "member": ({"v": instance}, read("getmember", json.dumps(name))),
        "key": ({"v": record_}, '{"ref": "v"}'),
        "index": ({"v": record_}, read("index", json.dumps(name))),
        "computed index": ({"v": record_, "k": name}, read("index", '{"ref": "k"}')),
        "bytes key": ({"v": {"$map": [[{"$bytes": name.encode().hex()}, SECRET]]}}, None),
    }[place]
    variables = World().variables(written)
    where = f"{name!r} as {place}"
    segments = [(None, None, expression)] if expression else []
    try:
        text = _native._test_event(variables, segments, limits_of({}), rules)
    except ValueError:
        # Not every spelling is a name in an expression; then there is only the capture.
        segments = []
        text = _native._test_event(variables, segments, limits_of({}), rules)
    event = json.loads(text)
    if (SECRET in text) == hidden:
        raise Failed(f"{where}: {'the secret leaves' if hidden else 'it was withheld'}: {text}")
    if ("redactedIdent" in json.dumps(captured(event))) != hidden:
        raise Failed(f"{where}: redactedIdent is {'missing' if hidden else 'there'}: {text}")
    if segments and ("{redacted}" in event["message"]) != hidden:
        raise Failed(f"{where}: the message is {event['message']!r}")


KINDS = {
    "eval": evaluation,
    "condition": condition,
    "metric": metric,
    "template": template,
    "parse": parse,
    "print": printed,
    "record": record,
    "redaction": redaction,
}


class Report:
    """What a run gave."""

    def __init__(self):
        self.passed = []
        self.failed = []
        self.skipped = collections.Counter()
        self.ran = collections.Counter()

    def __str__(self):
        lines = [f"FAILED {name}: {reason}" for name, reason in self.failed]
        lines += [f"skipped {count}: {reason}" for reason, count in sorted(self.skipped.items())]
        return "\n".join([*lines, f"{len(self.passed)} passed, {len(self.failed)} failed"])


def run(vectors, report=None):
    """Runs vectors; failures are in the report, not raised."""
    report = report or Report()
    ids = set()
    for vector in vectors:
        kind = vector.get("kind")
        try:
            check_shape(vector)
            if vector["id"] in ids:
                raise Failed("its id is used twice")
            ids.add(vector["id"])
            if kind in CORE_ALONE:
                raise Skipped(f"{kind}: decided by the core alone")
            if kind not in KINDS:
                raise Failed(f"unknown kind '{kind}'")
            KINDS[kind](vector)
        except Skipped as reason:
            report.skipped[str(reason)] += 1
            continue
        except Exception as reason:
            text = str(reason) if isinstance(reason, Failed) else f"{type(reason).__name__}: {reason}"
            report.failed.append((vector.get("id", "?"), text))
        else:
            report.passed.append(vector["id"])
        report.ran[kind] += 1
    return report


def main(files):
    if not files:
        raise SystemExit("usage: run_vectors.py FILE…")
    sys.set_int_max_str_digits(0)
    report = Report()
    for file in files:
        try:
            with open(file, encoding="utf-8-sig") as opened:
                vectors = read(opened.read())
        except OSError as error:
            report.failed.append((file, error.strerror))
        except ValueError as error:
            report.failed.append((file, f"not a vector file: {error}"))
        else:
            run(vectors, report)
    print(report)
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
