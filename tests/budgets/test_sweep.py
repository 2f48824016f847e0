"""A sweep is many solves: its curve is monotone, true, resumable, the same on any executor."""

import csv
import gzip
import io
import itertools
import json
import multiprocessing
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import schedule
from schedule.bounds import TOLERANCE
from schedule.budgets.curve import Sweep
from schedule.errors import (
    BadInput,
    BadOption,
    BadOutput,
    BadSchedule,
    NotApplicable,
    SolverBug,
    WrongGraph,
)
from schedule.lowering import in_order
from schedule.result import Status
from schedule.solvers import SOLVERS, Proof
from tests.cli.test_cli import PIPES, interrupt, refused, run
from tests.enough import enough, reached
from tests.formats import FILES_ARE_CHECKED
from tests.oracles import least_compute
from tests.strategies import graphs

pytestmark = FILES_ARE_CHECKED

CHAIN = schedule.example("chain")
QUICK = [name for name in SOLVERS if name not in ("ilp", "search", "auto", "lp_rounding")]


class Asked:
    """A solver that notes what it is asked, and answers as another; or as a test wants."""

    summary = "asks another"

    def __init__(self, name="auto", before=lambda problem, incumbent, deadline: None):
        self.name, self.budgets, self._before = name, [], before

    def supports(self, graph):
        return SOLVERS[self.name].supports(graph)

    def improve(self, problem, incumbent, deadline):
        self.budgets.append(problem.budget)
        self._before(problem, incumbent, deadline)
        return SOLVERS[self.name].improve(problem, incumbent, deadline)


def check(graph, curve):
    """Every point is true, and the curve is monotone."""
    for point in curve.points:
        if point.schedule is not None:
            trace = schedule.verify(graph, point.schedule, point.budget)
            assert (trace.peak, trace.compute) == (point.peak, point.compute)
            assert point.lower_bound <= point.compute
    budgets = [point.budget for point in curve.points]
    assert budgets == sorted(set(budgets))
    for small, large in itertools.pairwise(curve.points):
        assert small.schedule is None or large.compute <= small.compute
        if large.status is Status.INFEASIBLE:
            assert small.status is Status.INFEASIBLE
        elif small.status is not Status.INFEASIBLE:
            assert small.lower_bound >= large.lower_bound


# The curve


@settings(max_examples=60)
@given(graphs(min_nodes=1), st.sampled_from(QUICK), st.integers(1, 3))
def test_any_curve_is_monotone(graph, solver, workers):
    """Whatever the solver, more memory never costs compute, nor raises the bound."""
    if SOLVERS[solver].supports(graph) is None:
        check(graph, schedule.sweep(graph, points=6, solver=solver, workers=workers))


@settings(max_examples=25)
@given(graphs(min_nodes=1, max_nodes=6), st.sampled_from(["free", "fixed"]))
def test_curve_of_an_exact_solver_is_that_of_an_exhaustive_search(graph, order):
    """What is optimal takes what the oracle says, what is infeasible fits in none of its ways."""
    curve = schedule.sweep(graph, points=5, start="20%", solver="ilp", order=order)
    check(graph, curve)
    for point in curve.points:
        least = least_compute(graph, point.budget, order)
        assert point.status is (Status.INFEASIBLE if least is None else Status.OPTIMAL)
        assert point.compute == pytest.approx(least)


def test_plan_for_less_memory_serves_more():
    """A solver that finds little with much memory gets its own plans for less."""

    class Fickle(Asked):
        def improve(self, problem, incumbent, deadline):
            helper = "recompute_all" if problem.budget == 9 else "store_all"
            return SOLVERS[helper].improve(problem, incumbent, deadline)

    curve = schedule.sweep(CHAIN, [9, 12], Fickle())
    small, large = curve.points
    assert (small.compute, small.status) == (large.compute, large.status)
    assert small.schedule == large.schedule


