"""Events and statuses on their way to an Agent: the stand-in of `tests/agent`, over real sockets, from Python."""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from agents import Agent, events_path, home
from processes import plain, seconds_to_wait, strobe, write

Start = Callable[[str | dict[str, Any]], Agent]


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Start]:
    started: list[Agent] = []

    def start(script: str | dict[str, Any] = "well") -> Agent:
        started.append(Agent(tmp_path, script))
        return started[-1]

    yield start
    for one in started:
        one.stop()


program = """
    import os, signal, sys, time, json, stroboscope
    from stroboscope import _native

    def work(x):
        return x

    where = {"typeName": "__main__", "methodName": "work"}
    probe = {"id": "p", "type": "LOG_PROBE", "where": where, "template": "x is {x}"}
"""


def run(folder: Path, text: str, **environment: str) -> Any:
    script = write(folder, "uploads.py", program)
    # Both parts are indented alike.
    write(folder, "part.py", text)
    script.write_text(script.read_text() + (folder / "part.py").read_text())
    result = plain(folder, sys.executable, script.name, **environment)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    return json.loads(result.stdout) if result.stdout else None


once = """
    remarks = stroboscope.start()
    stroboscope.add_probe(probe)
    work(7)
    stroboscope.flush(5)
    upload = _native._test_upload()
    stroboscope.stop()
    print(json.dumps([remarks, upload]))
"""


def messages(found: list[dict[str, Any]]) -> list[str]:
    return [event["message"] for event in found]


def test_events_and_statuses_arrive(tmp_path: Path, agent: Start) -> None:
    here = agent("well")
    about = {"DD_SERVICE": "shop", "DD_ENV": "test", "DD_VERSION": "1.2", "DD_TAGS": "team:tea"}
    remarks, upload = run(tmp_path, once, DD_TRACE_AGENT_URL=here.url, **about)
    assert remarks == []
    assert upload["sent"] == 1
    (event,) = here.events()
    assert (event["message"], event["service"], event["ddsource"]) == ("x is 7", "shop", "dd_debugger")
    tags = dict(tag.split(":", 1) for tag in event["process_tags"].split(","))
    assert tags == {
        "entrypoint.name": "uploads",
        "entrypoint.type": "script",
        "entrypoint.workdir": tmp_path.name.lower(),
        "svc.user": "true",
    }
    states = [status["status"] for status in here.statuses()]
    assert states == ["RECEIVED", "INSTALLED", "EMITTING"]
    assert {status["runtimeId"] for status in here.statuses()} == {upload["runtime_id"]}
    (request,) = here.ask(f"/_requests?path={events_path}")
    tags = dict(tag.split(":", 1) for tag in request["tags"].split(","))
    assert {"env": "test", "version": "1.2", "team": "tea", "runtime_id": upload["runtime_id"]}.items() <= tags.items()
    assert request["headers"]["user-agent"].startswith("stroboscope-python/")


def test_a_unix_socket(tmp_path: Path, agent: Start) -> None:
    here = agent("well")
    run(tmp_path, once, DD_TRACE_AGENT_URL=f"unix://{here.socket}")
    assert messages(here.events()) == ["x is 7"]
    assert {request["transport"] for request in here.ask(f"/_requests?path={events_path}")} == {"unix"}


@pytest.mark.parametrize(
    ("command", "service", "kind"),
    [
        (["uploads.py"], "uploads", "script"),
        (["-m", "uploads"], "uploads", "module"),
        (["-m", "pack"], "pack", "module"),
        (["-c", "import uploads"], "python", "script"),
    ],
)
@pytest.mark.parametrize("preloaded", [False, True])
def test_the_service_is_inferred(
    tmp_path: Path, agent: Start, *, command: list[str], service: str, kind: str, preloaded: bool
) -> None:
    here = agent("well")
    write(tmp_path, "uploads.py", program)
    script = tmp_path / "uploads.py"
    script.write_text(
        script.read_text().replace('"__main__"', "__name__")
        + "stroboscope.start()\nstroboscope.add_probe(probe)\nwork(1)\nstroboscope.flush(5)\n"
    )
    write(tmp_path, "pack/__init__.py", "")
    write(tmp_path, "pack/__main__.py", "import uploads\n")
    environment = {"DD_TRACE_AGENT_URL": here.url}
    if preloaded:
        import stroboscope

        preload = str(Path(stroboscope.__file__).parent / "_preload")
        environment |= {"PYTHONPATH": preload, "DD_DYNAMIC_INSTRUMENTATION_ENABLED": "true"}
    result = plain(tmp_path, sys.executable, *command, **environment)
    assert (result.returncode, result.stderr) == (0, "")
    (event,) = here.events()
    assert event["service"] == service
    assert f"svc.auto:{service}" in event["process_tags"]
    assert f"entrypoint.type:{kind}" in event["process_tags"]


