"""Processes that run HiGHS: kept from one program to the next, and ended when they don't answer.

A process is the one thing in C++ that can be ended at any time. It is another
Python that runs `engine` and nothing else: nothing is forked, and no module of the
caller's is imported again. It ends with the process that started it, whatever ends
that.
"""

from __future__ import annotations

import atexit
import math
import os
import pickle
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import highspy
import numpy as np

from schedule.errors import ScheduleError
from schedule.solvers.exact import engine
from schedule.solvers.exact.engine import Arrays, Found
from schedule.solvers.kit.memory import counted

#: Runs a file with more folders to import from, those of packages, behind Python's own.
_BEGIN = (
    "import runpy, sys; sys.path += sys.argv[3:];"
    " runpy.run_path(sys.argv.pop(1), run_name='__main__')"
)
#: Libraries that NumPy loads start threads that nobody needs here.
_ONE_THREAD = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")


class NoProcessError(Exception):
    """Another process can't be had here."""


class HighsProcess:
    """One process, for one program at a time.

    Raises
    ------
    NoProcessError
        It can't be started, or doesn't get as far as to say that it is ready.
    """

    def __init__(self) -> None:
        executable = sys.executable or ""
        name = Path(executable).name.lower()
        if getattr(sys, "frozen", False) or not name.startswith(("python", "pypy")):
            raise NoProcessError("this interpreter can't be started once more")
        folders = dict.fromkeys(str(Path(str(each.__file__)).parents[1]) for each in (np, highspy))
        code = [_BEGIN, engine.__file__, str(os.getpid()), *folders]
        try:
            self._process = subprocess.Popen(
                [executable, "-I", "-S", "-c", *code],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=os.environ | _ONE_THREAD,
                start_new_session=True,  # Ctrl-C is for those who wait
                creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
            )
        except OSError as error:
            raise NoProcessError(str(error)) from error
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._in, self._out = self._process.stdin, self._process.stdout
        self._asked = 0
        self._writing = threading.Lock()
        counted.add(self._process.pid)
        with _lock:
            _all.add(self)

    @property
    def is_alive(self) -> bool:
        """Whether it can be asked for something."""
        return self._process.poll() is None

    def wait(self) -> None:
        """Wait until it is ready."""
        try:
            pickle.load(self._out)
        except (EOFError, OSError, pickle.UnpicklingError) as error:
            self.bury()
            raise NoProcessError("it doesn't run") from error

    def ask(
        self,
        program: Arrays,
        options: dict[str, object],
        start: tuple[object, object] | None,
        most_calls: float = math.inf,
    ) -> Found | None:
        """What HiGHS finds: see `engine.Engine`, and what that raises.

        Raises
        ------
        MemoryError
            The system killed it, as it does where memory runs out.
        ScheduleError
            It ended by itself: HiGHS crashed.
        """
        self._asked += 1
        try:
            with self._writing:
                self._say("run", self._asked, (program, options, start, most_calls))
            kind, content = pickle.load(self._out)
        except (EOFError, BrokenPipeError, ConnectionError, pickle.UnpicklingError) as error:
            status = self.bury()
            if status == -getattr(signal, "SIGKILL", 9):
                raise MemoryError("HiGHS's process was killed") from error
            raise ScheduleError(f"HiGHS's process ended ({status}): please report it") from error
        if kind == "error":
            raise content
        return content  # type: ignore[no-any-return]

    def stop(self) -> None:
        """Have it answer soon what it was asked last; not while that is still being sent."""
        if self._writing.acquire(blocking=False):
            with suppress(OSError, ValueError):  # it has just ended
                self._say("stop", self._asked)
            self._writing.release()

    def _say(self, *what: object) -> None:
        pickle.dump(what, self._in, protocol=5)
        self._in.flush()

    def kill(self) -> None:
        """End it at once; who waits for its answer buries it."""
        self._process.kill()

    def bury(self) -> int:
        """End it, and leave nothing behind; its exit status."""
        self._process.kill()
        status = self._process.wait()
        for pipe in (self._in, self._out):
            with suppress(OSError):  # there was something that it hadn't read
                pipe.close()
        counted.discard(self._process.pid)
        with _lock:
            _all.discard(self)
        return status

    def disown(self) -> None:
        """Forget it without a word: it is another process's, from which this one was forked."""
        self._process.returncode = 0


_lock = threading.Lock()
_idle: list[HighsProcess] = []
_all: set[HighsProcess] = set()
_is_refused = False
#: So many are kept while nothing is asked of them.
_most_idle = 2


def take() -> HighsProcess:
    """A process that is ready, kept or new.

    Raises
    ------
    NoProcessError
        There is none to be had.
    """
    global _is_refused
    while True:
        with _lock:
            found = _idle.pop() if _idle else None
        if found is None:
            break
        if found.is_alive:
            return found
        found.bury()
    if _is_refused:
        raise NoProcessError("it was refused before")
    try:
        found = HighsProcess()
        found.wait()
    except NoProcessError:
        _is_refused = True
        raise
    return found


def give_back(process: HighsProcess) -> None:
    """Keep a process that has answered, or end it where enough are kept."""
    with _lock:
        is_kept = len(_idle) < _most_idle
        if is_kept:
            _idle.append(process)
    if not is_kept:
        process.bury()


def end_idle() -> None:
    """End the processes that are kept."""
    while _idle:
        _idle.pop().bury()


@atexit.register
def _keep_none() -> None:
    """At the exit: those at work end when they have answered, or with this process."""
    global _most_idle
    _most_idle = 0
    end_idle()


def _forget() -> None:
    """After a fork: all that was started is the parent's."""
    global _lock
    _lock = threading.Lock()
    for process in _all:
        process.disown()
        counted.discard(process._process.pid)
    _idle.clear()
    _all.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
