"""Files: what is written reads back equal, and wrong files are refused with one clear line."""

import copy
import gzip
import io
import json
import os
import stat

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import schedule
from schedule.errors import BadGraph, BadInput, BadOutput, BadSchedule
from schedule.files import read_json, write_json
from schedule.frontends.graph_format import graph_from_json, graph_to_json
from schedule.frontends.schedule_format import result_from_json
from tests.enough import enough, reached
from tests.formats import FILES_ARE_CHECKED, changed
from tests.strategies import graphs, runs

pytestmark = FILES_ARE_CHECKED

ANY = settings(
    deadline=None, max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture]
)

CONTRACT = {
    "format": "schedule-graph/1",
    "name": "mlp",
    "inputs": [
        {"name": "x", "memory": 4096},
        {"name": "batch", "memory": 4096, "freeable": True, "offloadable": False},
    ],
    "nodes": [
        {"name": "h1", "inputs": ["x"], "memory": 4096, "compute": 12},
        {"name": "act", "inputs": ["h1"], "memory": 4096, "compute": 1, "workspace": 256},
        {
            "name": "split",
            "inputs": ["act"],
            "compute": 2,
            "outputs": [{"name": "left", "memory": 2048}, {"name": "right", "memory": 2048}],
        },
        {
            "name": "left_t",
            "inputs": ["left"],
            "compute": 0,
            "outputs": [{"name": "left_t", "view_of": "left"}],
        },
        {
            "name": "drop",
            "inputs": ["right"],
            "memory": 2048,
            "compute": 1,
            "recomputable": False,
        },
        {
            "name": "d_act",
            "inputs": ["drop", "left_t"],
            "memory": 4096,
            "compute": 2,
            "backward": True,
        },
    ],
    "outputs": ["d_act"],
}
NODE_LINK = {
    "directed": True,
    "multigraph": False,
    "graph": {},
    "nodes": [{"id": "a", "memory": 1, "compute": 2}, {"id": "b", "memory": 3, "compute": 4}],
    "links": [{"source": "a", "target": "b"}],
}


def chain_plan(budget=None):
    return schedule.solve(schedule.example("chain", layers=4), budget, solver="store_all")


def put(path, data):
    path.write_text(data if isinstance(data, str) else json.dumps(data))
    return path


def test_the_contracts_own_example_is_read_as_it_says(tmp_path):
    """The example of formats.md has its nodes, tensors, flags and outputs."""
    graph = schedule.read(put(tmp_path / "g.json", CONTRACT))
    assert [node.name for node in graph.nodes] == ["h1", "act", "split", "left_t", "drop", "d_act"]
    assert [(item.name, item.freeable, item.offloadable) for item in graph.inputs] == [
        ("x", False, True),
        ("batch", True, False),
    ]
    assert graph.tensors["left_t"].view_of == "left"
    assert graph.nodes[1].workspace == 256
    assert not graph.nodes[4].recomputable
    assert graph.nodes[5].backward
    assert graph.outputs == ("d_act",)


@ANY
@given(graph=graphs(), name=st.sampled_from(["g.json", "g.json.gz"]))
def test_a_written_graph_reads_back_equal(graph, name, tmp_path):
    """Any graph, plain or gzipped: equal, with the same digest and name."""
    schedule.write(graph, tmp_path / name)
    back = schedule.read(tmp_path / name)
    assert back == graph
    assert (back.digest, back.name) == (graph.digest, graph.name)


@ANY
@given(graph=graphs())
def test_defaults_spelled_out_change_nothing(graph, tmp_path):
    """A file with every default spelled out describes the same graph, with the same digest."""
    data = graph_to_json(graph)
    data.setdefault("inputs", [])
    data["outputs"] = list(graph.outputs)
    for item in data["inputs"]:
        item.setdefault("freeable", False)
        item.setdefault("offloadable", True)
    for node in data["nodes"]:
        node.update(
            {"workspace": 0, "recomputable": True, "backward": False} | node, unknown={"a": [1]}
        )
        if "memory" in node:
            node["outputs"] = [{"name": node["name"], "memory": node.pop("memory")}]
    data["format"], data["later"] = "schedule-graph/1", None
    assert graph_from_json(data).digest == graph.digest


