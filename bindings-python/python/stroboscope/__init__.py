"""Logs and snapshots from lines and methods of a running program, without stopping it."""

import atexit
import json
from collections.abc import Mapping
from typing import Any

from stroboscope import _native
from stroboscope._native import __version__

__all__ = ["__version__", "add_probe", "flush", "remove_probe", "start", "status", "stop"]


def start(**settings: Any) -> list[str]:
    """Starts. Settings are those of the documentation, by option name; they go before the environment.

    Returns remarks on settings and probe files that could not be used.
    """
    remarks = _native.start([(name, _text(value)) for name, value in settings.items() if value is not None])
    # Threads of ours end before the interpreter does.
    atexit.register(stop)
    return remarks


def stop(timeout: float = 2.0) -> bool:
    """Delivers what was captured and stops. False if something could not be delivered in time."""
    atexit.unregister(stop)
    return _native.stop(timeout)


def add_probe(definition: Mapping[str, Any] | str) -> str:
    """Puts a probe in force, given as a definition or its JSON text. Returns its id; `status()` says what became of it."""
    return _native.add_probe(definition if isinstance(definition, str) else json.dumps(definition))


def remove_probe(probe_id: str) -> bool:
    """Removes a probe. False if there is none with this id."""
    return _native.remove_probe(probe_id)


def flush(timeout: float = 2.0) -> bool:
    """Waits until everything captured so far has left the process. False if that takes longer than the timeout."""
    return _native.flush(timeout)


def status() -> list[dict[str, Any]]:
    """Says what every probe is doing, with a reason where there is one."""
    return _native.status()


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple)):
        return ",".join(map(str, value))
    return str(value)
