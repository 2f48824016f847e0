"""Pictures of what is live when, and what notebooks show."""

from __future__ import annotations

import sys
import warnings
from xml.etree import ElementTree

import numpy as np
import pytest

import schedule
from schedule.lowering import in_order
from schedule.report.curves import curve_picture
from schedule.report.gantt import gantt_picture
from schedule.report.lifetimes import lifetimes
from schedule.report.marks import BACKWARD, checkpoint_memory
from schedule.report.pictures import memory_picture, save_picture
from schedule.sizes import format_memory
from tests.formats import FILES_ARE_CHECKED

pytest.importorskip("matplotlib")

pytestmark = FILES_ARE_CHECKED


@pytest.fixture(scope="module")
def plan():
    return schedule.solve(schedule.example("unet"), "70%")


@pytest.fixture(scope="module")
def trace(plan):
    return schedule.verify(schedule.example("unet"), plan.schedule)


def words(axes):
    return [text.get_text() for text in axes.texts]


def test_rows_are_the_largest_storages(trace):
    """No storage without a row is larger than one that has a row; names are those of the rows."""
    below = gantt_picture(trace, most=10).axes[1]
    layout = trace.graph.layout
    named = [label.get_text() for label in below.get_yticklabels()]
    shown = {layout.tensor_id[name] for name in named}
    stored = {stay.storage for stay in lifetimes(trace)}
    assert len(named) == 10
    rest = max(layout.memory[storage] for storage in stored - shown)
    assert rest <= min(layout.memory[storage] for storage in shown)


def test_what_has_no_row_is_counted(trace):
    """How many there are, and how large; nothing where all have one."""
    sizes = trace.graph.layout.memory
    stored = [sizes[storage] for storage in {stay.storage for stay in lifetimes(trace)}]
    stored = sorted((size for size in stored if size), reverse=True)
    said = gantt_picture(trace, most=10).axes[1].get_title(loc="right")
    assert said.startswith(f"the 10 largest of {len(stored)} storages; ")
    assert said.endswith(f" up to {format_memory(int(stored[10]))}")
    assert gantt_picture(trace, most=len(stored)).axes[1].get_title(loc="right") == ""


def test_a_graph_without_a_backward_pass_has_none_in_its_legend(trace):
    """Colours are explained where they are used."""

    def explained(trace):
        return [text.get_text() for text in gantt_picture(trace).axes[1].get_legend().get_texts()]

    assert explained(trace) == ["forward", "backward"]
    assert explained(in_order(schedule.example("diamonds", count=2))) == ["computed"]


def test_bars_are_the_stays(trace):
    """A bar from the write to the free, for each stay of the storage of its row."""
    below = gantt_picture(trace, most=8).axes[1]
    names = [label.get_text() for label in below.get_yticklabels()]
    for row, bars in zip(names, below.collections, strict=True):
        storage, steps = trace.graph.layout.tensor_id[row], len(trace.codes)
        spans = [(box.vertices[:, 0].min(), box.vertices[:, 0].max()) for box in bars.get_paths()]
        wanted = [
            (max(stay.start, 0), min(stay.end + 1, steps))
            for stay in lifetimes(trace)
            if stay.storage == storage
        ]
        assert spans == wanted


def test_peak_passes_and_checkpoints_are_marked(plan, trace):
    """Before and after, the budget, both peaks, the backward pass, the checkpoints' memory."""
    picture = memory_picture({"as it is": in_order(trace.graph), "planned": trace}, plan.budget)
    (axes,) = picture.axes
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert f"budget {format_memory(plan.budget)}" in labels
    dots = [line for line in axes.lines if line.get_marker() == "o"]
    tops = [dot.get_ydata()[0] for dot in dots]
    assert tops == [in_order(trace.graph).peak / 2**20, trace.peak / 2**20]
    assert dots[1].get_xdata()[0] == trace.peak_step + 0.5
    (bar,) = axes.collections
    (start, end) = bar.get_segments()[0]
    assert start.tolist() == [trace.boundary, 0]
    assert end[1] == checkpoint_memory(trace) / 2**20
    assert f"backward, from {len(trace.checkpoints)} checkpoints of 13.75 MiB" in words(axes)


