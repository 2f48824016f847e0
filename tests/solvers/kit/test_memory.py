"""How much memory is taken, of how much, and who ends when it is too much."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys

import numpy as np
import pytest

import schedule
from schedule.errors import OUT_OF_MEMORY
from schedule.result import Status
from schedule.solvers import SOLVERS, Proof
from schedule.solvers.kit import memory
from schedule.solvers.kit.memory import MemoryLimit
from tests.budgets.test_sweep import CHAIN, Asked
from tests.cli.test_cli import folder, run  # noqa: F401 - a fixture
from tests.formats import FILES_ARE_CHECKED
from tests.hanging import ends

pytestmark = FILES_ARE_CHECKED

GIB = 1 << 30


@pytest.fixture
def used(monkeypatch):
    """What is said to be taken, of ten GiB; it is looked at each time."""
    taken = [2 * GIB]
    monkeypatch.setattr(memory, "used", lambda: taken[0])
    monkeypatch.setattr(memory, "_total", lambda: 10 * GIB)
    monkeypatch.setattr(memory, "_EVERY", 0.0)
    return taken


class Grows(Asked):
    """Offers what another has, and takes memory until it is told to stop."""

    def __init__(self, used, finds=True):
        super().__init__("store_all")
        self.used, self.finds = used, finds

    def improve(self, problem, incumbent, deadline):
        if self.finds:
            SOLVERS["recompute_all"].improve(problem, incumbent, deadline)
        while not deadline.passed:
            self.used[0] += GIB // 100
        return Proof()


def test_a_share_is_of_what_was_not_taken(used):
    """Who holds much before the solve may solve, too; once exceeded it stays so."""
    limit = MemoryLimit(0.5)
    for taken, exceeded in [(3, False), (6, False), (7, True), (2, True)]:
        used[0] = taken * GIB
        assert limit.is_exceeded() == exceeded
    used[0] = 9 * GIB
    assert not MemoryLimit(0.5).is_exceeded()


def test_the_system_is_not_asked_each_time(used, monkeypatch):
    """It takes longer than to look at the clock."""
    monkeypatch.setattr(memory, "_EVERY", 3600.0)
    limit = MemoryLimit(0.5)
    used[0] = 9 * GIB
    assert not limit.is_exceeded()


def test_a_machine_that_does_not_say_what_it_has_sets_no_limit(used, monkeypatch):
    """Where nothing is known, nothing is exceeded."""
    monkeypatch.setattr(memory, "_total", lambda: None)
    used[0] = 100 * GIB
    assert not MemoryLimit(0.5).is_exceeded()


def test_what_is_allocated_is_counted():
    """By the system's own count: half a GiB that is written to, and given back."""
    before = memory.used()
    block = np.ones(GIB // 16)
    during = memory.used()
    assert during - before > 0.9 * block.nbytes
    del block
    gc.collect()


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="no /proc")
def test_processes_that_work_for_this_one_count(monkeypatch):
    """While they are there."""
    code = "x = bytearray(b'1') * 200_000_000; print(1, flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        child.stdout.readline()
        without = memory.used()
        monkeypatch.setattr(memory, "counted", {child.pid})
        assert memory.used() - without > 100_000_000
        child.communicate(b"\n")
    assert memory._resident(child.pid) == 0


@pytest.mark.parametrize(
    ("listed", "limits", "found"),
    [
        ("0::/a/b\n", {"a/b/memory.max": "max", "a/memory.max": "70", "memory.max": "90"}, 70),
        ("4:memory:/a\n0::/\n", {"memory/a/memory.limit_in_bytes": "50"}, 50),
        ("4:memory:/not/seen/here\n", {"memory/memory.limit_in_bytes": "60"}, 60),
        ("3:cpuset:/a\n", {"memory.max": "10"}, None),
    ],
)
def test_limits_of_control_groups(tmp_path, listed, limits, found):
    """The least of the process's own group and those above, in either version."""
    (tmp_path / "listed").write_text(listed)
    for path, limit in limits.items():
        file = tmp_path / "root" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{limit}\n")
    known = memory._group_limits(str(tmp_path / "listed"), str(tmp_path / "root"))
    assert min(known, default=None) == found


def test_a_solve_that_takes_too_much_returns_its_best(used):
    """Verified, and marked."""
    found = ends(lambda: schedule.solve(CHAIN, "100%", Grows(used), time_limit=3600))
    assert (found.status, found.out_of_memory, found.interrupted) == (Status.FEASIBLE, True, True)
    assert schedule.verify(CHAIN, found.schedule, found.budget).compute == found.compute
    assert 8.4 * GIB < used[0] < 8.5 * GIB


def test_a_larger_share_is_more(used):
    """Here all there is."""
    ends(lambda: schedule.solve(CHAIN, "100%", Grows(used), time_limit=3600, memory_share=1))
    assert 10 * GIB < used[0] < 10.1 * GIB


def test_what_has_found_nothing_raises(used):
    """As where memory runs out: no status would be true."""
    with pytest.raises(MemoryError, match=r"took 0.8 of the memory .* before there was any"):
        ends(lambda: schedule.solve(CHAIN, "50%", Grows(used, finds=False), time_limit=3600))


def test_what_is_optimal_was_not_cut_short(used):
    """However much was taken."""

    class Proves(Grows):
        def improve(self, problem, incumbent, deadline):
            SOLVERS["store_all"].improve(problem, incumbent, deadline)
            return super().improve(problem, incumbent, deadline)

    found = ends(lambda: schedule.solve(CHAIN, "100%", Proves(used), time_limit=3600))
    assert (found.status, found.out_of_memory) == (Status.OPTIMAL, False)


def test_the_command_prints_the_best(folder, monkeypatch, used):  # noqa: F811
    """And the status says that what was asked for wasn't done."""
    monkeypatch.setattr("schedule.planner.solver_of", lambda _: Grows(used))
    args = ["solve", "chain.json", "--budget", "100%", "--memory-share", "0.5", "--json"]
    status, out, err = run(*args)
    assert (status, err) == (2, f"schedule: {OUT_OF_MEMORY}; this is the best that was found\n")
    assert json.loads(out)["out_of_memory"]
    assert 6 * GIB < used[0] < 6.1 * GIB
