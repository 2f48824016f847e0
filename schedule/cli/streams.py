"""Standard output and standard error: what they can show."""

from __future__ import annotations

import io
import os
import sys
from typing import TextIO

from schedule.display import LOOKALIKE

_ASCII_LOCALES = ("C", "POSIX")


def prepare_streams() -> None:
    """Have the standard streams show what they can, and no traceback where they can't.

    In the locales C and POSIX that is ASCII, though Python takes them for UTF-8
    (PEP 538 and 540), unless one of its own variables says what is to be written.

    One that is closed is opened, lest a file get its number, and what libraries print:
    writing to standard output fails, and what is said on standard error is lost. One that is
    unbuffered (PYTHONUNBUFFERED, as in many containers) gets a buffer: without one, Python loses
    what a full disk doesn't take, and says nothing.
    """
    if sys.stdout is None:
        sys.stdout = _opened(1, os.O_RDONLY)
    if sys.stderr is None:
        sys.stderr = _opened(2, os.O_WRONLY)
    raw = getattr(sys.stdout, "buffer", None)
    if isinstance(raw, io.RawIOBase):
        sys.stdout = io.TextIOWrapper(io.BufferedWriter(raw), line_buffering=True)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(encoding="ascii" if _is_ascii() else None, errors=LOOKALIKE)


def _opened(number: int, how: int) -> TextIO:
    """A stream on a file descriptor, to which nothing goes."""
    nowhere = os.open(os.devnull, how)
    if nowhere != number:
        os.dup2(nowhere, number)
        os.close(nowhere)
    return open(number, "w", closefd=False)


def _is_ascii() -> bool:
    """Whether the environment asks for a locale that has nothing but ASCII."""
    if os.environ.get("PYTHONIOENCODING") or os.environ.get("PYTHONUTF8") == "1":
        return False
    everything = os.environ.get("LC_ALL", "")
    if everything:
        return everything in _ASCII_LOCALES
    # Where the locale is C Python sets LC_CTYPE to this, for its child processes, too.
    letters = os.environ.get("LC_CTYPE", "")
    if letters not in ("", "C.UTF-8", "C.utf8", "UTF-8"):
        return letters in _ASCII_LOCALES
    return os.environ.get("LANG", "") in _ASCII_LOCALES
