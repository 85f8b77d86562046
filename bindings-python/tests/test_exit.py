"""However a program ends, it ends as without us, at most two seconds later, and what was captured is shown."""

import json
import re
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from processes import clean_environment, contains_lines, plain, preload, seconds_to_wait, strobe, write

ends = {
    "normal": "",
    "sys.exit": "sys.exit(7)",
    "text": "sys.exit('a reason')",
    "exception": "raise ValueError('boom')",
    "exception in an exit handler": "atexit.register(lambda: 1 / 0)",
    "audited": "sys.addaudithook(lambda event, _: event.startswith('sys.') and print(event))",
    "os._exit": "sys.stdout.flush(); os._exit(9)",
    "os._exit by name": "sys.stdout.flush(); from posix import _exit; _exit(status=9)",
    "os.abort": "sys.stdout.flush(); signal.signal(signal.SIGABRT, lambda *_: os._exit(5)); signal.raise_signal(6)",
    "terminated": "sys.stdout.flush(); os.kill(os.getpid(), signal.SIGTERM)",
    "hung up": "sys.stdout.flush(); os.kill(os.getpid(), signal.SIGHUP)",
    "own handler": "signal.signal(15, lambda *_: sys.exit(4)); os.kill(os.getpid(), 15)",
    "default again": "signal.signal(15, lambda *_: 0); signal.signal(15, signal.SIG_DFL); time.sleep(0.1)",
    "default put back": "sys.stdout.flush(); signal.signal(15, signal.signal(15, print)); os.kill(os.getpid(), 15)",
    "interrupt by default": "sys.stdout.flush(); signal.signal(2, signal.SIG_DFL); os.kill(os.getpid(), 2)",
    "interrupt set again": "signal.signal(2, signal.signal(2, signal.SIG_DFL)); print(signal.getsignal(2))",
    "ignored": "signal.signal(15, signal.SIG_IGN); os.kill(os.getpid(), 15); print('on')",
    "interrupted": "os.kill(os.getpid(), signal.SIGINT); time.sleep(5)",
    "daemon thread": "threading.Thread(target=busy, daemon=True).start(); time.sleep(0.05)",
    "other thread": "threading.Timer(0.1, print, ['late']).start()",
    "other thread ends it": "threading.Timer(0.1, os._exit, [6]).start(); time.sleep(5)",
    "no standard error": "os.close(2)",
    "no descriptors": "sys.stdout.flush(); os.closerange(3, 200); os.kill(os.getpid(), 15)",
    "execed": "sys.stdout.flush(); os.execv(sys.executable, [sys.executable, '-c', 'print(3)'])",
}


def program(folder: Path, end: str) -> Path:
    text = """
        import atexit, os, signal, sys, threading, time

        def work(x):
            y = x + 1
            return y  # here

        def busy():
            while True:
                work(5)

        print(work(1), signal.getsignal(15), signal.getsignal(1))
    """
    path = write(folder, "ends.py", text)
    path.write_text(path.read_text() + end + "\n")
    return path


@pytest.mark.parametrize("name", ends)
def test_it_ends_as_without_us(tmp_path: Path, name: str) -> None:
    script = program(tmp_path, ends[name])
    without = plain(tmp_path, sys.executable, script.name)
    started = time.monotonic()
    result = strobe(tmp_path, "--at", "ends.py:5", "--log", "y is {y}", "--", script.name)
    assert result.returncode == without.returncode
    assert result.stdout == without.stdout
    assert contains_lines(result.stderr, without.stderr)
    assert time.monotonic() - started < 8.0
    if name != "no standard error":
        assert "y is 2" in result.stderr


@pytest.mark.parametrize(
    "name", ["normal", "exception", "sys.exit", "os._exit", "terminated", "default put back", "no descriptors"]
)
def test_the_end_is_summed_up(tmp_path: Path, name: str) -> None:
    script = program(tmp_path, ends[name])
    result = strobe(tmp_path, "--at", "ends.py:5", "--log", "y is {y}", "--", script.name)
    assert result.stderr.splitlines()[-1] == "ends.py:5  1 hit   1 event"


