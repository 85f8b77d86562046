"""The pages and the examples agree: shown files are the files, named lines have code, the shop works."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from processes import preload

root = Path(__file__).parents[2]
pages = [*root.glob("*.md"), *root.glob("docs/*.md")]
# What is in examples/node is looked at by bindings-node/test/pages.test.mjs.
shown = re.compile(r"<!-- (examples/(?!node/)\S+) -->\n```\w*\n(.*?)```", re.DOTALL)
linked = re.compile(r"\]\(([^)#:]+)(#[^)]*)?\)")
probe_files = sorted(root.glob("examples/*/*.json"))


def test_there_are_pages_with_examples() -> None:
    assert sum(len(shown.findall(page.read_text())) for page in pages) >= 3
    assert len(probe_files) >= 3


@pytest.mark.parametrize("page", pages, ids=lambda page: page.name)
def test_shown_examples_are_the_files(page: Path) -> None:
    for name, block in shown.findall(page.read_text()):
        assert block == (root / name).read_text(), name


@pytest.mark.parametrize("page", pages, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target, _ in linked.findall(page.read_text()):
        assert (page.parent / target).exists(), target


@pytest.mark.parametrize("file", probe_files, ids=lambda file: str(file.relative_to(root)))
def test_probes_point_at_code(file: Path) -> None:
    for element in json.loads(file.read_text()):
        probe = element.get("probe", element)
        where = probe["where"]
        for line in where.get("lines", []):
            (source,) = (
                path for path in root.glob("examples/**/*.py") if path.as_posix().endswith(where["sourceFile"])
            )
            text = source.read_text().splitlines()[int(line) - 1]
            marker = re.search(r"# probe: (\S+)", text)
            assert text.strip(), f"{source}:{line} is blank"
            assert marker is None or marker[1] == probe["id"]


def test_marked_lines_have_their_probe() -> None:
    probes = {probe["id"]: probe for probe in json.loads((root / "examples/shop/probes.json").read_text())}
    marked = 0
    for source in (root / "examples/shop").glob("*.py"):
        for number, line in enumerate(source.read_text().splitlines(), 1):
            if marker := re.search(r"# probe: (\S+)", line):
                assert probes[marker[1]]["where"]["lines"] == [str(number)]
                marked += 1
    assert marked == 2


def test_the_shop_serves_without_probes() -> None:
    command = [sys.executable, "-m", "shop", "--seconds", "1"]
    result = subprocess.run(command, cwd=root / "examples", capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 0, result.stderr
    assert re.search(r"^\d+ visitors have left$", result.stdout, re.MULTILINE)
    assert result.stderr == ""


def test_the_demo_shows_each_probe_and_ends() -> None:
    command = ["stroboscope", "run", "--probes", "shop/probes.json", "--", "-m", "shop", "--seconds", "6"]
    command = [sys.executable, "-m", *command]
    result = subprocess.run(command, cwd=root / "examples", capture_output=True, text=True, timeout=90, check=False)
    assert result.returncode == 0, result.stderr
    for text in ("line-added", "slow-price", "below-zero", "refused", "inside-flask"):
        assert f"[{text}]" in result.stderr
    assert "we pay c" in result.stderr
    assert "shop answered in" in result.stderr


def test_the_second_act_of_the_demo_shows_each_probe_and_takes_them_back() -> None:
    shop = [sys.executable, "-m", "shop", "--seconds", "12"]
    command = [sys.executable, "fleet.py", "shop/fleet.json", "--", "env", f"PYTHONPATH={preload}", *shop]
    result = subprocess.run(command, cwd=root / "examples", capture_output=True, text=True, timeout=120, check=False)
    assert (result.returncode, result.stderr) == (0, "")
    caught = (r" x \w+ cost \d+", r" x \w+ took \d+", r"  quantity = \d+", r"shop\.price_ms:[\d.]+")
    for text in (*caught, "taken back: 0 more"):
        assert re.search(text, result.stdout), result.stdout


def test_the_embedded_example_logs() -> None:
    result = subprocess.run(
        [sys.executable, str(root / "examples/embed/embed.py")], capture_output=True, text=True, timeout=60, check=False
    )
    assert result.returncode == 0, result.stderr
    assert "5 x 5 is large" in result.stderr
    assert "3 x 3 is large" not in result.stderr
    (status,) = json.loads(result.stdout)
    assert (status["id"], status["emitted"]) == ("large", 2)


trouble = (root / "docs/troubleshooting.md").read_text()
# A heading with names in backticks stands between two of them.
heading = re.compile(r"^## (?:``(.+)``|`([^`]+)`.*|`(.+)`)$", re.MULTILINE)
joined = re.compile(r"\\\n\s*|\"\n\s*f?\"")  # a string that goes on in the next line of the source is one text


def headings() -> list[str]:
    return [next(filter(None, found)) for found in heading.findall(trouble)]


def source(path: str) -> str:
    """A file or folder of ours as far as it speaks: without its tests, each text in one piece."""
    files = [file for file in (root / path, *(root / path).glob("*.rs"), root / f"{path}.rs") if file.is_file()]
    return joined.sub("", "\n".join(file.read_text().partition("#[cfg(test)]")[0] for file in files))


def fixed(text: str) -> str:
    """The longest piece of a message that does not vary."""
    pieces = re.split(r"[{']*\{[^{}]*\}[}']*|%[sd.]+|\\.", text)
    return max((piece.strip(" :;,.()'`\\") for piece in pieces), key=len)


# Where messages that people see are written, and how they begin there.
spoken = [
    ("bindings-python/python/stroboscope/_run.py", r"\b_(?:fail|refuse_deaf)\(\s*f?\"([^\"]+)\""),
    ("bindings-python/python/stroboscope/_run.py", r"\bproblem = f?\"([^\"]+)\""),
    ("core/src/control/command.rs", r"(?:Err|format!)\(\s*(?:format!\(\s*)?\"([^\"\\\n]{12,})\""),
    ("bindings-python/python/stroboscope/_watch.py", r"f\"stroboscope: ([^\"]+)\""),
    ("bindings-python/python/stroboscope/_begin.py", r"\bsay\(f?\"([^\"]+)\""),
    ("bindings-python/python/stroboscope/_preload/sitecustomize.py", r"\b_say\(\"([^\"]+)\""),
    (
        "bindings-python/src/runtime",
        r"(?:Outcome::\w+|Some|reason:|reason =)[\s(]*(?:format!\(\s*)?\"([^\"]{12,})\"",
    ),
    ("bindings-python/src/discovery/named.rs", r"\"(`\{wanted\}`[^\"]+)\""),
    ("bindings-python/python/stroboscope/__init__.py", r"return \[\"([^\"]+)\""),
    ("core/src/control/file.rs", r"\"((?:it|there) [^\"]+)\""),
    ("core/src/probe/location.rs", r"\"(line \{[^\"]+|no executable[^\"]+|source file[^\"]+)\""),
    ("core/src/probe/compile.rs", r"\"((?:probe location|captureSnapshot|the capt|'\{\{)[^\"]+)\""),
    ("core/src/probe/wire.rs", r"\"((?:it |Field 'type'|element|the id)[^\"]{8,})\""),
    ("core/src/probe/strict.rs", r"\"(Invalid expression: [^\"]+)\""),
    ("core/src/emit/status.rs", r"\"(its time is over)"),
    ("bindings-python/src/session.rs", r"lines\.push\(format!\(\s*\"([^\"]+)\""),
    ("core/src/control/ndjson.rs", r"remarks\s*\.push\(format!\(\s*\"([^\"]{12,})\""),
    ("core/src/config.rs", r"log\.push\(\s*(?:format!\()?\"([^\"]{20,})\""),
    ("core/src/config.rs", r"=> \{?\s*Some\(\s*\"([^\"]{20,})\""),
    ("core/src/session.rs", r"\"(probe [^\"]+)\""),
    ("core/src/control/terminal.rs", r"\"[\w|\" ]+\" => \"([^\"]+ [^\"]+)\","),
    ("core/src/control/tally.rs", r"\"(never reached)\""),
    ("core/src/expr/eval/failure.rs", r"Failure::[^=]+=>\s*\{?\s*(?:let [^;]+;\s*)?(?:format!\()?\"([^\"]{12,})\""),
]
# Who reads these knows all that a page could say.
says_it_all = {
    "{variable}: {shown} is not {expected}; the default is used: false",
    "the hands: the core's worker must not wait for the GIL",  # why a lint is off
    "Internal error: {}",
    "{error}",
    "{name}: {problem}",
    "{program}: {error.strerror}",
    "--probes {file}: no such file",
    "--probes {file} is a folder: name a file in it",
    "{name} is not a command; after -- comes a script, -m MODULE, -c CODE, or a program",
    "--when of {id} is empty: write a condition, for example 'len(lines) > 20', or leave it out",
    "--metric of {id} is empty: write what is measured, for example 'len(lines)'",
    "{option} does not go with --metric of {id}: write another --at or --method for it",
    "--rate {text}: it is neither a number of hits per second nor all",
    "unknown option {word}: {} run --help says which there are",
    "{command}: write the command after --, as in: {} run --at … -- {command}",
    "{first} is no command of stroboscope: {} run --help says what there is",
    "{option} is given no value",
    "probe {}: {warning}",
    "stroboscope is stopping",
}


@pytest.mark.parametrize(("path", "begins"), spoken, ids=lambda value: Path(value).name if "/" in value else "")
def test_what_people_are_told_is_explained(path: str, begins: str) -> None:
    messages = [text for text in re.findall(begins, source(path)) if text not in says_it_all]
    assert messages, "the pattern finds nothing any more"
    page = re.sub(r"\s+", " ", trouble)
    assert [text for text in messages if fixed(text) not in page] == []


def test_headings_of_troubleshooting_are_messages_that_exist() -> None:
    sources = [
        *root.glob("core/**/src/**/*.rs"),
        *root.glob("bindings-python/**/*.rs"),
        *root.glob("bindings-python/**/*.py"),
        *root.glob("bindings-node/src/*.rs"),
        *root.glob("bindings-node/js/*.*js"),
        *root.glob("bindings-node/rewriter/src/*.rs"),
    ]
    sources += [*root.glob("bindings-python/tools/*.sh"), root / "Makefile"]
    code = "\n".join(path.read_text() for path in sources if path != Path(__file__))
    code = joined.sub("", code)
    unknown = []
    for text in headings():
        # What varies is cut out: numbers, quoted names, paths, options, words of the example. The longest piece left
        # must be in the code.
        varies = r"…|`[^`]*`|'[^']*'|\S*/\S+|-[A-Z]\b|--\w+|\d[\d.]*|\b(?:string|number|ls|null)\b|^stroboscope: "
        longest = max((piece.strip(" :;,()") for piece in re.split(varies, text)), key=len)
        if longest not in code:
            unknown.append((text, longest))
    assert unknown == []
