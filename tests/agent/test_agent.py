"""The stand-in Agent's own tests: it is the oracle for clients of remote configuration, so its canonical JSON, keys,
signatures and versions are compared with what is published, and with the specification.
"""

import base64
import hashlib
import json
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import ed25519
from remote import BadWish, Keys, Refused, Remote, Roots, canonical, capabilities, parsed, patched

home = Path(__file__).parent
seconds_to_wait = 30.0
config = "/v0.7/config"
first, second = (f"datadog/2/LIVE_DEBUGGING/logProbe_{name}/config" for name in ("a", "b"))


# Secret, public key, message and signature: RFC 8032, section 7.1, tests 1, 2, 3 and SHA(abc).
rfc_8032 = [
    (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155"
        "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    ),
    (
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    ),
    (
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac"
        "18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
    ),
    (
        "833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42",
        "ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf",
        "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"
        "2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
        "dc2a4459e7369633a52b1bf277839a00201009a3efbf3ecb69bea2186c26b589"
        "09351fc9ac90b3ecfdfbc7c66431e0303dca179c138ac17ad9bef1177331a704",
    ),
]


@pytest.mark.parametrize(("secret", "key", "message", "signature"), rfc_8032)
def test_signatures_are_those_of_the_standard(secret: str, key: str, message: str, signature: str) -> None:
    raw = bytes.fromhex(message)
    assert ed25519.public(bytes.fromhex(secret)).hex() == key
    assert ed25519.sign(bytes.fromhex(secret), raw).hex() == signature
    assert ed25519.verify(bytes.fromhex(key), raw, bytes.fromhex(signature))
    assert not ed25519.verify(bytes.fromhex(key), raw + b"!", bytes.fromhex(signature))
    assert not ed25519.verify(bytes.fromhex(key), raw, bytes.fromhex(signature[:-2] + "1b"))


# The first root of the protocol's production: its two keys by their ids, and their signatures of it.
published = {
    "44d70fa8eae4c07f26c2767270827b6b9e11e7972926b3b419b5ea14ec32f796": (
        "286d6ae328365afec0f92519ceab68cd627e34072cde90b2f5d167badea970f2",
        "366534e35c3ac0749d5b60f12ab32da736863315bb4765eeb7b24417e8b8c40a"
        "ace37649a12c63f8ad3634fbe2e68711655e72120934cc015414c75725861e08",
    ),
    "b2b93a6dccc96d053e6db39181124c85ba4156d43503d4351b5500316fa084e8": (
        "afdd68be53815d67f8fa99cf101aac4589a358c660adf7dd4e179fe96834d3c9",
        "ada4a7723d462eb4c1f087025f81f5eab5de48cb18b710de94ad2194ee9e0524"
        "fafe6eaddf95e894808f8254380a86f8f7219d69bf693d6e1c80db904a47830e",
    ),
}


def test_a_published_root_has_valid_signatures_in_its_canonical_form() -> None:
    keys = Keys(b"")
    for name, (public, _) in published.items():
        keys.made[name] = b"", public
        assert keys.id(name) == name
    role = {"threshold": 2, "keyids": list(published)}
    root = {
        "version": 1,
        "spec_version": "1.0",
        "roles": {name: role for name in ("root", "targets", "timestamp", "snapshot")},
        "keys": {name: keys.described(name) for name in published},
        "expires": "1970-01-01T00:00:00Z",
        "consistent_snapshot": True,
        "_type": "root",
    }
    for public, signature in published.values():
        assert ed25519.verify(bytes.fromhex(public), canonical(root), bytes.fromhex(signature))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({}, "{}"),
        ([1, -2, 0, 2**53], "[1,-2,0,9007199254740992]"),
        ([True, False, None], "[true,false,null]"),
        # Members by their names' bytes, however deep.
        ({"b": 1, "a": {"z": [], "Z": 1}, "B": 2}, '{"B":2,"a":{"Z":1,"z":[]},"b":1}'),
        # Only these two are escaped: a line end and a tab are themselves, and so is all that is not ASCII.
        ('say "\\"\n\té', '"say \\"\\\\\\"\n\té"'),
        ({"datadog/2/É/ü": "\U0001f680"}, '{"datadog/2/É/ü":"\U0001f680"}'),
    ],
)
def test_canonical_json(value: Any, expected: str) -> None:
    assert canonical(value) == expected.encode()


