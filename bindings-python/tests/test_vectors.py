"""Every vector with real Python objects, some of them through a real probe, and random ones of a fresh seed."""

import importlib
import json
import keyword
import os
import pathlib
import random
import shutil
import subprocess
import sys
import time

import pytest
import run_vectors

from stroboscope import _native

ROOT = pathlib.Path(__file__).parents[2]
VECTORS = ROOT / "tests" / "vectors"

# What Python cannot have, by reason: a vector that is skipped for another one is a failure.
HAVE_NOT = {
    "Python has no undefined": 11,
    "for another host": 8,
    "a dict is no record: its keys may be of any kind": 2,
    "Python reads every field of an instance": 1,
    "nothing changes while the GIL is held": 3,
    "says nothing of Python": 14,
}


@pytest.fixture(autouse=True)
def long_integers():
    before = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(0)
    yield
    sys.set_int_max_str_digits(before)


def vectors(name):
    found = run_vectors.read((VECTORS / f"{name}.json").read_text(encoding="utf-8"))
    assert found
    return found


@pytest.mark.parametrize(("name", "at_least"), [("expressions", 674), ("records", 225), ("redaction", 5)])
def test_every_vector_passes(name, at_least):
    report = run_vectors.run(vectors(name))
    assert not report.failed, str(report)
    assert len(report.passed) >= at_least, str(report)
    for reason, count in report.skipped.items():
        assert count <= HAVE_NOT.get(reason, 0), str(report)


@pytest.mark.parametrize("name", ["definitions", "locations", "prune", "rates", "statuses"])
def test_what_the_core_decides_alone_is_counted(name):
    found = vectors(name)
    report = run_vectors.run(found)
    assert not report.passed and not report.failed
    assert report.skipped.total() == len(found)


def test_the_command_prints_failures_and_counts(tmp_path):
    wrong = {"id": "x-1", "kind": "eval", "vars": {}, "json": 1, "expect": {"value": 2}}
    right = {"id": "x-2", "kind": "eval", "vars": {"a": [1]}, "json": {"len": {"ref": "a"}}, "expect": {"value": 1}}
    strange = {"id": "x-3", "kind": "strange"}
    file = tmp_path / "some.json"
    file.write_text(json.dumps({"format": 1, "vectors": [wrong, right, strange]}))
    ran = subprocess.run(
        [sys.executable, run_vectors.__file__, str(file)], capture_output=True, text=True, check=False, timeout=60
    )
    assert ran.returncode == 1
    assert "FAILED x-1: expected ('int', 2), got ('int', 1)" in ran.stdout
    assert "FAILED x-3: unknown kind 'strange'" in ran.stdout
    assert ran.stdout.endswith("1 passed, 2 failed\n")


EVAL = {"id": "x", "kind": "eval", "json": {"ref": "a"}, "vars": {"a": 1}, "expect": {"value": 1}}
MISTAKES = {
    "an unknown field": {"varz": {}},
    "unknown field 'redacted_identifers'": {"config": {"redacted_identifers": ["a"]}},
    "config.redacted_types is no array": {"config": {"redacted_types": "abc"}},
    "unknown field 'value'": {"expect": {"value": 1, "error": "undefined"}},
    "expect.error is not": {"expect": {"error": "undefind"}},
    "unknown field 'feilds'": {"vars": {"a": {"$object": {"class": "A", "feilds": {}}}}},
    "unknown tag $flot": {"vars": {"a": {"$flot": "1"}}},
    "beside other members": {"vars": {"a": {"$int": "1", "$float": "1"}}},
    "two expressions": {"dsl": "b"},
    "there is no expression": {"json": None},
    "vector.host is not": {"host": "pyhton"},
    "has no 'id'": {"id": None},
    "vector.id is not text": {"id": 5},
    "unknown kind": {"kind": "evil"},
    "metric_kind is not": {"kind": "metric", "metric_kind": "CUONT"},
    "names is no array": {
        "kind": "redaction", "names": "pin", "json": None, "vars": None, "spellings": [], "places": [],
        "expect": {"redacted": True},
    },
    "categories ['timeout']": {
        "kind": "template", "json": None, "segments": [{"json": {"ref": "zz"}}],
        "expect": {"message": "{No such variable: 'zz'}", "errors": [{"expr": "zz", "error": "timeout"}]},
    },
}  # fmt: skip


