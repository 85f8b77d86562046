"""What a program captures of a process below it, or of itself, has nothing of ours in it: people look elsewhere."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from processes import clean_environment, events, message, other_python, plain, strobe, write

probe = ["--method", "child:work", "--log", "n is {n}"]


@pytest.fixture
def parent(tmp_path: Path) -> Path:
    write(
        tmp_path,
        "child.py",
        """
        import sys
        def work(n):
            return n
        work(3)
        print("out")
        print("error", file=sys.stderr)
        """,
    )
    return write(
        tmp_path,
        "parent.py",
        """
        import subprocess, sys
        child = [sys.executable, "child.py"]
        both = subprocess.run(child, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True).stdout
        apart = subprocess.run(child, capture_output=True, text=True)
        print([sorted(both.splitlines()), apart.stdout, apart.stderr])
        """,
    )


captured = "[['error', 'out'], 'out\\n', 'error\\n']\n"


def test_events_of_a_child_go_where_people_look(parent: Path) -> None:
    result = strobe(parent.parent, *probe, "--", parent.name)
    assert result.stdout == captured
    assert result.stderr.count("n is 3") == 2, result.stderr


@pytest.mark.parametrize("sign", [">", ">>"])
def test_also_into_a_file(parent: Path, sign: str) -> None:
    command = f"{sys.executable} -m stroboscope run {' '.join(probe[:3])} '{probe[3]}' -- {parent.name} 2{sign}log"
    result = plain(parent.parent, "sh", "-c", command)
    assert (result.stdout, result.stderr) == (captured, "")
    log = (parent.parent / "log").read_text()
    assert log.count("n is 3") == 2
    assert log.splitlines()[-2:] == ["child:work  2 hits  2 events", "summed over 3 processes"], log


@pytest.mark.parametrize("sign", [None, ">", ">>"])
def test_events_for_programs_go_to_the_output_of_the_command(parent: Path, sign: str | None) -> None:
    to = f"{sign}out" if sign else ""
    command = f"{sys.executable} -m stroboscope run {' '.join(probe[:3])} '{probe[3]}' --json - -- {parent.name} {to}"
    result = plain(parent.parent, "sh", "-c", command)
    out = (parent.parent / "out").read_text() if sign else result.stdout
    assert "".join(line for line in out.splitlines(keepends=True) if not line.startswith("{")) == captured
    assert [message(event) for event in events(out)] == ["n is 3", "n is 3"]


def test_a_terminal_is_shown_colours_from_a_child_that_is_captured(parent: Path) -> None:
    import pty

    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "stroboscope", "run", *probe, "--", parent.name]
    with subprocess.Popen(
        command, cwd=parent.parent, env=clean_environment(), stdout=subprocess.PIPE, stderr=theirs, text=True
    ) as process:
        os.close(theirs)
        shown = b""
        while chunk := _read(ours):
            shown += chunk
        assert process.stdout is not None and process.stdout.read() == captured
    os.close(ours)
    assert shown.count(b"n is 3") == 2
    assert b"\x1b[1mn is 3" in shown


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:
        return b""


def test_a_process_that_puts_a_file_in_the_place_of_its_standard_error_keeps_it_clean(tmp_path: Path) -> None:
    write(
        tmp_path,
        "swaps.py",
        """
        import os
        def work(n):
            return n
        kept = os.dup(2)
        log = os.open("log", os.O_CREAT | os.O_RDWR)
        os.dup2(log, 2)
        work(3)
        import stroboscope
        stroboscope.flush()
        os.write(2, b"mine")
        os.dup2(kept, 2)
        """,
    )
    result = strobe(tmp_path, "--method", "swaps:work", "--log", "n is {n}", "--", "swaps.py")
    assert (tmp_path / "log").read_text() == "mine"
    assert "n is 3" in result.stderr and "1 hit " in result.stderr


def test_a_program_that_leaves_its_streams_is_not_held_by_them(tmp_path: Path) -> None:
    """A daemon closes what it was given, and whoever started it goes on."""
    write(
        tmp_path,
        "daemon.py",
        """
        import os, sys, time
        def work(n):
            return n
        if os.fork():
            os._exit(0)
        nothing = os.open(os.devnull, os.O_RDWR)
        for number in (0, 1, 2):
            os.dup2(nothing, number)
        for n in range(1200):
            work(n)
            time.sleep(0.05)
            if os.path.exists("end"):
                break
        """,
    )
    result = strobe(tmp_path, "--method", "daemon:work", "--rate", "all", "--log", "n is {n}", "--", "daemon.py")
    (tmp_path / "end").touch()
    assert result.returncode == 0, "both streams came to their end while the daemon was running"


@pytest.mark.skipif(sys.version_info[:2] < (3, 13), reason="needs two Pythons that could carry probes")
def test_what_the_start_has_to_say_is_not_captured_either(tmp_path: Path) -> None:
    other = other_python("3.12")
    if other is None:
        pytest.skip("there is no Python 3.12 on this machine")
    call = f"subprocess.run([{other!r}, '-c', 'print(1)'], capture_output=True, text=True)"
    write(tmp_path, "x.py", f"import json, subprocess\nran = {call}\nprint(json.dumps([ran.stdout, ran.stderr]))\n")
    result = strobe(tmp_path, "--method", "nowhere:f", "--", "x.py")
    assert json.loads(result.stdout) == ["1\n", ""]
    assert "stroboscope is not installed for Python 3.12" in result.stderr


def test_without_the_command_standard_error_is_the_programs(tmp_path: Path) -> None:
    write(
        tmp_path,
        "own.py",
        """
        import subprocess, sys
        import stroboscope
        def work(n):
            return n
        stroboscope.start(terminal="always")
        stroboscope.add_probe({"id": "p", "type": "LOG_PROBE", "template": "n is {n}",
                               "where": {"typeName": "__main__", "methodName": "work"}})
        work(3)
        """,
    )
    call = f"subprocess.run([{sys.executable!r}, 'own.py'], stderr=subprocess.PIPE, text=True).stderr"
    write(tmp_path, "outer.py", f"import subprocess\nprint({call})\n")
    result = plain(tmp_path, sys.executable, "outer.py")
    assert "n is 3" in result.stdout
    assert result.stderr == ""


leaves = """
    import os, sys
    def work(n):
        return n
    work(1)
    nothing = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT | os.O_APPEND)
    for number in (0, 1, 2):
        os.dup2(nothing, number)
    work(2)
