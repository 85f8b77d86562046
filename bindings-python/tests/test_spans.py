"""Span probes and span decorations: without a tracer, with ddtrace in the process, and with an SDK of OpenTelemetry."""

import base64
import importlib.util
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgpack
import pytest
from processes import plain, write
from test_upload import Agent

shop = """
    import asyncio, contextlib, json, os, signal, sys, threading, time, stroboscope

    class Secret:
        def __init__(self):
            self.name = "Ann"
            self.password = "s3cret"

    class Order:
        def __init__(self, items=()):
            self.items = list(items)
            self.user = Secret()

        def add(self, n):
            self.items.append(n)
            if n < 0:
                raise ValueError("bad number")
            return len(self.items)

        async def fetch(self, n):
            await asyncio.sleep(0)
            return seen("fetch") and n

        def rows(self, n):
            for i in range(n):
                seen("rows")
                yield i

        async def stream(self, n):
            for i in range(n):
                await asyncio.sleep(0)
                yield i

    def fail():
        raise KeyError(Secret())

    told = []

    def seen(where):
        told.append((where, active()))
        return True

    def active():
        return None

    def spans():
        return []

    def span(id, method="Order.add", **more):
        where = {"typeName": "__main__", "methodName": method}
        stroboscope.add_probe({"id": id, "version": 1, "type": "SPAN_PROBE", "where": where, **more})

    def decorate(id, *decorations, target="ACTIVE", where=None, **more):
        where = where or {"typeName": "__main__", "methodName": "Order.add"}
        made = [
            {"tags": [{"name": name, "value": {"template": value}} for name, value in tags.items()],
             **({"when": {"dsl": when}} if when else {})}
            for when, tags in decorations
        ]
        probe = {"id": id, "version": 1, "type": "SPAN_DECORATION_PROBE", "targetSpan": target, "where": where}
        stroboscope.add_probe({**probe, "decorations": made, **more})

    def log(id, template="", method="Order.add", **more):
        where = {"typeName": "__main__", "methodName": method}
        probe = {"id": id, "version": 1, "type": "LOG_PROBE", "where": where, "template": template}
        stroboscope.add_probe({**probe, "sampling": {"snapshotsPerSecond": 5000}, **more})

    def of(id):
        return next(probe for probe in stroboscope.status() if probe["id"] == id)
"""

ddtrace = """
    from ddtrace.trace import tracer, TraceFilter
    kept = []

    class Keep(TraceFilter):
        def process_trace(self, trace):
            kept.extend(trace)
            return None

    tracer.configure(trace_processors=[Keep()])

    def begin(name):
        return tracer.trace(name)

    def active():
        span = tracer.current_span()
        return span.name if span else None

    def ids():
        span = tracer.current_span()
        return f"{span.trace_id:032x}", str(span.span_id)

    def spans():
        return [
            {"name": s.name, "resource": s.resource, "tags": s.get_tags(), "error": s.error,
             "id": s.span_id, "parent": s.parent_id or 0, "trace": s.trace_id}
            for s in kept
        ]
"""

opentelemetry = """
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    tracer = trace.get_tracer("shop")

    def begin(name):
        return tracer.start_as_current_span(name)

    def active():
        return getattr(trace.get_current_span(), "name", None)

    def ids():
        context = trace.get_current_span().get_span_context()
        return f"{context.trace_id:032x}", str(context.span_id)

    def spans():
        made = []
        for s in exporter.get_finished_spans():
            tags = dict(s.attributes)
            for event in s.events:
                tags |= {f"error.{name}": event.attributes[f"exception.{name}"] for name in ("type", "message")}
            made.append({"name": s.name, "resource": tags.pop("resource.name", s.name), "tags": tags,
                "error": int(s.status.status_code is trace.StatusCode.ERROR), "id": s.context.span_id,
                "parent": s.parent.span_id if s.parent else 0, "trace": s.context.trace_id})
        return made
"""

preludes = {"ddtrace": ddtrace, "opentelemetry": opentelemetry}
quiet = {
    "DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false",
    "DD_REMOTE_CONFIGURATION_ENABLED": "false",
    "DD_TRACE_STARTUP_LOGS": "false",
    "DD_CRASHTRACKING_ENABLED": "false",
}


