"""`python -m stroboscope run … -- COMMAND`: turns arguments into an environment, becomes COMMAND. Before both walks.

Before: `__main__.py`. After: the program itself, in this very process (`os.execve`), so that pid, signals, terminal
and exit code are its own; in it `_preload/sitecustomize.py` starts the session. No rule about probes is decided here:
what the user typed becomes a probe definition, and the core reads it.
"""

import argparse
import marshal
import math
import os
import shutil
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from stroboscope import __version__, _json, _watch

preload_folder = os.path.join(os.path.dirname(os.path.abspath(__file__)), "_preload")

_python_suffixes = (".py", ".pyw", ".pyc", ".pyz")
_not_found, _not_executable, _bad_arguments = 127, 126, 2

_synopsis = """python -m stroboscope run [--at FILE:LINE | --method MODULE:NAME]
                                 [--log TEMPLATE] [--when EXPR] [--capture] [--rate N|all]
                                 [--probes FILE] [--json PATH|-] -- COMMAND…"""

_help_end = """\
COMMAND is a script with its arguments, `-m MODULE`, or any program; Python processes that it starts are included.
A file `….py` is run by this Python; any other script by the Python that its first line names.

Several --at and --method may be given: --log, --when, --capture and --rate belong to the one before them.
Without --log and --capture a probe takes a snapshot: arguments, locals, stack, and for a method what it returned.
Without --rate a probe with a snapshot shows one hit per second, one that only logs up to 5000.

  python -m stroboscope run --at shop/cart.py:48 -- shop.py --port 8000
  python -m stroboscope run --method shop.cart:Cart.total --log 'total {@return} in {@duration} ms' -- -m shop
  python -m stroboscope run --at cart.py:48 --when 'len(lines) > 20' --log 'long: {cart.id}' -- gunicorn shop:app
"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        unknown = message.partition("unrecognized arguments: ")[2]
        if unknown and (not unknown.startswith("-") or unknown.split()[0] in ("-m", "-c")):
            _fail(f"{unknown}: write the command after --, as in: python -m stroboscope run --at … -- {unknown}")
        _fail(message)


class _Inline:
    """A probe that is typed on the command line."""

    def __init__(self, option: str, location: str) -> None:
        self.where = _line_location(location) if option == "--at" else _method_location(location)
        # Bytes that are no text spoil this probe only: the id stays one that its status can name.
        self.id = _utf8(location).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
        self.fields: dict[str, Any] = {}

    def definition(self) -> dict[str, Any]:
        options = self.fields
        made: dict[str, Any] = {"id": self.id, "type": "LOG_PROBE", "where": self.where}
        if "--log" in options:
            made["template"] = _utf8(options["--log"])
        if "--capture" in options or "--log" not in options:
            made["captureSnapshot"] = True
        if "--when" in options:
            made["when"] = {"dsl": _utf8(options["--when"])}
        if isinstance(options.get("--rate"), float):
            made["sampling"] = {"snapshotsPerSecond": options["--rate"]}
        return made


class _Once(argparse.Action):
    """An option of which the last one would silently win."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        if getattr(namespace, self.dest) is not None:
            _fail(f"{option_string} is given twice")
        setattr(namespace, self.dest, values)


