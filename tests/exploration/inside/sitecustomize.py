"""Begins what `exploration` does in the first Python of a run; further processes get nothing of it.

The preload imports it in place of the program's own `sitecustomize`, before the session starts. A bare run has it too.
"""

import os

if "EXPLORATION" in os.environ:
    import exploration

    exploration.begin(os.environ.pop("EXPLORATION"))
