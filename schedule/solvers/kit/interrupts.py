"""Ctrl-C while compiled code runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def interrupts() -> Iterator[None]:
    """Inside, Ctrl-C is a `KeyboardInterrupt`, whatever was at work.

    Where a compiled function returns a tuple with arrays, Python code of Numba's takes part
    in making it. A Ctrl-C that came while the function ran is noticed there, and the
    interpreter, which expects no exception from it, makes a `SystemError` of that.
    """
    try:
        yield
    except SystemError as error:
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, KeyboardInterrupt):
                raise KeyboardInterrupt from error
            cause = cause.__cause__ or cause.__context__
        raise
