"""A suite: tests that can be run, and the sources that take probes. What gets one is in programs.py and standard.py."""

from __future__ import annotations

import shutil
import subprocess
import tarfile
import tomllib
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
WORK = ROOT / "target" / "exploration"
HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Suite:
    """Tests that can be run."""

    name: str
    command: tuple[str, ...]  # for the Python; `{report}` stands for the file that the results go to
    folder: Path
    python: Path
    files: tuple[Path, ...]  # the sources that are probed
    roots: tuple[Path, ...]  # folders that modules are named from
    stem: Path  # what its files in target begin with
    variables: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Program:
    """A program from PyPI, with its tests: an entry of programs.toml, which says what each field means."""

    name: str
    version: str
    sha256: str
    probed: list[str]
    arguments: list[str]
    needs: tuple[str, ...] = ()
    code_in: str = "site"
    folder: str = "."
    variables: tuple[tuple[str, str], ...] = ()

    def suite(self, environment: Path, minor: str) -> Suite:
        """Gets the program and what its tests need, once, and the wheel that is there now."""
        home = WORK / f"{self.name}-{minor}"
        python = home / "venv/bin/python"
        wanted = f"{self.version} {self.sha256} {self.needs}"
        if not (home / "ready").exists() or (home / "ready").read_text() != wanted:
            shutil.rmtree(home, ignore_errors=True)
            home.mkdir(parents=True)
            self.fetch(environment, home)
            (home / "ready").write_text(wanted)
        install_wheel(python, minor)
        source = home / "source"
        code = source if self.code_in == "source" else next((home / "venv/lib").glob("python*/site-packages"))
        root = code / "lib" if self.code_in == "source" else code
        return Suite(
            name=self.name,
            command=tuple(self.arguments),
            folder=source / self.folder,
            python=python,
            files=tuple(matching(root, self.probed)),
            roots=(root,),
            stem=WORK / f"{self.name}-{minor}",
            variables=self.variables,
        )

    def fetch(self, environment: Path, home: Path) -> None:
        """Makes an environment with the program, and unpacks its source distribution beside it."""
        pip = [home / "venv/bin/python", "-m", "pip"]
        quiet = ["--quiet", "--disable-pip-version-check"]
        pinned = f"{self.name}=={self.version}"
        subprocess.run([environment / "bin/python", "-m", "venv", home / "venv"], check=True)
        subprocess.run([*pip, "install", *quiet, "pytest==8.4.2", pinned, *self.needs], check=True)
        binary = ["--no-deps", "--no-binary", self.name, "--dest", home]
        subprocess.run([*pip, "download", *quiet, *binary, pinned], check=True)
        archive = next(home.glob("*.tar.gz"))
        found = sha256(archive.read_bytes()).hexdigest()
        if found != self.sha256:
            raise SystemExit(f"{archive.name} has the checksum {found} in place of {self.sha256}: see programs.toml")
        with tarfile.open(archive) as packed:
            packed.extractall(home, filter="data")
        archive.unlink()
        next(path for path in home.iterdir() if (path / "PKG-INFO").exists()).rename(home / "source")


def install_wheel(python: Path, minor: str) -> None:
    """Puts the wheel of this checkout into an environment, unless it has that one."""
    wheels = sorted((ROOT / f"target/wheels-{minor}").glob("*.whl"), key=lambda wheel: wheel.stat().st_mtime)
    if not wheels:
        raise SystemExit(f"no wheel in target/wheels-{minor}: run bindings-python/tools/environments.sh first")
    stamp = python.parents[1] / ".wheel"
    wanted = sha256(wheels[-1].read_bytes()).hexdigest()
    if stamp.exists() and stamp.read_text() == wanted:
        return
    quiet = ["--quiet", "--disable-pip-version-check", "--force-reinstall", "--no-deps"]
    subprocess.run([python, "-m", "pip", "install", *quiet, wheels[-1]], check=True)
    stamp.write_text(wanted)


def matching(root: Path, patterns: list[str]) -> list[Path]:
    """The files below a folder that patterns mean, without those that a pattern with `!` before it means."""
    found: dict[Path, None] = {}
    for pattern in patterns:
        files = sorted(root.glob(pattern.removeprefix("!")))
        if not files:
            raise SystemExit(f"nothing in {root} is like {pattern}: programs.toml is about another version")
        for file in files:
            if pattern.startswith("!"):
                found.pop(file, None)
            else:
                found[file] = None
    return list(found)


def listed() -> tuple[dict[str, Program], list[str]]:
    """What programs.toml names: programs, and tests of the standard library."""
    data = tomllib.loads((HERE / "programs.toml").read_text())
    programs = {}
    for entry in data["program"]:
        variables = tuple(entry.pop("variables", {}).items())
        programs[entry["name"]] = Program(**entry, variables=variables)
    return programs, data["standard"]["tests"]
