"""Graphs: immutable, equal and hashed by content, and valid or refused by name."""

import copy
import itertools
import json
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import schedule
import schedule.lowering
from schedule.builder import GraphBuilder
from schedule.errors import BadGraph
from schedule.frontends.graph_format import graph_from_json, graph_to_json
from schedule.graph import Graph, Input, Node, Tensor, renamed
from schedule.layout import distinct
from schedule.values import in_json, shown
from tests.strategies import graphs, runs


def node(name, inputs=(), memory=1, compute=1, **options):
    return Node(name, tuple(inputs), (Tensor(name, memory),), compute, **options)


@settings(deadline=None)
@given(graph=graphs())
def test_a_graph_survives_pickle_and_copy(graph):
    """Equal, with the same name, digest and hash."""
    for back in (pickle.loads(pickle.dumps(graph)), copy.deepcopy(graph)):
        assert back == graph
        assert (back.name, back.digest, hash(back)) == (graph.name, graph.digest, hash(graph))


@settings(deadline=None)
@given(graph=graphs(min_nodes=1), data=st.data())
def test_the_digest_changes_with_all_that_matters(graph, data):
    """Any one property of any node changed: another digest, and not equal; the name: the same."""
    at = data.draw(st.integers(0, len(graph) - 1))
    description = graph_to_json(graph)
    description["outputs"] = list(graph.outputs)
    changed = description["nodes"][at]
    key = data.draw(st.sampled_from(["compute", "workspace", "recomputable", "backward"]))
    if key in ("compute", "workspace"):
        changed[key] = changed.get(key, 0) + 1
    else:
        changed[key] = not changed.get(key, key == "recomputable")
    other = graph_from_json(description)
    assert other != graph
    assert other.digest != graph.digest
    renamed = Graph(graph.nodes, graph.inputs, graph.outputs, "another name")
    assert renamed == graph
    assert renamed.digest == graph.digest


def test_the_digest_is_the_same_in_every_process():
    """It depends on no hash seed, and on nothing but the graph; pinned, as files name it."""
    code = "import schedule; print(schedule.example('transformer', layers=1).digest)"
    found = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for seed in ("1", "2")
    }
    assert found == {schedule.example("transformer", layers=1).digest}
    pinned = Graph([node("a", compute=0.5), node("b", ["a"])], [Input("x", 2, True)])
    assert pinned.digest == "1fa1d09d31fea0da47533a7430402ba474c1583c36e491e60c6cc600ae18eadc"


def test_whole_costs_are_integers_whatever_they_came_as():
    """1, 1.0 and NumPy's one give the same graph and the same digest."""
    plain = Graph([node("a", memory=4, compute=1)])
    for one, four in [(1.0, 4.0), (np.float64(1), np.int64(4)), (np.int32(1), np.uint8(4))]:
        graph = Graph([node("a", memory=four, compute=one)])
        assert graph == plain
        assert graph.digest == plain.digest
        assert type(graph.nodes[0].compute) is int


NUMBERS = (
    *(np.int8, np.uint8, np.int16, np.int32, np.int64, np.uint64),
    *(np.float16, np.float32, np.float64, np.longdouble),
)


@pytest.mark.parametrize("kind", NUMBERS)
def test_numbers_of_numpy_are_numbers(kind):
    """Wherever Python's are: the graph, and what is written of it, is that of Python's own."""

    def made(number, yes, no):
        g = GraphBuilder()
        x = g.input("x", memory=number(7), freeable=yes)
        a = g.node("a", x, memory=number(4), compute=number(3), workspace=number(2))
        b, c = g.node("b", a, memory=[number(1), number(2)], recomputable=no, backward=yes)
        g.view("d", c, backward=yes)
        g.node("e", [b, "d"], memory={"f": number(9)}, recomputable=yes, backward=no)
        return g.build()

    plain, found = made(int, True, False), made(kind, np.True_, np.False_)
    assert found == plain
    assert found.digest == plain.digest
    assert json.dumps(graph_to_json(found)) == json.dumps(graph_to_json(plain))


@pytest.mark.parametrize("value", [np.float32(2.5), np.float16("nan"), np.float32("inf")])
def test_a_size_of_numpys_has_to_be_whole(value):
    """As Python's has to; the message shows the number, not its type."""
    with pytest.raises(BadGraph, match=rf"memory of 'a' is {value}; a size is an integer"):
        Graph([node("a", memory=value)])


NO_NUMBERS = {
    "a boolean": (True, "True"),
    "a boolean of NumPy's": (np.True_, "True"),
    "an array that holds a boolean": (np.array(True), "True"),
    "an array": (np.array([1, 2]), "array"),
    "an array of one": (np.array([1]), "array"),
    "a complex number": (np.complex64(1), "1"),
    "text of NumPy's": (np.str_("1"), "'1'"),
    "bytes of NumPy's": (np.bytes_(b"1"), "b'1'"),
    "a time": (np.timedelta64(1, "s"), "timedelta64"),
}


