"""`python -m stroboscope`: hands over to the command. Stands before both walks; after it comes `_run.py`."""

import os
import sys

# The folder that somebody stands in comes first, and may have modules named as those that the command needs. The
# program gets a path of its own.
if __name__ == "__main__":
    _standard = os.path.dirname(os.__file__)
    sys.path.sort(key=lambda entry: entry != _standard and os.path.basename(entry) != "lib-dynload")

from stroboscope._run import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
