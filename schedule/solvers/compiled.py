"""How functions are compiled: by Numba, without the GIL, kept on disk where that is possible."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

import numba

F = TypeVar("F", bound=Callable[..., object])


def jit(function: F) -> F:
    """Compile a function at its first call, or load what an earlier process compiled."""
    try:
        made = numba.njit(cache=True, nogil=True)(function)
    except RuntimeError:  # neither the package's directory nor the user's cache can be written
        made = numba.njit(nogil=True)(function)
    return cast(F, made)
