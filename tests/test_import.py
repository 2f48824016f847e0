"""What importing and using the package loads, in fresh interpreters."""

from __future__ import annotations

import subprocess
import sys

import pytest

import schedule
from tests.formats import FILES_ARE_CHECKED

pytestmark = FILES_ARE_CHECKED

HEAVY = ["highspy", "ortools", "torch", "jax", "numba", "networkx", "matplotlib", "rich", "click"]


def loaded(code):
    """Of the heavy modules, those that are loaded after `code`, which has to be silent."""
    script = f"{code}\nimport sys\nprint(*[m for m in {HEAVY} + ['numpy'] if m in sys.modules])"
    found = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120
    )
    assert not found.stderr
    lines = found.stdout.splitlines()
    assert len(lines) == 1, "the library is silent"
    return lines[0].split()


def test_importing_loads_nothing_heavy():
    """Not even NumPy, until a graph is looked at."""
    assert loaded("import schedule") == []


def test_building_and_writing_a_graph_loads_nothing_heavy(tmp_path):
    """A plugin that only writes graph files needs no solver and no arrays."""
    code = f"""
import schedule
g = schedule.GraphBuilder("two")
g.node("b", g.node("a", memory=1), memory=1)
schedule.write(g.build(), {str(tmp_path / "graph.json")!r})
"""
    assert set(loaded(code)) <= {"numpy"}


def test_executing_a_schedule_file_needs_numpy_alone(tmp_path):
    """A training machine has no solver: files in, arrays out."""
    graph = schedule.example("chain", layers=3)
    schedule.write(graph, tmp_path / "graph.json")
    schedule.solve(graph, solver="sqrt").save(tmp_path / "plan.json")
    code = f"""
import numpy as np, schedule
graph = schedule.read({str(tmp_path / "graph.json")!r})
plan = schedule.read_schedule({str(tmp_path / "plan.json")!r})
one = lambda *reads: np.ones(1, np.uint8)
outputs = schedule.replay(graph, plan, {{node.name: one for node in graph.nodes}}, {{}})
assert set(outputs) == set(graph.outputs)
"""
    assert loaded(code) == ["numpy"]


def test_heuristics_load_no_solver_library():
    """HiGHS comes with the first integer program, not with the table of solvers."""
    code = "import schedule\nschedule.solve(schedule.example('chain'), '90%', 'sqrt')"
    assert loaded(code) == ["numpy"]


def test_every_public_name_is_there_and_says_what_it_is():
    """Lazy names resolve, are listed, and have a docstring."""
    assert set(schedule.__all__) <= set(dir(schedule))
    for name in schedule.__all__:
        value = getattr(schedule, name)
        assert isinstance(value, (str, dict)) or value.__doc__, name


def test_an_unknown_name_is_an_attribute_error():
    """As for any module."""
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = schedule.nothing