"""


def run_leaves(folder: Path, to: str, redirection: str) -> subprocess.CompletedProcess[str]:
    write(folder, "leaves.py", leaves)
    command = f"{sys.executable} -m stroboscope run --method leaves:work --log 'n is {{n}}' -- leaves.py {to}"
    return plain(folder, "sh", "-c", f"{command} {redirection}")


@pytest.mark.parametrize("sign", [">", ">>"])
def test_a_file_is_found_again_that_the_program_has_left(tmp_path: Path, sign: str) -> None:
    run_leaves(tmp_path, os.devnull, f"2{sign}log")
    log = (tmp_path / "log").read_text()
    assert (log.count("n is 1"), log.count("n is 2")) == (1, 1), log
    assert log.splitlines()[-1] == "leaves:work  2 hits  2 events"


def test_of_a_pipe_the_file_in_its_place_is_left(tmp_path: Path) -> None:
    """As with `gunicorn --capture-output`, whose standard error becomes its log."""
    shown = run_leaves(tmp_path, "log", "").stderr
    log = (tmp_path / "log").read_text()
    assert ((shown + log).count("n is 1"), log.count("n is 2"), "leaves this" in shown) == (1, 1, False), shown
    assert log.splitlines()[-1] == "leaves:work  2 hits  2 events"


def test_where_nothing_is_left_that_is_said_before(tmp_path: Path) -> None:
    shown = run_leaves(tmp_path, os.devnull, "").stderr
    assert "n is 1" in shown and shown.count("the program leaves this standard error") == 1, shown
    assert shown.splitlines()[-1].endswith("write events to a file (--json FILE), or name an Agent")


@pytest.mark.parametrize("closed", ["2>&-", "1>&- 2>&-"])
def test_a_child_without_the_streams_has_its_events_shown(tmp_path: Path, closed: str) -> None:
    write(tmp_path, "child.py", "def work(n):\n    return n\nwork(3)\n")
    call = f"subprocess.run('exec {closed}; {sys.executable} child.py', shell=True)"
    write(tmp_path, "outer.py", f"import subprocess\n{call}\n")
    for more, stream in ([], "stderr"), (["--json", "-"], "stdout"):
        result = strobe(tmp_path, "--method", "child:work", "--log", "n is {n}", *more, "--", "outer.py")
        assert getattr(result, stream).count("n is 3") == 1, result


def test_a_standard_output_that_was_never_there_takes_no_events_and_that_is_told(tmp_path: Path) -> None:
    write(
        tmp_path,
        "child.py",
        "def work(n):\n    return n\nfile = open('theirs', 'w')\nwork(3)\nfile.write(str(file.fileno()))\n",
    )
    command = f"{sys.executable} -m stroboscope run --method child:work --log x --json - -- child.py >&-"
    result = plain(tmp_path, "sh", "-c", command)
    assert (tmp_path / "theirs").read_text() == "1"
    assert "the command was given none" in result.stderr
    assert result.stderr.splitlines()[-1] == "events: 1 not written to standard output"


big = {
    "id": "big",
    "type": "LOG_PROBE",
    "where": {"typeName": "__main__", "methodName": "work"},
    "captureSnapshot": True,
    "capture": {"maxLength": 100_000},
    "evaluateAt": "ENTRY",
    "sampling": {"snapshotsPerSecond": 100_000},
}


def whole_lines(out: bytes) -> tuple[int, int]:
    """How many lines are JSON, and how many are not."""
    whole = 0
    lines = out.splitlines()
    for line in lines:
        try:
            json.loads(line)
            whole += 1
        except ValueError:
            continue
    return whole, len(lines) - whole


def told(text: str, pattern: str) -> int:
    found = re.search(pattern, text)
    return int(found[1].replace(",", "")) if found else 0


@pytest.mark.parametrize("to", ["-", "named"])
@pytest.mark.parametrize("way", ["fork", "spawn"])
def test_lines_of_several_processes_in_one_pipe_stay_whole(tmp_path: Path, way: str, to: str) -> None:
    (tmp_path / "probes.json").write_text(json.dumps([big]))
    write(
        tmp_path,
        "many.py",
        f"""
        import os, subprocess, sys, time
        def work(text):
            time.sleep(0.002)
        def hit():
            for _ in range(20):
                work("x" * 60_000)
        if sys.argv[1:]:
            hit()
            sys.exit()
        for _ in range(4):
            if {way == "spawn"}:
                subprocess.Popen([sys.executable, "many.py", "child"])
            elif os.fork() == 0:
                hit()
                os._exit(0)
        for _ in range(4):
            os.wait()
        """,
    )
    if to == "named":
        os.mkfifo(tmp_path / to)
    more = f"--probes probes.json --rate all --json {to} -- many.py"
    reader = "cat <named & " if to == "named" else ""
    shell = f"{reader}{sys.executable} -m stroboscope run {more} {'' if reader else '| cat'}; wait"
    result = subprocess.run(
        ["sh", "-c", shell], cwd=tmp_path, env=clean_environment(), capture_output=True, check=False
    )
    said = result.stderr.decode()
    whole, torn = whole_lines(result.stdout)
    assert torn == 0 and whole > 0, said[-500:]
    assert whole == told(said, r"([\d,]+) events") - told(said, r"([\d,]+) not written"), said[-500:]


def test_a_line_that_is_never_finished_spoils_none_and_is_counted(tmp_path: Path) -> None:
    (tmp_path / "probes.json").write_text(json.dumps([big]))
    write(
        tmp_path,
        "ends.py",
        """
        import fcntl, os, signal, sys, termios, time
        def work(text):
            return text
        def waiting():
            return int.from_bytes(fcntl.ioctl(1, termios.FIONREAD, bytes(4)), sys.byteorder)
        for end in "exit", "kill":
            before = waiting()
            pid = os.fork()
            if pid == 0:
                work("x" * 60_000)
                if end == "kill":
                    time.sleep(60)
                os._exit(0)
            if end == "kill":
                while waiting() == before:
                    time.sleep(0.01)
                os.kill(pid, signal.SIGKILL)
            os.wait()
            # Now somebody reads.
            print(end, file=sys.stderr, flush=True)
            while waiting():
                time.sleep(0.01)
            work(end)
            __import__("stroboscope").flush()
        """,
    )
    command = [sys.executable, "-m", "stroboscope", "run", "--probes", "probes.json", "--json", "-", "--", "ends.py"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=tmp_path, env=clean_environment(), stdout=pipe, stderr=pipe) as process:
        assert process.stdout is not None and process.stderr is not None
        out = b""
        said = ""
        while line := process.stderr.readline().decode():
            said += line
            if line.strip() == "exit":
                out += os.read(process.stdout.fileno(), 1 << 20)
            if line.strip() == "kill":
                out += process.stdout.read()
        out += process.stdout.read()
    assert whole_lines(out) == (2, 2), (said, out[:100])
    assert "events: 1 not written to standard output" in said
    assert said.splitlines()[-1] == "summed over 2 processes; 1 more still ran or were killed, and are not in it"


def test_a_pipe_that_nobody_reads_is_no_agent_that_hangs(tmp_path: Path) -> None:
    """Each end waits for it, and what it does not take is counted."""
    (tmp_path / "probes.json").write_text(json.dumps([big]))
    write(
        tmp_path,
        "ends.py",
        """
        import os
        def work(text):
            return text
        if os.fork() == 0:
            work("x" * 60_000)
            os._exit(0)
        os.wait()
        work("y")
        """,
    )
    ours, theirs = os.pipe()
    command = [sys.executable, "-m", "stroboscope", "run", "--probes", "probes.json", "--json", "-", "--", "ends.py"]
    result = subprocess.run(command, cwd=tmp_path, env=clean_environment(), stdout=theirs, stderr=-1, check=False)
    os.close(theirs)
    os.close(ours)
    assert b"events: 2 not written to standard output" in result.stderr, result.stderr
