"""Recomputation alone, beside all else: its schedules are schedules with a host, too."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np

from schedule.layout import Ints
from schedule.memory import Trace
from schedule.solvers.contract import Deadline, Incumbent, Problem, Proof
from schedule.solvers.greedy import Greedy
from schedule.solvers.portfolio import Auto

#: The seconds that the thread is waited for in the end, to notice that.
_PATIENCE = 0.5


class Alone:
    """`auto` on one level of memory, whose schedules are offered as they are found.

    It ends where its own bound, which holds without copies, says that no schedule of its
    kind is better than what is known. Where the host has no room for anything, there are no
    others, and that bound holds for all.

    Parameters
    ----------
    problem, incumbent
        With levels.
    """

    def __init__(self, problem: Problem, incumbent: Incumbent, deadline: Deadline) -> None:
        self._problem, self._offered = replace(problem, levels=()), incumbent
        self._known = Incumbent(self._problem, self, deadline.clock)
        self._deadline = deadline.unless(lambda: self.is_over)
        self.is_all = not _holds_anything(problem)

    @property
    def is_over(self) -> bool:
        """Whether nothing that it could find is of use."""
        return self._problem.enough(self._offered.compute, self._known.bound)

    def take(self, codes: Ints, by: str) -> Trace:
        """Offer a schedule (see `contract.Judge`)."""
        return self._offered.replay(codes)

    def prove(self, proof: Proof, by: str) -> None:
        """A proof of its own: what copies can do it doesn't know, if they can do anything."""
        if self.is_all:
            self._offered.prove(proof)

    def say(self, note: str) -> None:
        """Pass on what keeps it busy."""
        self._offered.say(note)

    def begin(self, share: float) -> None:
        """Offer what `greedy` finds, in this thread."""
        if not self._deadline.passed:
            Greedy().improve(self._problem, self._known, self._deadline.share(share))

    def run(self, share: float = 1.0) -> Proof:
        """Look for schedules, in this thread; what is proved of those that copy nothing."""
        if self._deadline.passed:
            return Proof()
        return Auto().improve(self._problem, self._known, self._deadline.share(share))

    @contextmanager
    def beside(self) -> Iterator[None]:
        """Look for schedules in a thread of its own, until the end of the block or the deadline.

        Raises
        ------
        BaseException
            What was raised there.
        """
        over, errors = threading.Event(), list[BaseException]()
        self._problem = replace(self._problem, workers=max(1, self._problem.workers - 1))
        self._deadline = self._deadline.unless(over.is_set)

        def follow() -> None:
            try:
                self.run()
            except BaseException as error:  # noqa: BLE001 - raised again by the main thread
                errors.append(error)

        thread = threading.Thread(target=follow, daemon=True)
        thread.start()
        try:
            yield
            while thread.is_alive() and not self._deadline.passed:
                thread.join(0.05)
        finally:
            over.set()
            thread.join(_PATIENCE)
        if errors:
            raise errors[0]


def _holds_anything(problem: Problem) -> bool:
    """Whether something that may be copied, and takes memory, has room on the host."""
    layout = problem.graph.layout
    owns = layout.storage == np.arange(layout.n_tensors)
    sizes = layout.memory[owns & layout.offloadable & (layout.memory > 0)]
    return bool((sizes <= problem.levels[0].capacity).any())
