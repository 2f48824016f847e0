"""`offload`, and the table of solvers for a device with a host below it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from schedule.graph import Graph
from schedule.lowering import needed_in_order
from schedule.makespan import makespan_bound
from schedule.solvers.contract import Deadline, Incumbent, Problem, Proof, Solver
from schedule.solvers.kit.loading import Loading
from schedule.solvers.offloading.alone import Alone
from schedule.solvers.offloading.annealing import COPIES
from schedule.solvers.offloading.attempt import (
    OFFLOAD_SETTINGS,
    Attempt,
    OffloadSettings,
    program_of,
)
from schedule.solvers.offloading.away import Away
from schedule.solvers.offloading.peers import PEERS
from schedule.solvers.portfolio import Auto

#: About the seconds that the bound without programs takes for a node and a tensor.
_SECONDS_A_PAIR = 2e-8


@dataclass(frozen=True, slots=True)
class Offload:
    """Recompute part of the way to the budget, and offload the rest.

    First what the quick solvers for a host find, and recomputation alone: beside all else
    where there are threads for it. Then programs: relaxed ones, and staged ones, refined
    where their solutions don't fit. They say what to keep, to run again and to copy, and
    their bounds hold for every schedule (in a given order, for those in it). What they copy
    is left out of the graph, and solvers for one level of memory recompute within what is
    left of the budget: `greedy` for every solution, and `auto` for the best of them. For
    each of these runs gaps are spent on the host by several preferences; then which of
    them, and when each is copied, is annealed.

    Parameters
    ----------
    settings
        How much it tries.

    Notes
    -----
    O(n²) for a preference in the worst case.
    """

    settings: OffloadSettings = OFFLOAD_SETTINGS
    counts_work: ClassVar[bool] = True
    compiled: ClassVar[tuple[Loading, ...]] = (*Auto.compiled, COPIES)
    knows_levels: bool = True
    name: str = "offload"
    summary: str = "recomputes part of the way to the budget, and copies the rest to the host"

    def supports(self, graph: Graph) -> str | None:
        """Any graph."""
        return None

    def improve(self, problem: Problem, incumbent: Incumbent, deadline: Deadline) -> Proof:
        """The best of all that was tried; each was offered."""
        if incumbent.offer(needed_in_order(problem.graph)):
            return Proof()
        assert problem.budget is not None, "without a budget the program fits as it is"
        soon = deadline.share(self.settings.simple)
        found = makespan_bound(problem.graph, problem.budget, problem.levels, lambda: soon.passed)
        if not np.isfinite(found.makespan):
            return Proof(needed=problem.budget + 1, node=found.node)
        incumbent.prove(Proof(bound=found.makespan))
        until = deadline.unless(lambda: incumbent.is_good_enough)
        alone = Alone(problem, incumbent, until)
        if problem.workers == 1:
            alone.run(self.settings.alone)
            self._search(problem, incumbent, until)
        else:
            with alone.beside():
                self._search(replace(problem, workers=1), incumbent, until)
        return Proof()

    def _search(self, problem: Problem, incumbent: Incumbent, until: Deadline) -> None:
        """All that copies, in this thread."""
        from schedule.solvers.offloading.refining import Staged  # it loads HiGHS

        attempt = Attempt(problem, incumbent, self.settings)
        attempt.try_all(program_of(problem.graph))
        for peer in PEERS:  # quick, and never better then
            if peer.supports(problem.graph) is None and not until.passed:
                share = until.share(self.settings.peers)
                peer.improve(problem, incumbent.by(peer.name), share)
        settings, away = self.settings, Away(problem, incumbent, attempt)
        away.try_set(np.zeros(0, np.int64), until.share(settings.relaxed))
        staged = Staged(problem, incumbent, attempt.offer_plan, away.try_set, settings.staged)
        staged.relax(until.share(settings.relaxed))
        staged.run(until.share(settings.programs))
        away.improve(Auto(), until.share(settings.better))
        random, failed = np.random.default_rng(problem.seed), 0
        while attempt.tried and failed < settings.patience and not until.passed:
            failed = 0 if attempt.disturb(random, until) else failed + 1


#: Solvers for a device with levels below it, by name; the first is what `auto` asks.
OFFLOADERS: dict[str, Solver] = {solver.name: solver for solver in (Offload(), *PEERS)}