def test_gzip_is_known_by_its_bytes_and_written_the_same_each_time(tmp_path):
    """A gzipped file under any name is read; two writes give the same bytes."""
    graph = schedule.example("chain")
    for name in ("a.json.gz", "b.json.gz"):
        schedule.write(graph, tmp_path / name)
    first = (tmp_path / "a.json.gz").read_bytes()
    assert first == (tmp_path / "b.json.gz").read_bytes()
    (tmp_path / "plain.json").write_bytes(first)
    assert schedule.read(tmp_path / "plain.json") == graph


def bomb(text: bytes) -> bytes:
    return gzip.compress(text, mtime=0)


BROKEN_BYTES = {
    "empty": (b"", "the file is empty"),
    "blank": (b" \n ", "the file is empty"),
    "truncated gzip": (bomb(b'{"a": 1}' * 99)[:-12], "damaged or truncated gzip"),
    "half a gzip": (bomb(os.urandom(999))[:500], "damaged or truncated gzip"),
    "gzip of nothing": (bomb(b""), "the file is empty"),
    "gzip magic only": (b"\x1f\x8b", "damaged or truncated gzip"),
    "damaged gzip": (bomb(b"x" * 9)[:10] + b"\xff" * 20, "damaged or truncated gzip"),
    "not UTF-8": (b'{"name": "\xff\xfe"}', "not UTF-8"),
    "UTF-16": ('{"a": 1}'.encode("utf-16"), "not UTF-8"),
    "cut off": (b'{"format": "schedule-graph/1", "nodes": [', r"not JSON: .* \(line 1, column 4"),
    "a word": (b"hello", "not JSON"),
    "nested": (b"[" * 200_000, "nested too deeply"),
    "nested objects": (b'{"a":' * 200_000, "nested too deeply"),
    "many digits": (b'{"a": ' + b"9" * 5000 + b"}", "more than 4300 digits"),
    "key twice": (
        b'{"name": "n", "memory": 1, "memory": 2}',
        "named 'n' has the key 'memory' twice",
    ),
    "not an object": (b"[1, 2]", "is a JSON object, not a list"),
    "null": (b"null", "is a JSON object, not null"),
    "wrong format": (b'{"format": "schedule-graph/9"}', "format is 'schedule-graph/9'"),
    "no format": (b'{"nodes": []}', "(no graph|format is missing)"),
}


@pytest.mark.parametrize("case", BROKEN_BYTES)
@pytest.mark.parametrize(
    ("reader", "kind"), [(schedule.read, BadGraph), (schedule.read_schedule, BadSchedule)]
)
def test_a_broken_file_is_refused_in_one_line(case, reader, kind, tmp_path):
    """The message names the file and what is wrong with it."""
    content, match = BROKEN_BYTES[case]
    path = tmp_path / "broken.json"
    path.write_bytes(content)
    with pytest.raises(kind, match=rf"broken\.json: .*{match}") as caught:
        reader(path)
    assert "\n" not in str(caught.value)


