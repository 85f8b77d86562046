"""The worker's side: measures on request, so that the driver can interleave short blocks of several live processes.

Before: a worker_*.py made its side ready. After: `run.py` reads the answers. One JSON object per line in and out.
"""

import gc
import json
import os
import resource
import sys
import threading
import time

import targets

_wall = time.perf_counter_ns
_thread_cpu = time.thread_time_ns
_process_cpu = time.process_time_ns


class Side:
    """What a worker can do; a side without a debugger does nothing."""

    name = "none"

    def drain(self):
        """Discards the events that wait, untimed; how many they were."""
        return 0

    def render(self):
        """Finishes the events that wait, as the background would."""

    def emitted(self):
        """How many events were finished so far."""
        return 0

    def keep_armed(self, wanted):
        """Says whether a probe may be taken off while its gate is empty; whether that was understood."""
        return False

    def install(self, definition):
        """Installs a probe."""

    def is_installed(self, id):
        return True

    def payload(self, target):
        """One event of the target, as JSON text."""
        raise NotImplementedError

    def counts(self):
        """Hits by what became of them."""
        return {}

    def version(self):
        return None


def serve(side):
    """Answers until the driver says no more."""
    # Every application thread on the same core: a core with a busy sibling must not favour one side.
    os.sched_setaffinity(0, {int(os.environ["BENCH_CPU"])})
    # Answers go where only we write: whatever else is printed in this process goes to stderr.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    operations = _Operations(side)
    for line in sys.stdin:
        request = json.loads(line)
        answer = getattr(operations, request.pop("op"))(**request)
        answers.write(json.dumps(answer) + "\n")
        answers.flush()
    # No exit handlers: what a side does when it ends is not part of any figure.
    os._exit(0)


