"""`offload`, and the table of solvers for a device with a host below it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from schedule.graph import Graph
from schedule.lowering import needed_in_order
from schedule.makespan import makespan_bound
from schedule.solvers.contract import Deadline, Incumbent, Problem, Proof, Solver
from schedule.solvers.kit.loading import PATIENCE, Loading
from schedule.solvers.offloading.alone import Alone
from schedule.solvers.offloading.annealing import COPIES
from schedule.solvers.offloading.attempt import (
    OFFLOAD_SETTINGS,
    Attempt,
    OffloadSettings,
    program_of,
)
from schedule.solvers.offloading.away import Away
from schedule.solvers.offloading.exhaustive import HOST_SEARCH, is_within_reach
from schedule.solvers.offloading.peers import PEERS
from schedule.solvers.offloading.poet import Poet
from schedule.solvers.portfolio import Auto

if TYPE_CHECKING:
    from schedule.solvers.offloading.exhaustive.search import WholeSearch


@dataclass(frozen=True, slots=True)
class Offload:
    """Recompute part of the way to the budget, and offload the rest.

    First, where the graph is small, all schedules are searched, to a proof if there is time.
    Then come what the quick solvers for a host find, and recomputation alone: beside all else
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
    compiled: ClassVar[tuple[Loading, ...]] = (*Auto.compiled, COPIES, HOST_SEARCH)
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
        until = deadline.unless(lambda: incumbent.is_good_enough)
        alone = Alone(problem, incumbent, until)
        if alone.is_all:
            return alone.run()
        soon = deadline.share(self.settings.simple)
        found = makespan_bound(problem.graph, problem.budget, problem.levels, lambda: soon.passed)
        if not np.isfinite(found.makespan):
            return Proof(needed=problem.budget + 1, node=found.node)
        incumbent.prove(Proof(bound=found.makespan))
        search = self._whole_search(problem, incumbent, until)
        if search is not None:
            alone.begin(self.settings.simple)  # whatever the search takes, there is something then
            proof = search.run(incumbent, until.share(self.settings.first))
            if proof.ends:
                return proof
            incumbent.prove(proof)
        if problem.workers == 1:
            alone.run(float(np.interp(_room(problem), (0, 1), self.settings.alone)))
            self._copy(problem, incumbent, until, search)
        else:
            with alone.beside():
                self._copy(replace(problem, workers=1), incumbent, until, search)
        return Proof()

    def _whole_search(
        self, problem: Problem, incumbent: Incumbent, deadline: Deadline
    ) -> WholeSearch | None:
        """One of all schedules, where the graph is small and the code is there, or soon will be."""
        if not is_within_reach(problem.graph, self.settings.searched):
            return None
        if not HOST_SEARCH.wait(incumbent, deadline.share(self.settings.first), PATIENCE):
            return None
        from schedule.solvers.offloading.exhaustive.search import WholeSearch  # compiles

        return WholeSearch(problem)

    def _copy(
        self,
        problem: Problem,
        incumbent: Incumbent,
        until: Deadline,
        search: WholeSearch | None,
    ) -> None:
        """All that copies, in this thread."""
        from schedule.solvers.offloading.refining import Staged  # it loads HiGHS

        attempt = Attempt(problem, incumbent, self.settings, until)
        attempt.try_all(program_of(problem.graph))
        for peer in PEERS:  # quick, and never better then
            if peer.supports(problem.graph) is not None or until.passed:
                continue
            if isinstance(peer, Poet):  # its runs are worth more than its own schedule
                plan = peer.plan(problem, until.share(self.settings.poet))
                if plan is not None:
                    Attempt(problem, incumbent.by(peer.name)).offer(*plan)
                    attempt.begin_with(*plan, until)
            else:
                share = until.share(self.settings.peers)
                peer.improve(problem, incumbent.by(peer.name), share)
        if search is not None:  # now that better schedules are known
            incumbent.prove(search.run(incumbent, until.share(self.settings.search)))
        settings, away = self.settings, Away(problem, incumbent, attempt)
        away.try_set(np.zeros(0, np.int64), until.share(settings.relaxed))
        staged = Staged(problem, incumbent, attempt.offer_plan, away.try_set, settings.staged)
        staged.relax(until.share(settings.relaxed))
        staged.run(until.share(settings.programs))
        away.improve(Auto(), until.share(settings.better))
        random, failed = np.random.default_rng(problem.seed), 0
        while attempt.tried and failed < settings.patience and not until.passed:
            failed = 0 if attempt.disturb(random, until) else failed + 1


def _room(problem: Problem) -> float:
    """What part of what is over the budget the levels below have room for."""
    over = needed_in_order(problem.graph).peak - (problem.budget or 0)
    return min(1.0, sum(level.capacity for level in problem.levels) / max(over, 1))


#: Solvers for a device with levels below it, by name; the first is what `auto` asks.
OFFLOADERS: dict[str, Solver] = {solver.name: solver for solver in (Offload(), *PEERS)}