@pytest.fixture
def silent() -> Iterator[str]:
    """An Agent that accepts connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.parametrize("name", ["normal", "exception", "os._exit", "terminated", "daemon thread"])
def test_a_silent_agent_delays_the_end_by_two_seconds_at_most(tmp_path: Path, name: str, silent: str) -> None:
    script = program(tmp_path, ends[name])
    without = plain(tmp_path, sys.executable, script.name)
    started = time.monotonic()
    result = strobe(tmp_path, "--at", "ends.py:5", "--log", "y is {y}", "--", script.name, DD_TRACE_AGENT_URL=silent)
    # The start of two Pythons is in it.
    assert time.monotonic() - started < 2.0 + 1.0
    assert (result.returncode, result.stdout) == (without.returncode, without.stdout)
    assert "not uploaded" in result.stderr or "not delivered before the end" in result.stderr


def test_an_agent_that_is_not_there_delays_nothing(tmp_path: Path) -> None:
    script = write(tmp_path, "alone.py", "import stroboscope\nprint(stroboscope.start())\nx = 1\n")
    started = time.monotonic()
    result = plain(tmp_path, sys.executable, script.name, DD_TRACE_AGENT_PORT="1")
    assert (result.returncode, result.stdout, result.stderr) == (0, "[]\n", "")
    assert time.monotonic() - started < 1.5


def test_ctrl_c_while_it_ends_only_ends_the_waiting(tmp_path: Path, silent: str) -> None:
    script = program(tmp_path, "print('last', flush=True)")
    command = [sys.executable, "-m", "stroboscope", "run", "--at", "ends.py:5", "--", script.name]
    environment = clean_environment(DD_TRACE_AGENT_URL=silent)
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        while process.stdout.readline() != "last\n":
            pass
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        started = time.monotonic()
        _, errors = process.communicate(timeout=seconds_to_wait)
        assert time.monotonic() - started < 2.5
        assert "stroboscope:" not in errors
        assert "Fatal" not in errors


def test_a_short_script_shows_all_of_its_events(tmp_path: Path) -> None:
    script = write(tmp_path, "brief.py", "for n in range(200):\n    n += 0\n")
    result = strobe(tmp_path, "--at", "brief.py:2", "--rate", "all", "--log", "n={n}.", "--", script.name)
    assert [n for n in range(200) if f"n={n}." not in result.stderr] == []


def test_the_program_may_stop_and_start_again(tmp_path: Path) -> None:
    script = write(
        tmp_path,
        "again.py",
        """
        import os, signal, sys, stroboscope

        def work(x):
            return x  # here

        probe = {"id": "p", "type": "LOG_PROBE", "where": {"typeName": "__main__", "methodName": "work"}}
        before = (signal.getsignal(15), os._exit, sys.monitoring.get_tool(4))
        for round in range(3):
            stroboscope.start(terminal="always")
            stroboscope.add_probe({**probe, "template": f"round {round} has {{x}}"})
            work(round)
            assert stroboscope.stop()
            work(9)
        assert before == (signal.getsignal(15), os._exit, sys.monitoring.get_tool(4))
        print(open("/proc/self/status").read().split("SigCgt:")[1].split()[0], len(os.listdir("/proc/self/task")))
        """,
    )
    result = plain(tmp_path, sys.executable, script.name)
    assert result.returncode == 0, result.stderr
    assert [f"round {n} has {n}" in result.stderr for n in range(3)] == [True] * 3
    assert "has 9" not in result.stderr
    caught, threads = result.stdout.split()
    assert (int(caught, 16) & (1 << 14 | 1), threads) == (0, "1")


@pytest.mark.parametrize(
    ("end", "calls"),
    [
        ("os._exit(0)", 1),
        ("os.kill(os.getpid(), signal.SIGTERM)", 1),
        ("os.execv(sys.executable, [sys.executable, '-c', ''])", 1),
        ("threading.Thread(target=sleeps, daemon=True).start(); time.sleep(0.1)", 1),
        ("kept = started()", 1),
        ("kept = started(); os._exit(0)", 2),
    ],
)
def test_a_hit_whose_call_goes_on_is_told(tmp_path: Path, end: str, calls: int) -> None:
    text = """
        import os, signal, sys, threading, time

        def work(end):
            exec(end, globals())

        def sleeps():
            time.sleep(9)

        def generates():
            yield 1

        def started():
            kept = generates()
            next(kept)
            return kept

        work(sys.argv[1])
    """
    script = write(tmp_path, "ends.py", text)
    where = [{"typeName": "__main__", "methodName": name} for name in ("work", "sleeps", "generates")]
    probe = {"type": "LOG_PROBE", "evaluateAt": "ENTRY", "captureSnapshot": True}
    probes = [{"id": place["methodName"], "where": place, **probe} for place in where]
    (tmp_path / "probes.json").write_text(json.dumps(probes))
    result = strobe(tmp_path, "--probes", "probes.json", "--", script.name, end)
    told = re.findall(r"(\d) hits? +(\d) events?(?:  1 (.*))?", result.stderr)
    assert sum(int(hits) - int(events) for hits, events, _ in told) == calls, result.stderr
    assert [why for *_, why in told if why] == calls * ["whose call had not ended"], result.stderr


@pytest.mark.parametrize(
    "call", ["execv({0}, [{0}, 'ends.py', 'x'])", "execve({0}, [{0}, 'ends.py', 'x'], os.environ)"]
)
def test_a_program_that_becomes_another_delivers_first_and_the_other_is_watched_too(tmp_path: Path, call: str) -> None:
    end = f"if len(sys.argv) == 1: sys.stdout.flush(); os.{call.format('sys.executable')}"
    program(tmp_path, end)
    result = strobe(tmp_path, "--at", "ends.py:5", "--log", "y is {y}", "--", "ends.py")
    assert result.returncode == 0
    assert result.stderr.count("y is 2") == 2
    assert result.stderr.splitlines().count("ends.py:5  1 hit   1 event") == 2
    assert result.stderr.count("is installed") == 2


@pytest.mark.parametrize(
    ("call", "why"),
    [
        ("execv({0}, [{0}, '-sE', 'other.py'])", "{1} -sE, which ignores PYTHONPATH"),
        ("execv({0}, ({0}, '-X', 'dev', '-I', 'other.py'))", "{1} -I, which ignores PYTHONPATH"),
        ("execve({0}, [{0}, '-bS', 'other.py'], os.environ)", "{1} -bS, which does not import site"),
        ("execve({0}, [{0}, 'other.py'], {{'A': 'b'}})", "{1} with an environment that has no PYTHONPATH"),
        ("execv({0}, [{0}, 'other.py', '-E', '-I'])", None),
        ("execv({0}, [{0}, '-XE', '-W', 'ignore', '-c', '', '-E'])", None),
        ("execv('/bin/sh', ['sh', '-c', 'exit 0', '-E'])", None),
    ],
)
def test_why_no_probe_gets_into_what_a_program_becomes(tmp_path: Path, call: str, why: str | None) -> None:
    write(
        tmp_path, "other.py", "import os, sys\nsys.path.append(os.path.dirname(__file__))\nimport late\nlate.work()\n"
    )
    write(tmp_path, "late.py", "def work(): pass\n")
    write(tmp_path, "first.py", f"import os, sys\nos.{call.format('sys.executable')}\n")
    result = strobe(tmp_path, "--method", "late:work", "--log", "here", "--", "first.py")
    assert result.returncode == 0
    end = [line for line in result.stderr.splitlines() if "is installed" not in line and "  here" not in line]
    if why:
        became = why.format("", Path(sys.executable).name)
        assert end == ["late:work  0 hits  0 events", f"the program became {became}: no probe got into that"]
    else:
        assert "became" not in result.stderr


def test_a_program_that_cannot_become_another_goes_on(tmp_path: Path) -> None:
    end = """
