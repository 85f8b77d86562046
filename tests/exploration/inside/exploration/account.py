"""At the end of a run: what became of the probes, and what is left in code once they are gone."""

import gc
import opcode
import sys
import time
from types import CodeType, FunctionType


def peak():
    with open("/proc/self/status", encoding="ascii") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def left_by(definitions, churn):
    if "stroboscope" not in sys.modules:
        return {"instrumented": sorted(_instrumented(_codes()))}
    stroboscope = sys.modules["stroboscope"]
    if churn:
        churn.stop()
    told = {"churned": churn.moves if churn else 0, "errors": churn.errors if churn else []}
    statuses = stroboscope.status()
    stats = stroboscope.stats()
    told["stats"] = {"hits": stats["hits"], "dropped": stats["dropped"], "metrics": stats["metrics"]}
    told["fired"] = [status["id"] for status in statuses if status["hits"]]
    places = {definition["id"]: definition["where"] for definition in definitions}
    missing = [status for status in statuses if _is_missing(status, places[status["id"]])]
    told["missing"] = [[status["id"], status["state"], status["reason"]] for status in missing]
    told["without_place"] = [status["id"] for status in statuses if status["state"] in ("error", "waiting")]
    told["installed"] = sum(status["state"] in ("installed", "emitting") for status in statuses)
    for status in statuses:
        stroboscope.remove_probe(status["id"])
    told["left"] = [status["id"] for status in stroboscope.status()]
    told["seconds_to_remove"] = _until_gone()
    files = {where["sourceFile"] for where in places.values() if "sourceFile" in where}
    codes = _codes()
    told["instrumented"] = sorted(_instrumented(codes))
    told["changed"] = sorted(_changed(codes, files))
    told["codes"] = len(codes)
    return told


def _is_missing(status, where):
    """False if a probe is there, or waits for code that is not there, or came after code that runs once."""
    if status["state"] in ("installed", "emitting"):
        return False
    if "methodName" in where:
        module, method = where["typeName"], where["methodName"]
        return module in sys.modules and _leads_to_its_function(module, method)
    if status["state"] == "error":
        return "lines outside of functions ran before the probe came" not in status["reason"]
    if status["state"] != "waiting":
        return True
    files = (vars(module).get("__file__") for module in list(sys.modules.values()) if type(module) is type(sys))
    return where["sourceFile"] in files and "left no function behind" not in status["reason"]


def _leads_to_its_function(module, method):
    """Whether a name in a module still leads to the function of its source, and not to one of C, or none."""
    found = sys.modules.get(module)
    file = vars(found).get("__file__") if type(found) is type(sys) else None
    method = method.partition(".<locals>")[0]
    for name in method.split("."):
        found = vars(found).get(name) if isinstance(found, (type, type(sys))) else None
    function = found.fget if type(found) is property else getattr(found, "__func__", found)
    if type(function) is not FunctionType:
        return False
    return (function.__code__.co_filename, function.__code__.co_qualname) == (file, method)


def _until_gone():
    """Probes leave code in a thread of ours. Gives the seconds that took, half a minute at most."""
    begun = time.monotonic()
    while time.monotonic() - begun < 30 and _instrumented(_codes()):
        time.sleep(0.05)
    return time.monotonic() - begun


def _codes():
    """The code of all functions that are there, and all that is in it."""
    found = {}
    left = [one.__code__ for one in gc.get_objects() if type(one) is FunctionType]
    while left:
        code = left.pop()
        if id(code) not in found:
            found[id(code)] = code
            left += [constant for constant in code.co_consts if type(constant) is CodeType]
    return list(found.values())


def _name(code):
    return f"{code.co_filename}:{code.co_firstlineno} {code.co_qualname}"


def _instrumented(codes):
    """The names of code that has an event of ours, or instructions for events though no other tool asked for one."""
    monitoring = sys.monitoring
    tools = [tool for tool in range(6) if monitoring.get_tool(tool) is not None]
    ours = [tool for tool in tools if monitoring.get_tool(tool) == "stroboscope"]
    others = [tool for tool in tools if tool not in ours]
    least = min(number for name, number in opcode.opmap.items() if name.startswith("INSTRUMENTED_"))
    is_watched = sys.gettrace() or sys.getprofile() or any(monitoring.get_events(tool) for tool in others)
    # While a session runs the start of every function is told it, probes or not.
    of_session = {"INSTRUMENTED_RESUME"} if any(monitoring.get_events(tool) for tool in ours) else set()
    caches = opcode._inline_cache_entries
    sizes = [
        caches[number] if isinstance(caches, list) else caches.get(opcode.opname[number], 0) for number in range(256)
    ]
    found = set()
    for code in codes:
        if any(monitoring.get_local_events(tool, code) for tool in ours):
            found.add(f"{_name(code)}: has events of ours")
        elif not is_watched and not any(monitoring.get_local_events(tool, code) for tool in others):
            plain, running = code.co_code, code._co_code_adaptive
            at = 0
            while at < len(plain):
                if running[at] >= least and (name := opcode.opname[running[at]]) not in of_session:
                    found.add(f"{_name(code)}: {name} at {at}")
                    break
                at += 2 + 2 * sizes[plain[at]]
    return found


def _changed(codes, files):
    """The names of code that is not what the compiler makes of its file."""
    fresh = {}
    for file in files:
        try:
            with open(file, "rb") as source:
                left = [compile(source.read(), file, "exec", dont_inherit=True)]
        except (OSError, SyntaxError, ValueError):
            continue
        while left:
            code = left.pop()
            fresh[code.co_filename, code.co_firstlineno, code.co_qualname, code.co_name] = code
            left += [constant for constant in code.co_consts if type(constant) is CodeType]
    found = set()
    for code in codes:
        made = fresh.get((code.co_filename, code.co_firstlineno, code.co_qualname, code.co_name))
        if made is None or made.co_varnames != code.co_varnames:
            continue
        for part in ("co_code", "co_linetable", "co_exceptiontable", "co_names"):
            if getattr(made, part) != getattr(code, part):
                found.add(f"{_name(code)}: {part}")
    return found