def run(folder: Path, *parts: str, **environment: str) -> Any:
    script = write(folder, "shop.py", shop)
    script.write_text("".join([script.read_text(), *(write(folder, "part.py", part).read_text() for part in parts)]))
    result = plain(folder, sys.executable, script.name, STROBE_NDJSON="events.json", **quiet, **environment)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    return json.loads(result.stdout) if result.stdout else None


def lines(folder: Path) -> list[dict[str, Any]]:
    file = folder / "events.json"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


@pytest.fixture(params=list(preludes))
def prelude(request: pytest.FixtureRequest) -> str:
    needed = {"ddtrace": "ddtrace", "opentelemetry": "opentelemetry.sdk"}[request.param]
    try:
        found = importlib.util.find_spec(needed)
    except ModuleNotFoundError:
        found = None
    if found is None:
        pytest.skip(f"{request.param} is not in this environment: it has no wheel for every Python")
    return preludes[request.param]


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Callable[[Any], Agent]]:
    started: list[Agent] = []

    def start(script: Any = "well") -> Agent:
        started.append(Agent(tmp_path, script))
        return started[-1]

    yield start
    for one in started:
        one.stop()


def test_without_a_tracer_spans_go_to_the_agent(tmp_path: Path, agent: Callable[..., Agent]) -> None:
    info = {"body": {"endpoints": ["/v0.4/traces"]}}
    there = agent({"paths": {"/info": [info]}, "default": [{"status": 200, "body": {}}]})
    told = run(
        tmp_path,
        """
        stroboscope.start(service="shop", env="e1", version="1.2.3")
        span("s", tags=["team:x"], when={"dsl": "n != 5"})
        span("f", "fail")
        order = Order()
        for n in (1, 5, -1):
            with contextlib.suppress(ValueError):
                order.add(n)
        with contextlib.suppress(KeyError):
            fail()
        sent = stroboscope.flush(10)
        print(json.dumps({"sent": sent, "s": of("s"), "stats": stroboscope.stats()["uploads"]}))
        stroboscope.stop()
        """,
        DD_TRACE_AGENT_URL=there.url,
    )
    assert told["sent"]
    assert (told["s"]["state"], told["s"]["hits"], told["s"]["emitted"], told["s"]["traced"]) == ("emitting", 3, 2, 0)
    assert told["stats"]["events"] == 3
    requests = there.ask("/_requests?path=/v0.4/traces")
    assert all(request["headers"]["content-type"] == "application/msgpack" for request in requests)
    traces = [trace for request in requests for trace in msgpack.unpackb(base64.b64decode(request["body_base64"]))]
    assert [len(trace) for trace in traces] == [1, 1, 1]
    assert sum(int(request["headers"]["x-datadog-trace-count"]) for request in requests) == 3
    good, bad, secret = (trace[0] for trace in traces)
    for span in (good, bad, secret):
        assert (span["service"], span["name"], span["type"]) == ("shop", "dd.dynamic.span", "")
        assert span["parent_id"] == 0 and span["trace_id"] and span["span_id"]
        assert (span["meta"]["env"], span["meta"]["version"], span["meta"]["language"]) == ("e1", "1.2.3", "python")
        assert "entrypoint.name:shop" in span["meta"]["_dd.tags.process"]
        assert int(span["meta"]["_dd.p.tid"], 16) > 0
        assert span["metrics"]["_sampling_priority_v1"] == 1
        assert span["duration"] > 0
    assert (good["resource"], good["error"], good["meta"]["team"]) == ("Order.add", 0, "x")
    assert good["meta"]["debugger.probeid"] == "s"
    assert (bad["error"], bad["meta"]["error.type"], bad["meta"]["error.message"]) == (1, "ValueError", "bad number")
    assert (secret["resource"], secret["meta"]["error.type"]) == ("fail", "KeyError")
    assert secret["meta"]["error.message"] == ""
    assert len({span["trace_id"] for span in (good, bad, secret)}) == 3
    assert b"s3cret" not in b"".join(base64.b64decode(request["body_base64"]) for request in requests)


def test_without_a_tracer_spans_go_to_otlp_where_only_that_listens(tmp_path: Path, agent: Callable[..., Agent]) -> None:
    receiver = agent({"paths": {"/info": [{"status": 404}]}, "default": [{"status": 200, "body": {}}]})
    run(
        tmp_path,
        """
        stroboscope.start(service="shop")
        span("s")
        Order().add(1)
        stroboscope.stop()
        """,
        DD_TRACE_AGENT_URL="http://127.0.0.1:1",
        OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url,
    )
    requests = receiver.ask("/_requests?path=/v1/traces")
    spans = json.loads(requests[0]["body"])["resourceSpans"][0]["scopeSpans"][0]["spans"]
    assert [span["name"] for span in spans] == ["dd.dynamic.span"]


