"""The command, as a user types it: real processes. The program must behave as with plain `python`."""

import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from processes import (
    clean_environment,
    contains_lines,
    events,
    line_of,
    message,
    other_python,
    plain,
    preload,
    seconds_to_wait,
    strobe,
    write,
)

pytestmark = pytest.mark.skipif(os.name != "posix", reason="the command replaces itself by the program")


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    return write(
        tmp_path,
        "shop.py",
        """
        import sys

        def price(article, quantity):
            amount = len(article) * quantity
            return amount  # here

        if __name__ == "__main__":
            print([price(word, 2) for word in sys.argv[1:]])
        """,
    )


# What is caught.


def test_a_line_is_logged_and_the_end_sums_up(shop: Path) -> None:
    at = f"shop.py:{line_of(shop, '# here')}"
    result = strobe(shop.parent, "--at", at, "--log", "{article} for {amount}", "--", "shop.py", "cup", "kettle")
    assert result.returncode == 0
    assert result.stdout == "[6, 12]\n"
    assert "cup for 6" in result.stderr
    assert "kettle for 12" in result.stderr
    assert at in result.stderr.splitlines()[-1], "the last line sums up the one probe"


def test_a_short_script_shows_its_only_event(tmp_path: Path) -> None:
    script = write(tmp_path, "brief.py", "x = 41\nx += 1\n")
    assert "it is 41" in strobe(tmp_path, "--at", "brief.py:2", "--log", "it is {x}", "--", script.name).stderr


def test_a_method_is_found_in_a_script_that_runs_as_main(shop: Path) -> None:
    result = strobe(shop.parent, "--method", "shop:price", "--log", "gave {@return}", "--", "shop.py", "tray")
    assert "gave 8" in result.stderr


def test_a_condition_that_never_held_is_told(shop: Path) -> None:
    at = f"shop.py:{line_of(shop, '# here')}"
    result = strobe(shop.parent, "--at", at, "--when", "amount > 100", "--", "shop.py", "cup", "pot")
    assert "2 with a false condition" in result.stderr


def test_a_probe_without_log_takes_a_snapshot(shop: Path) -> None:
    at = f"shop.py:{line_of(shop, '# here')}"
    result = strobe(shop.parent, "--at", at, "--json", "-", "--", "shop.py", "cup")
    (event,) = events(result.stdout)
    assert "captures" in json.dumps(event)


def test_rate_all_lifts_the_limits(shop: Path) -> None:
    at = f"shop.py:{line_of(shop, '# here')}"
    many = ["cup"] * 40
    limited = strobe(shop.parent, "--at", at, "--json", "-", "--", "shop.py", *many)
    lifted = strobe(shop.parent, "--at", at, "--rate", "all", "--json", "-", "--", "shop.py", *many)
    assert 1 <= len(events(limited.stdout)) < 10
    assert len(events(lifted.stdout)) == 40


def test_several_probes_each_have_their_own_options(shop: Path) -> None:
    at = f"shop.py:{line_of(shop, '# here')}"
    result = strobe(
        shop.parent,
        *("--at", at, "--log", "first {amount}"),
        *("--at", at, "--log", "second {amount}", "--when", "amount > 6"),
        *("--", "shop.py", "cup", "kettle"),
    )
    assert "first 6" in result.stderr
    assert "first 12" in result.stderr
    assert "second 12" in result.stderr
    assert "second 6" not in result.stderr


def test_probes_come_from_a_file(shop: Path) -> None:
    probe = {
        "id": "by-file",
        "type": "LOG_PROBE",
        "where": {"typeName": "shop", "methodName": "price"},
        "template": "{article} from a file",
    }
    (shop.parent / "probes.json").write_text(json.dumps([probe]))
    result = strobe(shop.parent, "--probes", "probes.json", "--", "shop.py", "cup")
    assert "cup from a file" in result.stderr


def test_probes_come_through_a_pipe_also_for_children(shop: Path) -> None:
    where = {"typeName": "shop", "methodName": "price"}
    probe = {"id": "piped", "type": "LOG_PROBE", "where": where, "template": "{article} through a pipe"}
    write(shop.parent, "parent.py", "import subprocess, sys; subprocess.call([sys.executable, 'shop.py', 'cup'])\n")
    (shop.parent / "made.json").write_text(json.dumps([probe, {"id": "bad", "type": 3}]))
    command = f"{sys.executable} -m stroboscope run --probes <(cat made.json) -- parent.py"
    result = plain(shop.parent, "bash", "-c", command)
    assert "cup through a pipe" in result.stderr
    assert "'type' must be text" in result.stderr
    refused = plain(shop.parent, "bash", "-c", command.replace("cat made.json", "echo '[1,'"))
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr.startswith("stroboscope: --probes /dev/fd/"), refused.stderr


def test_json_goes_to_stdout_and_nothing_else_of_ours_does(shop: Path) -> None:
    at = f"shop.py:{line_of(shop, '# here')}"
    result = strobe(shop.parent, "--at", at, "--log", "x{amount}", "--json", "-", "--", "shop.py", "cup")
    lines = result.stdout.splitlines()
    assert "[6]" in lines
    assert [message(event) for event in events(result.stdout)] == ["x6"]
    assert len(lines) == 2


def test_json_goes_to_a_file_also_when_the_program_changes_its_folder(tmp_path: Path) -> None:
    write(tmp_path, "walk.py", "import os\nos.chdir('/')\nx = 1\nx = 2\n")
    strobe(tmp_path, "--at", "walk.py:4", "--log", "{x}", "--json", "out.ndjson", "--", "walk.py")
    assert [message(event) for event in events((tmp_path / "out.ndjson").read_text())] == ["1"]


