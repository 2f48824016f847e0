"""What is shown of planning that takes long."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from schedule.progress import Line, Watch

if TYPE_CHECKING:
    from schedule.graph import Graph
    from schedule.torch.options import Options

#: Seconds that planning may take without a word.
SILENT = 2.0


class Planning(Line):
    """One line on standard error, once planning has taken two seconds.

    As the command line shows it, on terminals alone; it is gone afterwards.

    Parameters
    ----------
    name
        What is planned.
    options
        Whether it is to be shown, which `progress` of the caller's takes the place of.
    """

    def __init__(self, name: str, options: Options) -> None:
        super().__init__(SILENT if options.shows_progress else None)
        self._name, self._stage = name, "capturing the training step"
        self._watch: Watch | None = None
        self._since = 0.0

    def comparing(self) -> None:
        """A planned step is compared with the model's own."""
        self._stage, self._watch = "comparing a step with the model's own", None

    def solving(self, graph: Graph, options: Options) -> Options:
        """The graph is solved from now on; the options with which it is followed."""
        if not options.shows_progress:
            return options
        watch = Watch(graph, options.solving.time_limit)
        watch.start(getattr(options.solver, "name", str(options.solver)))
        self._since, self._watch = time.monotonic(), watch
        return replace(options, solving=replace(options.solving, progress=watch.update))

    def text(self, seconds: float) -> str:
        """What is done, and for how long, or how good the best schedule is."""
        watch = self._watch
        if watch is None:
            return f"planning {self._name}: {self._stage}, {seconds:.0f} s"
        return f"planning {self._name}: {watch.text(time.monotonic() - self._since)}"
