#!/usr/bin/env python3
"""The driver: what a probe costs its host, ours beside the peer, and the figures kept as JSON for `report.py`.

One process per side lives on the same core; short blocks of them are interleaved and the ratio is taken round by round,
so that it survives a machine whose speed changes. After: `../report.py`.

    .venv-bench-3.12/bin/python bench/python/run.py [--quick] [--only PART,...] [--rounds N] [--sides ...] [--out FILE]

A PART is `hits`, `events`, `correlation`, `other`, `instructions`, `startup`, `install`, `memory`, or the name of one
row of `hits`.
"""

import argparse
import datetime
import json
import os
import platform
import re
import select
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time

here = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, here)

import definitions
import rows
import startup
import targets

block_ns = 8_000_000
stretch_ns = 250_000_000
# What a difference of two calls can still tell; the ratio of a hit that costs nothing is taken against it.
resolution_ns = 0.5
parts = ["hits", "events", "correlation", "other", "instructions", "startup", "install", "memory"]


class WorkerDied(Exception):
    """A worker ended or did not answer; its part is lost, the others are not."""


class Worker:
    """A live process of one side."""

    def __init__(self, rig, side, **how):
        self.side = side
        command, env = rig.command(side, **how)
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env, bufsize=0)
        self.lines = self.process.stdout
        # Linux stops what runs before all else for 50 ms when it has used its core up for most of a second: that would
        # fall into some block. So the core is left alone for a while after each.
        self.rest = 1 / 8 if rig.options.realtime else 0

    def ask(self, op, seconds=600, **arguments):
        try:
            self.process.stdin.write(json.dumps({"op": op, **arguments}).encode() + b"\n")
        except BrokenPipeError as error:
            raise WorkerDied(f"the worker of {self.side} ended before {op}") from error
        began = time.monotonic()
        end = began + seconds
        line = b""
        while not line.endswith(b"\n"):
            ready, _, _ = select.select([self.lines], [], [], max(0.0, end - time.monotonic()))
            chunk = self.lines.read(1 << 20) if ready else b""
            if not chunk:
                raise WorkerDied(f"the worker of {self.side} {'ended in' if ready else 'did not answer to'} {op}")
            line += chunk
        time.sleep(self.rest * (time.monotonic() - began))
        return json.loads(line)

    def end(self):
        self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.lines.close()


class Rig:
    """What all parts share: files, the stand-in Agent, living workers."""

    def __init__(self, options):
        self.options = options
        self.sides = options.sides.split(",")
        self.cpu = options.cpu
        self.python = dict.fromkeys(["peer", "ours", "none", "floor", "plain"], options.python)
        self.python["ours"] = options.ours_python or options.python
        self.folder = tempfile.TemporaryDirectory()
        self.probes = self.write("probes.json", json.dumps(definitions.build()))
        self.agent = subprocess.Popen(
            [sys.executable, os.path.join(here, "agent.py")], stdout=subprocess.PIPE, text=True
        )
        self.agent_url = f"http://127.0.0.1:{int(self.agent.stdout.readline())}"
        # A server of metrics that never reads: what it has no room for the system drops, and no sender hears of it.
        self.metrics = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.metrics.bind(("127.0.0.1", 0))
        self.living = {}

    def write(self, name, text):
        path = os.path.join(self.folder.name, name)
        with open(path, "w") as file:
            file.write(text)
        return path

    def command(self, side, rates=None, sink=os.devnull, probes=None, tracer=None):
        """The command of a worker and its environment."""
        env = {
            **os.environ,
            "PYTHONHASHSEED": "0",
            "BENCH_CPU": str(self.cpu),
            "BENCH_AGENT_URL": self.agent_url,
            "DD_DOGSTATSD_URL": f"udp://127.0.0.1:{self.metrics.getsockname()[1]}",
            "BENCH_PROBES": probes or self.probes,
            "BENCH_RATES": rates or "lifted",
            "BENCH_SINK": sink,
            "BENCH_TRACER": tracer or "",
        }
        return [self.python[side], os.path.join(here, f"worker_{side}.py")], env

    def worker(self, side, **how):
        """A living worker, started when first asked for."""
        key = (side, *sorted(how.items()))
        if key not in self.living:
            self.living[key] = Worker(self, side, **how)
        return self.living[key]

    def debuggers(self):
        return [side for side in ("peer", "ours") if side in self.sides]

    def end_workers(self):
        for worker in self.living.values():
            worker.end()
        self.living.clear()

    def end(self):
        self.end_workers()
        self.agent.terminate()
        self.agent.wait()
        self.agent.stdout.close()
        self.folder.cleanup()


