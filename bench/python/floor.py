"""Builds floor.c and lock.c into `build/`, and puts the callback on the places where the probes of the rows stand."""

import dis
import importlib.util
import os
import subprocess
import sys
import sysconfig

here = os.path.dirname(os.path.abspath(__file__))
_tool = 3


def build(name="floor"):
    """Compiles one of the C files for this interpreter; returns the module."""
    folder = os.path.join(here, "build")
    os.makedirs(folder, exist_ok=True)
    made = os.path.join(folder, f"bench_{name}" + sysconfig.get_config_var("EXT_SUFFIX"))
    source = os.path.join(here, f"{name}.c")
    if not os.path.exists(made) or os.path.getmtime(made) < os.path.getmtime(source):
        include = sysconfig.get_paths()["include"]
        command = ["cc", "-O2", "-shared", "-fPIC", f"-I{include}", source, "-o", made]
        subprocess.run(command, check=True, stdout=sys.stderr)
    spec = importlib.util.spec_from_file_location(f"bench_{name}", made)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def arm(places, arguments):
    """Arms each place: a pair of a function and a line, or of a function and None for its return."""
    nothing = build().nothing
    monitoring = sys.monitoring
    events = monitoring.events
    monitoring.use_tool_id(_tool, "bench-floor")
    kept = {function.__code__: _statement_start(function, line) for function, line in places if line}
    # Every instruction of the function has the event; one run with this callback leaves only the wanted one.
    monitoring.register_callback(
        _tool, events.INSTRUCTION, lambda code, offset: None if kept[code] == offset else monitoring.DISABLE
    )
    monitoring.register_callback(_tool, events.PY_RETURN, nothing)
    for function, line in places:
        monitoring.set_local_events(_tool, function.__code__, events.INSTRUCTION if line else events.PY_RETURN)
        function(*arguments[function.__name__.removesuffix("_p")])
    monitoring.register_callback(_tool, events.INSTRUCTION, nothing)


def _statement_start(function, line):
    return next(offset for offset, at in dis.findlinestarts(function.__code__) if at == line)
