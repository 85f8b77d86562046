"""Probes that come, change and go by remote configuration while a program runs: the stand-in Agent serves them."""

import hashlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from agents import Agent, Program, Start, at, log, starting, states, until


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    here = Agent(tmp_path, "configures", "--state", str(tmp_path / "state"))
    yield here
    here.stop()


def held(agent: Agent) -> tuple[dict[str, int], dict[str, tuple[int, str]]]:
    """What the only client says that it holds: versions by id, and length and hash by path."""
    (client,) = agent.settled()
    said = client["state"]
    assert (said["targets_version"], said.get("has_error", False)) == (client["version"], False), said
    files = {file["path"]: (file["length"], file["hashes"]) for file in client["cached_target_files"] or []}
    assert all(len(hashes) == 1 and hashes[0]["algorithm"] == "sha256" for _, hashes in files.values())
    versions = {one["id"]: one["version"] for one in said.get("config_states") or []}
    assert set(states(client).values()) <= {2}
    return versions, {path: (length, hashes[0]["hash"]) for path, (length, hashes) in files.items()}


@pytest.mark.parametrize("transport", ["tcp", "unix"])
def test_nine_steps(agent: Agent, program: Start, transport: str) -> None:
    """The sequence by which every client of the protocol is tried: after each step what it holds is compared."""
    url = f"unix://{agent.socket}" if transport == "unix" else agent.url
    here = program(url=url)
    offered: dict[str, str] = {}
    steps: list[dict[str, dict[str, Any] | None]] = [
        {},
        {"a": log("a1")},
        {"a": log("a2", version=2)},
        {"a": None},
        {"a": log("a3", version=3), "b": log("b1", "other", id="b")},
        {"a": log("a4", version=4), "b": None},
        {},
        {"a": None},
    ]
    running: dict[str, str] = {}
    gone: set[str] = set()
    for step in steps:
        agent.offer({at(name): probe for name, probe in step.items()})
        for name, probe in step.items():
            gone |= {running.pop(name)} if name in running else set()
            if probe is None:
                offered.pop(at(name))
            else:
                offered[at(name)] = json.dumps(probe)
                running[name] = probe["template"].split()[0]
        versions, files = held(agent)
        known = agent.ask("/_remote")["files"]
        assert files == {path: (len(text), hashlib.sha256(text.encode()).hexdigest()) for path, text in offered.items()}
        assert versions == {f"logProbe_{name}": known[at(name)]["v"] for name in running}
        here.runs("beat", *running.values())
        here.is_silent(*gone)
    before = agent.polls(answer="update")
    agent.more_polls(3)
    assert agent.polls(answer="update") == before, "an update is sent once"
    (client,) = agent.settled()
    assert {poll["transport"] for poll in agent.polls()} == {transport}
    assert (agent.problems(), client["stuck"]) == ([], 0)
    assert here.end() == ""


def test_who_asks(agent: Agent, program: Start) -> None:
    here = program(DD_ENV="test", DD_VERSION="1.2", DD_TAGS="team:tea")
    (client,) = agent.settled()
    tracer = client["tracer"]
    expected = {"language": "python", "service": "shop", "env": "test", "app_version": "1.2"}
    assert expected.items() <= tracer.items()
    assert {"team:tea", "env:test", "version:1.2"} <= set(tracer["tags"])
    assert "entrypoint.name:program" in tracer["process_tags"]
    assert {"LIVE_DEBUGGING", "APM_TRACING"} <= set(client["products"])
    here.runs("beat")
    (sent, *_) = agent.sent_to("/debugger/v2/input")
    assert f"runtime_id:{tracer['runtime_id']}" in sent["tags"].split(",")
    assert agent.problems() == []


bad_files = {
    "no JSON": "{",
    "a number": 7,
    "an array": [],
    "an unknown type": log("x", id="bad", type="OTHER_PROBE"),
    "an unknown operator": log("x", id="bad", segments=[{"dsl": "", "json": {"nosuch": [1]}}], template=""),
    "no where": {name: value for name, value in log("x", id="bad").items() if name != "where"},
    "an empty where": log("x", id="bad", where={}),
    "another language's": log("x", id="bad", language=7),
}