class _Ordered(argparse.Action):
    """Keeps the options of inline probes in the order in which they were typed."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        namespace.typed = [*namespace.typed, (option_string, values)]


def main(arguments: Sequence[str]) -> int:
    """Runs the command line; returns only if nothing was to be run."""
    own, command = _split(arguments)
    parser = _parser()
    if not own:
        parser.print_help()
        return _bad_arguments
    options = parser.parse_args(own)
    if options.json == "":
        _fail("--json is given no file: write a path, or - for standard output")
    probes = _inline_probes(options.typed)
    probe_file, read = _probe_file(options.probes)
    probes += read
    if not probes and not probe_file and not os.environ.get("DD_DYNAMIC_INSTRUMENTATION_PROBE_FILE"):
        _fail("nothing to watch: give --at FILE:LINE, --method MODULE:NAME or --probes FILE")
    if not command:
        _fail("no command: write it after --, as in: python -m stroboscope run --at shop.py:12 -- shop.py")
    program, words, is_python = _program(command)
    settings: dict[str, Any] = {}
    if probe_file:
        settings["probe_file"] = probe_file
    if options.json:
        settings["ndjson"] = options.json if options.json == "-" else _absolute("--json", options.json)
    if ("--rate", "all") in options.typed:
        settings["rate_limits"] = False
    if os.pathsep in preload_folder:
        _fail(f"{os.path.dirname(preload_folder)}: no probe gets into a program from a folder with a colon in its path")
    run = _of_outer({"settings": settings, "probes": probes, "streams": _streams()})
    environment = _environment({**run, "probes": [_json(probe) for probe in run["probes"]]})
    _refuse_long(environment)
    watch = None if is_python else _watch.begin(command[0])
    if watch:
        environment["STROBE_RUN_FIRST"] = watch.address
    _become(program, words, environment, watch)


def _refuse_long(environment: dict[str, str]) -> None:
    """The system has a limit for one word of an environment; a little is left for what the program's session adds."""
    room = 32 * os.sysconf("SC_PAGE_SIZE") - 1024
    told = len(environment["STROBE_RUN"])
    if told > room:
        over = -(-(told - room) // 2048)
        _fail(
            f"what is typed or read from a pipe is too long for the system by {over} KiB; write the probes to a file,"
            " and name it with --probes"
        )


def _of_outer(inner: dict[str, Any]) -> dict[str, Any]:
    """With the probes and settings of a command that started this one: they are for the same program."""
    told = os.environ.get("STROBE_RUN")
    if not told:
        return inner
    import json

    outer = marshal.loads(bytes.fromhex(told))
    settings, probes = outer["settings"], [json.loads(text) for text in outer["probes"]]
    if "probe_file" in settings and "probe_file" in inner["settings"]:
        probes = probes + _read_once("--probes", settings["probe_file"])
    known = {probe.get("id") for probe in probes if isinstance(probe, dict)}
    for probe in inner["probes"]:
        while isinstance(probe, dict) and probe.get("id") in known:
            probe["id"] += "#2"
    _leave_to_program()
    return {**inner, "settings": {**settings, **inner["settings"]}, "probes": [*probes, *inner["probes"]]}


def _leave_to_program() -> None:
    """The session that is here already has nothing to say of probes: the program will."""
    native = sys.modules.get("stroboscope._native")
    if native is None:
        return
    try:
        for probe in native.status():
            native.remove_probe(probe["id"])
    except RuntimeError:
        return  # none was started


def _split(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """What stands before the first `--` is ours, the rest is the program's, untouched."""
    if "--" not in arguments:
        return list(arguments), []
    at = list(arguments).index("--")
    return list(arguments[:at]), list(arguments[at + 1 :])


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="python -m stroboscope", description="Asks a running program a question without stopping it.")
    parser.add_argument("--version", action="version", version=f"stroboscope {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", title="commands")
    run = commands.add_parser(
        "run",
        help="run a program with probes in it and show what they catch; `run --help` says more",
        usage=_synopsis,
        epilog=_help_end,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    run.set_defaults(typed=[])
    ordered: dict[str, Any] = {"action": _Ordered, "default": argparse.SUPPRESS}
    run.add_argument("--at", metavar="FILE:LINE", help="probe a line, before it runs", **ordered)
    run.add_argument("--method", metavar="MODULE:NAME", help="probe a function, as it returns or throws", **ordered)
    run.add_argument("--log", metavar="TEMPLATE", help="message, with {expressions} in it", **ordered)
    run.add_argument("--when", metavar="EXPR", help="fire only when this holds", **ordered)
    run.add_argument("--capture", nargs=0, help="take a snapshot beside the message of --log", **ordered)
    run.add_argument(
        "--rate",
        metavar="N|all",
        type=_rate,
        help="at most N hits per second, fractions allowed; all lifts the limits of all probes",
        **ordered,
    )
    once: dict[str, Any] = {"action": _Once}
    run.add_argument("--probes", metavar="FILE", help="a JSON file of probe definitions (docs/probe-file.md)", **once)
    run.add_argument("--json", metavar="PATH|-", help="write events as JSON, one a line; - is standard output", **once)
    return parser


def _rate(text: str) -> float | str:
    if text == "all":
        return text
    try:
        rate = float(text)
    except ValueError:
        rate = -1.0
    if not 0 <= rate < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a number of hits per second nor all")
    return rate


def _inline_probes(typed: list[tuple[str, Any]]) -> list[dict[str, Any]]:
    probes: list[_Inline] = []
    early: list[tuple[str, Any]] = []
    for option, value in typed:
        if option in ("--at", "--method"):
            probes.append(_Inline(option, value))
        elif not probes:
            early.append((option, value))
        else:
            _give(probes[-1], option, value)
    early = [pair for pair in early if pair != ("--rate", "all") or len(probes) == 1]
    if early and len(probes) != 1:
        _fail(f"{early[0][0]} needs a probe before it: write it after the --at or --method that it belongs to")
    for option, value in early:
        _give(probes[0], option, value)
    _number_twins(probes)
    return [probe.definition() for probe in probes]


def _give(probe: _Inline, option: str, value: Any) -> None:
    if option == "--when" and not value.strip():
        _fail(f"--when of {probe.id} is empty: write a condition, for example 'len(lines) > 20', or leave it out")
    if option in probe.fields:
        _fail(f"{option} is given twice for {probe.id}")
    probe.fields[option] = value


def _number_twins(probes: list[_Inline]) -> None:
    """Two probes on one place need two ids."""
    seen: dict[str, int] = {}
    for probe in probes:
        seen[probe.id] = seen.get(probe.id, 0) + 1
        if seen[probe.id] > 1:
            probe.id = f"{probe.id}#{seen[probe.id]}"


def _line_location(text: str) -> dict[str, Any]:
    file, _, line = text.rpartition(":")
    if not file or not line.isascii() or not line.isdigit():
        _fail(f"--at {text}: write FILE:LINE, for example shop/cart.py:48")
    before, _, number = file.rpartition(":")
    if before and number.isascii() and number.isdigit() and not os.path.exists(file):
        _fail(f"--at {text}: write FILE:LINE, without a column: --at {file}")
    # A file that is here means that very file, even if another one of the same name is loaded too.
    file = _absolute("--at", file) if os.path.isfile(file) else file
    return {"sourceFile": _utf8(file), "lines": [line]}


def _method_location(text: str) -> dict[str, Any]:
    module, _, name = text.partition(":")
    if not module or not name:
        _fail(f"--method {text}: write MODULE:NAME, for example shop.cart:Cart.total")
    if os.sep in module:
        _fail(f"--method {text}: write MODULE:NAME with a module as it is imported, not a path: shop.cart, or __main__")
    if module.endswith(".py") and os.path.isfile(module):
        _fail(f"--method {text}: write MODULE:NAME with a module as it is imported: --method {module[:-3]}:{name}")
    return {"typeName": _utf8(module), "methodName": _utf8(name)}


def _utf8(text: str) -> str:
    """What was typed, also where the locale knows less. What is no text stays as it is: the core says so."""
    try:
        return text.encode("utf-8", "surrogateescape").decode("utf-8")
    except UnicodeError:
        return text


def _absolute(option: str, path: str) -> str:
    try:
        return os.path.abspath(path)
    except OSError:
        _fail(f"{option} {path}: the working folder is gone; go into one that is there, or write the whole path")


def _probe_file(path: str | None) -> tuple[str | None, list[dict[str, Any]]]:
    """The file, or what was in it, if it can be read only once."""
    if path is None:
        return None, []
    if os.path.isdir(path):
        _fail(f"--probes {path} is a folder: name a file in it")
    if os.path.isfile(path):
        return _absolute("--probes", path), []
    if not os.path.exists(path):
        _fail(f"--probes {path}: no such file")
    return None, _read_once("--probes", path)


def _read_once(option: str, path: str) -> list[dict[str, Any]]:
    """The definitions in a pipe, such as `<(…)`: children of the program could not read it again."""
    import json

    try:
        with open(path, "rb") as file:
            found = json.loads(file.read())
    except (OSError, ValueError, RecursionError) as error:
        _fail(f"{option} {path}: {error}")
    return found if isinstance(found, list) else [found]


def _program(command: list[str]) -> tuple[str, list[str], bool]:
    """The file to execute, its argv, and whether it surely is a Python.

    What Python would run is run by this Python, with this Python's own options.
    """
    name = command[0]
    if name in ("-m", "-c", "-") or name.endswith(_python_suffixes) or _is_folder_program(name):
        _refuse_deaf(_own_flags())
        return sys.executable, [sys.executable, *_typed_flags(), *command], True
    if name.startswith("-"):
        _fail(f"{name} is not a command; after -- comes a script, -m MODULE, -c CODE, or a program")
    found = shutil.which(name)
    by_path = os.sep in name or not found
    interpreter = _interpreter(name if by_path else str(found))
    options = _options_of_any_python(interpreter)
    if by_path and options is not None:
        _refuse_deaf([*_own_flags(), *options])
        python = _chosen_python()
        typed = _typed_flags() if python == sys.executable else []
        return python, [python, *typed, *options, *command], True
    _refuse_deaf(_python_options(interpreter), f"write a Python before it: -- {sys.executable} {name}")
    if not found and interpreter:
        # It is not executable, but says what runs it; the system hands over all behind the first word as one.
        found = shutil.which(interpreter[0])
        command = [interpreter[0], *filter(None, [" ".join(interpreter[1:])]), *command]
    if found is None:
        exists = os.path.exists(name)
        problem = "no such program"
        if exists:
            problem = f"not a program that can be run; if it is a Python script, write: -- {sys.executable} {name}"
        _fail(f"{name}: {problem}", _not_executable if exists else _not_found)
    is_python = _is_python(found)
    if is_python and not interpreter:
        _refuse_deaf(command[1:])
    return found, command, is_python or bool(interpreter)


def _is_folder_program(name: str) -> bool:
    return os.path.isfile(os.path.join(name, "__main__.py"))


def _is_python(path: str) -> bool:
    return os.path.basename(path).startswith(("python", "pypy"))


def _interpreter(path: str) -> list[str]:
    """The words of the first line of a script, if they name a Python."""
    try:
        with open(path, "rb") as file:
            first = file.readline(256)
    except OSError:
        return []
    words = os.fsdecode(first[2:]).split() if first.startswith(b"#!") else []
    return words if any(map(_is_python, words)) else []


def _options_of_any_python(interpreter: list[str]) -> list[str] | None:
    """What `#!/usr/bin/env python3` and its like give to any Python; `None` if it has to be a certain one."""
    if not interpreter or os.path.basename(interpreter[0]) != "env":
        return None
    words = interpreter[1:]
    if words[0] == "-S":
        words = words[1:]
    elif len(words) > 1:
        return None
    return words[1:] if words[0] in ("python", "python3") else None


def _chosen_python() -> str:
    """This one, unless another virtual environment comes first: a script that asks for any Python means that one."""
    first = shutil.which("python3")
    if not first:
        return sys.executable
    prefix = os.path.dirname(os.path.dirname(os.path.abspath(first)))
    is_other = os.path.isfile(os.path.join(prefix, "pyvenv.cfg")) and not os.path.samefile(prefix, sys.prefix)
    return first if is_other else sys.executable


def _python_options(interpreter: list[str]) -> list[str]:
    words = iter(interpreter)
    return list(words) if any(map(_is_python, words)) else []


def _own_flags() -> list[str]:
    flags = {"-I": sys.flags.isolated, "-E": sys.flags.ignore_environment, "-S": sys.flags.no_site}
    return [flag for flag, is_set in flags.items() if is_set]


def _typed_flags() -> list[str]:
    """The options typed for this Python, as in `python -O -m stroboscope`. Those of the environment stay there."""
    flags: list[str] = []
    rest = iter(sys.orig_argv[1:])
    for word in rest:
        if word == "-m" or not word.startswith("-"):
            return flags
        flags.append(word)
        if word in ("-W", "-X", "--check-hash-based-pycs"):
            flags.append(next(rest, ""))
        elif not word.startswith(("-W", "-X", "--")) and word.endswith("m"):  # `-Om stroboscope`
            flags[-1] = word.removesuffix("m")
            return flags
    return flags


def _refuse_deaf(flags: list[str], way_out: str = "leave it out") -> None:
    """A Python that ignores its environment or skips `site` cannot be reached through PYTHONPATH."""
    rest = iter(flags)
    for flag in rest:
        if flag in ("-W", "-X"):
            next(rest, None)
            continue
        if not flag.startswith("-") or flag[1:2] in ("-", "m", "c"):
            return
        deaf = [letter for letter in "IES" if letter in flag[1:] and flag[1] not in "WX"]
        if deaf:
            _fail(f"python -{deaf[0]} ignores PYTHONPATH or site, so no probe gets into the program: {way_out}")


def _streams() -> tuple[int, list[tuple[int, int] | None]]:
    """Where people look: nothing of ours goes elsewhere, such as into a pipe that the program reads from a child."""
    return os.getpid(), [_identity(1, sys.__stdout__), _identity(2, sys.__stderr__)]


def _identity(number: int, stream: object) -> tuple[int, int] | None:
    if stream is None:
        return None  # there was none at the start
    try:
        found = os.fstat(number)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _environment(run: dict[str, Any]) -> dict[str, str]:
    before = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    others = [entry for entry in before if entry != preload_folder]
    # An unset PYTHONPATH has no entry; one that is empty among others means the working folder and must stay.
    path = [preload_folder] if others in ([], [""]) else [preload_folder, *others]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(path),
        "STROBE_ENABLED": "true",
        "STROBE_RUN": marshal.dumps(run, 2).hex(),  # format 2 is the same in every Python 3
        "STROBE_RUN_FIRST": "1",
    }


def _become(
    program: str, command: list[str], environment: dict[str, str], watch: _watch.Watch | None = None
) -> NoReturn:
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    try:
        os.execve(program, command, environment)
    except OSError as error:
        if watch:
            watch.give_up()
        _fail(f"{program}: {error.strerror}", _not_executable)


def _fail(message: str, code: int = _bad_arguments) -> NoReturn:
    if sys.stderr is not None:
        sys.stderr.write(f"stroboscope: {message}\n")
    sys.exit(code)
