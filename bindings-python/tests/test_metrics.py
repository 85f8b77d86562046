"""Metric probes from Python, over real sockets: to sockets of ours byte by byte, and to a server that is not ours."""

import json
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from processes import clean_environment, plain, seconds_to_wait, strobe, write

prefix = "dynamic.instrumentation.metric.probe."

shop = """
    import sys, time, json, stroboscope

    class Cart:
        def __init__(self, items):
            self.items = items
            self.password = 424242

        def total(self, rate):
            total = sum(self.items) * rate
            return total

    def fail(x):
        raise ValueError(x)

    def rows(n):
        for i in range(n):
            yield i

    def metric(id, kind, value=None, **more):
        where = more.pop("where", {"typeName": "__main__", "methodName": "Cart.total"})
        probe = {"id": id, "version": 1, "type": "METRIC_PROBE", "kind": kind, "metricName": id, "where": where, **more}
        if value is not None:
            probe["value"] = {"dsl": value}
        stroboscope.add_probe(probe)

    def of(id):
        return next(probe for probe in stroboscope.status() if probe["id"] == id)
"""


def run(folder: Path, text: str, **environment: str) -> Any:
    script = write(folder, "shop.py", shop)
    part = write(folder, "part.py", text)
    script.write_text(script.read_text() + part.read_text())
    # Events stay here: there is no Agent.
    result = plain(folder, sys.executable, script.name, STROBE_NDJSON="events.json", **environment)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    return json.loads(result.stdout) if result.stdout else None


def lines(bound: socket.socket) -> list[str]:
    """What has come, until nothing does. Sent before its program ended, so it is here."""
    bound.setblocking(False)
    found: list[str] = []
    while True:
        try:
            datagram = bound.recv(70_000)
        except BlockingIOError:
            return found
        assert datagram.endswith(b"\n")
        found += datagram.decode().splitlines()


def values(found: list[str]) -> dict[str, str]:
    """The values and the type of each metric, of several lines together."""
    of: dict[str, str] = {}
    for line in found:
        name, rest = line.removeprefix(prefix).split(":", 1)
        of[name] = f"{of[name]} {rest.split('|#')[0]}" if name in of else rest.split("|#")[0]
    return of