def test_bound_for_more_memory_holds_for_less():
    """A bound that is proved for the larger budget alone is the smaller one's, too."""
    best = schedule.solve(CHAIN, 12).compute

    class Sure(Asked):
        def improve(self, problem, incumbent, deadline):
            return Proof(bound=best if problem.budget == 12 else None)

    small, large = schedule.sweep(CHAIN, [9, 12], Sure()).points
    assert small.lower_bound == large.lower_bound == best


@pytest.mark.parametrize("unit", [10**9, 0.1])
def test_bounds_descend_to_the_last_digit(unit):
    """Also where each meets its compute within the tolerance, and nothing is open any more."""
    costs = [unit + at if unit > 1 else unit for at in range(len(CHAIN))]
    nodes = [replace(node, compute=cost) for node, cost in zip(CHAIN.nodes, costs)]
    graph = schedule.Graph(nodes, CHAIN.inputs, CHAIN.outputs)
    apart = {9: 9e-8, 10: 4e-8, 11: 7e-8}

    class Nearly(Asked):
        def improve(self, problem, incumbent, deadline):
            SOLVERS["recompute_all"].improve(problem, incumbent, deadline)
            bound = float(incumbent.compute)
            return Proof(bound - apart[problem.budget] * float(graph.compute))

    curve = schedule.sweep(graph, list(apart), Nearly(), workers=3)
    assert {point.status for point in curve.points} == {Status.OPTIMAL}
    check(graph, curve)


def test_bound_and_need_keep_their_authors():
    """What other budgets say of one comes from one solver each; what is left of it, too."""

    def prove(problem, incumbent, deadline):
        if problem.budget == 4:
            incumbent.by("needs").prove(Proof(needed=5))
        if problem.budget == 9:
            incumbent.by("bounds").prove(Proof(bound=CHAIN.compute + 1))

    solver = Asked("store_all", prove)
    points = schedule.sweep(CHAIN, [4, 6, 9, 11], solver, workers=1).points
    said = {point.budget: (str(point.status), point.proved_by) for point in points}
    assert said[4] == ("infeasible", "needs")
    assert said[6] == said[9] == ("unknown", "bounds")
    assert said[11][1] is None


def test_proof_that_nothing_fits_settles_smaller_budgets():
    """What is needed at one budget is needed at all; where that is known nothing is solved."""

    class Proves(Asked):
        def improve(self, problem, incumbent, deadline):
            self.budgets.append(problem.budget)
            return Proof(needed=9)

    solver = Proves()
    curve = schedule.sweep(CHAIN, [5, 6, 7, 8], solver, workers=1)
    assert {point.status for point in curve.points} == {Status.INFEASIBLE}
    assert {point.shortfall.needed for point in curve.points} == {9}
    assert solver.budgets == [5]


def test_below_the_floor_nothing_is_solved():
    """Such budgets are marked, and no solver is asked."""
    solver, floor = Asked(), schedule.memory_floor(CHAIN).memory
    curve = schedule.sweep(CHAIN, [*range(floor), 9], solver)
    assert [str(point.status) for point in curve.points] == ["infeasible"] * floor + ["optimal"]
    assert solver.budgets == [9]


def test_where_plan_and_bound_meet_nothing_is_solved():
    """A plan that recomputes nothing answers every larger budget."""
    solver = Asked("store_all")
    peak = in_order(CHAIN).peak
    curve = schedule.sweep(CHAIN, [peak, peak + 5, 2 * peak], solver, workers=1)
    assert {point.status for point in curve.points} == {Status.OPTIMAL}
    assert solver.budgets == [peak]
    assert curve.solved == 1


def test_solve_begins_with_the_neighbours_plan():
    """The solver is given it as a start: the best plan of all smaller budgets."""
    given = []

    def look(problem, incumbent, deadline):
        given.append(incumbent.trace)

    curve = schedule.sweep(CHAIN, [9, 10, 11], Asked("recompute_all", look), workers=1)
    assert given[0] is None
    assert [start.compute for start in given[1:]] == [p.compute for p in curve.points[:2]]