@pytest.mark.parametrize("name", ["0bad", "zbad"])
def test_a_bad_file_spoils_only_itself(agent: Agent, program: Start, name: str) -> None:
    """Also one that comes first, and one that comes last."""
    here = program()
    agent.offer({at("good"): log("good", id="good")})
    agent.settled(path=at("good"))
    for number, (what, value) in enumerate(bad_files.items()):
        agent.offer({at(name): value, at("other"): log(f"other{number}", "other", id="other", version=number)})
        (client,) = agent.settled(path=at(name))
        said = {one["id"]: one for one in client["state"]["config_states"]}
        assert said[f"logProbe_{name}"]["apply_state"] == 3, what
        assert said[f"logProbe_{name}"]["apply_error"], what
        assert {said[f"logProbe_{one}"]["apply_state"] for one in ("good", "other")} == {2}, what
        assert not client["state"].get("has_error"), what
        here.runs("good", f"other{number}")
    agent.offer({at(name): None})
    agent.settled()
    assert agent.problems() == []
    here.end()


def test_a_place_that_does_not_exist_is_a_status_and_no_error_of_the_file(agent: Agent, program: Start) -> None:
    program()
    agent.offer({at("a"): log("x", where={"sourceFile": "program.py", "lines": ["9999"]})})
    (client,) = agent.settled(path=at("a"))
    assert states(client) == {"logProbe_a": 2}
    until(lambda: ("a", "ERROR") in {(one["probeId"], one["status"]) for one in agent.statuses()})


b = at("b")
wrong = "00" * 32
# How an answer is made wrong, and the code that must come of it; none where it must be taken all the same.
compatible: dict[str, tuple[dict[str, Any], str]] = {
    "no roots": ({"answer": {"roots": None}}, ""),
    "no config_status": ({"answer": {"config_status": None}}, ""),
    "no signatures": ({"targets": {"signatures": None}}, ""),
    "an unknown key": ({"keys": ["stranger"]}, ""),
    "no custom": ({"signed": {"custom": None}}, ""),
    "a file that is not in the index": ({"files": {at("c"): "{}"}}, ""),
    "a member that nobody knows": ({"answer": {"new": 1}, "signed": {"new": 1}}, ""),
    "SHA-256": ({"signed": {"targets": {b: {"hashes": {"sha256": wrong}}}}}, "file_hash"),
    "SHA-512": ({"signed": {"targets": {b: {"hashes": {"sha512": wrong * 2}}}}}, "file_hash"),
    "no hash": ({"signed": {"targets": {b: {"hashes": None}}}}, "file_hash"),
    "length": ({"signed": {"targets": {b: {"length": 1}}}}, "file_length"),
    "other bytes": ({"files": {b: "{}"}}, "file_length"),
    "a missing file": ({"files": {b: None}}, "file_missing"),
    "not in the index": ({"signed": {"targets": {b: None}}}, "file_missing"),
    "no version of a file": ({"signed": {"targets": {b: {"custom": None}}}}, "json"),
    "type": ({"signed": {"_type": "root"}}, "json"),
    "no targets": ({"answer": {"targets": None}}, "json"),
    "targets that are no JSON": ({"answer": {"targets": "e30="}}, "json"),
    "targets that are no base64": ({"answer": {"targets": "!"}}, "json"),
    "a text for a list": ({"answer": {"client_configs": "x"}}, "json"),
    "2,001 paths": ({"answer": {"client_configs": [at(str(number)) for number in range(2001)]}}, "too_large"),
    "5 MiB": ({"answer": {"new": "x" * (5 << 20)}}, "too_large"),
}


def refused(agent: Agent, code: str, what: str) -> None:
    """Waits for the only client to say that it cannot take this."""

    def found() -> bool:
        state = agent.more_polls(1)[-1]["request"]["client"]["state"]
        assert bool(state.get("has_error")) == bool(state.get("error"))
        return state.get("error", "").startswith(code) and bool(code)

    until(found, lambda: (what, code, agent.polls()[-1]["request"]["client"]["state"]))


def expect(agent: Agent, here: Program, number: int, *, edits: dict[str, Any], code: str, what: str) -> None:
    """A change of `b` in such an answer is taken, or refused with this code and no change to anything; and then, in a
    right answer, it is taken."""
    agent.answers({"remote": edits})
    agent.offer({b: log(f"b{number}", "other", id="b", version=number)})
    if code:
        refused(agent, code, what)
        here.runs("good", f"b{number - 1}")
        here.is_silent(f"b{number}")
        agent.answers_well()
    (client,) = agent.settled()
    assert not client["state"].get("has_error"), what
    here.runs("good", f"b{number}")