def test_what_is_no_file_is_refused(tmp_path):
    """A directory, a missing file, impossible paths: each says which it is."""
    for path, match in [
        (tmp_path, "is a directory"),
        (tmp_path / "none.json", "none.json: there is no such file"),
        (tmp_path / "a" / "b.json", "no such file or directory"),
        ("a\0b", "not a path"),
        (3, "3 is no path"),
        (tmp_path / ("x" * 999), "name too long"),
    ]:
        with pytest.raises(BadGraph, match=f"(?i){match}"):
            schedule.read(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_file_is_refused(tmp_path):
    """A file without read permission says so."""
    path = put(tmp_path / "g.json", CONTRACT)
    path.chmod(0)
    with pytest.raises(BadGraph, match=r"g\.json: permission denied"):
        schedule.read(path)


def test_reading_stops_at_the_limit(tmp_path):
    """A gzip bomb is refused after the limit, before it is unpacked."""
    path = tmp_path / "bomb.json.gz"
    with gzip.open(path, "wb") as file:
        file.write(b'{"name": "')
        for _ in range(64):
            file.write(b"a" * 2**20)
        file.write(b'"}')
    with pytest.raises(BadGraph, match="more than 1000 bytes"):
        read_json(path, BadGraph, limit=1000)
    with pytest.raises(BadGraph, match=r"bomb\.json\.gz: no graph"):
        schedule.read(path)


def test_a_file_of_nothing_but_brackets_is_refused(tmp_path):
    """Few bytes that would become many objects are counted before they are parsed."""
    path = tmp_path / "brackets.json.gz"
    path.write_bytes(bomb(b"[" + b"[]," * 2**23 + b"[]]"))
    with pytest.raises(BadGraph, match="more than 16777216 values"):
        schedule.read(path)


def test_a_long_name_is_refused_by_its_length(tmp_path):
    """A name of a million characters is not repeated in the message."""
    path = put(tmp_path / "g.json", changed(CONTRACT, ("nodes", 0, "name"), "n" * 10**6))
    with pytest.raises(BadGraph, match="has 1000000 characters; a name has at most") as caught:
        schedule.read(path)
    assert len(str(caught.value)) < 1000


WRONG_GRAPHS = [
    (("nodes",), ..., "the graph has no 'nodes'"),
    (("nodes",), {}, "nodes is an object; it has to be a list"),
    (("inputs",), None, "inputs is null; it has to be a list"),
    (("outputs",), "d_act", "outputs is 'd_act'; it has to be a list"),
    (("outputs",), ["nope"], "output 'nope' is not a tensor"),
    (("outputs",), ["x", "x"], "duplicate name: output 'x' is listed twice"),
    (("outputs",), [["x"]], "output a list is not a tensor"),
    (("name",), 5, "the graph's name is 5; a name is text"),
    (("name",), "\ud800", "half a surrogate pair"),
    (("inputs", 0), 7, "input 0 is 7; it has to be an object"),
    (("inputs", 0, "name"), ..., "input 0 has no 'name'"),
    (("inputs", 0, "memory"), ..., "input 'x' has no 'memory'"),
    (("inputs", 0, "memory"), -1, "input 'x': memory is -1; a size can't be negative"),
    (("inputs", 0, "offloadable"), 0, "input 'x': offloadable is 0; it has to be true or false"),
    (("inputs", 0, "freeable"), 1, "input 'x': freeable is 1; it has to be true or false"),
    (("inputs", 1, "name"), "x", "duplicate name: two inputs are called 'x'"),
    (("nodes", 0), [], "node 0 is a list; it has to be an object"),
    (("nodes", 0, "name"), ..., "node 0 has no 'name'"),
    (("nodes", 0, "name"), 3, "node 0: its name is 3; a name is text"),
    (("nodes", 0, "name"), "", "node 0: its name is empty"),
    (("nodes", 0, "name"), "act", "duplicate name: two nodes are called 'act'"),
    (("nodes", 1, "name"), "x", "duplicate name: node 'x' writes 'x', which an input is called"),
    (("nodes", 0, "inputs"), ..., "node 'h1' has no 'inputs'"),
    (("nodes", 0, "inputs"), "x", "node 'h1': inputs is 'x'; it has to be a list"),
    (("nodes", 0, "inputs"), [1], "node 'h1' reads 1; an input is a tensor's name"),
    (("nodes", 0, "inputs"), ["nope"], "node 'h1' reads 'nope', which nothing writes"),
    (("nodes", 0, "inputs"), ["act"], "has a cycle: '(h1|act)' → '(act|h1)' → '(h1|act)'"),
    (("nodes", 0, "inputs"), ["h1"], "has a cycle: 'h1' → 'h1'"),
    (("nodes", 0, "memory"), ..., "node 'h1' has neither 'memory' nor 'outputs'"),
    (("nodes", 0, "memory"), 0.5, "node 'h1': memory of 'h1' is 0.5; a size is an integer"),
    (("nodes", 0, "memory"), -4, "node 'h1': memory of 'h1' is -4"),
    (("nodes", 0, "memory"), float("nan"), "node 'h1': memory of 'h1' is nan"),
    (("nodes", 0, "memory"), float("inf"), "node 'h1': memory of 'h1' is inf"),
    (("nodes", 0, "memory"), "4 kB", "node 'h1': memory of 'h1' is '4 kB'"),
    (("nodes", 0, "memory"), True, "node 'h1': memory of 'h1' is true"),
    (("nodes", 0, "memory"), None, "node 'h1': memory of 'h1' is null"),
    (("nodes", 0, "memory"), 10**30, r"node 'h1': memory of 'h1' is 10*; sizes have to stay below"),
    (("nodes", 0, "memory"), 2**60, "the sizes add up to"),
    (("nodes", 0, "compute"), ..., "node 'h1' has no 'compute'"),
    (("nodes", 0, "compute"), -0.5, "node 'h1': compute is -0.5; a cost can't be negative"),
    (("nodes", 0, "compute"), float("nan"), "node 'h1': compute is nan; a cost is a finite"),
    (("nodes", 0, "compute"), "12", "node 'h1': compute is '12'; a cost is a number"),
    (("nodes", 0, "compute"), 1e300, "node 'h1': compute is .*costs have to stay below"),
    (("nodes", 1, "workspace"), -1, "node 'act': workspace is -1"),
    (("nodes", 1, "backward"), "yes", "node 'act': backward is 'yes'; it has to be true or false"),
    (("nodes", 4, "recomputable"), 0, "node 'drop': recomputable is 0; it has to be"),
    (("nodes", 2, "memory"), 8, "node 'split' has both 'memory' and 'outputs'"),
    (("nodes", 2, "outputs"), [], "node 'split' writes nothing"),
    (("nodes", 2, "outputs"), None, "node 'split': outputs is null"),
    (
        ("nodes", 2, "outputs", 0),
        "left",
        "node 'split': output 0 is 'left'; it has to be an object",
    ),
    (("nodes", 2, "outputs", 0, "memory"), ..., "neither 'memory' nor 'view_of'"),
    (
        ("nodes", 2, "outputs", 0, "name"),
        "right",
        "writes 'right', which an output of node 'split'",
    ),
    (("nodes", 3, "outputs", 0, "view_of"), "h1", "is a view of 'h1', which is not among"),
    (("nodes", 3, "outputs", 0, "view_of"), 5, "view_of is 5; it is a tensor's name"),
    (("nodes", 3, "outputs", 0, "memory"), 9, "'left_t' is a view and has memory 9"),
    (("format",), "schedule/1", "this is a schedule, not a graph"),
]


@pytest.mark.parametrize(("place", "value", "match"), WRONG_GRAPHS)
def test_every_mistake_in_a_graph_is_named(place, value, match, tmp_path):
    """One wrong value: one message with the file, the node and the value."""
    path = put(tmp_path / "wrong.json", changed(CONTRACT, place, value))
    with pytest.raises(BadGraph, match=rf"wrong\.json: .*{match}") as caught:
        schedule.read(path)
    assert "\n" not in str(caught.value)


def test_a_node_that_reads_a_later_one_names_both(tmp_path):
    """No cycle, only the wrong order: the message says so."""
    data = changed(CONTRACT, ("name",), "late")
    data["nodes"].append(data["nodes"].pop(0))
    with pytest.raises(BadGraph, match="'act' reads 'h1', which node 'h1' computes only later"):
        schedule.read(put(tmp_path / "g.json", data))


def test_a_size_of_ten_gigabytes_is_a_number_like_any_other(tmp_path):
    """Nothing is allocated for it."""
    graph = schedule.read(
        put(tmp_path / "g.json", changed(CONTRACT, ("nodes", 0, "memory"), 10 * 10**9))
    )
    assert schedule.memory_floor(graph).memory >= 10 * 10**9


def test_whole_floats_are_integers(tmp_path):
    """4096.0 and 4096 describe the same graph."""
    graph = schedule.read(
        put(tmp_path / "g.json", changed(CONTRACT, ("nodes", 0, "memory"), 4096.0))
    )
    assert graph.digest == graph_from_json(CONTRACT).digest


# --- schedules ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["p.json", "p.json.gz"])
@pytest.mark.parametrize("budget", [None, "100%"])
def test_a_written_result_reads_back_equal(name, budget, tmp_path):
    """Every figure of the result, and its steps."""
    plan = chain_plan(budget)
    plan.save(tmp_path / name)
    assert schedule.read_schedule(tmp_path / name) == plan


@ANY
@given(data=st.data())
def test_any_steps_read_back_equal(data, tmp_path):
    """Whatever the steps, also for graphs of several outputs and views."""
    from schedule.lowering import free_early
    from schedule.steps import decode

    graph = data.draw(graphs(min_nodes=1))
    order = data.draw(runs(graph))
    import numpy as np

    steps = decode(graph, free_early(graph, np.array(order, dtype=np.int64)))
    listed = [["compute", s.node] if hasattr(s, "node") else ["free", s.tensor] for s in steps]
    path = tmp_path / "plan.json"
    write_json(
        path,
        {"format": "schedule/1", "graph": {"sha256": graph.digest}, "steps": listed},
    )
    plan = schedule.read_schedule(path)
    assert plan.steps == steps
    assert schedule.verify(graph, plan.schedule).peak >= 0
    assert str(plan).startswith("feasible")


def test_what_does_not_fit_has_no_file(tmp_path):
    """An infeasible result isn't saved; as JSON it still reads back equal."""
    plan = chain_plan(1)
    assert plan.status == "infeasible"
    with pytest.raises(BadOutput, match=r"p\.json: there is no schedule .*; solve again with"):
        plan.save(tmp_path / "p.json")
    with pytest.raises(BadOutput, match=r"there is no directory .*nowhere; make it"):
        chain_plan(9).save(tmp_path / "nowhere" / "p.json")
    assert list(tmp_path.iterdir()) == []
    assert result_from_json(json.loads(json.dumps(plan.to_json()))) == plan


WRONG_SCHEDULES = [
    (("format",), "schedule-graph/1", "this is a graph, not a schedule"),
    (("graph",), ..., "doesn't say for which graph"),
    (("graph",), "chain", "doesn't say for which graph"),
    (("graph", "sha256"), "abc", "graph.sha256 is 'abc'"),
    (("graph", "sha256"), ..., "graph.sha256 is null"),
    (("steps",), ..., "no list of 'steps'"),
    (("steps",), {}, "no list of 'steps'"),
    (("steps", 3), ["compute"], "step 3 is .*a step is"),
    (("steps", 3), ["run", "f3"], r"step 3 is \['run', 'f3'\]"),
    (("steps", 3), ["compute", 5], "step 3 is .*'compute', 5"),
    (("steps", 3), [["compute"], "f3"], "step 3 is .*a list"),
    (("steps", 3), [{}, "f3"], "step 3 is .*an object"),
    (("steps", 3), "compute f3", "step 3 is .*'compute f3'"),
    (("steps", 3), None, "step 3 is .*null"),
    (("steps", 3), ["free", "f3", 1], r"step 3 is \['free', 'f3', 1\]"),
    (("steps", 3), ["offload", 5], r"step 3 is \['offload', 5\]"),
    (("steps", 3), ["drop", "f3", 9], "step 3 is for level 9; levels are counted from 1"),
    (("levels",), "host", "levels is 'host'; it has to be a list"),
    (("levels",), ["host"], "level 0 is 'host'; it has to be an object"),
    (("levels",), [{"name": "host", "down": 1, "up": 1}], "level 0 .'host'. has no 'capacity'"),
    (
        ("levels",),
        [{"name": "host", "capacity": 1, "down": 0, "up": 1}],
        "level 'host': the bandwidth down is 0; it has to be a number > 0",
    ),
    (("status",), "good", "status is 'good'; it has to be one of optimal, feasible"),
    (("status",), ["optimal"], "status is a list"),
    (("order",), "any", "order is 'any'"),
    (("budget",), -1, "budget is -1"),
    (("peak",), 0.5, "peak is 0.5"),
    (("compute",), float("nan"), "compute is nan"),
    (("overhead",), float("inf"), "overhead is inf"),
    (("overhead",), 10**400, "overhead is "),
    (("seconds",), "1 s", "seconds is '1 s'"),
    (("seed",), -3, "seed is -3"),
    (("lower_bound",), [], "lower_bound is a list"),
    (("checkpoints",), "f3", "checkpoints is 'f3'"),
    (("checkpoints",), [1], "checkpoint 0 is 1"),
    (("interrupted",), "no", "interrupted is 'no'"),
    (("solver",), 5, "solver is 5"),
]


@pytest.mark.parametrize(("place", "value", "match"), WRONG_SCHEDULES)
def test_every_mistake_in_a_schedule_is_named(place, value, match, tmp_path):
    """One wrong value: one message with the file, and the step where it is one."""
    path = put(tmp_path / "plan.json", changed(chain_plan().to_json(), place, value))
    with pytest.raises(BadSchedule, match=rf"plan\.json: .*{match}") as caught:
        schedule.read_schedule(path)
    assert "\n" not in str(caught.value)


def test_only_the_steps_and_their_graph_have_to_be_there(tmp_path):
    """Without figures the file reads; a result without figures still prints."""
    full = chain_plan()
    data = {key: full.to_json()[key] for key in ("format", "graph", "steps")}
    plan = schedule.read_schedule(put(tmp_path / "plan.json", data))
    assert plan.schedule == full.schedule
    assert (plan.peak, plan.budget, plan.lower_bound) == (None, None, None)
    assert "figures not stated" in str(plan)
    assert dict(plan.rows())["status"] == "feasible"


# --- writing -----------------------------------------------------------------------------


def test_a_failed_write_changes_nothing(tmp_path):
    """What was there stays; no temporary file remains."""
    path = put(tmp_path / "old.json", "old")
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, {"a": float("nan")})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "replace", fail)
        with pytest.raises(BadOutput, match=r"old\.json: can't be written: No space left"):
            write_json(path, {"a": 1})
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["old.json"]


