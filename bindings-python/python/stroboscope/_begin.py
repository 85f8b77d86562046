"""What the preload does inside the program: starts the session, ends it when the program ends. Stands before both walks.

Before: `_preload/sitecustomize.py`. After: `start()`, `add_probe()`, `stop()`. What the command was told arrives in one
variable, STROBE_RUN, a JSON object `{"first": bool, "settings": {…}, "probes": […]}`. It is internal: only `_run.py`
writes it.
"""

import atexit
import os
import sys

import stroboscope
from stroboscope import _native

_run_variable = "STROBE_RUN"
_flush_seconds = 1.0  # of the 2 s that an end may take in all


def begin() -> None:
    """Starts what the environment asks for."""
    run = _read_run()
    if run is None and _vendor_debugger_runs():
        say("off: ddtrace's debugger runs in this process; STROBE_ENABLED=true turns both on")
        return
    stroboscope.start(**(run or {}).get("settings", {}))
    for definition in (run or {}).get("probes", []):
        stroboscope.add_probe(definition)
    # Registered before anything of the program, hence called after it: the program's own exit handlers can be probed.
    atexit.register(_end, run is not None, os.getpid() if run and run["first"] else None)


def say(text: str) -> None:
    """Writes one line of ours, if there is anywhere to write it."""
    if sys.stderr is not None:
        sys.stderr.write(f"stroboscope: {text}\n")


def _read_run() -> dict | None:
    text = os.environ.get(_run_variable)
    if not text:
        return None
    import json  # a preload without the command does not need it

    run = json.loads(text)
    # Python processes below this one are not the one that was asked for: they report only what they caught.
    os.environ[_run_variable] = json.dumps({**run, "first": False})
    return run


def _vendor_debugger_runs() -> bool:
    if os.environ.get("STROBE_ENABLED"):
        return False
    module = sys.modules.get("ddtrace.debugging._debugger")
    return getattr(getattr(module, "Debugger", None), "_instance", None) is not None


def _end(by_command: bool, first_pid: int | None) -> None:
    """Delivers what is still on its way; says what each probe did, if the command asked. Ctrl-C only ends the waiting."""
    try:
        stroboscope.flush(_flush_seconds)
        lines = _native.summary() if by_command else []
        fired = any(probe["hits"] for probe in stroboscope.status())
        stroboscope.stop()
        if (fired or os.getpid() == first_pid) and sys.stderr is not None:
            sys.stderr.write("".join(f"{line}\n" for line in lines))
            sys.stderr.flush()
    except KeyboardInterrupt:
        return
    except Exception as error:
        say(f"could not end in order: {type(error).__name__}: {error}")
