"""Inside the first Python of a run: lets probes come and go, or watches what runs, and at the end gives an account.

The account is JSON; `compare.py` beside `run.py` says what is expected of it.
"""

import atexit
import json
import logging
import os

from exploration import account
from exploration.churn import Churn
from exploration.watch import Watch


def begin(told):
    """Starts what was told: `{"mode": …, "account": FILE, "probes": FILE}`."""
    files = json.loads(told)
    mode, watch, definitions = files["mode"], None, []
    if mode not in ("bare", "watch"):
        with open(files["probes"], encoding="utf-8") as text:
            definitions = json.load(text)
    logged = []
    first = os.getpid()
    register = atexit.register
    found = {"churn": None}

    class Kept(logging.Handler):
        def emit(self, record):
            logged.append(f"{record.levelname}: {record.getMessage()}")

    logging.getLogger("stroboscope").addHandler(Kept())

    def give_account():
        if os.getpid() != first:
            return
        given = {"peak": account.peak(), "logged": logged}
        try:
            given |= watch.told() if watch else account.left_by(definitions, found["churn"])
        except BaseException as error:
            given["failed"] = f"{type(error).__name__}: {error}"
        with open(files["account"], "w", encoding="utf-8") as out:
            json.dump(given, out)

    def register_after(function, /, *args, **kwargs):
        """Behind the first handler, which is the one that ends the session: so the account is given just before."""
        atexit.register = register
        result = register(function, *args, **kwargs)
        register(give_account)
        if mode == "churn":
            found["churn"] = Churn(definitions)
        return result

    if definitions:
        atexit.register = register_after
    else:
        register(give_account)
    if mode == "watch":
        watch = Watch(files["probes"])
