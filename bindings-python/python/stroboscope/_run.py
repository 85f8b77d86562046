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

preload_folder = os.path.join(os.path.dirname(os.path.abspath(__file__)), "_preload")

_python_suffixes = (".py", ".pyw", ".pyc", ".pyz")
_not_found, _not_executable, _bad_arguments = 127, 126, 2

_synopsis = """python -m stroboscope run [--at FILE:LINE | --method MODULE:NAME]
                                 [--log TEMPLATE] [--when EXPR] [--capture] [--rate N|all]
                                 [--probes FILE] [--json PATH|-] -- COMMAND…"""

_help_end = """\
COMMAND is a script with its arguments, `-m MODULE`, or any program; Python processes that it starts are included.

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
        if unknown and not unknown.startswith("-"):
            _fail(f"{unknown}: write the command after --, as in: python -m stroboscope run --at … -- {unknown}")
        _fail(message)


class _Inline:
    """A probe that is typed on the command line."""

    def __init__(self, option: str, location: str) -> None:
        self.where = _line_location(location) if option == "--at" else _method_location(location)
        self.id = location
        self.fields: dict[str, Any] = {}

    def definition(self) -> dict[str, Any]:
        options = self.fields
        made: dict[str, Any] = {"id": self.id, "type": "LOG_PROBE", "where": self.where}
        if "--log" in options:
            made["template"] = options["--log"]
        if "--capture" in options or "--log" not in options:
            made["captureSnapshot"] = True
        if "--when" in options:
            made["when"] = {"dsl": options["--when"]}
        if isinstance(options.get("--rate"), float):
            made["sampling"] = {"snapshotsPerSecond": options["--rate"]}
        return made


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
    probes = _inline_probes(options.typed)
    probe_file = _probe_file(options.probes)
    if not probes and not probe_file and not os.environ.get("DD_DYNAMIC_INSTRUMENTATION_PROBE_FILE"):
        _fail("nothing to watch: give --at FILE:LINE, --method MODULE:NAME or --probes FILE")
    if not command:
        _fail("no command: write it after --, as in: python -m stroboscope run --at shop.py:12 -- shop.py")
    program = _program(command)
    settings: dict[str, Any] = {}
    if probe_file:
        settings["probe_file"] = probe_file
    if options.json:
        settings["ndjson"] = options.json if options.json == "-" else os.path.abspath(options.json)
    if ("--rate", "all") in options.typed:
        settings["rate_limits"] = False
    _become(*program, _environment({"settings": settings, "probes": probes}))


def _split(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """What stands before the first `--` is ours, the rest is the program's, untouched."""
    if "--" not in arguments:
        return list(arguments), []
    at = list(arguments).index("--")
    return list(arguments[:at]), list(arguments[at + 1 :])


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="python -m stroboscope", description="Asks a running program a question without stopping it.")
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
    run.add_argument("--probes", metavar="FILE", help="a JSON file of probe definitions (docs/probe-file.md)")
    run.add_argument("--json", metavar="PATH|-", help="write events as JSON, one a line; - is standard output")
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
    # A file that is here means that very file, even if another one of the same name is loaded too.
    return {"sourceFile": os.path.abspath(file) if os.path.isfile(file) else file, "lines": [line]}


def _method_location(text: str) -> dict[str, Any]:
    module, _, name = text.partition(":")
    if not module or not name:
        _fail(f"--method {text}: write MODULE:NAME, for example shop.cart:Cart.total")
    return {"typeName": module, "methodName": name}


def _probe_file(path: str | None) -> str | None:
    if path is None:
        return None
    if os.path.isdir(path):
        _fail(f"--probes {path} is a folder: name a file in it")
    if not os.path.isfile(path):
        _fail(f"--probes {path}: no such file")
    return os.path.abspath(path)


def _program(command: list[str]) -> tuple[str, list[str]]:
    """The file to execute and its argv: what Python would run is run by this Python, with this Python's own options."""
    name = command[0]
    if name in ("-m", "-c", "-") or name.endswith(_python_suffixes) or _is_folder_program(name) or _is_our_script(name):
        _refuse_deaf(_own_flags())
        return sys.executable, [sys.executable, *_typed_flags(), *command]
    if name.startswith("-"):
        _fail(f"{name} is not a command; after -- comes a script, -m MODULE, -c CODE, or a program")
    found = shutil.which(name)
    if found is None:
        exists = os.path.exists(name)
        problem = "not a program that can be run" if exists else "no such program"
        _fail(f"{name}: {problem}", _not_executable if exists else _not_found)
    if os.path.basename(name).startswith(("python", "pypy")):
        _refuse_deaf(command[1:])
    return found, command


def _is_folder_program(name: str) -> bool:
    return os.path.isfile(os.path.join(name, "__main__.py"))


def _is_our_script(name: str) -> bool:
    """A script that names no Python of its own: `#!/usr/bin/env python3`, or one that is not executable at all."""
    if os.sep not in name and shutil.which(name):
        return False
    try:
        with open(name, "rb") as file:
            first = file.readline(200)
    except OSError:
        return False
    if not first.startswith(b"#!") or b"python" not in first:
        return False
    return b"/env " in first or not os.access(name, os.X_OK)


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


def _refuse_deaf(flags: list[str]) -> None:
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
            _fail(f"python -{deaf[0]} ignores PYTHONPATH or site, so no probe gets into the program: leave it out")


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


def _become(program: str, command: list[str], environment: dict[str, str]) -> NoReturn:
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    try:
        os.execve(program, command, environment)
    except OSError as error:
        _fail(f"{program}: {error.strerror}", _not_executable)


def _fail(message: str, code: int = _bad_arguments) -> NoReturn:
    if sys.stderr is not None:
        sys.stderr.write(f"stroboscope: {message}\n")
    sys.exit(code)