def test_what_is_wrong_in_an_answer_changes_nothing(agent: Agent, program: Start) -> None:
    here = program()
    agent.offer({at("a"): log("good"), b: log("b0", "other", id="b")})
    agent.settled(path=b)
    for number, (what, (edits, code)) in enumerate(compatible.items(), 1):
        expect(agent, here, number, edits=edits, code=code, what=what)
    assert agent.problems() == []
    here.end()


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def test_limits_of_what_is_read(agent: Agent, program: Start) -> None:
    here = program()
    agent.offer({at("a"): log("good"), b: log("b0", "other", id="b")})
    agent.settled(path=b)
    depths = [({"signed": {"custom": {"new": nested(140)}}}, "json"), ({"answer": {"new": nested(140)}}, "json")]
    for number, (edits, code) in enumerate(depths, 1):
        expect(agent, here, number, edits=edits, code=code, what="depth")
    paths = {
        "datadog/2/LIVE_DEBUGGING/../config": "path",
        "datadog/2/LIVE_DEBUGGING/./config": "path",
        "datadog/2/LIVE_DEBUGGING/a\0b/config": "path",
        "datadog/2/LIVE_DEBUGGING//config": "path",
        "datadog/2/LIVE_DEBUGGING/a": "path",
        "datadog/2/LIVE_DEBUGGING/a/b/c": "path",
        "datadog/x/LIVE_DEBUGGING/a/config": "path",
        "datadog/9223372036854775808/LIVE_DEBUGGING/a/config": "path",
        "datadog/2/live/a/config": "path",
        "/datadog/2/LIVE_DEBUGGING/a/config": "path",
        "other/2/LIVE_DEBUGGING/a/config": "path",
        f"datadog/2/LIVE_DEBUGGING/{'a' * 482}/config": "path",
    }
    for path, code in paths.items():
        agent.offer({path: log("bad", id="bad")})
        refused(agent, code, path)
        here.runs("good")
        agent.offer({path: None})
        agent.settled()
    for path in ["datadog/9223372036854775807/LIVE_DEBUGGING/logProbe_c/ü", "employee/LIVE_DEBUGGING/logProbe_c/x"]:
        agent.offer({path: log("fine", id="fine")})
        agent.settled(path=path)
        here.runs("good", "fine")
        agent.offer({path: None})
    agent.settled()
    agent.offer({b: "x" * ((1 << 20) + 1)})
    refused(agent, "too_large", "a file above 1 MiB")
    agent.offer({b: ""})
    (client,) = agent.settled(path=b)
    assert states(client) == {"logProbe_a": 2, "logProbe_b": 3}
    agent.more_polls(2)
    assert agent.problems() == [], "an Agent refuses who says that it holds a file of no bytes"
    here.end()


def trust(agent: Agent, form: str, folder: Path) -> str:
    about = agent.ask("/_remote")
    root = json.dumps(about["roots"][0])
    (folder / "root.json").write_text(root)
    return {"inline": root, "file": str(folder / "root.json"), "key": about["keys"]["targets-1"]["public"]}[form]


@pytest.mark.parametrize("form", ["inline", "file", "key"])
def test_a_pinned_root_vouches(agent: Agent, program: Start, tmp_path: Path, form: str) -> None:
    here = program(STROBE_REMOTE_CONFIG_TRUST_ROOT=trust(agent, form, tmp_path))
    agent.answers({"remote": {"keys": ["stranger"]}})
    agent.offer({at("a"): log("bad"), b: log("b", "other", id="b")})
    refused(agent, "targets_signature", "a stranger's key")
    here.is_silent("bad", "b")
    agent.answers_well()
    agent.settled(path=b)
    here.runs("bad", "b")
    here.end()