def test_probe_file_and_preload_by_environment_work_without_the_command(shop: Path) -> None:
    out = shop.parent / "out.ndjson"
    probe = {
        "id": "by-environment",
        "type": "LOG_PROBE",
        "where": {"typeName": "shop", "methodName": "price"},
        "template": "seen",
    }
    (shop.parent / "probes.json").write_text(json.dumps([probe]))
    script = write(
        shop.parent,
        "main.py",
        f"""
        import shop, stroboscope
        shop.price("a", 1)
        open({str(out)!r}, "w").write(repr([(p["id"], p["hits"]) for p in stroboscope.status()]))
        """,
    )
    result = plain(
        shop.parent,
        sys.executable,
        script.name,
        PYTHONPATH=preload,
        DD_DYNAMIC_INSTRUMENTATION_ENABLED="true",
        DD_DYNAMIC_INSTRUMENTATION_PROBE_FILE="probes.json",
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert out.read_text() == "[('by-environment', 1)]"


# The program does not notice.

twins = {
    "argv and path": "import sys; print(sys.argv, sys.path, sys.flags, __name__, __file__)",
    "exit code": "import sys; sys.exit(7)",
    "exit text": "import sys; sys.exit('no')",
    "exit handlers": "import atexit; atexit.register(print, 'bye'); print('hi')",
    "os._exit": "import os; print('x', flush=True); os._exit(9)",
    "killed": "import os, signal; print('x', flush=True); os.kill(os.getpid(), signal.SIGTERM)",
    "interrupted": "import os, signal; os.kill(os.getpid(), signal.SIGINT)",
    "daemon threads": "import threading, time; threading.Thread(target=time.sleep, args=(60,), daemon=True).start()",
    "standard input": "import sys; print(repr(sys.stdin.read()))",
    "handlers": "import signal; print([signal.getsignal(number) for number in (2, 13, 15)])",
    "path caches": "import sys; print([entry for entry in sys.path_importer_cache if entry.endswith('_preload')])",
    "no sitecustomize": "import sys; print('sitecustomize' in sys.modules)",
    "warnings": "import warnings, sys; print(warnings.filters, sys.warnoptions)",
    "finders": "import sys; print([str(finder).split(' at ')[0] for finder in sys.meta_path + sys.path_hooks])",
}


@pytest.mark.parametrize("name", twins)
def test_the_program_behaves_as_with_plain_python(tmp_path: Path, name: str) -> None:
    script = write(tmp_path, "twin.py", twins[name] + "\n")
    without = plain(tmp_path, sys.executable, script.name, "a", "--b")
    with_probe = strobe(tmp_path, "--method", "nowhere:f", "--", script.name, "a", "--b")
    assert with_probe.returncode == without.returncode
    assert with_probe.stdout == without.stdout
    assert contains_lines(with_probe.stderr, without.stderr)


def test_an_uncaught_exception_keeps_its_traceback(shop: Path) -> None:
    script = write(shop.parent, "fails.py", "import shop\n\ndef go():\n    shop.price(3, 4)\n\ngo()\n")
    without = plain(shop.parent, sys.executable, script.name)
    with_probe = strobe(shop.parent, "--method", "shop:price", "--log", "threw {@exception}", "--", script.name)
    assert with_probe.returncode == without.returncode == 1
    assert contains_lines(with_probe.stderr, without.stderr)
    assert "threw TypeError" in with_probe.stderr


@pytest.mark.parametrize("flags", [["-W", "error"], ["-X", "dev"], ["-O"], ["-B", "-u"], ["-OO", "-Wignore"]])
def test_options_of_this_python_are_the_programs(tmp_path: Path, flags: list[str]) -> None:
    script = write(tmp_path, "flags.py", "import sys; print(sys.flags, sys.warnoptions, sys.argv, sys.orig_argv)\n")
    without = plain(tmp_path, sys.executable, *flags, script.name)
    command = [sys.executable, *flags, "-m", "stroboscope", "run", "--method", "nowhere:f", "--", script.name]
    assert plain(tmp_path, *command).stdout == without.stdout


def test_options_of_the_environment_stay_there(tmp_path: Path) -> None:
    script = write(tmp_path, "flags.py", "import sys; print(sys.flags, sys.orig_argv)\n")
    environment = {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONOPTIMIZE": "1"}
    without = plain(tmp_path, sys.executable, script.name, **environment)
    assert strobe(tmp_path, "--method", "nowhere:f", "--", script.name, **environment).stdout == without.stdout


@pytest.mark.parametrize("command", [["-m", "pack"], ["-m", "pack.other", "x"], ["pack"], ["-c", "print(__name__)"]])
def test_modules_folders_and_code_run_as_with_plain_python(tmp_path: Path, command: list[str]) -> None:
    text = "import sys; print(sys.argv, sys.path[:3], __name__, __package__, __spec__ and __spec__.name)\n"
    for name in ("pack/__init__.py", "pack/__main__.py", "pack/other.py"):
        write(tmp_path, name, text)
    without = plain(tmp_path, sys.executable, *command)
    assert without.returncode == 0
    with_probe = strobe(tmp_path, "--method", "nowhere:f", "--", *command)
    assert (with_probe.returncode, with_probe.stdout) == (0, without.stdout)


@pytest.mark.parametrize("pythonpath", [None, "", "lib", "lib:", ":lib", "lib:lib/../other"])
def test_the_path_is_the_programs_own(tmp_path: Path, pythonpath: str | None) -> None:
    script = write(tmp_path, "path.py", "import sys; print(sys.path)\n")
    environment = {} if pythonpath is None else {"PYTHONPATH": pythonpath}
    without = plain(tmp_path, sys.executable, script.name, **environment)
    assert strobe(tmp_path, "--method", "nowhere:f", "--", script.name, **environment).stdout == without.stdout


def test_the_programs_own_sitecustomize_runs_as_it_would(tmp_path: Path) -> None:
    write(tmp_path, "lib/sitecustomize.py", "import sys\nsys.own = (__file__, __name__, list(sys.path))\n")
    script = write(tmp_path, "own.py", "import sys, sitecustomize\nprint(sys.own, sitecustomize)\n")
    path = {"PYTHONPATH": str(tmp_path / "lib")}
    without = plain(tmp_path, sys.executable, script.name, **path)
    assert without.returncode == 0
    assert strobe(tmp_path, "--method", "nowhere:f", "--", script.name, **path).stdout == without.stdout


def test_a_subinterpreter_of_the_program_is_left_alone_without_a_word(tmp_path: Path) -> None:
    script = write(
        tmp_path,
        "inner.py",
        "try:\n    import _interpreters as inner\nexcept ImportError:\n    import _xxsubinterpreters as inner\n"
        "def work():\n    return inner.run_string(inner.create(), 'print(1 + 1)')\nwork()\n",
    )
    ran = strobe(tmp_path, "--method", "__main__:work", "--", str(script))
    assert ran.returncode == 0 and "2\n" in ran.stdout
    assert "not installed" not in ran.stderr and "1 hit" in ran.stderr


def test_a_broken_sitecustomize_of_the_program_is_reported_as_without_us(tmp_path: Path) -> None:
    write(tmp_path, "lib/sitecustomize.py", "import absent_module\n")
    script = write(tmp_path, "own.py", "print('runs')\n")
    path = {"PYTHONPATH": str(tmp_path / "lib")}
    without = plain(tmp_path, sys.executable, script.name, **path)
    with_probe = strobe(tmp_path, "--method", "nowhere:f", "--", script.name, **path)
    assert with_probe.stdout == without.stdout == "runs\n"
    assert without.stderr
    assert contains_lines(with_probe.stderr, without.stderr)


def test_a_failure_of_ours_is_one_line_and_the_program_runs(tmp_path: Path) -> None:
    script = write(tmp_path, "runs.py", "print('runs')\n")
    environment = {"PYTHONPATH": preload, "STROBE_ENABLED": "true", "STROBE_RUN": "this is no number"}
    result = plain(tmp_path, sys.executable, script.name, **environment)
    assert (result.returncode, result.stdout) == (0, "runs\n")
    (line,) = result.stderr.splitlines()
    assert line.startswith("stroboscope: off in this process: ValueError")


def test_switched_off_the_preload_does_nothing(tmp_path: Path) -> None:
    script = write(tmp_path, "off.py", "import sys; print('stroboscope' in sys.modules)\n")
    for environment in ({}, {"DD_DYNAMIC_INSTRUMENTATION_ENABLED": "true", "STROBE_ENABLED": "false"}):
        result = plain(tmp_path, sys.executable, script.name, PYTHONPATH=preload, **environment)
        assert (result.stdout, result.stderr) == ("False\n", "")


def test_another_preload_that_comes_first_hands_on_to_ours(tmp_path: Path) -> None:
    write(
        tmp_path,
        "first/sitecustomize.py",
        """
        import os, sys
        sys.path.remove(os.path.dirname(__file__))
        kept = sys.modules.pop("sitecustomize")
        try:
            import sitecustomize
        except ImportError:
            sys.modules["sitecustomize"] = kept
        """,
    )
    script = write(
        tmp_path,
        "chained.py",
        """
        import sys, sitecustomize
        left = [entry for entry in sys.path if entry.endswith("_preload")]
        print(sitecustomize.__file__, "stroboscope" in sys.modules, left)
        """,
    )
    path = os.pathsep.join([str(tmp_path / "first"), preload])
    result = plain(tmp_path, sys.executable, script.name, PYTHONPATH=path, STROBE_ENABLED="true")
    assert result.stdout == f"{tmp_path}/first/sitecustomize.py True []\n"
    assert result.stderr == ""


def test_beside_the_vendors_debugger_ours_stays_off_unless_asked(tmp_path: Path) -> None:
    write(
        tmp_path,
        "lib/sitecustomize.py",
        """
        import sys, types
        vendor = types.ModuleType("ddtrace.debugging._debugger")
        vendor.Debugger = type("Debugger", (), {"_instance": object()})
        sys.modules["ddtrace.debugging._debugger"] = vendor
        """,
    )
    script = write(tmp_path, "runs.py", "print('runs')\n")
    path = os.pathsep.join([preload, str(tmp_path / "lib")])
    by_vendor = {"PYTHONPATH": path, "DD_DYNAMIC_INSTRUMENTATION_ENABLED": "true"}
    off = plain(tmp_path, sys.executable, script.name, **by_vendor)
    assert off.stdout == "runs\n"
    assert "STROBE_ENABLED=true" in off.stderr
    on = plain(tmp_path, sys.executable, script.name, **by_vendor, STROBE_ENABLED="true")
    assert (on.stdout, on.stderr) == ("runs\n", "")


# Processes.


def old_python() -> str | None:
    for minor in (11, 10, 9, 8):
        for path in Path.home().glob(f".pyenv/versions/3.{minor}.*/bin/python3"):
            return str(path)
    return None


def test_a_free_threaded_python_runs_the_program_and_says_so(tmp_path: Path) -> None:
    begin = f"try:\n    runpy.run_path({preload + '/sitecustomize.py'!r})\nexcept ImportError:\n    pass\n"
    write(tmp_path, "free.py", f"import runpy, sys\nsys.abiflags = 't'\n{begin}print('stroboscope' in sys.modules)\n")
    ran = plain(tmp_path, sys.executable, "free.py", DD_DYNAMIC_INSTRUMENTATION_ENABLED="true", STROBE_RUN_FIRST="true")
    assert (ran.returncode, ran.stdout) == (0, "False\n")
    version = ".".join(map(str, sys.version_info[:3]))
    why = f"stroboscope needs a CPython with the GIL; {version} is free-threaded"
    assert ran.stderr == f"stroboscope: no probes in this program: {why}\n"


@pytest.mark.skipif(old_python() is None, reason="there is no older Python on this machine")
def test_an_older_python_runs_the_program_and_only_the_first_one_says_so(tmp_path: Path) -> None:
    old = str(old_python())
    write(tmp_path, "old.py", "import subprocess, sys\nprint(subprocess.call([sys.executable, '-c', 'pass']))\n")
    direct = strobe(tmp_path, "--method", "nowhere:f", "--", old, "old.py")
    assert (direct.returncode, direct.stdout) == (0, "0\n")
    assert "stroboscope needs CPython 3.12 or newer; found 3." in direct.stderr
    write(tmp_path, "new.py", f"import subprocess\nprint(subprocess.call([{old!r}, '-c', 'pass']))\n")
    below = strobe(tmp_path, "--method", "nowhere:f", "--", "new.py")
    assert (below.returncode, below.stdout) == (0, "0\n")
    assert "stroboscope needs" not in below.stderr


@pytest.mark.skipif(sys.version_info[:2] < (3, 13), reason="needs two Pythons that could carry probes")
def test_a_child_without_our_package_says_so_in_one_line(shop: Path) -> None:
    other = other_python("3.12")
    if other is None:
        pytest.skip("there is no Python 3.12 on this machine")
    child = write(shop.parent, "child.py", f"import subprocess\nsubprocess.call([{other!r}, '-c', 'print(1)'])\n")
    result = strobe(shop.parent, "--method", "nowhere:f", "--", child.name)
    assert result.stdout == "1\n"
    said = [line for line in result.stderr.splitlines() if line.startswith("stroboscope: ")]
    assert said == ["stroboscope: stroboscope is not installed for Python 3.12; no probes in this program"]


def test_a_subinterpreter_runs_without_probes_and_nothing_is_said(shop: Path) -> None:
    write(
        shop.parent,
        "inner.py",
        """
        import shop
        try:
            import _interpreters as interpreters
        except ImportError:
            import _xxsubinterpreters as interpreters
        print(interpreters.run_string(interpreters.create(), "import shop; shop.price('inner', 1)"))
        shop.price("outer", 1)
        """,
    )
    result = strobe(shop.parent, "--method", "shop:price", "--log", "{article}", "--", "inner.py")
    assert (result.returncode, result.stdout) == (0, "None\n")
    assert "not installed for" not in result.stderr
    assert "outer" in result.stderr and "1 hit " in result.stderr


def test_a_file_beside_the_script_goes_before_one_of_its_name(tmp_path: Path) -> None:
    write(tmp_path, "pkg/parser.py", "def parse(text):\n    n = len(text)\n    return n\n")
    script = write(
        tmp_path,
        "script.py",
        """
        import html.parser
        from pkg.parser import parse
        parse("abc")
        """,
    )
    elsewhere = write(tmp_path, "elsewhere/empty", "").parent
    for place, name in ((tmp_path, script.name), (elsewhere, str(script))):
        result = strobe(place, "--at", "pkg/parser.py:3", "--log", "n is {n}", "--", name)
        assert "n is 3" in result.stderr and "html" not in result.stderr, result.stderr


@pytest.mark.parametrize("module", ["__main__", "script"])
def test_a_misspelt_function_of_the_script_is_told_with_the_nearest(tmp_path: Path, module: str) -> None:
    script = write(tmp_path, "script.py", "def work(n):\n    return n\nwork(3)\n")
    wrong = strobe(tmp_path, "--method", f"{module}:wrk", "--", script.name).stderr
    assert wrong.splitlines()[-1].strip() == f"no Python function `wrk` in module `{module}`; nearest: work"
    right = strobe(tmp_path, "--method", f"{module}:work", "--", script.name).stderr
    assert "no Python function" not in right and "1 hit" in right


def test_a_name_that_a_short_script_imports_says_where_it_is_from(tmp_path: Path) -> None:
    script = write(tmp_path, "script.py", "from json import dumps\ndumps({})\n")
    shown = strobe(tmp_path, "--method", "script:dumps", "--", script.name).stderr
    assert "is defined in module `json`; name that module" in shown and "never reached" not in shown
    shown = strobe(tmp_path, "--method", "__main__:dumps", "--", "-c", script.read_text()).stderr
    assert "is defined in module `json`; name that module" in shown and "never reached" not in shown


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("Pair.__new__", "is generated code (<string>), which has no place of its own; put the probe where"),
        ("Pair._replace", "is made by other code, at "),
        ("Order.__gt__", "is defined in module `functools`; name that module and `_gt_from_lt`"),
    ],
)
def test_a_name_that_leads_to_code_of_elsewhere_says_what_would_be_hit(tmp_path: Path, name: str, says: str) -> None:
    script = write(
        tmp_path,
        "script.py",
        """
        import collections, functools, sys, time

        Pair = collections.namedtuple("Pair", "x y")

        @functools.total_ordering
        class Order:
            def __lt__(self, other):
                return True

        Pair(1, 2)._replace(x=3), Order() > Order()
        time.sleep(0.3)
        """,
    )
    shown = strobe(tmp_path, "--method", f"__main__:{name}", "--", script.name).stderr
    assert says in shown
    if where := re.search(r"made by other code, at (\S+:\d+);", shown):
        found = strobe(tmp_path, "--at", where[1], "--", script.name).stderr
        assert "hit" in found and "no executable code" not in found, found
    if "`_gt_from_lt`" in shown:
        assert "1 hit" in strobe(tmp_path, "--method", "functools:_gt_from_lt", "--", script.name).stderr


