"""What the preload does inside the program: starts the session, ends it when the program ends. Before both walks.

Before: `_preload/sitecustomize.py`. After: `start()`, `add_probe()`, and the native end. What the command was told
arrives in STROBE_RUN: `{"settings": {…}, "probes": […]}`, marshalled, in hexadecimal digits; importing `json` would
take longer than everything else here. STROBE_RUN_FIRST is there for the first Python only. Both are internal:
`_run.py` writes them.
"""

import atexit
import marshal
import os

import stroboscope
from stroboscope import _native


def begin() -> None:
    """Starts what the environment asks for."""
    # Python processes below this one are not the one that was asked for: they report only what they caught.
    first = os.environ.pop("STROBE_RUN_FIRST", None) is not None
    told = os.environ.get("STROBE_RUN")
    if not told:
        stroboscope._start({}, "preload")
        # Registered before anything of the program, hence called after it: its own exit handlers can be probed.
        atexit.register(_end, False, None)
        return
    run = marshal.loads(bytes.fromhex(told))
    stroboscope._start(run["settings"], "command", first)
    atexit.register(_end, True, os.getpid() if first else None)
    for definition in run["probes"]:
        stroboscope.add_probe(definition)


def say(text: str) -> None:
    """Writes one line of ours."""
    _write(f"stroboscope: {text}\n")


def _write(text: str) -> None:
    """Writes past `sys.stderr`: text left in its buffer, with descriptor 2 closed, would change the exit code."""
    try:
        os.write(2, text.encode("utf-8", "backslashreplace"))
    except OSError:
        return  # the program wants no standard error


def _end(by_command: bool, first_pid: int | None) -> None:
    """Delivers what is still on its way; under the command, says what each probe did."""
    try:
        fired, lines = _native.finish()
        if by_command and (fired or os.getpid() == first_pid):
            _write("".join(f"{line}\n" for line in lines))
    except KeyboardInterrupt:
        return
    except Exception as error:
        say(f"could not end in order: {type(error).__name__}: {error}")
