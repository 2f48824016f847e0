"""Two ways to solve one problem side by side: one proves, one searches, both share the best."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace

from schedule.bounds import least_compute
from schedule.solvers.contract import Best, Problem, Proposal

#: How often the main thread looks whether the other is done, in seconds.
_BEAT = 0.05
#: How long it waits in the end for the other to notice, in seconds.
_PATIENCE = 0.5


class Race:
    """A problem that ends for everyone as soon as best and bound meet.

    Parameters
    ----------
    problem
        What is solved.

    Attributes
    ----------
    problem
        The same problem for those who take part: they see its end in its
        seconds left, and offer to it from any thread.
    best
        The best schedule that any of them has found.
    """

    def __init__(self, problem: Problem) -> None:
        self._outer = problem
        self._bound: int | float = least_compute(problem.graph)
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._answered = False
        self._error: BaseException | None = None
        self.problem = replace(problem, offer=self._offer, stopped=self._is_over)
        self.best = Best(self.problem)

    @property
    def closed(self) -> bool:
        """Whether best and bound have met."""
        return self._outer.enough(self.best.compute, self._bound)

    @property
    def gap(self) -> float:
        """How far best and bound are apart, as a share of every node once; infinite without one."""
        return (self.best.compute - self._bound) / max(float(self._outer.graph.compute), 1e-300)

    def _is_over(self) -> bool:
        return self._over.is_set() or self.closed or self._outer.stopped()

    def _offer(self, proposal: Proposal) -> None:
        with self._lock:
            if self._answered:
                return
            self._bound = max(self._bound, proposal.bound or 0)
            self._outer.offer(proposal)

    def run(
        self, prove: Callable[[], Proposal], search: Callable[[], object], head_start: float
    ) -> Proposal:
        """Run `prove` here and, once it has had its head start, `search` in another thread.

        Returns what is proved; where that leaves the question open, once the
        search has ended, and with what it found by then: a round of annealing ends
        with the time, and has its best only then.
        """
        done = threading.Event()

        def follow() -> None:
            try:
                if not self._over.wait(head_start):
                    search()
            except BaseException as error:  # noqa: BLE001 - raised again by the main thread
                self._error = error
                self._over.set()
            finally:
                done.set()

        threading.Thread(target=follow, daemon=True).start()
        try:
            proposal = prove()
            is_open = proposal.needed is None
            if not is_open:
                self._close()
            while is_open and self.problem.seconds_left > 0 and not done.wait(_BEAT):
                pass
        finally:
            self._over.set()
            done.wait(_PATIENCE)
            self._close()
        if self._error is not None:
            self._outer.offer(proposal)  # what is proved stays so
            raise self._error
        return proposal

    def _close(self) -> None:
        """Take no offers any more: the solve is answered."""
        with self._lock:
            self._answered = True