@pytest.mark.parametrize("name", ["chain", "diamonds"])
def test_no_peak_is_written_on_a_line(name):
    """Where there is no room beside it, its figure is in the legend."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    graph = schedule.example(name)
    plain = in_order(graph)
    traces = {"as it is": plain}
    for solver in ("dtr", "recompute_all"):
        plan = schedule.solve(graph, "80%" if solver == "dtr" else None, solver)
        traces[solver] = schedule.verify(graph, plan)
    figure = memory_picture(traces)
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw_without_rendering()
    axes = figure.axes[0]
    lines = [line for line in axes.patches if type(line).__name__ == "StepPatch"]
    written = [text for text in axes.texts if text.get_text().startswith("peak")]
    for text in written:
        box = text.get_window_extent(renderer)
        assert not any(
            line.get_transform().transform_path(line.get_path()).intersects_bbox(box, filled=False)
            for line in lines
        )
    legend = [text.get_text() for text in axes.get_legend().get_texts()]
    for trace in traces.values():
        figure_of = f"peak {format_memory(trace.peak)}"
        assert any(figure_of in said for said in [*legend, *words(axes)])


def test_checkpoints_hold_what_is_live(trace):
    """Their memory is what is live at the turn, less inputs and what the forward pass let go."""
    layout = trace.graph.layout
    live = np.unique(layout.storage[trace.live_before(trace.boundary)])
    wanted = sum(
        int(layout.memory[s])
        for s in live.tolist()
        if layout.producer[s] >= 0 and not layout.backward[layout.producer[s]]
    )
    assert checkpoint_memory(trace) == wanted


def test_graph_without_a_backward_pass_has_no_turn():
    """Nothing is marked that isn't there."""
    trace = in_order(schedule.example("diamonds", count=2))
    assert trace.boundary is None
    (axes,) = memory_picture({"plain": trace}).axes
    assert not any("backward" in text for text in words(axes))


@pytest.mark.parametrize("graph", [schedule.Graph([]), schedule.example("diamonds", count=2)])
def test_odd_graphs_have_a_picture(graph, tmp_path):
    """Nothing to show is shown as nothing."""
    save_picture(gantt_picture(in_order(graph)), tmp_path / "gantt.svg")
    assert ElementTree.parse(tmp_path / "gantt.svg").getroot().tag.endswith("svg")


@pytest.mark.parametrize(
    ("kind", "magic"), [("svg", b"<?xml"), ("png", b"\x89PNG"), ("pdf", b"%PDF")]
)
def test_every_format(trace, tmp_path, kind, magic):
    """The ending decides, and the same trace gives the same bytes."""
    for name in ("one", "two"):
        save_picture(gantt_picture(trace), tmp_path / f"{name}.{kind}")
    content = (tmp_path / f"one.{kind}").read_bytes()
    assert content.startswith(magic)
    assert content == (tmp_path / f"two.{kind}").read_bytes()


def test_pictures_of_other_things_are_refused(plan):
    """By what was given, and what to give instead."""
    with pytest.raises(schedule.BadInput, match=r"'plan' is <Result .* give what schedule.verify"):
        memory_picture({"plan": plan})
    with pytest.raises(schedule.BadInput, match=r"is no sweep: give what schedule.sweep returns"):
        curve_picture([plan])


def test_names_are_no_formulas(tmp_path):
    """A dollar sign in a name is one, and letters that a font lacks are there, without a word."""
    g = schedule.GraphBuilder()
    g.node("a$x^2$ 層 $", memory=8)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        save_picture(gantt_picture(in_order(g.build())), tmp_path / "gantt.svg")
    assert "a$x^2$ 層 $" in (tmp_path / "gantt.svg").read_text("utf-8")


# Notebooks


def test_notebooks_show_graphs_results_and_sweeps(plan):
    """A table with a picture each, well formed: of what has both, notebooks show the HTML."""
    curve = schedule.sweep(schedule.example("chain"), points=3, solver="sqrt")
    for shown in (schedule.example("unet"), plan, curve):
        ElementTree.fromstring(f"<div>{shown._repr_html_()}</div>")
        assert "<svg" in shown._repr_html_()
        assert ElementTree.fromstring(shown._repr_svg_()).tag.endswith("svg")
    assert BACKWARD in plan._repr_svg_()


def test_notebooks_do_without_matplotlib(plan, monkeypatch):
    """The table stays, the picture is None: a notebook falls back by itself."""
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    for shown in (schedule.example("unet"), plan):
        assert shown._repr_svg_() is None
        assert "<table>" in shown._repr_html_()
        assert "<svg" not in shown._repr_html_()


def test_a_result_from_a_file_has_a_table(plan, tmp_path):
    """It knows its figures, not its graph."""
    plan.save(tmp_path / "plan.json")
    back = schedule.read_schedule(tmp_path / "plan.json")
    assert back == plan
    assert back._repr_svg_() is None
    assert "<table>" in back._repr_html_()


def test_pickled_results_leave_the_trace_behind(plan):
    """It holds the graph; what is sent from process to process stays small."""
    import pickle

    back = pickle.loads(pickle.dumps(plan))
    assert back == plan
    assert plan.trace is not None
    assert back.trace is None


def test_what_a_replay_gives_is_one_line_in_a_debugger(plan, trace):
    """Of a trace, a sweep, a difference and a summary: a schedule may have a million steps."""
    graph = schedule.example("unet")
    sweep = schedule.sweep(graph, ["80%", "100%"], solver="dtr")
    for thing in (trace, sweep, schedule.diff(graph, plan, plan), schedule.Summary.of(graph)):
        assert repr(thing).startswith(f"<{type(thing).__name__} of ")
        assert "unet" in repr(thing)
        assert len(repr(thing)) < 250
