"""How tasks get to an executor, and the graph to where they run: once, not once a task."""

from __future__ import annotations

import math
import os
import pickle
import tempfile
import time
import zlib
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from schedule.budgets.solving import Failure, Task, run
from schedule.errors import BadOutput, ScheduleError
from schedule.files import path_text, reason
from schedule.frontends.files import read, write
from schedule.graph import Graph
from schedule.result import Result
from schedule.solvers import Progress

#: The graph's file in a directory of schedules.
GRAPH = "graph.json.gz"
#: Graphs that a process keeps at hand.
_KEPT = 16
#: How often another process looks whether the sweep goes on, in seconds.
_BEAT = 0.05

Said = Callable[[int, Progress], None]


@dataclass(frozen=True, slots=True)
class Parcel:
    """A graph that lies in a file: it travels by name, and is read once by each process."""

    path: str
    digest: str
    open_folder: str  # it goes when the sweep ends, the folder that it is in with the process


class _Open:
    """Whether a sweep in another process goes on, as its folder says, looked at now and then."""

    def __init__(self, folder: str) -> None:
        self._folder, self._looked = folder, -math.inf
        self._is_here = os.path.isdir(os.path.dirname(folder))  # else it is on another machine
        self._is_over = False

    def is_over(self) -> bool:
        """Whether the folder is no more: it may have gone before anybody began here."""
        now = time.monotonic()
        if self._is_here and now - self._looked > _BEAT:
            self._looked, self._is_over = now, not os.path.isdir(self._folder)
        return self._is_over


@cache
def _kept() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory("-sweeps", ignore_cleanup_errors=True)


def _of_this_process() -> str:
    """The folder with those of all sweeps that go on; it is there until this process ends."""
    if not os.path.isdir(_kept().name):  # cleaned away
        _kept.cache_clear()
    return _kept().name


@lru_cache(maxsize=_KEPT)
def _opened(parcel: Parcel) -> Graph:
    graph = read(parcel.path)
    if graph.digest != parcel.digest:
        raise ScheduleError(f"{parcel.path}: is no longer the graph that this sweep began with")
    return graph


def _unpacked(data: bytes) -> Graph:
    """The graph on a Dask worker."""
    graph: Graph = pickle.loads(zlib.decompress(data))
    return graph


def _run_elsewhere(task: Task, graph: Graph | Parcel) -> Result | Failure:
    """A task in another process; there is nobody to tell of its progress."""
    if isinstance(graph, Parcel):
        try:
            is_over = _Open(graph.open_folder).is_over
            return run(_opened(graph), task, is_over)
        except ScheduleError as error:
            return Failure(error)
    return run(graph, task)


class Delivery:
    """Sends tasks to an executor.

    Threads share the graph's object. Dask gets it as the result of a task of its
    own, on which the solves depend: the scheduler has it once, each worker
    fetches it from another, and where it is lost it is made again. For any other
    executor it is written to a file that the workers read, each once: in the
    sweep's directory where it has one (then a shared file system is enough for
    workers on other machines), else in a temporary one. Another folder is there as long
    as the sweep goes on: without it solves on this machine end.

    Parameters
    ----------
    graph
        The graph of all tasks.
    executor
        Where they run; None: in threads that are made here.
    threads
        How many of them.
    directory
        Where `graph.json.gz` lies, if anywhere.
    stopped
        Asked by solves in threads: whether to end before their time.
    said
        Told by solves in threads what they have found.
    """

    def __init__(
        self,
        graph: Graph,
        executor: Executor | None,
        threads: int,
        directory: Path | None,
        stopped: Callable[[], bool],
        said: Said,
    ) -> None:
        self._graph, self._directory = graph, directory
        self._stopped, self._said = stopped, said
        self._own = ThreadPoolExecutor(threads, "sweep") if executor is None else None
        self._executor: Executor = executor or self._own  # type: ignore[assignment]
        # What Dask's Client.get_executor() gives has no public way back to its client.
        client = getattr(self._executor, "_client", None)
        self._client: Any = client if hasattr(client, "nthreads") else None
        self._stack = ExitStack()
        self._parcel: Any = None
        self._open: tempfile.TemporaryDirectory[str] | None = None

    @property
    def width(self) -> int | None:
        """How many tasks run at once; None: the executor doesn't say."""
        if self._client is not None:
            return sum(self._client.nthreads().values()) or None
        width: int | None = getattr(self._executor, "_max_workers", None)
        return width

    @property
    def is_closed(self) -> bool:
        """Whether the executor's client has given up its cluster, and all that runs there."""
        return self._client is not None and self._client.status in ("closing", "closed")

    def __enter__(self) -> Self:
        """Get the graph on its way."""
        if self._client is not None:
            data = zlib.compress(pickle.dumps(self._graph), 1)
            self._parcel = self._client.submit(_unpacked, data)
        elif not isinstance(self._executor, ThreadPoolExecutor):
            self._parcel = self._packed()
        return self

    def _packed(self) -> Parcel:
        folder = self._directory
        try:
            self._open = tempfile.TemporaryDirectory(
                dir=_of_this_process(), ignore_cleanup_errors=True
            )
            if folder is None:
                folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory("-sweep")))
        except OSError as error:
            raise BadOutput(
                f"no temporary directory for the graph: {reason(error)}; give a directory"
            ) from None
        if folder != self._directory:
            write(self._graph, folder / GRAPH)
        path = path_text((folder / GRAPH).absolute())
        return Parcel(path, self._graph.digest, self._open.name)

    def stop(self) -> None:
        """Have solves in other processes of this machine end."""
        if self._open is not None:
            self._open.cleanup()

    def submit(self, task: Task) -> Future[Result | Failure]:
        """Begin a solve."""
        if self._parcel is not None:
            return self._executor.submit(_run_elsewhere, task, self._parcel)

        def tell(progress: Progress) -> None:
            self._said(task.budget, progress)

        return self._executor.submit(run, self._graph, task, self._stopped, tell)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Let go of what was made here."""
        self._parcel = None
        self.stop()
        if self._own is not None:
            self._own.shutdown(wait=False, cancel_futures=True)
        self._stack.close()
