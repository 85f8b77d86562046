"""Ours, through its public interface.

The rates of the probes are lifted by their definitions, as for the peer; `BENCH_RATES=lifted` lifts the rate of the
process too, and the CPU budget is a whole core: both would otherwise pause the probes that are measured. Between
blocks the ring is emptied without rendering (`_native._test_drain`, from whose first call on the worker leaves the
ring alone), as the peer's queue is. Where the background is part of the figure, `flush` is called instead and that
hook never.
"""

import json
import os
import sys
import time

os.environ["STROBE_CPU_BUDGET"] = "100"

import stroboscope
from stroboscope import _native

import measure
import targets
import tracing

_sink = os.environ["BENCH_SINK"]
_installed = ("installed", "emitting")
_tag = tracing.begin(os.environ["BENCH_TRACER"])


class Ours(measure.Side):
    name = "ours"

    def drain(self):
        return _native._test_drain()

    def render(self):
        if not stroboscope.flush(10.0):
            sys.exit("events were not finished within 10 s")

    def emitted(self):
        return sum(probe["emitted"] for probe in stroboscope.status())

    def keep_armed(self, wanted):
        hook = getattr(_native, "_test_keep_armed", None)
        if hook is None:
            return False
        hook(wanted)
        return True

    def hold(self):
        # Nothing is taken from the ring any more but by `drain`.
        _native._test_drain()

    def prepare(self, definition):
        return json.dumps(definition)

    def install(self, prepared):
        stroboscope.add_probe(prepared)

    def is_installed(self, id):
        return self._state(id) in _installed

    def _state(self, id):
        return next((probe["state"] for probe in stroboscope.status() if probe["id"] == id), "unknown")

    def payload(self, target):
        with open(_sink) as file:
            file.seek(0, os.SEEK_END)
            getattr(targets, f"{target}_p")(*targets.arguments[target])
            self.render()
            return file.read().splitlines()[-1]

    def counts(self):
        probe = stroboscope.status()[0]
        return {"hits": probe["hits"], "emitted": probe["emitted"], "dropped": probe["dropped"]}

    def version(self):
        return stroboscope.__version__

    def tag(self, name):
        return _tag and _tag(name)


def _wait_until_installed(side, ids):
    end = time.monotonic() + 10
    while missing := [id for id in ids if not side.is_installed(id)]:
        if time.monotonic() > end:
            sys.exit(f"not installed: {[probe for probe in stroboscope.status() if probe['id'] in missing]}")
        time.sleep(0.01)


settings = {"ndjson": _sink, "terminal": "never"}
if os.environ["BENCH_RATES"] == "lifted":
    settings["rate_limits"] = False
stroboscope.start(**settings)
with open(os.environ["BENCH_PROBES"]) as file:
    probes = json.load(file)
for probe in probes:
    stroboscope.add_probe(probe)
ours = Ours()
_wait_until_installed(ours, [probe["id"] for probe in probes])
measure.serve(ours)
