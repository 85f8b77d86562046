"""A line probe fires once per execution of its line: each case marks the line and says how often it must fire."""

import argparse
import ast
import asyncio
import asyncio.base_events
import dataclasses
import inspect
import sys
import tarfile
import textwrap
import typing

import pytest
from processes import plain, write

from stroboscope import _native

TOOL = 5

CASES = {
    "simple": ("x = 1  # here", 1),
    "multi_line_call": ("f(  # here\n    1,\n    2,\n)", 1),
    "nested_multi_line_call": ("f(  # here\n    f(\n        1),\n    f(2,\n      3),\n)", 1),
    "assigned_multi_line_call": ("x = f(  # here\n    1,\n    2,\n)", 1),
    "for_header": ("for i in range(3):  # here\n    f(i)", 1),
    "for_body": ("for i in range(3):\n    f(i)  # here", 3),
    "for_body_of_two": ("for i in range(3):\n    f(i)  # here\n    f(2)", 3),
    "empty_for": ("for i in ():  # here\n    f(i)", 1),
    "for_else": ("for i in range(3):\n    f(i)\nelse:\n    f(1)  # here", 1),
    "while_header": ("n = 3\nwhile n:  # here\n    n -= 1", 4),
    "while_body": ("n = 3\nwhile n:\n    n -= 1  # here", 3),
    "while_true": ("n = 3\nwhile True:\n    n -= 1  # here\n    if not n:\n        break", 3),
    "break": ("for i in range(3):\n    if i == 1:\n        break  # here", 1),
    "continue": ("for i in range(3):\n    if i == 1:\n        continue  # here\n    f(i)", 1),
    "pass": ("for i in range(3):\n    pass  # here", 3),
    "comprehension": ("x = [f(i) for i in range(3)]  # here", 1),
    "comprehension_of_two_lines": ("x = [f(i)  # here\n     for i in range(3)]", None),
    "nested_comprehension": ("x = [[f(j) for j in range(2)] for i in range(3)]  # here", 1),
    "comprehension_in_call": ("f([i for i in range(3)])  # here", 1),
    "generator_expression": ("x = list(f(i) for i in range(3))  # here", 1),
    "if_header": ("if f(1):  # here\n    f(2)", 1),
    "else_body": ("if not f(1):\n    f(2)\nelse:\n    f(3)  # here", 1),
    "elif_header": ("if not f(1):\n    f(2)\nelif f(2):  # here\n    f(3)", 1),
    "and_or": ("x = f(1) and f(0) or f(2)  # here", 1),
    "conditional": ("x = f(1) if f(0) else f(2)  # here", 1),
    "chained_comparison": ("x = 1 < f(2) < 3  # here", 1),
    "try_body": ("try:\n    f(1)  # here\nfinally:\n    f(2)", 1),
    "finally_normal": ("try:\n    f(1)\nfinally:\n    f(2)  # here", 1),
    "finally_raised": (
        "try:\n    try:\n        1 / 0\n    finally:\n        f(2)  # here\nexcept ZeroDivisionError:\n    pass",
        1,
    ),
    "except_header": ("try:\n    1 / 0\nexcept ZeroDivisionError:  # here\n    f(1)", 1),
    "except_as": ("try:\n    1 / 0\nexcept ZeroDivisionError as error:  # here\n    f(error)", 1),
    "except_body": ("try:\n    1 / 0\nexcept ZeroDivisionError as error:\n    f(error)  # here", 1),
    "second_except": ("try:\n    1 / 0\nexcept ValueError:\n    f(1)\nexcept ZeroDivisionError:  # here\n    f(2)", 1),
    "except_star": ("try:\n    raise ExceptionGroup('', [ValueError()])\nexcept* ValueError:\n    f(1)  # here", 1),
    "raise": ("try:\n    raise ValueError(f(1))  # here\nexcept ValueError:\n    pass", 1),
    "with_header": ("with C():  # here\n    f(1)", 1),
    "with_two": ("with C(), C():  # here\n    f(1)", 1),
    "with_body": ("with C():\n    f(1)  # here", 1),
    "after_with": ("with C():\n    f(1)\nf(2)  # here", 1),
    "with_body_of_two_lines": ("with C():\n    x = f(  # here\n        f(1),\n        2)", 1),
    "with_in_with": ("with C():\n    with C() as c:\n        x = f(  # here\n            f(1),\n            2)", 1),
    "for_in_with": ("with C():\n    for i in range(3):\n        x = f(  # here\n            i,\n            2)", 3),
    "break_in_with": ("for i in range(3):\n    with C():\n        if i == 1:\n            break  # here", 1),
    "with_raised": ("try:\n    with C():  # here\n        1 / 0\nexcept ZeroDivisionError:\n    f(1)", 1),
    "return_in_with": ("with C():  # here\n    return f(1)", 1),
    "assert": ("assert f(1), 'no'  # here", 1),
    "delete": ("x = 1\ndel x  # here", 1),
    "augmented": ("x = 1\nx += f(2)  # here", 1),
    "unpack": ("a, b = f((1, 2))  # here", 1),
    "two_on_a_line": ("x = 1; y = 2  # here", 1),
    "none": ("x = None  # here", 1),
    "nested_def": ("def g():  # here\n    return 1\ng()", 1),
    "lambda": ("g = lambda: f(1)  # here\ng()\ng()", 1),
    "match_header": ("match f(2):  # here\n    case 1:\n        f(1)\n    case 2:\n        f(2)", 1),
    "match_body": ("match f(2):\n    case 1:\n        f(1)\n    case 2:\n        f(2)  # here", 1),
    "return_value": ("return f(1)  # here", 1),
    "return_none": ("f(1)\nreturn None  # here", 1),
    "return_in_loop": ("for i in range(3):\n    if i == 1:\n        return  # here", 1),
    "return_constant": ("for i in range(3):\n    if i == 1:\n        return 5  # here", 1),
    "return_text": ("for i in range(3):\n    if i == 1:\n        return 'five'  # here", 1),
    "return_in_except": ("try:\n    1 / 0\nexcept ZeroDivisionError:\n    return 'five'  # here", 1),
    "return_in_try": ("try:\n    return f(1)  # here\nfinally:\n    f(2)", 1),
    "last_statement_in_loop": ("for i in range(3):\n    if i:\n        f(i)  # here", 2),
    "yield": ("yield f(1)  # here", 1),
    "yield_in_loop": ("for i in range(3):\n    yield i  # here", 3),
    "after_yield": ("yield 1\nf(2)  # here", 1),
    "dict_display": ("x = {'a': f(1),  # here\n    'b': f(2),\n}", 1),
    "method_chain": ("x = ('a'  # here\n     .upper()\n     .lower())", 1),
    "f_string": ("x = f'{f(1)} {f(2)}'  # here", 1),
    "walrus": ("if (y := f(1)):  # here\n    f(y)", 1),
    "slice": ("x = [1, 2, 3]\nx[0:f(2)] = [f(1)]  # here", 1),
    "bare_yield": ("r = yield  # here", 1),
    "bare_yield_alone": ("yield  # here", 1),
    "bare_yield_in_a_loop": ("for i in range(3):\n    r = yield  # here\n    f(r)", 3),
    "case_value": ("match f(2):\n    case 1:  # here\n        f(1)\n    case 2:\n        f(2)", 1),
    "case_second": (
        "match f(2):\n    case 1:\n        f(1)\n    case 2:  # here\n        f(2)\n    case 3:\n        f(3)",
        1,
    ),
    "case_last": ("match f(2):\n    case 1:\n        f(1)\n    case 2:  # here\n        f(2)", 1),
    "case_not_tried": (
        "match f(2):\n    case 2:\n        f(1)\n    case 3:  # here\n        f(2)\n    case _:\n        f(3)",
        0,
    ),
    "case_text": (
        "match f('a'):\n    case 'b':\n        f(1)\n    case 'a':  # here\n        f(2)\n    case _:\n        f(3)",
        1,
    ),
    "case_guard": ("match f((1, 2)):\n    case [a, b] if a > b:  # here\n        f(1)\n    case _:\n        f(2)", 1),
    "case_guard_holds": (
        "match f((2, 1)):\n    case [a, b] if a > b:  # here\n        f(1)\n    case _:\n        f(2)",
        1,
    ),
    "case_classes": ("match f(2):\n    case str() | int():  # here\n        f(1)\n    case _:\n        f(2)", 1),
    "case_mapping": ("match f({'k': 1}):\n    case {'k': v}:  # here\n        f(v)\n    case _:\n        f(2)", 1),
    "case_none": ("match f(2):\n    case None:  # here\n        f(1)\n    case _:\n        f(2)", 1),
    "case_any": ("match f(2):\n    case 1:\n        f(1)\n    case _:  # here\n        f(2)", 1),
    "case_body_after_guard": (
        "match f((2, 1)):\n    case [a, b] if a > b:\n        f(1)  # here\n    case _:\n        f(2)",
        1,
    ),
    "case_in_a_loop": (
        "for i in range(3):\n    match i:\n        case 1:  # here\n            f(1)\n        case _:\n            f()",
        3,
    ),
    "bare_raise": (
        "try:\n    try:\n        1 / 0\n    except ZeroDivisionError:\n        raise  # here\n"
        "except ZeroDivisionError:\n    f(1)",
        1,
    ),
    "percent_in_except": (
        "try:\n    1 / 0\nexcept ZeroDivisionError as error:\n    x = 'a %s' % error  # here\n    f(x)",
        1,
    ),
    "percent_after_for": ("for i in f([1]):  # here\n    f(i)\nreturn '<%s>' % f(i)", 1),
    "returned_percent": ("return 'a %s' % f(1)  # here", 1),
    "break_in_except": (
        "for i in [1]:\n    try:\n        1 / 0\n    except ZeroDivisionError:\n        f(1)\n        break  # here",
        1,
    ),
    "generator_expression_returned": ("return list((f(i) for i in range(3)))  # here", 1),
    "generator_expression_alone": ("return (f(i) for i in f([1]))  # here", 1),
    "return_of_a_constant_in_with": ("with C():  # here\n    f(1)\n    return 5", 1),
    "return_in_with_is_a_line": ("with C():\n    f(1)\n    return 5  # here", 1),
    "with_name": ("c = C()\nwith c:  # here\n    for i in range(3):\n        if i:\n            return 5", 1),
    "second_decorator": ("@f(lambda g: g)\n@f(lambda g: g)  # here\ndef g(a=1, *, b=2):\n    pass", 1),
    "decorated_def_with_defaults": ("@f(lambda g: g)\n@f\ndef g(a=1, *, b=2):  # here\n    pass", 1),
    "decorated_class": ("@f\nclass K(object):  # here\n    pass", 1),
    "class_with_bases_on_lines": ("@f\nclass K(object,  # here\n        metaclass=type):\n    pass", 1),
    "import": ("import os.path  # here", 1),
    "class_in_function": ("class K:  # here\n    y = 1", 1),
}


