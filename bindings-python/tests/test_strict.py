"""Strict capture in a real program: no value leaves it by any way; types, sizes and equality do."""

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from processes import events, plain, write

# Whatever the program holds, written so that it can be found again.
PROGRAM = """
    import collections, datetime, decimal, enum, fractions, json, pathlib, sys, uuid, stroboscope

    class Suit(enum.Enum):
        HUSH_member = "HUSH_enum"

    class Level(enum.IntEnum):
        HUSH_low = 4711

    Pair = collections.namedtuple("Pair", "left right")

    class Card:
        __slots__ = ("number",)
        kind = "HUSH_class"
        def __init__(self, number):
            self.number = number

    class Names(dict):
        pass

    class Quiet(Exception):
        pass

    def HUSH_function():
        yield "HUSH_item"

    def pay(card, amount, *rest, **more):
        text, long, raw = "HUSH_text", "HUSH_" * 100, b"HUSH_raw"
        same, other = "Ada Lovelace", "HUSH_other"
        items, pair, unique = ["HUSH_a", "HUSH_b"], Pair("HUSH_l", 4711), {"HUSH_set"}
        table = {"HUSH_key": "HUSH_value", 4711: 4712, ("HUSH_t", 4711): None, b"HUSH_bytes": Suit.HUSH_member}
        names = Names(HUSH_name=1)
        big, ratio, flag, nothing = 4711 ** 40, 4711.25, True, None
        exact, part, much = decimal.Decimal("4711.5"), fractions.Fraction(4711, 3), complex(4711, 4712)
        day, path = datetime.date(1947, 11, 4), pathlib.Path("/HUSH_path")
        number, walk, function = uuid.UUID(int=4711), HUSH_function(), HUSH_function
        suit, level, span, error = Suit.HUSH_member, Level.HUSH_low, range(4711), Quiet("HUSH_error", 4711)
        values, keys = table.values(), table.keys()
        if amount < 0:  # here
            raise Quiet("HUSH_raised", {"HUSH_arg": 4711})
        return "HUSH_returned"

    def run():
        pay(Card("HUSH_card"), 4711, "HUSH_rest", HUSH_more="HUSH_more")
        try:
            pay(Card("HUSH_card"), -4711)
        except Quiet:
            pass
"""

method = {"typeName": "__main__", "methodName": "pay"}
everything = {"maxReferenceDepth": 5, "maxCollectionSize": 500, "maxLength": 5000, "maxFieldCount": 500}


def run(
    folder: Path, probes: list[dict[str, Any]], mode: str = "strict", key: str = "key"
) -> tuple[str, list[Any], Any]:
    """All that left the program, its events, and the statuses."""
    script = write(folder, "shop.py", PROGRAM)
    lines = script.read_text().splitlines()
    line = {"sourceFile": "shop.py", "lines": [str(next(n for n, text in enumerate(lines, 1) if "# here" in text))]}
    write(
        folder,
        "part.py",
        f"""
        shown = {{"ndjson": "out.ndjson", "terminal": "always"}}
        stroboscope.start(rate_limits="off", cpu_budget=100, capture_timeout_ms=1000, **shown)
        for probe in {probes!r}:
            stroboscope.add_probe({{"version": 1, "type": "LOG_PROBE", "where": {line!r}, **probe}})
        run()
        stroboscope.flush(10)
        statuses = stroboscope.status()
        assert stroboscope.stop()
        print(json.dumps(statuses))
        """,
    )
    script.write_text(script.read_text() + (folder / "part.py").read_text())
    result = plain(folder, sys.executable, script.name, STROBE_CAPTURE=mode, STROBE_CAPTURE_KEY=key)
    assert result.returncode == 0, result.stderr
    out = (folder / "out.ndjson").read_text()
    return out + result.stderr, events(out), json.loads(result.stdout)


def leaks(text: str) -> list[str]:
    """What of the values stands in a text. Names of variables, functions and classes may."""
    named = {"HUSH_function"}
    found = set(re.findall(r"HUSH_\w+", text)) - named
    return sorted(found | set(re.findall(r"471[12]\d*|1947|Lovelace|11-04", text.replace("hash", "\nhash"))))


def without_hashes(text: str) -> str:
    text = re.sub(r'"hash":"[0-9a-f]{16}"|#[0-9a-f]{16}', "", text)
    # Numbers of ours: times, ids of events, threads and stacks.
    text = re.sub(r'"(?:timestamp|duration|thread_id|size|lineNumber|columnNumber)":\d+', "", text)
    return re.sub(r'"(?:id|runtimeId|thread_name|service|hostname)":"[^"]*"', "", text)