def test_process_tags_can_be_switched_off(tmp_path: Path, agent: Start) -> None:
    here = agent("well")
    run(tmp_path, once, DD_TRACE_AGENT_URL=here.url, DD_EXPERIMENTAL_PROPAGATE_PROCESS_TAGS_ENABLED="false")
    (event,) = here.events()
    assert not event.get("process_tags")


def test_an_agent_that_answers_after_ten_seconds_delays_only_uploads(tmp_path: Path, agent: Start) -> None:
    """Probes re-arm all the time, and nothing is dropped: the queue holds it."""
    info = json.loads((home / "scripts/well.json").read_text())["paths"]["/info"]
    here = agent({"paths": {"/info": info, events_path: [{"status": 202, "delay": 10}, {"status": 202}]}})
    found = run(
        tmp_path,
        """
        stroboscope.start(upload_interval_seconds=0.2, upload_timeout=20)
        stroboscope.add_probe({**probe, "captureSnapshot": True, "sampling": {"snapshotsPerSecond": 20}})
        work(-1)
        emitted, late, number = [], 0.0, 0
        end = time.monotonic() + 12
        last = time.monotonic()
        while time.monotonic() < end:
            before = stroboscope.status()[0]["emitted"]
            work(number)
            number += 1
            if stroboscope.status()[0]["emitted"] > before:
                late = max(late, time.monotonic() - last)
                last = time.monotonic()
            time.sleep(0.001)
        (state,) = stroboscope.status()
        stroboscope.flush(20)
        print(json.dumps([late, state["emitted"], state["dropped"], _native._test_upload()]))
        """,
        DD_TRACE_AGENT_URL=here.url,
    )
    late, emitted, dropped, upload = found
    assert late < 5, "a token comes every 50 ms, an answer of the Agent after 10 s"
    assert emitted >= 12 * 20 * 0.5
    assert set(dropped) <= {"rateLimitProbe"}
    assert upload["sent"] == emitted == len(here.events())
    assert {upload[reason] for reason in upload if reason not in ("sent", "runtime_id")} == {0}


@pytest.mark.parametrize("script", ["always-failing", "never", "garbage", "dies-in-mid-batch", "drips"])
def test_whatever_the_agent_does_the_program_ends_in_time_and_losses_are_counted(
    tmp_path: Path, agent: Start, script: str
) -> None:
    here = agent(script)
    took, upload, flushed = run(
        tmp_path,
        """
        stroboscope.start()
        stroboscope.add_probe(probe)
        for number in range(100):
            work(number)
        flushed = stroboscope.flush(0.5)
        started = time.monotonic()
        from stroboscope import _native
        counters = _native._test_upload
        before = counters()
        stroboscope.stop(1.0)
        print(json.dumps([time.monotonic() - started, before, flushed]))
        """,
        DD_TRACE_AGENT_URL=here.url,
    )
    assert took < 1.5
    assert flushed is False or upload["sent"] + sum(upload[name] for name in upload if name != "runtime_id") >= 100


many = ["always-failing", "never", "slow", "slow-down", "dies-in-mid-batch", "too-large", "well", "absent"]


