"""The server's side of remote configuration, for the stand-in Agent: which files a client must hold, the signed index
of them, the roots that vouch for its keys, and what clients have said. README.md beside it describes how a test changes
all this while programs run, and how it makes an answer wrong.

Standard library only, any Python from 3.8 on.
"""

import base64
import hashlib
import json
import re
import secrets
import threading
import time
import uuid

import ed25519

CONFIG = "/v0.7/config"
FAR = "2099-01-01T00:00:00Z"
PATH = re.compile(r"(?:datadog/(?P<org>\d+)|employee)/(?P<product>[A-Z][A-Z0-9_]*)/(?P<id>[^/]+)/(?P<name>[^/]+)")
# A semantic version; tracers may put a `v` before it.
VERSION = re.compile(r"v?(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?")
SWITCHES = {
    "sdk_config": lambda on: {"config": {"DD_DYNAMIC_INSTRUMENTATION_ENABLED": "true" if on else "false"}},
    "lib_config": lambda on: {
        "library_language": "all",
        "library_version": "latest",
        "tracing_enabled": True,
        "dynamic_instrumentation_enabled": on,
    },
}


class BadWish(Exception):
    """What a test asked for cannot be followed."""


def canonical(value):
    """Canonical JSON: what signatures and key ids are made of. Fractions have no form in it."""
    if value is None or isinstance(value, bool):
        return {None: b"null", True: b"true", False: b"false"}[value]
    if isinstance(value, int):
        return str(value).encode()
    if isinstance(value, str):
        return b'"' + value.replace("\\", "\\\\").replace('"', '\\"').encode() + b'"'
    if isinstance(value, list):
        return b"[" + b",".join(map(canonical, value)) + b"]"
    if isinstance(value, dict):
        return b"{" + b",".join(canonical(key) + b":" + canonical(value[key]) for key in sorted(value)) + b"}"
    raise TypeError(f"canonical JSON has no form for {type(value).__name__}")


def patched(value, patch):
    """A JSON merge patch (RFC 7396): objects are merged, null removes, all else takes the place of what was."""
    if not isinstance(patch, dict):
        return patch
    result = dict(value) if isinstance(value, dict) else {}
    for name, change in patch.items():
        if change is None:
            result.pop(name, None)
        else:
            result[name] = patched(result.get(name), change)
    return result


def only(words, known, where):
    unknown = set(words).difference(known)
    if unknown:
        raise BadWish(f"{where}: unknown words {sorted(unknown)}")


def text(data):
    return base64.b64encode(data).decode("ascii")


def sha256(data):
    return hashlib.sha256(data).hexdigest()


class Keys:
    """Keys by name. They all come from one seed, so that an Agent that is started again has the same."""

    def __init__(self, seed):
        self.seed = seed
        self.made = {}

    def pair(self, name):
        if name not in self.made:
            secret = hashlib.sha256(self.seed + name.encode()).digest()
            self.made[name] = secret, ed25519.public(secret).hex()
        return self.made[name]

    def described(self, name):
        """The key as a root shows it."""
        return {
            "keytype": "ed25519",
            "scheme": "ed25519",
            "keyid_hash_algorithms": ["sha256", "sha512"],
            "keyval": {"public": self.pair(name)[1]},
        }

    def id(self, name):
        return sha256(canonical(self.described(name)))

    def signed(self, document, names):
        message = canonical(document)
        made = {name: ed25519.sign(self.pair(name)[0], message).hex() for name in set(names)}
        return {"signatures": [{"keyid": self.id(name), "sig": made[name]} for name in names], "signed": document}