def main():
    options = _options()
    wanted = options.only.split(",") if options.only else parts
    unknown = set(wanted) - set(parts) - {row.name for row in rows.hit_rows}
    if unknown:
        raise SystemExit(f"no such part or row: {', '.join(sorted(unknown))}")
    if options.realtime:
        # The workers inherit it.
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    rig = Rig(options)
    started = time.monotonic()
    result = _head(options)
    errors = []
    try:
        for part in parts:
            chosen = [row for row in rows.hit_rows if part in wanted or row.name in wanted]
            if part not in wanted and not (part == "hits" and chosen):
                continue
            begun = time.monotonic()
            try:
                result[part] = _measured(part, rig, chosen)
            except (WorkerDied, startup.RunFailed) as error:
                result[part] = {"error": str(error)}
                errors.append(f"{part}: {error}")
                rig.end_workers()
            print(f"-- {part}: {time.monotonic() - begun:.0f} s\n", flush=True)
        for side in rig.debuggers():
            try:
                result["versions"][side] = rig.worker(side).ask("info")["version"]
            except WorkerDied as error:
                errors.append(str(error))
    finally:
        rig.end()
    result["seconds"] = round(time.monotonic() - started)
    with open(options.out, "w") as file:
        json.dump(_rounded(result), file, indent=1)
        file.write("\n")
    print(f"{result['seconds']} s in all, written to {os.path.relpath(options.out)}")
    if errors:
        raise SystemExit("\n".join(errors))


def _options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer rounds and hits: at most two minutes")
    parser.add_argument("--only", help="parts or rows, with commas between")
    parser.add_argument("--rounds", type=int, help="rounds of each row (61, quick: 11)")
    parser.add_argument("--sides", default="peer,ours", help="which of the debuggers (peer,ours)")
    parser.add_argument(
        "--python", default=sys.executable, help="the interpreter of all sides, with requirements.txt in it"
    )
    parser.add_argument("--ours-python", help="another environment of the same interpreter, with our wheel in it")
    parser.add_argument("--cpu", type=int, default=0, help="the core for every application thread")
    parser.add_argument("--realtime", action="store_true", help="run before all else on a busy machine (needs root)")
    parser.add_argument("--out", help="the file of results")
    options = parser.parse_args()
    options.rounds = options.rounds or (11 if options.quick else 61)
    if not options.out:
        # Only a whole run may replace the figures that are kept.
        whole = not options.quick and not options.only and options.sides == "peer,ours"
        folder = os.path.join(here, "..", "results") if whole else os.path.join(here, "build")
        os.makedirs(folder, exist_ok=True)
        options.out = os.path.join(folder, f"python-{sys.version_info.major}.{sys.version_info.minor}.json")
    return options


def _head(options):
    with open("/proc/cpuinfo") as file:
        model = next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    # What a reader needs to make the figures again; where things lie on this machine is not part of it.
    command = ["bench/python/run.py"]
    command += [f"--{flag}" for flag in ("quick", "realtime") if getattr(options, flag)]
    command += [f"--only {options.only}"] if options.only else []
    command += [f"--sides {options.sides}"] if options.sides != "peer,ours" else []
    command += [f"--rounds {options.rounds}"]
    return {
        "command": " ".join(command),
        "date": datetime.date.today().isoformat(),
        "python": platform.python_version(),
        "compiler": platform.python_compiler(),
        "machine": {"cpu": model, "cores": os.cpu_count(), "load": os.getloadavg()[0]},
        "quick": options.quick,
        "rounds": options.rounds,
        "versions": {},
    }


