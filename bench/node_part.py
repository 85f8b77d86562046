"""The part of report.md about Node. Before: `node/run.mjs`, which writes the figures; used by `report.py`."""

import json
import os

import sheet

with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "node", "rows.json")) as _file:
    _rows = json.load(_file)

_introduction = """\
# Node

Time in the application's thread beside dd-trace, the tracer of the same vendor, with its debugger on. `make bench-node`
makes the figures again.

* One live process per side, blocks interleaved; each block runs beside one of a twin function that has no probe, and
  the difference is the hit. Ratios are taken round by round; shown is the median, with the first and third quartile in
  brackets.
* *hot*: in a loop, blocks of 8 ms. *cold*: one call after a rest of 60 ms, when nothing is in the core's caches.
  dd-trace lets 25 snapshots a second through in all, so of its events only those can be measured; the ratio is that of
  cold hits, and where nothing is sent that of hot ones.
* A row counts only if every hit made an event (one that is refused: none), on both sides.
* dd-trace has no probes on methods. Conceded to it: no telemetry, no line at start, no handler of crashes."""


def parts(results):
    """The text, in parts; none if nothing was measured."""
    return [_introduction, *map(_version, results)] if results else []


def _version(result):
    judge = sheet.Judge()
    measures = (_hits, _watched, _idle, _beside, _attach, _memory, _rewrite)
    tables = [measure(*sheet.part_of(result, measure.__name__[1:]), judge) for measure in measures]
    machine, versions = result["machine"], result["versions"]
    head = (
        f"`{result['command']}`, {result['date']}, {machine['cores']} cores of {machine['cpu']}, load {machine['load']}"
        f" at the start, {result['rounds']} rounds{', **quick**' if result['quick'] else ''};"
        f" dd-trace {versions['peer']}, ours {versions['ours']}."
    )
    total = judge.reached + len(judge.missed)
    summary = [f"**{judge.reached} of {total} goals reached.**", ""]
    summary += [f"* Missed: {one}" for one in judge.missed]
    summary += [f"* No verdict: {one}" for one in judge.void]
    return "\n\n".join([f"## Node {result['node']}", head, "\n".join(summary).rstrip(), *tables])


def _goal(judge, title, goals, problem=None):
    """The cells of the goals and of whether they are reached: `goals` are pairs of a limit's sentence and a triple."""
    return [", ".join(sentence for sentence, _, _ in goals) or "–", judge.verdict(title, goals, problem)]


def _at_most(limit, value, tell):
    return f"≤ {tell(limit)}", tell(value), value <= limit


def _hits(part, problem, judge):
    lines = []
    for row in _rows["hits"]:
        found = None if problem else part.get(row["name"])
        if not found:
            lines.append([row["title"], *["–"] * 6, *_goal(judge, row["title"], [], problem or sheet.not_measured)])
            continue
        hot, cold = found["hot"], found["cold"]
        cells = [sheet.scaled(hot["ours"]["bare"][1])]
        cells += [_time(hot.get(side)) for side in ("peer", "ours")] + [
            _time(cold.get(side)) for side in ("peer", "ours")
        ]
        cells += [sheet.times(found.get("ratio"))]
        goals = [
            (
                f"{kind} ≤ {sheet.scaled(row[kind])}",
                sheet.scaled(times["ours"]["ns"][1]),
                times["ours"]["ns"][1] <= row[kind],
            )
            for kind, times in (("hot", hot), ("cold", cold))
            if kind in row
        ]
        if "ratio" in row:
            ratio = found.get("ratio", [0, 0, 0])[1]
            goals.append((f"≥ {row['ratio']} ×", f"{ratio:.0f} ×", ratio >= row["ratio"]))
        lines.append([row["title"], *cells, *_goal(judge, row["title"], goals, _invalid(row, found))])
    heads = [
        "hit",
        "bare",
        "dd-trace, hot",
        "ours, hot",
        "dd-trace, cold",
        "ours, cold",
        "times cheaper",
        "goal",
        "reached",
    ]
    return sheet.table("A hit", heads, lines) + "\n\n" + _walker(part, judge)


