"""Capture expressions, through real probes: limits of their own, what a failing one costs, both ends of a call, and
that what has the name of a secret leaves in none of them."""

import json
import re
import sys
from pathlib import Path
from typing import Any

from processes import events, plain, write

CART = """
    import json, sys, stroboscope

    class Address:
        def __init__(self):
            self.city = "London"

    class Owner:
        def __init__(self):
            self.name, self.address = "Ada Lovelace", Address()

    class Cart:
        def __init__(self):
            self.items, self.owner, self.many = ["apple", "banana", "cherry"], Owner(), []

        def total(self, rate):
            done = rate * 2
            if rate < 0:  # here
                raise ValueError("below zero")
            self.items = []
            return done
"""

total = {"typeName": "__main__", "methodName": "Cart.total"}


def expressions(**texts: str) -> list[dict[str, Any]]:
    return [{"name": name, "expr": {"dsl": text}} for name, text in texts.items()]


def run(
    folder: Path, probes: dict[str, dict[str, Any]], body: str, **settings: Any
) -> tuple[dict[str, list[Any]], Any]:
    """The snapshots of each probe, and the statuses."""
    script = write(folder, "cart.py", CART)
    lines = script.read_text().splitlines()
    line = {"sourceFile": "cart.py", "lines": [str(next(n for n, text in enumerate(lines, 1) if "# here" in text))]}
    settings = {"ndjson": "out.ndjson", "rate_limits": "off", "cpu_budget": 100, **settings}
    all_fields = {"version": 1, "type": "LOG_PROBE", "template": "x", "where": line}
    write(
        folder,
        "part.py",
        f"""
        stroboscope.start(**{settings!r})
        for name, probe in {probes!r}.items():
            stroboscope.add_probe({{**{all_fields!r}, "id": name, **probe}})
        {body}
        stroboscope.flush(10)
        print(json.dumps(stroboscope.status()))
        assert stroboscope.stop()
        """,
    )
    script.write_text(script.read_text() + (folder / "part.py").read_text())
    result = plain(folder, sys.executable, script.name)
    assert result.returncode == 0, result.stderr
    found: dict[str, list[Any]] = {name: [] for name in probes}
    for event in events((folder / "out.ndjson").read_text()):
        snapshot = event["debugger"]["snapshot"]
        found[snapshot["probe"]["id"]].append(snapshot)
    return found, json.loads(result.stdout)


def captured(snapshot: Any, point: str) -> Any:
    points = snapshot["captures"]
    (found,) = points["lines"].values() if point == "line" else (points[point],)
    assert list(found) == ["captureExpressions"]
    return found["captureExpressions"]


def values(snapshot: Any, point: str) -> dict[str, str]:
    return {name: value.get("value") for name, value in captured(snapshot, point).items()}


def errors(snapshot: Any) -> list[str]:
    return [error["expr"] for error in snapshot["evaluationErrors"]]


def test_each_has_limits_of_its_own_and_those_that_it_does_not_name_from_the_probe(tmp_path: Path) -> None:
    wanted: list[dict[str, Any]] = [
        {"name": "short", "expr": {"dsl": "self.owner.name"}, "capture": {"maxLength": 3}},
        {"name": "flat", "expr": {"dsl": "self.owner"}, "capture": {"maxReferenceDepth": 0}},
        {"name": "two", "expr": {"dsl": "self.items"}, "capture": {"maxCollectionSize": 2}},
        {"name": "of.the.probe", "expr": {"dsl": "self.owner"}},
        {"name": "one", "expr": {"dsl": "self.owner"}, "capture": {"maxFieldCount": 1, "maxLength": 99}},
        {"name": "size", "expr": {"dsl": "len(self.items)"}},
        {"name": "kept", "expr": {"dsl": "filter(self.items, {startsWith(@it, 'b')})"}},
    ]
    found, _ = run(tmp_path, {"a": {"captureExpressions": wanted, "capture": {"maxLength": 5}}}, "Cart().total(1)")
    (snapshot,) = found["a"]
    came = captured(snapshot, "line")
    assert snapshot["evaluationErrors"] == []
    assert came["short"] == {"type": "str", "value": "'Ada'", "truncated": True, "size": 12}
    assert came["flat"] == {"type": "Owner", "notCapturedReason": "depth"}
    two = came["two"]
    assert (len(two["elements"]), two["notCapturedReason"], two["size"]) == (2, "collectionSize", 3)
    assert came["of_the_probe"]["fields"]["name"]["value"] == "'Ada L'"
    assert came["of_the_probe"]["fields"]["address"]["fields"]["city"]["value"] == "'Londo'"
    assert (list(came["one"]["fields"]), came["one"]["notCapturedReason"]) == (["name"], "fieldCount")
    assert came["one"]["fields"]["name"]["value"] == "'Ada Lovelace'"
    assert came["size"] == {"type": "int", "value": "3"}
    assert [one["value"] for one in came["kept"]["elements"]] == ["'banan'"]


