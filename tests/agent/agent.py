"""The stand-in Agent: a real HTTP server, over TCP and a Unix socket, and a DogStatsD receiver, that does what a data
file says, wrongly where it says so, and remembers what it was sent. README.md beside it describes the files.

Standard library only, any Python from 3.8 on: it serves the tests of every language and must start on every machine.
"""

import argparse
import base64
import contextlib
import http.client
import json
import os
import socket
import socketserver
import ssl
import struct
import sys
import tempfile
import threading
import time
import urllib.parse

from remote import CONFIG, BadWish, Refused, Remote

ENDPOINTS = [
    "/v0.4/traces",
    "/v0.7/config",
    "/debugger/v1/diagnostics",
    "/debugger/v1/input",
    "/debugger/v2/input",
    "/symdb/v1/input",
]
DEFAULT_SCRIPT = {
    "paths": {"/info": [{"body": {"version": "7.72.0", "endpoints": ENDPOINTS}}]},
    "default": [{"status": 202, "body": {}}],
}
KNOWN = set(
    [
        "status",
        "headers",
        "body",
        "body_base64",
        "delay",
        "drop",
        "after",
        "truncate",
        "raw",
        "raw_base64",
        "never",
        "read",
        "times",
        "drip",
        "reset",
        "remote",
        "why",
    ]
)
NEVER = 3600.0
MAX_BODY = 64 << 20


class BadScript(Exception):
    """A script that cannot be followed; said at once, since a misspelt word would make a test that tests nothing."""


def check(script):
    unknown = set(script) - {"paths", "default", "remote", "why"}
    if unknown:
        raise BadScript(f"unknown words in the script: {sorted(unknown)}")
    sequences = dict(script.get("paths", {}))
    sequences["default"] = script.get("default", DEFAULT_SCRIPT["default"])
    check_paths(sequences)
    return script


def check_paths(paths):
    for path, sequence in paths.items():
        if not isinstance(sequence, list) or not sequence:
            raise BadScript(f"{path}: a list of at least one behaviour is wanted")
        for behaviour in sequence:
            unknown = set(behaviour) - KNOWN
            if unknown:
                raise BadScript(f"{path}: unknown words {sorted(unknown)}")
            if behaviour.get("drop", "accept") not in ("accept", "request", "response"):
                raise BadScript(f"{path}: drop is one of accept, request, response")
            unknown = set(behaviour.get("remote", {})).difference(Remote.EDITS)
            if unknown:
                raise BadScript(f"{path}: remote: unknown words {sorted(unknown)}")


class Story:
    """What the script says and what has happened."""

    def __init__(self, script, record, remote):
        self.lock = threading.Lock()
        self.changed = threading.Condition(self.lock)
        self.record = record
        self.remote = remote
        self.stopped = threading.Event()
        self.begin(script)

    def start(self, script):
        """Begins anew, and forgets what was."""
        check(script)
        self.remote.forget()
        self.begin(script)

    def begin(self, script):
        with self.lock:
            self.script = {**check(script), "paths": dict(script.get("paths", {}))}
            self.used = {}
            self.requests = []
            self.datagrams = []
            self.connections = 0
        self.remote.wish(script.get("remote", {}))

    def change(self, paths):
        """Other behaviours for these paths, from now on; what was is not forgotten."""
        check_paths(paths)
        with self.lock:
            self.script["paths"].update(paths)
            for path in paths:
                self.used.pop(path, None)

    def behaviour(self, path):
        """The next behaviour for a path; the last one of its list goes on for ever."""
        with self.lock:
            paths = self.script["paths"]
            if path == CONFIG and path not in paths:
                return {"remote": {}}
            key = path if path in paths else "default"
            sequence = paths.get(path) or self.script.get("default") or DEFAULT_SCRIPT["default"]
            used = self.used.get(key, 0)
            self.used[key] = used + 1
        for behaviour in sequence[:-1]:
            used -= behaviour.get("times", 1)
            if used < 0:
                return behaviour
        return sequence[-1]

    def note(self, entry):
        with self.changed:
            entry["n"] = len(self.requests)
            self.requests.append(entry)
            if self.record:
                self.record.write(json.dumps(entry) + "\n")
                self.record.flush()
            self.changed.notify_all()

    def datagram(self, data):
        with self.changed:
            self.datagrams.append(data.decode("utf-8", "backslashreplace"))
            self.changed.notify_all()

    def on(self, wanted):
        """The requests on a path, or all, from a number on. The caller holds the lock."""
        since = self.requests[int(wanted.get("since", 0)) :]
        return [request for request in since if wanted.get("path") in (None, request["path"])]

    def stats(self):
        with self.lock:
            by_path = {}
            for entry in self.requests:
                of_path = by_path.setdefault(entry["path"], {"requests": 0, "complete": 0, "bytes": 0, "elements": 0})
                of_path["requests"] += 1
                of_path["complete"] += entry["complete"]
                of_path["bytes"] += entry["length"]
                of_path["elements"] += entry["elements"] or 0
            return {
                "connections": self.connections,
                "requests": len(self.requests),
                "paths": by_path,
                "datagrams": len(self.datagrams),
            }


