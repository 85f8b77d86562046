"""`python -m stroboscope explain …` without a program: which files are meant, and their code. Before both walks.

Before: `_run.py`. Nothing of the program runs: its text is read and compiled. What is meant and what is said of it the
core decides.
"""

import importlib.machinery
import os
import tokenize
from collections.abc import Sequence
from types import CodeType

from stroboscope import _native

_most_files = 100_000  # that are looked at below the working folder
_skipped = ("__pycache__", "node_modules")


def statically(settings: list[tuple[str, str]], probes: list[str]) -> str:
    """What is to be said of probes."""
    return _native.explain_statically(probes, settings, _alike, _of_module, _load)


def _alike(name: str) -> tuple[list[str], int]:
    """The files below the working folder that have a name, whatever its letter case, and how many were looked at."""
    found: list[str] = []
    looked_at = 0
    for folder, folders, files in os.walk(os.getcwd()):
        folders[:] = sorted(inner for inner in folders if not inner.startswith(".") and inner not in _skipped)
        sources = [file for file in files if file.endswith(".py")]
        looked_at += len(sources)
        found += [os.path.join(folder, file) for file in sources if file.lower() == name.lower()]
        if looked_at >= _most_files:
            break
    return found, looked_at


def _of_module(module: str) -> str | None:
    """The file of a module, found without importing anything."""
    path: Sequence[str] | None = None
    found = None
    parts = module.split(".")
    for end in range(1, len(parts) + 1):
        try:
            found = importlib.machinery.PathFinder.find_spec(".".join(parts[:end]), path)
        except (ImportError, ValueError):
            return None
        if found is None:
            return None
        path = found.submodule_search_locations
        if path is None and end < len(parts):
            return None
    return found.origin if found and found.has_location else None


def _load(path: str) -> CodeType:
    """The code of a file, which does not run."""
    with tokenize.open(path) as file:
        return compile(file.read(), path, "exec", dont_inherit=True)
