"""Parts of compiled code, made so that Python can call them."""

from __future__ import annotations

from typing import Any

from schedule.solvers.kit.compiled import jit


def whole(part: Any) -> Any:
    """The same function, compiled with all that it calls."""
    return jit(part.py_func)
