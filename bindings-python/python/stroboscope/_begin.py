"""What the preload does inside the program: starts the session, ends it when the program ends. Before both walks.

Before: `_preload/sitecustomize.py`. After: `start()`, `add_probe()`, `stop()`. What the command was told arrives in
STROBE_RUN: `{"settings": {…}, "probes": […]}`, marshalled, in hexadecimal digits; importing `json` would take longer
than everything else here. STROBE_RUN_FIRST is there for the first Python only. Both are internal: `_run.py` writes
them.
"""

import atexit
import marshal
import os
import sys

import stroboscope
from stroboscope import _native

_flush_seconds = 1.0  # of the 2 s that an end may take in all


def begin() -> None:
    """Starts what the environment asks for."""
    # Python processes below this one are not the one that was asked for: they report only what they caught.
    first = os.environ.pop("STROBE_RUN_FIRST", None) is not None
    told = os.environ.get("STROBE_RUN")
    if not told and _vendor_debugger_runs():
        say("off: ddtrace's debugger runs in this process; STROBE_ENABLED=true turns both on")
        return
    run = marshal.loads(bytes.fromhex(told)) if told else {"settings": {}, "probes": []}
    stroboscope.start(**run["settings"])
    for definition in run["probes"]:
        stroboscope.add_probe(definition)
    # Registered before anything of the program, hence called after it: the program's own exit handlers can be probed.
    atexit.register(_end, bool(told), os.getpid() if first else None)


def say(text: str) -> None:
    """Writes one line of ours, if there is anywhere to write it."""
    if sys.stderr is not None:
        sys.stderr.write(f"stroboscope: {text}\n")


def _vendor_debugger_runs() -> bool:
    if os.environ.get("STROBE_ENABLED"):
        return False
    module = sys.modules.get("ddtrace.debugging._debugger")
    return getattr(getattr(module, "Debugger", None), "_instance", None) is not None


def _end(by_command: bool, first_pid: int | None) -> None:
    """Delivers what is still on its way; under the command, says what each probe did. Ctrl-C only ends the waiting."""
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