class _Operations:
    def __init__(self, side):
        self.side = side
        self.turn = 0

    def info(self):
        return {"python": sys.version.split()[0], "version": self.side.version()}

    def keep_armed(self, wanted):
        return self.side.keep_armed(wanted)

    def capacity(self, target, every_hit, budget_ns):
        """How many calls fit into a block: by time, and, where every hit makes an event, by what the side can keep."""
        function, arguments = _pair(target)[0], targets.arguments[target]
        for _ in range(20):
            function(*arguments)
        best, calls = 0, 8
        while True:
            self.side.drain()
            each, _ = _block(function, arguments, calls)
            if self.side.drain() != calls and every_hit:
                return {"calls": best or max(1, calls // 2), "ns": each, "full_at": calls}
            best = calls
            if each * calls * 2 > budget_ns:
                return {"calls": best, "ns": each, "full_at": None}
            calls *= 2

    def hit(self, target, calls, blocks, settle_ms):
        """Nanoseconds of the probe in a call: blocks of the probed function, each beside one of its twin."""
        probed, twin = _pair(target)
        arguments = targets.arguments[target]
        if settle_ms:
            _spend(probed, arguments, settle_ms)
        with_probe, with_cpu, bare, bare_cpu, events = 0.0, 0.0, 0.0, 0.0, 0
        self.side.drain()
        for _ in range(blocks):
            self.turn ^= 1
            if self.turn:
                a, a_cpu = _block(probed, arguments, calls)
                b, b_cpu = _block(twin, arguments, calls)
            else:
                b, b_cpu = _block(twin, arguments, calls)
                a, a_cpu = _block(probed, arguments, calls)
            events += self.side.drain()
            with_probe, with_cpu, bare, bare_cpu = with_probe + a, with_cpu + a_cpu, bare + b, bare_cpu + b_cpu
        return {
            "hit": (with_probe - bare) / blocks,
            "cpu": (with_cpu - bare_cpu) / blocks,
            "bare": bare / blocks,
            "events": events / (calls * blocks),
        }

    def event(self, target, calls, blocks):
        """CPU of the whole process per event, up to the finished text; only the twin's calls are taken off."""
        probed, twin = _pair(target)
        arguments = targets.arguments[target]
        self.side.render()
        before = self.side.emitted()
        total = 0
        for _ in range(blocks):
            start = _process_cpu()
            _block(probed, arguments, calls)
            self.side.render()
            middle = _process_cpu()
            _block(twin, arguments, calls)
            total += 2 * middle - start - _process_cpu()
        hits = calls * blocks
        return {"cpu": total / hits, "events": (self.side.emitted() - before) / hits}

    def yardstick(self, text, repeats):
        """`orjson.dumps` of the finished payload."""
        import orjson

        payload = orjson.loads(text)
        start = _process_cpu()
        for _ in range(repeats):
            orjson.dumps(payload)
        return {"cpu": (_process_cpu() - start) / repeats}

    def payload(self, target):
        return {"text": self.side.payload(target)}

    def beside(self, target, n):
        """The probed function against its twin, one long call each."""
        probed, twin = _pair(target)
        times = [_call(function, n) for function in (twin, probed, twin)]
        return {"ratio": 2 * times[1] / (times[0] + times[2])}

    def whole(self, target, n):
        """A function that has no probe, per round of its loop."""
        return {"ns": _call(getattr(targets, target), n) / n}

    def install(self, folder, module, definitions):
        """How long the lock of the interpreter was held for each install, seen from a thread that spins."""
        everywhere = set(range(os.cpu_count() or 1))
        os.sched_setaffinity(0, everywhere)
        sys.path.insert(0, folder)
        __import__(module)
        nothing, taken = [], []
        for definition in definitions:
            nothing.append(_gaps(lambda: None))
            taken.append(_gaps(lambda definition=definition: self.side.install(definition)))
        # What the method itself takes is its least, so that a busy machine can only make an install look dearer.
        least = min(nothing)
        held = [
            {"id": definition["id"], "ns": each - least, "installed": self.side.is_installed(definition["id"])}
            for definition, each in zip(definitions, taken, strict=True)
        ]
        os.sched_setaffinity(0, {int(os.environ["BENCH_CPU"])})
        return {"held": held}

    def memory(self, kind, mode, hits):
        """Resident memory after a tenth of the hits and after all of them."""
        fresh = getattr(targets, kind)
        function = targets.memory_p
        first = hits // 10
        self._memory_hits(function, fresh, mode, 0, first)
        before = _resident_kib()
        start = _wall()
        self._memory_hits(function, fresh, mode, first, hits)
        seconds = (_wall() - start) / 1e9
        return {"grown_kib": _resident_kib() - before, "seconds": seconds, "counts": self.side.counts()}

    def _memory_hits(self, function, fresh, mode, start, end):
        step = 100 if mode == "delivered" else 100_000
        for i in range(start, end):
            function(fresh(i))
            if i % step == 0:
                self.side.render()
        self.side.render()


def _pair(target):
    return getattr(targets, f"{target}_p"), getattr(targets, f"{target}_b")


def _block(function, arguments, calls):
    """Wall and CPU nanoseconds of one call, of so many."""
    numbers = range(calls)
    cpu = _thread_cpu()
    start = _wall()
    if len(arguments) == 2:
        first, second = arguments
        for _ in numbers:
            function(first, second)
    else:
        for _ in numbers:
            function(*arguments)
    end = _wall()
    return (end - start) / calls, (_thread_cpu() - cpu) / calls


def _spend(function, arguments, milliseconds):
    """Calls until the tokens are gone and what follows from that has happened."""
    end = _wall() + milliseconds * 1_000_000
    while _wall() < end:
        for _ in range(50):
            function(*arguments)


def _call(function, n):
    start = _wall()
    function(n)
    return _wall() - start


def _gaps(action):
    """Nanoseconds for which a spinning thread waited, from just before the action to well after it.

    It waits for the lock of the interpreter, which is a voluntary switch, or because the system took its core away:
    a gap with nothing but involuntary switches is not counted.
    """
    total = 0
    done = False

    def spin():
        nonlocal total
        waits, taken = _switches()
        last = _wall()
        while not done:
            now = _wall()
            if now - last > 1000:
                waits_now, taken_now = _switches()
                if waits_now != waits or taken_now == taken:
                    total += now - last
                waits, taken = waits_now, taken_now
                now = _wall()
            last = now

    thread = threading.Thread(target=spin)
    thread.start()
    time.sleep(0.01)
    action()
    time.sleep(0.025)
    done = True
    thread.join()
    return total


def _switches():
    """Voluntary and involuntary switches of this thread so far."""
    usage = resource.getrusage(resource.RUSAGE_THREAD)
    return usage.ru_nvcsw, usage.ru_nivcsw


def _resident_kib():
    gc.collect()
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmRSS"))
