"""Says so when a command that is no Python has ended, and no Python below it took the probes. Before both walks.

Before: `_run.py`. The command becomes the program and is gone then, so a process beside it waits, for one of two
things: that the first Python reports to it (`_preload/sitecustomize.py` does so), or that the program ends. It is no
child of the program, has a session of its own, and holds none of the program's files but standard error.
"""

import os
import select
import signal
import sys
from typing import NoReturn

_needle = b"."
_patience_ms = 2000


class Watch:
    """The process that waits, as the one sees it that becomes the program."""

    def __init__(self, address: str, said: int) -> None:
        self.address = address
        self._said = said

    def give_up(self) -> None:
        """There will be no program."""
        os.write(self._said, _needle)


def begin(command: str) -> Watch | None:
    """Starts the process that waits. `None` where this cannot be done without the program's notice."""
    # The program would inherit it as a child, if it is the one that inherits all.
    if sys.__stderr__ is None or os.getpid() == 1 or not hasattr(os, "pidfd_open"):
        return None
    try:
        program = os.pidfd_open(os.getpid())
        heard, said = os.pipe()
        found, tells = os.pipe()
        # Without a name in any folder; that it is still the same one can be seen. Not where there is no `/proc`.
        name = os.readlink(f"/proc/self/fd/{heard}")
        between = os.fork()
    except OSError:
        return None
    if between == 0:
        _leave(command, program, heard, said, tells)
    os.waitpid(between, 0)
    os.close(tells)
    pid = os.read(found, 32)
    for file in (program, found):
        os.close(file)
    return Watch(f"/proc/{int(pid)}/fd/{heard} {name}", said) if pid else None


def _leave(command: str, program: int, heard: int, said: int, tells: int) -> NoReturn:
    """In a child that ends at once: what it leaves behind is nobody's child."""
    try:
        os.setsid()
        pid = os.fork()
        if pid == 0:
            _wait(command, program, heard, {2, program, heard, said})
        else:
            os.write(tells, str(pid).encode())
    finally:
        os._exit(0)


def _wait(command: str, program: int, heard: int, kept: set[int]) -> None:
    os.chdir("/")
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    for name in os.listdir("/proc/self/fd"):
        if int(name) not in kept:
            _close(int(name))
    poll = select.poll()
    poll.register(program, select.POLLIN)
    poll.register(heard, select.POLLIN)
    ready = [file for file, _ in poll.poll()]
    if heard in ready:
        return
    text = (
        f"stroboscope: no Python took the probes until {command} ended: it started none, or only such as ignore"
        " PYTHONPATH or site (python -I, -E, -S)\n"
    )
    room = select.poll()
    room.register(2, select.POLLOUT)
    if room.poll(_patience_ms):  # nobody may ever read it
        os.write(2, text.encode("utf-8", "backslashreplace"))


def _close(file: int) -> None:
    try:
        os.close(file)
    except OSError:
        return  # that of the list itself