old = "2001-01-01T00:00:00Z"
# Roots, how an answer is made wrong, and the code. Roots that are taken stay: each begins with those before it.
turned = {"targets": ["t-2"]}
double: dict[str, Any] = {"targets": ["t-3", "t-4"], "thresholds": {"targets": 2}}
pinned: list[tuple[str, list[dict[str, Any]], dict[str, Any], str]] = [
    ("no signature", [{}], {"keys": []}, "targets_signature"),
    ("no signatures", [{}], {"targets": {"signatures": None}}, "targets_signature"),
    ("changed after it was signed", [{}], {"targets": {"signed": {"new": 1}}}, "targets_signature"),
    ("expired", [{}], {"signed": {"expires": old}}, "targets_expired"),
    ("no expiry", [{}], {"signed": {"expires": None}}, "targets_expired"),
    ("older", [{}], {"version": -1000000}, "targets_rollback"),
    ("a gap of roots", [{}, {}, {}], {"roots": [3]}, "root_gap"),
    ("only the new key", [{}, {"root": ["r-2"], "signed_by": ["r-2"]}], {}, "root_signature"),
    ("only the old key", [{}, {"root": ["r-2"], "signed_by": ["root-1"]}], {}, "root_signature"),
    (
        "one key twice",
        [{}, {"root": ["r-2", "r-3"], "thresholds": {"root": 2}, "signed_by": ["root-1", "r-2", "r-2"]}],
        {},
        "root_signature",
    ),
    ("an expired root", [{}, {"expires": old}], {}, "root_expired"),
    ("a root that is none", [{}, {"type": "targets"}], {}, "json"),
    ("a good root", [{}, turned], {}, ""),
    ("a key that counts no more", [{}, turned], {"keys": ["targets-1"]}, "targets_signature"),
    ("the root in force again", [{}, turned], {"roots": [2]}, "root_gap"),
    ("three more, one of them old", [{}, turned, turned, {**turned, "expires": old}, double], {}, ""),
    ("one of two keys", [{}, turned, turned, turned, double], {"keys": ["t-3"]}, "targets_signature"),
    ("one of two keys, twice", [{}, turned, turned, turned, double], {"keys": ["t-3", "t-3"]}, "targets_signature"),
    ("both, and a stranger", [{}, turned, turned, turned, double], {"keys": ["no", "t-4", "t-3"]}, ""),
]


def test_a_pinned_root_and_those_after_it(agent: Agent, program: Start, tmp_path: Path) -> None:
    here = program(STROBE_REMOTE_CONFIG_TRUST_ROOT=trust(agent, "inline", tmp_path))
    agent.offer({at("a"): log("good"), b: log("b0", "other", id="b")})
    agent.settled(path=b)
    good = [{}]
    for number, (what, roots, edits, code) in enumerate(pinned, 1):
        agent.ask("/_remote", {"roots": roots})
        agent.answers({"remote": edits})
        agent.offer({b: log(f"b{number}", "other", id="b", version=number)})
        if code:
            refused(agent, code, what)
            here.runs("good", f"b{number - 1}")
            here.is_silent(f"b{number}")
            agent.ask("/_remote", {"roots": good})
            agent.answers_well()
        else:
            good = roots
        (client,) = agent.settled()
        assert client["state"]["root_version"] == len(good), what
        here.runs("good", f"b{number}")
    # The version that is held, with other words in it.
    agent.answers({"remote": {"always": True, "signed": {"custom": {"new": 1}}}})
    refused(agent, "targets_rollback", "the same version again, but not the same")
    # And with the same words, by which alone it was accepted: signatures are among them.
    agent.answers({"remote": {**pinned[-1][2], "always": True}})
    agent.more_polls(3)
    assert agent.polls()[-1]["request"]["client"]["state"].get("has_error", False) is False
    here.runs("good")
    assert agent.problems() == []
    here.end()


def test_two_answers_of_404_are_no_end_and_three_are(agent: Agent, program: Start) -> None:
    here = program()
    agent.offer({at("a"): log("a")})
    agent.settled(path=at("a"))
    before = len(agent.polls())
    agent.answers({"status": 404, "times": 2}, {"remote": {}})
    last = agent.polls(before + 4)[-1]
    assert [one["path"] for one in last["request"]["cached_target_files"]] == [at("a")]
    here.runs("a")
    agent.answers({"status": 404, "times": 4}, {"remote": {}})
    third, fourth = agent.polls(6, answer="scripted")[4:6]
    assert third["request"]["client"]["state"]["targets_version"] > 0, "two are no end"
    assert fourth["request"]["client"]["state"]["targets_version"] == 0, "forgotten after the third"
    assert not fourth["request"].get("cached_target_files")
    agent.settled(path=at("a"))
    here.runs("a")
    agent.answers({"status": 404})
    agent.more_polls(4)
    here.is_silent("a")
    assert agent.problems() == []
    here.end()


