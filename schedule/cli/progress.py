"""What a long solve shows on a terminal while it runs."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.live import Live
    from rich.spinner import Spinner

    from schedule.graph import Graph
    from schedule.solvers.contract import Progress


class Watch:
    """One line on standard error: best, bound, gap and time left, while inside `with`.

    It is drawn anew several times a second, whether or not the solver says
    anything, and is gone afterwards. Where standard error is no terminal
    nothing is shown.

    Parameters
    ----------
    graph
        What is solved: overheads are relative to its compute.
    time_limit
        Seconds that a solver has.
    """

    def __init__(self, graph: Graph, time_limit: float) -> None:
        self._compute = graph.compute
        self._time_limit = time_limit
        self._solver = ""
        self._latest: Progress | None = None
        self._started = time.monotonic()
        self._live: Live | None = None

    def __enter__(self) -> Watch:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.live import Live
            from rich.spinner import Spinner

            self._spinner = Spinner("dots")
            self._live = Live(
                get_renderable=self._line,
                console=Console(file=sys.stderr),
                refresh_per_second=5,
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._live.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.__exit__(kind, error, traceback)

    def start(self, solver: str) -> None:
        """The clock starts again, for this solver."""
        self._solver, self._latest, self._started = solver, None, time.monotonic()

    def update(self, progress: Progress) -> None:
        """Take what the solver says; a `progress` callback for `schedule.solve`."""
        self._latest = progress

    def _line(self) -> Spinner:
        from rich.text import Text

        self._spinner.update(text=Text(self.text(time.monotonic() - self._started)))
        return self._spinner

    def text(self, seconds: float) -> str:
        """The line, `seconds` after the start."""
        left = max(0.0, self._time_limit - seconds)
        parts = [f"{self._solver}: {left:.0f} s left"]
        latest = self._latest
        best = None if latest is None else self._overhead(latest.best)
        bound = None if latest is None else self._overhead(latest.bound)
        parts.append("nothing found yet" if best is None else f"best {best:+.4f} %")
        if bound is not None:
            parts.append(f"bound {bound:+.4f} %")
            if best is not None:
                parts.append(f"gap {max(0.0, best - bound):.4f} points")
        return ", ".join(parts)

    def _overhead(self, compute: int | float | None) -> float | None:
        """A compute as an overhead in percent."""
        if compute is None:
            return None
        return 100 * float(compute / self._compute - 1) if self._compute else 0.0
