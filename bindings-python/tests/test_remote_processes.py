"""Remote configuration in programs of many processes: forks, pre-forking and asynchronous servers, pools. Each process
asks for itself, under its own names, and keeps what it inherited until then.
"""

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from agents import Agent, Start, at, fast, log, starting, until
from processes import clean_environment, preload, seconds_to_wait, write


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    here = Agent(tmp_path, "configures")
    yield here
    here.stop()


def runtime(client: dict[str, Any]) -> str:
    return client["tracer"]["runtime_id"]


# `fork()` answers in the parent; the child works on until the parent ends.
forking = starting.replace(
    "go()",
    """
    children = []
    def child():
        working = True
        def ends():
            os.read(ended, 1)
            os._exit(0)
        threading.Thread(target=ends, daemon=True).start()
        global x
        while True:
            x += 1
            work(x), other(x)
            time.sleep(0.01)

    ended, end = os.pipe()
    wanted = threading.Event()
    def serve():
        global x
        while not done.is_set():
            x += 1
            work(x), other(x), beat(x)
            time.sleep(0.01)
            if wanted.is_set():
                pid = os.fork()
                if not pid:
                    os.close(end)
                    child()
                children.append(pid)
                wanted.clear()
    threading.Thread(target=answer, daemon=True).start()
    serve()
    os.close(end)
    for pid in children:
        os.waitpid(pid, 0)
    """,
)


def test_a_child_keeps_what_it_inherited_and_asks_for_itself(agent: Agent, program: Start) -> None:
    here = program(forking)
    agent.offer({at("a"): log("a")})
    (parent,) = agent.settled(path=at("a"))
    # The Agent refuses from now on: what the child runs, it has from its parent.
    agent.answers({"status": 500})
    here.ask("wanted.set()")
    child = int(until(lambda: (here.ask("children[0] if children else 0") != "0") and here.ask("children[0]")))
    until(lambda: child in agent.by_process())
    agent.answers_well()
    first, second = agent.settled(2, path=at("a"))
    born = second if first["id"] == parent["id"] else first
    assert len({first["id"], second["id"], runtime(first), runtime(second)}) == 4
    assert f"parent_runtime_id:{runtime(parent)}" in born["tracer"]["tags"]
    # Both get what comes from now on, and lose what goes.
    agent.offer({at("a"): None, at("b"): log("b", "other", id="b")})
    agent.settled(2, path=at("b"))
    before = {pid: sum(map(len, found.values())) for pid, found in agent.by_process().items()}
    parents = int(here.ask("os.getpid()"))

    def of_both() -> set[int]:
        return {pid for pid, found in agent.by_process().items() if "'b " in str(found)}

    until(lambda: of_both() == {parents, child}, before)
    here.is_silent("a")
    assert {pid: list(found) for pid, found in agent.by_process().items()} == {
        parents: [runtime(parent)],
        child: [runtime(born)],
    }
    assert agent.problems() == []
    here.end()


def test_short_lived_children_never_ask(agent: Agent, program: Start) -> None:
    children = """
    def bear():
        for number in range(10):
            pid = os.fork()
            if not pid:
                work(number)
                os._exit(0)
            os.waitpid(pid, 0)
        return "done"
    """
    here = program(children + starting, DD_REMOTE_CONFIG_POLL_INTERVAL_SECONDS="1")
    agent.offer({at("a"): log("a")})
    (parent,) = agent.settled(path=at("a"))
    assert here.ask("bear()") == "done"
    until(lambda: len(agent.by_process()) >= 11, agent.by_process)
    assert {poll["client"] for poll in agent.polls()} == {parent["id"]}
    here.end()


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessing(tmp_path: Path, agent: Agent, method: str) -> None:
    """Workers that live long, as those of a queue of tasks do."""
    write(
        tmp_path,
        "tasks.py",
        f"""
        import multiprocessing, sys, time

        def task(x):
            return x

        def serve(ended):
            number = 0
            while not ended.wait(0.01):
                task(number)
                number += 1

        if __name__ == "__main__":
            context = multiprocessing.get_context({method!r})
            ended = context.Event()
            workers = [context.Process(target=serve, args=(ended,)) for _ in range(3)]
            for worker in workers:
                worker.start()
            sys.stdin.read()
            ended.set()
            for worker in workers:
                worker.join()
            sys.exit(max(worker.exitcode for worker in workers))
        """,
    )
    with server(tmp_path, agent, "tasks.py") as process:
        where = {"sourceFile": "tasks.py", "lines": ["4"]}
        agent.offer({at("a"): log("a", where=where)})
        until(lambda: len([one for one in agent.by_process() if one != process.pid]) == 3, agent.by_process)
        agent.offer({at("a"): log("b", version=2, where=where)})
        until(lambda: sum("b " in str(found) for found in agent.by_process().values()) == 3, agent.by_process)
        each_has_its_own_name(agent)
        assert process.stdin
        process.stdin.close()
        assert process.wait(seconds_to_wait) == 0
    assert agent.problems() == []


def each_has_its_own_name(agent: Agent) -> None:
    """Each process sends under one runtime id, under which it also asks."""
    found = agent.by_process()
    names = [name for by_name in found.values() for name in by_name]
    assert len(names) == len(set(names)) == len(found)
    asking = [client["tracer"]["runtime_id"] for client in agent.ask("/_remote")["clients"]]
    assert len(asking) == len(set(asking))
    assert set(names) <= set(asking)


