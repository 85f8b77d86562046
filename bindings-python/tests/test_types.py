"""What a type checker says: of the package itself, of its stubs, of a program that uses it."""

import subprocess
import sys
from pathlib import Path

import pytest

here = Path(__file__).parent


def said(tmp_path, *arguments):
    command = [sys.executable, "-m", *arguments]
    checker = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    return checker.returncode, checker.stdout + checker.stderr


def test_the_package_has_whole_types(tmp_path):
    code, text = said(tmp_path, "mypy", "--strict", "-p", "stroboscope")
    assert code == 0, text


def test_the_stubs_are_those_of_the_extension(tmp_path):
    allowed = ["--allowlist", str(here / "stubtest.txt"), "--ignore-unused-allowlist"]
    code, text = said(tmp_path, "mypy.stubtest", "stroboscope", *allowed)
    assert code == 0, text


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ('stroboscope.start(probe_file="x", cpu_budget=2, tags={"a": "b"}, redacted_identifiers=["a"])', None),
        ('print(stroboscope.status()[0]["dropped"].get("queueFull", 0) + 1)', None),
        ('stroboscope.start(probe_fil="x")', "did you mean"),
        ('print(stroboscope.status()[0]["hit"])', 'has no key "hit"'),
        ('stroboscope.add_probe({"id": "p"}) + 1', "operand"),
    ],
)
def test_a_program_that_uses_it_is_checked(tmp_path, line, complaint):
    (tmp_path / "program.py").write_text(f"import stroboscope\n{line}\n")
    code, text = said(tmp_path, "mypy", "--strict", "program.py")
    assert code == (1 if complaint else 0) and (complaint or "") in text, text
