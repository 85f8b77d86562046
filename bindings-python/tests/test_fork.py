"""Forked children: each has its own session; the parent's events stay the parent's; nobody waits for a lost lock."""

import json
import socket
import sys
import textwrap
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from processes import events, message, plain, strobe, write

header = """
    import multiprocessing, os, sys, threading, time

    def work(x):
        return x  # here
"""


def program(folder: Path, text: str) -> Path:
    path = write(folder, "forks.py", header)
    path.write_text(path.read_text() + textwrap.dedent(text))
    return path


def watched(folder: Path, **environment: str) -> tuple[list[dict[str, Any]], Any]:
    at = ["--at", "forks.py:4", "--rate", "all", "--log", "{x}", "--json", "out.ndjson"]
    result = strobe(folder, *at, "--", "forks.py", **environment)
    out = folder / "out.ndjson"
    return events(out.read_text()) if out.exists() else [], result


def messages(found: list[dict[str, Any]]) -> list[str]:
    return sorted(message(event) for event in found)


def test_a_child_has_probes_and_the_parents_events_stay_the_parents(tmp_path: Path) -> None:
    program(
        tmp_path,
        """
        work("before")
        child = os.fork()
        work("child" if child == 0 else "parent")
        if child:
            os.waitpid(child, 0)
        """,
    )
    found, result = watched(tmp_path)
    assert result.returncode == 0
    assert messages(found) == ["before", "child", "parent"]
    threads = {message(event): event["logger"]["thread_name"] for event in found}
    assert threads["before"] == threads["parent"] != threads["child"], "the process id is part of it"


def test_grandchildren_have_probes(tmp_path: Path) -> None:
    program(
        tmp_path,
        """
        for generation in range(4):
            work(generation)
            if os.fork():
                os.wait()
                os._exit(0)
        """,
    )
    found, _ = watched(tmp_path)
    assert messages(found) == ["0", "1", "2", "3"]


def test_a_fork_under_load_never_hangs_and_loses_nothing(tmp_path: Path) -> None:
    """Threads hit the probe, add and remove others, and flush, while the process forks."""
    program(
        tmp_path,
        """
        import stroboscope

        going = True
        def hit():
            while going:
                work("load")
                time.sleep(0.0002)
        def ask():
            probe = {"id": "more", "type": "LOG_PROBE", "where": {"typeName": "__main__", "methodName": "hit"}}
            while going:
                stroboscope.add_probe(probe)
                stroboscope.status()
                stroboscope.flush(0.01)
                stroboscope.remove_probe("more")
        threads = [threading.Thread(target=target) for target in (hit, hit, ask, ask)]
        for thread in threads:
            thread.start()
        for number in range(40):
            child = os.fork()
            if child == 0:
                work(f"child {number}")
                os._exit(0)
            assert os.waitpid(child, 0)[1] == 0
        going = False
        for thread in threads:
            thread.join()
        """,
    )
    found, result = watched(tmp_path)
    assert result.returncode == 0, result.stderr
    counts = Counter(messages(found))
    assert {counts[f"child {number}"] for number in range(40)} == {1}


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessing(tmp_path: Path, method: str) -> None:
    program(
        tmp_path,
        f"""
        if __name__ == "__main__":
            context = multiprocessing.get_context({method!r})
            with context.Pool(2) as pool:
                print(pool.map(work, range(6)))
            process = context.Process(target=work, args=("process",))
            process.start()
            process.join()
            sys.exit(process.exitcode)
        """,
    )
    found, result = watched(tmp_path)
    assert (result.returncode, result.stdout) == (0, "[0, 1, 2, 3, 4, 5]\n"), result.stderr
    assert messages(found) == ["0", "1", "2", "3", "4", "5", "process"]


def test_a_pre_forking_server(tmp_path: Path) -> None:
    """Two workers that take connections from one socket, ended by SIGTERM, as such servers do."""
    program(
        tmp_path,
        """
        import signal, socket

        server = socket.create_server(("127.0.0.1", 0))
        waiting, ready = os.pipe()
        def serve():
            signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
            os.write(ready, b".")
            while True:
                connection, _ = server.accept()
                with connection:
                    connection.sendall(work(connection.recv(100).decode()).encode())
        workers = []
        for _ in range(2):
            child = os.fork()
            if child == 0:
                serve()
            workers.append(child)
            os.read(waiting, 1)
        for number in range(10):
            with socket.create_connection(server.getsockname()) as connection:
                connection.sendall(str(number).encode())
                assert connection.recv(100) == str(number).encode()
        for worker in workers:
            os.kill(worker, signal.SIGTERM)
            assert os.waitpid(worker, 0)[1] == 0
        """,
    )
    found, result = watched(tmp_path)
    assert result.returncode == 0, result.stderr
    assert messages(found) == [str(number) for number in range(10)]


