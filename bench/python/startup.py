"""Whole processes, run in turn: what having the debugger on costs before anything is hit. Called by `run.py`.

Each imports some 300 modules of the standard library, since both sides look at every module that is loaded.
"""

import os
import subprocess
import time

_imports = (
    "import asyncio,json,email.mime.text,http.server,http.client,unittest.mock,xml.dom.minidom,logging.config,"
    "multiprocessing.pool,concurrent.futures,sqlite3,ssl,decimal,fractions,statistics,argparse,urllib.request,"
    "pydoc,typing,dataclasses,inspect,ast,tarfile,zipfile,smtplib,ftplib,imaplib,mailbox,optparse,difflib,doctest,"
    "pdb,cProfile,pstats,trace,timeit,csv,configparser,tomllib,plistlib,netrc,ctypes,cmd,shlex,gettext,calendar,"
    "graphlib,secrets,tempfile,shutil,pickletools,shelve,gzip,bz2,lzma,socketserver,xmlrpc.client,xmlrpc.server,"
    "ipaddress,wave,venv,zipapp,importlib.metadata,importlib.resources,symtable,compileall,sched,modulefinder"
)
# Ended at once: what a side does when it ends is not start-up.
_programs = {
    "plain": f"import os;{_imports};os._exit(0)",
    "peer": f"import os;import ddtrace.auto;{_imports};os._exit(0)",
    "ours": f"import os;import stroboscope;stroboscope.start();{_imports};os._exit(0)",
}


class RunFailed(Exception):
    """A process that should only start and end did something else."""


def measure(python, sides, agent_url, runs):
    """CPU and wall milliseconds and peak MiB of each run, by side."""
    env = {
        **os.environ,
        "DD_TRACE_AGENT_URL": agent_url,
        "DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false",
        "DD_DYNAMIC_INSTRUMENTATION_ENABLED": "true",
    }
    results = {side: [] for side in ["plain", *sides]}
    # The first run of each fills caches of files and is thrown away.
    for number in range(runs + 1):
        for side, kept in results.items():
            run = _run([python[side], "-c", _programs[side]], env)
            if number:
                kept.append(run)
    return results


def _run(command, env):
    start = time.perf_counter()
    process = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RunFailed(f"a start-up run ended with {process.returncode}: {command[-1][:60]}")
    return {"cpu_ms": (usage.ru_utime + usage.ru_stime) * 1e3, "wall_ms": wall * 1e3, "mib": usage.ru_maxrss / 1024}
