"""Ctrl-C while compiled code runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from schedule.errors import is_interrupt


@contextmanager
def interrupts() -> Iterator[None]:
    """Inside, Ctrl-C is a `KeyboardInterrupt`, whatever was at work.

    Where a compiled function returns a tuple with arrays, Python code of Numba's takes part
    in making it. A Ctrl-C that came while the function ran is noticed there, and the
    interpreter, which expects no exception from it, makes a `SystemError` of that. An
    extension module that is being loaded makes an `ImportError` of it.
    """
    try:
        yield
    except (SystemError, ImportError) as error:
        if is_interrupt(error):
            raise KeyboardInterrupt from error
        raise