def elements(headers, body):
    """How many elements the JSON array has that the body is, or that its part `event` is; None if there is none."""
    if headers.get("content-type", "").startswith("multipart/form-data"):
        start = body.find(b"\r\n\r\n")
        end = body.rfind(b"\r\n--")
        body = body[start + 4 : end] if 0 <= start < end else b""
    try:
        array = json.loads(body)
    except ValueError:
        return None
    return len(array) if isinstance(array, list) else None


class Dropped(Exception):
    """The connection ends here."""


class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        with self.server.story.lock:
            self.server.story.connections += 1
        try:
            while self.one_request():
                pass
        except (Dropped, ConnectionError, ValueError, http.client.HTTPException, socket.timeout, ssl.SSLError):
            # A client that goes away or talks nonsense ends its connection and nothing else.
            pass

    def finish(self):
        with contextlib.suppress(OSError):
            super().finish()

    def one_request(self):
        line = self.rfile.readline(65537)
        if not line:
            return False
        method, target, version = line.decode("latin-1").split()
        headers = {name.lower(): value for name, value in http.client.parse_headers(self.rfile).items()}
        path, _, query = target.partition("?")
        if path.startswith("/_"):
            self.control(method, path, query, self.body(headers))
            return self.keeps(version, headers)
        story = self.server.story
        behaviour = story.behaviour(path)
        entry = {
            "time": time.time(),
            "transport": self.server.transport,
            "method": method,
            "path": path,
            "query": query,
            "tags": dict(urllib.parse.parse_qsl(query)).get("ddtags"),
            "headers": headers,
            "complete": False,
            "length": 0,
            "elements": None,
        }
        if behaviour.get("drop") == "request":
            entry["length"] = len(self.rfile.read(behaviour.get("after", 0)))
            story.note(entry)
            self.end(behaviour)
        if behaviour.get("read", True):
            body = self.body(headers)
            entry.update(complete=True, length=len(body), elements=elements(headers, body))
            try:
                entry["body"] = body.decode("utf-8")
            except UnicodeDecodeError:
                entry["body_base64"] = base64.b64encode(body).decode("ascii")
        story.note(entry)
        if path == CONFIG and entry["complete"]:
            behaviour = self.configured(behaviour, entry, headers, body)
        self.answer(behaviour)
        return behaviour.get("read", True) and self.keeps(version, headers)

    def configured(self, behaviour, entry, headers, body):
        """A poll for configurations: noted whatever becomes of it, and answered where the script has nothing else."""
        remote = self.server.story.remote
        try:
            client, note = remote.poll(entry, headers, body)
        except Refused as refused:
            return {"status": 400, "headers": {"Content-Type": "text/plain"}, "body": str(refused)}
        if "remote" not in behaviour:
            return behaviour
        return {**behaviour, "body": remote.answer(client, note, behaviour["remote"])}

    def body(self, headers):
        if headers.get("transfer-encoding", "").lower() == "chunked":
            parts = []
            while True:
                size = int(self.rfile.readline(1024).split(b";")[0], 16)
                parts.append(self.exactly(size))
                self.rfile.readline(1024)
                if size == 0:
                    return b"".join(parts)
        return self.exactly(int(headers.get("content-length", 0)))

    def exactly(self, length):
        if not 0 <= length <= MAX_BODY:
            raise Dropped
        data = self.rfile.read(length)
        if len(data) < length:
            raise Dropped
        return data

    @staticmethod
    def keeps(version, headers):
        connection = headers.get("connection", "").lower()
        return connection != "close" if version == "HTTP/1.1" else connection == "keep-alive"

    def wait(self, seconds):
        if self.server.story.stopped.wait(seconds):
            raise Dropped

    def answer(self, behaviour):
        self.wait(behaviour.get("delay", 0))
        if behaviour.get("never"):
            self.wait(NEVER)
            raise Dropped
        if behaviour.get("drop") == "accept":
            self.end(behaviour)
        if "raw" in behaviour or "raw_base64" in behaviour:
            raw = behaviour.get("raw", "").encode("utf-8") or base64.b64decode(behaviour.get("raw_base64", ""))
            self.write(raw, behaviour)
            raise Dropped
        body = behaviour.get("body", "")
        if "body_base64" in behaviour:
            body = base64.b64decode(behaviour["body_base64"])
        elif isinstance(body, str):
            body = body.encode("utf-8")
        else:
            body = json.dumps(body).encode("utf-8")
        status = behaviour.get("status", 200)
        head = f"HTTP/1.1 {status} {http.client.responses.get(status, 'Status')}\r\n"
        headers = {"Content-Type": "application/json", "Content-Length": str(len(body)), **behaviour.get("headers", {})}
        head += "".join(f"{name}: {value}\r\n" for name, value in headers.items()) + "\r\n"
        # A truncated answer claims its whole length and then ends.
        keep = len(body) - behaviour.get("truncate", 0)
        response = head.encode("latin-1") + body[: max(keep, 0)]
        if behaviour.get("drop") == "response":
            self.write(response[: behaviour.get("after", 0)], behaviour)
            self.end(behaviour)
        self.write(response, behaviour)
        if "truncate" in behaviour or not behaviour.get("read", True):
            self.end(behaviour)

    def write(self, data, behaviour):
        pause = behaviour.get("drip")
        if not pause:
            self.connection.sendall(data)
            return
        for byte in data:
            self.connection.sendall(bytes([byte]))
            self.wait(pause)

    def end(self, behaviour):
        if behaviour.get("reset"):
            # Leave by a reset instead of an orderly end.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raise Dropped

    def control(self, method, path, query, body):
        story = self.server.story
        wanted = dict(urllib.parse.parse_qsl(query))
        status, answer = 200, {}
        if path == "/_requests":
            with story.changed:
                # `?wait=SECONDS&count=N` answers when there are N, or when the time is over.
                count = int(wanted.get("count", 0))
                story.changed.wait_for(lambda: len(story.on(wanted)) >= count, float(wanted.get("wait", 0)))
                answer = story.on(wanted)
        elif path == "/_datagrams":
            with story.changed:
                count = int(wanted.get("count", 0))
                story.changed.wait_for(lambda: len(story.datagrams) >= count, float(wanted.get("wait", 0)))
                answer = list(story.datagrams)
        elif path == "/_stats":
            answer = story.stats()
        elif path == "/_polls":
            answer = story.remote.polls_of(wanted)
        elif path == "/_settled":
            answer = story.remote.settled(wanted)
        elif path == "/_remote" and method == "GET":
            answer = story.remote.described()
        elif path in CHANGES and method in ("POST", "PUT"):
            try:
                CHANGES[path](story, json.loads(body))
            except (BadScript, BadWish, ValueError, AttributeError, TypeError) as error:
                status, answer = 400, {"error": str(error)}
        elif path == "/_stop":
            story.stopped.set()
        else:
            status, answer = 404, {"error": f"no such control path: {path}"}
        data = json.dumps(answer).encode("utf-8")
        self.connection.sendall(
            b"HTTP/1.1 %d Control\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % (status, len(data))
            + data
        )