def test_canonical_json_has_no_fractions() -> None:
    with pytest.raises(TypeError):
        canonical({"a": 1.5})


def test_merge_patches() -> None:
    assert patched({"a": 1, "b": {"c": 2, "d": 3}}, {"a": None, "b": {"c": [1]}, "e": {"f": None}}) == {
        "b": {"c": [1], "d": 3},
        "e": {},
    }


def valid(keys: Keys, signed: dict[str, Any], names: list[str]) -> int:
    """By how many of these keys a document is signed."""
    public = {keys.id(name): keys.pair(name)[1] for name in names}
    message = canonical(signed["signed"])
    return len(
        {
            one["keyid"]
            for one in signed["signatures"]
            if one["keyid"] in public
            and ed25519.verify(bytes.fromhex(public[one["keyid"]]), message, bytes.fromhex(one["sig"]))
        }
    )


def test_a_root_is_signed_by_itself_and_by_the_one_before() -> None:
    keys = Keys(b"seed")
    two = {"root": ["b", "c"], "targets": ["d"], "thresholds": {"root": 2}}
    one, other = Roots(keys, [{"root": ["a"]}, two]).documents
    assert [one["signed"]["version"], other["signed"]["version"]] == [1, 2]
    assert valid(keys, one, ["a"]) == 1
    assert (valid(keys, other, ["a"]), valid(keys, other, ["b", "c"])) == (1, 2)
    assert other["signed"]["roles"]["root"] == {"keyids": [keys.id("b"), keys.id("c")], "threshold": 2}
    assert other["signed"]["roles"]["targets"]["keyids"] == [keys.id("d")]


def test_what_an_agent_refuses() -> None:
    def refused(**change: Any) -> str:
        with pytest.raises(Refused) as error:
            parsed(json.dumps(patched(request(), change)))
        return str(error.value)

    assert refused(client=None) == "client is missing"
    assert refused(client={"state": None}) == "client.state is missing"
    assert refused(client={"state": {"root_version": 0}}) == "client.state.root_version is 0"
    assert refused(client={"id": ""}) == "client.id is empty"
    assert refused(client={"id": "runtime"}) == "client.id is the runtime id"
    assert refused(client={"client_tracer": None}) == "client.client_tracer is missing"
    assert refused(client={"is_agent": True}).startswith("the client is more than one")
    assert refused(client={"client_tracer": {"language": ""}}).endswith("language is empty")
    assert refused(client={"client_tracer": {"tracer_version": "1"}}).endswith("no semantic version")
    assert "no path" in refused(cached_target_files=[{"path": "a/b"}])
    assert "below 1" in refused(cached_target_files=[{"path": first, "length": 0}])
    assert "no hash" in refused(cached_target_files=[{"path": first, "length": 1, "hashes": []}])
    with pytest.raises(Refused):
        parsed("{")


def test_both_encodings_of_capabilities() -> None:
    assert capabilities([2, 1]) == capabilities(base64.b64encode(b"\x02\x01").decode()) == [0, 9]


def request(identity: str = "c1", version: int = 0, **client: Any) -> dict[str, Any]:
    tracer = {"runtime_id": "runtime", "language": "python", "tracer_version": "1.2.3", "service": "shop", "tags": []}
    state = {"root_version": 1, "targets_version": version, "config_states": []}
    said = {"id": identity, "products": ["LIVE_DEBUGGING"], "capabilities": [64], "is_tracer": True}
    return {"client": {**said, "client_tracer": tracer, "state": state, **client}, "cached_target_files": []}