def test_a_line_of_a_template_says_that_it_is_one_of_generated_code(tmp_path: Path) -> None:
    write(tmp_path, "page.html", "<p>\n{{ x }}\n</p>\n")
    engine = """
        code = compile("def render(x):\\n    y = x\\n    return y\\n", "page.html", "exec")
        space = {}
        exec(code, space)
        space["render"](1)
    """
    script = write(tmp_path, "script.py", engine)
    shown = strobe(tmp_path, "--at", "page.html:2", "--", script.name).stderr
    assert "the file is no Python source: code that was generated of it says its name" in shown
    shown = strobe(tmp_path, "--at", "script.py:2", "--", script.name).stderr
    assert "no Python source" not in shown and "1 hit" in shown


def test_a_lambda_is_probed_by_the_name_that_it_is_bound_to(tmp_path: Path) -> None:
    write(tmp_path, "names.py", "lam = lambda x: x\n")
    script = write(
        tmp_path,
        "script.py",
        """
        import names

        double = twice = lambda x, by=2: x * by
        half: object = lambda x: x / 2
        other = [lambda x: x]

        class Sum:
            of = lambda self, x: x + 1

        for _ in range(3):
            double(1), half(1), Sum().of(1), names.lam(1), other[0](1)
        """,
    )
    probed = ["script:double", "script:twice", "script:half", "script:Sum.of", "names:lam"]
    shown = strobe(tmp_path, *(part for name in probed for part in ("--method", name)), "--", script.name).stderr
    for name in probed:
        assert re.search(rf"^{re.escape(name)} .* 3 hits", shown, re.MULTILINE), shown
    assert "but a `list`" in strobe(tmp_path, "--method", "script:other", "--", script.name).stderr