@pytest.mark.parametrize("case", NO_NUMBERS)
@pytest.mark.parametrize("key", ["memory", "compute", "workspace"])
def test_what_is_no_number_is_refused(case, key):
    """Though some of it converts to one."""
    value, said = NO_NUMBERS[case]
    with pytest.raises(BadGraph, match=rf"node 'a': {key}.* is .*{said}.*; a (size|cost) is"):
        Graph([node("a", **{key: value})])


@pytest.mark.parametrize("value", [1, 0, None, "true", np.int64(1), np.array([True]), np.nan])
@pytest.mark.parametrize("key", ["recomputable", "backward"])
def test_what_is_no_flag_is_refused(value, key):
    """Nothing else stands for true or false."""
    with pytest.raises(BadGraph, match=rf"node 'a': {key} is .*; it has to be True or False"):
        Graph([node("a", **{key: value})])
    with pytest.raises(BadGraph, match=r"input 'x': freeable is .*; it has to be True or False"):
        Graph([], [Input("x", 1, value)])


def test_graphs_do_not_change():
    """No attribute can be set or deleted."""
    graph = Graph([node("a")])
    with pytest.raises(AttributeError, match="a Graph is immutable: 'nodes' can't be set"):
        graph.nodes = ()
    with pytest.raises(AttributeError, match="a Graph is immutable: 'name' can't be deleted"):
        del graph.name
    with pytest.raises(AttributeError, match="cannot assign"):
        graph.nodes[0].compute = 5
    assert graph != "a"


@settings(deadline=None)
@given(graph=graphs())
def test_outputs_are_what_nobody_reads_unless_given(graph):
    """Without the key, exactly the tensors that no node reads, in order."""
    read = {name for one in graph.nodes for name in one.inputs}
    again = Graph(graph.nodes, graph.inputs)
    assert again.outputs == tuple(name for name in graph.tensors if name not in read)


@settings(deadline=None)
@given(data=st.data())
def test_the_strategies_runs_are_valid(data):
    """Every order of runs that the tests draw, freed early, verifies."""
    graph = data.draw(graphs())
    order = np.array(data.draw(runs(graph)), dtype=np.int64)
    trace = schedule.verify(graph, schedule.lowering.free_early(graph, order))
    assert trace.runs.tolist() == np.bincount(order, minlength=len(graph)).tolist()


def test_compute_is_exact():
    """Integers beyond 2**53 lose nothing."""
    graph = Graph([node("a", compute=2**60), node("b", compute=1)])
    assert graph.compute == 2**60 + 1