@contextlib.contextmanager
def server(folder: Path, agent: Agent, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    """A program that is preloaded and left as it is, with all that it starts."""
    about = {**fast, "DD_TRACE_AGENT_URL": agent.url}
    about |= {"DD_DYNAMIC_INSTRUMENTATION_ENABLED": "true", "PYTHONPATH": preload}
    with (folder / "stderr").open("w") as errors:
        process = subprocess.Popen(
            [sys.executable, *words],
            cwd=folder,
            env=clean_environment(**about),
            stdin=subprocess.PIPE,
            stdout=errors,
            stderr=errors,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        assert process.stdin
        process.stdin.close()
        process.wait(seconds_to_wait)


class Connection(http.client.HTTPConnection):
    def __init__(self, folder: Path) -> None:
        super().__init__("localhost", timeout=seconds_to_wait)
        self.path = str(folder / "site.sock")

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self.path)


class Visits:
    """Requests to a server, each with a word of its own, and the process that answered it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.answered: dict[str, int] = {}
        self.count = 0

    def one(self, word: str) -> None:
        site = Connection(self.folder)
        # A worker that is killed takes its connection with it.
        with contextlib.suppress(OSError, http.client.HTTPException):
            site.request("GET", f"/?{word}")
            self.answered[word] = int(site.getresponse().read())
        site.close()

    def many(self, count: int = 16) -> set[int]:
        """So many at once, so that all workers have to do; answers who answered."""
        words = [f"visit{self.count + number}" for number in range(count)]
        self.count += count
        threads = [threading.Thread(target=self.one, args=(word,)) for word in words]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return {self.answered[word] for word in words if word in self.answered}

    def of(self, process: int, since: int = 0) -> set[str]:
        return {word for word, by in self.answered.items() if by == process and int(word[5:]) >= since}


def workers_that_answer(visits: Visits, count: int, without: int = 0) -> set[int]:
    seen: set[int] = set()

    def found() -> bool:
        seen.update(visits.many())
        seen.discard(without)
        return len(seen) >= count

    until(found, seen)
    return seen


wsgi = """
    import os, time

    def see(word):
        return word  # here

    def app(environ, start):
        see(environ["QUERY_STRING"])
        time.sleep(0.02)
        start("200 OK", [("Content-Type", "text/plain")])
        return [str(os.getpid()).encode()]
"""

asgi = """
    import asyncio, os

    async def see(word):
        await asyncio.sleep(0.02)
        return word  # here

    async def app(scope, receive, send):
        if scope["type"] != "http":
            return
        await see(scope["query_string"].decode())
        headers = [(b"content-type", b"text/plain")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": str(os.getpid()).encode()})
"""

seen = {"where": {"typeName": "site_of_ours", "methodName": "see"}, "template": "{word}"}


def arrives_in(agent: Agent, visits: Visits, workers: set[int], since: int) -> None:
    """All that these workers answered from a visit on is said, once, by themselves."""
    expected = {pid: visits.of(pid, since) for pid in workers}

    def missing() -> set[str]:
        said = {one for names in agent.by_process().values() for found in names.values() for one in found}
        return {word for words in expected.values() for word in words} - said

    until(lambda: not missing(), missing)
    for pid, by_name in agent.by_process().items():
        (messages,) = by_name.values()
        assert len(messages) == len(set(messages))
        assert {visits.answered.get(one, pid) for one in messages} == {pid}


def test_gunicorn_with_four_workers(tmp_path: Path, agent: Agent) -> None:
    write(tmp_path, "site_of_ours.py", wsgi)
    visits = Visits(tmp_path)
    words = ["-m", "gunicorn", "-w", "4", "-b", "unix:site.sock", "site_of_ours:app"]
    with server(tmp_path, agent, *words) as process:
        workers = workers_that_answer(visits, 4)
        agent.offer({at("a"): log("a", **seen)})
        # The workers, and the process that they come from.
        agent.settled(5, path=at("a"))
        since = visits.count
        assert workers_that_answer(visits, 4) == workers
        arrives_in(agent, visits, workers, since)
        each_has_its_own_name(agent)
        assert set(agent.by_process()) == workers

        killed = min(workers)
        os.kill(killed, signal.SIGKILL)
        left = workers - {killed}
        (born,) = workers_that_answer(visits, 4, without=killed) - left
        arrives_in(agent, visits, left, since)
        until(lambda: born in agent.by_process() or not visits.many(), (born, agent.by_process()))
        agent.offer({at("a"): log("a", version=2, **{**seen, "template": "new {word}"})})
        agent.settled(5, path=at("a"))
        workers_that_answer(visits, 4, without=killed)

        def new() -> set[int]:
            return {pid for pid, names in agent.by_process().items() if "new visit" in str(names)}

        until(lambda: new() == left | {born}, new)
        each_has_its_own_name(agent)
        process.terminate()
        assert process.wait(seconds_to_wait) == 0
    assert agent.problems() == []


@pytest.mark.parametrize("count", [1, 2])
def test_uvicorn(tmp_path: Path, agent: Agent, count: int) -> None:
    write(tmp_path, "site_of_ours.py", asgi)
    visits = Visits(tmp_path)
    words = ["-m", "uvicorn", "--workers", str(count), "--uds", "site.sock", "site_of_ours:app"]
    with server(tmp_path, agent, *words) as process:
        workers = workers_that_answer(visits, count)
        agent.offer({at("a"): log("a", **seen)})
        agent.settled(count if count == 1 else count + 1, path=at("a"))
        since = visits.count
        workers_that_answer(visits, count)
        arrives_in(agent, visits, workers, since)
        agent.offer({at("a"): None})
        agent.settled(count if count == 1 else count + 1)
        since = visits.count
        visits.many()
        each_has_its_own_name(agent)
        process.terminate()
        process.wait(seconds_to_wait)
    late = {one for names in agent.by_process().values() for said in names.values() for one in said}
    assert not [one for one in late if int(one[5:]) >= since]
    assert agent.problems() == []
