"""Logs and snapshots from lines and methods of a running program, without stopping it."""

from stroboscope._native import __version__

__all__ = ["__version__"]