failures: dict[str, dict[str, Any]] = {
    "500": {"status": 500, "body": "no"},
    "204": {"status": 204, "raw": "HTTP/1.1 204 No Content\r\n\r\n"},
    "no answer": {"drop": "accept"},
    "a reset": {"drop": "accept", "reset": True},
    "half an answer": {"remote": {"always": True}, "drop": "response", "after": 200},
    "a short body": {"remote": {"always": True}, "truncate": 20},
    "garbage": {"raw": "garbage"},
    "no JSON": {"body": "{]"},
    "an array": {"body": []},
    "too slow": {"remote": {"always": True}, "delay": 4},
    "one byte a while": {"remote": {"always": True}, "drip": 0.5},
    "6 MiB": {"body": "x" * (6 << 20)},
    "never": {"never": True},
}


@pytest.mark.parametrize("what", failures)
def test_probes_run_whatever_the_agent_does_to_polls(agent: Agent, program: Start, what: str) -> None:
    here = program()
    agent.offer({at("a"): log("a")})
    agent.settled(path=at("a"))
    threads = here.ask("len(os.listdir('/proc/self/task'))")
    agent.answers({**failures[what], "times": 2}, {"remote": {}})
    agent.more_polls(2)
    here.runs("a")
    agent.offer({b: log("b", "other", id="b")})
    agent.settled(path=b)
    here.runs("a", "b")
    assert here.ask("len(os.listdir('/proc/self/task'))") == threads
    assert agent.problems() == []
    here.end()


def test_an_answer_that_the_index_has_expired_removes_all(agent: Agent, program: Start) -> None:
    here = program()
    agent.offer({at("a"): log("a")})
    agent.settled(path=at("a"))
    nothing = {"client_configs": None, "target_files": None}
    for answer in [{"client_configs": [], "target_files": []}, nothing, {**nothing, "targets": None}]:
        agent.answers({"remote": {"always": True, "answer": {"config_status": 1, **answer}}})
        agent.more_polls(2)
        here.is_silent("a")
        agent.answers_well()
        agent.offer({at("a"): log("a", version=int(time.time_ns()))})
        agent.settled(path=at("a"))
        here.runs("a")
    here.end()


@pytest.mark.parametrize("remembers", [True, False])
def test_an_agent_that_is_started_again(agent: Agent, program: Start, tmp_path: Path, remembers: bool) -> None:
    here = program()
    agent.offer({at("a"): log("a")})
    agent.settled(path=at("a"))
    here.runs("a")
    for number in range(2):
        agent.stop()
        if not remembers:
            (tmp_path / "state").unlink()
        # It goes on while nobody can be asked.
        assert here.ask("[p['state'] for p in stroboscope.status() if p['id'] == 'a']") == "['emitting']"
        agent.again()
        agent.offer({at("a"): log("a"), b: log(f"b{number}", "other", id="b", version=number)})
        agent.settled(path=b)
        here.runs("a", f"b{number}")
    assert agent.problems() == []
    here.end()


def test_an_agent_that_comes_later(agent: Agent, program: Start) -> None:
    agent.stop()
    here = program()
    here.now()
    agent.again()
    agent.offer({at("a"): log("a")})
    agent.settled(path=at("a"))
    here.runs("a")
    here.end()


def test_an_agent_that_does_not_offer_it_is_not_asked_until_it_does(agent: Agent, program: Start) -> None:
    lists = ["/debugger/v2/input", "/debugger/v1/diagnostics"]
    agent.ask("/_paths", {"/info": [{"body": {"endpoints": lists}}]})
    agent.offer({at("a"): log("a")})
    here = program()
    here.runs("beat")
    until(lambda: len(agent.ask("/_requests?path=/info")) > 3)
    assert agent.polls() == []
    # Without the slash it is the same.
    agent.ask("/_paths", {"/info": [{"body": {"endpoints": [*lists, "v0.7/config"]}}]})
    agent.settled(path=at("a"))
    here.runs("a")
    here.end()


def test_polling_can_be_switched_off(agent: Agent, program: Start) -> None:
    agent.offer({at("a"): log("a")})
    here = program(DD_REMOTE_CONFIGURATION_ENABLED="false")
    here.is_silent("a")
    assert agent.polls() == []
    here.end()


def test_a_probe_ends_at_its_expiry_though_nobody_can_be_asked(agent: Agent, program: Start) -> None:
    here = program()
    agent.offer({b: log("b", "other", id="b", expiresAt=int(time.time() * 1000) - 1)})
    agent.offer({at("a"): log("a", expiresAt=int(time.time() * 1000) + 3000)})
    agent.settled(path=at("a"))
    here.runs("a")
    here.is_silent("b")
    agent.stop()
    hits = "[p['hits'] for p in stroboscope.status() if p['id'] == 'a' and p['state'] in ('installed', 'emitting')]"
    until(lambda: here.ask(hits) == "[]")
    agent.again()
    agent.offer({at("c"): log("c", "other", id="c")})
    agent.settled(path=at("c"))
    here.runs("c")
    here.is_silent("a", "b")
    here.end()