def test_a_failing_one_costs_its_entry_only_at_both_ends_of_a_call(tmp_path: Path) -> None:
    wanted = expressions(
        rate="rate",
        items="len(self.items)",
        back="@return",
        lost="@exception.message",
        no="nosuch.x",
        took="@duration >= 0",
    )
    tries = ["cart = Cart(); cart.total(1)", "try:", "    cart.total(-1)", "except ValueError:", "    pass"]
    body = "\n        ".join(tries)
    probes: dict[str, dict[str, Any]] = {
        "entry": {"where": total, "evaluateAt": "ENTRY", "captureExpressions": wanted},
        "exit": {"where": total, "evaluateAt": "EXIT", "captureExpressions": wanted},
        "line": {"captureExpressions": wanted},
        "never": {"when": {"dsl": "rate > 100"}, "captureExpressions": wanted},
    }
    found, statuses = run(tmp_path, probes, body)
    first, second = found["entry"]
    assert values(first, "entry") == {"rate": "1", "items": "3"}
    assert values(first, "return") == {"rate": "1", "items": "0", "back": "2", "took": "True"}
    assert errors(first) == ["back", "lost", "no", "took", "lost", "no"]
    assert values(second, "return") == {"rate": "-1", "items": "0", "lost": "'below zero'", "took": "True"}
    assert errors(second) == ["back", "lost", "no", "took", "back", "no"]
    returned, thrown = found["exit"]
    assert list(returned["captures"]) == ["return"]
    assert values(returned, "return") == {"rate": "1", "items": "0", "back": "2", "took": "True"}
    assert (errors(returned), errors(thrown)) == (["lost", "no"], ["back", "no"])
    hit, _ = found["line"]
    assert values(hit, "line") == {"rate": "1", "items": "3"}
    assert errors(hit) == ["back", "lost", "no", "took"]
    missing = [error["message"] for error in hit["evaluationErrors"] if error["expr"] == "no"]
    assert missing == ["No such variable: 'nosuch'"]
    assert found["never"] == [], "a hit that is not wanted produces no error"
    assert {state["id"]: (state["state"], state["dropped"]) for state in statuses if state["id"] != "never"} == {
        name: ("emitting", {}) for name in ("entry", "exit", "line")
    }


def test_one_that_runs_out_of_time_costs_itself_and_those_behind_it(tmp_path: Path) -> None:
    dear = "any(self.many, {any(self.many, {matches('xxxxxxxxxxxxxxxx', @it)})})"
    wanted = expressions(before="rate", dear=dear, after="rate")
    body = "cart = Cart(); cart.many = [f'y{n}' for n in range(210)]; cart.total(1)"
    found, _ = run(tmp_path, {"a": {"captureExpressions": wanted}}, body, evaluation_timeout_ms=1)
    (snapshot,) = found["a"]
    came = captured(snapshot, "line")
    assert came == {"before": {"type": "int", "value": "1"}, "after": {"notCapturedReason": "timeout"}}
    assert snapshot["evaluationErrors"] == [{"expr": "dear", "message": "Evaluation took longer than 1 ms"}]


