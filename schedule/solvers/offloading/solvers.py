"""`offload`, and the table of solvers for a device with a host below it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from schedule.graph import Graph
from schedule.lowering import needed_in_order
from schedule.makespan import makespan_bound
from schedule.solvers.contract import Deadline, Incumbent, Problem, Proof, Solver
from schedule.solvers.greedy import Greedy
from schedule.solvers.kit.loading import PATIENCE
from schedule.solvers.offloading.attempt import (
    OFFLOAD_SETTINGS,
    Attempt,
    OffloadSettings,
    program_of,
)
from schedule.solvers.offloading.exhaustive import HOST_SEARCH, is_within_reach
from schedule.solvers.offloading.gaps import Runs
from schedule.solvers.offloading.peers import PEERS
from schedule.solvers.portfolio import Auto

if TYPE_CHECKING:
    from schedule.solvers.offloading.exhaustive.search import WholeSearch


@dataclass(frozen=True, slots=True)
class Offload:
    """Recompute part of the way to the budget, and offload the rest.

    First, where the graph is small, all schedules are searched, to a proof if there is time.
    Then what the quick solvers for a host find, and recomputation alone. Then staged
    programs, refined where their solutions don't fit: they say what to keep, to run again
    and to copy, and their bounds hold for every schedule (in a given order, for those in
    it). Then the runs of `greedy` for several budgets between the program's peak and the
    one that is asked for. For each of these runs gaps are spent on the host by several
    preferences; then which of them, and when each is copied, is annealed.

    Parameters
    ----------
    settings
        How much it tries.

    Notes
    -----
    O(n²) for a preference in the worst case.
    """

    settings: OffloadSettings = OFFLOAD_SETTINGS
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
        found = makespan_bound(
            problem.graph, problem.budget, problem.levels, lambda: deadline.passed
        )
        if not np.isfinite(found.makespan):
            return Proof(needed=problem.budget + 1, node=found.node)
        incumbent.prove(Proof(bound=found.makespan))
        attempt = Attempt(problem, incumbent, self.settings)
        attempt.try_all(program_of(problem.graph))
        until = deadline.unless(lambda: incumbent.is_good_enough)
        settings = self.settings
        search = self._search(problem, incumbent, until)
        if search is not None:
            proof = search.run(incumbent, until.share(settings.first))
            if proof.ends:
                return proof
            incumbent.prove(proof)
        for peer in PEERS:  # quick, and never better then
            if peer.supports(problem.graph) is None and not until.passed:
                peer.improve(problem, incumbent.by(peer.name), until.share(settings.peers))
        if search is not None:  # now that better schedules are known
            incumbent.prove(search.run(incumbent, until.share(settings.search)))
        alone = self._alone(problem, until.share(settings.alone))
        if alone is not None and not until.passed:
            attempt.try_all(alone)
        from schedule.solvers.offloading.refining import Staged  # it loads HiGHS

        staged = Staged(problem, incumbent, attempt.offer_plan, settings.staged)
        staged.run(until.share(settings.programs))
        for runs in self._sequences(problem, until):
            attempt.try_all(runs)
            if until.passed:
                return Proof()
        random, failed = np.random.default_rng(problem.seed), 0
        while attempt.tried and failed < settings.patience and not until.passed:
            failed = 0 if attempt.disturb(random, until) else failed + 1
        return Proof()

    def _search(
        self, problem: Problem, incumbent: Incumbent, deadline: Deadline
    ) -> WholeSearch | None:
        """One of all schedules, where the graph is small and the code is there, or soon will be."""
        if not is_within_reach(problem.graph, self.settings.searched):
            return None
        if not HOST_SEARCH.wait(incumbent, deadline.share(self.settings.first), PATIENCE):
            return None
        from schedule.solvers.offloading.exhaustive.search import WholeSearch  # compiles

        return WholeSearch(problem)

    def _alone(self, problem: Problem, deadline: Deadline) -> Runs | None:
        """What recomputation alone finds; None: nothing, or it was not asked."""
        known = Incumbent(replace(problem, levels=()), clock=deadline.clock)
        Auto().improve(replace(problem, levels=()), known, deadline)
        if known.trace is None:
            return None
        return Runs(problem.graph, known.trace.codes[known.trace.codes >= 0])

    def _sequences(self, problem: Problem, deadline: Deadline) -> Iterator[Runs]:
        """Less and less recomputed, by `greedy`."""
        graph, budget = problem.graph, problem.budget
        assert budget is not None, "without a budget the program fits as it is"
        peak = needed_in_order(graph).peak
        count, way = self.settings.budgets, peak - budget
        for step in range(count - 1, 0, -1):
            alone = replace(problem, budget=peak - way * step // count, levels=())
            known = Incumbent(alone)
            Greedy().improve(alone, known, deadline.share(self.settings.share / step))
            if known.trace is not None:
                yield Runs(graph, known.trace.codes[known.trace.codes >= 0])


#: Solvers for a device with levels below it, by name; the first is what `auto` asks.
OFFLOADERS: dict[str, Solver] = {solver.name: solver for solver in (Offload(), *PEERS)}