def test_a_span_on_a_line_is_refused(tmp_path: Path) -> None:
    told = run(
        tmp_path,
        """
        stroboscope.start()
        where = {"sourceFile": "shop.py", "lines": ["1"]}
        try:
            stroboscope.add_probe({"id": "l", "version": 1, "type": "SPAN_PROBE", "where": where})
        except ValueError as error:
            print(json.dumps(str(error)))
        else:
            print(json.dumps(of("l")["reason"]))
        """,
    )
    assert "A span needs a method: a line has no end" in told


def test_threads_generators_and_coroutines_have_spans_of_ours(tmp_path: Path) -> None:
    run(
        tmp_path,
        """
        stroboscope.start()
        for method in ("add", "rows", "fetch", "stream"):
            span(method, f"Order.{method}")
        order = Order()
        threads = [threading.Thread(target=order.add, args=(1,)) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert list(order.rows(3)) == [0, 1, 2]
        async def main():
            await asyncio.gather(order.fetch(1), order.fetch(2))
            async for _ in order.stream(2):
                pass
        asyncio.run(main())
        stroboscope.stop()
        """,
    )
    made = [line["span"]["resource"] for line in lines(tmp_path) if line["type"] == "span"]
    assert sorted(made) == ["Order.add"] * 3 + ["Order.fetch"] * 2 + ["Order.rows", "Order.stream"]


def test_decorations_without_a_tracer_do_nothing(tmp_path: Path) -> None:
    told = run(
        tmp_path,
        """
        stroboscope.start()
        decorate("d", (None, {"a": "{n}"}))
        Order().add(1)
        print(json.dumps(of("d")))
        stroboscope.stop()
        """,
    )
    assert (told["state"], told["hits"], told["traced"]) == ("installed", 1, 0)


def test_spans_are_made_by_the_tracer(tmp_path: Path, prelude: str) -> None:
    told = run(
        tmp_path,
        prelude,
        """
        stroboscope.start()
        span("s", tags=["team:x"], when={"dsl": "n != 5"})
        span("f", "fail")
        order = Order()
        with begin("request") as outer:
            before = active()
            for n in (1, 5, -1):
                with contextlib.suppress(ValueError):
                    order.add(n)
            with contextlib.suppress(KeyError):
                fail()
            after = active()
        stroboscope.flush(10)
        print(json.dumps({"spans": spans(), "before": before, "after": after, "s": of("s")}))
        stroboscope.stop()
        """,
    )
    assert told["before"] == told["after"] == "request"
    assert (told["s"]["state"], told["s"]["traced"], told["s"]["emitted"]) == ("emitting", 2, 0)
    made = [span for span in told["spans"] if span["name"] == "dd.dynamic.span"]
    request = next(span for span in told["spans"] if span["name"] == "request")
    assert [span["resource"] for span in made] == ["Order.add", "Order.add", "fail"]
    for span in made:
        assert (span["parent"], span["trace"]) == (request["id"], request["trace"])
    good, bad, secret = made
    assert (good["error"], good["tags"]["team"], good["tags"]["debugger.probeid"]) == (0, "x", "s")
    assert (bad["error"], bad["tags"]["error.type"], bad["tags"]["error.message"]) == (1, "ValueError", "bad number")
    assert (secret["error"], secret["tags"]["error.message"]) == (1, "")
    assert "s3cret" not in json.dumps(told)
    assert not [line for line in lines(tmp_path) if line["type"] == "span"], "none of ours beside them"


