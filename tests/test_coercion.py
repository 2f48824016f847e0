"""Whatever has a schedule stands for it, in every function that takes one, with the same errors."""

from pathlib import Path

import numpy as np
import pytest

import schedule
from schedule.errors import BadInput, UnknownName, WrongGraph
from schedule.executors import replay_synthetic, run
from schedule.report.writing import write_report
from tests.formats import FILES_ARE_CHECKED

pytestmark = FILES_ARE_CHECKED

GRAPH = schedule.example("chain", layers=4)
OTHER = schedule.example("chain", layers=5)
PLAN = schedule.solve(GRAPH, solver="sqrt")
NOTHING = schedule.solve(GRAPH, 1)
KERNELS = {node.name: lambda *_: np.ones(1, np.uint8) for node in GRAPH.nodes}
FORMS = {
    "a result": PLAN,
    "a schedule": PLAN.schedule,
    "steps": PLAN.steps,
    "a list of steps": list(PLAN.steps),
    "codes": PLAN.trace.codes,
}
#: Everything that takes a schedule, and the peak that it says the schedule has.
TAKERS = {
    "verify": lambda given: schedule.verify(GRAPH, given).peak,
    "simulate": lambda given: schedule.simulate(GRAPH, given).peak,
    "diff": lambda given: schedule.diff(GRAPH, PLAN, given).b.peak,
    "run": lambda given: run(GRAPH, given, KERNELS, {}).promised_peak,
    "replay_synthetic": lambda given: replay_synthetic(GRAPH, given).planned.promised_peak,
    "write_report": lambda given: write_report(GRAPH, given, "trace.json"),
}
TAKES = pytest.mark.parametrize("taker", TAKERS)


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@TAKES
@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_the_same_schedule(taker, form):
    """A result, its schedule, its steps and its codes give one answer."""
    assert TAKERS[taker](FORMS[form]) == TAKERS[taker](PLAN)


@TAKES
def test_a_result_without_a_schedule_names_its_status(taker):
    """It says why nothing fits, instead of a TypeError somewhere below."""
    with pytest.raises(BadInput, match=r"there is no schedule: infeasible: no schedule fits 1"):
        TAKERS[taker](NOTHING)


@TAKES
@pytest.mark.parametrize("form", ["a result", "a schedule"])
def test_what_knows_its_graph_has_to_be_for_this_one(taker, form):
    """Steps of another graph may be steps of this one; a schedule of another never is."""
    plan = schedule.solve(OTHER)
    with pytest.raises(WrongGraph, match="was made for graph"):
        TAKERS[taker](plan if form == "a result" else plan.schedule)


@TAKES
@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (None, "None is no schedule; give a Result, a Schedule, or steps"),
        (5, "5 is no schedule"),
        ("plan.json", r"'plan.json' is no schedule; .* \(schedule.read_schedule reads a file\)"),
        (Path("plan.json"), r"Path\('plan.json'\) is no schedule"),
        ({"steps": []}, "a dict is no schedule"),
    ],
)
def test_what_stands_for_no_schedule_is_refused(taker, wrong, said):
    """With what to give instead."""
    with pytest.raises(BadInput, match=said):
        TAKERS[taker](wrong)


@TAKES
def test_a_wrong_step_is_named(taker):
    """As everywhere."""
    with pytest.raises(UnknownName, match="step 0 is 'h1'; a step is a Compute or a Free"):
        TAKERS[taker](["h1"])


@TAKES
@pytest.mark.parametrize(
    "wrong",
    [
        PLAN.trace.codes.astype(float),
        PLAN.trace.codes.reshape(1, -1),
        np.array(3),
        np.array([True, False]),
        np.array([None]),
        np.array(["f0"]),
    ],
    ids=["floats", "two axes", "no axis", "truth values", "objects", "text"],
)
def test_an_array_of_something_else_is_no_schedule(taker, wrong):
    """It says so, instead of an IndexError of NumPy's somewhere below."""
    with pytest.raises(BadInput, match=r"an array of shape .* is no schedule; codes are a list"):
        TAKERS[taker](wrong)


@TAKES
@pytest.mark.parametrize("code", [len(GRAPH), -len(GRAPH.tensors) - 1, 2**62, -(2**63)])
def test_a_code_of_nothing_is_named(taker, code):
    """The step, its code, and the graph that has nothing of the kind."""
    codes = np.append(PLAN.trace.codes[:2], code)
    with pytest.raises(UnknownName, match=f"step 2 has the code {code}, .* of graph 'chain'"):
        TAKERS[taker](codes)


@pytest.mark.parametrize("kind", [np.int8, np.int32, np.uint8])
def test_codes_of_any_integers(kind):
    """Where they fit their type, they say the same."""
    runs = np.arange(len(GRAPH)).astype(kind)
    assert schedule.simulate(GRAPH, runs).peak == schedule.simulate(GRAPH, runs.astype(int)).peak


def test_a_name_that_is_none_is_named():
    """Where it can't even be looked up."""
    for step, said in (
        (schedule.Compute(["f0"]), r"step 0 runs \['f0'\], which is no node"),
        (schedule.Free({}), "step 0 frees {}, which is no tensor"),
    ):
        with pytest.raises(UnknownName, match=said):
            schedule.verify(GRAPH, [step])
