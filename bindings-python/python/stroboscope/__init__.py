"""Logs and snapshots from lines and methods of a running program, without stopping it."""

import atexit
import os
import sys
from _collections_abc import Iterable, Mapping  # it is there before any program: `collections.abc` may not be

from stroboscope import _native
from stroboscope._native import __version__

TYPE_CHECKING = False  # that of `typing`, whose import would take longer than everything else here
if TYPE_CHECKING:
    from typing import Any, Literal, Unpack

    from stroboscope.settings import Settings
    from stroboscope.types import ProbeStatus, Stats

__all__ = ["__version__", "add_probe", "explain", "flush", "remove_probe", "start", "stats", "status", "stop"]

_largest = 1.7976931348623157e308  # beyond it are the infinities; NaN is nowhere
_too_many = 1_000_000  # parts of a definition that are not written yet
_by_preload = False  # the session was there before the program asked for it
_stops_at_exit = False  # `stop` is among the exit handlers


def start(**settings: "Unpack[Settings]") -> list[str]:
    """Starts. Settings are those of the documentation, by option name; they go before the environment.

    Returns remarks: settings and probe files that could not be used, that the session is off in this process, or that
    the command or the environment has started one already. The same lines go to the logger `stroboscope`.

    Raises RuntimeError if the program has started it already, if a `stop()` in another thread has not returned yet, or
    if other tools hold all ids of `sys.monitoring`; OSError if the system gives no thread.
    """
    if _by_preload:
        return ["started already, by the command or the environment; the settings given here are not used"]
    return _start(settings, "program")


def _start(
    settings: "Mapping[str, Any]",
    by: "Literal['program', 'preload', 'command']",
    first: bool = True,
    tally: tuple[int, int, str] | None = None,
    streams: tuple[int, list[tuple[int, int] | None]] | None = None,
) -> list[str]:
    options = [(_utf8(name), _setting(name, value)) for name, value in settings.items() if value is not None]
    colors = not os.environ.get("NO_COLOR")
    mute = sys.__stderr__ is None  # descriptor 2 may be any file of the program's
    remarks = _native.start(options, by=by, first=first, no_color=not colors, mute=mute, tally=tally, streams=streams)
    global _by_preload, _stops_at_exit  # noqa: PLW0603 one session per process
    if by != "program":
        _by_preload = True
    elif not _stops_at_exit:
        # Threads of ours end before the interpreter does. It stays there: between a `stop()` and a `start()` of two
        # threads it could be taken out of turn, and where nothing runs it does nothing.
        _stops_at_exit = True
        atexit.register(_native.stop, at_exit=True)
    return remarks


def stop(timeout: float = 2.0) -> bool:
    """Delivers what was captured and stops. While another thread stops, waits for that, at most as long.

    False if something captured since the start did not arrive, whenever it was lost; `stats()` says what became of it,
    after the end too. True if there is nothing to be stopped.
    """
    global _by_preload  # noqa: PLW0603 one session per process
    _by_preload = False
    return _native.stop(timeout)


def add_probe(definition: "Mapping[str, Any] | str") -> str:
    """Puts a probe in force: a definition, or its JSON text. Returns its id; `status()` says what became of it."""
    if not isinstance(definition, str):
        definition = _native.unseen(_json, definition)
    return _native.add_probe(definition)


def remove_probe(probe_id: str) -> bool:
    """Removes a probe. False if there is none with this id."""
    return _native.remove_probe(probe_id)


def flush(timeout: float = 2.0) -> bool:
    """Waits until everything captured so far has left the process.

    False if that takes longer than the timeout, or if something is lost meanwhile: `stats()` says why. What was lost
    before the call is there too, but no reason to answer False.
    """
    return _native.flush(timeout)


def status() -> "list[ProbeStatus]":
    """Says what every probe is doing, with a reason where there is one; after `stop()`, what it did."""
    return _native.status()


def explain(probe_id: str) -> list[str]:
    """Says in sentences why a probe did or did not fire: what was searched and found, which lines near the one asked
    for have code, whether that code ran since, what became of its hits, and what they have cost.

    Raises ValueError if there is no probe with this id.
    """
    return _native.explain(probe_id)


def stats() -> "Stats":
    """Counts hits, events and uploads of all probes together, with what was lost, by reason; after `stop()` too."""
    return _native.stats()


def _json(definition: "Any") -> str:
    """Its JSON text. `json` is not imported for it: the program may have a module of that name.

    A number that JSON does not have becomes what is nothing else, so that the error names its field; and no nesting is
    too deep for it.
    """
    parts: list[str] = []
    left: list[Any] = [(definition,)]
    while left:
        if len(left) > _too_many:
            raise ValueError("the definition contains itself")
        part = left.pop()
        if isinstance(part, str):
            parts.append(part)
            continue
        value = part[0]
        inner: list[Any] = []
        if isinstance(value, dict):
            for key, child in value.items():
                inner += ["," if inner else "{", _quoted(key if isinstance(key, str) else _scalar(key)) + ":", (child,)]
            inner += ["}"] if inner else ["{}"]
        elif isinstance(value, (list, tuple)):
            for child in value:
                inner += ["," if inner else "[", (child,)]
            inner += ["]"] if inner else ["[]"]
        else:
            inner = [_quoted(value) if isinstance(value, str) else _scalar(value)]
        left += reversed(inner)
    return "".join(parts)


def _scalar(value: "Any") -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int):
        return int.__repr__(value)
    if isinstance(value, float):
        return float.__repr__(value) if -_largest <= value <= _largest else f'"\\ud800{float.__repr__(value)}"'
    raise TypeError(f"Object of type {type(value).__name__} is not JSON serializable")


def _quoted(text: str) -> str:
    return f'"{"".join(map(_escaped, text))}"'


def _escaped(char: str) -> str:
    if " " <= char <= "~" and char not in '"\\':
        return char
    code = ord(char)
    if code <= 0xFFFF:
        return f"\\u{code:04x}"
    code -= 0x10000
    return f"\\u{0xD800 | code >> 10:04x}\\u{0xDC00 | code & 0x3FF:04x}"


def _utf8(text: str) -> str:
    """What is no text has a mark in the place of each of its bytes: the setting that it is for is told as unusable."""
    return text.encode("utf-8", "surrogatepass").decode("utf-8", "replace")


def _setting(name: str, value: "Any") -> str:
    kind, parts = _given(value)
    return _native.setting(_utf8(name), kind, [_utf8(part) for part in parts])


def _given(value: "Any") -> tuple[str, list[str]]:
    """What is given for a setting, in the words of the core, and its texts."""
    if _is_text(value):
        kind = "truth" if isinstance(value, bool) else "number" if isinstance(value, (int, float)) else "text"
        return kind, [_text(value)]
    if isinstance(value, Mapping):
        pairs = [(key, part) for key, part in value.items() if _is_text(key) and _is_text(part)]
        if len(pairs) == len(value):
            return "table", [f"{_text(key)}:{_text(part)}" for key, part in pairs]
    elif isinstance(value, Iterable) and not isinstance(value, (bytes, bytearray, memoryview)):
        parts = list(value)
        if all(map(_is_text, parts)):
            return "list", [_text(part) for part in parts]
        return "a list of something else", []
    return f"an object of type {type(value).__name__}", []


def _is_text(value: "Any") -> bool:
    return isinstance(value, (str, int, float, os.PathLike)) and not isinstance(value, type)


def _text(value: "Any") -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return os.fsdecode(value) if isinstance(value, os.PathLike) else str(value)
