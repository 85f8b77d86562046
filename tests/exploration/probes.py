"""Probes for every line and every method of sources: logs, snapshots, conditions and metrics by turns."""

from __future__ import annotations

import ast
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import batched
from pathlib import Path
from types import CodeType

LINES = 10  # of one probe

# By turns. Their rates are low, so each fires, is disarmed because it has no more tokens, and is armed again, over and
# over. Metrics have no rate.
ON_LINES = [
    {"template": "seen", "captureSnapshot": True},
    {"type": "METRIC_PROBE", "kind": "COUNT"},
    {"template": "self is {self} and args are {args}", "sampling": {"snapshotsPerSecond": 5}},
    {
        "template": "condition held",
        "when": {"dsl": "isDefined(self) && len(self.name) > 3 || isDefined(value)"},
        "sampling": {"snapshotsPerSecond": 2},
    },
    {"type": "METRIC_PROBE", "kind": "GAUGE", "value": {"dsl": "isDefined(self)"}},
]
ON_METHODS = [
    {"template": "ended", "captureSnapshot": True},
    {"type": "METRIC_PROBE", "kind": "HISTOGRAM", "value": {"dsl": "@duration"}},
    {"template": "{@return} after {@duration}", "sampling": {"snapshotsPerSecond": 5}},
    {
        "template": "condition held",
        "when": {"dsl": "isDefined(@exception) || @duration > 1"},
        "sampling": {"snapshotsPerSecond": 2},
    },
    {"template": "both ends", "captureSnapshot": True, "evaluateAt": "ENTRY", "sampling": {"snapshotsPerSecond": 5}},
    {"type": "METRIC_PROBE", "kind": "COUNT", "evaluateAt": "ENTRY"},
    # Most of what functions return has no length: then the value fails, which must harm no one either.
    {"type": "METRIC_PROBE", "kind": "DISTRIBUTION", "value": {"dsl": "len(@return)"}},
]
# As large as captures get: five levels, all fields, the largest collections and texts.
HOSTILE = {
    "template": "{self} {@return}",
    "captureSnapshot": True,
    "capture": {"maxReferenceDepth": 5, "maxFieldCount": 100_000, "maxCollectionSize": 100_000, "maxLength": 1_000_000},
    "sampling": {"snapshotsPerSecond": 0.5},
}
ONE_IN = 10  # so many probes is hostile


@dataclass(frozen=True)
class Made:
    """The probes of a run."""

    definitions: list[dict]
    lines: int
    methods: int
    roots: tuple[Path, ...]

    def write(self, into: Path) -> None:
        """As a probe file."""
        into.write_text(json.dumps(self.definitions))

    def due(self, account: dict) -> set[str]:
        """The probes that must have been hit, where these lines ran and these functions returned."""
        ran = {(file, str(line)) for file, line in account["ran"]}
        returned = {(module_of(Path(file), self.roots), name) for file, name in account["returned"]}
        due = set()
        for probe in self.definitions:
            where = probe["where"]
            if "lines" in where:
                hit = any((where["sourceFile"], line) in ran for line in where["lines"])
            else:
                hit = (where["typeName"], where["methodName"]) in returned
            due |= {probe["id"]} if hit else set()
        return due

    def place(self, probe_id: str) -> str:
        """Where a probe is, for people."""
        where = next((probe["where"] for probe in self.definitions if probe["id"] == probe_id), {})
        if "lines" in where:
            return f"{where['sourceFile']}:{','.join(where['lines'])}"
        return f"{where.get('typeName')}:{where.get('methodName')}"


def made_for(files: tuple[Path, ...], roots: tuple[Path, ...], hostile: bool, seed: int) -> Made:
    """Probes on all lines and methods of files; the hostile ones on a tenth of them."""
    places = [place for file in files for place in places_in(file, roots)]
    if hostile:
        random.Random(seed).shuffle(places)
        places = places[: max(1, len(places) // ONE_IN)]
    definitions = []
    for number, where in enumerate(places):
        kinds = ON_LINES if "lines" in where else ON_METHODS
        kind = HOSTILE if hostile else kinds[number % len(kinds)]
        probe = {"id": f"p{number}", "version": 1, "type": "LOG_PROBE", "where": where, **kind}
        if probe["type"] == "METRIC_PROBE":
            probe["metricName"] = probe["id"]
        if hostile and "lines" in where:
            probe["template"] = "{self}"
        definitions.append(probe)
    lines = sum(len(where.get("lines", ())) for where in places)
    return Made(definitions, lines, sum("methodName" in where for where in places), roots)


def places_in(file: Path, roots: tuple[Path, ...]) -> list[dict]:
    """Where probes go in a file: some lines each, then each method."""
    try:
        tree = ast.parse(file.read_bytes())
        code = compile(file.read_bytes(), str(file), "exec", dont_inherit=True)
    except (SyntaxError, ValueError):
        return []
    in_functions = set(lines_with_code(code, of_functions=True))
    outside = set(lines_with_code(code, of_functions=False)) - in_functions
    # Not together: outside of functions lines run once, and can have no probe afterwards.
    places: list[dict] = [
        {"sourceFile": str(file), "lines": [str(line) for line in some]}
        for lines in (in_functions, outside)
        for some in batched(sorted(statements(tree) & lines), LINES)
    ]
    if module := module_of(file, roots):
        names = dict.fromkeys(name for name in functions(code))
        places += [{"typeName": module, "methodName": name} for name in names]
    return places


def statements(tree: ast.Module) -> set[int]:
    """The first lines of statements, without docstrings and declarations."""
    lines = set()
    for node in ast.walk(tree):
        docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if isinstance(node, ast.stmt) and not isinstance(node, (ast.Global, ast.Nonlocal)) and not docstring:
            lines.add(node.lineno)
    return lines


def nested(code: CodeType) -> Iterator[CodeType]:
    """A code object and all in it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from nested(constant)


def lines_with_code(code: CodeType, of_functions: bool) -> Iterator[int]:
    """The lines that the compiler left code for, in functions or outside: nothing is left of `if False:`."""
    for part in nested(code):
        if is_function(part) == of_functions:
            first = part.co_firstlineno if part is not code else None
            yield from (line for _, _, line in part.co_lines() if line and line != first)


def is_function(code: CodeType) -> bool:
    """False for modules and bodies of classes."""
    return bool(code.co_flags & 0x1)  # CO_OPTIMIZED


def functions(code: CodeType) -> Iterator[str]:
    """The qualified names of the functions of a module, without lambdas and comprehensions, which have none."""
    for part in nested(code):
        if is_function(part) and "<" not in part.co_name:
            yield part.co_qualname


def module_of(file: Path, roots: tuple[Path, ...]) -> str | None:
    """The name that a file is imported by."""
    root = next((root for root in roots if file.is_relative_to(root)), None)
    if root is None:
        return None
    parts = file.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts) or None
