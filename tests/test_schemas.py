"""The schemas say what the reader says: what they reject isn't read, what is written validates."""

import json
import math

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import schedule
from schedule import files
from schedule.errors import BadInput, BadOption
from schedule.formats import SCHEMAS
from schedule.frontends.graph_format import graph_from_json, graph_to_json
from schedule.frontends.schedule_format import result_from_json
from tests.formats import FILES_ARE_CHECKED, VALIDATORS, changed, require_refused, require_valid
from tests.frontends.test_files import CONTRACT
from tests.strategies import graphs

pytestmark = FILES_ARE_CHECKED

READERS = {"graph": graph_from_json, "schedule": result_from_json}
VALID = {"graph": VALIDATORS["schedule-graph/1"], "schedule": VALIDATORS["schedule/1"]}
DIGEST = "0123456789abcdef" * 4
PLAN = {
    "format": "schedule/1",
    "graph": {"name": "mlp", "sha256": DIGEST, "compute": 18},
    "solver": "ilp",
    "status": "unknown",
    "order": "fixed",
    "budget": 9180,
    "peak": 9130,
    "compute": 2562,
    "overhead": 0.0248,
    "lower_bound": 2562.5,
    "gap": 0.0,
    "seconds": 1.8,
    "seed": 0,
    "interrupted": True,
    "makespan": 2600.5,
    "levels": [{"name": "host", "capacity": 99, "down": 25.0, "up": 12, "latency": 1.5, "peak": 7}],
    "shortfall": {"needed": 3, "node": "h1", "reason": "?", "least_peak": 5, "tensors": ["h1"]},
    "checkpoints": ["h1"],
    "steps": [["compute", "h1"], ["free", "x"], ["offload", "h1"], ["drop", "h1", 1]],
    "addresses": {"size": 9, "alignment": 4, "inputs": "outside", "offsets": [[0, "h1", 4]]},
}
WHOLE = {"graph": CONTRACT, "schedule": PLAN}
JUNK = [
    None, True, False, 0, -1, 7, 1.5, 4096.0, -0.0, 2**61, 2**61 - 1, 1e300, math.nan, math.inf,
    "", "h1", "x", "n" * 1001, "optimal", "free", DIGEST, DIGEST.upper(), DIGEST + "\n",
    [], ["x"], ["x", "x"], ["free", "x", 1], [1, 2], [[]], {}, {"name": "x"},
    {"name": "x", "memory": 1}, {"name": "v", "view_of": "h1"},
    {"name": "v", "view_of": "h1", "memory": 0}, {"name": "v", "view_of": None, "memory": 3},
    {"name": "v", "view_of": "h1", "memory": 2}, {"sha256": DIGEST}, {"needed": None},
]  # fmt: skip


def places(data, here=()):
    """Where each value of plain data is: keys and indices from the outside in."""
    yield here
    if isinstance(data, (dict, list)):
        for key, value in data.items() if isinstance(data, dict) else enumerate(data):
            yield from places(value, (*here, key))


def read(name, data):
    """Whether the reader takes it; what it refuses it refuses as bad input."""
    try:
        READERS[name](data)
    except BadInput:
        return False
    return True


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_schema_is_one(name):
    """By the rules of draft 2020-12; a copy each time; the whole example validates."""
    found = schedule.schema(name)
    jsonschema.Draft202012Validator.check_schema(found)
    assert found["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    found.clear()
    assert schedule.schema(name)
    VALID[name].validate(WHOLE[name])
    assert read(name, WHOLE[name])


def test_an_unknown_schema_is_refused():
    """The message lists those there are."""
    with pytest.raises(BadOption, match="'graphs' is none; there are 'graph' and 'schedule'"):
        schedule.schema("graphs")


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_key_that_is_written_is_described(name):
    """A schema that said nothing would accept everything: each key of the example is in it."""
    text = json.dumps(schedule.schema(name)["properties"] | schedule.schema(name)["$defs"])
    keys = {place[-1] for place in places(WHOLE[name]) if place and isinstance(place[-1], str)}
    assert all(f'"{key}": ' in text for key in keys)


@given(graph=graphs())
def test_a_written_graph_validates(graph):
    """Any graph."""
    VALID["graph"].validate(graph_to_json(graph))


@settings(max_examples=60)
@given(
    graph=graphs(min_nodes=1), share=st.integers(10, 100), order=st.sampled_from(["free", "fixed"])
)
def test_a_written_answer_validates(graph, share, order):
    """With a schedule or without, and as it is read back."""
    plan = schedule.solve(graph, f"{share}%", "recompute_all", order=order)
    VALID["schedule"].validate(plan.to_json())
    assert result_from_json(plan.to_json()) == plan


@pytest.mark.parametrize("name", SCHEMAS)
def test_what_a_schema_rejects_is_not_read(name):
    """Every value of the whole example in turn replaced by anything, or left out."""
    rejected = refused = 0
    for place in places(WHOLE[name]):
        for junk in [..., *JUNK] if place else JUNK:
            data = changed(WHOLE[name], place, junk)
            taken = read(name, data)
            refused += not taken
            if not VALID[name].is_valid(data):
                rejected += 1
                assert not taken, (place, junk)
    assert rejected > 500
    assert rejected > refused * 0.7  # the rest: names that aren't known, …


@pytest.mark.parametrize("name", SCHEMAS)
@settings(max_examples=80)
@given(data=st.data())
def test_what_a_schema_rejects_is_not_read_after_several_changes(name, data):
    """Changes on top of changes."""
    found = WHOLE[name]
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.sampled_from([p for p in places(found) if p] or [()]))
        junk = data.draw(st.sampled_from([..., *JUNK] if place else JUNK))
        found = changed(found, place, junk)
    assert VALID[name].is_valid(found) or not read(name, found)


