"""What Inductor simplifies of indices: the same as before, once."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")

import sympy

from schedule.torch.indexing import simplified_once


def test_an_index_is_simplified_once(monkeypatch):
    """However many others were since, and for whichever variable; as sympy does it."""
    from torch._inductor import sizevars

    usual, asked = sympy.simplify, []

    def simplify(index):
        asked.append(index)
        return usual(index)

    monkeypatch.setattr(sympy, "simplify", simplify)
    x, y = sympy.symbols("x y", integer=True, nonnegative=True)
    indices = [at * x + y for at in range(2, 132)]
    strides = [sizevars.stride_at_vec_range(index, x, 16) for index in indices]
    for cached in (sizevars.stride_at_vec_range, sizevars.simplify_index_in_vec_range):
        cached.cache_clear()
    del asked[:]
    with simplified_once():
        for _ in range(2):
            found = [sizevars.stride_at_vec_range(index, x, 16) for index in indices]
            assert found == strides
    assert len(asked) == len(set(asked)) >= len(indices)
    assert sizevars.sympy is sympy
