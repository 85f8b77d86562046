"""The worker's side: measures on request, so that the driver can interleave short blocks of several live processes.

Before: a worker_*.py made its side ready. After: `run.py` reads the answers. One JSON object per line in and out.
"""

import gc
import json
import os
import sys
import time

import floor
import targets

_wall = time.perf_counter_ns
_thread_cpu = time.thread_time_ns
_process_cpu = time.process_time_ns
# More than the queue holds; a quick run makes fewer.
hits_to_drop = 100_000


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

    def hold(self):
        """From now on events wait until `drain`, which discards them: most hits find the queue full."""

    def prepare(self, definition):
        """A definition as the side has it before it installs anything."""
        return definition

    def install(self, prepared):
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

    def tag(self, name):
        """A tag of the span that is active, if there is one."""
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

    def tag(self, name):
        return self.side.tag(name)

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

    def stretch(self, target, calls, pairs):
        """Nanoseconds of the probe in a call over long stretches: what it does now and then is in it."""
        probed, twin = _pair(target)
        arguments = targets.arguments[target]
        found = []
        for number in range(pairs):
            each = {}
            for function in (probed, twin) if number % 2 else (twin, probed):
                each[function] = _block(function, arguments, calls)[0]
                # A process that runs before all others must not use its core up: Linux would stop it for 50 ms.
                time.sleep(each[function] * calls / 8e9)
            found.append(each[probed] - each[twin])
            self.side.drain()
        return {"ns": found}

    def install(self, folder, module, series):
        """How long the lock of the interpreter is held for probes that are installed one right after the other."""
        core = int(os.environ["BENCH_CPU"])
        others = set(range(os.cpu_count() or 1)) - {core}
        if not others:
            return {"error": "the lock is watched from a second core, and there is none"}
        lock = floor.build("lock")
        # All that may take the lock is on one core, what watches it on another.
        for thread in os.listdir("/proc/self/task"):
            os.sched_setaffinity(int(thread), {core})
        sys.path.insert(0, folder)
        __import__(module)
        nothing, taken = [], []
        for definitions in series:
            prepared = [self.side.prepare(definition) for definition in definitions]
            nothing.append(_held(lock, max(others), lambda _: None, prepared))
            taken.append(_held(lock, max(others), self.side.install, prepared))
        # The calling thread holds the lock a little before and after it calls anything.
        own = sorted(sum(holds) for holds, _ in nothing)[len(nothing) // 2]
        held = []
        for definitions, (holds, blind) in zip(series, taken, strict=True):
            held.append(
                {
                    "ns": max(sum(holds) - own, 0) / len(definitions),
                    "longest_ns": max(holds),
                    "holds": len(holds),
                    "blind_ns": blind,
                    "missing": [one["id"] for one in definitions if not self.side.is_installed(one["id"])],
                }
            )
        return {"held": held}

    def install_floor(self, folder, module, names):
        """Nanoseconds that CPython takes to set instruction events in functions, none of which was watched before.

        Of one tool alone, and beside two that share another event everywhere, as ours do: then the interpreter keeps
        for each instruction whose it is.
        """
        sys.path.insert(0, folder)
        functions = [getattr(__import__(module), name) for name in names]
        events = sys.monitoring.events
        for tool in (3, 4):
            sys.monitoring.use_tool_id(tool, f"floor {tool}")
        half = len(functions) // 2
        alone = [_time_to_arm(3, function.__code__, events.INSTRUCTION) for function in functions[:half]]
        for tool in (3, 4):
            sys.monitoring.set_events(tool, events.PY_RESUME)
        shared = [_time_to_arm(3, function.__code__, events.INSTRUCTION) for function in functions[half:]]
        for tool in (3, 4):
            sys.monitoring.free_tool_id(tool)
        return {"alone": alone, "shared": shared}

    def memory(self, kind, mode, hits):
        """Resident memory after a fifth of the hits and after all of them."""
        fresh = getattr(targets, kind)
        function = targets.memory_p
        # By then the queue was full twice, and all tables of names that have a limit have reached it.
        first = hits // 5
        if mode == "dropped":
            self.side.hold()
        self._memory_hits(function, fresh, mode, 0, first)
        before = _resident_kib()
        start = _wall()
        self._memory_hits(function, fresh, mode, first, hits)
        seconds = (_wall() - start) / 1e9
        return {"grown_kib": _resident_kib() - before, "seconds": seconds, "counts": self.side.counts()}

    def _memory_hits(self, function, fresh, mode, start, end):
        # The queue is full long before it is emptied, if events wait.
        step, empty = (hits_to_drop, self.side.drain) if mode == "dropped" else (100, self.side.render)
        for i in range(start, end):
            function(fresh(i))
            if i % step == 0:
                empty()
        empty()


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


def _held(lock, core, action, arguments):
    """Nanoseconds of each time that the lock was held, from just before the calls to well after them.

    Nobody else wants the lock, so nobody waits for a turn; also how long the watching thread once could not look.
    """
    lock.begin(core)
    time.sleep(0.003)
    for argument in arguments:
        action(argument)
    time.sleep(0.01)
    holds, blind = lock.end()
    # The first is the end of `begin`, the last that of `end`.
    return [nanoseconds for _, nanoseconds in holds[1:-1]] or [0], blind


def _time_to_arm(tool, code, events):
    start = _wall()
    sys.monitoring.set_local_events(tool, code, events)
    return _wall() - start


def _resident_kib():
    gc.collect()
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmRSS"))