@pytest.mark.parametrize("script", many)
def test_each_event_that_is_lost_is_counted_once_wherever_it_was(tmp_path: Path, agent: Start, script: str) -> None:
    """In the rings, before the sender, with it, and on the wire."""
    url = "http://127.0.0.1:9" if script == "absent" else agent(script).url
    stopped, stats, state = run(
        tmp_path,
        """
        stroboscope.start()
        stroboscope.add_probe({**probe, "id": "gone"})
        work(0)
        stroboscope.remove_probe("gone")
        stroboscope.add_probe(probe)
        for number in range(3500):
            work(number)
            if number % 500 == 0:
                time.sleep(0.02)
        stopped = stroboscope.stop(1.0)
        print(json.dumps([stopped, stroboscope.stats(), stroboscope.status()[0]]))
        """,
        DD_TRACE_AGENT_URL=url,
    )
    lost, dropped = stats["uploads"]["lost"], stats["dropped"]
    assert stats["emitted"] == 3501
    assert stats["uploads"]["events"] + sum(lost.values()) == 3501
    assert dropped == lost
    assert sum(lost.values()) - sum(state["dropped"].values()) in (0, 1), "the one of the probe that is gone"
    assert stopped == (not lost)
    assert not lost or script != "well"


def test_stop_is_false_for_what_was_lost_long_before_it_and_flush_is_not(tmp_path: Path, agent: Start) -> None:
    answers = run(
        tmp_path,
        """
        stroboscope.start()
        stroboscope.add_probe(probe)
        work(1)
        answers = [stroboscope.flush(5), stroboscope.flush(5)]
        print(json.dumps([*answers, stroboscope.stop(), stroboscope.stop()]))
        """,
        DD_TRACE_AGENT_URL=agent("too-large").url,
    )
    assert answers == [False, True, False, True]


@pytest.mark.parametrize(("script", "line"), [("never", "not delivered before the end"), ("well", "")])
def test_the_end_of_the_command_has_one_number_for_what_was_lost(
    tmp_path: Path, agent: Start, script: str, line: str
) -> None:
    text = "import time\ndef work(x): pass\nfor x in range(2500):\n    work(x)\n    time.sleep(x % 500 // 499 * 0.05)\n"
    write(tmp_path, "many.py", text)
    result = strobe(
        tmp_path, "--method", "__main__:work", "--rate", "all", "--log", "x", "--", "many.py",
        DD_TRACE_AGENT_URL=agent(script).url,
    )  # fmt: skip
    end = result.stderr[result.stderr.index("__main__:work  2,500 hits") :]
    assert end == "__main__:work  2,500 hits  2,500 events\n" + (f"events: 2,500 {line}\n" if line else "")


def test_no_agent_and_no_sink_is_nothing_to_complain_about(tmp_path: Path) -> None:
    remarks, upload = run(tmp_path, once.replace("flush(5)", "flush(0.2)"), DD_TRACE_AGENT_PORT="1")
    assert remarks == []
    assert upload["sent"] == 0


def test_a_child_uploads_its_own_events_with_its_own_id(tmp_path: Path, agent: Start) -> None:
    here = agent("well")
    mine = run(
        tmp_path,
        """
        stroboscope.start(upload_interval_seconds=0.5)
        stroboscope.add_probe(probe)
        work("parent")
        child = os.fork()
        if child == 0:
            work("child")
            os._exit(0)
        os.waitpid(child, 0)
        mine = _native._test_upload()["runtime_id"]
        stroboscope.stop()
        print(json.dumps(mine))
        """,
        DD_TRACE_AGENT_URL=here.url,
    )
    assert sorted(messages(here.events())) == ["x is child", "x is parent"]
    parents = {status["runtimeId"]: status.get("parentId") for status in here.statuses()}
    assert parents.pop(mine) is None
    assert list(parents.values()) == [mine]


@pytest.mark.parametrize(
    "end", ["", "sys.exit(3)", "raise SystemExit", "os._exit(3)", "os.kill(os.getpid(), 15)", "signal.raise_signal(1)"]
)
def test_what_was_captured_just_before_the_end_arrives(tmp_path: Path, agent: Start, end: str) -> None:
    here = agent("well")
    script = write(tmp_path, "ends.py", program)
    script.write_text(script.read_text() + f"stroboscope.start()\nstroboscope.add_probe(probe)\nwork('last')\n{end}\n")
    result = plain(tmp_path, sys.executable, script.name, DD_TRACE_AGENT_URL=here.url)
    assert result.stderr == ""
    assert messages(here.events()) == ["x is last"]