try:
    os.execvp("no-such-program", ["x"])
except FileNotFoundError:
    work(2)
"""
    program(tmp_path, end)
    result = strobe(tmp_path, "--at", "ends.py:5", "--log", "y is {y}", "--", "ends.py")
    assert result.stderr.splitlines()[-1] == "ends.py:5  2 hits  2 events"
    assert result.stderr.count("hit") == 1


@pytest.mark.parametrize("where", ["main", "thread"])
def test_a_traceback_stays_in_one_piece_and_comes_after_what_was_caught(tmp_path: Path, where: str) -> None:
    text = """
        import sys, threading

        def fail(n):
            if n:
                fail(n - 1)
            raise ValueError("boom")

        hook = sys.excepthook
        assert sys.excepthook is sys.__excepthook__
    """
    script = write(tmp_path, "fails.py", text)
    end = "fail(30)\n" if where == "main" else "t = threading.Thread(target=fail, args=(30,))\nt.start()\nt.join()\n"
    script.write_text(script.read_text() + end)
    without = plain(tmp_path, sys.executable, script.name)
    result = strobe(tmp_path, "--at", "fails.py:5", "--rate", "all", "--log", "at {n}.", "--", script.name)
    assert without.stderr.startswith("Traceback" if where == "main" else "Exception in thread")
    assert without.stderr in result.stderr
    before, _, after = result.stderr.partition(without.stderr)
    assert [n for n in range(1, 31) if f"at {n}." not in before] == []
    assert "at " not in after


def test_what_an_exec_cannot_deliver_is_counted(tmp_path: Path, silent: str) -> None:
    script = program(tmp_path, ends["execed"])
    result = strobe(tmp_path, "--at", "ends.py:5", "--log", "y is {y}", "--", script.name, DD_TRACE_AGENT_URL=silent)
    assert "events: 1 not delivered before the end" in result.stderr


def test_statuses_alone_are_worth_a_short_wait_only(tmp_path: Path, silent: str) -> None:
    children = "[subprocess.run([sys.executable, '-c', 'pass'], check=True) for _ in range(4)]"
    script = write(tmp_path, "children.py", f"import subprocess, sys\n{children}\n")
    started = time.monotonic()
    result = strobe(tmp_path, "--at", "elsewhere.py:5", "--", script.name, DD_TRACE_AGENT_URL=silent)
    assert result.returncode == 0
    # Five ends that wait for a second and a half each would take longer.
    assert time.monotonic() - started < 5.0


def test_after_stop_what_was_lost_can_still_be_read(tmp_path: Path, silent: str) -> None:
    text = """
        import json, logging, stroboscope

        logging.basicConfig(format="%(name)s %(levelname)s %(message)s")

        def work(x):
            return x + 1

        stroboscope.start(rate_limits=False)
        stroboscope.add_probe({
            "id": "p", "version": 0, "type": "LOG_PROBE", "language": "python", "evaluateAt": "EXIT",
            "where": {"typeName": "__main__", "methodName": "work"}, "template": "x", "segments": [{"str": "x"}],
        })
        for x in range(10):
            work(x)
        print(json.dumps([stroboscope.stop(), stroboscope.stop(), stroboscope.stats(), stroboscope.status()]))
    """
    script = write(tmp_path, "asks.py", text)
    result = plain(tmp_path, sys.executable, script.name, DD_TRACE_AGENT_URL=silent)
    first, second, stats, (status,) = json.loads(result.stdout)
    assert (first, second) == (False, True)
    assert stats["uploads"]["lost"] == {"stopped": 10}
    assert (status["hits"], status["emitted"]) == (10, 10)
    assert result.stderr == "stroboscope WARNING stopped; events: 10 not delivered before the end\n"


@pytest.mark.parametrize("by_preload", [False, True])
def test_an_end_without_stop_tells_the_log_what_it_lost(tmp_path: Path, silent: str, by_preload: bool) -> None:
    text = f"""
        import logging, stroboscope

        logging.basicConfig(format="%(name)s %(levelname)s %(message)s")

        def work(x):
            return x + 1

        if not {by_preload}:
            stroboscope.start()
        where = {{"typeName": "__main__", "methodName": "work"}}
        stroboscope.add_probe({{"id": "p", "type": "LOG_PROBE", "where": where, "template": "x"}})
        for x in range(10):
            work(x)
    """
    script = write(tmp_path, "asks.py", text)
    more = {"PYTHONPATH": preload, "DD_DYNAMIC_INSTRUMENTATION_ENABLED": "true"} if by_preload else {}
    result = plain(tmp_path, sys.executable, script.name, DD_TRACE_AGENT_URL=silent, **more)
    assert result.stderr == "stroboscope WARNING stopped; events: 10 not delivered before the end\n"


def test_another_signal_of_the_same_end_ends_no_sooner(tmp_path: Path, silent: str) -> None:
    """A hang-up and then SIGTERM, as service managers and closed terminals send them."""
    script = program(tmp_path, "print('ready', flush=True); time.sleep(20)")
    command = [sys.executable, "-m", "stroboscope", "run", "--at", "ends.py:5", "--log", "y is {y}", "--", script.name]
    process = subprocess.Popen(
        command,
        cwd=tmp_path,
        env=clean_environment(DD_TRACE_AGENT_URL=silent),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    while "ready" not in process.stdout.readline():
        pass
    process.send_signal(signal.SIGHUP)
    time.sleep(0.25)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=seconds_to_wait)
    assert process.returncode == -signal.SIGHUP
    assert "events: 1 not delivered before the end" in errors


def test_a_program_that_closes_all_descriptors_keeps_its_own_connections(tmp_path: Path, silent: str) -> None:
    """A request is on its way when a daemon closes what it inherited: its number is the program's afterwards."""
    text = """
        import os, socket, time, stroboscope

        def work(x):
            return x + 1

        stroboscope.start(terminal="never", upload_interval_seconds=0.1)
        where = {"typeName": "__main__", "methodName": "work"}
        stroboscope.add_probe({"id": "p", "type": "LOG_PROBE", "where": where, "template": "x"})
        work(1)
        numbers = lambda: [int(name) for name in os.listdir("/proc/self/fd")]
        end = time.monotonic() + 10
        while time.monotonic() < end:
            links = [os.readlink(f"/proc/self/fd/{n}") for n in numbers() if os.path.exists(f"/proc/self/fd/{n}")]
            if any(link.startswith("socket:") for link in links):
                break
            time.sleep(0.01)
        else:
            raise SystemExit("no connection")
        highest = max(numbers())
        os.closerange(3, 1024)
        pairs = [socket.socketpair() for _ in range(highest)]
        stroboscope.stop()
        for one, other in pairs:
            one.send(b"mine")
            assert other.recv(100) == b"mine"
            other.send(b"back")
            assert one.recv(100) == b"back"
        print("intact")
    """
    script = write(tmp_path, "daemon.py", text)
    result = plain(tmp_path, sys.executable, script.name, DD_TRACE_AGENT_URL=silent)
    assert (result.stdout, result.stderr) == ("intact\n", "")


