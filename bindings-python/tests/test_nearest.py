"""What is not there is told with the names that come nearest: of modules and of files."""

import sys
from pathlib import Path

import pytest
from processes import strobe, write


@pytest.fixture
def app(tmp_path: Path) -> Path:
    for name in ("foolib/__init__.py", "foolib/core.py", "foolib/inner/deep.py", "foolib/config.py"):
        write(tmp_path, name, "def hi():\n    return 1\n")
    (tmp_path / "foolib/data").mkdir()
    return write(tmp_path, "cli.py", "import collections.abc\nimport foolib.core\nfoolib.core.hi()\n")


@pytest.mark.parametrize(
    ("wanted", "nearest"),
    [
        ("clii", "cli"),
        ("folib.core", "foolib.core"),
        ("foolib.cor", "foolib.core"),
        ("foolib.coer", "foolib.core"),
        ("folib.iner.dep", "foolib.inner.deep"),
        ("FooLib.Config", "foolib.config"),
        ("jsn", "json"),
        ("collections.abcd", "collections.abc"),
        ("foolib.cor.Cart", "foolib.core"),
        ("zzzzzz", None),
    ],
)
def test_of_modules(app: Path, wanted: str, nearest: str | None) -> None:
    told = reason(app, "--method", f"{wanted}:hi")
    assert told.startswith(("module not found: ", "no Python function `"))
    found = told.partition("; nearest: ")[2].split(", ")
    assert found[0] == (nearest or ""), told


@pytest.mark.parametrize(
    ("wanted", "nearest"),
    [
        ("clii.py", "cli.py"),
        ("foolib/cor.py", "foolib/core.py"),
        ("folib/config.py", "foolib/config.py"),
        ("src/foolib/coer.py", "foolib/core.py"),
        ("/srv/app/foolib/inner/dep.py", "foolib/inner/deep.py"),
        ("email/mesage.py", "email/message.py"),
        ("cli", "cli.py"),
        ("clii", "cli.py"),
        ("foolib/core", "foolib/core.py"),
        ("zzzzzz.py", None),
    ],
)
def test_of_files(app: Path, wanted: str, nearest: str | None) -> None:
    told = reason(app, "--at", f"{wanted}:2")
    assert told.startswith("source file not found: ")
    found = told.partition("; nearest: ")[2].split(", ")
    assert found[0] == (nearest or ""), told


def reason(app: Path, *probe: str) -> str:
    result = strobe(app.parent, *probe, "--", app.name)
    assert result.returncode == 0
    # At the end nothing waits any more.
    assert "waiting" not in result.stderr.splitlines()[-1]
    return result.stderr.splitlines()[-1].strip()


def test_a_module_written_in_c_is_told_before_it_is_imported(app: Path) -> None:
    for module in {"_bisect", "array"} - set(sys.builtin_module_names):
        told = reason(app, "--method", f"{module}:x")
        assert told.startswith(f"module `{module}` is compiled ("), told
        assert told.endswith("), and compiled code takes no probes"), told
