"""A stand-in for the Agent on the loopback: answers /info, swallows every POST. Prints its port, then serves."""

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_info = {
    "version": "7.60.0",
    "endpoints": [
        "/v0.4/traces", "/v0.5/traces", "/v0.7/config", "/telemetry/proxy/",
        "/debugger/v1/input", "/debugger/v2/input", "/debugger/v1/diagnostics",
    ],
}  # fmt: skip


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def _answer(self, code, body):
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        known = self.path.startswith("/info")
        self._answer(200 if known else 404, json.dumps(_info if known else {}).encode())

    def do_POST(self):
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            while size := int(self.rfile.readline().split(b";")[0], 16):
                self.rfile.read(size + 2)
            self.rfile.readline()
        else:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self._answer(200, b"{}")

    do_PUT = do_POST


server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
server.daemon_threads = True
print(server.server_port, flush=True)
server.serve_forever()
