"""Starts Stroboscope in a Python that was started with this folder on PYTHONPATH. Stands before both walks.

`python -m stroboscope run` puts the folder there; whoever wants probes without the command does it by hand and sets
DD_DYNAMIC_INSTRUMENTATION_ENABLED. Before: `site`, which imports `sitecustomize`. After: `_begin.py`, in a Python that
can carry probes. It runs in every Python below the command, also in old ones: only words that Python 2.7 knows.

The program must not notice: the folder leaves `sys.path` (PYTHONPATH keeps it for children), and the program's own
`sitecustomize` runs as it would have. Where there is none, the ImportError goes on to `site`, which expects it.
"""

# mypy: ignore-errors
import os
import stat
import sys


def _say(text):
    if sys.stderr is None:
        return
    text = "stroboscope: " + text + "\n"
    screen = _screen()
    if screen is None:
        if _has_room(2):
            sys.stderr.write(text)
        return
    try:
        pipe = os.open(screen, os.O_WRONLY | os.O_APPEND | os.O_NOCTTY | os.O_NONBLOCK)
        os.write(pipe, text.encode("utf-8", "backslashreplace"))
        os.close(pipe)
    except OSError:
        return  # nobody looks


def _has_room(number):
    """False: nobody reads it, and writing there would wait."""
    found, path = sys.modules.get("select"), sys.path
    standard = os.path.dirname(os.__file__)
    try:
        # The program may have a module of that name.
        sys.path = [entry for entry in path if entry == standard or os.path.basename(entry) == "lib-dynload"]
        import select

        room = select.poll()
    except (ImportError, AttributeError):
        return True
    finally:
        sys.path = path
        if found is None:
            sys.modules.pop("select", None)
    room.register(number, select.POLLOUT)
    return bool(room.poll(200))


def _screen():
    """Where people look, if standard error is not it: then it belongs to the program, which may read it."""
    try:
        import marshal

        pid, (_, wanted) = marshal.loads(bytes.fromhex(os.environ["STROBE_RUN"]))["streams"]
        found = os.fstat(2)
    except Exception:
        return None  # the command did not start this, or this Python is too old to know
    path = "/proc/%d/fd/2" % pid
    if wanted is None or (found.st_dev, found.st_ino) == wanted:
        return None
    try:
        there = os.stat(path)
    except OSError:
        return os.devnull
    # A file could be written over.
    return path if (there.st_dev, there.st_ino) == wanted and not stat.S_ISREG(there.st_mode) else os.devnull


def _on(name):
    """As the core reads it: true, false, or `None` for unset, empty, and what is neither."""
    value = os.environ.get(name, "").strip().lower()
    return True if value in ("1", "true", "yes", "on") else False if value in ("0", "false", "no", "off") else None


def _wanted():
    ours = _on("STROBE_ENABLED")
    if ours is not None:
        return ours
    theirs = _on("DD_DYNAMIC_INSTRUMENTATION_ENABLED")
    if not theirs:
        names = ["STROBE_ENABLED", "DD_DYNAMIC_INSTRUMENTATION_ENABLED"]
        bad = [name for name in names if _on(name) is None and os.environ.get(name, "").strip()]
        told = ["%s: %r is not true or false" % (name, os.environ[name][:100]) for name in bad]
        if told:
            ways = "set DD_DYNAMIC_INSTRUMENTATION_ENABLED=true or STROBE_ENABLED=true"
            _say("off in this process: it is not switched on; %s (%s)" % (ways, "; ".join(told)))
    return bool(theirs)


def _leave_path(folder):
    for entry in sys.path:
        if os.path.abspath(entry) == folder:
            sys.path.remove(entry)
            sys.path_importer_cache.pop(entry, None)
            return


def _report(first):
    """Tells the process that the command left behind, if it did, that a Python is here."""
    path, _, name = (first or "").partition(" ")
    try:
        if name and os.readlink(path) == name:
            pipe = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
            os.write(pipe, b".")
            os.close(pipe)
    except OSError:
        return  # it waits no more


def _begin(folder):
    # The first Python below the command is the one the user means: it says why there are no probes. Others keep quiet.
    first = os.environ.get("STROBE_RUN_FIRST")
    _report(first)
    loud = first or _on("STROBE_DEBUG")
    version = "%d.%d.%d" % sys.version_info[:3]
    if sys.version_info < (3, 12) or sys.implementation.name != "cpython":
        if loud:
            _say("no probes in this program: stroboscope needs CPython 3.12 or newer; found " + version)
        return
    if "t" in sys.abiflags:
        if loud:
            _say("no probes in this program: stroboscope needs a CPython with the GIL; %s is free-threaded" % version)
        return
    try:
        package = _package(os.path.dirname(folder))
    except ImportError as error:
        if any("subinterpreter" in str(why) for why in (error, error.__context__)):
            return  # the main one has the probes
        # Said in children too: whoever asked for their probes would look for them in vain.
        _say("stroboscope is not installed for Python %d.%d; no probes in this program" % sys.version_info[:2])
        return
    package._begin.begin()


class _Beside:
    """Finds the package where this file lies, so that a program in another environment of this version has it too."""

    def __init__(self, folder):
        from _frozen_importlib_external import PathFinder  # no file of the program's can stand before it

        self.find = PathFinder.find_spec
        self.folders = [folder]

    def find_spec(self, name, path=None, target=None):
        return self.find(name, self.folders) if name == "stroboscope" else None


def _package(folder):
    finder = _Beside(os.path.dirname(folder))
    sys.meta_path.insert(0, finder)
    try:
        import stroboscope._begin
    except ImportError:
        sys.meta_path.remove(finder)
        for name in [name for name in sys.modules if name.partition(".")[0] == "stroboscope"]:
            del sys.modules[name]
        # That one is for another version of Python; this environment may have its own.
        import stroboscope._begin
    else:
        sys.meta_path.remove(finder)
    return stroboscope


_folder = os.path.dirname(os.path.abspath(__file__))
_leave_path(_folder)
_this = sys.modules.pop("sitecustomize", None)  # kept alive: Python 2 clears a module that nobody holds
try:
    import sitecustomize
finally:
    if _wanted():
        try:
            _begin(_folder)
        except Exception as error:
            _say("off in this process: %s: %s" % (type(error).__name__, error))
