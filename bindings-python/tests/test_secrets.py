"""What has the name of a secret leaves in no way: real objects, through probes and through the doors of the vectors."""

import collections
import enum
import importlib
import json
import sys
import textwrap
import time
import types
import typing

import pytest

from stroboscope import _native

SECRET = "s3cr3t"
SOURCE = textwrap.dedent(
    """
    import collections
    import enum
    Login = collections.namedtuple("Login", "user password")
    class Key(enum.Enum):
        user = 1
        password = 2
    class Account:
        def __init__(self):
            self.user = "bob"
            self.__password = "s3cr3t"
        def login(self, __pin, login):
            __token = "s3cr3t"
            user = {"user": "bob", "password": "s3cr3t"}
            sent = {b"user": "bob", b"password": "s3cr3t"}
            by_member = {Key.user: "bob", Key.password: "s3cr3t"}
            logins = [login]
            member, raw = Key.password, b"password"
            done = True  # here
            return login
    class Slotted:
        __slots__ = ("user", "__secret")
        def __init__(self):
            self.user = "bob"
            self.__secret = "s3cr3t"
    def both():
        account = Account()
        slotted = Slotted()
        account.login("s3cr3t", Login("bob", "s3cr3t"))
        return slotted  # slots
    """
)


def line_of(mark):
    return next(number for number, line in enumerate(SOURCE.splitlines(), 1) if f"# {mark}" in line)