@pytest.fixture(params=["udp", "unix"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    if request.param == "udp":
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bound:
            bound.bind(("127.0.0.1", 0))
            yield bound, f"udp://127.0.0.1:{bound.getsockname()[1]}"
    else:
        path = tmp_path / "dsd.socket"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as bound:
            bound.bind(str(path))
            yield bound, f"unix://{path}"


def test_every_kind_on_methods_and_lines(tmp_path: Path, server: tuple[socket.socket, str]) -> None:
    bound, url = server
    told = run(
        tmp_path,
        """
        stroboscope.start()
        metric("calls", "COUNT", tags=["team:x", "env:mine"])
        metric("sum", "COUNT", "len(self.items)", evaluateAt="ENTRY")
        metric("last", "GAUGE", "@return")
        metric("hist", "HISTOGRAM", "total", when={"dsl": "rate != 2"})
        metric("time", "DISTRIBUTION", "@duration")
        line = Cart.total.__code__.co_firstlineno + 2
        metric("line", "HISTOGRAM", "total > 10", where={"sourceFile": "shop.py", "lines": [str(line)]})
        metric("thrown", "COUNT", when={"dsl": "@exception.message == 'no'"},
            where={"typeName": "__main__", "methodName": "fail"})
        metric("items", "COUNT", where={"typeName": "__main__", "methodName": "rows"})
        for rate in (1, 2, 3.5):
            Cart([2, 3]).total(rate)
        for text in ("no", "yes", "no"):
            try:
                fail(text)
            except ValueError:
                pass
        list(rows(3))
        assert stroboscope.flush()
        print(json.dumps([stroboscope.status(), stroboscope.stats()]))
        """,
        DD_DOGSTATSD_URL=url,
        DD_SERVICE="shop",
        DD_ENV="e1",
        DD_VERSION="1.2",
    )
    found = lines(bound)
    of = values(found)
    assert re.fullmatch(r"[0-9.e-]+(:[0-9.e-]+){2}\|d", of.pop("time"))
    assert of == {
        "calls": "3|c",
        "sum": "6|c",
        "last": "17.5|g",
        "hist": "5:17.5|h",
        "line": "0:0:1|h",
        "thrown": "2|c",
        "items": "1|c",
    }
    calls = next(line for line in found if ".calls:" in line)
    # What comes after is of the machine.
    assert calls.startswith(f"{prefix}calls:3|c|#team:x,env:mine,debugger.probeid:calls,service:shop,version:1.2")
    statuses, stats = told
    assert {status["state"] for status in statuses} == {"emitting"}
    counts = {status["id"]: (status["hits"], status["measured"], status["emitted"]) for status in statuses}
    assert counts["calls"] == (3, 3, 0)
    assert counts["hist"] == (3, 2, 0)
    assert stats["measured"] == sum(measured for _, measured, _ in counts.values())
    assert stats["metrics"]["lost"] == 0
    assert stats["metrics"]["sent"] == sum(line.split("|")[0].count(":") for line in found)


def test_each_second_and_at_the_end(tmp_path: Path, server: tuple[socket.socket, str]) -> None:
    bound, url = server
    run(
        tmp_path,
        """
        stroboscope.start()
        metric("calls", "COUNT")
        metric("gone", "COUNT")
        cart = Cart([1])
        cart.total(1)
        until = time.monotonic() + 30
        while not stroboscope.stats()["metrics"]["sent"] and time.monotonic() < until:
            time.sleep(0.01)
        cart.total(1)
        cart.total(1)
        stroboscope.remove_probe("gone")
        # The rest leaves as the program ends.
        """,
        DD_DOGSTATSD_URL=url,
    )
    assert values(lines(bound)) == {"calls": "1|c 2|c", "gone": "1|c 2|c"}


def test_a_hot_line_is_counted_whole_and_its_values_are_sampled(
    tmp_path: Path, server: tuple[socket.socket, str]
) -> None:
    bound, url = server
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
    told = run(
        tmp_path,
        """
        stroboscope.start()
        metric("calls", "COUNT")
        metric("items", "DISTRIBUTION", "rate")
        cart = Cart([1])
        for n in range(60_000):
            cart.total(n)
        stroboscope.flush()
        print(json.dumps([of("calls"), of("items"), stroboscope.stats()["metrics"]]))
        """,
        DD_DOGSTATSD_URL=url,
        STROBE_CPU_BUDGET="100",
    )
    calls, items, metrics = told
    assert calls["hits"] == items["hits"] == calls["measured"] == items["measured"] == 60_000
    found = lines(bound)
    if metrics["lost"]:
        pytest.skip("the system has no room for so many datagrams")
    assert sum(int(line.split("|")[0].split(":")[1]) for line in found if ".calls:" in line) == 60_000
    kept, stood_for = 0, 0.0
    for line in found:
        if ".items:" not in line:
            continue
        count = len(line.split("|")[0].split(":")) - 1
        rate = re.search(r"\|@([0-9.]+)", line)
        kept += count
        stood_for += count / (float(rate[1]) if rate else 1)
    assert kept < 60_000
    assert abs(stood_for - 60_000) < 3_000


def test_what_is_no_number_is_an_error_event_and_a_secret_is_nowhere(
    tmp_path: Path, server: tuple[socket.socket, str]
) -> None:
    bound, url = server
    told = run(
        tmp_path,
        """
        from stroboscope import _native
        stroboscope.start()
        metric("text", "GAUGE", "self")
        metric("fraction", "COUNT", "rate")
        metric("nan", "GAUGE", "rate")
        metric("huge", "GAUGE", "rate")
        metric("secret", "GAUGE", "self.password")
        metric("true", "GAUGE", "isDefined(rate)")
        for rate in (1.5, float("nan"), 10**400, True):
            try:
                Cart([1]).total(rate)
            except OverflowError:
                pass
        stroboscope.flush()
        print(json.dumps([{id: of(id) for id in ("text", "fraction", "nan", "huge", "secret", "true")}]))
        """,
        DD_DOGSTATSD_URL=url,
    )[0]
    assert values(lines(bound)) == {"nan": "1|g", "huge": "1|g", "true": "1|g", "fraction": "1|c"}
    assert told["text"]["failure"] == "value: Metric value is not a number: object"
    assert told["secret"]["failed"] == 4
    assert "redacted" in told["secret"]["failure"]
    assert "not a finite number" in told["nan"]["failure"]
    assert told["fraction"]["failed"] == 3
    assert told["true"]["failed"] == 0
    written = (tmp_path / "events.json").read_text()
    assert "424242" not in written
    events = [json.loads(line) for line in written.splitlines()]
    errors = [event for event in events if event["type"] == "snapshot"]
    assert sorted(event["debugger"]["snapshot"]["probe"]["id"] for event in errors) == [
        "fraction",
        "huge",
        "nan",
        "secret",
        "text",
    ]


def test_the_command_shows_what_is_measured(tmp_path: Path) -> None:
    write(tmp_path, "app.py", "def f(x):\n    return x\n\nfor x in (1, 2, 6):\n    f(x)\n")
    where = {"typeName": "__main__", "methodName": "f"}
    probes = [
        {"id": "c", "type": "METRIC_PROBE", "kind": "COUNT", "metricName": "app.calls", "where": where},
        {
            "id": "h",
            "type": "METRIC_PROBE",
            "kind": "HISTOGRAM",
            "metricName": "app.x",
            "where": where,
            "value": {"dsl": "x"},
        },
    ]
    (tmp_path / "probes.json").write_text(json.dumps(probes))
    result = strobe(tmp_path, "--probes", "probes.json", "--json", "-", "--", "app.py", STROBE_TERMINAL="always")
    assert result.returncode == 0
    assert re.search(r"\[c\] app\.calls  \+3\n", result.stderr), result.stderr
    assert re.search(r"\[h\] app\.x  3 values, 1 to 6\n", result.stderr), result.stderr
    assert re.search(r"^c +app.py:1 +3 hits +3 values$|^c +\S+ +3 hits +3 values$", result.stderr, re.MULTILINE)
    metrics = [json.loads(line)["metric"] for line in result.stdout.splitlines()]
    assert [(metric["name"], metric["type"], metric["values"]) for metric in metrics] == [
        (f"{prefix}app.calls", "count", [3.0]),
        (f"{prefix}app.x", "histogram", [1.0, 2.0, 6.0]),
    ]


def test_a_metric_is_typed(tmp_path: Path) -> None:
    write(tmp_path, "app.py", "def f(x):\n    return x\n\nfor x in (1, 2, 6):\n    f(x)\n")
    result = strobe(tmp_path, "--at", "app.py:2", "--metric", "x", "--when", "x > 1", "--", "app.py")
    assert result.returncode == 0
    assert "[app.py:2] x  2 values, 2 to 6\n" in result.stderr
    assert re.search(r"^app.py:2 +3 hits +2 values  not shown: 1 with a false condition$", result.stderr, re.MULTILINE)


def test_nobody_listens_and_the_program_does_not_mind(tmp_path: Path) -> None:
    for url in ("udp://127.0.0.1:9", f"unix://{tmp_path}/none.socket", "udp://no-such-host.invalid:1"):
        lost = run(
            tmp_path,
            """
            stroboscope.start()
            metric("calls", "COUNT")
            for _ in range(3):
                Cart([1]).total(1)
                stroboscope.flush(5)
            print(json.dumps(stroboscope.stats()["metrics"]))
            """,
            DD_DOGSTATSD_URL=url,
        )
        assert lost["lost"] + lost["sent"] == 3
        assert lost["lost"] >= 2, url


def exporter() -> Path:
    """The statsd_exporter of the Prometheus project, built from the module proxy into this checkout, once."""
    go = shutil.which("go")
    if go is None:
        pytest.skip("no Go here to build a server of metrics with")
    home = Path(__file__).parents[2] / "target" / "go"
    program = home / "bin" / "statsd_exporter"
    if not program.exists():
        environment = clean_environment(GOPATH=str(home), GOBIN=str(home / "bin"), GOFLAGS="-modcacherw")
        command = [go, "install", "github.com/prometheus/statsd_exporter@v0.31.0"]
        built = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=600)
        if built.returncode != 0:
            pytest.skip(f"the server of metrics cannot be built: {built.stderr[-300:]}")
    return program


def free_port(kind: socket.SocketKind) -> int:
    with socket.socket(socket.AF_INET, kind) as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.mark.parametrize("way", ["udp", "unix"])
def test_a_server_that_is_not_ours_reads_all_of_it(tmp_path: Path, way: str) -> None:
    program = exporter()
    web, udp, path = free_port(socket.SOCK_STREAM), free_port(socket.SOCK_DGRAM), tmp_path / "dsd.socket"
    command = [str(program), f"--web.listen-address=127.0.0.1:{web}", f"--statsd.listen-udp=127.0.0.1:{udp}"]
    command += [f"--statsd.listen-unixgram={path}", "--statsd.listen-tcp=", "--log.level=warn"]
    server = subprocess.Popen(command, env=clean_environment(), stderr=subprocess.PIPE, text=True)

    def page() -> str:
        until = time.monotonic() + seconds_to_wait
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{web}/metrics", timeout=seconds_to_wait) as answer:
                    return answer.read().decode()
            except OSError:
                assert server.poll() is None
                assert time.monotonic() < until
                time.sleep(0.02)

    try:
        page()
        while not path.exists():
            time.sleep(0.01)
        run(
            tmp_path,
            """
            stroboscope.start()
            metric("calls", "COUNT", tags=["team:x y", "odd:a|b,c"])
            metric("load", "GAUGE", "rate", tags=["team:x"])
            metric("hist", "HISTOGRAM", "total")
            metric("dist", "DISTRIBUTION", "len(self.items)")
            for n in range(1, 41):
                Cart([n, 0.25]).total(-1.5)
            assert stroboscope.flush()
            """,
            DD_DOGSTATSD_URL=f"udp://localhost:{udp}" if way == "udp" else f"unix://{path}",
            DD_SERVICE="shop",
            DD_ENV="e1",
            DD_ENTITY_ID="ci-here",
        )
        until = time.monotonic() + seconds_to_wait
        name = prefix.replace(".", "_")
        while f"{name}dist" not in (text := page()) and time.monotonic() < until:
            time.sleep(0.02)
        samples = dict(re.findall(r"^(dynamic\S*\{.*\}|statsd\w+error\w*(?:\{.*\})?) (\S+)$", text, re.MULTILINE))

        def sample(metric: str, *more: str) -> float:
            tags = sorted(['container_id="ci-here"', 'env="e1"', 'service="shop"', *more])
            return float(samples[f"{name}{metric}{{{','.join(tags)}}}"])

        assert sample("calls", 'debugger_probeid="calls"', 'odd="a_b_c"', 'team="x y"') == 40
        assert sample("load", 'debugger_probeid="load"', 'team="x"') == -1.5
        for kind, total in (("hist", sum((n + 0.25) * -1.5 for n in range(1, 41))), ("dist", 80)):
            assert sample(f"{kind}_count", f'debugger_probeid="{kind}"') == 40
            assert sample(f"{kind}_sum", f'debugger_probeid="{kind}"') == pytest.approx(total)
        refused = {key: value for key, value in samples.items() if "error" in key and value != "0"}
        assert not refused, refused
    finally:
        server.terminate()
        _, said = server.communicate(timeout=seconds_to_wait)
    assert "level=error" not in said.lower(), said


def test_pre_forked_workers_send_what_each_has_measured(tmp_path: Path, server: tuple[socket.socket, str]) -> None:
    bound, url = server
    run(
        tmp_path,
        """
        import os
        stroboscope.start()
        metric("calls", "COUNT")
        cart = Cart([1])
        cart.total(1)
        children = []
        for n in range(3):
            child = os.fork()
            if child == 0:
                for _ in range(10):
                    cart.total(1)
                stroboscope.flush()
                os._exit(0)
            children.append(child)
        for child in children:
            os.waitpid(child, 0)
        stroboscope.flush()
        """,
        DD_DOGSTATSD_URL=url,
    )
    found = values(lines(bound))["calls"]
    assert sum(int(count) for count in re.findall(r"(\d+)\|c", found)) == 31