def test_gunicorn(tmp_path: Path) -> None:
    pytest.importorskip("gunicorn")
    write(tmp_path, "site_of_ours.py", "def app(environ, start):\n    start('200 OK', [])\n    return [b'x']\n")
    write(
        tmp_path,
        "asks.py",
        """
        import os, signal, subprocess, sys, time, urllib.request

        command = [sys.executable, "-m", "gunicorn", "-w", "2", "-b", "unix:site.sock", "site_of_ours:app"]
        server = subprocess.Popen(command)
        import http.client, socket
        class Connection(http.client.HTTPConnection):
            def connect(self):
                self.sock = socket.socket(socket.AF_UNIX)
                self.sock.connect("site.sock")
        for _ in range(200):
            try:
                connection = Connection("localhost")
                connection.request("GET", "/asked")
                connection.getresponse().read()
                break
            except OSError:
                time.sleep(0.1)
        server.terminate()
        sys.exit(server.wait())
        """,
    )
    at = ["--at", "site_of_ours.py:2", "--log", "{environ['PATH_INFO']}", "--json", "out.ndjson"]
    result = strobe(tmp_path, *at, "--", "asks.py")
    assert result.returncode == 0, result.stderr
    assert messages(events((tmp_path / "out.ndjson").read_text())) == ["/asked"]


def test_a_child_that_only_executes_another_program_is_left_in_peace(tmp_path: Path) -> None:
    program(
        tmp_path,
        """
        import subprocess
        for _ in range(20):
            subprocess.run(["true"], check=True)
            subprocess.run(["true"], check=True, preexec_fn=lambda: None)
        work("after")
        """,
    )
    found, result = watched(tmp_path)
    assert (result.returncode, messages(found)) == (0, ["after"])


def test_a_fork_behind_pythons_back_is_found_at_the_next_call(tmp_path: Path) -> None:
    script = program(
        tmp_path,
        """
        import ctypes, json, stroboscope
        stroboscope.start(ndjson="out.ndjson")
        probe = {"id": "p", "type": "LOG_PROBE", "template": "{x}"}
        stroboscope.add_probe({**probe, "where": {"typeName": "__main__", "methodName": "work"}})
        work("parent")
        child = ctypes.PyDLL(None).fork()
        if child == 0:
            (state,) = stroboscope.status()
            assert state["hits"] == 0, state
            work("child")
            stroboscope.stop()
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        stroboscope.stop()
        """,
    )
    result = plain(tmp_path, sys.executable, script.name)
    assert result.returncode == 0, result.stderr
    assert messages(events((tmp_path / "out.ndjson").read_text())) == ["child", "parent"]


@pytest.mark.parametrize("library", ["PyDLL", "CDLL"])
@pytest.mark.parametrize(
    "where", [{"sourceFile": "forks.py", "lines": ["4"]}, {"typeName": "__main__", "methodName": "work"}]
)
def test_a_fork_behind_pythons_back_is_found_at_its_first_hit(
    tmp_path: Path, where: dict[str, Any], library: str
) -> None:
    """The child calls nothing of ours: its first hit is in its own session, and what it captured is delivered."""
    script = program(
        tmp_path,
        f"""
        import ctypes, stroboscope
        stroboscope.start(ndjson="out.ndjson")
        probe = {{"id": "p", "type": "LOG_PROBE", "template": "{{x}}", "sampling": {{"snapshotsPerSecond": 5000}}}}
        stroboscope.add_probe({{**probe, "where": {where}}})
        work("parent")
        child = ctypes.{library}(None).fork()
        if child == 0:
            work("child")
            work("again")
            assert len(os.listdir("/proc/self/task")) > 1
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        work("end")
        stroboscope.stop()
        """,
    )
    result = plain(tmp_path, sys.executable, script.name)
    assert result.returncode == 0, result.stderr
    found = events((tmp_path / "out.ndjson").read_text())
    assert messages(found) == ["again", "child", "end", "parent"]


