"""`SolveOptions`: one place for what every solve can be told."""

import inspect
import pickle
from dataclasses import fields, replace

import numpy as np
import pytest

import schedule
from schedule import SolveOptions
from schedule.cli import commands
from schedule.errors import BadOption
from schedule.solvers.contract import Proof

FIELDS = {field.name: field.default for field in fields(SolveOptions)}
GRAPH = schedule.example("chain", layers=4)


class Keeps:
    """A solver that keeps what it is asked, and finds nothing."""

    name, summary = "keeps", "keeps what it is asked"

    def __init__(self):
        self.asked = []

    def supports(self, graph):
        return None

    def improve(self, problem, incumbent, deadline):
        self.asked.append((problem, deadline))
        return Proof()


def asked(call):
    """Order, time limit, gap, seed and workers that reach a solver."""
    solver = Keeps()
    call(solver)
    problem, deadline = solver.asked[-1]
    return problem.order, deadline.limit, problem.gap, problem.seed, problem.workers


def test_numbers_are_pythons_own():
    """NumPy's numbers are taken, and kept as what JSON can write."""
    found = SolveOptions(
        time_limit=np.float32(2.5), gap=np.int64(1), seed=np.uint8(7), workers=np.int32(3)
    )
    assert found == SolveOptions(time_limit=2.5, gap=1.0, seed=7, workers=3)
    kinds = [type(value) for value in (found.time_limit, found.gap, found.seed, found.workers)]
    assert kinds == [float, float, int, int]


@pytest.mark.parametrize(
    ("option", "value", "why"),
    [
        ("order", None, "order is None; it has to be 'free' or 'fixed'"),
        ("time_limit", 0, "time_limit is 0; it has to be a number of seconds > 0"),
        ("gap", -0.1, "gap is -0.1; it has to be a number ≥ 0"),
        ("seed", True, r"seed is True; it has to be an integer from 0 to 2\*\*31 − 1"),
        ("workers", 0, "workers is 0; it has to be an integer ≥ 1"),
        ("memory_share", 0, "memory_share is 0; it has to be a number > 0 and ≤ 1"),
        ("memory_share", 80, "memory_share is 80; it has to be a number > 0 and ≤ 1"),
    ],
)
def test_what_is_none_is_refused_once(option, value, why):
    """When the options are made, by whatever way: also as a copy, and as a keyword argument."""
    for make in (
        lambda: SolveOptions(**{option: value}),
        lambda: replace(SolveOptions(), **{option: value}),
        lambda: schedule.solve(GRAPH, **{option: value}),
        lambda: schedule.compare(GRAPH, "100%", **{option: value}),
        lambda: schedule.sweep(GRAPH, **{option: value}),
    ):
        with pytest.raises(BadOption, match=why):
            make()


def test_options_and_keyword_arguments_say_the_same():
    """Together, side by side, or one in place of the other."""
    wanted = ("fixed", 5.0, 0.5, 3, 1)
    whole = SolveOptions(order="fixed", time_limit=5, gap=0.5, seed=3, workers=1)
    words = {"order": "fixed", "time_limit": 5, "gap": 0.5, "seed": 3, "workers": 1}
    for call in (
        lambda solver: schedule.solve(GRAPH, None, solver, options=whole),
        lambda solver: schedule.solve(GRAPH, None, solver, **words),
        lambda solver: schedule.solve(
            GRAPH, None, solver, options=replace(whole, seed=9, order="free"), seed=3, order="fixed"
        ),
        lambda solver: schedule.compare(GRAPH, "100%", [solver], options=whole),
        lambda solver: schedule.compare(GRAPH, "100%", [solver], **words),
        lambda solver: schedule.sweep(GRAPH, ["100%"], solver, **words),
    ):
        assert asked(call) == wanted


def test_a_sweep_has_its_own_time_limit_and_threads():
    """Ten seconds for each of many solves, and a thread each."""
    found = asked(lambda solver: schedule.sweep(GRAPH, ["100%"], solver, workers=5))
    assert found == ("free", 10.0, 0.0, 0, 1)


@pytest.mark.parametrize(
    ("function", "own"),
    [(schedule.solve, {}), (schedule.compare, {}), (schedule.sweep, {"time_limit": 10.0})],
)
def test_help_shows_every_option(function, own):
    """Names and defaults stand in the signature, though the function takes them as a whole."""
    parameters = inspect.signature(function).parameters
    shared = set(FIELDS) - ({"workers", "progress", "cancel"} if own else set())
    assert {name: parameters[name].default for name in shared} == {
        name: (FIELDS | own)[name] for name in shared
    }
    assert not any(each.kind is each.VAR_KEYWORD for each in parameters.values())


@pytest.mark.parametrize(
    ("name", "own"), [("solve", {}), ("compare", {}), ("sweep", {"time_limit": 10.0})]
)
def test_commands_have_the_same_options(name, own):
    """Under the same names, with the same defaults."""
    given = {param.name: param.default for param in commands.commands[name].params}
    wanted = {
        key: value for key, value in (FIELDS | own).items() if key not in ("progress", "cancel")
    }
    assert {key: given[key] for key in wanted} == wanted


def test_an_unknown_keyword_is_named():
    """With those that there are."""
    with pytest.raises(
        TypeError, match=r"'time'; options of a solve: order, time_limit, work_limit, gap"
    ):
        schedule.solve(GRAPH, time=5)
    with pytest.raises(TypeError, match="; did you mean 'time_limit'"):
        schedule.solve(GRAPH, time_limt=5)
    with pytest.raises(TypeError, match="; did you mean 'points'"):  # what is the sweep's own, too
        schedule.sweep(GRAPH, pionts=5)


def test_what_are_no_options_is_refused():
    """With what they have to be, and before anything is solved."""
    for wrong in (5, {"seed": 1}, SolveOptions):
        with pytest.raises(BadOption, match=r"options is .*; it has to be a SolveOptions, or None"):
            schedule.solve(GRAPH, 5, options=wrong)
    with pytest.raises(BadOption, match="progress is 5; it has to be a function, or None"):
        schedule.solve(GRAPH, 5, progress=5)


def test_options_travel():
    """To other processes, as those of a sweep do."""
    options = SolveOptions(seed=5)
    assert pickle.loads(pickle.dumps(options)) == options
