"""The dot file is one: other programs read it, and find the graph in it."""

from __future__ import annotations

import html
import shutil
import subprocess

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import schedule
from schedule.errors import BadOption, BadOutput
from schedule.lowering import in_order, replayed
from schedule.report.dot import MOST_NODES, dot_text, write_dot
from tests import strategies
from tests.formats import FILES_ARE_CHECKED

pydot = pytest.importorskip("pydot")
# pydot uses old names of its parser's.
pytestmark = [FILES_ARE_CHECKED, pytest.mark.filterwarnings("ignore::DeprecationWarning:pydot")]


def parsed(trace):
    (found,) = pydot.graph_from_dot_data(dot_text(trace))
    return found


@settings(max_examples=40)
@given(st.data())
def test_graph_is_found_again(data):
    """A node for each node and input, an edge for each tensor that a node reads."""
    graph = data.draw(strategies.graphs())
    trace = replayed(graph, np.array(data.draw(strategies.runs(graph)), np.int64))
    found, layout = parsed(trace), graph.layout
    nodes = {node.get_name(): node for node in found.get_nodes() if node.get_name()[1:].isdigit()}
    assert set(nodes) == {f"n{v}" for v in range(layout.n_nodes)} | {
        f"i{t}" for t in range(layout.n_inputs)
    }
    for v, runs in enumerate(trace.runs.tolist()):
        label = nodes[f"n{v}"].get("label")
        assert label.startswith(f'"{layout.node_names[v]}')
        assert (f"× {runs}" in label) == (runs > 1)
        assert (nodes[f"n{v}"].get("peripheries") is not None) == (runs > 1)
    edges = [(edge.get_source(), edge.get_destination()) for edge in found.get_edges()]
    wanted = [
        (f"n{layout.producer[t]}" if layout.producer[t] >= 0 else f"i{t}", f"n{v}")
        for v, reads in enumerate(layout.reads_of)
        for t in reads
    ]
    assert sorted(edges) == sorted(wanted)


def test_checkpoints_are_bold():
    """An edge is bold exactly where its tensor is a checkpoint."""
    graph = schedule.example("unet")
    plan = schedule.solve(graph, "70%")
    trace = schedule.verify(graph, plan.schedule)
    bold = [edge for edge in parsed(trace).get_edges() if edge.get("style") == "bold"]
    layout = graph.layout
    read = sum(len(layout.readers_of[layout.tensor_id[name]]) for name in trace.checkpoints)
    assert len(bold) == read > 0


NAMES = ['say "a"', "back\\slash", "end\\", "two\nlines", "<b>&amp;&", "{a|b}", "\\N", "名", "a;}"]


@pytest.mark.skipif(shutil.which("dot") is None, reason="needs Graphviz's dot")
def test_graphviz_draws_any_name(tmp_path):
    """Whatever names are made of, Graphviz reads the file and shows them as they are."""
    g = schedule.GraphBuilder('a "graph"\\')
    last = g.input('in "put"', memory=1)
    for name in NAMES:
        last = g.node(name, last, memory=1)
    write_dot(in_order(g.build()), tmp_path / "graph.dot")
    drawn = subprocess.run(
        ["dot", "-Tsvg", str(tmp_path / "graph.dot")], capture_output=True, text=True, check=True
    )
    assert not drawn.stderr
    shown = html.unescape(drawn.stdout)
    for name in NAMES:
        for line in name.split("\n"):
            assert f">{line}<" in shown.replace("\xa0", " "), name


def test_large_graphs_are_refused():
    """Nobody can read them; the message says what to write instead."""
    graph = schedule.example("chain", layers=MOST_NODES)
    with pytest.raises(BadOption, match=rf"up to {MOST_NODES} nodes.*write an HTML page"):
        dot_text(in_order(graph))


def test_dot_file_that_cannot_be_written(tmp_path):
    """The path is named, and nothing is left behind."""
    with pytest.raises(BadOutput, match=r"graph\.dot: can't be written"):
        write_dot(in_order(schedule.example("chain")), tmp_path / "missing" / "graph.dot")
    assert not list(tmp_path.iterdir())