def run_case(source):
    text = f"def target(f, C):\n{textwrap.indent(source, '    ')}\n"
    space = {}
    exec(compile(text, "<case>", "exec"), space)
    target = space["target"]

    class C:
        def __enter__(self):
            return self

        def __exit__(self, *exc):
            return False

    def use():
        result = target(lambda *values: values[0] if values else None, C)
        if hasattr(result, "send"):
            list(result)

    return count(target, text, use)


def count(target, text, use):
    """The places of the marked line, and the hits as it is used."""
    line = next(number for number, one in enumerate(text.splitlines(), 1) if "# here" in one)
    code = target.__code__
    offsets = {offset for offset, first, _ in _native._test_statement_starts(code) if first == line}
    hits = []
    events = sys.monitoring.events
    sys.monitoring.use_tool_id(TOOL, "test")
    try:
        sys.monitoring.register_callback(
            TOOL, events.INSTRUCTION, lambda code, offset: hits.append(offset) if offset in offsets else None
        )
        sys.monitoring.set_local_events(TOOL, code, events.INSTRUCTION)
        use()
    finally:
        sys.monitoring.set_local_events(TOOL, code, 0)
        sys.monitoring.register_callback(TOOL, events.INSTRUCTION, None)
        sys.monitoring.free_tool_id(TOOL)
    return offsets, hits