def fail(*args):
    raise OSError(28, "No space left on device")


def test_an_unwritable_place_is_named(tmp_path):
    """A directory, a missing directory, a file as a directory, an impossible path."""
    put(tmp_path / "file", "x")
    for path, match in [
        (tmp_path, "is a directory"),
        (f"{tmp_path}/new/", "is a directory"),
        (tmp_path / "no" / "g.json", "there is no directory"),
        (tmp_path / "file" / "g.json", "(?i)not a directory"),
        ("a\0b", "not a path"),
        ("/proc/none/g.json", "can't be written"),
        (None, "None is no path"),
    ]:
        with pytest.raises(BadOutput, match=match):
            write_json(path, {})


def test_permissions_and_links_stay(tmp_path):
    """A new file gets the umask's rights, an old one keeps its own, a link stays a link."""
    old = os.umask(0o027)
    try:
        write_json(tmp_path / "new.json", {"a": [1, 2]})
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "new.json").stat().st_mode) == 0o640
    (tmp_path / "new.json").chmod(0o604)
    (tmp_path / "link.json").symlink_to("new.json")
    write_json(tmp_path / "link.json", {"b": 2})
    assert (tmp_path / "link.json").is_symlink()
    assert json.loads((tmp_path / "new.json").read_text()) == {"b": 2}
    assert stat.S_IMODE((tmp_path / "new.json").stat().st_mode) == 0o604


