"""What a sweep's directory states is held against the steps; what can't be written is an error."""

import gzip
import json
import re
import shutil
from concurrent.futures import ProcessPoolExecutor

import pytest

import schedule
from schedule.budgets.reading import read_sweep
from schedule.errors import (
    BadOption,
    BadOutput,
    BadSchedule,
    FalseClaim,
    InvalidSchedule,
    SolverBug,
)
from schedule.solvers import Proof
from tests.budgets.test_sweep import CHAIN, Asked, change_file, check, facts
from tests.cli.test_cli import files, full_disk, run
from tests.formats import FILES_ARE_CHECKED

pytestmark = FILES_ARE_CHECKED

BUDGETS = [2, 5, 9, 12, 40]
#: What a file states beside its steps, and need not.
FIGURES = ("peak", "compute", "overhead", "lower_bound", "gap", "checkpoints", "status", "seconds")


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """A sweep, and the directory that it left."""
    place = tmp_path_factory.mktemp("sweep") / "plans"
    return schedule.sweep(CHAIN, BUDGETS, directory=place, workers=1), place


@pytest.fixture
def plans(swept, tmp_path, monkeypatch):
    """A copy of that directory, and the graph, to work on."""
    monkeypatch.chdir(tmp_path)
    schedule.write(CHAIN, "chain.json")
    return shutil.copytree(swept[1], tmp_path / "plans")


def resumed(plans):
    return schedule.sweep(CHAIN, BUDGETS, directory=plans, resume=True, workers=1)


def strip(path, keys):
    """Have a schedule file state less."""
    data = json.loads(gzip.decompress(path.read_bytes()))
    left = {key: value for key, value in data.items() if key not in keys}
    left["graph"].pop("compute", None)
    path.write_bytes(gzip.compress(json.dumps(left).encode()))


def test_directory_gives_the_curve_that_was_written(swept, plans):
    """Read by itself and gone on from: the same points, and nothing is solved."""
    curve, _ = swept
    assert facts(read_sweep(CHAIN, plans)) == facts(resumed(plans)) == facts(curve)
    assert resumed(plans).solved == 0


@pytest.mark.parametrize("keys", [*([key] for key in FIGURES if key != "lower_bound"), FIGURES])
def test_figures_that_a_file_leaves_out_come_from_its_steps(swept, plans, keys):
    """A curve has them all, and is true; the table, the CSV and the page are drawn."""
    for budget in BUDGETS[1:]:
        strip(plans / f"budget-{budget}.json.gz", keys)
    for found in (read_sweep(CHAIN, plans), resumed(plans)):
        check(CHAIN, found)
        for point, written in zip(found.points, swept[0].points, strict=True):
            assert (point.peak, point.compute) == (written.peak, written.compute)
            assert (point.overhead, point.checkpoints) == (written.overhead, written.checkpoints)
        assert "overhead" in found.to_csv()
    commands = [
        ["sweep", "chain.json", "--budgets", "5,9,12", "--directory", "plans", "--resume"],
        ["report", "chain.json", "plans", "-o", "page.html"],
    ]
    for args in commands:
        assert run(*args)[0] == 0


FALSE = {
    "an overhead": ({"overhead": 0.5}, "states an overhead of 0.5, but its steps give"),
    "a compute": ({"compute": 1}, "states a compute of 1, but its steps give"),
    "a peak": ({"peak": 1}, "states a peak of 1, but its steps give"),
    "checkpoints": ({"checkpoints": ["b0"]}, "checkpoints, but its steps give"),
    "a bound": ({"lower_bound": 1e9}, "states the lower bound 1000000000, but its steps take"),
    "an optimum": ({"lower_bound": 17}, "states the status optimal, but its bound is 17"),
    "nothing": ({"status": "infeasible"}, "states the status infeasible, but has a schedule"),
    "a proof": (
        {"status": "infeasible", "steps": [], "shortfall": {"needed": 4}, "lower_bound": None},
        "states the status infeasible, but a need of 4 only",
    ),
    "a budget": ({"budget": 10}, "states the budget 10, but is called that of 9"),
    "a name": ({"steps": [["compute", "nothing"]]}, "'nothing'"),
    "an end": ({"steps": [["compute", "f0"]]}, "is not live after the last step"),
    "an order": ({"order": "any"}, "order is 'any'"),
    "half a step": ({"steps": [["compute"]]}, "step 0 is"),
    "a format": ({"format": "letter"}, "format is 'letter'"),
    "a lack of figures": ({"overhead": "much"}, "overhead is 'much'"),
}


@pytest.mark.parametrize("case", FALSE)
def test_false_files_are_refused(plans, case):
    """They aren't believed, nor overwritten: one message names the file and the figure."""
    keys, said = FALSE[case]
    change_file(plans / "budget-9.json.gz", **keys)
    before = files(plans)
    with pytest.raises(BadSchedule, match=rf"budget-9\.json\.gz: .*{said}.*; remove it, or"):
        resumed(plans)
    with pytest.raises((BadSchedule, InvalidSchedule), match=rf"budget-9\.json\.gz: .*{said}"):
        read_sweep(CHAIN, plans)
    status, out, err = run(
        "sweep", "chain.json", "--budgets", "9,12", "--directory", "plans", "--resume"
    )
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert said in err
    assert files(plans) == before