@pytest.mark.parametrize("reason", MISTAKES)
def test_a_vector_that_says_something_unknown_fails(reason):
    fields = {name: value for name, value in {**EVAL, **MISTAKES[reason]}.items() if value is not None}
    report = run_vectors.run(run_vectors.read(json.dumps({"format": 1, "vectors": [{**EVAL, "id": "y"}, fields]})))
    assert report.passed == ["y"] and len(report.failed) == 1, str(report)
    assert reason in report.failed[0][1], report.failed


def test_an_id_is_used_once():
    report = run_vectors.run(run_vectors.read(json.dumps({"format": 1, "vectors": [EVAL, EVAL]})))
    assert report.failed == [("x", "its id is used twice")]


@pytest.mark.parametrize(
    "text",
    [
        '{"format": true, "vectors": [{}]}',
        '{"format": 1.0, "vectors": [{}]}',
        '{"format": 1, "format": 1, "vectors": [{}]}',
        '{"format": 1, "vectors": [{"id": "a", "id": "b"}]}',
        '{"format": 1, "vectors": [{"id": NaN}]}',
        '{"format": 1, "x": {"vectors": [1]}, "vectors": []}',
    ],
)
def test_a_file_that_is_no_vector_file_is_refused(text):
    with pytest.raises(ValueError):
        run_vectors.read(text)


@pytest.mark.skipif(shutil.which("cargo") is None, reason="random vectors are made by cargo run -p xtask")
def test_random_vectors():
    seed = os.environ.get("STROBE_TEST_SEED", str(time.time_ns() % 2**32))
    print(f"seed {seed}: repeat with STROBE_TEST_SEED={seed}")
    command = ["cargo", "run", "--quiet", "-p", "xtask", "--", "vectors", "--random", seed, "--count", "2000"]
    made = subprocess.run(
        [*command, "--host", "python"], cwd=ROOT, capture_output=True, text=True, check=False, timeout=600
    )
    assert made.returncode == 0, made.stderr
    report = run_vectors.run(run_vectors.read(made.stdout))
    assert not report.failed, f"seed {seed}\n{report}"
    assert len(report.passed) >= 1800, f"seed {seed}\n{report}"


# ---- through a real probe --------------------------------------------------------------------------------------------


def can_be_locals(names):
    return all(name.isidentifier() and not keyword.iskeyword(name) and name.isascii() for name in names)


def sample(name, kinds, count):
    """Vectors whose variables a function can have."""
    fit = []
    for vector in vectors(name):
        names = vector.get("vars", {}).keys() if name == "expressions" else [vector.get("name", "v")]
        ours = vector.get("host") in (None, "python") and "config" not in vector and "wrap" not in vector
        if vector["kind"] in kinds and ours and can_be_locals(names) and vector["expect"].get("error") != "syntax":
            fit.append(vector)
    return DICE.sample(fit, count)


SEED = int(os.environ.get("STROBE_TEST_SEED", time.time_ns() % 2**32))
DICE = random.Random(SEED)


class Case:
    """A vector, its values, and the function that has them as arguments or as other variables."""

    def __init__(self, number, vector, variables, expected):
        self.name = f"probed_{number}"
        self.vector = vector
        self.variables = variables
        self.expected = expected
        self.line = 0

    def source(self, line):
        names = list(self.variables)
        if int(self.name[7:]) % 2:
            lines = [f"def {self.name}({', '.join(names)}):"]
        else:
            lines = [f"def {self.name}(**given):", *(f"    {name} = given[{name!r}]" for name in names)]
        self.line = line + len(lines)
        return [*lines, "    return 0"]

    def where(self, module):
        return {"sourceFile": f"{module}.py", "lines": [str(self.line)]}


@pytest.fixture
def probed(tmp_path, monkeypatch):
    """Makes a module of cases, with a probe on each; then calls them all and answers the events by case."""
    made = []

    def run(cases, define):
        name = f"probed_{time.monotonic_ns()}"
        lines = []
        for case in cases:
            lines += case.source(len(lines) + 1)
        (tmp_path / f"{name}.py").write_text("\n".join(lines) + "\n")
        monkeypatch.syspath_prepend(str(tmp_path))
        module = importlib.import_module(name)
        made.append(name)
        _native.start([], True)
        for case in cases:
            probe = {
                "id": case.name,
                "version": 1,
                "type": "LOG_PROBE",
                "language": "python",
                "where": case.where(name),
            }
            _native.add_probe(json.dumps({**probe, "sampling": {"snapshotsPerSecond": 5000}, **define(case)}))
        wait_for_all()
        run_vectors.RAN.clear()
        for case in cases:
            getattr(module, case.name)(**case.variables)
        assert not run_vectors.RAN, run_vectors.RAN
        assert _native.flush(5.0)
        events = {}
        for text in _native._test_events():
            event = json.loads(text)
            events.setdefault(event["debugger"]["snapshot"]["probe"]["id"], []).append(event)
        return events

    yield run
    assert _native.stop(5.0)
    for name in made:
        sys.modules.pop(name, None)


