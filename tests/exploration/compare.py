"""What differs between a bare run and one with probes: each thing that was observed has a key and a value."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from probes import Made
from runs import Outcome

WHOLE = "(the whole process)"
# More than this above the bare run is too much: it is for what the queues hold, for what an interpreter notes of code
# that is watched, and for what each probe has.
MEMORY_KIB = 64 * 1024
MEMORY_KIB_PER_PROBE = 16

Key = tuple[str, str]
# What a run has that observed nothing of the kind.
NOTHING = {"test": "no result", "line": "0 times"}


@dataclass(frozen=True)
class Difference:
    """What was seen bare and with probes, in each of two runs."""

    what: str
    name: str
    bare: tuple[str, ...]
    other: tuple[str, ...]
    steady: bool  # it never was the same with and without


def observed(outcome: Outcome, made: Made, bare: Outcome, due: set[str]) -> dict[Key, str]:
    """All that is compared. `due` are the probes that must have been hit."""
    found: dict[Key, str] = {("test", name): end for name, end in outcome.tests.items()}
    found["end", WHOLE] = outcome.ended
    found |= {("line", line): f"{count} times" for line, count in Counter(outcome.printed).items()}
    account = outcome.account
    if account is None:
        return found | {("account", WHOLE): "none"}
    found["account", WHOLE] = account.get("failed", "given")
    found |= {
        ("code", text): "not as it was" for text in (*account.get("instrumented", []), *account.get("changed", []))
    }
    if "stats" not in account or bare.account is None:
        return found
    found |= {("hit", made.place(p)): "missing" for p in due - set(outcome.fired) - set(account["without_place"])}
    for probe, state, reason in account["missing"]:
        found["probe", made.place(probe)] = f"{state}: {reason}"
    found |= {("probe", made.place(probe)): "left over" for probe in account.get("left", [])}
    found |= {("churn", text): "failed" for text in account.get("errors", [])}
    found |= {("logged", text): "logged" for text in account["logged"]}
    most = bare.account["peak"] + MEMORY_KIB + MEMORY_KIB_PER_PROBE * len(made.definitions)
    if account["peak"] > most:
        found["memory", "peak"] = f"{account['peak'] >> 10} MiB, more than {most >> 10}"
    return found


def differences(bare: dict[Key, str], other: dict[Key, str]) -> list[Key]:
    """What is not the same. Where tests ended otherwise, an exit code and printed lines that differ say nothing new."""
    keys = [key for key in {**bare, **other} if value(bare, key) != value(other, key)]
    tests = [key for key in keys if key[0] == "test"]
    end = ("end", WHOLE)
    codes_only = all(
        value(found, end).startswith("exit code") and "fatal" not in value(found, end) for found in (bare, other)
    )
    if tests and codes_only:
        keys = [key for key in keys if key != end]
    if tests or end in keys:
        keys = [key for key in keys if key[0] != "line"]
    return keys


def value(found: dict[Key, str], key: Key) -> str:
    """What was observed, or what stands for nothing."""
    return found.get(key, NOTHING.get(key[0], "none"))


def crashed(ends: tuple[str, ...]) -> bool:
    """True if the interpreter died."""
    return any("signal" in end or "fatal" in end for end in ends)


def compared(bare: list[dict[Key, str]], other: list[dict[Key, str]]) -> list[Difference]:
    """What differs between the first runs, and whether it is so in the second ones."""
    found = []
    for key in differences(bare[0], other[0]):
        ends = [tuple(value(run, key) for run in runs) for runs in (bare, other)]
        # The same was seen both with and without: it comes and goes by itself. A crash is one however rare.
        steady = not set(ends[0]) & set(ends[1]) or (crashed(ends[1]) and not crashed(ends[0]))
        found.append(Difference(*key, *ends, steady))
    return found