def test_a_script_that_does_not_end_in_py_has_its_own_name_too(tmp_path: Path) -> None:
    write(tmp_path, "bin/tool", "def work():\n    return 1\nwork()\n")
    assert "1 hit" in strobe(tmp_path, "--method", "tool:work", "--", sys.executable, "bin/tool").stderr
    # A package of that name is meant rather than the script that starts it.
    write(tmp_path, "bin/tool.py", "def work():\n    return 2\n")
    shown = strobe(tmp_path, "--method", "tool:work", "--", sys.executable, "bin/tool").stderr
    assert "0 hits" in shown and "module `tool`" in shown and "was not imported" in shown


def test_at_the_end_nothing_waits_any_more(tmp_path: Path) -> None:
    write(tmp_path, "beside.py", "def f():\n    return 1\n")
    script = write(tmp_path, "script.py", "import json\n")
    probes = ["--method", "json.tool:main", "--method", "beside:f", "--at", "beside.py:2", "--method", "bside:f"]
    shown = strobe(tmp_path, *probes, "--at", "besid.py:2", "--", script.name).stderr
    assert shown.count("was not imported") == 3, shown
    assert "`bside`; nearest: beside\n" in shown and "like besid.py; nearest: beside.py\n" in shown, shown
    assert "wait" not in shown and "no Python function" not in shown, shown


def test_code_that_is_in_no_file_is_probed_by_method(tmp_path: Path) -> None:
    code = "def f(x):\n    return x\nexec(compile('def g(y):\\n    return y', '<string>', 'exec'))\nf(3); g(4)\n"
    given = strobe(
        tmp_path,
        *("--method", "__main__:f", "--log", "x is {x}", "--method", "__main__:g", "--log", "y is {y}"),
        *("--", "-c", code),
    )
    assert "x is 3" in given.stderr and "y is 4" in given.stderr, given.stderr


@pytest.mark.parametrize("way", ["spawn", "forkserver"])
@pytest.mark.parametrize("module", ["__main__", "script"])
def test_the_script_is_found_in_children_of_multiprocessing(tmp_path: Path, way: str, module: str) -> None:
    script = write(
        tmp_path,
        "script.py",
        f"""
        import multiprocessing
        def work(n):
            return n * 2
        if __name__ == "__main__":
            with multiprocessing.get_context({way!r}).Pool(1) as pool:
                print(pool.map(work, [21]))
        """,
    )
    result = strobe(tmp_path, "--method", f"{module}:work", "--log", "n is {n}", "--", script.name)
    assert result.stdout == "[42]\n"
    assert "n is 21" in result.stderr


def test_forked_children_are_watched_too(shop: Path) -> None:
    at = f"shop.py:{line_of(shop, '# here')}"
    write(
        shop.parent,
        "forks.py",
        """
        import os, shop, time
        child = os.fork()
        shop.price("x" * (5 if child else 7), 1)
        if child:
            os.waitpid(child, 0)
        """,
    )
    result = strobe(shop.parent, "--at", at, "--log", "amount is {amount}", "--", "forks.py")
    assert result.returncode == 0
    assert result.stderr.count("amount is 5") == 1
    assert result.stderr.count("amount is 7") == 1


