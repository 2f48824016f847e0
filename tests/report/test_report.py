"""Tables and pictures show what the memory model says."""

import io
import sys

import pytest
from hypothesis import given
from rich.console import Console

import schedule
from schedule.budgets.comparison import Entry, compare
from schedule.budgets.summary import Summary
from schedule.errors import BadOption, BadOutput, MissingExtra
from schedule.lowering import in_order
from schedule.report import tables
from schedule.report.pictures import memory_picture, save_picture, stack_picture
from schedule.sizes import format_compute
from schedule.solvers import Proof
from tests.formats import FILES_ARE_CHECKED
from tests.strategies import graphs

pytestmark = FILES_ARE_CHECKED


def drawn(table):
    out = io.StringIO()
    Console(file=out, width=300).print(table)
    return out.getvalue()


@given(graphs())
def test_summary_of_any_graph(graph):
    """Counts add up, the peak's parts are among its storages, the floor is below the peak."""
    found = Summary.of(graph).to_json(largest=1000)
    assert found["forward_nodes"] + found["backward_nodes"] == len(graph.nodes)
    assert found["tensors"] == len(graph.tensors)
    assert found["peak"] == in_order(graph).peak == sum(p["memory"] for p in found["at_peak"])
    assert found["floor"]["memory"] <= found["peak"]
    assert all(found["floor"]["memory"] <= b <= found["peak"] for b in found["budgets"].values())
    assert graph.name in drawn(tables.summary_table(Summary.of(graph)))


@given(graphs())
def test_trace_table_of_any_graph(graph):
    """The table states the peak and the compute."""
    trace = in_order(graph)
    shown = drawn(tables.trace_table(trace, trace.peak))
    assert f"{format_compute(trace.compute)} (" in shown
    assert shown.count(str(trace.peak)) >= 2


class Fake:
    """A solver that does what a test wants."""

    def __init__(self, name, summary="", reason=None, base=None):
        self.name, self.summary, self.reason, self.base = name, summary, reason, base

    def supports(self, graph):
        return self.reason

    def improve(self, problem, incumbent, deadline):
        if self.base is None:
            raise KeyboardInterrupt
        if self.base == "nothing":
            return Proof()
        return self.base.improve(problem, incumbent, deadline)


def test_comparison_is_sorted_by_what_fits():
    """What fits by overhead, then what doesn't by its peak, then what doesn't apply."""
    keep, again = schedule.SOLVERS["store_all"], schedule.SOLVERS["recompute_all"]
    solvers = [
        Fake("elsewhere", reason="it is too large"),
        Fake("nothing", base="nothing"),
        Fake("keep", base=keep),
        Fake("again", base=again),
    ]
    graph = schedule.example("chain")
    names = [entry.solver for entry in compare(graph, "100%", solvers)]
    assert names == ["keep", "again", "nothing", "elsewhere"]
    found = compare(graph, "50%", solvers)
    assert [entry.solver for entry in found] == ["again", "keep", "nothing", "elsewhere"]
    assert [entry.fits for entry in found] == [True, False, False, False]
    assert found[1].least_peak == in_order(graph).peak
    assert found[3] == Entry("elsewhere", None, "doesn't apply: it is too large")
    assert found[3].to_json()["reason"] == "doesn't apply: it is too large"
    shown = drawn(tables.comparison_table(found))
    assert "doesn't fit" in shown
    assert "it is too large" in shown


def test_comparison_ends_when_interrupted():
    """Ctrl-C keeps what is known and asks nobody else."""
    keep = schedule.SOLVERS["store_all"]
    asked = []
    solvers = [Fake("first", base=keep), Fake("stop"), Fake("never", base=keep)]
    found = compare(schedule.example("chain"), "100%", solvers, started=asked.append)
    assert asked == ["first", "stop"]
    assert {entry.solver for entry in found} == {"first", "stop"}


def test_result_table_has_every_row():
    """Labels and values of `Result.rows`."""
    plan = schedule.solve(schedule.example("chain"), "50%")
    shown = drawn(tables.result_table(plan))
    for label, value in plan.rows():
        assert label in shown
        assert value in shown


def test_memory_picture_shows_the_trace():
    """The lines have the height of the memory in use, and the budget is drawn."""
    pytest.importorskip("matplotlib")
    trace = in_order(schedule.example("chain"))
    figure = memory_picture({"plain": trace}, budget=10)
    (axes,) = figure.axes
    assert axes.patches[0].get_data().values.tolist() == trace.during.tolist()
    assert axes.lines[0].get_ydata()[0] == 10


def test_stack_picture_adds_up():
    """The blocks of every column add up to the memory in use during that run."""
    pytest.importorskip("matplotlib")
    trace = in_order(schedule.example("diamonds", count=2))
    heights = {}
    for block in stack_picture(trace).axes[0].patches:
        column = round(block.get_x() + block.get_width() / 2)
        heights[column] = heights.get(column, 0) + block.get_height()
    assert [heights[at] for at in sorted(heights)] == trace.during[trace.codes >= 0].tolist()


def test_stack_picture_refuses_what_nobody_can_read():
    """Hundreds of columns are no picture."""
    with pytest.raises(BadOption, match=r"100 can"):
        stack_picture(in_order(schedule.example("unet")))


def test_pictures_are_reproducible(tmp_path):
    """The same traces give the same bytes."""
    pytest.importorskip("matplotlib")
    trace = in_order(schedule.example("chain"))
    for name in ("one.svg", "two.svg"):
        save_picture(memory_picture({"plain": trace}), tmp_path / name)
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()


@pytest.mark.parametrize("name", ["picture.abacus", "missing/picture.svg"])
def test_picture_that_cannot_be_written(tmp_path, name):
    """An unknown ending and a missing directory are named."""
    pytest.importorskip("matplotlib")
    picture = memory_picture({"plain": in_order(schedule.example("chain"))})
    with pytest.raises(BadOutput, match=r"picture\..*: can't be written"):
        save_picture(picture, tmp_path / name)


def test_missing_matplotlib_is_named(monkeypatch):
    """The message says which extra to install."""
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtra, match=r"graph-schedule\[plot\]"):
        memory_picture({})
