"""`explain`: why a probe did or did not fire, asked in a program and by the command. Real processes."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from processes import clean_environment, line_of, plain, write

shop = """
    import json, sys, stroboscope

    def price(article, quantity):
        amount = len(article) * quantity
        if quantity > 100:
            amount = amount // 2  # never
        return amount  # here


    class Cart:
        def total(self):
            return 7  # unused

    def probe(id, line, **more):
        where = {"sourceFile": "shop.py", "lines": [str(line)]}
        stroboscope.add_probe({"id": id, "version": 1, "type": "LOG_PROBE", "template": "x", "where": where, **more})

    stroboscope.start(ndjson="events.json", terminal="never")
"""


def asked(folder: Path, text: str) -> Any:
    script = write(folder, "shop.py", shop)
    part = write(folder, "part.py", text)
    script.write_text(script.read_text() + part.read_text())
    result = plain(folder, sys.executable, script.name)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    return json.loads(result.stdout)


def line(folder: Path, text: str) -> int:
    return line_of(write(folder, "shop.py", shop), text)


def explain(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "stroboscope", "explain", *words]
    environment = clean_environment()
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_a_line_that_is_not_reached_is_told_from_a_function_that_is_not_called(tmp_path: Path) -> None:
    never, unused = line(tmp_path, "# never"), line(tmp_path, "# unused")
    first, before, after, unused_after = asked(
        tmp_path,
        f"""
        probe("never", {never})
        probe("unused", {unused})
        before = [stroboscope.explain("never"), stroboscope.explain("unused"), stroboscope.explain("never")]
        for quantity in range(10):
            price("cup", quantity)
        print(json.dumps([*before[1:], stroboscope.explain("never"), stroboscope.explain("unused")]))
        """,
    )
    assert before[0] == f"It asks for line {never} of shop.py."
    assert before[1].endswith(f" files of code were looked through; {tmp_path}/shop.py is meant.")
    assert before[2] == (
        f"Line {never} has code, in `price` (lines {never - 3} to {never + 1}); near it lines "
        f"{never - 3}, {never - 2}, {never - 1}, {never + 1}, {never + 4} have code too."
    )
    assert first[-2] == "Whether the code around it runs is known from now on: ask again."
    assert before[-2:] == ["The code around it has not run since this was first asked.", "It was never hit."]
    assert after[-2] == "The code around it has run since this was first asked, but never came there."
    assert unused_after[-2] == "The code around it has not run since this was first asked."


def test_what_became_of_hits_and_what_they_cost(tmp_path: Path) -> None:
    here = line(tmp_path, "# here")
    (said,) = asked(
        tmp_path,
        f"""
        probe("here", {here}, when={{"dsl": "quantity > 7"}})
        for quantity in range(10):
            price("cup", quantity)
        stroboscope.flush()
        print(json.dumps([stroboscope.explain("here")]))
        """,
    )
    assert said[0] == f"It asks for line {here} of shop.py, when quantity > 7."
    assert "It was hit 10 times, which made 2 events; not shown: 8 with a false condition." in said
    assert not any("has not run" in sentence for sentence in said)
    assert said[-1].startswith("A hit has cost about ")
    assert "of those that made an event half took at most " in said[-1]


def test_a_name_that_is_not_there_and_code_that_is_not_loaded(tmp_path: Path) -> None:
    write(tmp_path, "later.py", "x = 1\n")
    said = asked(
        tmp_path,
        """
        where = {"typeName": "__main__", "methodName": "prise"}
        stroboscope.add_probe({"id": "m", "version": 1, "type": "LOG_PROBE", "template": "x", "where": where})
        where = {"sourceFile": "later.py", "lines": ["1"]}
        stroboscope.add_probe({"id": "l", "version": 1, "type": "LOG_PROBE", "template": "x", "where": where})
        try:
            stroboscope.explain("nobody")
        except ValueError as error:
            unknown = str(error)
        print(json.dumps([stroboscope.explain("m"), stroboscope.explain("l"), unknown]))
        """,
    )
    method, unloaded, unknown = said
    assert method[0] == "It asks for function `prise` of __main__."
    assert any(sentence.endswith("nearest: price.") for sentence in method)
    assert any("later.py is not imported yet" in sentence for sentence in unloaded)
    assert unknown == "no probe has the id nobody: status() has those that there are"


def test_after_the_end_the_counts_are_left(tmp_path: Path) -> None:
    here = line(tmp_path, "# here")
    said = asked(
        tmp_path,
        f"""
        probe("here", {here})
        price("cup", 1)
        stroboscope.stop()
        print(json.dumps(stroboscope.explain("here")))
        """,
    )
    assert "It was hit once, which made 1 event." in said


def test_the_command_explains_at_the_end_of_the_program(tmp_path: Path) -> None:
    script = write(
        tmp_path,
        "work.py",
        """
        import sys

        def price(n):
            if n > 100:
                n -= 1  # never
            return n

        for n in range(3):
            price(n)
        """,
    )
    never = line_of(script, "# never")
    at = f"work.py:{never}"
    result = explain(tmp_path, "--at", at, "--when", "n > 1", "--at", "work.py:6", "--", "work.py")
    assert result.returncode == 0
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    own = lines[lines.index(at) :]
    assert own[1] == f"  It asks for line {never} of work.py, when n > 1."
    assert "  The code around it has run since the probe was placed, but never came there." in own
    assert "  It was never hit." in own
    assert any(sentence.startswith("  It was hit 3 times, which made ") for sentence in own)


def test_a_program_that_is_over_at_once_is_explained(tmp_path: Path) -> None:
    write(tmp_path, "short.py", "def f(x):\n    return x\nf(1)\n")
    for _ in range(5):
        said = explain(tmp_path, "--at", "short.py:2", "--", "short.py").stderr
        assert "  The probe is at short.py:2.\n" in said
        assert "  It was hit once, which made 1 event.\n" in said


def test_without_a_program_nothing_runs(tmp_path: Path) -> None:
    script = write(
        tmp_path,
        "work.py",
        """
        print("it runs")

        def price(n):
            # what it costs
            return n
        """,
    )
    line = line_of(script, "# what")
    result = explain(tmp_path, "--at", f"work.py:{line}", "--when", "n > 1", "--at", "work.py:90")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.splitlines() == [
        f"work.py:{line}",
        f"  It asks for line {line} of work.py, when n > 1.",
        f"  Line {line} has no code; line {line + 1} is used instead, in `price` (lines {line - 1} to {line + 1}); "
        f"near it lines {line - 3}, {line - 1}, {line + 1} have code too.",
        "  The probe can be placed there, and fires when that code runs and the condition holds.",
        "work.py:90",
        "  It asks for line 90 of work.py.",
        f"  No executable code at line 90; the nearest lines with code are {line - 1}, {line + 1}.",
        "  The probe cannot be placed.",
    ]


def test_without_a_program_files_and_modules_are_looked_for(tmp_path: Path) -> None:
    (tmp_path / "shop").mkdir()
    write(tmp_path / "shop", "__init__.py", "raise SystemExit('it runs')\n")
    write(tmp_path / "shop", "cart.py", "class Cart:\n    def total(self):\n        return 1\n")
    found = explain(tmp_path, "--method", "shop.cart:Cart.total", "--at", "cart.py:3").stdout.splitlines()
    assert found[1:4] == [
        "  It asks for function `Cart.total` of shop.cart.",
        "  `Cart.total` is there, lines 2 to 3.",
        "  The probe can be placed there, and fires when that code runs.",
    ]
    assert "  2 files of code were looked through; shop/cart.py is meant." in found
    missing = explain(tmp_path, "--at", "wagon.py:3").stdout
    assert "2 files of code were looked through; none is the one that is meant." in missing
    broken = explain(tmp_path, "--at", "cart.py:3", "--when", "x >").stdout
    assert "Invalid expression" in broken
    write(tmp_path, "bad.py", "def f(:\n")
    assert "bad.py cannot be compiled: invalid syntax" in explain(tmp_path, "--at", "bad.py:1").stdout
