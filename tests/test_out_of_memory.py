"""Where memory runs out: one message, no status of an answer, and what was found is kept."""

from __future__ import annotations

import errno
import json
import threading
from dataclasses import replace

import pytest

import schedule
import schedule.budgets.directory  # before any test patches what it imports
from schedule.budgets.comparison import compare
from schedule.errors import OUT_OF_MEMORY, BadInput, is_out_of_memory
from schedule.result import Status
from schedule.solvers import SOLVERS, Deadline, Incumbent, Problem, Proof
from schedule.solvers.kit.loading import Loading
from schedule.solvers.plugged import Plugged
from tests.budgets.test_sweep import CHAIN, Asked, check
from tests.cli.test_cli import files, folder, run  # noqa: F401 - a fixture
from tests.formats import FILES_ARE_CHECKED

pytestmark = FILES_ARE_CHECKED

MESSAGE = f"schedule: {OUT_OF_MEMORY}"


def run_out(*_, **__):
    raise MemoryError


class RunsOut(Asked):
    """Offers what another has, where that is asked of it, and then runs out of memory."""

    def __init__(self, finds=True, at=None, name="store_all"):
        super().__init__(name)
        self.finds, self.at = finds, at

    def improve(self, problem, incumbent, deadline):
        self.budgets.append(problem.budget)
        runs_out, proof = self.at in (None, problem.budget), Proof()
        if self.finds or not runs_out:
            proof = SOLVERS[self.name].improve(problem, incumbent, deadline)
        if runs_out:
            incumbent.prove(proof)
            raise MemoryError
        return proof


def chained(error, cause):
    error.__cause__ = cause
    return error


SIGNS = {
    "Python's": MemoryError(),
    "the system's": OSError(errno.ENOMEM, "Cannot allocate memory"),
    "the linker's": ImportError("x.so: failed to map segment from shared object"),
    "the linker's, told again": chained(
        OSError("no such library"), OSError("failed to map segment")
    ),
    "torch's": RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8"),
    "a thread's": RuntimeError("can't start new thread"),
    "the cause of another": chained(ValueError("no answer"), MemoryError()),
}


@pytest.mark.parametrize("sign", SIGNS)
def test_memory_that_runs_out_is_known_by_many_signs(sign):
    """Not all that fails for want of memory raises MemoryError."""
    assert is_out_of_memory(SIGNS[sign])


def test_other_errors_are_others():
    """Nor does one that is its own cause take for ever."""
    own = ValueError("x")
    own.__context__ = chained(KeyError("y"), own)
    others = [own, None, OSError(errno.ENOSPC, "full"), RuntimeError("x"), ImportError("x")]
    assert not any(map(is_out_of_memory, others))


def test_what_was_found_by_then_is_returned(tmp_path):
    """Verified, marked, and the same when it is read from its file."""
    found = schedule.solve(CHAIN, "100%", RunsOut())
    assert (found.status, found.interrupted, found.out_of_memory) == (Status.OPTIMAL, True, True)
    assert schedule.verify(CHAIN, found.schedule, found.budget).compute == found.compute
    assert "out of memory" in str(found)
    found.save(tmp_path / "plan.json")
    again = schedule.read_schedule(tmp_path / "plan.json")
    assert again == found
    assert again.out_of_memory


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("can't start new thread")])
def test_with_nothing_found_it_is_an_error(error):
    """No status would be true: whether a schedule fits isn't known for want of memory."""

    class Fails(Asked):
        def improve(self, problem, incumbent, deadline):
            raise error

    with pytest.raises(MemoryError, match="before there was any schedule"):
        schedule.solve(CHAIN, "100%", Fails())


def test_a_solve_without_budget_may_be_interrupted_before_it_begins():
    """Then there is no schedule, and no budget that would be too small."""

    class Interrupted(Asked):
        def improve(self, problem, incumbent, deadline):
            raise KeyboardInterrupt

    found = schedule.solve(CHAIN, None, Interrupted())
    assert (found.status, found.shortfall.reason) == (Status.UNKNOWN, "nothing was written in time")


def test_solve_command_prints_and_writes_the_best(folder, monkeypatch):  # noqa: F811
    """As after Ctrl-C, but the status says that what was asked for wasn't done."""
    monkeypatch.setattr("schedule.planner.solver_of", lambda _: RunsOut())
    status, out, err = run("solve", "chain.json", "--budget", "100%", "-o", "new.json", "--json")
    assert (status, err) == (2, f"{MESSAGE}; this is the best that was found\n")
    assert json.loads(out)["out_of_memory"]
    assert run("verify", "chain.json", "new.json")[0] == 0


def test_solve_command_with_nothing_found(folder, monkeypatch):  # noqa: F811
    """Not the status of a budget that is too small; nothing is written."""
    monkeypatch.setattr("schedule.planner.solver_of", lambda _: RunsOut(finds=False))
    before = files(folder)
    found = run("solve", "chain.json", "--budget", "100%", "-o", "new.json")
    assert found == (2, "", f"{MESSAGE}\n")
    assert files(folder) == before


COMMANDS = [
    ["info", "chain.json"],
    ["solve", "chain.json", "--budget", "50%"],
    ["verify", "chain.json", "plan.json"],
    ["diff", "chain.json", "plan.json", "plan.json"],
    ["replay", "chain.json", "plan.json"],
    ["compare", "chain.json", "--budget", "50%"],
    ["report", "chain.json", "plan.json", "-o", "page.html"],
    ["sweep", "chain.json"],
]