def _time(found):
    return sheet.ns(found["ns"]) if found else "–"


def _invalid(row, found):
    for side, events in found["events"].items():
        name = {"peer": "dd-trace", "ours": "ours"}[side]
        if row["events"] == "all" and not 0.995 <= events <= 1.005:
            return f"void: {name} made {events:.2f} events a hit, not 1.00"
        if row["events"] == "none" and events > 0.02:
            return f"void: {name} let {events:.2f} events a hit through"
    ours = found["nodes"].get("ours")
    if ours and (ours["cut"] or ours["nodes"] < row["nodes"]):
        return f"void: ours shows {ours['nodes']} nodes, {ours['cut']} of them cut"
    return None


def _walker(part, judge):
    """What a node costs, from the difference of the two large snapshots: what comes once a hit is in neither."""
    rows = [part.get(name) for name in ("medium", "large")]
    if not all(row and "ours" in row["nodes"] for row in rows):
        return f"The walk: {judge.verdict('the walk, a node', [], sheet.not_measured)}."
    few, many = ((row["hot"]["ours"]["ns"][1], row["nodes"]["ours"]["nodes"]) for row in rows)
    each = (many[0] - few[0]) / (many[1] - few[1])
    sentence, value, good = _at_most(_rows["walker_ns"], each, sheet.scaled)
    verdict = judge.verdict("the walk, a node", [(sentence, value, good)])
    peer = rows[1]["nodes"].get("peer", {"nodes": 0, "cut": 0})
    return (
        f"A node more costs {value} (goal {sentence}: {verdict}). Of the {many[1]:,} nodes of the largest snapshot"
        f" dd-trace shows {peer['nodes']:,}; {peer['cut']} values are cut there."
    )


def _watched(part, problem, judge):
    lines = []
    for row in _rows["watched"]:
        found = None if problem else part["rows"].get(row["name"])
        title = f"watched for: {row['title']}"
        if not found or "part" not in found:
            lines.append([row["title"], *["–"] * 3, *_goal(judge, title, [], problem or sheet.not_measured)])
            continue
        kind = "cold" if row.get("cold") else "hot"
        cells = [_time(found[kind].get(side)) for side in ("peer", "ours")] + [sheet.times_of(found["part"])]
        goals = [_at_most(row["limit"], found["part"][1], lambda value: f"{value:.3g} ×")]
        lines.append([f"{row['title']}, {kind}", *cells, *_goal(judge, title, goals, _invalid(row, found))])
    text = sheet.table(
        "A hit where no guard reaches, and a debugger watches",
        ["hit", "dd-trace", "ours", "ours over dd-trace", "goal", "reached"],
        lines,
    )
    return text + "\n\n" + _share(part, problem, judge)


def _share(part, problem, judge):
    """What such a probe takes of the program's thread at most, by the budget."""
    title = "watched for: share of a core"
    found = None if problem else part.get("share")
    if not found or "ours" not in found:
        return f"Share of a core: {judge.verdict(title, [], problem or sheet.not_measured)}."
    sentence, value, good = _at_most(_rows["share"], found["ours"]["percent"], "{:.2g} %".format)
    verdict = judge.verdict(title, [(sentence, value, good)])
    peer = found.get("peer")
    beside = f" dd-trace takes {peer['percent']:.2g} % at {peer['calls']:.0f} calls, and has no budget." if peer else ""
    return (
        f"A condition that never holds, evaluated {found['ours']['calls']:.0f} times a second, takes {value} of the"
        f" program's thread (goal {sentence}: {verdict}).{beside}"
    )


def _ratios(rows, part, problem, judge, title, first):
    lines = []
    for row in rows:
        found = None if problem else part.get(row["name"])
        goals, cells = [], ["–", "–", "–"]
        if found:
            ratio = found["ratio"]["ours"][1]
            goals = [_at_most(row["limit"], ratio, lambda value: f"{value:.3g} ×")]
            cells = [
                sheet.scaled(found["bare"][1]),
                *(sheet.times_of(found["ratio"].get(side)) for side in ("peer", "ours")),
            ]
        reached = _goal(judge, row["title"], goals, None if found else problem or sheet.not_measured)
        lines.append([row["title"], *cells, *reached])
    return sheet.table(title, [first, "without a debugger", "dd-trace", "ours", "goal", "reached"], lines)