@pytest.mark.parametrize("stream", ["stderr", "stdout"])
@pytest.mark.parametrize("name", ["normal", "exception", "os._exit", "terminated", "daemon thread", "execed"])
def test_a_pipe_that_nobody_reads_holds_no_end_up(tmp_path: Path, name: str, stream: str) -> None:
    # The program's own last words find room too: a pipe that we had filled would hold it for ever.
    path = program(tmp_path, "for turn in range(3000): work(turn)\n" + ends[name])
    how = ["--json", "-"] if stream == "stdout" else []
    command = [sys.executable, "-m", "stroboscope", "run", "--at", "ends.py:5", "--log", "x = {x} " + "y" * 200, *how]
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, stream: subprocess.PIPE}
    with subprocess.Popen([*command, "--", path.name], cwd=tmp_path, env=clean_environment(), **pipes) as process:
        try:
            code = process.wait(seconds_to_wait)
        finally:
            process.kill()
        pipe = process.stderr or process.stdout
        assert pipe is not None
        shown = pipe.read().decode()
    assert code == plain(tmp_path, sys.executable, path.name).returncode
    assert shown.count("x = ") > 10
    if stream == "stderr":
        assert ("Traceback" in shown) == (name == "exception")
        assert re.search(r"^events: [2-9],\d\d\d not written to standard error$", shown, re.M), shown[-500:]


