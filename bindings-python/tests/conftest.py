"""What tests of several files are given."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from agents import Agent, Program, Start


@pytest.fixture
def program(tmp_path: Path, agent: Agent) -> Iterator[Start]:
    """Starts programs beside the Agent of the test, and ends what is left of them."""
    started: list[Program] = []

    def start(*arguments: Any, **more: Any) -> Program:
        started.append(Program(tmp_path, agent, *arguments, **more))
        return started[-1]

    yield start
    for one in started:
        one.kill()