@pytest.fixture
def accounts(tmp_path, monkeypatch):
    name = f"accounts_{time.monotonic_ns()}"
    (tmp_path / f"{name}.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(str(tmp_path))
    _native.start([], True)
    yield importlib.import_module(name)
    assert _native.stop(5.0)
    sys.modules.pop(name, None)


def add(module, probe_id, where, **fields):
    definition = {
        "id": probe_id,
        "version": 1,
        "type": "LOG_PROBE",
        "language": "python",
        "where": {"sourceFile": f"{module.__name__}.py", "lines": [str(line_of(where))]}
        if isinstance(where, str)
        else {"typeName": module.__name__, **where},
        "sampling": {"snapshotsPerSecond": 5000},
        **fields,
    }
    _native.add_probe(json.dumps(definition))
    for _ in range(500):
        seen = next(probe for probe in _native.status() if probe["id"] == probe_id)
        if seen["state"] == "installed":
            return
        time.sleep(0.01)
    raise AssertionError(seen)


def events():
    assert _native.flush(5.0)
    return {event["debugger"]["snapshot"]["probe"]["id"]: event for event in map(json.loads, _native._test_events())}


def test_no_secret_leaves_in_a_snapshot_a_message_or_a_capture_expression(accounts):
    names = ["self", "login", "logins[0]", "login[1]", "login[-1]", "user", "user[member]", "sent", "sent[raw]"]
    names += ["by_member", "by_member[member]", "self._Account__password", "_Account__pin", "_Account__token"]
    names += ["filter(user, {true})", "filter(login, {true})", "any(user, {@value == 's3cr3t'})"]
    template = " | ".join(f"{{{name}}}" for name in names)
    add(accounts, "snapshot", "here", captureSnapshot=True, template=template)
    add(accounts, "slots", "slots", captureSnapshot=True, template="{slotted}")
    add(accounts, "returned", {"methodName": "Account.login"}, template="{@return} {@return[1]}")
    expressions = [{"name": f"value{index}", "expr": {"dsl": name}} for index, name in enumerate(names)]
    add(accounts, "expressions", "here", captureExpressions=expressions)
    for guess in ("s3c", "xx"):
        condition = f"any(user, {{@key == 'password' && startsWith(@value, '{guess}')}})"
        add(accounts, f"guess {guess}", "here", when={"dsl": condition}, template="guessed")
    accounts.both()
    seen = events()
    # The expressions of the author may say it; the values may not.
    for event in seen.values():
        event["debugger"]["snapshot"].pop("evaluationErrors", None)
    assert SECRET not in json.dumps(seen)
    arguments = seen["snapshot"]["debugger"]["snapshot"]["captures"]["lines"][str(line_of("here"))]
    withheld = {"type": "str", "notCapturedReason": "redactedIdent"}
    assert arguments["arguments"]["_Account__pin"] == arguments["locals"]["_Account__token"] == withheld
    assert arguments["arguments"]["self"]["fields"]["_Account__password"] == withheld
    slotted = seen["slots"]["debugger"]["snapshot"]["captures"]["lines"][str(line_of("slots"))]["locals"]["slotted"]
    assert slotted["fields"] == {"user": {"type": "str", "value": "'bob'"}, "_Slotted__secret": withheld}
    assert seen["slots"]["message"] == 'Slotted{_Slotted__secret: {redacted}, user: "bob"}'
    assert seen["returned"]["message"] == '["bob", {redacted}] {redacted}'
    parts = dict(zip(names, seen["snapshot"]["message"].split(" | "), strict=True))
    assert parts["login"] == parts["logins[0]"] == '["bob", {redacted}]'
    assert parts["by_member"] == '{Key.user: "bob", Key.password: {redacted}}'
    assert parts["user"] == parts["filter(user, {true})"] == '{"user": "bob", "password": {redacted}}'
    for name in ("login[1]", "login[-1]", "user[member]", "sent[raw]", "by_member[member]", "_Account__pin"):
        assert parts[name] == "{redacted}", name
    # Neither guess tells anything: both conditions fail alike.
    assert seen["guess s3c"]["message"] == seen["guess xx"]["message"]
    assert "redacted" in seen["guess xx"]["message"]


class Login(typing.NamedTuple):
    user: str
    password: str


class Longer(Login):
    extra = "x"


class Untold(tuple):
    """Names fewer fields than there are elements."""

    _fields = ("password",)


class Key(enum.Enum):
    user = 1
    password = 2


def outcome(expression, **variables):
    how, value, _ = _native._test_evaluate("eval", variables, None, expression, None)
    return value if how == "value" else ("error", value)


REDACTED = ("error", "redacted")


@pytest.mark.parametrize(
    "login",
    [Login("bob", SECRET), Longer("bob", SECRET), collections.namedtuple("Three", "user password n")("bob", SECRET, 3)],
)
def test_a_named_tuple_is_read_by_the_names_of_its_elements(login):
    assert outcome("v[0]", v=login) == outcome("v.user", v=login) == "bob"
    for expression in ("v[1]", "any(v, {@it == 's3cr3t'})", "filter(v, {true})", "contains(v, 's3cr3t')", "v == w"):
        assert outcome(expression, v=login, w=list(login)) == REDACTED, expression
    assert outcome("contains(v, 'bob') && any(v, {@it == 'bob'}) && v != w", v=login, w=["eve", *login[1:]]) is True


def test_elements_that_a_tuple_has_no_name_for_are_read():
    assert outcome("v[1]", v=Untold((SECRET, "plain"))) == "plain"
    assert outcome("v[0]", v=Untold((SECRET, "plain"))) == REDACTED


def test_an_entry_is_judged_by_the_key_that_is_found():
    for keys in (Key, {"user": b"user", "password": b"password"}):
        user, password = keys["user"], keys["password"]
        entries = {user: "bob", password: SECRET}
        assert outcome("v[k]", v=entries, k=user) == "bob"
        for expression in ("v[k]", "any(v, {@value == 's3cr3t'})", "v == w", "isDefined(v[k])"):
            assert outcome(expression, v=entries, w=dict(entries), k=password) == REDACTED, expression
    assert outcome("v[k]", v={"password": SECRET}, k=Key.password) == REDACTED
    assert outcome("v[k]", v={"user": "bob"}, k=Key.user) == "bob"


class Number(enum.IntEnum):
    user = 1
    password = 2


Name = enum.Enum("Name", {"user": "u", "password": "p"}, type=str)


class Word(enum.StrEnum):
    user = "u"
    password = "p"


class Right(enum.IntFlag):
    user = 1
    password = 2


@pytest.mark.parametrize("keys", [Key, Number, Name, Word, Right])
def test_a_key_is_judged_by_the_member_that_it_is_too(keys):
    entries = {keys.user: "bob", keys.password: SECRET}
    two = {"k": keys.password, "plain": keys.password.value, "w": dict(entries), "u": keys.user}
    assert outcome("v[u]", v=entries, **two) == "bob"
    tries = ["v[k]", "any(v, {@value == 's3cr3t'})", "v == w", "isDefined(v[k])"]
    tries += ["any(v, {v[@key] == 's3cr3t'})", "startsWith(v[k], 's')", "filter(v, {true})[k]", "len(v[k]) == 6"]
    tries += ["plains == v", "v == plains", "contains(l, plains)", "plains != v"]
    plain = "Key.password" if keys is Key else keys.password.value
    two["plains"] = {("Key.user" if keys is Key else keys.user.value): "bob", plain: SECRET}
    two["l"] = [entries]
    if keys is not Key:
        tries += ["v[plain]"]
    for expression in tries:
        assert outcome(expression, v=entries, **two) == REDACTED, expression
    for expression in ("contains(v, 's3cr3t')", "any(v, {@it == 's3cr3t'})", "v[1]", "filter(v, {true})[0]"):
        assert outcome(expression, v=entries.values()) == REDACTED, expression
    shown = [
        entries,
        collections.OrderedDict(entries),
        entries.values(),
        entries.items(),
        types.MappingProxyType(entries),
    ]
    for value in shown:
        segments = [(None, text, None) for text in ("v", "filter(v, {true})")]
        event = _native._test_event({"v": value}, segments, (3, 100, 255, 20), None)
        assert SECRET not in event and "bob" in event, event


# Its own tables of names, which are full when the test begins.
FULL = (("never_seen_password",), (), ())


def full_of_names():
    """Leaves no number for another name, as a program does that makes up names all the time."""
    for part in range(80):
        many = [types.SimpleNamespace(**{f"made_{part}_{k}_{n}": 1 for n in range(250)}) for k in range(2)]
        _native._test_event({"many": many}, None, (3, 100, 255, 1000), FULL)


class Tuple(typing.NamedTuple):
    never_seen_first: str
    never_seen_pass_word: str


class Slots:
    __slots__ = ("__never_seen", "never_seen_passWORD", "never_seen_second")

    def __init__(self):
        self.never_seen_second, self.never_seen_passWORD, self.__never_seen = "bob", SECRET, 1


def test_a_name_beyond_the_table_is_redacted_and_shown_all_the_same():
    slots = Slots()
    full_of_names()
    values = {
        "tuple": Tuple("bob", SECRET),
        "slots": slots,
        "own": types.SimpleNamespace(never_seen_third="bob", never_seen_Password=SECRET),
        "never_seen_PASSword": SECRET,
        "key": {"never_seen_fourth": "bob", "never_seen_Pass_word": SECRET},
    }
    segments = [(None, name, None) for name in values]
    event = json.loads(_native._test_event(values, segments, (3, 100, 255, 20), FULL))
    assert SECRET not in json.dumps(event)
    shown = event["debugger"]["snapshot"]["captures"]["lines"]["1"]["arguments"]
    withheld = {"type": "str", "notCapturedReason": "redactedIdent"}
    bob, one = {"type": "str", "value": "'bob'"}, {"type": "int", "value": "1"}
    assert shown["tuple"]["fields"] == {"never_seen_first": bob, "never_seen_pass_word": withheld}
    slotted = {"never_seen_second": bob, "never_seen_passWORD": withheld, "_Slots__never_seen": one}
    assert shown["slots"]["fields"] == slotted
    assert shown["own"]["fields"] == {"never_seen_third": bob, "never_seen_Password": withheld}
    assert shown["never_seen_PASSword"] == withheld


def test_a_name_too_long_for_the_table_is_redacted_and_shown_all_the_same():
    long, secret = "z" * 300, "pass" + "_" * 300 + "word"
    made = collections.namedtuple("Made", [long, "k", secret])("bob", 1, SECRET)
    slots = type("Slots", (), {"__slots__": (long, "k", secret)})()
    for name, value in made._asdict().items():
        setattr(slots, name, value)
    for value in (made, slots):
        event = json.loads(_native._test_event({"v": value}, [(None, "v", None)], (3, 100, 255, 20), None))
        fields = event["debugger"]["snapshot"]["captures"]["lines"]["1"]["arguments"]["v"]["fields"]
        assert SECRET not in json.dumps(event)
        assert fields == {
            long: {"type": "str", "value": "'bob'"},
            "k": {"type": "int", "value": "1"},
            secret: {"type": "str", "notCapturedReason": "redactedIdent"},
        }


def test_the_values_of_a_dict_are_judged_by_their_keys():
    values = {"user": "bob", "password": SECRET, b"pin": 1, Key.user: 2}.values()
    assert outcome("v[0]", v=values) == "bob"
    assert outcome("v[3]", v=values) == 2
    assert outcome("len(v) == 4 && contains(v, 'bob') && any(v, {@it == 'bob'})", v=values) is True
    for expression in ("v[1]", "v[-2]", "any(v, {@it == 's3cr3t'})", "filter(v, {true})", "contains(v, 1)", "v == w"):
        assert outcome(expression, v=values, w=["bob", SECRET, 1, 2]) == REDACTED, expression
    event = json.loads(_native._test_event({"v": values}, [(None, "v", None)], (3, 100, 255, 20), None))
    assert SECRET not in json.dumps(event)
    text = {"type": "str", "notCapturedReason": "redactedIdent"}
    number = {"type": "int", "notCapturedReason": "redactedIdent"}
    captured = event["debugger"]["snapshot"]["captures"]["lines"]["1"]["arguments"]["v"]
    assert captured["elements"] == [{"type": "str", "value": "'bob'"}, text, number, {"type": "int", "value": "2"}]
    assert event["message"] == '["bob", {redacted}, {redacted}, ...]'


class Text(str):
    __slots__ = ()


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ValueError(), ""),
        (ValueError(5), "5"),
        (ValueError(b"x"), ""),
        (ValueError(None), "None"),
        (ValueError(""), ""),
        (ValueError("x"), "x"),
        (ValueError(Text("own")), "own"),
        (ValueError([SECRET]), ""),
        (ValueError({"password": SECRET}, "two"), "two"),
        (OSError(2, "No such file"), "[Errno 2] No such file"),
    ],
)
def test_every_exception_has_a_message(error, message):
    assert outcome("v.message == m && v['message'] == m", v=error, m=message) is True