def test_the_program_is_this_very_process(tmp_path: Path) -> None:
    write(tmp_path, "pid.py", "import os; print(os.getpid())\n")
    command = [sys.executable, "-m", "stroboscope", "run", "--method", "nowhere:f", "--", "pid.py"]
    with subprocess.Popen(
        command, cwd=tmp_path, env=clean_environment(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        out, _ = process.communicate(timeout=seconds_to_wait)
        assert int(out) == process.pid


def test_children_are_watched_too_and_report_only_what_they_caught(shop: Path) -> None:
    at = f"shop.py:{line_of(shop, '# here')}"
    write(
        shop.parent,
        "parent.py",
        """
        import subprocess, sys
        subprocess.run([sys.executable, "shop.py", "cup"], check=True)
        subprocess.run([sys.executable, "-c", "pass"], check=True)
        """,
    )
    result = strobe(shop.parent, "--at", at, "--log", "child {amount}", "--", "parent.py")
    assert result.returncode == 0
    assert result.stdout == "[6]\n"
    assert result.stderr.count("child 6") == 1
    sums = re.findall(rf"^{re.escape(at)} +(\d+) hits? ", result.stderr, re.MULTILINE)
    assert sums == ["1"], "one line for all processes"
    assert "never reached" not in result.stderr
    assert result.stderr.splitlines()[-1] == "summed over 3 processes"


def test_why_a_probe_never_fired_is_told_by_the_process_in_which_it_got_furthest(shop: Path) -> None:
    write(
        shop.parent,
        "parent.py",
        """
        import subprocess, sys
        subprocess.run([sys.executable, "shop.py", "cup"], check=True)
        """,
    )
    result = strobe(
        shop.parent, "--method", "shop:nosuch", "--log", "x", "--at", "shop.py:400", "--log", "y", "--", "parent.py"
    )
    assert result.returncode == 0
    assert "  no Python function `nosuch` in module `shop`\n" in result.stderr
    assert "  no executable code at line 400" in result.stderr
    assert "was not imported" not in result.stderr
    assert result.stderr.splitlines()[-1] == "summed over 2 processes"


def test_any_program_can_be_the_command(shop: Path) -> None:
    at = f"shop.py:{line_of(shop, '# here')}"
    result = strobe(
        shop.parent, "--at", at, "--log", "s {amount}", "--", "sh", "-c", f"{sys.executable} shop.py pot; exit 3"
    )
    assert result.returncode == 3
    assert "s 6" in result.stderr


@pytest.mark.parametrize(("executable", "suffix"), [(False, ""), (True, ""), (False, ".py")])
def test_scripts_that_name_no_python_run_with_this_one(tmp_path: Path, executable: bool, suffix: str) -> None:
    script = write(tmp_path, f"tool{suffix}", "#!/usr/bin/env python3\nimport sys; print(sys.executable)\n")
    if executable:
        script.chmod(script.stat().st_mode | stat.S_IXUSR)
    result = strobe(tmp_path, "--method", "nowhere:f", "--", f"./{script.name}")
    assert result.stdout == f"{sys.executable}\n"


@pytest.mark.parametrize("executable", [False, True])
@pytest.mark.parametrize("first_line", ["#!{folder}/python-of-its-own", "#!/usr/bin/env python3.99"])
def test_a_script_that_names_its_python_runs_with_that_one(tmp_path: Path, first_line: str, executable: bool) -> None:
    for name in ("python-of-its-own", "python3.99"):
        link = write(tmp_path, name, f'#!/bin/sh\necho "$0"\nexec {sys.executable} "$@"\n')
        link.chmod(0o755)
    script = write(tmp_path, "tool", f"{first_line.format(folder=tmp_path)}\nimport sys; print(sys.argv)\n")
    script.chmod(0o755 if executable else 0o644)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    command = ["--method", "nowhere:f", "--", "./tool", "a"]
    result = strobe(tmp_path, *command, PATH=path)
    named = first_line.rsplit(maxsplit=1)[-1].rpartition("/")[2]
    assert result.stdout.splitlines() == [f"{tmp_path}/{named}", "['./tool', 'a']"]
    assert "no Python took the probes" not in result.stderr


def test_options_in_the_first_line_of_a_script_are_kept(tmp_path: Path) -> None:
    script = write(tmp_path, "tool", "#!/usr/bin/env -S python3 -O -X utf8\nimport sys; print(sys.orig_argv)\n")
    script.chmod(0o755)
    result = strobe(tmp_path, "--method", "nowhere:f", "--", "./tool")
    assert result.stdout == f"{[sys.executable, '-O', '-X', 'utf8', './tool']}\n"


def test_a_script_that_asks_for_any_python_gets_that_of_the_active_environment(tmp_path: Path) -> None:
    link = write(tmp_path, "other/bin/python3", f'#!/bin/sh\necho other\nexec {sys.executable} "$@"\n')
    link.chmod(0o755)
    script = write(tmp_path, "tool", "#!/usr/bin/env python3\nprint('runs')\n")
    script.chmod(0o755)
    path = f"{link.parent}{os.pathsep}{os.environ['PATH']}"
    for first in ("", "other\n"):
        result = strobe(tmp_path, "--method", "nowhere:f", "--", "./tool", PATH=path)
        assert result.stdout == first + "runs\n"
        write(tmp_path, "other/pyvenv.cfg", "")


@pytest.mark.parametrize("program", [sys.executable, "/usr/bin/env -S python3"])
def test_a_script_whose_first_line_keeps_us_out_is_refused(tmp_path: Path, program: str) -> None:
    script = write(tmp_path, "tool", f"#!{program} -I\nprint('runs')\n")
    script.chmod(0o755)
    result = strobe(tmp_path, "--method", "nowhere:f", "--", "./tool")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("stroboscope: python -I ignores PYTHONPATH or site, so no probe")


# Nobody takes the probes.

silent = "no Python took the probes until"


@pytest.mark.parametrize("code", ["exit 3", f"{sys.executable} -I -c pass; exit 3", "kill -9 $$"])
def test_a_command_without_any_python_is_told_at_its_end(tmp_path: Path, code: str) -> None:
    without = plain(tmp_path, "sh", "-c", code)
    result = strobe(tmp_path, "--method", "nowhere:f", "--", "sh", "-c", code)
    assert (result.returncode, result.stdout) == (without.returncode, without.stdout)
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"stroboscope: {silent} sh ended: ")


def test_a_command_with_a_python_somewhere_is_not_told_so(tmp_path: Path) -> None:
    write(tmp_path, "x.py", "print('x')\n")
    result = strobe(tmp_path, "--at", "x.py:1", "--", "sh", "-c", f"sh -c '{sys.executable} x.py'; true")
    assert result.stdout == "x\n"
    assert silent not in result.stderr and "1 hit" in result.stderr


def test_who_waits_for_the_end_holds_nothing_of_the_program(tmp_path: Path) -> None:
    code = "ls -l /proc/$$/fd >files; ps -o comm= --ppid $$ >children; exec >&-; exec sleep 60"
    command = [sys.executable, "-m", "stroboscope", "run", "--method", "nowhere:f", "--", "sh", "-c", code]
    with subprocess.Popen(
        command,
        cwd=tmp_path,
        env=clean_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        # The end of standard output comes while the program still runs.
        assert process.stdout.read() == ""
        assert process.poll() is None
        process.kill()
        assert silent in process.stderr.read()
    assert (tmp_path / "files").read_text().count("pipe:") == 2, "standard output and error"
    assert (tmp_path / "children").read_text().split() == ["ps"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, -signal.SIGTERM), (signal.SIGINT, -signal.SIGINT)])