def test_a_device_is_written_to_not_replaced():
    """/dev/null is still a device afterwards."""
    write_json("/dev/null", {"a": 1})
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


# --- fuzzing -----------------------------------------------------------------------------

VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**40), 10**40),
    st.floats(),
    st.text(max_size=3),
    st.sampled_from(["a", "b", "x", "h1", "act", "left", "memory", [], {}, [[]], {"name": "x"}]),
    st.lists(st.one_of(st.none(), st.text(max_size=2), st.integers()), max_size=3),
)


def places(data, at=()):
    """Every place in parsed JSON, as a tuple of keys."""
    found = [at] if at else []
    items = data.items() if isinstance(data, dict) else enumerate(data)
    for key, value in items:
        here = (*at, key)
        found += places(value, here) if isinstance(value, (dict, list)) else [here]
    return found


def mutate(draw, data):
    """Replace, delete, duplicate or swap values, a few times."""
    data = json.loads(json.dumps(data))
    for _ in range(draw(st.integers(1, 3))):
        spots = places(data)
        if not spots:
            return data
        spot = draw(st.sampled_from(spots))
        inner = data
        for key in spot[:-1]:
            inner = inner[key]
        action = draw(st.sampled_from(["replace", "replace", "delete", "copy", "add"]))
        if action == "delete":
            del inner[spot[-1]]
        elif action == "copy" and isinstance(inner, list):
            inner.append(inner[spot[-1]])
        elif action == "add" and isinstance(inner, dict):
            key = draw(
                st.sampled_from(["memory", "outputs", "view_of", "inputs", "nodes", "reads"])
            )
            inner[key] = copy.deepcopy(draw(VALUES))  # later changes spare the strategy's own
        else:
            inner[spot[-1]] = copy.deepcopy(draw(VALUES))
    return data


