"""`python -m stroboscope run … -- COMMAND`: turns arguments into an environment, becomes COMMAND. Before both walks.

Before: `__main__.py`. After: the program itself, in this very process (`os.execve`), so that pid, signals, terminal
and exit code are its own; in it `_preload/sitecustomize.py` starts the session. No rule about probes is decided here:
what the user typed becomes a probe definition, and the core reads it.
"""

import marshal
import os
import shutil
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from stroboscope import _native, _watch

preload_folder = os.path.join(os.path.dirname(os.path.abspath(__file__)), "_preload")

_python_suffixes = (".py", ".pyw", ".pyc", ".pyz")
_not_found, _not_executable, _bad_arguments = 127, 126, 2


def main(arguments: Sequence[str]) -> int:
    """Runs the command line; returns only if nothing was to be run."""
    own, command = _split(arguments)
    file_is_set = bool(os.environ.get("DD_DYNAMIC_INSTRUMENTATION_PROBE_FILE"))
    outer = _outer()
    try:
        text, (settings, probes), is_static = _native.read_command(own, file_is_set, bool(command), outer)
    except ValueError as error:
        _fail(str(error))
    if text is not None:
        sys.stdout.write(text)
        return 0 if own else _bad_arguments
    if is_static:
        from stroboscope import _explain

        try:
            sys.stdout.write(_explain.statically(settings, probes))
        except ValueError as error:
            _fail(str(error))
        return 0
    program, words, is_python = _program(command)
    if os.pathsep in preload_folder:
        _fail(f"{os.path.dirname(preload_folder)}: no probe gets into a program from a folder with a colon in its path")
    if outer:
        _leave_to_program()
    environment = _environment({"settings": dict(settings), "probes": probes, "streams": _streams()})
    lack = _native.lack_of_room(len(environment["STROBE_RUN"]))
    if lack:
        _fail(lack)
    watch = None if is_python else _watch.begin(command[0])
    if watch:
        environment["STROBE_RUN_FIRST"] = watch.address
    _become(program, words, environment, watch)


def _outer() -> tuple[list[tuple[str, str]], list[str]] | None:
    """The settings and probes of a command that started this one: they are for the same program."""
    told = os.environ.get("STROBE_RUN")
    if not told:
        return None
    try:
        run = marshal.loads(bytes.fromhex(told))
    except ValueError:
        return None  # what the command of another language has told is not for Python
    return list(run["settings"].items()), run["probes"]


def _leave_to_program() -> None:
    """The session that is here already has nothing to say of probes: the program will."""
    try:
        for probe in _native.status():
            _native.remove_probe(probe["id"])
    except RuntimeError:
        return  # none was started


def _split(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """What stands before the first `--` is ours, the rest is the program's, untouched."""
    if "--" not in arguments:
        return list(arguments), []
    at = list(arguments).index("--")
    return list(arguments[:at]), list(arguments[at + 1 :])


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
