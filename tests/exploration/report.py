"""What the runs gave: kept as one JSON object for each suite and way, and told to people, in lines and in a page."""

from __future__ import annotations

import fnmatch
import json
from collections import Counter
from dataclasses import asdict
from pathlib import Path

from compare import Difference, Key
from probes import Made
from runs import MODES, Outcome
from suites import ROOT

PAGE = ROOT / "docs/exploration.md"
KINDS = ("differ", "listed", "unsteady")
SHOWN = 12  # differences of a run that are printed


def entry(about: dict, made: Made, bare: Outcome, other: Outcome, differ: list[Difference]) -> dict:
    """A line of the report. `about` says which suite it is of, in which way, in which Python."""
    ends = Counter(bare.tests.values())
    account = other.account or {}
    return {
        **about,
        "tests": len(bare.tests),
        "skipped": sum(count for end, count in ends.items() if "skipped" in end),
        "failed_bare": sorted(test for test, end in bare.tests.items() if "fail" in end or "error" in end),
        "probes": len(made.definitions),
        "lines": made.lines,
        "methods": made.methods,
        "installed": account.get("installed", 0),
        "fired": len(other.fired),
        "events": other.events,
        "measured": len(other.measured),
        "churned": account.get("churned", 0),
        "seconds": [round(outcome.seconds, 1) for outcome in (bare, other)],
        "peak": [(outcome.account or {}).get("peak", 0) for outcome in (bare, other)],
        "stats": account.get("stats"),
        "ended": [bare.ended, other.ended],
        "differ": [asdict(one) for one in differ],
    }


def judged(result: dict, exceptions: list[dict]) -> dict[str, list[dict]]:
    """The differences by what they are: unexplained, with a reason, or coming and going by themselves."""
    kinds: dict[str, list[dict]] = {kind: [] for kind in KINDS}
    for one in result["differ"]:
        reason = reason_of(one, result, exceptions)
        kind = "listed" if reason else "differ" if one["steady"] else "unsteady"
        kinds[kind].append(one | {"reason": reason})
    return kinds


def reason_of(one: dict, result: dict, exceptions: list[dict]) -> str | None:
    """Why a difference is expected, if it is."""
    name = one["name"] if one["what"] == "test" else f"{result['suite']} {one['what']} {one['name']}"
    for exception in exceptions:
        if result["mode"] not in exception.get("modes", MODES):
            continue
        if any(fnmatch.fnmatchcase(name, pattern) for pattern in exception.get("names", [])):
            return exception["reason"]
    return None


def is_silent(result: dict) -> bool:
    """True if no probe fired: then nothing is shown."""
    return result["tests"] > 0 and not result["fired"]


def told(result: dict, kinds: dict[str, list[dict]]) -> str:
    """A few lines about a suite in one way."""
    numbers = ", ".join(f"{len(found)} {kind}" for kind, found in kinds.items() if found or kind == "differ")
    lines = [
        f"{result['suite']} {result['mode']}: {result['tests']} tests ({result['skipped']} skipped), {numbers}; "
        f"{result['probes']} probes on {result['lines']} lines and {result['methods']} methods, "
        f"{result['fired']} fired, {result['measured']} measured, {result['events']} events; "
        f"{result['seconds'][0]} s bare, {result['seconds'][1]} s; "
        f"{result['peak'][0] >> 10} MiB bare, {result['peak'][1] >> 10} MiB"
    ]
    for kind in KINDS:
        for one in kinds[kind][:SHOWN]:
            bare, other = (" and ".join(dict.fromkeys(one[key])) for key in ("bare", "other"))
            lines.append(f"  {kind}: {one['what']} {one['name'][:160]}: {bare} bare, {other} {result['mode']}")
        if len(kinds[kind]) > SHOWN:
            lines.append(f"  {kind}: … {len(kinds[kind]) - SHOWN} more, in the report")
    return "\n".join(lines)