@pytest.mark.parametrize("name", [name for name, (_, expected) in CASES.items() if expected is not None])
def test_a_line_fires_once_per_execution(name):
    source, expected = CASES[name]
    offsets, hits = run_case(source)
    assert len(hits) == expected, (offsets, hits)


ASYNCHRONOUS = {
    "async_with": ("async with C() as k:  # here\n    f(k)", 1),
    "async_with_return": ("async with C() as k:  # here\n    return 5", 1),
    "async_with_break": ("for i in range(2):\n    async with C():  # here\n        break", 1),
    "async_with_raised": ("async with C():  # here\n    raise KeyError", 1),
    "async_for": ("async for i in A():  # here\n    f(i)", 1),
    "await": ("await C().__aenter__()  # here", 1),
    "bare_yield": ("r = yield  # here", 1),
}


@pytest.mark.parametrize("name", ASYNCHRONOUS)
def test_a_line_of_an_asynchronous_function_fires_once(name):
    source, expected = ASYNCHRONOUS[name]
    text = f"async def target(f, C, A):\n{textwrap.indent(source, '    ')}\n"
    space = {}
    exec(compile(text, "<case>", "exec"), space)

    class C:
        async def __aenter__(self):
            return self

        async def __aexit__(self, *exc):
            return True

    async def numbers():
        for i in range(3):
            yield i

    async def use():
        made = space["target"](lambda value: value, C, numbers)
        if hasattr(made, "__aiter__"):
            return [item async for item in made]
        return await made

    _, hits = count(space["target"], text, lambda: asyncio.run(use()))
    assert len(hits) == expected, hits


