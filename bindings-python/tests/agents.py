"""The stand-in Agent of `tests/agent` as a process, and a program that works while its probes come and go."""

import contextlib
import json
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from processes import clean_environment, seconds_to_wait, write

home = Path(__file__).parents[2] / "tests" / "agent"
events_path, statuses_path, config_path = "/debugger/v2/input", "/debugger/v1/diagnostics", "/v0.7/config"


def until[Found](found: Callable[[], Found], what: object = "") -> Found:
    """Waits for it to be true. Tests wait for what happens, never for a time."""
    end = time.monotonic() + seconds_to_wait
    while not (answer := found()):
        assert time.monotonic() < end, what() if callable(what) else what
        time.sleep(0.02)
    return answer


class Agent:
    def __init__(self, folder: Path, script: str | dict[str, Any] = "well", *more: str) -> None:
        if isinstance(script, dict):
            file = folder / "script.json"
            file.write_text(json.dumps(script))
        else:
            file = home / "scripts" / f"{script}.json"
        self.ports, self.socket = folder / "ports", folder / "agent.sock"
        self.command = [sys.executable, str(home / "agent.py"), "--script", str(file), "--port-file", str(self.ports)]
        self.command += ["--unix", str(self.socket), *more]
        self.run()
        self.port = json.loads(self.ports.read_text())["http"]
        self.url = f"http://127.0.0.1:{self.port}"

    def run(self) -> None:
        self.ports.unlink(missing_ok=True)
        self.process = subprocess.Popen(self.command, env=clean_environment())
        until(lambda: self.ports.exists() or self.process.poll() is not None)
        assert self.process.poll() is None
        # What it was sent is asked for in parts, each once.
        self.requests: list[dict[str, Any]] = []

    def again(self) -> None:
        """Starts it where it was, after a `stop`."""
        self.command += ["--port", str(self.port)]
        self.run()

    def ask(self, target: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(f"{self.url}{target}", data, timeout=seconds_to_wait) as answer:
            return json.load(answer)

    def sent_to(self, path: str) -> list[dict[str, Any]]:
        """The requests on a path that arrived whole."""
        self.requests += self.ask(f"/_requests?since={len(self.requests)}")
        return [request for request in self.requests if request["path"] == path and request["complete"]]

    def events(self) -> list[dict[str, Any]]:
        return [event for request in self.sent_to(events_path) for event in json.loads(request["body"])]

    def by_process(self) -> dict[int, dict[str, list[str]]]:
        """The messages of each process, by the runtime ids under which they came: there should be one."""
        found: dict[int, dict[str, list[str]]] = {}
        for request in self.sent_to(events_path):
            tags = dict(tag.split(":", 1) for tag in request["tags"].split(","))
            for event in json.loads(request["body"]):
                process = int(event["logger"]["thread_name"].rpartition("pid:")[2])
                found.setdefault(process, {}).setdefault(tags["runtime_id"], []).append(event["message"])
        return found

    def statuses(self) -> list[dict[str, Any]]:
        found = []
        for request in self.sent_to(statuses_path):
            body = request["body"]
            if request["headers"]["content-type"].startswith("multipart/"):
                body = body[body.index("\r\n\r\n") + 4 : body.rindex("\r\n--")]
            found += json.loads(body)
        return [status["debugger"]["diagnostics"] for status in found]

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(seconds_to_wait)

    # Remote configuration.

    def offer(self, files: dict[str, Any], **more: Any) -> None:
        """Puts files by their paths beside those that are offered; None takes one away."""
        self.ask("/_remote", {"offer": files, **more})

    def answers(self, *behaviours: dict[str, Any]) -> None:
        """How polls are answered from now on; the last for ever."""
        self.ask("/_paths", {config_path: list(behaviours)})

    def answers_well(self) -> None:
        self.answers({"remote": {}})

    def polls(self, count: int = 0, **chosen: str) -> list[dict[str, Any]]:
        """The polls so far, as soon as there are so many."""
        chosen |= {"count": str(count), "wait": str(seconds_to_wait)}
        polls = self.ask("/_polls?" + urllib.parse.urlencode(chosen))
        assert len(polls) >= count, polls
        return polls

    def more_polls(self, more: int = 2) -> list[dict[str, Any]]:
        """The polls that begin after now, as soon as there are so many."""
        before = len(self.polls())
        return self.polls(before + more)[before:]

    def settled(self, count: int = 1, **chosen: str) -> list[dict[str, Any]]:
        """The clients that hold what they are to hold now, as soon as there are so many and all is acknowledged."""
        chosen |= {"count": str(count), "wait": str(seconds_to_wait)}

        def found() -> list[dict[str, Any]]:
            clients = self.ask("/_settled?" + urllib.parse.urlencode(chosen))
            assert len(clients) >= count, self.ask("/_remote")
            done = [client for client in clients if 1 not in states(client).values()]
            return done if len(done) >= count else []

        return until(found, lambda: self.ask("/_remote"))

    def problems(self) -> list[str]:
        """What no client of ours may do."""
        return self.ask("/_remote")["problems"]

    def said(self) -> list[tuple[str, int]]:
        """Tag and number of each event, as the probes of `log` write them."""
        words = (event["message"].split() for event in self.events())
        return [(tag, int(number)) for tag, number in words]


def states(client: dict[str, Any]) -> dict[str, int]:
    """The last word of a client on each file that it holds."""
    return {one["id"]: one["apply_state"] for one in client["state"].get("config_states") or []}


def at(name: str, kind: str = "logProbe", product: str = "LIVE_DEBUGGING") -> str:
    return f"datadog/2/{product}/{kind}_{name}/config"


def log(tag: str, method: str = "work", **more: Any) -> dict[str, Any]:
    """A log probe that says its tag, and what the method is called with."""
    where = {"typeName": "__main__", "methodName": method}
    probe = {"id": "a", "version": 1, "type": "LOG_PROBE", "language": "python", "where": where}
    return {**probe, "template": f"{tag} {{x}}", **more}


fast = {
    "DD_SERVICE": "shop",
    "DD_REMOTE_CONFIG_POLL_INTERVAL_SECONDS": "0.05",
    "DD_DYNAMIC_INSTRUMENTATION_UPLOAD_INTERVAL_SECONDS": "0.1",
}

working = """
    import json, os, sys, threading, time

    def work(x):
        return x  # here

    def other(x):
        return x

    def beat(x):
        return x

    x = 0
    done = threading.Event()

    def answer():
        for line in sys.stdin:
            print(eval(line), flush=True)
        done.set()

    def go():
        global x
        threading.Thread(target=answer, daemon=True).start()
        while not done.is_set():
            x += 1
            work(x), other(x), beat(x)
            time.sleep(0.01)
"""

starting = """
    import stroboscope
    remarks = stroboscope.start()
    where = {"typeName": "__main__", "methodName": "beat"}
    stroboscope.add_probe({"id": "beat", "type": "LOG_PROBE", "where": where, "template": "beat {x}"})
    go()
    stroboscope.stop()
"""


class Program:
    """Calls `work`, `other` and `beat` with 1, 2, 3 … until it is ended."""

    def __init__(self, folder: Path, agent: Agent, text: str = starting, url: str = "", **environment: str) -> None:
        write(folder, "tail.py", text)
        script = write(folder, "program.py", working)
        script.write_text(script.read_text() + (folder / "tail.py").read_text())
        self.agent = agent
        self.errors = (folder / "stderr").open("w+")
        variables = clean_environment(**{**fast, "DD_TRACE_AGENT_URL": url or agent.url, **environment})
        self.process = subprocess.Popen(
            [sys.executable, script.name],
            cwd=folder,
            env=variables,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
        )

    def ask(self, expression: str) -> str:
        """What an expression is worth in the program."""
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(expression + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def now(self) -> int:
        return int(self.ask("x"))

    def runs(self, *tags: str) -> None:
        """Waits until probes have said something of calls that begin now."""
        now = self.now()
        until(lambda: all(any(one == tag and x > now for one, x in self.agent.said()) for tag in tags), (tags, now))

    def is_silent(self, *tags: str) -> None:
        """A good many calls from now on are said by the program's own probe, and by none of these."""
        now = self.now()
        until(lambda: any(tag == "beat" and x > now + 20 for tag, x in self.agent.said()), now)
        late = [(tag, x) for tag, x in self.agent.said() if tag in tags and x > now]
        assert not late, now

    def end(self) -> str:
        """Ends it; answers what it wrote to standard error."""
        assert self.process.stdin
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        assert self.process.wait(seconds_to_wait) == 0, self.said()
        return self.said()

    def said(self) -> str:
        self.errors.seek(0)
        return self.errors.read()

    def kill(self) -> None:
        self.process.kill()
        for stream in (self.process.stdin, self.process.stdout, self.errors):
            with contextlib.suppress(BrokenPipeError):
                assert stream
                stream.close()
        self.process.wait(seconds_to_wait)


# Starts a program beside the Agent of a test.
Start = Callable[..., Program]