class Wire:
    """The Agent as a process, and what a client sees of it."""

    def __init__(self, folder: Path, *more: str) -> None:
        self.ports = folder / "ports"
        self.ports.unlink(missing_ok=True)
        command = [sys.executable, str(home / "agent.py"), "--port-file", str(self.ports)]
        self.process = subprocess.Popen([*command, "--unix", str(folder / "socket"), *more])
        until = time.monotonic() + seconds_to_wait
        while not self.ports.exists():
            assert self.process.poll() is None
            assert time.monotonic() < until
            time.sleep(0.01)
        self.url = f"http://127.0.0.1:{json.loads(self.ports.read_text())['http']}"

    def send(self, path: str, body: Any = None) -> tuple[int, bytes]:
        data = None if body is None else json.dumps(body).encode()
        asks = urllib.request.Request(self.url + path, data, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(asks, timeout=seconds_to_wait) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    def ask(self, path: str, body: Any = None) -> Any:
        status, data = self.send(path, body)
        assert status == 200, data
        return json.loads(data)

    def poll(self, *arguments: Any, **more: Any) -> dict[str, Any]:
        return self.ask(config, request(*arguments, **more))

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(seconds_to_wait)


@pytest.fixture
def wire(tmp_path: Path) -> Iterator[Wire]:
    agent = Wire(tmp_path)
    yield agent
    agent.stop()


def document(answer: dict[str, Any]) -> dict[str, Any]:
    return json.loads(base64.b64decode(answer["targets"]))


def signed(answer: dict[str, Any]) -> dict[str, Any]:
    return document(answer)["signed"]


def version(answer: dict[str, Any]) -> int:
    return signed(answer)["version"]


def test_the_endpoint_is_listed(wire: Wire) -> None:
    assert config in wire.ask("/info")["endpoints"]


def test_an_update_is_whole_and_signed(wire: Wire) -> None:
    wire.ask("/_remote", {"offer": {first: {"id": "a"}, second: "no JSON"}})
    answer = wire.poll()
    assert (answer["client_configs"], answer["config_status"], answer["roots"]) == ([first, second], 0, [])
    files = {file["path"]: base64.b64decode(file["raw"]) for file in answer["target_files"]}
    assert files == {first: b'{"id": "a"}', second: b"no JSON"}
    index = signed(answer)
    assert (index["_type"], index["spec_version"], index["expires"][:4]) == ("targets", "1.0.0", "2099")
    assert abs(index["version"] / 1000 - time.time()) < 3600
    assert {path: one["custom"] for path, one in index["targets"].items()} == {first: {"v": 1}, second: {"v": 1}}
    for path, data in files.items():
        assert index["targets"][path]["length"] == len(data)
        assert index["targets"][path]["hashes"] == {"sha256": hashlib.sha256(data).hexdigest()}
    about = wire.ask("/_remote")
    (signature,) = document(answer)["signatures"]
    key = about["keys"]["targets-1"]
    assert signature["keyid"] == key["id"] == about["roots"][0]["signed"]["roles"]["targets"]["keyids"][0]
    assert ed25519.verify(bytes.fromhex(key["public"]), canonical(index), bytes.fromhex(signature["sig"]))
    assert about["problems"] == ["client.id is no UUID"]


def test_equal_versions_get_nothing_and_every_change_of_a_view_gets_another(wire: Wire) -> None:
    seen = [version(wire.poll())]
    assert wire.poll(version=seen[-1]) == {}
    for wish in [
        {"offer": {first: "1"}},
        {"offer": {first: "2"}},
        {"offer": {second: "1"}},
        {"for": {second: {"service": "other"}}},
        {"for": {second: {}}},
        {"offer": {first: None}},
        {"clear": True},
    ]:
        wire.ask("/_remote", wish)
        seen.append(version(wire.poll(version=seen[-1])))
        assert wire.poll(version=seen[-1]) == {}
    assert seen == sorted(set(seen))
    wire.ask("/_remote", {"offer": {"datadog/2/ASM_DD/x/config": "1"}})
    assert wire.poll(version=seen[-1]) == {}, "not a product of this client"
    later = wire.poll(version=seen[-1], products=["LIVE_DEBUGGING", "ASM_DD"])
    assert later["client_configs"] == ["datadog/2/ASM_DD/x/config"]


def test_each_client_has_its_own_view_and_no_version_means_two_things(wire: Wire) -> None:
    wire.ask("/_remote", {"offer": {first: "1", second: "2"}, "for": {first: {"client_id": "c1"}}})
    one, other = wire.poll("c1"), wire.poll("c2")
    assert (one["client_configs"], other["client_configs"]) == ([first, second], [second])
    assert version(one) != version(other)


def test_bytes_that_a_client_holds_are_left_out(wire: Wire) -> None:
    wire.ask("/_remote", {"offer": {first: "1", second: "2"}})
    held = {"path": first, "length": 1, "hashes": [{"algorithm": "sha256", "hash": hashlib.sha256(b"1").hexdigest()}]}
    answer = wire.ask(config, {**request(), "cached_target_files": [held]})
    assert answer["client_configs"] == [first, second]
    assert [file["path"] for file in answer["target_files"]] == [second]


def test_versions_of_files_grow(wire: Wire) -> None:
    for value, expected in [("a", 1), ("b", 2), ("b", 2), (None, None), ("a", 3)]:
        wire.ask("/_remote", {"offer": {first: value}})
        targets = signed(wire.poll())["targets"]
        assert targets.get(first, {}).get("custom", {}).get("v") == expected


def test_scripted_answers(wire: Wire) -> None:
    wire.ask("/_remote", {"offer": {first: "1"}})
    wire.ask("/_paths", {config: [{"status": 404, "times": 2}, {"remote": {"version": -5}}, {"remote": {}}]})
    assert [wire.send(config, request())[0] for _ in range(2)] == [404, 404]
    older, right = wire.poll(), wire.poll()
    assert version(right) - version(older) == 5
    polls = wire.ask("/_polls?count=4&wait=5")
    assert [poll["answer"] for poll in polls] == ["scripted", "scripted", "update", "update"]
    assert polls[0]["request"] == request()
    assert wire.ask("/_remote")["clients"][0]["stuck"] == 1


def signers(answer: dict[str, Any]) -> list[str]:
    return [one["keyid"] for one in document(answer)["signatures"]]


def test_answers_that_are_wrong_as_wished(wire: Wire) -> None:
    wire.ask("/_remote", {"offer": {first: "1", second: "2"}, "roots": [{}, {}, {"targets": ["new"]}]})

    def edited(**edits: Any) -> dict[str, Any]:
        wire.ask("/_paths", {config: [{"remote": edits}]})
        return wire.poll()

    wrong = {"sha256": "0"}
    assert signed(edited(signed={"targets": {first: {"hashes": wrong}}}))["targets"][first]["hashes"] == wrong
    assert [file["path"] for file in edited(files={first: None})["target_files"]] == [second]
    assert [file["raw"] for file in edited(files={first: "x"})["target_files"]] == ["Mg==", "eA=="]
    assert edited(answer={"client_configs": []})["client_configs"] == []
    roots = edited(roots=[3])["roots"]
    assert [json.loads(base64.b64decode(root))["signed"]["version"] for root in roots] == [3]
    assert len(edited()["roots"]) == 2
    about = wire.ask("/_remote")["keys"]
    assert signers(edited(keys=["targets-1", "targets-1"])) == [about["targets-1"]["id"]] * 2
    assert signers(edited()) == [about["new"]["id"]]
    assert signers(edited(targets={"signatures": []})) == []
    latest = version(wire.poll())
    assert wire.poll(version=latest) == {}
    wire.ask("/_paths", {config: [{"remote": {"always": True, "answer": {"config_status": 1}}}]})
    assert wire.poll(version=latest)["config_status"] == 1


def test_a_bad_request_is_refused_with_a_reason(wire: Wire) -> None:
    status, reason = wire.send(config, request(state={"root_version": 0}))
    assert (status, reason) == (400, b"client.state.root_version is 0")
    assert wire.ask("/_polls")[0]["answer"] == "refused"


@pytest.mark.parametrize(
    ("path", "wish"),
    [
        ("/_remote", {"ofer": {}}),
        ("/_remote", {"switch": {"form": 1}}),
        ("/_remote", {"switch": {"on": True, "forms": ["other"]}}),
        ("/_remote", {"roots": [{"keys": []}]}),
        ("/_paths", {config: [{"remote": {"sign": 1}}]}),
        ("/_paths", {config: []}),
    ],
)
def test_a_misspelt_wish_is_an_error(wire: Wire, path: str, wish: Any) -> None:
    status, answer = wire.send(path, wish)
    assert (status, list(json.loads(answer))) == (400, ["error"])


def test_the_switch_has_both_forms(wire: Wire) -> None:
    products = ["APM_TRACING"]
    path = "datadog/2/APM_TRACING/switch/config"
    for forms, expected in [(None, {"sdk_config", "lib_config"}), (["sdk_config"], {"sdk_config"})]:
        wire.ask("/_remote", {"switch": {"on": False, "service": "shop", **({"forms": forms} if forms else {})}})
        answer = wire.poll(products=products)
        (file,) = (json.loads(base64.b64decode(file["raw"])) for file in answer["target_files"])
        assert set(file) & {"sdk_config", "lib_config"} == expected
        assert file["service_target"] == {"service": "shop", "env": "*"}
        assert file["sdk_config"]["config"]["DD_DYNAMIC_INSTRUMENTATION_ENABLED"] == "false"
    wire.ask("/_remote", {"switch": {"on": None}})
    assert path not in signed(wire.poll(products=products))["targets"]


def test_clients_that_hold_what_they_are_to_hold_are_settled(wire: Wire) -> None:
    identity = str(uuid.uuid4())
    wire.ask("/_remote", {"offer": {first: "1"}})
    here = version(wire.poll(identity))
    assert wire.ask("/_settled") == []
    wire.poll(identity, here)
    (client,) = wire.ask(f"/_settled?count=1&wait=5&path={first}")
    assert (client["id"], client["view"], client["capabilities"]) == (identity, [first], [6])
    wire.ask("/_remote", {"offer": {first: "2"}})
    assert wire.ask("/_settled") == []


def test_keys_versions_and_offers_outlive_the_agent(tmp_path: Path) -> None:
    state = ("--state", str(tmp_path / "state"))
    agent = Wire(tmp_path, *state)
    agent.ask("/_remote", {"offer": {first: "1"}})
    # More changes than seconds have passed.
    for number in range(5):
        agent.ask("/_remote", {"offer": {first: str(number)}})
        before = version(agent.poll())
    keys = agent.ask("/_remote")["keys"]
    agent.stop()
    agent = Wire(tmp_path, *state)
    try:
        assert agent.poll(version=before) == {}
        assert agent.ask("/_remote")["keys"] == keys
        agent.ask("/_remote", {"offer": {first: "new"}})
        assert version(agent.poll(version=before)) > before
    finally:
        agent.stop()


def test_a_unix_socket_serves_the_same(wire: Wire, tmp_path: Path) -> None:
    body = json.dumps(request()).encode()
    with socket.socket(socket.AF_UNIX) as stream:
        stream.connect(str(tmp_path / "socket"))
        head = f"POST {config} HTTP/1.1\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
        stream.sendall(head.encode() + body)
        answer = stream.makefile("rb").read()
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["client_configs"] == []
    assert wire.ask("/_polls")[0]["transport"] == "unix"


def test_a_new_script_forgets_clients_and_offers(wire: Wire) -> None:
    wire.ask("/_remote", {"offer": {first: "1"}})
    wire.poll()
    wire.ask("/_script", {"remote": {"offer": {second: "2"}}})
    assert wire.ask("/_polls") == wire.ask("/_remote")["clients"] == []
    assert wire.poll()["client_configs"] == [second]


def test_a_misspelt_wish_changes_nothing() -> None:
    remote = Remote()
    with pytest.raises(BadWish):
        remote.wish({"offer": {first: "1"}, "remove": []})
    assert remote.files == {}