def read_or_refuse(path, reader=schedule.read):
    """What the file holds, or None where it is refused by name; nothing else happens."""
    try:
        return reader(path)
    except BadInput as error:
        message = str(error)
    assert path.name in message
    assert "\n" not in message
    return None


@enough(0.03)
@settings(ANY, max_examples=300)
@given(data=st.data(), base=st.sampled_from([CONTRACT, NODE_LINK]))
def test_files_with_other_values_are_read_or_refused(data, base, tmp_path):
    """Any value of a valid file changed, deleted or doubled: a valid graph, or BadInput."""
    path = put(tmp_path / "fuzzed.json", mutate(data.draw, base))
    graph = read_or_refuse(path)
    if graph is not None:
        reached()
        schedule.write(graph, tmp_path / "again.json")
        assert schedule.read(tmp_path / "again.json") == graph
        assert graph.layout.n_nodes == len(graph)


@enough(0.03)
@settings(ANY, max_examples=300)
@given(data=st.data())
def test_schedules_with_other_values_are_read_or_refused(data, tmp_path):
    """The same for schedule files; what is read can be printed and verified or refused."""
    path = put(tmp_path / "fuzzed.json", mutate(data.draw, PLAN))
    plan = read_or_refuse(path, schedule.read_schedule)
    if plan is not None:
        reached()
        assert str(plan)
        assert dict(plan.rows())
        assert result_from_json(json.loads(json.dumps(plan.to_json()))) == plan


