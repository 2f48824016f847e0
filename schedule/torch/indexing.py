"""Experimental in PyTorch: what Inductor asks of indices, simplified once.

For each loop of a kernel Inductor simplifies each index, once for each variable, and
keeps the last 128 answers: of large graphs it asks all again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, lru_cache
from types import ModuleType
from typing import Any

#: Answers that are kept; each is an expression of some symbols.
_MOST = 2**14


@contextmanager
def simplified_once() -> Iterator[None]:
    """Keep what sympy simplifies for Inductor's indices; it holds its lock meanwhile."""
    from torch._inductor import sizevars

    own: Any = sizevars
    usual = own.sympy
    own.sympy = _like(usual, _kept(usual.simplify))
    try:
        yield
    finally:
        own.sympy = usual


@cache
def _kept(simplify: Callable[..., Any]) -> Callable[..., Any]:
    """The same function, which depends on nothing but the expression."""
    return lru_cache(_MOST)(simplify)


def _like(module: ModuleType, simplify: Callable[..., Any]) -> ModuleType:
    """The same module but for one function."""
    made = ModuleType(module.__name__)
    vars(made).update(vars(module), simplify=simplify)
    return made