class Roots:
    """The chain of roots: each says whose signatures count from then on, and is signed by its own keys and those of the
    one before it."""

    WORDS = ("root", "targets", "thresholds", "expires", "version", "type", "signed_by")

    def __init__(self, keys, wishes):
        self.wishes = wishes
        self.documents = []
        before = []
        for position, wish in enumerate(wishes or [{}], 1):
            only(wish, self.WORDS, f"root {position}")
            roles = {"root": wish.get("root", ["root-1"]), "targets": wish.get("targets", ["targets-1"])}
            names = sorted(set(roles["root"] + roles["targets"]))
            thresholds = {"root": 1, "targets": 1, **wish.get("thresholds", {})}
            of_targets = {"keyids": [keys.id(name) for name in roles["targets"]], "threshold": thresholds["targets"]}
            document = {
                "_type": wish.get("type", "root"),
                "spec_version": "1.0",
                "version": wish.get("version", position),
                "expires": wish.get("expires", FAR),
                "consistent_snapshot": True,
                "keys": {keys.id(name): keys.described(name) for name in names},
                "roles": {
                    "root": {"keyids": [keys.id(name) for name in roles["root"]], "threshold": thresholds["root"]},
                    "targets": of_targets,
                    "snapshot": of_targets,
                    "timestamp": of_targets,
                },
            }
            signers = wish.get("signed_by", sorted(set(before + roles["root"])))
            self.documents.append(keys.signed(document, signers))
            before, self.signers = roles["root"], roles["targets"]


class Client:
    """One client: what it is to hold, and what it said last."""

    def __init__(self, view=None, version=0):
        self.view = view
        self.version = version
        self.request = None
        self.polls = 0
        # Polls in a row that brought an update which the client already knew of and did not take.
        self.stuck = 0
        self.offered = None

    def settled(self):
        return self.request is not None and self.request["client"]["state"]["targets_version"] == self.version

    def described(self):
        said = self.request["client"]
        return {
            "id": said["id"],
            "products": said.get("products"),
            "capabilities": sorted(capabilities(said.get("capabilities"))),
            "tracer": said.get("client_tracer"),
            "state": said["state"],
            "cached_target_files": self.request.get("cached_target_files"),
            "version": self.version,
            "view": sorted(self.view or {}),
            "polls": self.polls,
            "stuck": self.stuck,
            "settled": self.settled(),
        }


def capabilities(given):
    """The bits of both encodings: base64, and an array of bytes."""
    data = base64.b64decode(given) if isinstance(given, str) else bytes(given or [])
    number = int.from_bytes(data, "big")
    return [bit for bit in range(number.bit_length()) if number >> bit & 1]


class Refused(Exception):
    """A request that an Agent does not answer; the words say why."""


def parsed(body):
    """The request, or `Refused` for what an Agent refuses."""
    try:
        request = json.loads(body)
    except ValueError as error:
        raise Refused(f"not JSON: {error}") from None
    client = request.get("client") if isinstance(request, dict) else None
    if not isinstance(client, dict):
        raise Refused("client is missing")
    state, tracer = client.get("state"), client.get("client_tracer")
    if not isinstance(state, dict):
        raise Refused("client.state is missing")
    if not state.get("root_version"):
        raise Refused("client.state.root_version is 0")
    if not isinstance(state.get("targets_version"), int):
        raise Refused("client.state.targets_version is no integer")
    if not client.get("id"):
        raise Refused("client.id is empty")
    if sum(bool(client.get(f"is_{kind}")) for kind in ("tracer", "agent", "updater")) > 1:
        raise Refused("the client is more than one of tracer, agent and updater")
    if client.get("is_tracer"):
        refuse_tracer(client, tracer)
    for cached in request.get("cached_target_files") or []:
        refuse_cached(cached)
    return request


def refuse_tracer(client, tracer):
    if not isinstance(tracer, dict):
        raise Refused("client.client_tracer is missing")
    if client["id"] == tracer.get("runtime_id"):
        raise Refused("client.id is the runtime id")
    if not tracer.get("language"):
        raise Refused("client_tracer.language is empty")
    if not VERSION.fullmatch(tracer.get("tracer_version") or ""):
        raise Refused("client_tracer.tracer_version is no semantic version")