def test_a_remote_probe_wins_over_that_of_the_file_by_its_id(agent: Agent, program: Start, tmp_path: Path) -> None:
    probes = [log("file"), log("kept", "other", id="kept")]
    (tmp_path / "probes.json").write_text(json.dumps(probes))
    here = program(DD_DYNAMIC_INSTRUMENTATION_PROBE_FILE=str(tmp_path / "probes.json"))
    here.runs("file", "kept")
    agent.offer({at("a"): log("remote")})
    agent.settled(path=at("a"))
    here.runs("remote", "kept")
    here.is_silent("file")
    agent.offer({at("a"): None})
    agent.settled()
    here.is_silent("remote")
    here.runs("kept")
    here.end()


def test_a_probe_that_moves_from_one_file_to_another_never_runs_twice(agent: Agent, program: Start) -> None:
    here = program()
    names = ["a", "b"]
    agent.offer({at("a"): log("m0")})
    agent.settled(path=at("a"))
    for number in range(1, 6):
        old_name, new_name = names[(number - 1) % 2], names[number % 2]
        agent.offer({at(old_name): None, at(new_name): log(f"m{number}", version=number)})
        agent.settled(path=at(new_name))
        here.runs(f"m{number}")
    calls = [x for tag, x in agent.said() if tag.startswith("m")]
    assert len(calls) == len(set(calls)), "each call was said once"
    here.end()


def test_a_new_version_of_the_same_bytes_is_no_change(agent: Agent, program: Start) -> None:
    here = program()
    agent.offer({at("a"): log("a")})
    agent.settled(path=at("a"))
    here.runs("a")
    agent.answers({"remote": {"signed": {"targets": {at("a"): {"custom": {"v": 77}}}}}})
    agent.offer({b: log("b", "other", id="b")})
    agent.settled(path=b)
    here.runs("a", "b")
    until(lambda: ("b", "EMITTING") in {(one["probeId"], one["status"]) for one in agent.statuses()})
    received = [one for one in agent.statuses() if (one["probeId"], one["status"]) == ("a", "RECEIVED")]
    assert len(received) == 1
    here.end()


def test_a_thousand_probes_arrive_in_one_update(agent: Agent, program: Start) -> None:
    lines = "".join(f"    def f{number}(self, x): return x\n" for number in range(1000))
    many = f"class Many:\n{lines}"
    here = program("".join(f"    {line}\n" for line in many.splitlines()) + starting)
    here.runs("beat")
    names = {str(number): {"typeName": "__main__", "methodName": f"Many.f{number}"} for number in range(1000)}
    agent.offer({at(name): log(name, id=name, where=where) for name, where in names.items()})
    agent.settled(path=at("999"))
    until(lambda: len({one["probeId"] for one in agent.statuses() if one["status"] == "INSTALLED"} - {"beat"}) == 1000)
    assert len(agent.polls(answer="update")) <= 2, "the first, of nothing, and this one"
    agent.offer({}, clear=True)
    agent.settled()
    until(lambda: here.ask("len(stroboscope.status())") == "1")
    assert agent.problems() == []
    here.end()


@pytest.mark.parametrize("form", ["sdk_config", "lib_config", "both"])
def test_the_product_is_switched_off_and_on_again(agent: Agent, program: Start, form: str) -> None:
    forms = ["sdk_config", "lib_config"] if form == "both" else [form]
    here = program()
    agent.offer({at("a"): log("a")})
    agent.settled(path=at("a"))
    here.runs("a")
    for _ in range(3):
        agent.ask("/_remote", {"switch": {"on": False, "forms": forms}})
        until(lambda: "LIVE_DEBUGGING" not in agent.polls()[-1]["request"]["client"]["products"])
        agent.settled()
        until(lambda: here.ask("[p['id'] for p in stroboscope.status() if p['id'] == 'a']") == "[]")
        agent.ask("/_remote", {"switch": {"on": True, "forms": forms}})
        agent.settled(path=at("a"))
        here.runs("a")
    for service in ("other", "*"):
        agent.ask("/_remote", {"switch": {"on": False, "forms": forms, "service": service, "name": "more"}})
        agent.settled()
        here.runs("a") if service == "other" else None
    assert agent.problems() == []
    here.end()
