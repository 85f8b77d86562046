"""Runs the tests of foreign programs bare and with probes in three ways, and compares what comes of it.

See README.md. Exit code 1: something was otherwise with probes than without.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import tomllib
from functools import partial
from hashlib import sha256
from pathlib import Path

import report
import standard
from compare import compared, observed
from probes import made_for
from runs import MODES, Outcome, run
from suites import HERE, WORK, Suite, listed


class Bare:
    """The runs without probes that all ways are compared with: the second only if something differs."""

    def __init__(self, suite: Suite, limit: float, resume: bool) -> None:
        self.suite, self.limit, self.resume = suite, limit, resume
        self.kept: dict[tuple[str, bool], Outcome] = {}

    def outcome(self, again: bool = False, mode: str = "bare") -> Outcome:
        """The first or the second run; on resuming, as it was."""
        if (mode, again) not in self.kept:
            # What was kept of other tests, or read in another way, is of no use.
            how = sha256(f"{self.suite.command} {(HERE / 'runs.py').read_text()}".encode()).hexdigest()[:8]
            file = self.suite.stem.with_name(f"{self.suite.stem.name}.{mode}{'-again' if again else ''}.{how}.json")
            if self.resume and file.exists():
                self.kept[mode, again] = Outcome.read(file)
            else:
                self.kept[mode, again] = run(self.suite, mode, None, self.limit, again)
                self.kept[mode, again].write(file)
        return self.kept[mode, again]

    def watched(self) -> Outcome:
        """A run with a tool that is not ours, which says what ran."""
        return self.outcome(mode="watch")


def explore(about: dict, bare: Bare, seed: int) -> dict:
    """Runs a suite in one way. What differs is run again both ways, to tell what is unsteady by itself."""
    suite, mode = bare.suite, about["mode"]
    made = made_for(suite.files, suite.roots, mode == "hostile", seed)
    first = bare.outcome()
    # Ten times as long and a minute is slow; more is a failure, and said to be one.
    patience = min(bare.limit, 60 + 10 * first.seconds)
    other = run(suite, mode, made, patience)
    watched = bare.watched() if mode == "probed" else None
    due = made.due(watched.account) if watched and watched.account and "ran" in watched.account else set()
    seen = partial(observed, made=made, bare=first, due=due)
    differ = compared([seen(first)], [seen(other)])
    if differ:
        without, with_probes = bare.outcome(again=True), run(suite, mode, made, patience, again=True)
        differ = compared([seen(first), seen(without)], [seen(other), seen(with_probes)])
    return report.entry(about, made, first, other, differ)


def as_in_a_terminal() -> None:
    """Undoes what a shell does to commands in the background: their children would ignore Ctrl-C, which tests send."""
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, lambda *_: None)


def options_of() -> tuple[argparse.ArgumentParser, argparse.Namespace]:
    """What was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--environment", type=Path, required=True, help="one with the wheel, such as .venv-3.13")
    parser.add_argument("--all", action="store_true", help="every suite of programs.toml")
    parser.add_argument("--stdlib", action="store_true", help="every file of the standard library's tests")
    parser.add_argument("--mode", action="append", choices=MODES, help="one way only; may be given again")
    parser.add_argument("--list", action="store_true", help="only print the names")
    parser.add_argument("--report", type=Path, help="one JSON object for each suite and way is added to this file")
    parser.add_argument("--resume", action="store_true", help="leave out what is in the report, and keep bare runs")
    parser.add_argument("--page", action="store_true", help="run nothing, write docs/exploration.md of the report")
    parser.add_argument("--limit", type=float, default=900, help="seconds that one run of a suite may take")
    parser.add_argument("--seed", type=int, default=1, help="of the random tenth")
    parser.add_argument("name", nargs="*", help="attrs, flask, requests, stdlib:test_json …")
    return parser, parser.parse_args()


def main() -> int:
    """Runs what was asked for."""
    as_in_a_terminal()
    parser, options = options_of()
    environment = options.environment.absolute()
    WORK.mkdir(parents=True, exist_ok=True)
    which = "import sys; print('%d.%d' % sys.version_info[:2], '%d.%d.%d' % sys.version_info[:3])"
    minor, python = subprocess.check_output([environment / "bin/python", "-c", which], text=True).split()
    file = options.report or WORK / f"report-{minor}.jsonl"
    exceptions = tomllib.loads((HERE / "exceptions.toml").read_text())["exception"]
    programs, tests = listed()
    few = [*programs, *(f"stdlib:{test}" for test in tests)]
    if options.page:
        results = report.read(file)
        kept = [results[suite, mode] for suite in few for mode in MODES if (suite, mode) in results]
        report.PAGE.write_text(report.page(kept, exceptions, few))
        return 0
    every = few
    if options.stdlib or options.list or set(options.name) - set(few):
        every = [*programs, *(f"stdlib:{test}" for test in standard.every_test(environment))]
    if options.list:
        print("\n".join(every))
        return 0
    chosen = few if options.all else every[len(programs) :] if options.stdlib else options.name
    unknown = [name for name in chosen if name not in every]
    if not chosen or unknown:
        parser.error(f"unknown: {', '.join(unknown)}" if unknown else "a name, --all, --stdlib, --page or --list")
    done = report.read(file) if options.resume else {}
    bad = []
    for number, name in enumerate(chosen, 1):
        left = [mode for mode in options.mode or MODES if (name, mode) not in done]
        if not left:
            continue
        test = name.removeprefix("stdlib:")
        is_program = test == name
        if is_program:
            suite, version = programs[name].suite(environment, minor), programs[name].version
        else:
            suite, version = standard.suite_of(test, environment, minor, exceptions), ""
        bare = Bare(suite, options.limit, options.resume)
        for mode in left:
            about = {"suite": name, "version": version, "python": python, "mode": mode}
            result = explore(about, bare, options.seed)
            report.add(result, file)
            kinds = report.judged(result, exceptions)
            print(f"[{number}/{len(chosen)}] {report.told(result, kinds)}", flush=True)
            if kinds["differ"] or report.is_silent(result):
                bad.append(f"{name} {mode}{' (no probe fired)' if report.is_silent(result) else ''}")
    if bad:
        print(f"not as without probes: {', '.join(bad)}; the logs are in {WORK}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
