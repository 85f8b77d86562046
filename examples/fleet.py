"""`python fleet.py ACTS -- COMMAND …`: the other end of remote configuration. It plays the Agent that a fleet of
programs asks for probes (the stand-in of the tests), starts one program, and then, while that runs, sends it the probes
of a file one after another, shows what each of them caught, and takes them back.
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

stand_in = Path(__file__).resolve().parents[1] / "tests/agent/agent.py"
patience = 60.0
Probe = dict[str, Any]


def until(found: Callable[[], Any], what: str) -> Any:
    end = time.monotonic() + patience
    while not (answer := found()):
        if time.monotonic() > end:
            sys.exit(f"fleet: {what} has not happened in {patience:g} s")
        time.sleep(0.05)
    return answer


class Agent:
    def __init__(self, ports: dict[str, Any]) -> None:
        self.url = f"http://127.0.0.1:{ports['http']}"
        self.metrics = f"udp://127.0.0.1:{ports['udp']}"

    def ask(self, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(self.url + path, data, timeout=patience) as answer:
            return json.load(answer)

    def events(self, probe: Probe) -> list[dict[str, Any]]:
        """What a probe has caught, in this version of it."""
        requests = self.ask("/_requests?path=/debugger/v2/input")
        events = [event for request in requests if request["complete"] for event in json.loads(request["body"])]
        wanted = (probe["id"], probe["version"])
        made_by = [event["debugger"]["snapshot"]["probe"] for event in events]
        return [event for event, by in zip(events, made_by, strict=True) if (by["id"], by["version"]) == wanted]

    def lines(self, probe: Probe) -> list[str]:
        """What is to be shown of it."""
        if probe["type"] == "METRIC_PROBE":
            datagrams = "".join(self.ask("/_datagrams")).splitlines()
            return [line for line in datagrams if f".{probe['metricName']}:" in line]
        return [line for event in self.events(probe) for line in described(event)]

    def settled(self) -> bool:
        """The program and those that it started hold what they are to hold, and have said so."""
        return len(self.ask("/_settled")) == len(self.ask("/_remote")["clients"]) > 0


def described(event: dict[str, Any]) -> Iterator[str]:
    yield event["message"]
    captures = event["debugger"]["snapshot"].get("captures") or {}
    for point in [*captures.get("lines", {}).values(), *(captures[name] for name in ("return",) if name in captures)]:
        for name, value in {**point.get("arguments", {}), **point.get("locals", {})}.items():
            yield f"  {name} = {shown(value)}"


def shown(value: dict[str, Any]) -> str:
    if "fields" in value:
        return f"{value['type']}({', '.join(f'{name}={shown(one)}' for name, one in value['fields'].items())})"
    if "elements" in value:
        return f"[{', '.join(map(shown, value['elements']))}{', …' if value.get('notCapturedReason') else ''}]"
    return str(value.get("value", value["type"]))


@contextlib.contextmanager
def agent_of_a_fleet() -> Iterator[Agent]:
    with tempfile.TemporaryDirectory() as folder:
        ports = Path(folder) / "ports"
        process = subprocess.Popen([sys.executable, str(stand_in), "--udp", "--port-file", str(ports)])
        try:
            until(ports.exists, "the start of the Agent")
            yield Agent(json.loads(ports.read_text()))
        finally:
            process.terminate()
            process.wait()


def path_of(probe: Probe) -> str:
    kind = {"LOG_PROBE": "logProbe", "METRIC_PROBE": "metricProbe", "SPAN_PROBE": "spanProbe"}[probe["type"]]
    return f"datadog/2/LIVE_DEBUGGING/{kind}_{probe['id']}/config"


def play(agent: Agent, acts: list[dict[str, Any]]) -> None:
    offered: dict[str, Probe] = {}
    for act in acts:
        probe = act["probe"]
        offered[path_of(probe)] = probe
        print(f"\n{act['say']}  [{probe['id']}, version {probe['version']}]", flush=True)
        agent.ask("/_remote", {"offer": {path_of(probe): probe}})
        until(lambda probe=probe: agent.lines(probe), f"a hit of {probe['id']}")
        for line in agent.lines(probe)[: act.get("lines", 3)]:
            print(f"    {line}", flush=True)
    agent.ask("/_remote", {"clear": True})
    until(agent.settled, "the end of all probes")
    # What was caught before is on its way; after that nothing comes.
    time.sleep(1)
    before = {path: len(agent.events(probe)) for path, probe in offered.items()}
    time.sleep(1)
    after = {path: len(agent.events(probe)) for path, probe in offered.items()}
    print(f"\nall of them are taken back: {sum(after.values()) - sum(before.values())} more events", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="fleet.py")
    parser.add_argument("acts", type=Path, help="a file of probes, each with what is to be said of it")
    parser.add_argument("command", nargs="+", help="the program that gets them")
    options = parser.parse_args()
    with agent_of_a_fleet() as agent:
        about = {
            "DD_TRACE_AGENT_URL": agent.url,
            "DD_DOGSTATSD_URL": agent.metrics,
            "DD_DYNAMIC_INSTRUMENTATION_ENABLED": "true",
            "DD_REMOTE_CONFIG_POLL_INTERVAL_SECONDS": "0.2",
            "DD_DYNAMIC_INSTRUMENTATION_UPLOAD_INTERVAL_SECONDS": "0.2",
            "STROBE_TERMINAL": "never",
        }
        program = subprocess.Popen(options.command, env={**os.environ, **about})
        try:
            until(agent.settled, "the first question of the program for its probes")
            play(agent, json.loads(options.acts.read_text()))
            return program.wait()
        finally:
            program.kill()
            program.wait()


if __name__ == "__main__":
    sys.exit(main())
