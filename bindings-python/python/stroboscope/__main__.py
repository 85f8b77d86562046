"""`python -m stroboscope`: hands over to the command. Stands before both walks; after it comes `_run.py`."""

import sys

from stroboscope._run import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