def test_an_instruction_with_a_wide_argument_fires_once():
    constants = "\n".join(f"x = {number}.5" for number in range(400))
    _, hits = run_case(f"{constants}\nx = 999.5  # here")
    assert len(hits) == 1


def test_a_body_on_the_def_line():
    space = {}
    exec(compile("def target(): return 1", "<case>", "exec"), space)
    assert [line for _, line, _ in _native._test_statement_starts(space["target"].__code__)] == [1]


def test_a_multi_line_statement_knows_its_end():
    space = {}
    exec(compile("def target(f):\n    f(\n        1,\n        2,\n    )\n    return 3\n", "<case>", "exec"), space)
    starts = _native._test_statement_starts(space["target"].__code__)
    assert [(line, end) for _, line, end in starts] == [(2, 5), (6, 6)]


def statement_lines(source):
    lines = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.stmt, ast.excepthandler)):
            lines.add(node.lineno)
        if isinstance(node, ast.match_case):
            lines.add(node.pattern.lineno)
        lines.update(decorator.lineno for decorator in getattr(node, "decorator_list", ()))
    return lines


def test_statements_are_those_of_the_source():
    """No start is in the middle of a statement."""
    seen = 0
    for module in (argparse, asyncio.base_events, dataclasses, inspect, tarfile, textwrap, typing):
        known = statement_lines(inspect.getsource(module))
        for function in vars(module).values():
            if inspect.isfunction(function) and function.__module__ == module.__name__:
                code = inspect.unwrap(function).__code__
                starts = {line for _, line, _ in _native._test_statement_starts(code)}
                if code.co_name != "<lambda>":
                    assert starts and starts <= known, (code, starts - known)
                seen += 1
    assert seen > 100


def code_of(*modules):
    """All code written in modules, once each."""
    waiting = [one.__code__ for module in modules for one in vars(module).values() if isinstance(one, type(code_of))]
    found = {}
    while waiting:
        code = waiting.pop()
        if id(code) not in found:
            found[id(code)] = code
            waiting += [inner for inner in code.co_consts if inspect.iscode(inner)]
    return list(found.values())


def busy(n):
    """Specialised as it runs: arithmetic, attributes, calls, globals, a subscript, unpacking, a method."""
    total, text, pair = 0, [], (1, 2)
    for i in range(n):
        a, b = pair
        total += len(text) + a * b - i
        text.append(i)
        if text[-1] is None:
            break
    return total


def test_instructions_are_read_as_cpython_reads_them():
    assert busy(100) == 200
    all_code = [busy.__code__, *code_of(inspect, argparse, ast, dataclasses, tarfile, textwrap, typing)]
    assert len(all_code) > 200
    for code in all_code:
        assert bytes(_native._test_instructions(code)) == code.co_code, code


@pytest.mark.parametrize("others", [(), ("LINE",), ("PY_START", "PY_RETURN", "CALL", "JUMP", "BRANCH")])
@pytest.mark.parametrize("mine", [("INSTRUCTION",), ("LINE",), ("LINE", "INSTRUCTION", "PY_START", "PY_RETURN")])
def test_instructions_are_read_however_they_are_watched(others, mine):
    """Two tools at once; some places are switched off again as they run."""
    monitoring = sys.monitoring
    fresh = {"busy": busy.__code__.replace()}
    function = type(busy)(fresh["busy"], globals())
    plain = fresh["busy"].co_code
    tools = {TOOL: mine, 2: others}
    try:
        for tool, names in tools.items():
            monitoring.use_tool_id(tool, "test")
            for name in names:
                event = monitoring.events.__dict__[name]
                answer = monitoring.DISABLE if tool == TOOL else None
                monitoring.register_callback(tool, event, lambda *_, answer=answer: answer)
            monitoring.set_local_events(tool, fresh["busy"], sum(monitoring.events.__dict__[name] for name in names))
            assert bytes(_native._test_instructions(fresh["busy"])) == plain
            assert function(50) == 100
            assert bytes(_native._test_instructions(fresh["busy"])) == plain
    finally:
        for tool in tools:
            monitoring.set_local_events(tool, fresh["busy"], 0)
            monitoring.free_tool_id(tool)
    assert bytes(_native._test_instructions(fresh["busy"])) == plain