def test_a_span_of_a_generator_is_active_only_while_it_runs(tmp_path: Path, prelude: str) -> None:
    told = run(
        tmp_path,
        prelude,
        """
        stroboscope.start()
        span("rows", "Order.rows")
        order = Order()
        between = []
        with begin("caller"):
            for i in order.rows(2):
                between.append(active())
            between.append(active())
        # Begun in one span, gone on with in another, and closed early.
        with begin("first"):
            rows = order.rows(3)
            next(rows)
            between.append(active())
        with begin("second"):
            next(rows)
            between.append(active())
            rows.close()
            between.append(active())
        # Thrown into.
        with begin("third"):
            rows = order.rows(3)
            next(rows)
            with contextlib.suppress(ZeroDivisionError):
                rows.throw(ZeroDivisionError("thrown"))
            between.append(active())
        between.append(active())
        # An early end is not told by every CPython: then the span ends with the session at the latest.
        stroboscope.stop()
        print(json.dumps({"between": between, "inside": told, "spans": spans()}))
        """,
    )
    assert told["between"] == ["caller", "caller", "caller", "first", "second", "second", "third", None]
    assert {where for _, where in told["inside"]} == {"dd.dynamic.span"}
    made = [span for span in told["spans"] if span["name"] == "dd.dynamic.span"]
    names = {span["id"]: span["name"] for span in told["spans"]}
    assert sorted(names[span["parent"]] for span in made) == ["caller", "first", "third"]
    messages = [span["tags"]["error.message"] for span in made if "error.message" in span["tags"]]
    assert [message for message in messages if message] == ["thrown"]


def test_spans_of_coroutines_and_threads(tmp_path: Path, prelude: str) -> None:
    told = run(
        tmp_path,
        prelude,
        """
        stroboscope.start()
        span("fetch", "Order.fetch")
        span("stream", "Order.stream")
        span("add")
        order = Order()
        between = []
        async def one(n):
            with begin(f"task{n}"):
                await order.fetch(n)
                between.append(active() == f"task{n}")
                async for _ in order.stream(2):
                    between.append(active() == f"task{n}")
        async def main():
            await asyncio.gather(*(one(n) for n in range(3)))
        asyncio.run(main())
        def work(n):
            with begin(f"thread{n}"):
                order.add(n)
                between.append(active() == f"thread{n}")
        threads = [threading.Thread(target=work, args=(n,)) for n in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        print(json.dumps({"between": between, "inside": told, "spans": spans()}))
        stroboscope.stop()
        """,
    )
    assert told["between"] == [True] * 12
    assert {where for _, where in told["inside"]} == {"dd.dynamic.span"}
    names = {span["id"]: span["name"] for span in told["spans"]}
    made = [span for span in told["spans"] if span["name"] == "dd.dynamic.span"]
    made = [(span["resource"], names[span["parent"]]) for span in made]
    tasks = [(f"Order.{name}", f"task{n}") for name in ("fetch", "stream") for n in range(3)]
    assert sorted(made) == sorted(tasks + [("Order.add", f"thread{n}") for n in range(3)])


def test_decorations_of_the_active_span_and_of_the_root(tmp_path: Path, prelude: str) -> None:
    told = run(
        tmp_path,
        prelude,
        """
        stroboscope.start()
        several = {"count": "{len(self.items)} of {n}", "plain": "x"}
        decorate("a", ("n > 0", several), ("n > 100", {"never": "1"}), (None, {"gone": "{nothing}"}))
        decorate("r", (None, {"root": "{@return}"}), target="ROOT")
        decorate("secret", (None, {"password": "{self.user.password}", "user": "{self.user}"}))
        line = Order.add.__code__.co_firstlineno + 1
        decorate("line", (None, {"line": "{n}"}), where={"sourceFile": "shop.py", "lines": [str(line)]})
        # The first hit finds the tracer; the roots of traces that begin after it are known.
        Order().add(0)
        order = Order()
        with begin("root"):
            with begin("inner"):
                order.add(3)
        order.add(4)
        with begin("thrown"):
            with contextlib.suppress(ValueError):
                order.add(-1)
        stroboscope.flush(10)
        print(json.dumps({"spans": spans(), "a": of("a"), "r": of("r")}))
        stroboscope.stop()
        """,
    )
    tags = {span["name"]: span["tags"] for span in told["spans"]}
    inner = {name: value for name, value in tags["inner"].items()}
    assert (inner["count"], inner["plain"], inner["line"]) == ("1 of 3", "x", "3")
    assert inner["_dd.di.count.probe_id"] == inner["_dd.di.plain.probe_id"] == "a"
    assert "never" not in inner and "gone" not in inner and "root" not in inner
    assert inner["_dd.di.gone.evaluation_error"] == "No such variable: 'nothing'"
    withheld = "Could not evaluate the expression because 'password' was redacted"
    assert inner["_dd.di.password.evaluation_error"] == withheld
    assert inner["user"] == 'Secret{name: "Ann", password: {redacted}}'
    assert (tags["root"]["root"], tags["root"]["_dd.di.root.probe_id"]) == ("1", "r")
    assert tags["thrown"]["_dd.di.root.evaluation_error"] == "'@return' is not available here"
    assert "s3cret" not in json.dumps(told)
    assert (told["a"]["hits"], told["a"]["traced"], told["a"]["state"]) == (4, 2, "emitting")
    failed = [line for line in lines(tmp_path) if line["debugger"]["snapshot"].get("evaluationErrors")]
    assert sorted(line["debugger"]["snapshot"]["probe"]["id"] for line in failed) == ["a", "r", "secret"]


