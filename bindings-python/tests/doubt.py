"""A plugin for pytest: all tests run as if parts of CPython were laid out in another way than the self-test expects.

`STROBE_TEST_DOUBT=frames,instances python -m pytest -p doubt …`; `test_public.py` does.
"""

import os

from stroboscope import _native

remarks = _native._test_selftest(os.environ["STROBE_TEST_DOUBT"].split(","))
assert remarks, "nothing is doubted"