def _measured(part, rig, chosen):
    if part == "hits":
        return {row.name: _hit_row(rig, row) for row in chosen}
    others = {
        "events": _events,
        "correlation": _correlation,
        "other": _other,
        "instructions": _instructions,
        "startup": _startup,
        "install": _install,
        "memory": _memory,
    }
    return others[part](rig)


def spread(values):
    """First quartile, median, third quartile."""
    if len(values) < 2:
        return [values[0]] * 3
    return statistics.quantiles(values, n=4, method="inclusive")


def _hit_row(rig, row):
    rates = {"ours": "kept" if row.rate == "kept" else "lifted"}
    asked = {side: rig.worker(side, rates=rates.get(side), tracer=row.tracer) for side in rig.debuggers()}
    asked["floor"] = rig.worker("floor")
    notes = []
    if "ours" in asked and row.rate == "kept":
        understood = asked["ours"].ask("keep_armed", wanted=row.keep_armed)
        if row.keep_armed and not understood:
            notes.append("ours may have been disarmed: it has no hook to forbid it")
    sizes = {
        side: _size(worker, row.target, side != "floor" and row.rate in ("lifted", "own" if side == "ours" else None))
        for side, worker in asked.items()
    }
    settle_ms = 30 if row.rate == "kept" else 0
    rounds = {side: [] for side in asked}
    order = list(asked)
    for number in range(rig.options.rounds):
        for side in order if number % 2 else reversed(order):
            size = {"calls": sizes[side]["calls"], "blocks": sizes[side]["blocks"]}
            rounds[side].append(asked[side].ask("hit", target=row.target, settle_ms=settle_ms, **size))
    answer = {"notes": notes, "sides": {side: _side_of(found, sizes[side]) for side, found in rounds.items()}}
    hits = {side: [one["hit"] for one in found] for side, found in rounds.items()}
    if row.tracer is not None:
        tags = {side: asked[side].ask("tag", name="bench.x") for side in rig.debuggers()}
        notes += [f"{side} has not tagged the span" for side, tag in tags.items() if str(tag) != "3"]
    if row.mean is not None:
        _add_means(rig, row, asked, answer)
    if "ours" in hits:
        answer["over_floor"] = spread([a - b for a, b in zip(hits["ours"], hits["floor"], strict=True)])
    if "ours" in hits and "peer" in hits:
        answer["ratio"] = spread([a / max(b, resolution_ns) for a, b in zip(hits["peer"], hits["ours"], strict=True)])
    _tell(row.name, answer)
    return answer


def _add_means(rig, row, asked, answer):
    """Means over stretches of a quarter of a second: several seconds, in which a token comes now and then."""
    pairs = 4 if rig.options.quick else 16
    for side, worker in asked.items():
        if side == "floor":
            continue
        figures = answer["sides"][side]
        calls = round(stretch_ns / (figures["bare_ns"][1] + max(figures["hit_ns"][1], 0)))
        found = worker.ask("stretch", target=row.target, calls=calls, pairs=pairs)["ns"]
        figures["mean_ns"] = statistics.fmean(found)
        figures["stretches"] = found
        print(f"{row.name:18}  {side} mean {figures['mean_ns']:.2f} ns over {pairs} stretches", flush=True)


def _size(worker, target, every_hit):
    """Calls in a block and blocks in a round, together about `block_ns`."""
    found = worker.ask("capacity", target=target, every_hit=every_hit, budget_ns=block_ns)
    blocks = round(block_ns / max(found["calls"] * found["ns"], 1.0))
    return {"calls": found["calls"], "blocks": min(max(blocks, 1), 400), "full_at": found["full_at"]}


def _side_of(found, size):
    hits = [one["hit"] for one in found]
    return {
        "hit_ns": spread(hits),
        "mean_ns": statistics.fmean(hits),
        "cpu_ns": spread([one["cpu"] for one in found]),
        "bare_ns": spread([one["bare"] for one in found]),
        "events_per_hit": [min(one["events"] for one in found), max(one["events"] for one in found)],
        "size": size,
        "rounds": hits,
    }