def test_a_stream_that_is_read_late_loses_nothing_while_the_program_runs(tmp_path: Path) -> None:
    path = program(tmp_path, "for turn in range(2000): work(turn)\ntime.sleep(1.5)")
    command = [sys.executable, "-m", "stroboscope", "run", "--at", "ends.py:5", "--log", "x = {x}", "--json", "-"]
    with subprocess.Popen(
        [*command, "--", path.name], cwd=tmp_path, env=clean_environment(), stdout=subprocess.PIPE
    ) as process:
        time.sleep(1)
        out, _ = process.communicate(timeout=seconds_to_wait)
    assert out.count(b'"message":"x = ') == 2001


def test_a_tool_that_frees_our_ids_does_not_take_the_end_away(tmp_path: Path) -> None:
    frees = "for tool in range(6): sys.monitoring.free_tool_id(tool)"
    path = program(tmp_path, f"{frees}\nsys.monitoring.use_tool_id(4, 'theirs'); work(2); print('on')")
    result = strobe(tmp_path, "--at", "ends.py:5", "--log", "x is {x}", "--", path.name)
    assert (result.returncode, result.stdout.endswith("on\n")) == (0, True)
    assert "could not" not in result.stderr
    assert "x is 1" in result.stderr
    assert re.search(r"^ends.py:5 +[12] hits? +[12] events?$", result.stderr, re.M), result.stderr
    path.write_text(
        "import stroboscope, sys\n"
        f"stroboscope.start()\n{frees}\nsys.monitoring.use_tool_id(4, 'theirs')\n"
        "print(stroboscope.stop(), sys.monitoring.get_tool(4), stroboscope.start(), stroboscope.stop())\n"
        "print([sys.monitoring.get_tool(tool) for tool in range(6)])\n"
    )
    result = plain(tmp_path, sys.executable, path.name)
    theirs = [None, None, None, None, "theirs", None]
    assert (result.stdout, result.stderr) == (f"True theirs [] True\n{theirs}\n", "")