def test_what_the_agent_refuses_is_told_to_the_program(tmp_path: Path, agent: Start) -> None:
    """By `flush`, by `stats`, by the program's logger, and at the command's end."""
    here = agent("too-large")
    found = run(
        tmp_path,
        """
        import logging
        class Kept(logging.Handler):
            lines = []
            def emit(self, record):
                self.lines.append(record.getMessage())
        logging.getLogger("stroboscope").addHandler(Kept())
        stroboscope.start()
        stroboscope.add_probe(probe)
        work(1)
        refused = stroboscope.flush(5)
        after = stroboscope.stats()
        work(2)
        arrived = stroboscope.flush(5)
        stats = stroboscope.stats()
        (state,) = stroboscope.status()
        stroboscope.stop()
        print(json.dumps([refused, after, arrived, stats, Kept.lines, state]))
        """,
        DD_TRACE_AGENT_URL=here.url,
    )
    refused, after, arrived, stats, lines, state = found
    assert (refused, arrived) == (False, True)
    assert state["dropped"] == {"rejected": 1}
    assert (after["hits"], after["emitted"], after["dropped"]) == (1, 1, {"rejected": 1})
    assert after["queued_bytes"] < 8192, "counted a little ahead of the hits"
    assert (after["uploads"]["lost"], after["uploads"]["events"]) == ({"rejected": 1}, 0)
    assert (stats["uploads"]["lost"], stats["uploads"]["events"]) == ({"rejected": 1}, 1)
    assert stats["uploads"]["statuses"] >= 3
    assert stats["uploads"]["seconds_since_success"] < seconds_to_wait
    (line,) = [line for line in lines if "did not get" in line]
    place = here.url.removeprefix("http://")
    assert line == (
        f"1 event did not get to the Agent at {place}: it refused them as too large (413); "
        "`stats()` counts what is lost"
    )


def test_an_agent_address_that_cannot_be_used_leaves_the_default(tmp_path: Path) -> None:
    remarks, stats = run(
        tmp_path,
        """
        remarks = stroboscope.start(ndjson="events")
        print(json.dumps([remarks, stroboscope.stats()]))
        stroboscope.stop(0.1)
        """,
        DD_TRACE_AGENT_URL="http://127.0.0.1:99999",
    )
    (remark,) = remarks
    assert remark.startswith("DD_TRACE_AGENT_URL: 'http://127.0.0.1:99999' is not an address")
    assert stats["uploads"] is not None


@pytest.mark.parametrize("script", ["absent", "always-failing", "never", "well"])
def test_the_program_grows_by_twelve_mebibytes_at_most(tmp_path: Path, agent: Start, script: str) -> None:
    """Whatever waits, is being sent or was sent: 30 probes that capture as much as they can, for some seconds."""
    url = "http://127.0.0.1:9" if script == "absent" else agent(script).url
    grown, emitted = run(
        tmp_path,
        """
        import types
        def resident():
            with open("/proc/self/statm") as file:
                return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        source = "\\n".join(f"def f{number}(data):\\n    return data" for number in range(30))
        with open("thirty.py", "w") as file:
            file.write(source)
        import thirty
        stroboscope.start(upload_timeout=3, cpu_budget=100)
        for number in range(30):
            limits = {"maxReferenceDepth": 5, "maxCollectionSize": 10_000, "maxLength": 100_000, "maxFieldCount": 1000}
            where = {"typeName": "thirty", "methodName": f"f{number}"}
            sampling = {"snapshotsPerSecond": 10}
            more = {"captureSnapshot": True, "capture": limits, "sampling": sampling}
            stroboscope.add_probe({**probe, **more, "id": f"p{number}", "where": where})
        data = [[{"k": "v" * 250, "n": number} for number in range(100)] for _ in range(3)]
        functions = [getattr(thirty, f"f{number}") for number in range(30)]
        before = most = resident()
        end = time.monotonic() + 6
        while time.monotonic() < end:
            for function in functions:
                function(data)
            most = max(most, resident())
            time.sleep(0.005)
        print(json.dumps([most - before, stroboscope.stats()["emitted"]]))
        stroboscope.stop(0.5)
        """,
        DD_TRACE_AGENT_URL=url,
    )
    assert emitted >= 16, "as many as there is room for"
    assert grown <= 12 << 20, f"{grown / (1 << 20):.1f} MiB"