def test_a_fork_behind_pythons_back_is_found_as_new_code_starts(tmp_path: Path) -> None:
    write(tmp_path, "late.py", "def later(x):\n    return x\n")
    script = program(
        tmp_path,
        """
        import ctypes, stroboscope
        stroboscope.start(ndjson="out.ndjson")
        probe = {"id": "p", "type": "LOG_PROBE", "template": "{x}"}
        stroboscope.add_probe({**probe, "where": {"sourceFile": "late.py", "lines": ["2"]}})
        child = ctypes.PyDLL(None).fork()
        if child == 0:
            import late
            late.later("child")
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        stroboscope.stop()
        """,
    )
    result = plain(tmp_path, sys.executable, script.name)
    assert result.returncode == 0, result.stderr
    assert messages(events((tmp_path / "out.ndjson").read_text())) == ["child"]


def test_programs_started_without_a_fork_of_ours_are_not_disturbed(tmp_path: Path) -> None:
    """`posix_spawn`, `vfork` (by which `subprocess` starts programs) and a C-level fork that executes at once."""
    program(
        tmp_path,
        """
        import ctypes, subprocess
        for number in range(5):
            assert os.waitpid(os.posix_spawn("/bin/true", ["true"], os.environ), 0)[1] == 0
            subprocess.run(["true"], check=True, close_fds=False)
            child = ctypes.PyDLL(None).fork()
            if child == 0:
                ctypes.PyDLL(None).execl(b"/bin/true", b"true", None)
            assert os.waitpid(child, 0)[1] == 0
            work(number)
        """,
    )
    found, result = watched(tmp_path)
    assert (result.returncode, messages(found)) == (0, ["0", "1", "2", "3", "4"]), result.stderr


def test_a_fork_with_a_session_is_quick(tmp_path: Path) -> None:
    script = program(
        tmp_path,
        """
        import stroboscope
        stroboscope.start(ndjson="out.ndjson")
        started = time.monotonic()
        for _ in range(50):
            child = os.fork()
            if child == 0:
                os._exit(0)
            os.waitpid(child, 0)
        print((time.monotonic() - started) / 50)
        """,
    )
    result = plain(tmp_path, sys.executable, script.name)
    assert result.returncode == 0, result.stderr
    assert float(result.stdout) < 0.1


def test_children_have_a_runtime_id_that_names_the_parents(tmp_path: Path) -> None:
    script = program(
        tmp_path,
        """
        import json, stroboscope
        from stroboscope import _native
        stroboscope.start()
        mine = _native._test_upload()["runtime_id"]
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            os.write(write, _native._test_upload()["runtime_id"].encode())
            os._exit(0)
        os.waitpid(child, 0)
        print(json.dumps([mine, os.read(read, 100).decode(), _native._test_upload()["runtime_id"]]))
        """,
    )
    mine, childs, still = json.loads(plain(tmp_path, sys.executable, script.name).stdout)
    assert mine == still != childs
    assert all(len(runtime) == 36 and runtime[14] == "4" for runtime in (mine, childs))


def test_a_stopped_session_does_not_come_back_in_a_child(tmp_path: Path) -> None:
    script = program(
        tmp_path,
        """
        import stroboscope
        stroboscope.start()
        stroboscope.stop()
        child = os.fork()
        if child == 0:
            os._exit(len(os.listdir("/proc/self/task")))
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        """,
    )
    started = time.monotonic()
    assert plain(tmp_path, sys.executable, script.name).stdout == "1\n"
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("threads", [0, 1])
@pytest.mark.parametrize("flags", [[], ["-W", "error"], ["-W", "always"]])
def test_a_fork_warns_of_threads_only_if_the_program_has_some(tmp_path: Path, threads: int, flags: list[str]) -> None:
    program(
        tmp_path,
        f"""
        import warnings
        for _ in range({threads}):
            threading.Thread(target=time.sleep, args=(1,)).start()
        before = list(warnings.filters)
        for _ in range(2):
            child = os.fork()
            if child == 0:
                warnings.warn("seen", DeprecationWarning) if not sys.warnoptions else None
                print(before == warnings.filters, flush=True)
                os._exit(0)
            os.waitpid(child, 0)
        print(before == warnings.filters)
        """,
    )
    without = plain(tmp_path, sys.executable, *flags, "forks.py")
    command = [sys.executable, *flags, "-m", "stroboscope", "run", "--at", "forks.py:4", "--", "forks.py"]
    result = plain(tmp_path, *command)
    assert (result.returncode, result.stdout) == (without.returncode, without.stdout) == (0, "True\n" * 3)
    assert result.stderr.count("multi-threaded") == without.stderr.count("multi-threaded")
    assert result.stderr.count("seen") == without.stderr.count("seen")


