"""What a program can ask of us: start, stop, probes, status, flush; settings, log lines, types."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from processes import events, message, plain, strobe, write

program = """
    import json, logging, os, sys, threading, time, stroboscope

    def work(x):
        y = x + 1
        return y  # here

    where = {"typeName": "__main__", "methodName": "work"}
    probe = {"id": "p", "type": "LOG_PROBE", "where": where, "template": "x is {x}"}
"""


def run(folder: Path, text: str, *flags: str, **environment: str) -> subprocess.CompletedProcess[str]:
    script = write(folder, "asks.py", program)
    write(folder, "part.py", text)
    script.write_text(script.read_text() + (folder / "part.py").read_text())
    result = plain(folder, sys.executable, *flags, script.name, **environment)
    assert result.returncode == 0, result.stderr
    return result


def answer(folder: Path, text: str, *flags: str, **environment: str) -> Any:
    result = run(folder, text, *flags, **environment)
    assert result.stderr == ""
    return json.loads(result.stdout)


def test_a_status_says_all(tmp_path: Path) -> None:
    (state,) = answer(
        tmp_path,
        """
        stroboscope.start(ndjson="out.ndjson")
        assert stroboscope.add_probe({**probe, "version": 3, "when": {"dsl": "x > 1"}}) == "p"
        for x in range(4):
            work(x)
        stroboscope.flush()
        print(json.dumps(stroboscope.status()))
        """,
    )
    assert state.pop("nanoseconds_per_hit") > 0
    assert 0 < state.pop("nanoseconds_p50") <= state.pop("nanoseconds_p99")
    assert state.pop("reason")
    assert state.pop("file").endswith("/asks.py")
    assert state == {
        "id": "p",
        "version": 3,
        "state": "emitting",
        "lines": [3],
        "type": "__main__",
        "method": "work",
        "hits": 4,
        "hits_exact": True,
        "rejected": 2,
        "failed": 0,
        "failure": None,
        "emitted": 2,
        "pending": 0,
        "dropped": {},
        "last_reject": "conditionFalse",
        "queued_bytes": 0,
        "uploaded": 0,
        "seconds_since_upload": None,
        "disarmed": False,
    }
    assert [message(event) for event in events((tmp_path / "out.ndjson").read_text())] == ["x is 2", "x is 3"]


def test_probes_come_and_go(tmp_path: Path) -> None:
    found = answer(
        tmp_path,
        """
        stroboscope.start(ndjson="out.ndjson")
        found = [stroboscope.remove_probe("p")]
        stroboscope.add_probe(probe)
        work(1)
        found += [stroboscope.remove_probe("p"), stroboscope.remove_probe("p"), stroboscope.status()]
        work(2)
        stroboscope.add_probe(json.dumps({**probe, "template": "again {x}"}))
        work(3)
        found.append(stroboscope.flush())
        print(json.dumps(found))
        """,
    )
    assert found == [False, True, False, [], True]
    assert [message(event) for event in events((tmp_path / "out.ndjson").read_text())] == ["x is 1", "again 3"]


def test_a_probe_that_is_removed_and_added_again_is_in_place_at_once(tmp_path: Path) -> None:
    hits, status = answer(
        tmp_path,
        """
        stroboscope.start(ndjson="out.ndjson", rate_limits="off")
        for _ in range(200):
            stroboscope.add_probe(probe)
            for x in range(3):
                work(x)
            stroboscope.remove_probe("p")
        stroboscope.add_probe(probe)
        stroboscope.flush()
        print(json.dumps([stroboscope.stats()["hits"], stroboscope.status()[0]["state"]]))
        """,
    )
    assert (hits, status) == (600, "installed")


@pytest.mark.parametrize("broken", [{"tags": 5}, {"type": "OTHER"}, {"type": None}, {"when": {"dsl": "x ="}}])
def test_a_broken_edit_takes_the_place_of_what_it_replaces(tmp_path: Path, broken: dict[str, Any]) -> None:
    old, same, new, again = answer(
        tmp_path,
        f"""
        def now():
            work(7)
            (status,) = stroboscope.status()
            return [status["version"], status["state"], status["hits"]]

        stroboscope.start(ndjson="out.ndjson", rate_limits="off")
        stroboscope.add_probe(probe | {{"version": 1}})
        found = [now()]
        logging.disable()
        stroboscope.add_probe(probe | {{"version": 1}} | {broken!r})
        found.append(now()[::2])
        stroboscope.add_probe(probe | {{"version": 2}} | {broken!r})
        found.append(now())
        stroboscope.add_probe(probe | {{"version": 1}})
        found.append(now()[::2])
        print(json.dumps(found))
        """,
    )
    # Of the version that is in force nothing else is used; another version ends it, whatever that one is.
    assert (old[::2], same, new, again) == ([1, 1], [1, 2], [2, "error", 0], [1, 1])


def test_a_hit_whose_event_comes_with_the_end_of_its_call_is_counted_if_that_is_not_seen(tmp_path: Path) -> None:
    going, edited, removed, stopped, sums = answer(
        tmp_path,
        """
        gates = [threading.Event() for _ in range(3)]

        def slow(gate):
            gate.wait(20)

        def counts():
            stats = stroboscope.stats()
            return [stats["hits"], stats["emitted"], stats["pending"], stats["dropped"].get("stopped", 0)]

        def until(wanted):
            limit = time.monotonic() + 20
            while counts() != wanted and time.monotonic() < limit:
                time.sleep(0.001)
            return counts()

        def begin(gate, wanted):
            thread = threading.Thread(target=slow, args=[gate])
            thread.start()
            until(wanted)
            return thread

        where = {"typeName": "__main__", "methodName": "slow"}
        both = {"id": "both", "type": "LOG_PROBE", "where": where, "evaluateAt": "ENTRY", "captureSnapshot": True}
        stroboscope.start(ndjson="out.ndjson", rate_limits="off")
        stroboscope.add_probe(both)
        stroboscope.add_probe({"id": "other", "type": "LOG_PROBE", "where": where, "evaluateAt": "ENTRY"})
        threads = [begin(gates[0], [2, 1, 1, 0])]
        found = [stroboscope.status()[0]["pending"]]
        stroboscope.add_probe({**both, "version": 2})
        found.append(until([2, 1, 0, 1]))
        gates[0].set()
        threads[0].join()
        threads.append(begin(gates[1], [4, 2, 1, 1]))
        stroboscope.remove_probe("both")
        found.append(until([4, 2, 0, 2]))
        gates[1].set()
        threads[1].join()
        stroboscope.remove_probe("other")
        stroboscope.add_probe({**both, "version": 3})
        threads.append(begin(gates[2], [5, 2, 1, 2]))
        stroboscope.stop()
        gates[2].set()
        threads[2].join()
        status = stroboscope.status()[0]
        found += [[status["pending"], status["dropped"]], counts()]
        print(json.dumps(found))
        """,
    )
    assert (going, edited, removed) == (1, [2, 1, 0, 1], [4, 2, 0, 2])
    assert (stopped, sums) == ([0, {"stopped": 1}], [5, 2, 0, 3])
    assert len(events((tmp_path / "out.ndjson").read_text())) == 2


@pytest.mark.parametrize(
    ("definition", "kind", "text"),
    [
        ("{", ValueError, ""),
        ("[]", ValueError, "must be an object"),
        ('{"type": "LOG_PROBE"}', ValueError, "id"),
        (7, ValueError, "must be an object"),
        (None, ValueError, "must be an object"),
        ({"x": {1, 2}}, TypeError, "JSON"),
    ],
)
def test_a_definition_without_an_id_raises(tmp_path: Path, definition: Any, kind: type, text: str) -> None:
    found = answer(
        tmp_path,
        f"""
        stroboscope.start()
        try:
            stroboscope.add_probe({definition!r})
        except Exception as error:
            print(json.dumps([type(error).__name__, str(error)]))
        """,
    )
    assert found[0] == kind.__name__
    assert text in found[1]


def test_a_bad_definition_gets_a_status_and_nothing_else(tmp_path: Path) -> None:
    (state,) = answer(
        tmp_path,
        """
        stroboscope.start()
        stroboscope.add_probe({**probe, "when": {"dsl": "1 +"}})
        print(json.dumps(stroboscope.status()))
        """,
    )
    assert state["state"] == "error"
    assert "Invalid expression" in state["reason"]


def test_what_json_cannot_say_is_an_error_that_names_its_field(tmp_path: Path) -> None:
    found = answer(
        tmp_path,
        """
        stroboscope.start()
        stroboscope.add_probe({**probe, "id": "a", "sampling": {"snapshotsPerSecond": float("nan")}})
        stroboscope.add_probe({**probe, "id": "b", "capture": {"maxLength": float("-inf")}})
        deep = {"ref": "x"}
        for _ in range(5000):
            deep = {"not": deep}
        stroboscope.add_probe({**probe, "id": "c", "when": {"json": deep}})
        deep["not"] = deep
        try:
            stroboscope.add_probe({**probe, "id": "d", "when": {"json": deep}})
        except ValueError as error:
            print(json.dumps([[one["state"], one["reason"]] for one in stroboscope.status()] + [str(error)]))
        """,
    )
    assert [state for state, _ in found[:3]] == ["error"] * 3
    assert "'sampling.snapshotsPerSecond' must be a number from 0, not nan" in found[0][1]
    assert "'capture.maxLength' must be a whole number from 0, not -inf" in found[1][1]
    assert "deep" in found[2][1] or "nest" in found[2][1], found[2]
    assert found[3] == "the definition contains itself"


def test_an_expired_probe_keeps_its_counts(tmp_path: Path) -> None:
    (state,) = answer(
        tmp_path,
        """
        import time
        stroboscope.start()
        stroboscope.add_probe({**probe, "expiresAt": int(time.time() * 1000) + 300})
        work(1)
        while stroboscope.status()[0]["state"] != "expired":
            time.sleep(0.01)
        print(json.dumps(stroboscope.status()))
        """,
    )
    assert (state["hits"], state["emitted"]) == (1, 1)


@pytest.mark.parametrize("call", ["add_probe(probe)", "remove_probe('p')", "status()", "stats()", "flush()"])
def test_before_the_start_there_is_nothing_to_ask(tmp_path: Path, call: str) -> None:
    found = answer(
        tmp_path,
        f"""
        try:
            stroboscope.{call}
        except RuntimeError as error:
            print(json.dumps(str(error)))
        assert stroboscope.stop()
        """,
    )
    assert found == "stroboscope is not started"


def test_a_second_start_is_refused(tmp_path: Path) -> None:
    run(
        tmp_path,
        """
        stroboscope.start()
        try:
            stroboscope.start()
        except RuntimeError as error:
            assert str(error) == "stroboscope is started already"
        else:
            raise SystemExit("no error")
        """,
    )


tools = "[sys.monitoring.get_tool(tool) for tool in range(6)]"


def test_two_starts_at_the_same_time_are_one(tmp_path: Path) -> None:
    run(
        tmp_path,
        f"""
        inside, answered, errors = threading.Event(), threading.Event(), []
        def hold(event, _):
            if event == "sys.monitoring.register_callback" and not inside.is_set():
                inside.set()
                answered.wait()
        sys.addaudithook(hold)
        def ask():
            inside.wait()
            for call in (stroboscope.start, lambda: stroboscope.add_probe(probe)):
                try:
                    call()
                except RuntimeError as error:
                    errors.append(str(error))
            answered.set()
        other = threading.Thread(target=ask)
        other.start()
        stroboscope.start()
        other.join()
        assert errors == ["stroboscope is started already: another start() is under way", "stroboscope is not started"]
        assert {tools}.count("stroboscope") == 2
        stroboscope.stop()
        assert {tools} == [None] * 6, {tools}
        """,
    )


def test_a_start_that_fails_half_way_leaves_nothing(tmp_path: Path) -> None:
    """An audit hook of the program refuses one thing after the other."""
    found = answer(
        tmp_path,
        f"""
        def ours():
            names = [open(f"/proc/self/task/{{task}}/comm").read() for task in os.listdir("/proc/self/task")]
            return [name for name in names if name.startswith("strobo")]
        left = None
        def refuse(event, _):
            global left
            if left is not None and event.startswith("sys.monitoring"):
                left -= 1
                if left < 0:
                    left = None
                    raise PermissionError(event)
        sys.addaudithook(refuse)
        failed = 0
        for allowed in range(100):
            left = allowed
            try:
                stroboscope.start(terminal="never", ndjson="out.ndjson")
            except PermissionError:
                failed += 1
                assert ({tools}, ours()) == ([None] * 6, []), (allowed, {tools}, ours())
            else:
                break
        left = None
        stroboscope.add_probe(probe)
        work(1)
        assert [state["hits"] for state in stroboscope.status()] == [1]
        assert stroboscope.stop() and {tools} == [None] * 6
        print(failed)
        """,
    )
    assert found > 5


def test_a_session_is_stopped_before_another_one_starts(tmp_path: Path) -> None:
    run(
        tmp_path,
        f"""
        import socket
        agent = socket.create_server(("127.0.0.1", 0))  # it never answers
        url = "http://127.0.0.1:%d" % agent.getsockname()[1]
        def being_stopped():
            try:
                stroboscope.flush(0)
            except RuntimeError as error:
                return str(error) == "stroboscope is being stopped"
        stroboscope.start(trace_agent_url=url)
        stroboscope.add_probe(probe)
        work(1)
        found = []
        first = threading.Thread(target=lambda: found.append(stroboscope.stop(2)))
        first.start()
        while not being_stopped():
            time.sleep(0.01)
        try:
            stroboscope.start(terminal="never")
        except RuntimeError as error:
            assert str(error) == "stroboscope is still being stopped: start it again when stop() has returned"
        else:
            raise SystemExit("no error")
        assert [state["hits"] for state in stroboscope.status()] == [1] and stroboscope.stats()["hits"] == 1
        child = os.fork()
        if not child:
            # The thread that stops is not here: nothing runs, and another start is possible.
            assert {tools} == [None] * 6
            assert stroboscope.stop() and {tools} == [None] * 6
            stroboscope.start(terminal="never", ndjson="child.ndjson")
            stroboscope.add_probe(probe)
            work(2)
            os._exit(0 if stroboscope.stop() else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert not stroboscope.stop(0)
        # It waits for the other one, and says what came of that.
        assert not stroboscope.stop(30)
        first.join()
        assert found == [False] and {tools} == [None] * 6
        stroboscope.start(terminal="never", ndjson="again.ndjson")
        stroboscope.add_probe(probe)
        work(3)
        assert stroboscope.stop() and {tools} == [None] * 6
        """,
    )
    for name, text in (("child.ndjson", "x is 2"), ("again.ndjson", "x is 3")):
        assert [message(event) for event in events((tmp_path / name).read_text())] == [text]


def test_a_signal_is_handled_while_flush_waits(tmp_path: Path) -> None:
    run(
        tmp_path,
        """
        import signal, socket
        agent = socket.create_server(("127.0.0.1", 0))  # it never answers
        stroboscope.start(trace_agent_url="http://127.0.0.1:%d" % agent.getsockname()[1])
        stroboscope.add_probe(probe)
        work(1)
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        signal.signal(signal.SIGALRM, signal.default_int_handler)
        try:
            stroboscope.flush(1000)
        except KeyboardInterrupt:
            stroboscope.stop(0)
        else:
            raise SystemExit("not interrupted")
        """,
    )


def test_switched_off_by_the_environment_a_program_works_as_it_is(tmp_path: Path) -> None:
    found = answer(
        tmp_path,
        """
        remarks = stroboscope.start()
        id = stroboscope.add_probe(probe)
        work(1)
        found = [id, stroboscope.status(), stroboscope.flush(), stroboscope.remove_probe("p"), stroboscope.stop()]
        print(json.dumps([remarks, found, [sys.monitoring.get_tool(tool) for tool in range(6)]]))
        """,
        STROBE_ENABLED="false",
    )
    assert found == [
        ["off in this process: it is switched off (STROBE_ENABLED)"],
        ["p", [], True, False, True],
        [None] * 6,
    ]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("redacted_types={'width': True}", "'redacted_types' takes a text, or a list of texts; got a table"),
        ("redacted_types=len", "'redacted_types' takes a text, or a list of texts; got an object of type "),
        ("redacted_types=[['A']]", "'redacted_types' takes a text, or a list of texts; got a list of something else"),
        ("service=['a']", "'service' takes a text; got a list"),
        ("ndjson=5", "'ndjson' takes a text; got a number"),
        ("redacted_types=True", "'redacted_types' takes a text, or a list of texts; got true or false"),
        ("env=b'a'", "'env' takes a text; got an object of type bytes"),
    ],
)
def test_what_a_setting_does_not_take_is_refused(tmp_path: Path, given: str, said: str) -> None:
    found = answer(
        tmp_path,
        f"""
        try:
            stroboscope.start({given})
        except TypeError as error:
            print(json.dumps(str(error)))
        """,
    )
    assert found.startswith(f"the setting {said}")


def test_any_iterable_is_a_list(tmp_path: Path) -> None:
    body = """
        remarks = stroboscope.start(redacted_identifiers=(name for name in ["a", "b"]), enabled=False)
        print(json.dumps(remarks))
    """
    assert answer(tmp_path, body) == ["off in this process: it is switched off (enabled)"]


def test_a_program_that_starts_us_itself_runs_under_the_command_too(tmp_path: Path) -> None:
    write(tmp_path, "asks.py", program)
    script = tmp_path / "asks.py"
    script.write_text(
        script.read_text() + "print(stroboscope.start(service='x'))\nstroboscope.add_probe(probe)\nwork(4)\n"
    )
    result = strobe(tmp_path, "--at", "asks.py:5", "--log", "y is {y}", "--", script.name)
    assert (result.returncode, result.stdout.count("started already")) == (0, 1)
    assert "y is 5" in result.stderr
    assert "x is 4" in result.stderr


# Settings and log lines.


def test_settings_of_every_type(tmp_path: Path) -> None:
    remarks = answer(
        tmp_path,
        """
        from pathlib import Path
        print(json.dumps(stroboscope.start(
            ndjson=Path("out.ndjson"), terminal="never", rate_limits=False, upload_interval_seconds=0.5,
            capture_timeout_ms=20, redacted_identifiers=["a", "b"], tags={"team": "tea"}, env=None, service="s",
        )))
        """,
    )
    assert remarks == []


def test_texts_that_could_stand_nowhere_are_told_and_the_session_starts(tmp_path: Path) -> None:
    remarks = answer(
        tmp_path,
        r"""
        print(json.dumps(stroboscope.start(
            service="\udc80", env="a\nb", api_key="a\nb", agentless_enabled=True, ndjson="/tmp/\udcff",
            tags={"a": "\0"}, **{"\udc80": 1},
        )))
        stroboscope.stop()
        """,
    )
    for text in ("service: ", "env: ", "tags: ", "ndjson: ", "api_key: its value is not a key"):
        assert sum(line.startswith(text) for line in remarks) == 1, (text, remarks)
    assert "agentless_enabled is on, but api_key cannot be used; events go to an Agent" in remarks
    assert len(remarks) == 7, remarks


def test_a_remark_names_the_default_of_this_runtime_and_a_tag_without_a_value(tmp_path: Path) -> None:
    found = answer(tmp_path, 'print(json.dumps(stroboscope.start(tags="lone", capture_timeout_ms="x")))\n')
    assert found == [
        "capture_timeout_ms: 'x' is not a whole number of milliseconds, 1 to 4294967295; the default is used: 100",
        "tags: 'lone' has no value and is left out; a tag is key:value",
    ]


def test_what_cannot_be_used_is_told_once_and_logged_once(tmp_path: Path) -> None:
    found = answer(
        tmp_path,
        """
        logging.basicConfig(filename="log.txt", format="%(name)s %(levelname)s %(message)s")
        print(json.dumps(stroboscope.start(colour="red", upload_interval_seconds="soon", probe_file="absent.json")))
        """,
        DD_DYNAMIC_INSTRUMENTATION_CAPTURE_TIMEOUT_MS="-1",
    )
    logged = (tmp_path / "log.txt").read_text().splitlines()
    assert logged == [f"stroboscope WARNING {line}" for line in found]
    for text in ("'colour' is unknown", "'soon' is not a number", "absent.json: there is no such file", "'-1' is not"):
        assert sum(text in line for line in found) == 1, text


def test_without_logging_nothing_is_printed(tmp_path: Path) -> None:
    assert len(answer(tmp_path, "print(json.dumps(stroboscope.start(colour='red')))\n")) == 1


def test_under_the_command_a_setting_that_cannot_be_used_is_a_line(tmp_path: Path) -> None:
    write(tmp_path, "x.py", "x = 1\n")
    result = strobe(tmp_path, "--at", "x.py:1", "--", "x.py", STROBE_CPU_BUDGET="much")
    (line,) = (line for line in result.stderr.splitlines() if line.startswith("stroboscope:"))
    assert "STROBE_CPU_BUDGET" in line


def test_another_definition_of_a_known_version_is_told_and_not_used(tmp_path: Path) -> None:
    found = answer(
        tmp_path,
        """
        class Keep(logging.Handler):
            lines = []
            def emit(self, record):
                self.lines.append(record.getMessage())
        logging.getLogger("stroboscope").addHandler(Keep())
        stroboscope.start()
        told = []
        other = {**probe, "where": {"typeName": "__main__", "methodName": "Keep.emit"}}
        for again in (probe, {**probe, "tags": []}, {**probe, "when": {"dsl": "1 =="}}, other, {**other, "version": 1}):
            stroboscope.add_probe(again)
            end = time.monotonic() + (5 if again in (other,) or "when" in again else 0.1)
            while not Keep.lines and time.monotonic() < end:
                stroboscope.status()
                time.sleep(0.01)
            told.append(list(Keep.lines))
            Keep.lines.clear()
        print(json.dumps(told))
        """,
    )
    line = "probe p: another definition of version 0 is not used; give it another `version`, or remove the probe first"
    assert found == [[], [], [line], [line], []]


def test_a_line_of_a_thread_of_ours_reaches_the_programs_logger_and_hits_no_probe(tmp_path: Path) -> None:
    """The disk is full: the worker says so, without the GIL; a probe stands in the very handler that gets the line."""
    found = answer(
        tmp_path,
        """
        class Keep(logging.Handler):
            lines = []
            def emit(self, record):
                self.lines.append(record.getMessage())
        logging.getLogger("stroboscope").addHandler(Keep())
        stroboscope.start(ndjson="/dev/full")
        stroboscope.add_probe({**probe, "id": "h", "where": {"typeName": "__main__", "methodName": "Keep.emit"}})
        stroboscope.add_probe(probe)
        work(1)
        end = time.monotonic() + 10
        while not Keep.lines and time.monotonic() < end:
            time.sleep(0.01)
        print(json.dumps([Keep.lines, {state["id"]: state["hits"] for state in stroboscope.status()}]))
        """,
    )
    (line,), hits = found
    assert "/dev/full" in line
    assert hits == {"h": 0, "p": 1}


def test_events_that_cannot_be_written_are_counted_and_told(tmp_path: Path) -> None:
    flushed, (state,), stats, stopped, after = answer(
        tmp_path,
        """
        stroboscope.start(ndjson="/dev/full", terminal="never", rate_limits=False)
        stroboscope.add_probe(probe)
        for x in range(50):
            work(x)
        found = [stroboscope.flush(), stroboscope.status(), stroboscope.stats()]
        print(json.dumps([*found, stroboscope.stop(), stroboscope.stats()]))
        """,
    )
    assert (flushed, stopped) == (False, False)
    assert (state["emitted"], state["dropped"]) == (50, {"notWritten": 50})
    assert stats["dropped"] == {"notWritten": 50}
    assert after["dropped"] == {"notWritten": 50}


def test_a_program_that_closes_all_descriptors_keeps_its_own_files(tmp_path: Path) -> None:
    """What daemons do: our file is opened again, and theirs, which have our numbers now, are left alone."""
    found = answer(
        tmp_path,
        """
        stroboscope.start(ndjson="out.ndjson", terminal="never", rate_limits=False)
        stroboscope.add_probe(probe)
        work(0)
        stroboscope.flush()
        highest = max(int(name) for name in os.listdir("/proc/self/fd"))
        os.closerange(3, 1024)
        files = [open(f"theirs-{n}", "w+") for n in range(highest)]
        for x in range(1, 50):
            work(x)
        found = [stroboscope.flush(), stroboscope.stop(), stroboscope.stats()["dropped"]]
        for file in files:
            file.write("mine")
            file.flush()
        print(json.dumps([*found, {open(file.name).read() for file in files} == {"mine"}]))
        """,
    )
    assert found == [True, True, {}, True]
    written = [message(event) for event in events((tmp_path / "out.ndjson").read_text())]
    assert written == [f"x is {x}" for x in range(50)]


def test_a_logger_that_fails_or_waits_does_no_harm(tmp_path: Path) -> None:
    run(
        tmp_path,
        """
        class Fails(logging.Handler):
            def emit(self, record):
                raise ValueError
        class Waits(logging.Handler):
            def emit(self, record):
                time.sleep(0.2)
        logging.raiseExceptions = False
        logging.getLogger("stroboscope").addHandler(Fails())
        logging.getLogger("stroboscope").addHandler(Waits())
        stroboscope.start(ndjson="/dev/full")
        stroboscope.add_probe(probe)
        work(1)
        """,
    )


# What people see.


def test_colours_only_on_a_terminal(tmp_path: Path) -> None:
    import os
    import pty

    write(tmp_path, "x.py", "x = 1\nx = 2\n")
    for no_color, colours in (("", True), ("1", False)):
        main, side = pty.openpty()
        command = [sys.executable, "-m", "stroboscope", "run", "--at", "x.py:2", "--log", "{x}", "--", "x.py"]
        environment = {**os.environ, "NO_COLOR": no_color}
        subprocess.run(command, cwd=tmp_path, env=environment, stdout=side, stderr=side, timeout=60, check=True)
        os.close(side)
        shown = os.read(main, 65536).decode()
        os.close(main)
        assert "x.py:2" in shown
        assert ("\x1b[" in shown) == colours
    piped = strobe(tmp_path, "--at", "x.py:2", "--log", "{x}", "--", "x.py")
    assert "\x1b[" not in piped.stderr


def test_times_are_local(tmp_path: Path) -> None:
    write(tmp_path, "x.py", "x = 1\nx = 2\n")
    shown = [
        strobe(tmp_path, "--at", "x.py:2", "--log", "{x}", "--", "x.py", TZ=zone).stderr
        for zone in ("UTC0", "Behind5:30")
    ]
    minutes = [int(text[:2]) * 60 + int(text[3:5]) for text in shown]
    assert (minutes[0] - minutes[1]) % 1440 in (329, 330)


shop = """
    import sys

    def price(word):
        amount = len(word)
        # nothing here
        return amount

    def never(word):
        return word

    for _ in range(120):
        price("cup")
"""


@pytest.mark.parametrize(
    ("arguments", "texts"),
    [
        (["--at", "shop.py:9"], ["shop.py:9", "0 hits", "never reached"]),
        (["--at", "shop.py:5"], ["120 hits", "line 5 has no code"]),
        (["--at", "shop.py:4", "--when", "word == 'tea'"], ["120 hits", "120 with a false condition"]),
        (["--at", "shop.py:90"], ["0 hits", "no executable code at line 90", "nearest lines with code"]),
        (["--at", "shoe.py:4"], ["0 hits", "shoe.py"]),
        (["--method", "__main__:prize"], ["0 hits", "no Python function `prize`"]),
        (["--method", "absent:f"], ["0 hits", "absent"]),
        (["--at", "shop.py:4", "--when", "weight > 1"], ["120 hits", "weight"]),
    ],
)
def test_the_end_says_why_a_probe_never_fired(tmp_path: Path, arguments: list[str], texts: list[str]) -> None:
    write(tmp_path, "shop.py", shop)
    result = strobe(tmp_path, *arguments, "--log", "seen", "--", "shop.py")
    assert result.returncode == 0
    for text in texts:
        assert text in result.stderr


# Types.


def test_the_stub_names_what_is_there(tmp_path: Path) -> None:
    import ast
    import inspect

    from stroboscope import _native

    stub = ast.parse((Path(_native.__file__).parent / "_native.pyi").read_text())
    functions = {node.name: node for node in stub.body if isinstance(node, ast.FunctionDef)}
    names = {name for name in dir(_native) if not name.startswith("__")}
    hidden = {name for name in names - set(functions) if name.startswith("_test_")}
    assert names - hidden == set(functions)
    for name, node in functions.items():
        real = inspect.signature(getattr(_native, name))
        assert [argument.arg for argument in node.args.args] == list(real.parameters), name
        without = sum(parameter.default is parameter.empty for parameter in real.parameters.values())
        assert len(node.args.args) - len(node.args.defaults) == without, name


def test_statuses_have_the_keys_of_their_type(tmp_path: Path) -> None:
    from stroboscope.types import ProbeStatus

    (state,) = answer(
        tmp_path,
        """
        stroboscope.start()
        stroboscope.add_probe(probe)
        print(json.dumps(stroboscope.status()))
        """,
    )
    assert set(state) <= set(ProbeStatus.__annotations__)
    assert set(ProbeStatus.__required_keys__) <= set(state)


def test_counts_have_the_keys_of_their_type(tmp_path: Path) -> None:
    from stroboscope.types import Stats, UploadStats

    found = answer(
        tmp_path,
        """
        stroboscope.start(agent_host="127.0.0.1", trace_agent_port=9)
        print(json.dumps(stroboscope.stats()))
        stroboscope.stop(0)
        """,
    )
    assert set(found) == set(Stats.__annotations__)
    assert set(found["uploads"]) == set(UploadStats.__annotations__)


def test_the_package_imports_little(tmp_path: Path) -> None:
    text = "import sys; before = set(sys.modules); import stroboscope; print(*sorted(set(sys.modules) - before))"
    loaded = plain(tmp_path, sys.executable, "-S", "-c", f"import sys; sys.path[:0] = {sys.path!r}; {text}").stdout
    assert not {"typing", "json", "logging", "warnings", "re"} & set(loaded.split()), loaded


def test_a_wait_without_sense_is_refused_in_words(tmp_path: Path) -> None:
    found = answer(
        tmp_path,
        """
        stroboscope.start(ndjson="out.ndjson")
        found = []
        for wait in (stroboscope.flush, stroboscope.stop):
            for seconds in (float("nan"), float("inf"), -1):
                try:
                    wait(seconds)
                except ValueError as error:
                    found.append(str(error))
        print(json.dumps([found, "stroboscope_selftest" in sys.modules]))
        """,
    )
    text = "timeout must be a number of seconds, 0 or more and finite; got "
    assert found == [[text + seconds for seconds in ("nan", "inf", "-1")] * 2, False]


@pytest.mark.parametrize("kind", ["method", "line"])
def test_a_paused_probe_is_off_at_the_interpreter_and_comes_back(tmp_path: Path, kind: str) -> None:
    """No event is asked of CPython for its code while it rests, so that a call costs what it costs without a probe."""
    lines = '{"sourceFile": "asks.py", "lines": ["4"]}'
    found = answer(
        tmp_path,
        f"""
        where = where if {kind!r} == "method" else {lines}
        stroboscope.start(ndjson="out.ndjson", cpu_budget=0.1)
        stroboscope.add_probe({{**probe, "where": where, "when": {{"dsl": "x == 'never'"}}}})
        tools = [tool for tool in range(6) if sys.monitoring.get_tool(tool) == "stroboscope"]
        def events():
            return [sys.monitoring.get_local_events(tool, work.__code__) for tool in tools]
        before, until = any(events()), time.monotonic() + 20
        while stroboscope.status()[0]["state"] != "paused" and time.monotonic() < until:
            for _ in range(20000):
                work(1)
        while any(events()) and time.monotonic() < until:
            time.sleep(0.001)
        hits = stroboscope.status()[0]["hits"]
        for _ in range(10000):
            work(1)
        (status,) = stroboscope.status()
        resting = [before, any(events()), status["hits"] - hits, status["hits_exact"], status["reason"]]
        until = time.monotonic() + 30
        while not any(events()) and time.monotonic() < until:
            time.sleep(0.05)
        hits = stroboscope.status()[0]["hits"]
        work(1)
        print(json.dumps([*resting, stroboscope.status()[0]["hits"] - hits]))
        """,
    )
    reason = found.pop(4)
    assert found == [True, False, 0, False, 1]
    assert reason.startswith("paused for 10 s: it used "), reason


def test_a_status_goes_on_to_say_which_line_is_used(tmp_path: Path) -> None:
    notes = answer(
        tmp_path,
        """
        code = compile("def f(x):\\n    y = [\\n        x,\\n    ]\\n    return y\\n", "moved.py", "exec")
        space = {}
        exec(code, space)
        stroboscope.start()
        where = {"sourceFile": "moved.py", "lines": ["4"]}
        stroboscope.add_probe({"id": "p", "type": "LOG_PROBE", "where": where, "template": "x is {x}"})
        before = stroboscope.status()[0]
        space["f"](1)
        stroboscope.flush()
        after = stroboscope.status()[0]
        stroboscope.stop()
        print(json.dumps([[status["state"], status.get("note")] for status in (before, after)]))
        """,
    )
    note = "line 4 has no code; line 5 is used instead"
    assert notes == [["installed", note], ["emitting", note]]


def test_a_probe_that_is_switched_off_and_on_has_all_its_hits(tmp_path: Path) -> None:
    hits, states = answer(
        tmp_path,
        """
        stroboscope.start(ndjson="out.ndjson", rate_limits="off", cpu_budget=100)
        states = set()
        for _ in range(300):
            stroboscope.add_probe(probe)
            states.update((state["state"], state["hits"]) for state in stroboscope.status())
            for x in range(5):
                work(x)
            stroboscope.remove_probe("p")
        print(json.dumps([stroboscope.stats()["hits"], sorted(states)]))
        """,
    )
    assert (hits, states) == (1500, [["installed", 0]])


deny = """
    import os.path, posixpath

    class Card:
        def pay(self):
            return [n for n in range(2)]  # inner

    def at(mark):
        lines = open(__file__).read().splitlines()
        return {"sourceFile": __file__, "lines": [str(next(n for n, line in enumerate(lines, 1) if mark in line))]}

    places = {"main": where, "own": {**where, "typeName": "asks"}, "line": at("  # here"), "inner": at("  # inner"),
              "pay": {"typeName": "__main__", "methodName": "Card.pay"}}
    for name in ("os.path", "posixpath"):
        places[name] = {"typeName": name, "methodName": "join"}

    def blocked(**lists):
        global version
        version += 1
        stroboscope.add_probe({"id": "lists", "type": "SERVICE_CONFIGURATION", "version": version, **lists})
        if first:
            for name, place in places.items():
                stroboscope.add_probe({**probe, "id": name, "where": place, "template": "x"})
        for _ in range(500):
            if all(state["state"] in ("installed", "emitting", "blocked") for state in stroboscope.status()):
                break
            time.sleep(0.01)
        work(1), Card().pay(), os.path.join("a")
        stroboscope.flush()
        states = {state["id"]: state for state in stroboscope.status()}
        fired = {name for name, state in states.items() if state["hits"] and state["state"] != "blocked"}
        found = {name for name, state in states.items() if state["state"] == "blocked"}
        assert fired == set(places) - found, states
        for name in places if first else ():
            stroboscope.remove_probe(name)
        stroboscope.remove_probe("lists")
        return sorted(found)

    version = 0
    stroboscope.start(ndjson="out.ndjson", rate_limits="off", cpu_budget=100)
    for first in (True, False):
        if not first:
            for name, place in places.items():
                stroboscope.add_probe({**probe, "id": name, "where": place, "template": "x"})
        found = [blocked(**lists) for lists in LISTS]
        print(json.dumps(found))
"""

lists = [
    ({"denyList": {"packagePrefixes": ["asks"]}}, ["inner", "line", "main", "own", "pay"]),
    ({"denyList": {"packagePrefixes": ["__main__"]}}, ["inner", "line", "main", "own", "pay"]),
    ({"denyList": {"classes": ["asks.Card"]}}, ["inner", "pay"]),
    ({"denyList": {"classes": ["__main__.Card"]}}, ["inner", "pay"]),
    ({"denyList": {"packagePrefixes": ["os.path"]}}, ["os.path", "posixpath"]),
    ({"denyList": {"packagePrefixes": ["posixpath"]}}, ["os.path", "posixpath"]),
    ({"allowList": {"packagePrefixes": ["asks"]}}, ["os.path", "posixpath"]),
    ({"allowList": {"packagePrefixes": ["__main__", "os.path"]}}, []),
]


def test_lists_judge_the_code_however_a_probe_names_it(tmp_path: Path) -> None:
    result = run(tmp_path, deny.replace("LISTS", repr([lists for lists, _ in lists])))
    for found in map(json.loads, result.stdout.splitlines()):
        assert found == [blocked for _, blocked in lists]
    assert len(result.stdout.splitlines()) == 2
