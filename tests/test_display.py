"""Notebooks draw what knows nothing of drawing."""

import subprocess
import sys

import pytest

import schedule
from schedule.display import Shown
from schedule.report import notebook

CODE = """
import sys
from schedule.graph import Graph, Node, Tensor

drawing = [name for name in sys.modules if name.startswith("schedule.report")]
graph = Graph([Node("a", (), (Tensor("a", 8),), compute=3)])
print(drawing, graph._repr_html_().startswith("<table>"))
"""


def test_a_graph_whose_module_alone_is_imported_is_drawn():
    """The drawing is loaded when a notebook asks for it, and not before."""
    found = subprocess.run(
        [sys.executable, "-c", CODE], capture_output=True, text=True, timeout=120, check=True
    )
    assert found.stdout.split("\n") == ["[] True", ""]


def test_everything_that_is_shown_has_a_drawing():
    """Whatever calls itself `Shown` is known to what draws, by its own class."""
    kinds = {schedule.Graph, schedule.Result, schedule.Sweep}
    assert kinds <= set(Shown.__subclasses__())
    for kind in Shown.__subclasses__():
        assert kind in notebook.html.registry, kind
        assert kind in notebook.svg.registry, kind


def test_what_nobody_draws_is_named():
    """A class without a drawing is a bug that says so, not an empty cell."""
    with pytest.raises(TypeError, match="nobody knows how to draw a int"):
        notebook.html(5)


def test_what_a_debugger_prints_is_short():
    """A plan and its schedule in a line each, however many steps there are, none made for it."""
    graph = schedule.example("chain", layers=500)
    plan = schedule.solve(graph, None, "store_all")
    assert len(plan.schedule) > 1000
    assert repr(plan) == f"<Result for 'chain': {plan}>"
    assert repr(plan.schedule) == f"<Schedule of 'chain': {len(plan.schedule)} steps>"
    assert "steps" not in vars(plan.schedule)