def test_signals_end_the_program_as_without_us(tmp_path: Path, number: signal.Signals, code: int) -> None:
    write(tmp_path, "waits.py", "import time\nprint('ready', flush=True)\ntime.sleep(60)\n")
    command = [sys.executable, "-m", "stroboscope", "run", "--method", "nowhere:f", "--", "waits.py"]
    with subprocess.Popen(
        command, cwd=tmp_path, env=clean_environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        sent = time.monotonic()
        process.send_signal(number)
        _, errors = process.communicate(timeout=seconds_to_wait)
        assert process.returncode == code
        assert time.monotonic() - sent < 2.5
        assert ("KeyboardInterrupt" in errors) == (number == signal.SIGINT)


def test_a_hanging_agent_delays_the_end_by_two_seconds_at_most(shop: Path) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as silent:
        agent = f"http://127.0.0.1:{silent.getsockname()[1]}"
        at = f"shop.py:{line_of(shop, '# here')}"
        started = time.monotonic()
        result = strobe(shop.parent, "--at", at, "--", "shop.py", "cup", DD_TRACE_AGENT_URL=agent)
        assert (result.returncode, result.stdout) == (0, "[6]\n")
        assert time.monotonic() - started < 4.0


# Bad arguments.


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["--at", "shop.py", "--", "x"], 2, "--at shop.py: write FILE:LINE, for example shop/cart.py:48"),
        (["--at", "a.py:3:1", "--", "x"], 2, "--at a.py:3:1: write FILE:LINE, without a column: --at a.py:3"),
        (
            ["--at", "a:1", "--json", "", "--", "x"],
            2,
            "--json is given no file: write a path, or - for standard output",
        ),
        (
            ["--method", "./w.py:work", "--", "x"],
            2,
            "write MODULE:NAME with a module as it is imported, not a path, for example shop.cart:Cart.total",
        ),
        (["--method", "here.py:f", "--", "x"], 2, "with a module as it is imported: --method here:f"),
        (["--at", "shop.py:one", "--", "x"], 2, "--at shop.py:one: write FILE:LINE, for example shop/cart.py:48"),
        (["--method", "shop.f", "--", "x"], 2, "--method shop.f: write MODULE:NAME, for example shop.cart:Cart.total"),
        (["--probes", "absent.json", "--", "x"], 2, "--probes absent.json: no such file"),
        (["--probes", ".", "--", "x"], 2, "--probes . is a folder: name a file in it"),
        (["--at", "a:1", "--when", " ", "--", "x"], 2, "--when of a:1 is empty: write a condition"),
        (["--at", "a:1", "a.py"], 2, "a.py: write the command after --"),
        (["--at", "a:1", "-m", "a"], 2, "-m a: write the command after --"),
        (["--", "x"], 2, "nothing to watch: give --at FILE:LINE, --method MODULE:NAME or --probes FILE"),
        (["--log", "x", "--at", "a:1", "--at", "b:1", "--", "x"], 2, "--log needs a probe before it"),
        (["--at", "a:1", "--log", "x", "--log", "y", "--", "x"], 2, "--log is given twice for a:1"),
        (
            ["--at", "a:1"],
            2,
            "no command: write it after --, as in: python -m stroboscope run --at shop.py:12 -- shop.py",
        ),
        (["--at", "a:1", "--"], 2, "no command: write it after --"),
        (
            ["--at", "a:1", "--rate", "fast", "--", "x"],
            2,
            "--rate fast: it is neither a number of hits per second nor all",
        ),
        (
            ["--at", "a:1", "--rate", "nan", "--", "x"],
            2,
            "--rate nan: it is neither a number of hits per second nor all",
        ),
        (["--at", "a:1", "--rate", "-1", "--", "x"], 2, "--rate -1: it is neither a number of hits per second nor all"),
        (["--at", "a:1", "--json", "x", "--json", "y", "--", "x"], 2, "--json is given twice"),
        (["--probes", "here.py", "--probes", "y", "--", "x"], 2, "--probes is given twice"),
        (
            ["--at", "a:1", "--frequency", "3", "--", "x"],
            2,
            "unknown option --frequency: python -m stroboscope run --help",
        ),
        (["--at", "a:1", "--", "no-such-program"], 127, "no-such-program: no such program"),
        (["--at", "a:1", "--", "/etc/passwd"], 126, "/etc/passwd: not a program that can be run; if it is"),
        (["--at", "a:1", "--", "-x"], 2, "-x is not a command"),
        (["--at", "a:1", "--", "python3", "-I", "x.py"], 2, "python -I ignores PYTHONPATH"),
        (["--at", "a:1", "--", "python3", "-WI", "-bS", "x.py"], 2, "python -S ignores PYTHONPATH"),
    ],
)
def test_bad_arguments_are_one_clear_line(tmp_path: Path, arguments: list[str], code: int, text: str) -> None:
    write(tmp_path, "here.py", "")
    result = strobe(tmp_path, *arguments)
    assert result.returncode == code
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("stroboscope: ")
    assert text in line


def test_a_working_folder_that_is_gone_is_one_clear_line(tmp_path: Path) -> None:
    code = f"rmdir ../gone; {sys.executable} -m stroboscope run --at x.py:1 --json x -- x.py"
    gone = tmp_path / "gone"
    gone.mkdir()
    result = plain(gone, "sh", "-c", code)
    assert result.returncode == 2
    assert result.stderr.splitlines()[-1].startswith("stroboscope: --json x: the working folder is gone"), result.stderr


def test_bytes_that_are_no_text_spoil_their_own_probe_only(shop: Path) -> None:
    at = f"shop.py:{line_of(shop, '# here')}"
    wrong = os.fsdecode(b"caf\xe9.py:3")
    typed = ["--at", wrong, "--at", at, "--log", "it is {amount}", "--method", wrong, "--at", at, "--log", wrong]
    result = strobe(shop.parent, *typed, "--", "shop.py", "cup")
    assert (result.returncode, result.stdout) == (0, "[6]\n")
    assert "it is 6" in result.stderr
    for text in ("caf\\xe9.py:3 ", "caf\\xe9.py:3#2 ", f"{at}#2 "):
        last = [line for line in result.stderr.splitlines() if line.startswith(text)]
        assert len(last) == 1 and "0 hits" in last[0], result.stderr
    assert result.stderr.count("holds an escape that stands for no character") >= 3


def test_what_the_command_of_another_language_has_told_is_not_for_python(shop: Path) -> None:
    at = f"shop.py:{line_of(shop, '# here')}"
    told = '{"settings":{},"probes":[]}'
    result = strobe(shop.parent, "--at", at, "--log", "it is {amount}", "--", "shop.py", "cup", STROBE_RUN=told)
    assert (result.returncode, result.stdout) == (0, "[6]\n"), result.stderr
    assert "it is 6" in result.stderr


def test_what_is_typed_is_utf_8_also_where_the_locale_is_ascii(tmp_path: Path) -> None:
    write(tmp_path, "plain.py", "x = 41\nx += 1\n")
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    typed = ["--at", "plain.py:2", "--log", "größer {x}", "--when", "'ü' == 'ü'"]
    result = subprocess.run(
        [sys.executable, "-m", "stroboscope", "run", *typed, "--", "plain.py"],
        cwd=tmp_path,
        env=clean_environment(**ascii_only),
        capture_output=True,
        timeout=seconds_to_wait,
        check=False,
    )
    assert "größer 41" in result.stderr.decode()


