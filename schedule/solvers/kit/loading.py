"""Compiled code, loaded beside the solve: a time limit or Ctrl-C needn't wait for a compiler.

Numba compiles a function at its first call on a machine, which takes tens of
seconds for all of them, and loads it from its cache later, in less than one.
"""

from __future__ import annotations

import atexit
import math
import threading
import time
from collections.abc import Callable

from schedule.solvers.contract import Deadline, Incumbent

#: How often a waiting thread looks at the clock, in seconds.
_BEAT = 0.02
#: The seconds that loading takes at most; a caller that can go on without waits no longer.
PATIENCE = 2.0
_NOTE = "compiling, once on this machine"
#: The interpreter is on its way out: nothing new is compiled.
_leaving = threading.Event()


class Leaving(BaseException):
    """Not compiled, as the interpreter is on its way out."""


def go_on() -> None:
    """Called before each function is compiled or loaded.

    Raises
    ------
    Leaving
        Nothing is compiled any more.
    """
    if _leaving.is_set():
        raise Leaving


class _Attempt:
    """A thread that loads, from now on; daemon, so that an exit needn't wait for all of it."""

    def __init__(self, load: Callable[[], None]) -> None:
        self._load = load
        self.began = time.monotonic()
        self.done = threading.Event()
        self.error: BaseException | None = None
        # It may fail to start; then there is nothing to wait for, now or at the exit.
        threading.Thread(target=self._work, daemon=True).start()
        atexit.register(self._leave)

    def _leave(self) -> None:
        # LLVM's destructors run at the exit, and crash what it is compiling then.
        _leaving.set()
        self.done.wait()

    def _work(self) -> None:
        try:
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
    """

    def __init__(self, load: Callable[[], None]) -> None:
        self._load = load
        self._lock = threading.Lock()
        self._attempt: _Attempt | None = None

    def wait(self, incumbent: Incumbent, deadline: Deadline, patience: float = math.inf) -> bool:
        """Have it ready; False: it isn't, `patience` seconds after it was first asked for.

        Nor is it where the deadline has passed. An error is raised in all threads that
        wait, and the next call tries again: there may be more memory then.
        """
        with self._lock:
            if self._attempt is None or self._attempt.error is not None:
                self._attempt = _Attempt(self._load)
            attempt = self._attempt
        until = attempt.began + patience
        if not attempt.done.wait(_BEAT):
            incumbent.say(_NOTE)
            while not attempt.done.wait(_BEAT):
                if deadline.passed or time.monotonic() >= until:
                    break
            incumbent.say("")
        if attempt.error is not None:
            raise attempt.error
        return attempt.done.is_set()