def refuse_cached(cached):
    if not PATH.fullmatch(str(cached.get("path"))):
        raise Refused(f"cached_target_files: no path of a target: {cached.get('path')!r}")
    if not isinstance(cached.get("length"), int) or cached["length"] < 1:
        raise Refused(f"cached_target_files: length of {cached['path']} is below 1")
    hashes = cached.get("hashes")
    if not hashes or not all(one.get("algorithm") and one.get("hash") for one in hashes):
        raise Refused(f"cached_target_files: {cached['path']} has no hash")


def is_uuid(value):
    try:
        return str(uuid.UUID(value)) == value
    except (TypeError, ValueError, AttributeError):
        return False


def problems(request, headers):
    """What an Agent lets pass, and what a client of ours must not do all the same."""
    client = request["client"]
    state, tracer = client["state"], client.get("client_tracer") or {}
    products, given = client.get("products"), client.get("capabilities")
    held = state.get("config_states") or []
    cached = request.get("cached_target_files") or []
    checks = {
        "the content type is not JSON": headers.get("content-type", "").startswith("application/json"),
        "is_tracer is not true": client.get("is_tracer") is True,
        "client.id is no UUID": is_uuid(client["id"]),
        "products are no list of different names": isinstance(products, list) and len(set(products)) == len(products),
        "client_agent is there": not client.get("client_agent") and not client.get("client_updater"),
        "runtime_id is missing": bool(tracer.get("runtime_id")),
        "tags are no list of key:value": all(":" in tag for tag in tracer.get("tags") or []),
        "capabilities have zero bytes before them": trimmed(given),
        "an apply_state is not one of 0, 1, 2, 3": all(one.get("apply_state") in (0, 1, 2, 3) for one in held),
        "apply_error and apply_state differ": all(
            (one.get("apply_state") == 3) == bool(one.get("apply_error")) for one in held
        ),
        "a config_state has no id, product or version": all(
            one.get("id") and one.get("product") and isinstance(one.get("version"), int) for one in held
        ),
        "has_error and error differ": bool(state.get("has_error")) == bool(state.get("error")),
        "a cached hash is no SHA-256": all(
            one["algorithm"] != "sha256" or re.fullmatch("[0-9a-f]{64}", one["hash"])
            for file in cached
            for one in file["hashes"]
        ),
        "a cached path is there twice": len({file["path"] for file in cached}) == len(cached),
    }
    return [name for name, well in checks.items() if not well]


def trimmed(given):
    if isinstance(given, str):
        try:
            given = base64.b64decode(given, validate=True)
        except ValueError:
            return False
    return bool(given) and (given[0] != 0 or len(given) == 1)