@pytest.mark.parametrize("arguments", [["--json", "pipe"], []])
def test_a_pipe_that_nobody_reads_is_one_line_and_the_program_runs(tmp_path: Path, arguments: list[str]) -> None:
    write(tmp_path, "x.py", "def f():\n    return 1\nprint(f())\n")
    os.mkfifo(tmp_path / "pipe")
    more = {} if arguments else {"STROBE_NDJSON": "pipe"}
    result = strobe(tmp_path, "--at", "x.py:2", *arguments, "--", "x.py", **more)
    assert (result.returncode, result.stdout) == (0, "1\n")
    lines = [line for line in result.stderr.splitlines() if "cannot be written" in line]
    path = tmp_path / "pipe"
    assert lines == [
        f"stroboscope: events cannot be written to {path}: it is a pipe that nobody reads; they are dropped and counted"
    ]


@pytest.mark.parametrize("flag", ["-I", "-E", "-S"])
def test_a_python_that_cannot_preload_says_so(tmp_path: Path, flag: str) -> None:
    write(tmp_path, "x.py", "print('x')\n")
    command = [sys.executable, flag, "-m", "stroboscope", "run", "--at", "x.py:1", "--", "x.py"]
    result = plain(tmp_path, *command)
    if flag == "-S":  # without site this environment has no stroboscope at all
        assert result.returncode != 0
        return
    assert result.returncode == 2
    assert "ignores PYTHONPATH" in result.stderr


def test_a_bad_expression_is_told_by_its_probe_and_the_program_runs(shop: Path) -> None:
    result = strobe(shop.parent, "--method", "shop:price", "--when", "1 ++ 2", "--", "shop.py", "cup")
    assert (result.returncode, result.stdout) == (0, "[6]\n")
    assert "Invalid expression" in result.stderr


def test_the_end_says_which_lines_have_code(shop: Path) -> None:
    result = strobe(shop.parent, "--at", "shop.py:900", "--", "shop.py", "cup")
    assert result.returncode == 0
    assert "no executable code at line 900" in result.stderr


# What the end says.


def test_hits_whose_condition_failed_are_told_with_the_first_reason(shop: Path) -> None:
    at = f"shop.py:{line_of(shop, '# here')}"
    result = strobe(shop.parent, "--at", at, "--when", "nobody.x > 1", "--log", "x", "--", "shop.py", *["cup"] * 5)
    last = result.stderr.splitlines()[-1]
    assert last == f"{at}  5 hits  1 event  5 failed: No such variable: 'nobody'"


def test_hits_that_were_not_counted_are_not_passed_over(shop: Path) -> None:
    write(shop.parent, "many.py", "import shop\nfor n in range(20000):\n    shop.price('cup', n)\n")
    at = f"shop.py:{line_of(shop, '# here')}"
    result = strobe(shop.parent, "--at", at, "--", "many.py")
    line, legend = result.stderr.splitlines()[-2:]
    assert re.match(rf"{re.escape(at)}  ≥ [\d,]+ hits  \d+ events?  not shown: [\d,]+ over its rate$", line)
    assert legend.startswith("≥: hits are not counted while a probe rests")


def test_two_probes_on_one_line_are_told_apart(shop: Path) -> None:
    at = f"shop.py:{line_of(shop, '# here')}"
    options = ["--at", at, "--log", "a", "--at", at, "--log", "b", "--method", "shop:price"]
    result = strobe(shop.parent, *options, "--", "shop.py", "cup")
    one, two, method = result.stderr.splitlines()[-3:]
    assert re.match(rf"{at}   +1 hit ", one)
    assert re.match(rf"{at}#2 +{at} +1 hit ", two)
    assert re.match(r"shop:price +1 hit ", method)


def test_what_is_installed_is_told_before_what_it_caught(tmp_path: Path) -> None:
    write(tmp_path, "brief.py", "x = 41\nx += 1\n")
    text = strobe(tmp_path, "--at", "brief.py:2", "--log", "it is {x}", "--", "brief.py").stderr
    assert text.index("is installed") < text.index("it is 41")


def test_a_program_that_stops_us_does_not_silence_the_end(shop: Path) -> None:
    at = f"shop.py:{line_of(shop, '# here')}"
    write(shop.parent, "stops.py", "import shop, stroboscope\nshop.price('cup', 2)\nstroboscope.stop()\n")
    result = strobe(shop.parent, "--at", at, "--log", "x", "--", "stops.py")
    assert result.stderr.splitlines()[-1] == f"{at}  1 hit   1 event"


def test_events_that_could_not_be_written_are_counted(shop: Path) -> None:
    at = f"shop.py:{line_of(shop, '# here')}"
    result = strobe(shop.parent, "--at", at, "--log", "x", "--json", "/dev/full", "--", "shop.py", "cup", "pot")
    assert (result.returncode, result.stdout) == (0, "[6, 6]\n")
    assert result.stderr.splitlines()[-1] == "events: 2 not written to /dev/full"


def test_events_for_a_file_that_cannot_be_opened_are_counted(shop: Path) -> None:
    at = f"shop.py:{line_of(shop, '# here')}"
    there = shop.parent / "no such folder" / "events.json"
    result = strobe(shop.parent, "--at", at, "--log", "x", "--json", str(there), "--", "shop.py", "cup", "pot")
    assert (result.returncode, result.stdout) == (0, "[6, 6]\n")
    assert f"events cannot be written to {there}: " in result.stderr
    assert result.stderr.splitlines()[-1] == f"events: 2 not written to {there}"


def test_an_unusable_setting_of_the_display_is_told_and_not_used(shop: Path) -> None:
    at = f"shop.py:{line_of(shop, '# here')}"
    result = strobe(shop.parent, "--at", at, "--log", "it is {amount}", "--", "shop.py", "cup", STROBE_TERMINAL="maybe")
    assert "it is 6" in result.stderr
    assert "STROBE_TERMINAL" in result.stderr
    silent = strobe(shop.parent, "--at", at, "--log", "it is {amount}", "--", "shop.py", "cup", STROBE_TERMINAL="never")
    assert "it is 6" not in silent.stderr


def test_the_preload_sums_up_if_it_shows_events(shop: Path) -> None:
    probe = {"id": "p", "type": "LOG_PROBE", "where": {"typeName": "shop", "methodName": "price"}, "template": "seen"}
    (shop.parent / "probes.json").write_text(json.dumps([probe]))
    environment = {"PYTHONPATH": preload, "STROBE_ENABLED": "true", "STROBE_TERMINAL": "always"}
    environment["DD_DYNAMIC_INSTRUMENTATION_PROBE_FILE"] = "probes.json"
    result = plain(shop.parent, sys.executable, "shop.py", "cup", **environment)
    assert result.stderr.splitlines()[-1] == "p  shop:price  1 hit   1 event"


@pytest.mark.parametrize("closed", ["2>&-", "2>&- 0<&-"])
def test_without_standard_error_the_program_runs_and_nobody_writes_into_its_files(shop: Path, closed: str) -> None:
    at = f"shop.py:{line_of(shop, '# here')}"
    write(
        shop.parent,
        "writes.py",
        """
        import os, shop
        file = os.open("data", os.O_CREAT | os.O_WRONLY)
        for n in range(3):
            shop.price("cup", n)
        os.write(file, b"mine")
        """,
    )
    run = f"{sys.executable} -m stroboscope run --at {at} --log x -- writes.py {closed}"
    result = plain(shop.parent, "sh", "-c", run)
    assert (result.returncode, result.stdout) == (0, "")
    assert (shop.parent / "data").read_bytes() == b"mine"


