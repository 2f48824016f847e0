"""What is compiled is kept on disk, right also where several processes compile at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import weakref
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedule.solvers.kit.compiled import jit
from schedule.solvers.kit.interrupts import interrupts
from tests import ROOT
from tests.formats import FILES_ARE_CHECKED

pytestmark = FILES_ARE_CHECKED

#: Doubles arrays of all kinds, in the order told, once so many processes are there.
WORKER = """
import sys, time
from pathlib import Path
import numpy as np
from double import double

write = Path.write_bytes

def write_and_rest(self, content):
    write(self, content)
    time.sleep(0.25)  # while others do what they like

Path.write_bytes = write_and_rest
count, names = int(sys.argv[1]), sys.argv[2:]
Path(f"ready-{names[0]}").touch()
while len(list(Path().glob("ready-*"))) < count:
    time.sleep(0.001)
for name in names:
    assert double(np.arange(3).astype(name)).tolist() == [0, 2, 4], name
print(sum(double.stats.cache_hits.values()))
"""
DOUBLE = """
from schedule.solvers.kit.compiled import jit

@jit
def double(a):
    for i in range(len(a)):
        a[i] += a[i]
    return a
"""
FACTOR = """
from schedule.solvers.kit.compiled import jit

@jit
def factor():
    return {}
"""
KINDS = ["float64", "float32", "int64", "int32", "int16", "complex128"]


def at_once(folder: Path, *orders: list[str]) -> list[int]:
    """How many kinds each of several processes found compiled on the disk."""
    for old in folder.glob("ready-*"):
        old.unlink()
    path = os.pathsep.join([str(folder), str(ROOT)])
    workers = [
        subprocess.Popen(
            [sys.executable, "worker.py", str(len(orders)), *order],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": path, "NUMBA_CACHE_DIR": str(folder / "kept")},
            stdout=subprocess.PIPE,
            text=True,
        )
        for order in orders
    ]
    printed = [worker.communicate(timeout=120)[0] for worker in workers]
    assert [worker.returncode for worker in workers] == [0] * len(orders)
    return [int(text) for text in printed]


def test_processes_that_compile_at_once_keep_the_right_code(tmp_path):
    """All of it is there for the next process, each kind of array with its own.

    Numba alone lets two processes write the code of different kinds to one file.
    """
    (tmp_path / "double.py").write_text(DOUBLE)
    (tmp_path / "worker.py").write_text(WORKER)
    at_once(tmp_path, KINDS, KINDS[2:] + KINDS[:2], KINDS[4:] + KINDS[:4])
    assert at_once(tmp_path, KINDS) == [len(KINDS)]


def test_what_calls_changed_code_is_compiled_again(tmp_path):
    """Another file is enough: code that is called becomes part of what calls it."""
    (tmp_path / "factor.py").write_text(FACTOR.format(3))
    (tmp_path / "double.py").write_text(
        "from factor import factor\n" + DOUBLE.replace("a[i] += a[i]", "a[i] *= factor()")
    )
    (tmp_path / "worker.py").write_text(WORKER.replace("[0, 2, 4]", "[0, 3, 6]"))
    assert at_once(tmp_path, KINDS[:1]) == [0]
    assert at_once(tmp_path, KINDS[:1]) == [1]
    (tmp_path / "factor.py").write_text(FACTOR.format(10))
    (tmp_path / "worker.py").write_text(WORKER.replace("[0, 2, 4]", "[0, 10, 20]"))
    assert at_once(tmp_path, KINDS[:1]) == [0]


@jit
def busy(turns):
    """Some time later, a tuple with an array."""
    sums = np.zeros(3)
    for turn in range(turns):
        sums[turn % 3] += np.sin(turn)
    return sums, turns


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="the system has no such timer")
@jit
def _last_of(first, second, count):
    """One of two arrays, by way of a loop that may end early."""
    held = first
    for step in range(count):
        held = second if step % 2 == 0 else first
        if step == 6:
            return held
    return held


@given(st.lists(st.integers(0, 9), max_size=4))
def test_arrays_that_compiled_code_holds_are_given_back(counts):
    first, second = np.zeros(3), np.ones(3)
    gone = weakref.ref(first), weakref.ref(second)
    for count in counts:
        assert _last_of(first, second, count) is _last_of.py_func(first, second, count)
    del first, second
    assert [reference() for reference in gone] == [None, None]


def test_ctrl_c_is_one_while_compiled_code_runs():
    """Also where Numba's own Python code, which makes the tuple, is what notices it."""

    def ctrl_c(*_):
        raise KeyboardInterrupt

    @interrupts()
    def interrupted():
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        busy(30_000_000)
        time.sleep(10)

    busy(1)
    before = signal.signal(signal.SIGALRM, ctrl_c)
    try:
        with pytest.raises(KeyboardInterrupt):
            interrupted()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_other_errors_of_the_interpreter_stay_what_they_are():
    """With their causes."""
    with pytest.raises(SystemError, match="odd") as raised, interrupts():
        raise SystemError("odd") from ValueError("why")
    assert isinstance(raised.value.__cause__, ValueError)