def read(file: Path) -> dict[Key, dict]:
    """The results of a report, by suite and way; the last of each counts."""
    if not file.exists():
        return {}
    results = (json.loads(line) for line in file.read_text().splitlines())
    return {(result["suite"], result["mode"]): result for result in results}


def add(result: dict, file: Path) -> None:
    """Adds a result to a report."""
    with file.open("a") as out:
        out.write(json.dumps(result) + "\n")


def page(results: list[dict], exceptions: list[dict], listed: list[str]) -> str:
    """docs/exploration.md; `listed` are the suites that there are."""
    pythons = ", ".join(dict.fromkeys(result["python"] for result in results))
    suites = list(dict.fromkeys(result["suite"] for result in results))
    not_run = [name.removeprefix("stdlib:") for name in listed if name not in suites]
    all_kinds = Counter(kind for result in results for kind, found in judged(result, exceptions).items() for _ in found)
    seconds = sum(result["seconds"][1] for result in results)
    parts = [
        HEAD.format(
            pythons=pythons,
            ways="\n".join(f"| {mode} | {what} |" for mode, what in MODES.items()),
            sums=f"{len(suites)} of {len(listed)} suites, {len(results)} runs with probes, {seconds:.0f} s together: "
            f"{all_kinds['differ']} differ, {all_kinds['listed']} are listed,\n{all_kinds['unsteady']} came and went."
            + (f" Not in these reports: {', '.join(not_run)}." if not_run else ""),
        )
    ]
    for mode in MODES:
        rows = [row(result, judged(result, exceptions)) for result in results if result["mode"] == mode]
        if rows:
            parts.append(f"\n## {mode.capitalize()}: {MODES[mode]}\n\n{COLUMNS}\n" + "\n".join(rows) + "\n")
    reasons: Counter[tuple[str, str, str]] = Counter()
    for result in results:
        for one in judged(result, exceptions)["listed"]:
            reasons[result["suite"], one["what"], one["reason"]] += 1
    if reasons:
        parts.append("\n## Listed\n\n| suite | what | number, in all ways | reason |\n| --- | --- | --- | --- |\n")
        parts += [f"| {suite} | {what} | {count} | {reason} |\n" for (suite, what, reason), count in reasons.items()]
    return "".join(parts)


HEAD = """# Exploration in Python

Generated from the reports of `make explore explore=--all` by `tests/exploration/run.py --page`;
[tests/exploration](../tests/exploration/README.md) says what is run and how it is compared, and what of Node.

Tests of programs that nobody here wrote, in CPython {pythons}, each bare and in three ways:

| way | probes |
| --- | --- |
{ways}

The same tests must pass and print the same; no probe may be missing, or not be hit where its line ran; nothing of ours
be logged; memory stay within its bound; and all code be as before once the probes are gone.

{sums}
"""

NAMES = (
    *("suite", "tests", "skipped", "fail bare", "lines", "methods", "probes", "fired", "events", "metrics"),
    *("differ", "listed", "unsteady", "seconds bare / so", "MiB bare / so"),
)
COLUMNS = f"| {' | '.join(NAMES)} |\n|{' --- |' * len(NAMES)}"


def row(result: dict, kinds: dict[str, list[dict]]) -> str:
    """A row of the page."""
    keys = ("tests", "skipped", "lines", "methods", "probes", "fired", "events", "measured")
    number = {key: f"{result[key]:,}" for key in keys}
    cells = [
        f"{result['suite'].removeprefix('stdlib:')} {result['version']}".strip(),
        *(number["tests"], number["skipped"], len(result["failed_bare"])),
        *(number[key] for key in keys[2:]),
        *(len(kinds[kind]) for kind in KINDS),
        " / ".join(f"{seconds:.0f}" for seconds in result["seconds"]),
        " / ".join(f"{peak >> 10}" for peak in result["peak"]),
    ]
    return f"| {' | '.join(map(str, cells))} |"