CONTRADICTIONS = {
    "a need above a peak": (
        {"status": "infeasible", "steps": [], "shortfall": {"needed": 50}, "peak": None}
        | {"compute": None, "overhead": None, "lower_bound": None, "checkpoints": []},
        "states that 50 are needed, but the peak of .* is 5",
    ),
    "a bound above a compute": (
        {"status": "unknown", "steps": [], "lower_bound": 10**6, "peak": None}
        | {"compute": None, "overhead": None, "checkpoints": []},
        r"states the lower bound 1000000, but .*json\.gz fits its budget, too, and takes \d+",
    ),
}


@pytest.mark.parametrize("case", CONTRADICTIONS)
def test_no_proof_belies_another_files_schedule(plans, case):
    """The schedule was replayed, so that the proof is false."""
    keys, said = CONTRADICTIONS[case]
    change_file(plans / "budget-12.json.gz", **keys)
    with pytest.raises(BadSchedule, match=rf"budget-12\.json\.gz: .*{said}.*; remove it, or"):
        resumed(plans)
    with pytest.raises(FalseClaim, match=rf"budget-12\.json\.gz: .*{said}"):
        read_sweep(CHAIN, plans)


def test_a_proof_that_a_solve_belies_is_a_broken_file(tmp_path):
    """It can't be replayed; once a schedule contradicts it, it isn't called the solver's bug."""
    schedule.sweep(CHAIN, [12], "store_all", directory=tmp_path)
    assert schedule.solve(CHAIN, 11).compute < 50
    change_file(tmp_path / "budget-12.json.gz", lower_bound=50)
    with pytest.raises(BadSchedule, match="states a proof that is none, or the solver is wrong"):
        schedule.sweep(CHAIN, [11, 12], directory=tmp_path, resume=True, workers=1)


def test_a_solver_that_is_wrong_is_loud_where_no_file_was_read(tmp_path):
    """A directory that was empty has no part in it."""

    class Wrong(Asked):
        def improve(self, problem, incumbent, deadline):
            super().improve(problem, incumbent, deadline)
            return Proof(bound=10**6)

    with pytest.raises(SolverBug, match="claims the bound"):
        schedule.sweep(CHAIN, [9], Wrong(), directory=tmp_path)


@pytest.mark.parametrize(
    "name", ["budget-9.json.gz.bak", "budget-09.json.gz", "old budget-9.json.gz", "budget-.json.gz"]
)
def test_other_files_are_left_alone(plans, name):
    """A backup is no budget's file."""
    (plans / name).write_bytes(b"half a fi")
    assert [point.budget for point in read_sweep(CHAIN, plans).points] == BUDGETS
    assert (plans / name).read_bytes() == b"half a fi"


def test_orders_are_not_mixed(plans):
    """The bounds of a sweep are all of one kind."""
    schedule.sweep(CHAIN, [13], order="fixed", directory="fixed")
    shutil.copy("fixed/budget-13.json.gz", plans)
    with pytest.raises(BadOption, match=r"budget-13\.json\.gz: was asked for with order 'fixed'"):
        read_sweep(CHAIN, plans)


def test_points_of_a_directory_are_reconciled(plans):
    """What a smaller budget's schedule gives a larger one, it gives when files are read, too."""
    (alone,) = schedule.sweep(CHAIN, [11], "recompute_all", directory="two").points
    shutil.copy("two/budget-11.json.gz", plans)
    curve = read_sweep(CHAIN, plans)
    check(CHAIN, curve)
    assert next(point for point in curve.points if point.budget == 11).compute < alone.compute


# Full disks


@pytest.mark.parametrize("json_too", [[], ["--json"]])
@pytest.mark.parametrize("call", ["open", "fsync"])
def test_full_disk_is_no_success(plans, monkeypatch, call, json_too):
    """The answer is printed, one message names the file, and the status is 2."""
    args = ["sweep", "chain.json", "--budgets", "10,11", "--directory", "plans", "--resume"]
    before = files(plans)
    monkeypatch.setattr(f"schedule.files.os.{call}", full_disk)
    status, out, err = run(*args, *json_too)
    assert status == 2
    assert re.search("of 2 budgets ha(s|ve) a schedule", out) or json.loads(out)["ended"]
    assert err.count("\n") == 1
    assert "can't be written: No space left on device; make room there" in err
    assert "budget-1" in err
    assert "; --resume goes on from plans" in err
    assert files(plans) == before


def test_full_temporary_directory_is_named(monkeypatch):
    """Workers elsewhere read the graph from a file; where it can lie is said."""
    monkeypatch.setattr("tempfile.mkdtemp", full_disk)
    with (
        ProcessPoolExecutor(1) as executor,
        pytest.raises(BadOutput, match="no temporary directory for the graph: No space left"),
    ):
        schedule.sweep(CHAIN, [9], executor=executor)


def test_disk_that_is_full_at_once(plans, monkeypatch):
    """Nothing is solved for a directory whose graph can't be written."""
    monkeypatch.setattr("schedule.files._replace", full_disk)
    monkeypatch.setattr("schedule.budgets.solving.run", lambda *_: pytest.fail("it was solved"))
    status, out, err = run("sweep", "chain.json", "--budgets", "9", "--directory", "new")
    assert (status, out) == (2, "")
    assert err.startswith("schedule: new/graph.json.gz: can't be written: No space left")