@pytest.mark.parametrize(
    ("name", "place", "junk"),
    [
        ("graph", ("format",), "schedule-graph/2"),
        ("graph", ("nodes",), ...),
        ("graph", ("nodes", 0, "memory"), ...),
        ("graph", ("nodes", 0, "memory"), -1),
        ("graph", ("nodes", 0, "memory"), 1.5),
        ("graph", ("nodes", 0, "memory"), True),
        ("graph", ("nodes", 0, "outputs"), [{"name": "o", "memory": 1}]),
        ("graph", ("nodes", 2, "outputs"), []),
        ("graph", ("nodes", 3, "outputs", 0, "memory"), 5),
        ("graph", ("nodes", 0, "compute"), "12"),
        ("graph", ("nodes", 5, "backward"), 1),
        ("graph", ("inputs", 0, "freeable"), None),
        ("graph", ("outputs",), ["x", "x"]),
        ("schedule", ("graph", "sha256"), DIGEST[1:]),
        ("schedule", ("graph",), ...),
        ("schedule", ("steps",), ...),
        ("schedule", ("steps", 0), ["run", "h1"]),
        ("schedule", ("steps", 0), ["compute", "h1", 1]),
        ("schedule", ("steps", 0), ["compute", 1]),
        ("schedule", ("steps", 1), ["free", "x", 1]),
        ("schedule", ("steps", 2), ["offload", "h1", 0]),
        ("schedule", ("steps", 2), ["offload", "h1", 1, 1]),
        ("schedule", ("steps", 2), ["move", "h1"]),
        ("schedule", ("levels",), {"host": 1}),
        ("schedule", ("levels", 0, "name"), ...),
        ("schedule", ("levels", 0, "capacity"), 1.5),
        ("schedule", ("levels", 0, "down"), 0),
        ("schedule", ("levels", 0, "up"), None),
        ("schedule", ("levels", 0, "latency"), -1),
        ("schedule", ("levels", 0, "peak"), "7"),
        ("schedule", ("makespan",), "long"),
        ("schedule", ("status",), "good"),
        ("schedule", ("order",), "any"),
        ("schedule", ("budget",), 0.5),
        ("schedule", ("gap",), "0"),
        ("schedule", ("shortfall",), "none"),
        ("schedule", ("checkpoints",), None),
    ],
)
def test_a_mistake_is_seen_by_both(name, place, junk):
    """What an editor should underline."""
    data = changed(WHOLE[name], place, junk)
    assert not VALID[name].is_valid(data)
    assert not read(name, data)


def test_an_empty_name_travels(tmp_path):
    """A graph may have one; so may the schedule's file."""
    g = schedule.GraphBuilder("")
    g.node("a", memory=1)
    plan = schedule.solve(g.build(), solver="store_all")
    plan.save(tmp_path / "plan.json")
    assert schedule.read_schedule(tmp_path / "plan.json") == plan


def test_all_tests_that_write_files_have_them_checked(request):
    """Those that have a folder to write to ask for the checks."""
    unchecked = {
        item.nodeid
        for item in request.session.items
        if "tmp_path_factory" in getattr(item, "fixturenames", ())
        and not {"checked_writes", "checked_folder"} <= set(item.fixturenames)
    }
    assert unchecked == set()


def test_every_file_that_tests_write_is_held_against_its_schema(tmp_path):
    """The checks of tests/conftest.py see what is wrong, at the ends of long lists too."""
    graph = graph_to_json(schedule.example("chain", layers=300))
    files.write_json(tmp_path / "graph.json", graph)
    graph["nodes"][-1]["compute"] = "much"
    with pytest.raises(jsonschema.ValidationError, match="'much' is not of type 'number'"):
        files.write_json(tmp_path / "wrong.json", graph)
    (tmp_path / "wrong.json").write_text(json.dumps(graph))
    require_refused(tmp_path)  # it isn't valid, but isn't read either
    require_valid(b'{\n  "format": "schedule-something/9"}')


def test_a_file_that_is_read_but_not_valid_is_found(tmp_path, monkeypatch):
    """With a stricter schema than the reader the check fails."""
    stricter = schedule.schema("graph") | {"required": ["author"]}
    monkeypatch.setitem(VALIDATORS, "schedule-graph/1", jsonschema.Draft202012Validator(stricter))
    (tmp_path / "g.json").write_text(json.dumps(CONTRACT))
    with pytest.raises(AssertionError, match="is read, but: 'author' is a required property"):
        require_refused(tmp_path)
    (tmp_path / "g.json").unlink()