def test_help_names_each_command_once(tmp_path: Path) -> None:
    text = plain(tmp_path, sys.executable, "-m", "stroboscope", "--help").stdout
    assert len([line for line in text.splitlines() if "stroboscope run [--at" in line]) == 1


@pytest.mark.parametrize(
    ("ours", "theirs", "on", "said"),
    [
        ("", "true", True, []),
        ("maybe", "true", True, ["STROBE_ENABLED: 'maybe' is not on or off"]),
        ("maybe", "", False, ["it is not switched on", "(STROBE_ENABLED: 'maybe' is not true or false)"]),
        ("", "perhaps", False, ["(DD_DYNAMIC_INSTRUMENTATION_ENABLED: 'perhaps' is not true or false)"]),
        ("", "", False, []),
        ("off", "perhaps", False, []),
    ],
)
def test_a_switch_that_is_empty_or_neither_on_nor_off(
    tmp_path: Path, ours: str, theirs: str, on: bool, said: list[str]
) -> None:
    write(tmp_path, "x.py", "import sys\nprint(sys.monitoring.get_tool(4))\n")
    both = {"STROBE_ENABLED": ours, "DD_DYNAMIC_INSTRUMENTATION_ENABLED": theirs}
    result = plain(tmp_path, sys.executable, "x.py", PYTHONPATH=preload, **both)
    assert result.stdout == f"{'stroboscope' if on else None}\n"
    assert bool(result.stderr) == bool(said), result.stderr
    for text in said:
        assert text in result.stderr


@pytest.mark.parametrize("module", ["_statistics", "_string"])
def test_a_compiled_module_that_is_not_imported_is_told_as_such(tmp_path: Path, module: str) -> None:
    """One of a file, and one of the interpreter itself."""
    write(tmp_path, "x.py", "x = 1\n")
    result = strobe(tmp_path, "--method", f"{module}:f", "--", "x.py")
    assert f"module `{module}` is compiled (" in result.stderr


def test_failures_are_told_by_the_latest_and_how_many_are_others(tmp_path: Path) -> None:
    write(
        tmp_path,
        "errors.py",
        """
        import stroboscope

        def f(x):
            return x  # here

        for x in ([1], 5, "t", 6, None, 3.0):
            f(x)
        print(stroboscope.status()[0]["failure"])
        """,
    )
    result = strobe(tmp_path, "--at", "errors.py:4", "--when", "x.name == 1", "--", "errors.py")
    latest = "Cannot read member 'name' of number (the latest; 3 for other reasons)"
    assert result.stdout == f"{latest}\n"
    assert f"6 failed: {latest}" in result.stderr.splitlines()[-1], result.stderr
    result = strobe(tmp_path, "--at", "errors.py:4", "--when", "x.name == 1 && y", "--", "-c", "import errors")
    assert "Cannot read member 'name' of number (the latest; 3 for other reasons)" in result.stderr


def test_a_command_within_a_command_keeps_the_probes_of_both(tmp_path: Path) -> None:
    write(tmp_path, "w.py", "def work(n):\n    x = n\n    return x\nwork(7)\n")
    write(tmp_path, "p.json", json.dumps([{"id": "filed", "type": "LOG_PROBE", **of_file, "template": "filed {n}"}]))
    inner = [sys.executable, "-m", "stroboscope", "run", "--at", "w.py:3", "--log", "inner {n}", "--", "w.py"]
    for options, command in ((["--at", "w.py:3"], inner), (["--at", "w.py:2", "--probes", "p.json"], inner)):
        result = strobe(tmp_path, *options, "--log", "outer {n}", "--", *command)
        lines = result.stderr.splitlines()
        for text in ("  outer 7", "  inner 7", *(["  filed 7"] if "--probes" in options else [])):
            assert lines.count(text) == 1, (text, result.stderr)
        assert "was not imported" not in result.stderr
        assert sum("1 hit  " in line for line in lines) == 2 + ("--probes" in options), result.stderr


of_file = {"where": {"sourceFile": "w.py", "lines": ["2"]}}


def test_the_command_imports_no_module_of_the_program(tmp_path: Path) -> None:
    """Beside the script, where `python -m` looks first, and on PYTHONPATH."""
    names = [
        "argparse",
        "shutil",
        "enum",
        "re",
        "select",
        "signal",
        "gettext",
        "typing",
        "json",
        "copyreg",
        "functools",
    ]
    for folder in ("", "libraries/"):
        for name in names:
            write(tmp_path, f"{folder}{name}.py", "raise SystemExit('the module of the program')\n")
    write(tmp_path, "w.py", "x = 1\nprint(x)\n")
    here = ["--at", "w.py:2", "--log", "x is {x}", "--", sys.executable, "-P", "w.py"]
    result = strobe(tmp_path, *here)
    assert (result.returncode, result.stdout) == (0, "1\n"), result.stderr
    assert "x is 1" in result.stderr
    usage = strobe(tmp_path, "--help", PYTHONPATH=str(tmp_path / "libraries"))
    assert (usage.returncode, usage.stdout[:6]) == (0, "usage:"), usage.stderr


def test_a_package_in_a_folder_with_a_colon_says_that_it_cannot(tmp_path: Path) -> None:
    here = tmp_path / "a:b"
    shutil.copytree(Path(preload).parent, here / "stroboscope")
    write(here, "w.py", "print(1)\n")
    result = strobe(here, "--at", "w.py:1", "--log", "x", "--", "w.py")
    assert (result.returncode, result.stdout) == (2, "")
    folder = here / "stroboscope"
    assert result.stderr == (
        f"stroboscope: {folder}: no probe gets into a program from a folder with a colon in its path\n"
    )


def test_without_proc_a_program_that_is_no_python_runs(tmp_path: Path) -> None:
    write(tmp_path, "w.py", "print(1)\n")
    command = f"mount -t tmpfs none /proc && exec {sys.executable} -m stroboscope run --at w.py:1 --log here -- sh -c"
    bare = ["unshare", "-rm", "sh", "-c"]
    if plain(tmp_path, *bare, "mount -t tmpfs none /proc").returncode:
        pytest.skip("no namespace of its own can be had here")
    result = plain(tmp_path, *bare, f"{command} '{sys.executable} w.py; exit 3'")
    assert (result.returncode, result.stdout) == (3, "1\n"), result.stderr
    assert "Traceback" not in result.stderr
    assert "here" in result.stderr


def test_probes_that_are_too_long_for_the_environment_are_told_the_way_out(tmp_path: Path) -> None:
    write(tmp_path, "w.py", "x = 1\nprint(x)\n")
    long = strobe(tmp_path, "--at", "w.py:2", "--log", "y" * 70_000, "--", "w.py")
    assert (long.returncode, long.stdout) == (2, "")
    assert re.fullmatch(r"stroboscope: what is typed .* by \d+ KiB; write the probes to a file, .*\n", long.stderr)
    fits = strobe(tmp_path, "--at", "w.py:2", "--log", "y" * 60_000, "--", "w.py")
    assert (fits.returncode, fits.stdout) == (0, "1\n")