# What a request of control changes, with its body.
CHANGES = {"/_script": Story.start, "/_paths": Story.change, "/_remote": lambda story, body: story.remote.wish(body)}


class TcpServer(socketserver.ThreadingMixIn, socketserver.TCPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128
    transport = "tcp"

    def handle_error(self, request, client_address):
        print(f"agent: {sys.exc_info()[1]!r}", file=sys.stderr)


class TlsServer(TcpServer):
    transport = "tls"

    def get_request(self):
        connection, address = self.socket.accept()
        folder = os.path.join(os.path.dirname(os.path.abspath(__file__)), "tls")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(os.path.join(folder, "cert.pem"), os.path.join(folder, "key.pem"))
        # The handshake happens with the first read, in the connection's own thread.
        return context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False), address


class UnixServer(TcpServer):
    address_family = socket.AF_UNIX
    transport = "unix"

    def get_request(self):
        connection, _ = self.socket.accept()
        return connection, ("unix", 0)


def free(path, kind=socket.SOCK_STREAM):
    """Removes a socket that an Agent which was killed has left behind; one that answers stays."""
    try:
        with socket.socket(socket.AF_UNIX, kind) as asks:
            asks.connect(path)
    except ConnectionRefusedError:
        os.unlink(path)
    except OSError:
        return


