"""A client's code is checked by `mypy --strict`, as the package says what everything is."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.formats import FILES_ARE_CHECKED

pytestmark = FILES_ARE_CHECKED

CLIENT = """
import threading
import schedule

g = schedule.GraphBuilder("mlp")
x: str = g.input("x", memory=4096)
h: str = g.node("h", x, memory=4096, compute=12)
left, right = g.node("split", h, memory=(2048, 2048), compute=2)
parts: tuple[str, ...] = g.node("parts", left, memory={"a": 1, "b": 2})
y: str = g.node("y", [right, *parts], memory=4096)
graph: schedule.Graph = g.build([y])
event = threading.Event()
plan: schedule.Result = schedule.solve(graph, "80%", cancel=event, work_limit=0.5, workers=1)
same: schedule.Result = schedule.solve(graph, "80%", cancel=lambda: False)
trace: schedule.Trace = schedule.verify(graph, plan, "80%")
curve: schedule.Sweep = schedule.sweep(graph, ["60%"], cancel=event, work_limit=1)
"""
WRONG = """
number: int = g.node("z", y, memory=1)
schedule.solve(graph, "80%", cancel=5)
schedule.solve(graph, "80%", work_limit="1")
"""


def checked(folder, **clients):
    """What mypy says of each client's file; skipped where there is none."""
    pytest.importorskip("mypy")
    for name, code in clients.items():
        (folder / f"{name}.py").write_text(code, "utf-8")
    call = [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent"]
    done = subprocess.run(
        [*call, "--cache-dir=cache", *(f"{name}.py" for name in clients)],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    said = done.stdout.splitlines()
    assert done.stderr == "", done.stderr
    return {name: [line for line in said if line.startswith(f"{name}.py:")] for name in clients}


def test_mypy_follows_clients(tmp_path):
    """Every name has its type, and what is wrong is found, at its line.

    What the reference lists can be imported: each name is one that its module says to be public.
    """
    page = (Path(__file__).parents[1] / "docs" / "reference.md").read_text("utf-8")
    listed = re.findall(r"^   (schedule[\w.]*)\.(\w+)$", page, re.MULTILINE)
    assert ("schedule.solvers", "Search") in listed
    names = "\n".join(
        f"from {module} import {name} as name_{at}" for at, (module, name) in enumerate(listed)
    )
    said = checked(tmp_path, client=CLIENT + WRONG, names=names)
    found = [line.split(":")[1] for line in said["client"] if ": error:" in line]
    lines = (CLIENT + WRONG).splitlines()
    assert [lines[int(number) - 1] for number in found] == WRONG.split("\n")[1:-1], said
    assert not said["names"]