class Quiet(OSError):
    def __str__(self):
        raise AssertionError("the program's code ran")


class Asked(Exception):
    def __getattr__(self, name):
        raise AssertionError("the program's code ran")


class Computed(Exception):
    @property
    def message(self):
        raise AssertionError("the program's code ran")


class Speaking(str):
    __slots__ = ()

    def __str__(self):
        raise AssertionError("the program's code ran")

    __repr__ = __str__


def raised(text):
    try:
        exec(text)
    except Exception as error:
        return error


@pytest.mark.parametrize(
    "text",
    [
        "b'\\xff'.decode()",
        "b'a\\xffb\\xfe'.decode('ascii')",
        "b'\\xf0\\x28'.decode()",
        "'\u20ac'.encode('latin-1')",
        "'\u20ac\u20ac'.encode('ascii')",
        "raise UnicodeTranslateError('\u20ac', 0, 1, 'why')",
        "open('/no/such/file')",
        "open(b'/no/such/file')",
        "__import__('os').rename('/no/such', '/nor/this')",
        "__import__('os').close(99999)",
        "{}[42]",
        "{}['key']",
        "{}[b'key']",
        "{}[None]",
        "compile('a b', 'file.py', 'exec')",
        "import nowhere_at_all",
        "nowhere",
        "1 / 0",
        "[][1]",
        "int('x')",
        "None.x",
        "raise StopIteration(3)",
        "raise KeyError(True)",
        "raise KeyError(1.5)",
        "raise KeyError",
        "raise OSError('alone')",
        "raise OSError(5)",
        "raise ConnectionResetError(104, 'reset')",
    ],
)
def test_the_exceptions_of_python_say_what_they_say_to_people(text):
    error = raised(text)
    assert outcome("v.message == m", v=error, m=str(error)) is True, str(error)


