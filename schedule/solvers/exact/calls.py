"""Calls into compiled solvers of others: nobody waits for one much longer than to its deadline."""

from __future__ import annotations

import atexit
import ctypes
import os
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Generic, Protocol, TypeVar

from schedule.solvers.contract import Deadline

#: How often the thread that waits looks at its deadline, in seconds: Ctrl-C is seen this soon.
_BEAT = 0.05
#: The seconds that a call has to end in, once it was told to, and all calls at the exit.
_PATIENCE = 0.25
_AT_EXIT = 0.3

Found_co = TypeVar("Found_co", covariant=True)
T = TypeVar("T")


class Work(Protocol[Found_co]):
    """What runs in C++."""

    def run(self) -> Found_co:
        """Do it; in a thread of its own."""

    def stop(self) -> None:
        """Have it end early, if it can be told; from another thread, and more than once."""

    def leave(self) -> None:
        """Do what can be done where it doesn't end: its answer isn't needed any more."""

    def mute(self) -> None:
        """Have it call Python no more, which is about to end."""


class Call(Generic[T]):
    """One call, in a thread of its own, and what it reports meanwhile.

    Attributes
    ----------
    left
        Whether it was left behind, as it didn't end in time.
    """

    def __init__(self) -> None:
        self.left = self._is_cut_off = False
        self._error: BaseException | None = None
        self._found: T | None = None
        self._done = threading.Event()

    def reports(self, report: Callable[[], object]) -> None:
        """Do something that the call reports, unless nobody waits for it any more.

        An exception ends the call, and is raised by `answer`: it must not cross the C++.
        """
        if self.left or self._error is not None:
            return
        try:
            report()
        except BaseException as error:  # noqa: BLE001 - raised again by who waits
            self._error = error

    def answer(self, work: Work[T], deadline: Deadline) -> T | None:
        """What the work returns or raises; None: it didn't end, and was left behind.

        Raises
        ------
        KeyboardInterrupt
            Ctrl-C was pressed meanwhile; the work was ended, or left behind.
        """

        def go() -> None:
            try:
                self._found = work.run()
            except BaseException as error:  # noqa: BLE001 - raised again by who waits
                if not self.left:  # where it was, this is how it was ended
                    self._error = self._error or error
            finally:
                _running.pop(self, None)
                if not self._is_cut_off:
                    self._done.set()

        def is_over() -> bool:
            # Work has limits of its own, met at the same place each time: this thread isn't.
            clock = deadline.clock
            return clock.is_stopped if clock.counts_work else deadline.passed

        if _leaving.is_set() and threading.current_thread() is not threading.main_thread():
            threading.Event().wait()  # a thread that won't get any further
        _running[self] = work
        # An event of our own: Thread.join, interrupted, takes the thread for ended.
        thread = threading.Thread(target=go, daemon=True)
        try:
            try:
                thread.start()
            except Exception:  # there is no memory for it
                _running.pop(self, None)
                self._done.set()
                raise
            while not self._done.wait(_BEAT):
                if self._error is not None or is_over():
                    break
        finally:
            self._end(work)
        if self._error is not None:
            raise self._error
        return None if self.left else self._found

    def _end(self, work: Work[T]) -> None:
        """Have it end; where it doesn't, leave it behind."""
        until = time.monotonic() + _PATIENCE
        try:
            # Told once, it may not have heard: it may have begun only now.
            while not self._done.is_set() and time.monotonic() < until:
                work.stop()
                self._done.wait(_BEAT)
        finally:
            if not self._done.is_set():
                self.left = True
                work.leave()

    def cut_off(self, work: Work[T]) -> None:
        """Leave it behind at the exit: who waits for it is not to hear of that."""
        self._is_cut_off = True
        work.leave()
        work.mute()


#: All that runs now, and whether the interpreter is on its way out.
_running: dict[Call[Any], Work[Any]] = {}
_leaving = threading.Event()


def _end_all() -> None:
    """At the exit: C++ that calls Python later, or returns to it, would crash the process."""
    _leaving.set()
    until = time.monotonic() + _AT_EXIT
    while _running and time.monotonic() < until:
        for work in tuple(_running.values()):
            work.stop()
        time.sleep(_BEAT / 10)
    for call, work in tuple(_running.items()):
        call.cut_off(work)
    if _running:
        _park()
        time.sleep(_BEAT)  # who was about to call Python has done so


def _park() -> None:
    """Have a thread wait forever that comes back to Python while that ends.

    Until CPython 3.14, which does so itself, such a thread is ended. Where glibc unwinds frames
    of C++ for that, these have none of it, and terminate the process: with an abort instead of
    the status that it ends with.
    """
    if sys.platform == "linux" and sys.version_info < (3, 14):
        with suppress(OSError, AttributeError):  # another C library: nothing is unwound
            pause = ctypes.cast(ctypes.CDLL(None).pause, ctypes.c_void_p)
            ctypes.CDLL("libstdc++.so.6")._ZSt13set_terminatePFvvE(pause)  # std::set_terminate


atexit.register(_end_all)
if hasattr(os, "register_at_fork"):  # a fork has none of the threads
    os.register_at_fork(after_in_child=_running.clear)