def test_nothing_of_any_value_leaves(tmp_path: Path) -> None:
    names = "card amount rest more text long raw items pair unique table names big ratio flag nothing exact part much"
    names += " day path number walk function suit level span error values keys"
    names += " card.number table['HUSH_key'] items[0] pair.left"
    expressions = [{"name": f"e{at}", "expr": {"dsl": name}} for at, name in enumerate(names.split())]
    probes: list[dict[str, Any]] = [
        {"id": "line", "captureSnapshot": True, "capture": everything, "segments": segments(names.split())},
        {"id": "entry", "where": method, "evaluateAt": "ENTRY", "captureSnapshot": True, "capture": everything},
        {
            "id": "exit",
            "where": method,
            "evaluateAt": "EXIT",
            "captureSnapshot": True,
            "capture": everything,
            "segments": segments(["@return", "@exception", "@exception.message"]),
        },
        {"id": "captured", "captureExpressions": expressions, "capture": everything},
        {"id": "failing", "segments": segments(["nosuch", "card.nosuch", "items[9]", "table['nokey']", "len(amount)"])},
    ]
    text, came, statuses = run(tmp_path, probes)
    assert {state["state"] for state in statuses} == {"emitting"}, statuses
    assert len(came) == 10
    # The author's own literal stands in the names of errors.
    plain_text = without_hashes(text).replace("table['HUSH_key']", "").replace('table[\\"HUSH_key\\"]', "")
    assert leaks(plain_text) == []
    of = {event["debugger"]["snapshot"]["probe"]["id"]: event for event in came}
    snapshot = next(iter(of["line"]["debugger"]["snapshot"]["captures"]["lines"].values()))
    seen = {**snapshot["arguments"], **snapshot["locals"]}
    assert seen["text"]["size"] == 9
    assert (seen["long"]["type"], seen["long"]["size"]) == ("str", 500)
    assert seen["nothing"] == {"type": "NoneType", "isNull": True}
    assert seen["items"]["size"] == 2
    assert [one["type"] for one in seen["items"]["elements"]] == ["str", "str"]
    assert list(seen["card"]["fields"]) == ["number"]
    assert set(seen["suit"]) == {"type", "hash"}
    assert of["line"]["message"].startswith(
        "{Card} {int} {tuple} {dict} {str} {str} {bytes} {list} {Pair} {set} {dict} {Names}"
    )
    thrown = of["exit"]["debugger"]["snapshot"]["captures"]["return"]["throwable"]
    assert (thrown["type"], thrown["message"]) == ("Quiet", "{withheld}")
    assert of["exit"]["message"] in (
        "{'@return' is not available here} {Quiet} {str}",
        "{str} {'@exception' is not available here} {'@exception' is not available here}",
    )


def segments(texts: list[str]) -> list[dict[str, str]]:
    found: list[dict[str, str]] = []
    for text in texts:
        found += [{"str": " "}] * bool(found) + [{"dsl": text}]
    return found


def snapshot_of(came: list[Any]) -> dict[str, Any]:
    (point,) = came[0]["debugger"]["snapshot"]["captures"]["lines"].values()
    return {**point["arguments"], **point["locals"]}


def test_equal_values_have_equal_hashes_where_the_key_is_one(tmp_path: Path) -> None:
    probes = [{"id": "line", "captureSnapshot": True}]
    first, again, other = (
        snapshot_of(run(tmp_path / name, probes, key=key)[1])
        for name, key in (("1", "key"), ("2", "key"), ("3", "another"))
    )
    assert first["text"] == again["text"]
    assert first["text"]["hash"] != other["text"]["hash"]
    assert first["text"]["hash"] != first["other"]["hash"]
    # What Node and the core have for the same text and key.
    assert first["same"] == {"type": "str", "hash": ADA, "size": 12}


ADA = "b3df5ad72cdb8902"


def test_numbers_leave_only_where_they_may(tmp_path: Path) -> None:
    text, came, _ = run(
        tmp_path, [{"id": "line", "captureSnapshot": True, "template": "{amount} {text} {flag}"}], "strict+numbers"
    )
    assert came[0]["message"] == "4711 {str} True" or came[0]["message"] == "4711 {str} true"
    seen = snapshot_of(came)
    assert (seen["amount"]["value"], seen["flag"]["value"], seen["ratio"]["value"]) == ("4711", "True", "4711.25")
    assert all(set(key) <= {"type", "hash", "size", "elements"} for key, _ in seen["table"]["entries"])
    assert re.findall(r"HUSH_\w+", without_hashes(text).replace("HUSH_function", "")) == []


def test_what_would_tell_more_is_refused(tmp_path: Path) -> None:
    probes: list[dict[str, Any]] = [
        {"id": "when", "when": {"dsl": "startsWith(text, 'H')"}},
        {"id": "message", "template": "{substring(text, 0, 1)}"},
        {"id": "captured", "captureExpressions": [{"name": "a", "expr": {"dsl": "amount > 3"}}]},
        {
            "id": "fine",
            "when": {"dsl": "text == 'HUSH_text' && len(items) == 2 && amount != 3"},
            "template": "{len(items)} {isEmpty(items)}",
        },
    ]
    _, came, statuses = run(tmp_path, probes)
    assert [state["state"] for state in statuses] == ["error", "error", "error", "emitting"]
    assert all("under strict capture" in state["reason"] for state in statuses[:3])
    assert {event["message"] for event in came} == {"2 false"}


@pytest.mark.parametrize(("mode", "state"), [("strict", "error"), ("strict+numbers", "installed")])
def test_a_metric_measures_sizes_or_what_may_be_shown(tmp_path: Path, mode: str, state: str) -> None:
    metric = {"type": "METRIC_PROBE", "kind": "GAUGE", "metricName": "m"}
    probes = [
        {"id": "size", "value": {"dsl": "len(items)"}, **metric},
        {"id": "value", "value": {"dsl": "amount"}, **metric},
    ]
    _, _, statuses = run(tmp_path, probes, mode)
    assert statuses[0]["state"] in ("installed", "emitting")
    assert (statuses[1]["state"] == "error") == (state == "error"), statuses[1]