def wait_for_all():
    end = time.monotonic() + 10
    while time.monotonic() < end:
        states = {probe["id"]: (probe["state"], probe.get("reason")) for probe in _native.status()}
        if all(state in ("installed", "emitting") for state, _ in states.values()):
            return
        time.sleep(0.01)
    raise AssertionError({name: state for name, state in states.items() if state[0] != "installed"})


def cases_of(found, build, expect):
    """The cases that Python can have, with what is expected of each, worked out before a session holds the names."""
    cases = []
    for number, vector in enumerate(found):
        try:
            run_vectors.of_this_host(vector)
            variables = build(vector)
        except run_vectors.Skipped:
            continue
        cases.append(Case(number, vector, variables, expect(vector, variables)))
    assert len(cases) > len(found) * 0.8
    return cases


WORLDS = []


def world(natural=False):
    WORLDS.append(run_vectors.World(natural))  # keeps what the cases hold
    return WORLDS[-1]


def in_a_message(vector, variables):
    """The message and the failing expressions, as a hit without a session gives them."""
    segment = (None, vector.get("dsl"), vector.raw.get("json"))
    event = json.loads(_native._test_event(variables, [segment]))
    return event["message"], event["debugger"]["snapshot"]["evaluationErrors"]


def test_expressions_in_the_template_of_a_probe(probed):
    print(f"seed {SEED}")
    found = sample("expressions", ("eval",), 150)
    cases = cases_of(found, lambda vector: world().variables(vector.get("vars")), in_a_message)
    segment = lambda case: {"dsl": case.vector.get("dsl", ""), "json": case.vector.get("json")}  # noqa: E731
    events = probed(cases, lambda case: {"segments": [segment(case)]})
    for case in cases:
        (event,) = events[case.name]
        came = event["message"], event["debugger"]["snapshot"]["evaluationErrors"]
        assert came == case.expected, (SEED, case.vector["id"])
        assert ("error" in case.vector["expect"]) == bool(came[1]), (SEED, case.vector["id"])


def test_conditions_of_a_probe(probed):
    print(f"seed {SEED}")
    found = sample("expressions", ("condition", "eval"), 120)
    holds = lambda vector, variables: _native._test_evaluate(  # noqa: E731
        "condition", variables, vector.raw.get("json"), vector.get("dsl")
    )
    cases = cases_of(found, lambda vector: world().variables(vector.get("vars")), holds)
    when = lambda case: {"dsl": case.vector.get("dsl", ""), "json": case.vector.get("json")}  # noqa: E731
    events = probed(cases, lambda case: {"when": when(case), "segments": [{"str": "held"}]})
    for case in cases:
        how, value, text = case.expected
        came = [event["message"] for event in events.get(case.name, [])]
        wanted = [text] if how == "error" else ["held"] if value else []
        assert came == wanted, (SEED, case.vector["id"])


def test_captured_values_of_a_probe(probed):
    print(f"seed {SEED}")
    fit = [vector for vector in sample("records", ("record",), 200) if "python" in vector["expect"]]
    # As many as the process may capture in a second at most.
    found = fit[:60]
    build = lambda vector: world(natural=True).variables({vector.get("name", "v"): vector["value"]})  # noqa: E731
    cases = cases_of(found, build, lambda vector, _: vector["expect"]["python"])
    events = probed(cases, lambda case: {"captureSnapshot": True, "capture": case.vector.get("limits", {})})
    for case in cases:
        assert case.name in events, (SEED, case.vector["id"])
        (event,) = events[case.name]
        point = event["debugger"]["snapshot"]["captures"]["lines"][str(case.line)]
        section = point["locals"] if case.line and "given" in point.get("arguments", {}) else point["arguments"]
        came = section[case.vector.get("name", "v")]
        wanted = run_vectors.without_order(case.expected)
        assert run_vectors.without_order(came) == wanted, (SEED, case.vector["id"])