@enough(0.2)
@settings(max_examples=30)
@given(graphs(min_nodes=2, max_nodes=7), st.sampled_from(["ilp", "search", "auto", "greedy"]))
def test_a_start_misleads_no_solver(graph, solver):
    """What it proves, with its neighbour's plan to begin with, is what the oracle says."""
    budget = max(1, in_order(graph).peak * 9 // 10)
    curve = schedule.sweep(graph, [budget * 4 // 5, budget], solver, workers=1)
    check(graph, curve)
    for point in curve.points:
        least = least_compute(graph, point.budget)
        if point.status is Status.INFEASIBLE:
            assert least is None
        elif least is not None:
            reached()
            assert point.lower_bound <= least + TOLERANCE * float(graph.compute)
        if point.status is Status.OPTIMAL:
            assert point.compute == pytest.approx(least)
        assert point.status in (Status.OPTIMAL, Status.INFEASIBLE) or solver != "ilp"


def of(points):
    """A curve through points (budget, overhead), for its knee."""
    base = schedule.solve(CHAIN, "100%")
    made = tuple(replace(base, budget=budget, overhead=over) for budget, over in points)
    return Sweep("g", "0", 1, 100, "auto", "free", made)


@given(st.lists(st.integers(0, 50), min_size=3, max_size=9), st.integers(1, 7), st.integers(0, 9))
def test_knee_is_furthest_below_the_chord(falls, scale, shift):
    """As the distance of points from a line says; scale and shift of the axes don't matter."""
    heights = list(itertools.accumulate(falls, initial=0))[::-1]
    points = [(10 * at, float(height)) for at, height in enumerate(heights)]
    knee = of(points).knee
    width, top = points[-1][0], points[0][1]
    below = {x: 1 - x / width - y / top for x, y in points} if top else {0: 0.0}
    most = max(below.values())
    if most < 1e-9:
        assert knee is None
    else:
        assert below[knee.budget] == pytest.approx(most)
        moved = of([(scale * x + shift, scale * y + shift) for x, y in points]).knee
        assert moved.budget == scale * knee.budget + shift


def test_knee_of_a_hyperbola():
    """y = 1/x over [1/4, 4] bends where x = 1, by symmetry."""
    points = [(2**at, 1 / 2**at) for at in range(-2, 3)]
    assert of([(round(100 * x), y) for x, y in points]).knee.budget == 100


def test_equal_computes_have_no_knee():
    """What is rounding isn't a price: less than the tolerance by which computes are equal."""
    points = [(1, 0.9 * TOLERANCE), (5, 0.0), (9, 0.0)]
    assert of(points).knee is None
    assert of([(x, 3 * y) for x, y in points]).knee.budget == 5


# Budgets and options


def test_evenly_spaced_budgets():
    """From start to stop, both included, rounded down, each once."""
    peak = in_order(CHAIN).peak
    curve = schedule.sweep(CHAIN, points=100, start="50%", solver="store_all")
    assert [point.budget for point in curve.points] == list(range(peak // 2, peak + 1))
    assert len(schedule.sweep(CHAIN, points=2, solver="store_all").points) == 2


@pytest.mark.parametrize(
    ("options", "kind", "said"),
    [
        ({"budgets": []}, BadOption, "no budgets"),
        ({"budgets": "50%"}, BadOption, "a list of budgets"),
        ({"budgets": ["plenty"]}, BadInput, "'plenty'"),
        ({"points": 1}, BadOption, "points is 1"),
        ({"start": "90%", "stop": "10%"}, BadOption, "above '10%'"),
        ({"solver": "magic"}, BadOption, "unknown solver"),
        ({"solver": "sqrt"}, NotApplicable, "no backward nodes"),
        ({"time_limit": 0}, BadOption, "time_limit"),
        ({"workers": 0}, BadOption, "workers is 0"),
        ({"resume": True}, BadOption, "needs the directory"),
        ({"directory": "missing/plans"}, BadOutput, "missing/plans"),
    ],
)
def test_misuse(tmp_path, monkeypatch, options, kind, said):
    """It is refused before anything is solved or written."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(kind, match=said):
        schedule.sweep(schedule.example("diamonds"), **options)
    assert not list(tmp_path.iterdir())


def test_options_of_numpys_types_are_plain_ones(tmp_path):
    """What was asked for is written to the files, and is the same question again."""
    numbers = {
        "budgets": np.array([30, 40]),
        "time_limit": np.float32(2.5),
        "gap": np.float64(0.25),
        "seed": np.int64(3),
        "workers": np.int8(1),
    }
    asked = {"solver": "greedy", "directory": tmp_path / "plans"}
    first = schedule.sweep(schedule.example("diamonds"), **asked, **numbers)
    assert [point.seed for point in first.points] == [3, 3]
    plain = numbers | {"budgets": [30, 40], "time_limit": 2.5, "gap": 0.25, "seed": 3}
    again = schedule.sweep(schedule.example("diamonds"), **asked, **plain, resume=True)
    assert again.solved == 0


def test_faulty_solver_is_loud():
    """What a solver does wrong is raised where the sweep was called."""

    class Wrong(Asked):
        def improve(self, problem, incumbent, deadline):
            super().improve(problem, incumbent, deadline)
            return Proof(bound=1e9)

    with pytest.raises(SolverBug, match="claims the bound"):
        schedule.sweep(CHAIN, [9, 12, 15], Wrong("sqrt"))


# The directory


def test_files_are_those_schedules(tmp_path):
    """One a budget, each reads back as the point's result; the graph lies beside them."""
    curve = schedule.sweep(CHAIN, points=5, start=1, directory=tmp_path / "plans")
    read = {schedule.read_schedule(path) for path in (tmp_path / "plans").glob("budget-*")}
    assert read == set(curve.points)
    assert schedule.read(tmp_path / "plans" / "graph.json.gz") == CHAIN


def test_resume_solves_what_is_missing(tmp_path):
    """Only that, and the curve is the same."""
    first = schedule.sweep(CHAIN, [5, 7, 9, 11], Asked(), directory=tmp_path)
    (tmp_path / "budget-7.json.gz").unlink()
    solver = Asked()
    again = schedule.sweep(CHAIN, [5, 7, 9, 11], solver, directory=tmp_path, resume=True)
    assert solver.budgets == [7]
    assert again.solved == 1
    assert [point.compute for point in again.points] == [point.compute for point in first.points]


@enough(0.22)
@settings(max_examples=20)
@given(graphs(min_nodes=1), st.sampled_from(QUICK))
def test_resume_solves_nothing_again(graph, solver):
    """What a whole sweep left answers the same question; every figure is the same."""
    if SOLVERS[solver].supports(graph) is not None:
        return
    reached()
    with tempfile.TemporaryDirectory() as folder:
        first = schedule.sweep(graph, points=5, solver=solver, directory=folder)
        again = schedule.sweep(graph, points=5, solver=solver, directory=folder, resume=True)
    assert again.solved == 0
    assert facts(again) == facts(first)


@pytest.mark.parametrize("change", [{"time_limit": 9}, {"seed": 1}, {"gap": 1e-9}])
def test_what_was_asked_otherwise_goes_on(tmp_path, change):
    """With another limit, seed or gap what is open is solved again, from the plan that is there."""
    given = []
    solver = Asked("recompute_all", lambda _, incumbent, __: given.append(incumbent.trace))
    (first,) = schedule.sweep(CHAIN, [9], solver, directory=tmp_path, workers=1).points
    assert first.status is Status.FEASIBLE
    schedule.sweep(CHAIN, [9], solver, directory=tmp_path, resume=True, **change)
    assert solver.budgets == [9, 9]
    assert given[-1].compute == first.compute


def test_first_schedule_is_enough_in_files_too(tmp_path):
    """A gap without end is asked for in a file, which knows no such number, and not again."""
    asked = {"gap": float("inf"), "directory": tmp_path}
    first = schedule.sweep(CHAIN, [9], "recompute_all", **asked)
    assert [point.status for point in first.points] == [Status.FEASIBLE]
    again = schedule.sweep(CHAIN, [9], "recompute_all", resume=True, **asked)
    assert again.solved == 0


def test_what_is_optimal_stays(tmp_path):
    """Whatever else is asked for: there is nothing left to find."""
    schedule.sweep(CHAIN, [2, 5, 9], directory=tmp_path)
    other = schedule.sweep(CHAIN, [2, 5, 9], "greedy", seed=1, directory=tmp_path, resume=True)
    assert other.solved == 0
    assert [str(point.status) for point in other.points] == ["infeasible", "optimal", "optimal"]


def test_other_budgets_in_the_directory_help(tmp_path):
    """A finer sweep goes on from a coarse one: between equal neighbours nothing is solved."""
    peak = in_order(CHAIN).peak
    schedule.sweep(CHAIN, [9, peak, peak + 9], directory=tmp_path)
    solver = Asked()
    finer = schedule.sweep(CHAIN, [9, 10, peak + 3], solver, directory=tmp_path, resume=True)
    assert solver.budgets == [10]
    assert finer.points[2].status is Status.OPTIMAL


def change_file(path, **keys):
    """Have a schedule file state something else."""
    data = json.loads(gzip.decompress(path.read_bytes()))
    path.write_bytes(gzip.compress(json.dumps(data | keys).encode()))


def test_half_a_file_is_refused(tmp_path):
    """And so is half a graph, and a schedule of another order."""
    schedule.sweep(CHAIN, [9], directory=tmp_path)
    with pytest.raises(BadOption, match="order 'free'"):
        schedule.sweep(CHAIN, [9], directory=tmp_path, resume=True, order="fixed")
    (tmp_path / "budget-9.json.gz").write_bytes(b"half a fi")
    with pytest.raises(BadSchedule, match=r"budget-9\.json\.gz: not JSON"):
        schedule.sweep(CHAIN, [9], directory=tmp_path, resume=True)
    (tmp_path / "graph.json.gz").write_bytes(b"half a fi")
    with pytest.raises(BadOption, match=r"graph\.json\.gz: not JSON"):
        schedule.sweep(CHAIN, [9], directory=tmp_path, resume=True)


def test_disk_that_is_full(tmp_path, monkeypatch):
    """A file that can't be written ends the sweep, with all that is known by then."""
    from schedule.budgets.directory import Directory

    def put(self, result):
        if result.budget == 7:
            raise BadOutput("plans: no space left")

    monkeypatch.setattr(Directory, "put", put)
    curve = schedule.sweep(CHAIN, [5, 7, 9], directory=tmp_path, workers=1)
    assert curve.ended == "plans: no space left"
    assert curve.failed
    assert [point.interrupted for point in curve.points] == [False, False, True]


def test_directory_is_not_overwritten(tmp_path):
    """Schedules that are there need `resume`; another graph's stay as they are."""
    schedule.sweep(CHAIN, [9], directory=tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(BadOption, match="resume"):
        schedule.sweep(CHAIN, [9], directory=tmp_path)
    with pytest.raises(WrongGraph, match="another directory"):
        schedule.sweep(schedule.example("diamonds"), [60], directory=tmp_path, resume=True)
    (tmp_path / "graph.json.gz").unlink()
    with pytest.raises(WrongGraph, match=r"budget-9\.json\.gz"):
        schedule.sweep(schedule.example("diamonds"), [9], directory=tmp_path, resume=True)
    assert {p: p.read_bytes() for p in before if p.exists() and p.suffix != ".gz"} == {
        p: content for p, content in before.items() if p.suffix != ".gz"
    }
    assert (tmp_path / "budget-9.json.gz").read_bytes() == before[tmp_path / "budget-9.json.gz"]


# Executors


def facts(curve):
    return [
        (point.budget, point.status, point.compute, point.lower_bound) for point in curve.points
    ]


def test_other_processes_give_the_same_sweep(tmp_path):
    """What is pickled, sent and read again is the same graph and the same solver."""
    graph = schedule.example("diamonds")
    here = schedule.sweep(graph, points=4, start="40%", solver="ilp")
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        there = schedule.sweep(graph, points=4, start="40%", solver="ilp", executor=pool)
        several = schedule.sweep(graph, [70, 90], executor=pool, directory=tmp_path / "plans")
    assert facts(there) == facts(here)
    assert schedule.read(tmp_path / "plans" / "graph.json.gz") == graph
    assert {point.status for point in several.points} <= {Status.OPTIMAL, Status.INFEASIBLE}


class Inline(Executor):
    """Runs at once what is submitted, and fails from one submit on."""

    def __init__(self, fails=99, late=False):
        self.count, self.fails, self.late = 0, fails, late

    def submit(self, fn, /, *args, **kwargs):
        self.count += 1
        future = Future()
        if self.count < self.fails:
            future.set_result(fn(*args, **kwargs))
        elif self.late:
            future.set_exception(BrokenProcessPool("the worker died"))
        else:
            raise BrokenProcessPool("the pool is gone")
        return future


def test_graph_is_read_once_by_each_process(monkeypatch):
    """Not once a task: the tasks name its file."""
    from schedule.budgets import delivery

    reads = []
    monkeypatch.setattr(delivery, "read", lambda path: reads.append(path) or CHAIN)
    delivery._opened.cache_clear()
    executor = Inline()
    schedule.sweep(CHAIN, [5, 7, 9], executor=executor)
    assert (executor.count, len(reads)) == (3, 1)


@pytest.mark.parametrize("late", [False, True])
def test_executor_that_goes_away(tmp_path, late):
    """What is solved is kept, there and in the directory; the sweep says what happened."""
    executor = Inline(3, late)
    curve = schedule.sweep(CHAIN, [5, 7, 9, 11], executor=executor, directory=tmp_path, workers=1)
    assert curve.ended.startswith("the executor failed: BrokenProcessPool: the ")
    assert [point.interrupted for point in curve.points] == [False, False, True, True]
    assert curve.points[3].compute == curve.points[1].compute
    assert len(list(tmp_path.glob("budget-*"))) == 2
    again = schedule.sweep(CHAIN, [5, 7, 9, 11], directory=tmp_path, resume=True)
    assert (again.solved, again.ended) == (2, "")


# Progress and Ctrl-C


def test_progress_counts_up():
    """Each budget is said to be done once; solves in threads are heard on the way."""
    heard = []
    schedule.sweep(CHAIN, [5, 7, 9], progress=heard.append)
    done = [news for news in heard if news.latest is None]
    assert [news.done for news in done] == [1, 2, 3]
    assert {news.budget for news in done} == {5, 7, 9}
    assert all(news.total == 3 for news in heard)
    assert done[-1].seconds_left == 0
    assert any(news.latest is not None for news in heard)


def test_ctrl_c_keeps_what_is_known(tmp_path):
    """What is done stays, what runs ends soon, the rest gets its neighbours' plans."""

    def press(problem, incumbent, deadline):
        if problem.budget == 9:
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
            while not deadline.passed:
                time.sleep(0.01)

    solver = Asked(before=press)
    asked = [7, 9, 11, in_order(CHAIN).peak]
    curve = schedule.sweep(CHAIN, asked, solver, workers=1, directory=tmp_path, time_limit=60)
    assert curve.ended == "interrupted"
    assert [point.interrupted for point in curve.points][::2] == [False, True]
    assert curve.points[2].compute <= curve.points[0].compute
    assert curve.points[3].compute == CHAIN.compute
    assert curve.unsolved == tuple(asked[2:])
    assert ["not solved" in row[-1] for row in curve.rows()] == [False, False, True, True]
    assert str(curve).endswith("2 not solved, interrupted")
    assert solver.budgets == [7, 9]
    check(CHAIN, curve)
    solver = Asked()
    again = schedule.sweep(
        CHAIN, [7, 9, 11], solver, workers=1, directory=tmp_path, resume=True, time_limit=60
    )
    assert 7 not in solver.budgets
    assert {point.status for point in again.points} == {Status.OPTIMAL}


# Tables, pictures, the command line


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A directory to work in, with the graph `chain.json`."""
    monkeypatch.chdir(tmp_path)
    schedule.write(CHAIN, "chain.json")
    return tmp_path


def test_csv_and_json_say_the_same(folder):
    """Every figure of every point, in one as in the other."""
    args = ("sweep", "chain.json", "--budgets", "1,7,50%,18", "--csv", "t.csv", "--json")
    status, out, err = run(*args)
    assert (status, err) == (0, "")
    found = json.loads(out)
    lines = list(csv.DictReader(io.StringIO((folder / "t.csv").read_text())))
    assert [point["budget"] for point in found["points"]] == [1, 7, 9, 18]
    for line, point in zip(lines, found["points"], strict=True):
        assert line.pop("knee") == str(point["budget"] == found["knee"]).lower()
        said = {key: "" if value is None else str(value) for key, value in point.items()}
        assert line == said | {"interrupted": "false", "solved": "true"}


def test_table_shows_every_point(folder, monkeypatch):
    """Budgets, overheads, the knee, and the proof for what is too small."""
    monkeypatch.setenv("COLUMNS", "120")
    command = ["sweep", "chain.json", "--from", "10%", "--points", "6", "--solver", "chain"]
    status, out, _ = run(*command)
    curve = schedule.sweep(CHAIN, points=6, start="10%", solver="chain")
    assert status == 0
    for row in curve.rows():
        assert row[2] in out
    assert "the knee" in out
    assert "at least 3 needed" in out
    assert all(cell in curve._repr_html_() for row in curve.rows() for cell in row)


def test_status_where_nothing_fits(folder):
    """1, with the table."""
    status, out, _ = run("sweep", "chain.json", "--budgets", "1,2")
    assert status == 1
    assert out.startswith("0 of 2 budgets have a schedule, 2 proved too small")


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--budgets", "5", "--points", "3"], "either --budgets"),
        (["--budgets", "much"], "'much'"),
        (["--from", "90%", "--to", "10%"], "starts at"),
        (["--points", "1"], "points is 1"),
        (["--resume"], "needs the directory"),
        (["--csv", "missing/t.csv"], "missing"),
        (["-o", "curve.abacus"], "curve.abacus: can't be written"),
        (["--csv", "chain.json"], "is read here"),
        (["--directory", "chain.json"], "can't be made a directory"),
        (["--solver", "magic"], "unknown solver"),
    ],
)
def test_command_misuse(folder, args, said):
    """One line, status 2, nothing written."""
    assert said in refused(folder, "sweep", "chain.json", *args)


def test_picture_shows_the_curve(folder):
    """The line has the points' overheads, and the file is there."""
    pytest.importorskip("matplotlib")
    from schedule.report.curves import curve_picture

    curve = schedule.sweep(CHAIN, points=6, start="10%")
    (axes,) = curve_picture(curve).axes
    drawn = dict(zip(*axes.lines[0].get_data(), strict=True))
    assert drawn == {p.budget: pytest.approx(100 * p.overhead) for p in curve.planned}
    assert run("sweep", "chain.json", "--points", "3", "-o", "curve.svg")[0] == 0
    assert "knee" in (folder / "curve.svg").read_text() or curve.knee is None


def test_the_legend_of_a_flat_curve_is_not_on_it():
    """A sweep that was cut short has one schedule for most budgets, at the top."""
    pytest.importorskip("matplotlib")
    from schedule.report.curves import curve_picture

    graph = schedule.example("unet")
    figure = curve_picture(schedule.sweep(graph, ["60%", "70%", "95%"], "recompute_all"))
    figure.draw_without_rendering()
    (axes,) = figure.axes
    legend = axes.get_legend().get_window_extent()
    points = axes.lines[0].get_transform().transform(axes.lines[0].get_xydata())
    assert len(points) == 3
    assert np.ptp(points[:, 1]) == 0
    assert not legend.y0 <= points[0, 1] <= legend.y1


def test_picture_without_any_schedule():
    """All shaded, and no line."""
    pytest.importorskip("matplotlib")
    from schedule.report.curves import curve_picture

    (axes,) = curve_picture(schedule.sweep(CHAIN, [1, 2])).axes
    assert len(axes.lines[0].get_xdata()) == 0


def test_notebooks_fall_back_on_the_table(monkeypatch):
    """Without matplotlib there is no picture, and no error."""
    pytest.importorskip("matplotlib")
    curve = schedule.sweep(CHAIN, points=3)
    assert curve._repr_svg_().startswith("<svg")
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert curve._repr_svg_() is None


SLOW = """
    import time
    from pathlib import Path
    from schedule.cli import main
    from schedule.solvers import SOLVERS

    class Slow:
        name, summary = "slow", "is slow from one budget on"

        def supports(self, graph):
            return None

        def improve(self, problem, incumbent, deadline):
            if problem.budget >= 9:
                Path("ready").touch()
                while not deadline.passed:
                    time.sleep(0.01)
            return SOLVERS["auto"].improve(problem, incumbent, deadline)

    SOLVERS["slow"] = Slow()
    main()
"""


def test_command_goes_on_after_ctrl_c(folder, shell):
    """What is known is printed, and `--resume` goes on from there."""
    args = ["sweep", "chain.json", "--budgets", "7,9,11", "--solver", "slow", "--workers", "1"]
    args += ["--directory", "plans", "--json"]
    code = [sys.executable, "-c", textwrap.dedent(SLOW), *args]
    process = subprocess.Popen([*code, "--time-limit", "60"], env=shell, text=True, **PIPES)
    out, err = interrupt(process, folder)
    assert process.returncode == 0
    assert err == "schedule: interrupted; --resume goes on from plans\n"
    found = json.loads(out)
    assert found["points"][0]["interrupted"] is False
    assert found["points"][2]["interrupted"] is True
    assert (folder / "plans" / "budget-7.json.gz").exists()


@dataclass(frozen=True)
class Recorded:
    """A solver whose options count."""

    name: str = "recorded"
    summary: str = ""
    option: int = 0

    def supports(self, graph):
        return None

    def improve(self, problem, incumbent, deadline):
        return SOLVERS["recompute_all"].improve(problem, incumbent, deadline)


def test_solver_of_other_options_is_another_solver(tmp_path):
    """What was found with other options, and isn't known to be optimal, is solved again."""
    schedule.sweep(CHAIN, [9], Recorded(), directory=tmp_path)
    assert schedule.sweep(CHAIN, [9], Recorded(), directory=tmp_path, resume=True).solved == 0
    other = Recorded(option=1)
    assert schedule.sweep(CHAIN, [9], other, directory=tmp_path, resume=True).solved == 1


def test_question_is_the_same_in_every_process(tmp_path):
    """What a file says of the solver doesn't say where its functions lay in memory."""
    schedule.sweep(CHAIN, [9], "auto", directory=tmp_path)
    with gzip.open(tmp_path / "budget-9.json.gz") as file:
        asked = json.load(file)["sweep"]["solver"]
    assert asked.startswith("Auto(")
    assert "_is_wide" in asked
    assert " at 0x" not in asked
