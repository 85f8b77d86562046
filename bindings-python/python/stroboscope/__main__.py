"""`python -m stroboscope`: hands over to the command. Stands before both walks; after it comes `_run.py`."""

import os
import sys

# `-m` puts the working folder first. What lies there, or on PYTHONPATH, is the program's: a module of its own that is
# named like a standard one must not be imported by the command.
if __name__ == "__main__":
    _standard = os.path.dirname(os.__file__)
    if _standard in sys.path:
        del sys.path[: sys.path.index(_standard)]

from stroboscope._run import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
