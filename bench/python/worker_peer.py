"""The peer, ddtrace, as a user would start it: `ddtrace.auto` and a probe file.

What is conceded to it, so that only the hit is timed: telemetry off, an upload interval so long that nothing is
uploaded while a block runs, its queues emptied between blocks so that they are never full, its limit of 100 snapshots
a second for the process lifted.
"""

import json
import logging
import os
import sys

os.environ.update(
    DD_TRACE_AGENT_URL=os.environ["BENCH_AGENT_URL"],
    DD_DYNAMIC_INSTRUMENTATION_ENABLED="true",
    DD_DYNAMIC_INSTRUMENTATION_PROBE_FILE=os.environ["BENCH_PROBES"],
    DD_DYNAMIC_INSTRUMENTATION_UPLOAD_INTERVAL_SECONDS="3600",
    DD_INSTRUMENTATION_TELEMETRY_ENABLED="false",
    DD_SERVICE="bench",
)

import ddtrace.auto

logging.getLogger("ddtrace").setLevel(logging.ERROR)

from ddtrace.debugging._debugger import Debugger
from ddtrace.debugging._probe.remoteconfig import ProbePollerEvent, build_probe
from ddtrace.debugging._uploader import SignalUploader

import measure
import targets
import tracing

debugger = Debugger._instance
debugger._global_rate_limiter.limit_rate = float("inf")
debugger._global_rate_limiter.budget = debugger._global_rate_limiter.max_budget = float("inf")


class Peer(measure.Side):
    name = "peer"

    def __init__(self):
        self.finished = 0

    def drain(self):
        return sum(count for _, count in self._flush())

    def _flush(self):
        batches = [track.queue.flush() for track in SignalUploader._instance._tracks.values()]
        kept = [batch for batch in batches if batch]
        self.finished += sum(count for _, count in kept)
        return kept

    def render(self):
        self._flush()

    def emitted(self):
        return self.finished

    def prepare(self, definition):
        # Reading the definition is not counted: it is done where ddtrace reads its configuration.
        return [build_probe(definition)]

    def install(self, prepared):
        debugger._on_configuration(ProbePollerEvent.NEW_PROBES, prepared)

    def is_installed(self, id):
        return debugger._probe_registry[id].installed

    def payload(self, target):
        self._flush()
        getattr(targets, f"{target}_p")(*targets.arguments[target])
        ((encoded, _),) = self._flush()
        return json.dumps(json.loads(bytes(encoded))[0])

    def version(self):
        return ddtrace.__version__

    def tag(self, name):
        return tag and tag(name)


tag = tracing.begin(os.environ["BENCH_TRACER"])
peer = Peer()
with open(os.environ["BENCH_PROBES"]) as file:
    missing = [probe["id"] for probe in json.load(file) if not peer.is_installed(probe["id"])]
if missing:
    sys.exit(f"the peer did not install {', '.join(missing)}")
measure.serve(peer)
