"""What the preload does inside the program: starts the session, ends it when the program ends. Before both walks.

Before: `_preload/sitecustomize.py`. After: `start()`, `add_probe()`, and the native end. What the command was told
arrives in STROBE_RUN: `{"settings": {…}, "probes": […]}`, each probe as the JSON text of its definition, `"streams"`,
which are those that the command was given, and below the first process `"tally"`, where counts are added up;
marshalled, in hexadecimal digits. STROBE_RUN_FIRST is there for the first Python only: 1, or where it tells that it is
there (`_watch.py`). Both are internal: `_run.py` writes them.

Nothing is imported here, nor by the package, that lies in a file: the program may have a module of that name, which
would not be found any more.
"""

import atexit
import marshal
import os
import sys

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
        atexit.register(_end)
        return
    run = marshal.loads(bytes.fromhex(told))
    tally = run.get("tally")
    # A first process that has become another program by `os.execv` still is the first.
    first = first or (tally is not None and tally[0] == os.getpid())
    stroboscope._start(run["settings"], "command", first, tally, run.get("streams"))
    atexit.register(_end)
    if first:
        # Processes below this one add what they count to what it counts.
        run["tally"] = _native.tally()
        os.environ["STROBE_RUN"] = marshal.dumps(run, 2).hex()
    for definition in run["probes"]:
        try:
            stroboscope.add_probe(definition)
        except ValueError as error:
            # It spoils itself only.
            say(f"a probe is not used: {error}")


def say(text: str) -> None:
    """Writes one line of ours, past `sys.stderr`: what is left in its buffer would change the exit code."""
    if sys.__stderr__ is None:
        return  # there was none at the start: descriptor 2 may be a file of the program's
    _native._say(text.encode("utf-8", "backslashreplace").decode())


def _end() -> None:
    """Delivers what is still on its way, and says what each probe did."""
    try:
        _native.finish()
    except KeyboardInterrupt:
        return
    except Exception as error:
        say(f"could not end in order: {type(error).__name__}: {error}")