def _tell(name, answer):
    cells = [f"{name:18}"]
    for side, figures in answer["sides"].items():
        low, middle, high = figures["hit_ns"]
        cells.append(f"{side} {middle:.1f} ns ({low:.1f}..{high:.1f}) events/hit {figures['events_per_hit'][0]:.2f}")
    if "ratio" in answer:
        cells.append("x{1:.0f} ({0:.0f}..{2:.0f})".format(*answer["ratio"]))
    if "over_floor" in answer:
        cells.append(f"floor {answer['over_floor'][1]:+.1f} ns")
    print("  ".join(cells), *answer["notes"], sep="  ", flush=True)


def _events(rig):
    """CPU of the whole process per event, and of `orjson.dumps` for its payload."""
    answer = {}
    sink = rig.write("events.ndjson", "")
    for target in rows.event_targets:
        rates = {"ours": "lifted"}
        asked = {side: rig.worker(side, rates=rates.get(side)) for side in rig.debuggers()}
        sizes = {side: _size(worker, target, True) for side, worker in asked.items()}
        if "ours" in asked:
            # Other processes than that of the hits: there the ring is emptied without rendering, here all is rendered.
            asked["ours"] = rig.worker("ours", sink=os.devnull)
        printers = {**asked, "ours": rig.worker("ours", sink=sink)} if "ours" in asked else asked
        payloads = {side: worker.ask("payload", target=target)["text"] for side, worker in printers.items()}
        one = {"sides": {}, "payload": {}}
        cpu = {side: [] for side in asked}
        events = {side: [] for side in asked}
        dumps = {side: [] for side in asked}
        for _ in range(max(5, rig.options.rounds // 2)):
            for side, worker in asked.items():
                size = {"calls": sizes[side]["calls"], "blocks": min(sizes[side]["blocks"], 50)}
                found = worker.ask("event", target=target, **size)
                cpu[side].append(found["cpu"])
                events[side].append(found["events"])
                dumps[side].append(worker.ask("yardstick", text=payloads[side], repeats=200)["cpu"])
        for side in asked:
            one["sides"][side] = {
                "cpu_ns": spread(cpu[side]),
                "events_per_hit": [min(events[side]), max(events[side])],
                "orjson_ns": spread(dumps[side]),
                "of_orjson": spread([a / b for a, b in zip(cpu[side], dumps[side], strict=True)]),
            }
            one["payload"][side] = {"bytes": len(payloads[side].encode()), "nodes": count_nodes(payloads[side])}
        if len(asked) == 2:
            one["ratio"] = spread([a / b for a, b in zip(cpu["peer"], cpu["ours"], strict=True)])
        told = [
            f"{s} {f['cpu_ns'][1] / 1e3:.2f} us, x{f['of_orjson'][1]:.2f} of orjson" for s, f in one["sides"].items()
        ]
        print(f"{target:18}", *told, one["payload"], one.get("ratio", ""), sep="  ", flush=True)
        answer[target] = one
    return answer


def _correlation(rig):
    """What the ids of the active span add to a hit of ours: processes with a tracer beside one without."""
    if "ours" not in rig.sides:
        return {}
    target = rows.correlation_target
    asked = {tracer: rig.worker("ours", tracer=tracer) for tracer in (None, *rows.correlation_goals)}
    sizes = {tracer: _size(worker, target, True) for tracer, worker in asked.items()}
    hits = {tracer: [] for tracer in asked}
    for number in range(rig.options.rounds):
        for tracer in list(asked) if number % 2 else reversed(asked):
            size = {"calls": sizes[tracer]["calls"], "blocks": sizes[tracer]["blocks"]}
            hits[tracer].append(asked[tracer].ask("hit", target=target, settle_ms=0, **size)["hit"])
    answer = {}
    for tracer in rows.correlation_goals:
        more = spread([a - b for a, b in zip(hits[tracer], hits[None], strict=True)])
        answer[tracer] = {"without_ns": spread(hits[None]), "with_ns": spread(hits[tracer]), "more_ns": more}
        print(f"{tracer:18}  {target} {more[1]:+.1f} ns ({more[0]:.1f}..{more[2]:.1f})", flush=True)
    return answer


def count_nodes(text):
    """Captured values in an event: every object with a `type` below `captures`."""
    waiting = [_captures(json.loads(text))]
    count = 0
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            count += isinstance(value.get("type"), str)
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)
    return count


def _captures(event):
    if not isinstance(event, dict):
        return None
    if "captures" in event:
        return event["captures"]
    return next((found for found in map(_captures, event.values()) if found is not None), None)


def _other(rig):
    """Code that nobody probes. Fresh processes several times: where things lie in memory also moves these figures."""
    sides = [*rig.debuggers(), "none"]
    work = {"calls": 200_000, "generators": 300_000, "exceptions": 10_000}
    times = {target: {side: [] for side in sides} for target in work}
    beside = {side: [] for side in sides}
    for _ in range(2 if rig.options.quick else 6):
        rig.end_workers()
        asked = {side: rig.worker(side) for side in sides}
        for target, n in work.items():
            for number in range(-1, rig.options.rounds // 2):
                for side in sides if number % 2 else reversed(sides):
                    found = asked[side].ask("whole", target=target, n=n)["ns"]
                    if number >= 0:
                        times[target][side].append(found)
        for number in range(-1, rig.options.rounds // 2):
            for side in sides if number % 2 else reversed(sides):
                found = asked[side].ask("beside", target="other_lines", n=100_000)["ratio"]
                if number >= 0:
                    beside[side].append(found)
    rig.end_workers()
    # The twins are not equally fast even without a probe: that difference is taken out.
    lines = {
        side: spread([a / b for a, b in zip(beside[side], beside["none"], strict=True)]) for side in rig.debuggers()
    }
    answer = {"other_lines": {**lines, "twins": spread(beside["none"])}}
    for target, found in times.items():
        answer[target] = {"bare_ns": spread(found["none"])}
        for side in rig.debuggers():
            pairs = list(zip(found[side], found["none"], strict=True))
            answer[target][side] = spread([a / b for a, b in pairs])
            if target == "exceptions":
                answer[target][f"{side}_ns_per_frame"] = spread([(a - b) / targets.frames_unwound for a, b in pairs])
    print(json.dumps(_rounded(answer)), flush=True)
    return answer


def _instructions(rig):
    """Instructions of code that nobody probes, ours over none: a count does not depend on where things lie."""
    if "ours" not in rig.sides:
        return {"error": _ours_only}
    if not shutil.which("valgrind"):
        return {"error": "valgrind is not here"}
    answer = {}
    for target in ("other_lines_p", "calls", "generators", "exceptions"):
        each = {side: _count(rig, side, target) for side in ("ours", "none")}
        answer[target] = each["ours"] / each["none"]
        print(target, json.dumps(each), flush=True)
    return answer


_ours_only = "only ours is counted"


def _count(rig, side, target):
    """Instructions of one round of the loop: the difference of a long and a short run."""
    few, many = (_counted_run(rig, side, target, n) for n in _counted_rounds)
    return (many - few) / (_counted_rounds[1] - _counted_rounds[0])


_counted_rounds = (5_000, 55_000)


def _counted_run(rig, side, target, n):
    command, env = rig.command(side)
    valgrind = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"]
    request = json.dumps({"op": "whole", "target": target, "n": n})
    command = [*valgrind, *command]
    run = subprocess.run(command, env=env, input=request, capture_output=True, text=True, timeout=300, check=False)
    found = re.search(r"Collected : (\d+)", run.stderr)
    if run.returncode or not found:
        raise WorkerDied(f"the worker of {side} under callgrind: {run.stderr[-300:]}")
    return int(found.group(1))


def _startup(rig):
    """Whole processes over plain Python, run by run."""
    found = startup.measure(rig.python, rig.debuggers(), rig.agent_url, 3 if rig.options.quick else 15)
    answer = {"plain": {key: spread([run[key] for run in found["plain"]]) for key in ("cpu_ms", "wall_ms", "mib")}}
    for side in rig.debuggers():
        pairs = list(zip(found[side], found["plain"], strict=True))
        answer[side] = {key: spread([a[key] - b[key] for a, b in pairs]) for key in ("cpu_ms", "wall_ms", "mib")}
    print(json.dumps(_rounded(answer)), flush=True)
    return answer


def _install(rig):
    """Milliseconds for which the lock is held as a probe is installed in a loaded module.

    Three times three right after one another, and three alone, each after a pause; of those also the longest hold.
    """
    path, lines = _module_to_probe(rig)
    series, kinds = [], []
    for size in rows.install_sizes:
        probes = [definitions.line_probe(name, path, line) for name, line in lines[size].items()]
        series += [[probe] for probe in probes[:3]] + [probes[at : at + 3] for at in (3, 6, 9)]
        kinds += [(size, "alone")] * 3 + [(size, "row")] * 3
    answer = {}
    for side in rig.debuggers():
        # A process of its own: these probes stay out of the other parts.
        worker = Worker(rig, side)
        try:
            found = worker.ask("install", folder=rig.folder.name, module="to_probe", series=series)
        finally:
            worker.end()
        if "error" in found:
            return found
        missing = [id for one in found["held"] for id in one["missing"]]
        if missing:
            raise WorkerDied(f"{side} did not install {', '.join(missing)}")
        answer[side] = {}
        for size in rows.install_sizes:
            mine = {kind: [] for kind in ("alone", "row")}
            for kind, one in zip(kinds, found["held"], strict=True):
                # What the watching thread could not see well does not count.
                if kind[0] == size and one["blind_ns"] <= max(50_000, one["ns"] / 20):
                    mine[kind[1]].append(one)
            if not all(mine.values()):
                return {"error": "the watching thread was held up too often: the machine is too busy"}
            answer[side][str(size)] = {
                "row": spread([one["ns"] / 1e6 for one in mine["row"]]),
                "alone": spread([one["ns"] / 1e6 for one in mine["alone"]]),
                "longest": spread([one["longest_ns"] / 1e6 for one in mine["alone"]]),
            }
        print(side, json.dumps(_rounded(answer[side])), flush=True)
    answer["floor"] = _install_floor(rig, lines)
    return answer


def _install_floor(rig, lines):
    """Milliseconds that CPython itself takes to set the events of functions of each length."""
    floor = {}
    worker = Worker(rig, "none")
    try:
        for size in rows.install_sizes:
            found = worker.ask("install_floor", folder=rig.folder.name, module="to_probe", names=list(lines[size]))
            floor[str(size)] = {kind: spread([one / 1e6 for one in times]) for kind, times in found.items()}
    finally:
        worker.end()
    print("floor", json.dumps(_rounded(floor)), flush=True)
    return floor


def _module_to_probe(rig):
    """Twelve functions of each of several lengths; the line in the middle of each, by size and name."""
    text, middle = [], {}
    for size in rows.install_sizes:
        middle[size] = {}
        for number in range(12):
            name = f"lines_{size}_{number}"
            text.append(f"def {name}(x):")
            middle[size][name] = len(text) + size // 2
            text += ["    x = x + 1"] * (size - 1)
            text.append("    return x")
    return rig.write("to_probe.py", "\n".join(text) + "\n"), middle


def _memory(rig):
    """Growth of resident memory between a fifth of the hits and all of them; `none` is what the program itself does."""
    hits = 200_000 if rig.options.quick else 1_000_000
    probes = rig.write("memory.json", json.dumps([definitions.memory_probe()]))
    answer = {"hits": hits, "base": "fifth"}
    for kind in rows.memory_kinds:
        runs = [("none", "none")] + [("ours", mode) for mode in rows.memory_modes if "ours" in rig.sides]
        for side, mode in runs:
            worker = Worker(rig, side, probes=probes)
            try:
                found = worker.ask("memory", kind=kind, mode=mode, hits=hits)
            finally:
                worker.end()
            answer.setdefault(kind, {})[mode] = {"mib": found["grown_kib"] / 1024, **found}
            print(kind, mode, json.dumps(_rounded(found)), flush=True)
    return answer


def _rounded(value):
    """Four digits tell all that was measured."""
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_rounded(inner) for inner in value]
    return value


if __name__ == "__main__":
    main()