PLAN = chain_plan().to_json()


@settings(ANY, max_examples=300)
@given(data=st.data(), base=st.sampled_from([CONTRACT, NODE_LINK]), packed=st.booleans())
def test_damaged_bytes_are_read_or_refused(data, base, packed, tmp_path):
    """Bytes deleted, replaced or doubled, in the text or in the gzip."""
    content = json.dumps(base).encode()
    content = bytearray(bomb(content) if packed else content)
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(content)))
        stop = min(len(content), start + data.draw(st.sampled_from([0, 1, 1, 2, 9, 99])))
        new = data.draw(
            st.one_of(
                st.binary(max_size=3),
                st.just(bytes(content[start:stop]) * 2),
                st.sampled_from(
                    [b"NaN", b"1e999", b"9" * 4400, b"-", b"[" * 5000, b"null", b"\\ud8"]
                ),
            )
        )
        content[start:stop] = new
    path = tmp_path / "fuzzed.json"
    path.write_bytes(bytes(content))
    read_or_refuse(path)


@pytest.mark.parametrize("name", ["g.graphml", "g.GML", "g.gml.gz"])
def test_no_json_under_the_ending_of_another_format(name, tmp_path):
    """It would be read as that format, and refused."""
    with pytest.raises(BadOutput, match=r"is JSON.*read as G.*; give a name that ends in .json"):
        schedule.write(schedule.example("chain"), tmp_path / name)
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="no directory that takes no file")
def test_a_directory_that_is_there_is_not_said_to_be_missing():
    """In some no file can be made, by whoever it be."""
    with pytest.raises(BadOutput, match="no file can be made in /proc"):
        schedule.write(schedule.example("chain"), "/proc/graph.json")


def test_a_stream_that_takes_a_part_gets_the_rest(monkeypatch):
    """An unbuffered one may; the graph is written whole."""
    taken = bytearray()

    class Narrow(io.RawIOBase):
        def writable(self):
            return True

        def write(self, content):
            taken.extend(content[:99])
            return min(len(content), 99)

    graph = schedule.example("chain")
    with monkeypatch.context() as patch:
        patch.setattr("sys.stdout", io.TextIOWrapper(Narrow(), write_through=True))
        schedule.write(graph, "-")
    assert graph_from_json(json.loads(taken)) == graph