@pytest.mark.parametrize("end", ["", "os._exit(0)", "os.kill(os.getpid(), 15)", "os.kill(os.getpid(), 9)"])
def test_the_end_is_one_line_for_all_processes(tmp_path: Path, end: str) -> None:
    program(
        tmp_path,
        f"""
        work("parent")
        for n in range(3):
            if os.fork() == 0:
                work(n)
                time.sleep(0.3)
                {end or "pass"}
                break
        else:
            for n in range(3):
                os.wait()
        """,
    )
    _, result = watched(tmp_path)
    *_, line, processes = result.stderr.splitlines()
    if "9" in end:
        assert line == "forks.py:4  1 hit   1 event"
        assert processes == "summed over 1 process; 3 more still ran or were killed, and are not in it"
        return
    assert line == "forks.py:4  4 hits  4 events"
    assert processes == "summed over 4 processes"
    assert result.stderr.count("hit") == 1


def test_workers_of_a_pool_are_in_the_sum(tmp_path: Path) -> None:
    program(
        tmp_path,
        """
        if __name__ == "__main__":
            with multiprocessing.get_context("fork").Pool(2) as pool:
                pool.map(work, range(6))
        """,
    )
    _, result = watched(tmp_path)
    *_, line, processes = result.stderr.splitlines()
    assert line == "forks.py:4  6 hits  6 events"
    # A worker without work may be ended before it has begun.
    assert processes in ("summed over 2 processes", "summed over 3 processes")


def hanging_agent() -> socket.socket:
    """Takes connections, and never answers."""
    return socket.create_server(("127.0.0.1", 0))


@pytest.mark.parametrize("ends", ["os._exit(0)", "os.execv('/bin/true', ['true'])", "sys.exit()"])
def test_an_agent_that_hangs_is_waited_for_once_by_all_children(tmp_path: Path, ends: str) -> None:
    program(
        tmp_path,
        f"""
        import json, stroboscope
        stroboscope.start(terminal="never", trace_agent_url=sys.argv[1])
        stroboscope.add_probe({{"id": "p", "type": "LOG_PROBE", "where": {{"sourceFile": "forks.py", "lines": ["4"]}}}})
        took = []
        for x in range(4):
            began = time.monotonic()
            child = os.fork()
            if not child:
                work(x)
                {ends}
            os.waitpid(child, 0)
            took.append(time.monotonic() - began)
        print(json.dumps(took), flush=True)
        os._exit(0)
        """,
    )
    with hanging_agent() as agent:
        url = f"http://127.0.0.1:{agent.getsockname()[1]}"
        result = plain(tmp_path, sys.executable, "-W", "ignore", "forks.py", url)
    first, *others = json.loads(result.stdout)
    assert max(others) < first / 2, (first, others)


def test_below_the_command_also_processes_that_are_no_forks_know_that_it_hangs(tmp_path: Path) -> None:
    write(tmp_path, "child.py", "def work(n):\n    return n\nwork(3)\n")
    write(
        tmp_path,
        "outer.py",
        """
        import json, subprocess, sys, time
        took = []
        for _ in range(4):
            began = time.monotonic()
            subprocess.run([sys.executable, "child.py"])
            took.append(time.monotonic() - began)
        print(json.dumps(took))
        """,
    )
    with hanging_agent() as agent:
        url = f"http://127.0.0.1:{agent.getsockname()[1]}"
        result = strobe(tmp_path, "--method", "child:work", "--log", "x", "--", "outer.py", DD_TRACE_AGENT_URL=url)
    first, *others = json.loads(result.stdout)
    assert max(others) < first / 2, (first, others)
    assert "events: 4 not delivered before the end" in result.stderr