WRONG = {
    "a node twice": ([node("a"), node("a")], "two nodes are called 'a'"),
    "not a node": (["a"], "a node is a schedule.Node, not 'a'"),
    "no outputs": ([Node("a", (), (), 1)], "node 'a' writes nothing"),
    "inputs as text": ([Node("a", "xy", (Tensor("a"),), 1)], "node 'a': inputs is 'xy'"),
    "an output that is text": ([Node("a", (), ("t",), 1)], "an output is a schedule.Tensor"),
    "NaN": ([node("a", compute=float("nan"))], "node 'a': compute is nan"),
    "a negative workspace": ([node("a", workspace=-3)], "node 'a': workspace is -3"),
    "a fraction": ([node("a", memory=2.5)], "memory of 'a' is 2.5; a size is an integer"),
    "text for a size": ([node("a", memory="4")], "memory of 'a' is '4'"),
    "too large": ([node("a", memory=2**61)], r"sizes have to stay below 2\*\*61"),
    "an integer too long to print": ([node("a", memory=10**5000)], "an integer of 16610 bits"),
    "a name that is no text": ([node(5)], "a node's name is 5; a name is text"),
    "a flag that is none": ([node("a", backward=1)], "node 'a': backward is 1"),
    "half a pair": ([node("\ud83d")], "half a surrogate pair"),
    "a list for a cost": ([node("a", compute=[1])], "node 'a': compute is a list"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_graphs_are_refused(case):
    """Each mistake raises BadGraph, with the node and the value."""
    nodes, match = WRONG[case]
    with pytest.raises(BadGraph, match=match):
        Graph(nodes)


@settings(deadline=None)
@given(size=st.integers(1, 12), data=st.data())
def test_a_cycle_is_shown_as_one(size, data):
    """The names in the message go round: each node reads the one before it."""
    order = data.draw(st.permutations(range(size)))
    reads = {f"n{v}": [f"n{(v - 1) % size}"] for v in order}
    reads["before"], reads["behind"] = [], ["n0"]
    with pytest.raises(BadGraph, match="the graph has a cycle: ") as caught:
        Graph([node(name, inputs) for name, inputs in reads.items()])
    way = str(caught.value).partition("cycle: ")[2].partition(" (")[0].split(" → ")
    names = [name.strip("'") for name in way]
    assert names[0] == names[-1]
    assert len(names) == size + 1
    assert all(first in reads[second] for first, second in itertools.pairwise(names))


def test_a_long_cycle_needs_no_recursion():
    """100,000 nodes in a ring are refused like three."""
    count = 100_000
    ring = [node(f"n{v}", [f"n{(v - 1) % count}"]) for v in range(count)]
    with pytest.raises(BadGraph, match="the graph has a cycle"):
        Graph(ring)


def test_the_builder_reads_like_the_graph():
    """One line a node; names come back for the next line."""
    g = GraphBuilder("built")
    x = g.input("x", memory=8)
    batch = g.input("batch", memory=8, freeable=True)
    h = g.node("h", [x, batch], memory=8, compute=2, workspace=1, recomputable=False)
    left, right = g.node("split", h, memory=(3, 5))
    top = g.node("named", h, memory={"top": 1})
    low, high = g.views("parts", right, ["low", "high"])
    turned = g.view("turned", left, backward=True)
    graph = g.build(outputs=[turned])
    assert [one.name for one in graph.nodes] == ["h", "split", "named", "parts", "turned"]
    assert (left, right, top, low, high) == ("split.0", "split.1", ("top",), "low", "high")
    assert graph.tensors["high"].view_of == "split.1"
    assert graph.nodes[0].recomputable is False
    assert graph.outputs == ("turned",)
    assert repr(graph) == "<Graph 'built': 5 nodes, 2 inputs>"


VALUES = (None, True, np.False_, {}, [1], (1,), "a", 5)


def test_values_are_shown_in_the_words_of_whoever_gave_them():
    """Python's to a caller in Python, JSON's where they come from a file; short, on one line."""
    python = ["None", "True", "False", "a dict", "a list", "a tuple", "'a'", "5"]
    assert [shown(v) for v in VALUES] == python
    with in_json():
        json_words = ["null", "true", "false", "an object", "a list", "a list", "'a'", "5"]
        assert [shown(v) for v in VALUES] == json_words
    assert [shown(v) for v in VALUES] == python
    assert len(shown("x" * 10**6)) < 100
    assert "\n" not in shown(np.eye(3))


def test_one_mistake_is_told_in_two_languages():
    """A graph built in Python and the same one from a file: None and null, True and true."""
    data = graph_to_json(Graph([node("a")]))
    data["nodes"][0] |= {"memory": None}
    with pytest.raises(BadGraph, match="memory of 'a' is null; "):
        graph_from_json(data)
    with pytest.raises(BadGraph, match="memory of 'a' is None; "):
        Graph([node("a", memory=None)])


def test_empty_graphs_are_graphs():
    """Nothing to run is fine, in memory and as JSON."""
    graph = Graph([])
    assert graph_from_json(json.loads(json.dumps(graph_to_json(graph)))) == graph
    assert (len(graph), graph.compute, graph.outputs) == (0, 0, ())
    assert schedule.verify(graph, []).peak == 0


@given(graph=graphs(min_nodes=1, max_nodes=12))
def test_needed_is_what_outputs_are_made_from(graph):
    """Walked back from the outputs, one tensor after the other."""
    maker = {out.name: node for node in graph.nodes for out in node.outputs}
    wanted, found = list(graph.outputs), set()
    while wanted:
        node = maker.get(wanted.pop())
        if node is not None and node.name not in found:
            found.add(node.name)
            wanted += node.inputs
    needed = graph.layout.needed.tolist()
    assert found == {node.name for node, is_needed in zip(graph.nodes, needed) if is_needed}


def test_facts_are_found_once_for_each_graph():
    """The same answer again, for this graph alone; it can't be written into, nor is it pickled."""
    graph = schedule.example("unet")
    plain = schedule.lowering.in_order(graph)
    assert schedule.lowering.in_order(graph) is plain
    with pytest.raises(ValueError, match="read-only"):
        plain.codes[0] = 1
    again = pickle.loads(pickle.dumps(graph))
    assert again == graph
    assert schedule.lowering.in_order(again) is not plain


@given(values=st.lists(st.integers(-5, 5)))
def test_distinct_values_are_those_of_a_set(values):
    """Each once, ascending."""
    assert distinct(np.array(values, np.int64)).tolist() == sorted(set(values))


def test_a_renamed_graph_is_the_same_graph():
    """Equal, with the same digest; only the name is another, and still has to be one."""
    graph = schedule.example("unet")
    other = renamed(graph, "other")
    assert (other.name, other.digest) == ("other", graph.digest)
    assert other == graph
    with pytest.raises(BadGraph, match="a name has at least one character"):
        renamed(graph, "")
