"""What a long solve shows on a terminal while it runs."""

from __future__ import annotations

import sys
import threading
import time
from types import TracebackType
from typing import TYPE_CHECKING, Self

from schedule.display import console_for

if TYPE_CHECKING:
    from rich.live import Live
    from rich.spinner import Spinner

    from schedule.graph import Graph
    from schedule.solvers.contract import Progress


class Line:
    """One line on standard error while inside `with`, drawn anew several times a second.

    It is gone afterwards. Where standard error is no terminal nothing is shown.

    Parameters
    ----------
    after
        Seconds in which nothing is shown yet; None: nothing ever is.
    """

    def __init__(self, after: float | None = 0.0) -> None:
        self._started = time.monotonic()
        self._after = after
        self._live: Live | None = None
        self._timer: threading.Timer | None = None
        self._turn = threading.Lock()  # to begin, or to end before that
        self._is_over = False

    def __enter__(self) -> Self:
        if self._after is None or sys.stderr is None or not sys.stderr.isatty():
            return self
        if self._after:
            self._timer = threading.Timer(self._after, self._begin)
            self._timer.daemon = True
            self._timer.start()
        else:
            self._begin()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
        with self._turn:
            self._is_over = True
            if self._live is not None:
                self._live.__exit__(kind, error, traceback)

    def _begin(self) -> None:
        from rich.live import Live
        from rich.spinner import Spinner

        with self._turn:
            if self._is_over:
                return
            self._console = console_for(sys.stderr)
            is_utf = self._console.encoding.startswith("utf")
            self._spinner = Spinner("dots" if is_utf else "line")
            self._live = Live(
                get_renderable=self._draw,
                console=self._console,
                refresh_per_second=5,
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._live.start(refresh=bool(self._after))  # it is late already

    def _draw(self) -> Spinner:
        from rich.text import Text

        room = self._console.width - 2  # beside the spinner
        said = fitted(self.text(time.monotonic() - self._started), room)
        self._spinner.update(text=Text(said, no_wrap=True, overflow="ellipsis"))
        return self._spinner

    def text(self, seconds: float) -> str:
        """What to show, `seconds` after the start."""
        raise NotImplementedError


def fitted(text: str, room: int) -> str:
    """As many of the parts between commas as there is room for, the first in any case.

    Examples
    --------
    >>> from schedule.progress import fitted
    >>> fitted("auto: 8 s left, best +2 %, bound +1 %", 30)
    'auto: 8 s left, best +2 %'
    """
    while len(text) > room and ", " in text:
        text = text.rpartition(", ")[0]
    return text


class Watch(Line):
    """What a solve is doing: best, bound, gap and time left.

    It goes on while the solver says nothing.

    Parameters
    ----------
    graph
        What is solved: overheads are relative to its compute.
    time_limit
        Seconds that a solver has.
    """

    def __init__(self, graph: Graph, time_limit: float) -> None:
        super().__init__()
        self._compute = graph.compute
        self._time_limit = time_limit
        self._solver = ""
        self._latest: Progress | None = None

    def start(self, solver: str) -> None:
        """The clock starts again, for this solver."""
        self._solver, self._latest, self._started = solver, None, time.monotonic()

    def update(self, progress: Progress) -> None:
        """Take what the solver says; a `progress` callback for `schedule.solve`."""
        self._latest, self._started = progress, time.monotonic() - progress.seconds

    def text(self, seconds: float) -> str:
        """Solver, time left, best, bound, gap, and what else keeps it busy."""
        from schedule.sizes import format_points, format_share

        left = max(0.0, self._time_limit - seconds)
        parts = [f"{self._solver}: {left:.0f} s left"]
        latest = self._latest
        best = None if latest is None else self._overhead(latest.best)
        bound = None if latest is None else self._overhead(latest.bound)
        parts.append("nothing found yet" if best is None else f"best {format_share(best)}")
        if bound is not None:
            parts.append(f"bound {format_share(bound)}")
            if best is not None:
                parts.append(f"gap {format_points(max(0.0, best - bound))} points")
        if latest is not None and latest.note:
            parts.append(latest.note)
        return ", ".join(parts)

    def _overhead(self, compute: int | float | None) -> float | None:
        """A compute as an overhead."""
        if compute is None:
            return None
        return float(compute / self._compute - 1) if self._compute else 0.0


class Runs(Line):
    """What a replay is doing: the number of runs so far, and the node that runs."""

    def __init__(self) -> None:
        super().__init__()
        self._count, self._node = 0, ""

    def update(self, node: str) -> None:
        """A node has run."""
        self._count, self._node = self._count + 1, node

    def text(self, seconds: float) -> str:
        """Runs, node, seconds."""
        if not self._count:
            return f"replaying, {seconds:.0f} s"
        return f"replaying, {self._count} runs, {seconds:.0f} s: {self._node[:40]!r}"
