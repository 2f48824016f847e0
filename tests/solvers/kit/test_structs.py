"""Structs: what compiled code reads and writes through an address is what Python has."""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys
import threading
import types
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from schedule.layout import Bools, Floats, Ints
from schedule.solvers.kit.compiled import jit, part
from schedule.solvers.kit.randomness import Words
from schedule.solvers.kit.sorting import sort_by
from schedule.solvers.kit.structs import Field, Struct, _field


class Inner(Struct):
    numbers: Ints
    scale: float = 2.0


class Outer(Struct):
    flags: Bools
    reals: Floats
    words: Words
    table: Ints
    inner: Inner
    count: int
    is_on: bool


class Sorted(Struct):
    keys: Floats
    items: Ints


@part
def _scaled(inner: Inner, at: int) -> float:
    return inner.numbers[at] * inner.scale


@jit
def total(outer: Outer) -> float:
    """The sum of all there is."""
    found = outer.count + (100.0 if outer.is_on else 0.0)
    for at in range(len(outer.flags)):
        found += 1.0 if outer.flags[at] else 0.0
    for at in range(len(outer.reals)):
        found += outer.reals[at]
    for at in range(len(outer.words)):
        found += float(outer.words[at])
    for row in range(len(outer.table)):
        line = outer.table[row]
        for column in range(len(line)):
            found += line[column] * outer.table[row, column]
    for at in range(len(outer.inner.numbers)):
        found += _scaled(outer.inner, at)
    return found


@jit
def sum_of(inner: Inner) -> float:
    """The sum of its numbers."""
    found = 0.0
    for at in range(len(inner.numbers)):
        found += _scaled(inner, at)
    return found


@jit
def mark(outer: Outer, at: int) -> None:
    """Write an element of each."""
    outer.flags[at] = not outer.flags[at]
    outer.reals[at] += 1.5
    outer.words[at] ^= np.uint64(1)
    outer.table[at, 0] = -7
    outer.inner.numbers[at] -= 2


@jit
def sort_all(given: Sorted) -> None:
    """Sort the items by their keys."""
    sort_by(given.keys, given.items, len(given.items))


SMALL = st.integers(-(2**20), 2**20)


@st.composite
def outers(draw) -> Outer:
    """Any, of a few elements each."""
    n, columns = draw(st.integers(1, 4)), draw(st.integers(1, 3))
    return Outer(
        flags=draw(arrays(np.bool_, n)),
        reals=draw(arrays(np.float64, n, elements=SMALL)),
        words=draw(arrays(np.uint64, n, elements=st.integers(0, 2**20))),
        table=draw(arrays(np.int64, (n, columns), elements=st.integers(-1000, 1000))),
        inner=Inner(draw(arrays(np.int64, n, elements=SMALL))),
        count=draw(SMALL),
        is_on=draw(st.booleans()),
    )


def outer_of_one() -> Outer:
    """Nothing but zeros, one each."""
    words, table = np.zeros(1, np.uint64), np.zeros((1, 1), np.int64)
    inner = Inner(np.zeros(1, np.int64))
    return Outer(np.zeros(1, np.bool_), np.zeros(1), words, table, inner, 0, False)


def expected(outer):
    """The same sum by NumPy."""
    sums = outer.flags.sum(), outer.reals.sum(), float(outer.words.sum()), (outer.table**2).sum()
    return (
        sum(sums) + outer.inner.scale * outer.inner.numbers.sum() + outer.count + 100 * outer.is_on
    )


@given(outers())
def test_compiled_code_reads_every_kind_of_field(outer):
    """Also of a copy, and of what comes out of a pickle: their arrays are elsewhere."""
    for each in (outer, copy.deepcopy(outer), copy.copy(outer), pickle.loads(pickle.dumps(outer))):
        assert total(each) == expected(outer)


@given(outers(), st.data())
def test_compiled_code_writes_into_the_arrays(outer, data):
    """One element of each, and no other; the copy stays as it was."""
    at = data.draw(st.integers(0, len(outer.flags) - 1))
    before = copy.deepcopy(outer)
    mark(outer, at)
    others = np.arange(len(outer.flags)) != at
    assert outer.flags[at] != before.flags[at]
    assert outer.reals[at] == before.reals[at] + 1.5
    assert outer.words[at] == before.words[at] ^ np.uint64(1)
    assert outer.table[at, 0] == -7
    assert np.array_equal(outer.table[at, 1:], before.table[at, 1:])
    assert outer.inner.numbers[at] == before.inner.numbers[at] - 2
    for name in ("flags", "reals", "words", "table"):
        assert np.array_equal(getattr(outer, name)[others], getattr(before, name)[others])


@pytest.mark.parametrize(
    "wrong",
    [np.arange(3, dtype=np.int32), np.arange(3.0), np.arange(6)[::2], np.arange(3) > 1],
    ids=["int32", "float", "strided", "bool"],
)
def test_an_array_of_another_kind_is_refused(wrong):
    """Its bytes would be read as something else."""
    with pytest.raises(TypeError, match=r"Inner\.numbers has to be a contiguous array of int64"):
        sum_of(Inner(wrong))


def test_threads_make_one_table():
    """Of a struct that all of them are the first to use: an address outlives no table."""
    for _ in range(50):
        outer, start = outer_of_one(), threading.Barrier(8)

        def use(outer=outer, start=start):
            start.wait()
            return outer.table_address

        with ThreadPoolExecutor(8) as pool:
            addresses = {each.result() for each in [pool.submit(use) for _ in range(8)]}
        assert addresses == {outer._kept[0].ctypes.data}


def test_a_part_is_not_for_python():
    """There is no machine code of it by itself: calling it must not crash."""
    total(outer_of_one())
    with pytest.raises(TypeError, match="_scaled is a part of compiled code"):
        _scaled(Inner(np.arange(3)), 1)


def test_tests_check_indices():
    """With checks, as all tests of compiled code run: behind the end, and before the start."""
    for at in (1, -1):
        with pytest.raises(IndexError):
            mark(outer_of_one(), at)


def test_without_a_compiler_python_runs_the_same():
    """NUMBA_DISABLE_JIT, for whoever debugs: the same moves from the same random numbers."""
    code = (
        "import schedule; print(schedule.solve(schedule.example('unet'), '60%', 'greedy').status);"
        "print(schedule.solve(schedule.example('unet'), '80%', 'search', work_limit=0.05).steps)"
    )
    found = [
        subprocess.run(
            [sys.executable, "-W", "error", "-c", code],
            env=os.environ | {"NUMBA_DISABLE_JIT": disabled},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for disabled in ("0", "1")
    ]
    assert found[0] == found[1]
    assert found[0].startswith("feasible")


@given(st.lists(st.integers(0, 20), max_size=40))
def test_items_are_sorted_by_key_and_then_by_number(keys):
    """As Python's own stable sort does."""
    items = Sorted(np.array(keys, np.float64), np.arange(len(keys))[::-1].copy())
    sort_all(items)
    assert items.items.tolist() == sorted(range(len(keys)), key=lambda at: (keys[at], at))


@pytest.mark.parametrize("of", [np.int64, np.bool_, np.float64])
def test_arrays_are_known_by_the_hints_of_every_numpy(of):
    """NDArray[type] is ndarray[shape, dtype[type]], and from NumPy 2.5 on an alias by itself."""
    spelled_out = np.ndarray[tuple[int, ...], np.dtype[of]]
    alias = types.GenericAlias(list, (of,))  # what can be asked for its arguments alone
    assert _field("x", spelled_out) == _field("x", alias) == Field("x", of, True)