def test_a_program_that_runs_out_of_memory_goes_on(tmp_path: Path) -> None:
    program = """
        import resource, time
        def work(n):
            return n
        def size():
            with open("/proc/self/statm") as file:
                return int(file.read().split()[0]) * resource.getpagesize()
        work("before")
        time.sleep(0.3)
        resource.setrlimit(resource.RLIMIT_AS, (size() + 100_000_000, -1))
        held = []
        for piece in (1_000_000, 65_536):
            try:
                while True:
                    held.append(bytearray(piece))
            except MemoryError:
                pass
        for number in range(3000):
            work("x" * 50)
        time.sleep(0.3)
        del held
        work("after")
        print("survived")
    """
    (tmp_path / "full.py").write_text(textwrap.dedent(program))
    result = strobe(tmp_path, "--method", "full:work", "--log", "n={n}", "--capture", "--rate", "all", "--", "full.py")
    assert (result.returncode, result.stdout) == (0, "survived\n"), result.stderr
    end = r"^full:work +3,002 hits +([\d,]+) events +([\d,]+) lost, there was no memory$"
    counts = re.search(end, result.stderr, re.M)
    assert counts, result.stderr[-500:]
    emitted, lost = (int(count.replace(",", "")) for count in counts.groups())
    assert emitted + lost == 3002
    assert "n=before" in result.stderr and "n=after" in result.stderr