def _idle(part, problem, judge):
    return _ratios(
        _rows["idle"], part, problem, judge, "No probe: CPU of the process, over the same without a debugger", "program"
    )


def _beside(part, problem, judge):
    title = "One probe that is never hit: CPU of the process, over the same without a debugger"
    return _ratios(_rows["beside"], part, problem, judge, title, "program")


def _attach(part, problem, judge):
    lines = []
    for heap, found in ({} if problem else part).items():
        title = f"a probe comes, heap of {heap} MB"
        cells = [
            f"{sheet.spread(found[key], 2)} ms" if key in found else "–" for key in ("peer", "ours", "control", "until")
        ]
        goals = (
            [_at_most(_rows["attach_ms"], found["ours"][1], lambda value: f"{value:.2g} ms")] if "ours" in found else []
        )
        lines.append([title, *cells, *_goal(judge, title, goals, None if goals else sheet.not_measured)])
    if not lines:
        lines.append(["a probe comes", *["–"] * 4, *_goal(judge, "a probe comes", [], problem or sheet.not_measured)])
    heads = ["", "dd-trace", "ours", "the same with no probe coming", "until ours is in force", "goal", "reached"]
    text = sheet.table("Longest time for which the event loop stands still", heads, lines)
    return (
        text
        + "\n\nOurs is added by another thread of the program, as dd-trace's comes from a thread of its own. What the"
        " machine does\nmeanwhile is in all of them: see the column beside ours."
    )


def _memory(part, problem, judge):
    limit = _rows["memory_mb"]
    tell = "{:.1f} MB".format
    if problem:
        cells = [["memory", *["–"] * 3, *_goal(judge, "memory", [], problem)]]
        return sheet.table("Memory", ["", "without a debugger", "dd-trace", "ours", "goal", "reached"], cells)
    idle, after = part["idle"], part["after"]
    over = idle["ours"][1] - idle["none"][1]
    title = "no probe, over bare Node"
    peer = f"+ {tell(idle['peer'][1] - idle['none'][1])}" if "peer" in idle else "–"
    first = [title, f"{sheet.spread(idle['none'], 1)} MB", peer, f"+ {tell(over)}"]
    lines = [[*first, *_goal(judge, title, [_at_most(limit, over, tell)])]]
    title = f"{part['hits']:,} snapshots, over the same without a debugger"
    over = after["ours"]["mb"] - after["none"]["mb"]
    problem = None if after["ours"]["events"] == part["hits"] else f"void: {after['ours']['events']:,} events"
    bare = [f"{tell(after['none']['mb'])}, {tell(after['none']['grown'])} of them after a fifth of the calls"]
    bare += [
        f"{tell(after['peer']['grown'])} more after {after['peer']['hits']:,} hits over the rate"
        if "peer" in after
        else "–"
    ]
    ours = f"+ {tell(over)}; {tell(after['ours']['grown'])} after a fifth of the hits"
    lines.append([title, *bare, ours, *_goal(judge, title, [_at_most(limit, over, tell)], problem)])
    return sheet.table("Memory", ["", "without a debugger", "dd-trace", "ours", "goal", "reached"], lines)


def _rewrite(part, problem, judge):
    titles = {"first": "a module, first time", "again": "the same module in a later process"}
    lines = []
    for key, title in titles.items():
        limit = _rows["rewrite_ms"][key]
        found = None if problem else part.get(key)
        goals = [_at_most(limit, found[1], lambda value: f"{value:.3g} ms")] if found else []
        reached = _goal(judge, title, goals, None if found else problem or sheet.not_measured)
        lines.append([title, f"{sheet.spread(found, 1)} ms" if found else "–", *reached])
    return sheet.table(
        "Guards: how long a module waits for them, per MB of its text", ["", "ours", "goal", "reached"], lines
    )