class Remote:
    """What is offered, to whom, under which version and whose signature."""

    WISHES = ("offer", "clear", "for", "switch", "roots")
    # What a behaviour of a script can do to an answer that would be right.
    EDITS = ("signed", "targets", "answer", "files", "keys", "roots", "version", "always")

    def __init__(self, kept=None):
        self.lock = threading.Lock()
        self.changed = threading.Condition(self.lock)
        self.kept = kept
        memory = self.remembered()
        self.keys = Keys(bytes.fromhex(memory["seed"]))
        self.roots = Roots(self.keys, memory["roots"])
        # One count for all views: a version that one client has seen never means anything else to another, so a child
        # that begins with what its parent held is not taken to be up to date.
        self.version = memory["version"]
        self.file_versions = memory["file_versions"]
        self.files = {path: base64.b64decode(data) for path, data in memory["files"].items()}
        self.chosen = memory["for"]
        self.clients = {name: Client(**client) for name, client in memory["clients"].items()}
        self.polls = []
        self.keep()

    def remembered(self):
        fresh = {
            "seed": secrets.token_hex(32),
            "roots": [],
            # Of the time, and finely: it also grows where nothing was kept and the next Agent is there within a second.
            "version": int(time.time() * 1000),
            "file_versions": {},
            "files": {},
            "for": {},
            "clients": {},
        }
        try:
            with open(self.kept or "", encoding="utf-8") as file:
                return json.load(file)
        except FileNotFoundError:
            return fresh

    def keep(self):
        if not self.kept:
            return
        memory = {
            "seed": self.keys.seed.hex(),
            "roots": self.roots.wishes,
            "version": self.version,
            "file_versions": self.file_versions,
            "files": {path: text(data) for path, data in self.files.items()},
            "for": self.chosen,
            "clients": {name: {"view": one.view, "version": one.version} for name, one in self.clients.items()},
        }
        with open(self.kept, "w", encoding="utf-8") as file:
            json.dump(memory, file)

    def forget(self):
        """Nobody has come yet, and nothing is offered. Keys and counts go on."""
        with self.lock:
            self.files, self.chosen, self.clients, self.polls = {}, {}, {}, []

    def wish(self, wishes):
        """Changes what is offered."""
        only(wishes, self.WISHES, "remote")
        if "switch" in wishes:
            only(wishes["switch"], ("on", "forms", "service", "env", "name"), "switch")
        with self.changed:
            if wishes.get("clear"):
                self.files, self.chosen = {}, {}
            for path, value in wishes.get("offer", {}).items():
                self.offer(path, value)
            if "switch" in wishes:
                self.offer(*switch(**wishes["switch"]))
            self.chosen.update(wishes.get("for", {}))
            if "roots" in wishes:
                self.roots = Roots(self.keys, wishes["roots"])
            self.keep()
            self.changed.notify_all()

    def offer(self, path, value):
        if value is None:
            self.files.pop(path, None)
            return
        data = value.encode() if isinstance(value, str) else json.dumps(value).encode()
        if self.files.get(path) != data:
            self.file_versions[path] = self.file_versions.get(path, 0) + 1
        self.files[path] = data

    def view(self, client):
        """Path and hash of all that this client must hold now."""
        tracer = {"client_id": client["id"], **(client.get("client_tracer") or {})}
        found = {}
        for path, data in self.files.items():
            grammar = PATH.fullmatch(path)
            meant = all(tracer.get(name) == value for name, value in self.chosen.get(path, {}).items())
            # A path that is none has no product and is offered to all: clients must refuse it.
            if meant and (grammar is None or grammar["product"] in client.get("products", [])):
                found[path] = sha256(data)
        return found

    def poll(self, entry, headers, body):
        """Notes a request; answers its client and what was said, or raises `Refused`."""
        note = {name: entry[name] for name in ("time", "transport")}
        with self.changed:
            note["n"] = len(self.polls)
            self.polls.append(note)
            try:
                request = parsed(body)
            except Refused as refused:
                note.update(answer="refused", problems=[str(refused)])
                self.changed.notify_all()
                raise
            said = request["client"]
            client = self.clients.setdefault(said["id"], Client())
            client.request = request
            client.polls += 1
            view = self.view(said)
            if view != client.view:
                client.view, self.version = view, self.version + 1
                client.version, client.offered = self.version, None
                self.keep()
            note.update(client=said["id"], request=request, problems=problems(request, headers), answer="scripted")
            self.changed.notify_all()
        return client, note

    def answer(self, client, note, edits):
        """Status and body for a client that has just asked, made wrong as the script wants it."""
        with self.changed:
            behind = not client.settled()
            client.stuck = client.stuck + 1 if behind and client.offered == client.version else 0
            note["answer"] = "update" if behind or edits.get("always") else "nothing"
            self.changed.notify_all()
            if note["answer"] == "nothing":
                return {}
            client.offered = note["version"] = client.version
            return self.update(client, edits)

    def update(self, client, edits):
        held = {
            file["path"]: (file["length"], one["hash"])
            for file in client.request.get("cached_target_files") or []
            for one in file["hashes"]
            if one["algorithm"] == "sha256"
        }
        data = {path: self.files[path] for path in sorted(client.view) if path in self.files}
        sent = {path: data[path] for path in data if held.get(path) != (len(data[path]), client.view[path])}
        for path, other in edits.get("files", {}).items():
            sent.pop(path, None)
            if other is not None:
                sent[path] = other.encode()
        root_version = client.request["client"]["state"]["root_version"]
        roots = [one for one in self.roots.documents if one["signed"]["version"] > root_version]
        if "roots" in edits:
            roots = [one for position, one in enumerate(self.roots.documents, 1) if position in edits["roots"]]
        answer = {
            "roots": [text(json.dumps(root).encode()) for root in roots],
            "targets": text(json.dumps(self.index(client, data, edits), indent=1).encode()),
            "target_files": [{"path": path, "raw": text(sent[path])} for path in sent],
            "client_configs": list(data),
            "config_status": 0,
        }
        return patched(answer, edits.get("answer", {}))

    def index(self, client, data, edits):
        """The targets document, signed. Its members stand in no order and between white space: who checks it must bring
        it into its canonical form."""
        version = client.version + edits.get("version", 0)
        signed = {
            "version": version,
            "targets": {
                path: {
                    "length": len(data[path]),
                    "hashes": {"sha256": client.view[path]},
                    "custom": {"v": self.file_versions[path]},
                }
                for path in data
            },
            "spec_version": "1.0.0",
            "expires": FAR,
            "custom": {"opaque_backend_state": text(b'{"version":%d}' % version), "agent_refresh_interval": 5},
            "_type": "targets",
        }
        signed = patched(signed, edits.get("signed", {}))
        document = self.keys.signed(signed, edits.get("keys", self.roots.signers))
        return patched(document, edits.get("targets", {}))

    def waited(self, found, count, seconds):
        """What `found` finds, as soon as there are so many, or when the time is over."""
        with self.changed:
            self.changed.wait_for(lambda: len(found()) >= count, seconds)
            return found()

    def polls_of(self, wanted):
        def found():
            polls = [poll for poll in self.polls if wanted.get("answer") in (None, poll["answer"])]
            return [poll for poll in polls if wanted.get("client") in (None, poll.get("client"))]

        return self.waited(found, int(wanted.get("count", 0)), float(wanted.get("wait", 0)))

    def settled(self, wanted):
        """The clients that hold what they are to hold now, and have said so."""

        def found():
            here = [one for one in self.clients.values() if one.settled() and wanted.get("path") in (None, *one.view)]
            return [one.described() for one in here if self.view(one.request["client"]) == one.view]

        return self.waited(found, int(wanted.get("count", 0)), float(wanted.get("wait", 0)))

    def described(self):
        with self.lock:
            names, paths = sorted(self.keys.made), sorted(self.files)
            return {
                "keys": {name: {"id": self.keys.id(name), "public": self.keys.pair(name)[1]} for name in names},
                "roots": self.roots.documents,
                "files": {path: {"v": self.file_versions[path], "sha256": sha256(self.files[path])} for path in paths},
                "clients": [one.described() for one in self.clients.values() if one.request],
                "problems": [problem for poll in self.polls for problem in poll["problems"]],
            }


def switch(on, forms=("sdk_config", "lib_config"), service="*", env="*", name="switch"):
    """The file that switches the product on or off in running programs, in both forms; None takes the file away."""
    path = f"datadog/2/APM_TRACING/{name}/config"
    if on is None:
        return path, None
    only(forms, SWITCHES, "switch")
    file = {
        "schema_version": "v1.0.0",
        "action": "enable",
        "service_target": {"service": service, "env": env},
        "k8s_target_v2": None,
        **{form: SWITCHES[form](on) for form in forms},
    }
    return path, file