# Code that CPython 3.12 makes of joined pairs of instructions.
pairs = """
import dis, sys
def loop(a, b, n):
    t = 0
    for i in range(n):
        a, b = b, a
        c = i
        d = c
        t = (a, b, 1, c, d, t and 2)
    return t
def generator(n):
    a = b = 1
    for i in range(n):
        c = a
        yield b, c
def leaf(a, b):
    return a, b, 2, a
def names(function):
    return [one.opname for one in dis.get_instructions(function, adaptive=True)]
def run():
    for _ in range(100):
        loop(1, 2, 3), list(generator(3)), leaf(1, 2)
    return [names(function) for function in (loop, generator, leaf)]
"""


def test_what_nobody_watches_stays_as_fast_as_it_was(tmp_path):
    """Looking for files that start must not leave other code slower: its instructions are those it has without us."""
    write(tmp_path, "pairs.py", pairs)
    without = plain(tmp_path, sys.executable, "-c", "import pairs; print(pairs.run())")
    start = "import stroboscope; stroboscope.start()"
    late = f"import pairs; {start}; print(pairs.run())"
    for program in (f"{start}; import pairs; print(pairs.run())", late):
        result = plain(tmp_path, sys.executable, "-c", program)
        assert (result.returncode, result.stdout) == (0, without.stdout), result.stderr
    assert "FAST" in without.stdout


def test_joined_instructions_are_all_seen_by_a_tool_that_comes_later(tmp_path):
    write(tmp_path, "pairs.py", pairs)
    program = """
        import dis, sys, stroboscope
        if len(sys.argv) > 1:
            stroboscope.start()
        import pairs
        pairs.run()
        monitoring = sys.monitoring
        events = monitoring.events
        monitoring.use_tool_id(1, "late")
        seen = []
        monitoring.register_callback(1, events.INSTRUCTION, lambda code, offset: seen.append((code.co_name, offset)))
        monitoring.register_callback(1, events.LINE, lambda code, line: seen.append((code.co_name, "line", line)))
        for function in (pairs.loop, pairs.generator, pairs.leaf):
            monitoring.set_local_events(1, function.__code__, events.INSTRUCTION | events.LINE)
        pairs.run()
        for function in (pairs.loop, pairs.generator, pairs.leaf):
            monitoring.set_local_events(1, function.__code__, 0)
        print(seen)
    """
    write(tmp_path, "late.py", program)
    without, watched = (plain(tmp_path, sys.executable, "late.py", *more) for more in ((), ("start",)))
    assert (watched.returncode, watched.stdout) == (0, without.stdout), watched.stderr
    assert watched.stdout.count("loop") > 1000


def test_a_probed_function_stays_as_fast_as_it_was_beside_the_probe(tmp_path):
    path = write(tmp_path, "pairs.py", pairs)
    line = next(number for number, text in enumerate(path.read_text().splitlines(), 1) if "d = c" in text)
    program = f"""
        import pairs, stroboscope
        from stroboscope import _native
        expected = pairs.run()[0]
        stroboscope.start()
        _native._test_keep_armed(True)
        probe = {{"id": "p", "type": "LOG_PROBE", "template": "x"}}
        stroboscope.add_probe({{**probe, "where": {{"sourceFile": "pairs.py", "lines": ["{line}"]}}}})
        found = pairs.run()[0]
        # The probe's place, and what never runs at all (3.13 steps over the end of a loop).
        watched = [at for at, name in enumerate(found) if name == "INSTRUMENTED_INSTRUCTION"]
        assert 1 <= len(watched) <= 2, found
        different = [at for at, pair in enumerate(zip(found, expected, strict=True)) if pair[0] != pair[1]]
        # A pair of which one is watched cannot be one.
        assert all(at in watched or at + 1 in watched for at in different), (found, expected)
        print("good")
    """
    write(tmp_path, "probed.py", program)
    result = plain(tmp_path, sys.executable, "probed.py")
    assert (result.returncode, result.stdout) == (0, "good\n"), result.stderr