@pytest.mark.parametrize("as_json", [[], ["--json"]])
@pytest.mark.parametrize("args", COMMANDS, ids=lambda args: args[0])
def test_commands_say_it_in_one_line(folder, monkeypatch, args, as_json):  # noqa: F811
    """Status 2, nothing printed, nothing written."""
    monkeypatch.setattr("schedule.frontends.files.read", run_out)
    before = files(folder)
    assert run(*args, *as_json) == (2, "", f"{MESSAGE}\n")
    assert files(folder) == before


@pytest.mark.parametrize(
    ("place", "args"),
    [
        ("schedule.examples.example", ["example", "chain"]),
        ("schedule.files._text", ["example", "chain", "-o", "new.json"]),
        ("schedule.budgets.summary.limited", ["info", "chain.json"]),
        ("schedule.report.tables.summary_table", ["info", "chain.json"]),
        ("schedule.verification.simulate", ["verify", "chain.json", "plan.json"]),
        ("schedule.report.page.page", ["report", "chain.json", "plan.json", "-o", "page.html"]),
    ],
)
def test_it_may_happen_anywhere(folder, monkeypatch, place, args):  # noqa: F811
    """While something is made, computed, drawn or written."""
    monkeypatch.setattr(place, run_out)
    before = files(folder)
    assert run(*args) == (2, "", f"{MESSAGE}\n")
    assert files(folder) == before


def test_limits_are_not_believed_where_memory_ran_out(monkeypatch):
    """A solve that was cut short says too little to print."""
    found = replace(schedule.solve(CHAIN, "100%", "store_all"), out_of_memory=True)
    monkeypatch.setattr("schedule.budgets.limits.solve", lambda *_, **__: found)
    with pytest.raises(MemoryError, match="between the limits"):
        schedule.minimum_budget(schedule.example("unet"), time_limit=0.5)


def test_comparison_ends_with_what_is_known(folder, monkeypatch):  # noqa: F811
    """The solvers that had their turn are shown, and the one whose turn it was."""
    keep, never = SOLVERS["store_all"], SOLVERS["recompute_all"]
    found = compare(CHAIN, "100%", [keep, RunsOut(finds=False), never])
    assert [(entry.fits, entry.out_of_memory) for entry in found] == [(True, False), (False, True)]
    assert "out of memory" in found[1].reason
    best = compare(CHAIN, "100%", [RunsOut(), never])
    assert [(entry.fits, entry.out_of_memory) for entry in best] == [(True, True)]
    monkeypatch.setattr("schedule.budgets.comparison.compare", lambda *_, **__: found)
    status, out, err = run("compare", "chain.json", "--budget", "100%")
    assert (status, err) == (2, f"{MESSAGE}\n")
    assert "store_all" in out


@pytest.mark.parametrize("finds", [True, False])
def test_sweep_keeps_what_is_known(folder, monkeypatch, finds):  # noqa: F811
    """As after Ctrl-C, and `resume` goes on; but the status is no success."""
    solver = RunsOut(finds, at=12, name="recompute_all")
    monkeypatch.setattr("schedule.budgets.sweeping.solver_for", lambda *_: solver)
    args = ["sweep", "chain.json", "--directory", "plans", "--workers", "1", "--budgets"]
    status, out, err = run(*args, "9,12,13", "--json")
    assert (status, err) == (2, f"{MESSAGE}; --resume goes on from plans\n")
    points = json.loads(out)["points"]
    assert [point["interrupted"] for point in points] == [False, True, True]
    assert solver.budgets == [9, 12]
    solver.at = 0
    curve = schedule.sweep(CHAIN, [9, 12, 13], directory="plans", resume=True)
    assert not curve.failed
    assert not any(point.interrupted for point in curve.points)
    check(CHAIN, curve)


def test_kernel_that_runs_out_is_no_fault_of_the_plan(folder, monkeypatch):  # noqa: F811
    """Its status isn't that of a replay that isn't equal."""
    (folder / "kernels_out.py").write_text(
        "def made(graph):\n"
        "    def kernel(*arrays):\n"
        "        raise MemoryError\n"
        "    return {node.name: kernel for node in graph.nodes}, {}\n"
    )
    found = run("replay", "chain.json", "plan.json", "--kernels", "kernels_out:made")
    assert found == (2, "", f"{MESSAGE}\n")


def test_other_packages_are_not_blamed():
    """Memory is nobody's fault."""

    class Plugin:
        def fault(self, message):
            return BadInput(message)

    problem = Problem(CHAIN, 100)
    with pytest.raises(MemoryError):
        Plugged(RunsOut(finds=False), Plugin()).improve(problem, Incumbent(problem), Deadline())


def test_thread_that_can_not_start_is_not_waited_for(monkeypatch):
    """Neither now nor at the exit; later it may start."""
    called = []
    loading, incumbent = Loading(lambda: called.append(1)), Incumbent(Problem(CHAIN, 100))

    def start(self):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", start)
        patched.setattr("atexit.register", lambda _: pytest.fail("it would be waited for"))
        with pytest.raises(RuntimeError, match="can't start new thread"):
            loading.wait(incumbent, Deadline())
    assert loading.wait(incumbent, Deadline())
    assert called == [1]


def test_system_errors_are_not_blamed_on_the_output(folder, monkeypatch):  # noqa: F811
    """What has no file's name isn't standard output's."""

    def fails(*_, **__):
        raise OSError("no such library")

    monkeypatch.setattr("schedule.frontends.files.read", fails)
    assert run("info", "chain.json") == (2, "", "schedule: no such library\n")