def test_a_snapshot_wins_over_them_and_of_two_with_one_name_the_last_counts(tmp_path: Path) -> None:
    twice = [*expressions(a="rate"), *expressions(a="len(self.items)")]
    probes: dict[str, dict[str, Any]] = {
        "snapshot": {"captureSnapshot": True, "captureExpressions": expressions(a="rate")},
        "twice": {"captureExpressions": twice},
    }
    found, _ = run(tmp_path, probes, "Cart().total(1)")
    ((point,),) = (one["captures"]["lines"].values() for one in found["snapshot"])
    assert "captureExpressions" not in point
    assert point["arguments"]["rate"]["value"] == "1"
    assert values(found["twice"][0], "line") == {"a": "3"}


# ---- secrets ---------------------------------------------------------------------------------------------------------

RULES = (Path(__file__).parents[2] / "core/src/capture/redact.rs").read_text()
NAMES = re.findall(r'"(\w+)"', RULES[RULES.index("BUILT_IN: [") : RULES.index("];")])
SECRET = "s3cr3t-0f-m1ne"


def spellings(name: str) -> list[str]:
    return [name, name.upper(), f"_{name}_", f"{name[0]}_{name[1:]}", f"{name[:2]}-{name[2:]}"]


def test_no_default_name_of_a_secret_leaves_however_it_is_spelled_and_reached(tmp_path: Path) -> None:
    assert len(NAMES) == 85
    every = [spelling for name in NAMES for spelling in spellings(name)]
    names = [name for name in every if name.isidentifier()]
    lines = ["class Vault:", "    pass", "def open_all(all):"]
    lines += [f"    {name} = {SECRET!r}" for name in names]
    lines += [
        "    own, fields = {name: SECRET for name in all}, Vault()".replace("SECRET", repr(SECRET)),
        "    raw = {name.encode(): SECRET for name in all}".replace("SECRET", repr(SECRET)),
        "    for name in all:",
        f"        setattr(fields, name, {SECRET!r})",
        "    whole = [own, raw, fields]",
        "    return len(all)  # here",
    ]
    (tmp_path / "vault.py").write_text("\n".join(lines) + "\n")
    ways = [*names, *(f"fields.{name}" for name in names), *(f"own.{name}" for name in names)]
    ways += [f"own['{name}']" for name in every] + [f"own[all[{at}]]" for at in range(len(every))]
    ways += [f"fields[all[{at}]]" for at in range(len(every))]
    whole = ["own", "raw", "fields", "whole", "filter(whole, {true})", "filter(own, {true})", "filter(raw, {true})"]
    texts = [*ways, *whole]
    where = {"sourceFile": "vault.py", "lines": [str(len(lines))]}
    limits = {"maxFieldCount": 500, "maxCollectionSize": 500}
    probes = [
        {
            "id": f"p{at}",
            "type": "LOG_PROBE",
            "template": "x",
            "where": where,
            "captureExpressions": [
                {"name": f"n{at + index}", "expr": {"dsl": text}, "capture": limits}
                for index, text in enumerate(texts[at : at + 50])
            ],
        }
        for at in range(0, len(texts), 50)
    ]
    (tmp_path / "given.json").write_text(json.dumps([probes, every]))
    write(
        tmp_path,
        "asks.py",
        """
        import json, stroboscope, vault
        probes, every = json.load(open("given.json"))
        times = {"capture_timeout_ms": 1000, "evaluation_timeout_ms": 1000}
        stroboscope.start(ndjson="out.ndjson", rate_limits="off", cpu_budget=100, **times)
        for probe in probes:
            stroboscope.add_probe(probe)
        vault.open_all(every)
        assert stroboscope.stop()
        """,
    )
    result = plain(tmp_path, sys.executable, "asks.py")
    assert result.returncode == 0, result.stderr
    text = (tmp_path / "out.ndjson").read_text()
    assert SECRET not in text
    came = [event["debugger"]["snapshot"] for event in events(text)]
    assert len(came) == len(probes)
    refused = [error["message"] for snapshot in came for error in snapshot["evaluationErrors"]]
    assert len(refused) == len(ways)
    pattern = re.compile("Could not evaluate the expression because '.*' was redacted")
    assert [message for message in refused if not pattern.fullmatch(message)] == []
    kept: dict[str, Any] = {}
    for snapshot in came:
        kept |= captured(snapshot, "line")
    assert sorted(kept) == sorted(f"n{len(ways) + at}" for at in range(len(whole)))
    assert all("redactedIdent" in json.dumps(value) for value in kept.values())