def test_an_exception_that_only_the_program_could_tell_shows_its_text():
    error = OSError(2, Speaking("gone"))
    for error, message in (
        (Quiet(2, "gone", "file"), "gone"),
        (OSError(2, Speaking("gone"), "file"), "gone"),
        (OSError(2, "gone", Speaking("file")), "gone"),
        (KeyError(Speaking("key")), "key"),
        (KeyError((1, 2)), ""),
        (OSError(10**30, "big"), "big"),
        (KeyError("k" * 5000), "k" * 5000),
        (Asked("asked"), "asked"),
    ):
        assert outcome("v.message == m", v=error, m=message) is True, message
    assert outcome("v.message", v=Computed("text")) == ("error", "side_effect")
    broken = raised("b'\\xff'.decode()")
    broken.start, broken.end = -(1 << 40), -(1 << 40) + 1
    assert outcome("v.message", v=broken) == "utf-8"
    broken = raised("b'\\xff'.decode()")
    broken.reason = Speaking("own")
    assert outcome("v.message", v=broken) == "utf-8"
    shadowed = OSError(2, "gone", Speaking("file"))
    shadowed.__dict__["filename"] = "file"
    assert outcome("v.message", v=shadowed) == "gone"


def test_messages_that_were_made_live_as_long_as_the_hit():
    errors = [KeyError(number) for number in range(2000)]
    assert outcome("all(v, {@it.message == w[@it.args[0]]})", v=errors, w=[str(n) for n in range(2000)]) is True


def test_none_true_and_false_say_what_to_write():
    for name, literal in (("None", "null"), ("True", "true"), ("False", "false")):
        *_, text = _native._test_evaluate("eval", {"x": None}, None, f"x == {name}", None)
        assert text == f"No such variable: '{name}' (write {literal})"
    for expression, hint in (("x is None", "'=='"), ("x and y", "'&&'"), ("not x", "'!'"), ("x in y", "contains")):
        *_, text = _native._test_evaluate("eval", {"x": None}, None, expression, None)
        assert text.startswith("Invalid expression: ") and hint in text, text


def test_collections_that_are_nested_too_deep_say_so():
    nested = [0]
    for _ in range(1000):
        nested = [nested]
    assert outcome("v == v", v=nested[0]) is True
    how, category, text = _native._test_evaluate("eval", {"v": nested}, None, "v == v", None)
    assert (how, category) == ("error", "limit") and text.endswith("nested deeper than 1000 levels")
