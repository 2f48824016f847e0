"""Whatever has a schedule stands for it, in every function that takes one, with the same errors."""

from pathlib import Path

import numpy as np
import pytest

import schedule
from schedule.errors import BadInput, UnknownName, WrongGraph
from schedule.executors import replay_synthetic, run
from schedule.report.writing import write_report

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