def receive(sock, story):
    while not story.stopped.is_set():
        try:
            story.datagram(sock.recv(65536))
        except socket.timeout:
            continue
        except OSError:
            return


def publish(path, ports):
    """Written whole or not at all: whoever waits for the file must never read half of it."""
    handle, temporary = tempfile.mkstemp(dir=os.path.dirname(os.path.abspath(path)))
    with os.fdopen(handle, "w") as file:
        json.dump(ports, file)
    os.replace(temporary, path)


def read_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--script", help="what to do; without it all is well")
    parser.add_argument("--port", type=int, default=0, help="TCP port on the loopback, by default any free one")
    parser.add_argument("--port-file", help="where the ports are written when all is ready")
    parser.add_argument("--unix", help="path of a Unix socket that serves the same")
    parser.add_argument("--tls", action="store_true", help="a second TCP port, over TLS, with the certificate in tls/")
    parser.add_argument("--udp", action="store_true", help="receive DogStatsD datagrams")
    parser.add_argument("--udp-unix", help="path of a Unix datagram socket for DogStatsD")
    parser.add_argument("--state", help="file in which keys, versions and what is offered outlive this process")
    parser.add_argument("--record", help="append each request as a line of JSON")
    return parser.parse_args()


def read_script(path):
    if not path:
        return DEFAULT_SCRIPT
    with open(path, encoding="utf-8") as file:
        script = json.load(file)
    try:
        return check(script)
    except BadScript as error:
        sys.exit(f"agent: {path}: {error}")


def serve(arguments, story):
    """Starts a thread for each way in; answers where they are."""
    servers = [TcpServer(("127.0.0.1", arguments.port), Handler)]
    ports = {"http": servers[0].server_address[1]}
    if arguments.unix:
        free(arguments.unix)
        servers.append(UnixServer(arguments.unix, Handler))
        ports["unix"] = arguments.unix
    if arguments.tls:
        servers.append(TlsServer(("127.0.0.1", 0), Handler))
        ports["https"] = servers[-1].server_address[1]
    sockets = []
    if arguments.udp:
        sockets.append(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        sockets[-1].bind(("127.0.0.1", 0))
        ports["udp"] = sockets[-1].getsockname()[1]
    if arguments.udp_unix:
        free(arguments.udp_unix, socket.SOCK_DGRAM)
        sockets.append(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        sockets[-1].bind(arguments.udp_unix)
        ports["udp_unix"] = arguments.udp_unix
    for sock in sockets:
        sock.settimeout(0.2)
        threading.Thread(target=receive, args=(sock, story), daemon=True).start()
    for server in servers:
        server.story = story
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    return ports


def wait_for_the_end(story):
    parent = os.getppid()
    with contextlib.suppress(KeyboardInterrupt):
        # Ends with whoever started it, so that a test that is killed leaves nothing behind.
        while not story.stopped.wait(0.5) and os.getppid() == parent:
            pass
        # Let the answer to /_stop leave.
        time.sleep(0.05)


def main():
    arguments = read_arguments()
    script = read_script(arguments.script)
    with contextlib.ExitStack() as stack:
        record = None
        if arguments.record:
            record = stack.enter_context(open(arguments.record, "a", encoding="utf-8"))
        story = Story(script, record, Remote(arguments.state))
        ports = serve(arguments, story)
        if arguments.port_file:
            publish(arguments.port_file, ports)
        else:
            print(json.dumps(ports), flush=True)
        wait_for_the_end(story)
    for path in (arguments.unix, arguments.udp_unix):
        if path and os.path.exists(path):
            os.unlink(path)


if __name__ == "__main__":
    main()
