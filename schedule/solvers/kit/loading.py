"""Compiled code, loaded beside the solve: a time limit or Ctrl-C needn't wait for a compiler.

Numba compiles a function at its first call on a machine, which takes some ten
seconds for all of them, and loads it from its cache later, in less than one.
"""

from __future__ import annotations

import atexit
import importlib
import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from schedule.log import LOG
from schedule.solvers.contract import Clock, Deadline, Incumbent

#: How often a waiting thread looks at the clock, in seconds.
_BEAT = 0.02
#: The seconds that loading takes at most; a caller that can go on without waits no longer.
PATIENCE = 2.0
NOTE = "compiling, once on this machine"
#: The interpreter is on its way out: nothing new is compiled.
_leaving = threading.Event()
#: Which attempt a thread is.
_here = threading.local()


class Leaving(BaseException):
    """Not compiled, as the interpreter is on its way out."""


def go_on(compiles: bool = False) -> None:
    """Called before each function is compiled or loaded.

    Raises
    ------
    Leaving
        Nothing is compiled any more.
    """
    if _leaving.is_set():
        raise Leaving
    attempt: _Attempt | None = getattr(_here, "attempt", None)
    if compiles and attempt is not None:
        attempt.compiles = True


class _Queue:
    """One part is loaded at a time, and of those that wait the one of least rank.

    Two at once would both be ready late, as Numba compiles one function at a time.
    """

    def __init__(self) -> None:
        self._waiting: list[int] = []
        self._changed = threading.Condition()
        self._loaded: _Attempt | None = None

    @contextmanager
    def turn(self, attempt: _Attempt, rank: int) -> Iterator[None]:
        """Inside, nothing else is loaded."""
        with self._changed:
            self._waiting.append(rank)
            self._changed.wait_for(lambda: self._loaded is None and rank == min(self._waiting))
            self._waiting.remove(rank)
            self._loaded = attempt
        try:
            yield
        finally:
            with self._changed:
                self._loaded = None
                self._changed.notify_all()

    @property
    def compiles(self) -> bool:
        """Whether what is loaded now has to be compiled."""
        loaded = self._loaded
        return loaded is not None and loaded.compiles


_queue = _Queue()


class _Attempt:
    """A thread that loads, from now on; daemon, so that an exit needn't wait for all of it."""

    def __init__(self, load: Callable[[], None], rank: int) -> None:
        self._load, self._rank = load, rank
        self.began = time.monotonic()
        self.done = threading.Event()
        self.compiles = False  # so far
        self.error: BaseException | None = None
        # It may fail to start; then there is nothing to wait for, now or at the exit.
        threading.Thread(target=self._work, daemon=True).start()
        atexit.register(self._leave)

    def _leave(self) -> None:
        # LLVM's destructors run at the exit, and crash what it is compiling then.
        _leaving.set()
        self.done.wait()

    def _work(self) -> None:
        _here.attempt = self
        try:
            with _queue.turn(self, self._rank):
                go_on()
                self._load()
        except BaseException as error:  # noqa: BLE001 - raised again by who waits
            self.error = error
        finally:
            self.done.set()


class Loading:
    """One part of the compiled code: a thread of its own has it ready.

    Parameters
    ----------
    load
        Calls everything in it once.
    rank
        Of parts that wait to be loaded the one of least rank is next: what helps most.
    """

    def __init__(self, load: Callable[[], None], rank: int = 0) -> None:
        self._load, self.rank = load, rank
        self._lock = threading.Lock()
        self._attempt: _Attempt | None = None

    def is_of(self, package: str) -> bool:
        """Whether it is the part of that package, which may import others."""
        return self._load.__module__ == package

    def __reduce__(self) -> tuple[Any, ...]:
        # A solver that is sent to another process takes what is loaded there.
        return _part_of, (self._load.__module__,)

    @property
    def is_ready(self) -> bool:
        """Whether it is loaded."""
        attempt = self._attempt
        return attempt is not None and attempt.done.is_set() and attempt.error is None

    def counts_as_ready(self, clock: Clock) -> bool:
        """Whether it is loaded; where work is counted it always is: it is waited for."""
        return clock.counts_work or self.is_ready

    def begin(self) -> _Attempt:
        """Have it loaded from now on, if it isn't yet; an error lets the next call try again."""
        with self._lock:
            if self._attempt is None or self._attempt.error is not None:
                self._attempt = _Attempt(self._load, self.rank)
            return self._attempt

    def wait(self, incumbent: Incumbent, deadline: Deadline, patience: float = math.inf) -> bool:
        """Have it ready; False: it isn't, `patience` seconds after it was first asked for.

        Nor is it where the deadline has passed. Where work is counted, loading is none, and
        is waited for: what a solve does must not depend on when it is over. An error is
        raised in all threads that wait, and the next call tries again: there may be more
        memory then.
        """
        if deadline.clock.counts_work:
            if deadline.passed:
                return False
            patience = math.inf
        attempt = self.begin()
        until = attempt.began + patience

        def is_over() -> bool:
            return attempt.done.wait(_BEAT) or deadline.passed or time.monotonic() >= until

        while not is_over():
            if attempt.compiles or _queue.compiles:  # it may wait for its turn
                LOG.info("%s: %s", self._load.__module__, NOTE)
                with incumbent.compiling():
                    incumbent.say(NOTE)
                    while not is_over():
                        pass
                    incumbent.say("")
                break
        if attempt.error is not None:
            raise attempt.error
        return attempt.done.is_set()


def _part_of(package: str) -> Loading:
    """The part of the compiled code that a package has."""
    values = vars(importlib.import_module(package)).values()
    return next(value for value in values if isinstance(value, Loading) and value.is_of(package))