def test_our_span_is_what_others_at_its_method_see(tmp_path: Path, prelude: str) -> None:
    told = run(
        tmp_path,
        prelude,
        """
        stroboscope.start()
        log("l", "n={n}")
        decorate("d", (None, {"mine": "{n}"}))
        span("s")
        with begin("request"):
            Order().add(1)
            Order().add(2)
        print(json.dumps(spans()))
        stroboscope.stop()
        """,
    )
    made = [span for span in told if span["name"] == "dd.dynamic.span"]
    assert [span["tags"]["mine"] for span in made] == ["1", "2"]
    events = lines(tmp_path)
    assert [event["dd"]["span_id"] for event in events] == [str(span["id"]) for span in made]


def test_events_tell_their_trace(tmp_path: Path, prelude: str) -> None:
    told = run(
        tmp_path,
        prelude,
        """
        stroboscope.start()
        # The tracer is looked for by hits that ask it something.
        log("l", "n={n}")
        order = Order()
        made = []
        with begin("a"):
            order.add(1)
            made.append(ids())
            with begin("b"):
                order.add(2)
                made.append(ids())
            order.add(3)
        order.add(4)
        def work():
            with begin("c"):
                order.add(5)
                made.append(ids())
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        print(json.dumps(made))
        stroboscope.stop()
        """,
    )
    events = {event["message"]: event.get("dd") for event in lines(tmp_path)}

    def shown(ids: list[str]) -> dict[str, str]:
        trace, span = ids
        return {"trace_id": trace if int(trace, 16) >= 1 << 64 else str(int(trace, 16)), "span_id": span}

    a, b, c = told
    assert events == {"n=1": shown(a), "n=2": shown(b), "n=3": shown(a), "n=4": None, "n=5": shown(c)}


def test_what_interrupts_the_tracer_reaches_the_program(tmp_path: Path, prelude: str) -> None:
    told = run(
        tmp_path,
        prelude,
        """
        stroboscope.start()
        span("s")
        class Alarm(Exception):
            pass
        def handler(*_):
            raise Alarm
        signal.signal(signal.SIGUSR1, handler)
        from stroboscope import _tracer
        tracers = (_tracer.Datadog, _tracer.OpenTelemetry)
        Order().add(0)
        import gc
        found = next(one for one in gc.get_objects() if type(one) in tracers)
        real = found.open
        def interrupted(number):
            def open(*arguments):
                os.kill(os.getpid(), number)
                for _ in range(1000):
                    pass
                return real(*arguments)
            return open
        came = []
        for number, wanted in ((signal.SIGINT, KeyboardInterrupt), (signal.SIGUSR1, Alarm)):
            found.open = interrupted(number)
            try:
                Order().add(1)
            except wanted:
                came.append(wanted.__name__)
        def broken(*_):
            raise RuntimeError("the tracer is broken")
        found.open = broken
        came.append(Order().add(1))
        found.open = real
        came.append(Order().add(1))
        print(json.dumps({"came": came, "active": active(), "s": of("s")}))
        stroboscope.stop()
        """,
    )
    assert told["came"] == ["KeyboardInterrupt", "Alarm", 1, 1]
    assert told["active"] is None
    assert told["s"]["dropped"] == {"internal": 1}


def test_a_probe_that_goes_while_its_call_runs_leaves_no_open_span(tmp_path: Path, prelude: str) -> None:
    told = run(
        tmp_path,
        prelude,
        """
        stroboscope.start()
        span("s", "Order.rows")
        with begin("caller"):
            rows = Order().rows(3)
            next(rows)
            stroboscope.remove_probe("s")
            list(rows)
        stroboscope.stop()
        print(json.dumps(spans()))
        """,
    )
    assert sorted(span["name"] for span in told) == ["caller", "dd.dynamic.span"]
