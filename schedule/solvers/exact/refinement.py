"""Relaxations, refined: solved again with a cut point more where the last solution didn't fit."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from schedule.bounds import TOLERANCE, cost_step, round_up
from schedule.layout import Floats
from schedule.lowering import free_early
from schedule.memory import Trace, keeps_order
from schedule.result import Order
from schedule.solvers.contract import Deadline, Incumbent, Problem, Proof
from schedule.solvers.eviction import EVICTION
from schedule.solvers.eviction.fitting import RULES, fit
from schedule.solvers.exact.discretization import Discretization
from schedule.solvers.exact.highs import Answer, Outcome, Start, minimise
from schedule.solvers.exact.model import StagedModel
from schedule.solvers.exact.nearby import NEARBY, Nearby, NearbySettings
from schedule.solvers.exact.polishing import POLISHING, Polishing, PolishingSettings
from schedule.solvers.exact.relaxation import NOTHING, relax
from schedule.solvers.exact.shortage import least_budget, shortage
from schedule.solvers.exact.staged_runs import StagedRuns
from schedule.solvers.exact.starting import start_of
from schedule.solvers.kit.loading import PATIENCE
from schedule.solvers.program.contraction import contract

if TYPE_CHECKING:
    from schedule.solvers.annealing.searcher import Searcher


@dataclass(frozen=True, slots=True)
class RefinementSettings:
    """How models are refined.

    Attributes
    ----------
    easy
        Iterations of the models' solver up to which a model is easy.
    rough, part
        How far from its optimum the solution of a harder one may be: as a share of every
        node once, and as a part of the gap.
    slice, least, floor
        The share of the seconds left that one model may take while solutions show where
        to refine, and at least this share of all seconds, and so many seconds where it is
        `small`: a model that is stopped has to begin anew.
    small, large
        Models of up to so many columns are small; those of more than so many are relaxed
        first.
    squeeze, nodes
        The share of the iterations that may be spent on models with memory kept back for
        what they don't see, and the nodes of the search tree for each; 0: none.
    attempts
        Models solved with memory kept back, once no further row helps.
    moves
        Moves of the search on sequences for each iteration.
    ordered
        The most operations of one interval that a model puts in order; 0: none.
    lost
        The gap above which solutions that don't fit are repaired, and those near them searched,
        however easy models are: such an incumbent is as good as none.
    stiff
        Iterations of all models after which solutions are annealed, and their neighbourhood
        is searched.
    sharp
        The tolerance of models, as a share of the budget, once their solutions exceed it
        by next to nothing.
    nearby, polishing
        How the neighbourhood of solutions is searched, and how they are annealed.
    """

    easy: int = 20_000
    rough: float = 0.01
    part: float = 0.25
    slice: float = 0.3
    least: float = 0.1
    floor: float = 0.5
    small: int = 500
    large: int = 10_000
    squeeze: float = 0.25
    nodes: int = 200
    attempts: int = 30
    moves: int = 30
    ordered: int = 14
    lost: float = 0.02
    stiff: int = 3_000
    sharp: float = 1e-9
    nearby: NearbySettings = NEARBY
    polishing: PolishingSettings = POLISHING


#: The default.
REFINEMENT = RefinementSettings()


class Refinement:
    """Cut points and rows for one order, added until the laid-out solution fits.

    Parameters
    ----------
    problem, order, incumbent
        What is solved; the incumbent is shared with the other order.
    searcher
        Makes, or returns, the search that both orders share; None: not to be used.
    settings
        How models are refined.

    Attributes
    ----------
    finished
        Whether running on would find nothing new.
    is_patient
        Whether the next model may take all seconds: no other will tell more.
    """

    def __init__(
        self,
        problem: Problem,
        order: Order,
        incumbent: Incumbent,
        searcher: Callable[[Deadline], Searcher | None] = lambda _: None,
        settings: RefinementSettings = REFINEMENT,
    ) -> None:
        self.problem, self.order, self.incumbent = problem, order, incumbent
        self.settings = settings
        self.contraction = contract(problem.graph)
        self._searcher = searcher
        self._discretization = Discretization(problem, order, self.contraction, settings.ordered)
        self.bound: int | float = 0
        self.finished = False
        self._deadline = Deadline()
        self._work = self._hardest = self._squeezed = 0
        self._reserve: dict[int, int] = {}
        self._tolerance: float | None = None
        self._nearby = Nearby(problem, incumbent, settings.nearby) if order == "fixed" else None
        self._polishing = Polishing(problem, incumbent, settings.polishing)
        self._must_be_exact = self.is_patient = False
        self._shortage: Proof | None = None

    def run(self, deadline: Deadline, patient: bool = True) -> Proof:
        """Refine on; what is proved so far.

        Not `patient`: only until a model is to be solved again, for longer than before.
        """
        self._deadline = deadline
        if self._shortage is not None:
            return self._shortage
        while not (deadline.passed or self.finished or (self.is_patient and not patient)):
            model = self._discretization.model()
            if math.isinf(self.incumbent.compute) and self._is_hopeless(model):
                return self._infeasible(model)
            if model.n_columns > self.settings.large:
                self._relax(model)
            rough = self._rough()
            answer = self._solve(model, rough)
            if answer.outcome is Outcome.INFEASIBLE:
                return self._infeasible(model)
            self._raise_bound(model.compute(answer.bound))
            self._hardest = max(self._hardest, answer.work)
            self._work += answer.work
            is_exact = answer.outcome is Outcome.SOLVED and not rough
            if answer.x is None:
                self.is_patient = True
            elif is_exact or self._tells(model, answer.x):
                self._use(model, answer, exact=not rough)
            else:
                self._must_be_exact = self.is_patient = True
            self._search()
            self.finished |= self.closed or self._is_impossible
        if not self._proves:
            return Proof()
        if self._is_impossible:
            return Proof(needed=(self.problem.budget or 0) + 1)
        return Proof(bound=self.bound)

    @property
    def cuts(self) -> set[int]:
        """Operations that are cut points; more may be added before it runs."""
        return self._discretization.cuts

    @property
    def _is_impossible(self) -> bool:
        """Whether a search has seen all there is, and nothing fits."""
        return self._nearby is not None and self._nearby.proved == math.inf

    def _search(self) -> None:
        """Where models are hard, anneal sequences of runs, too."""
        searcher = self._searcher(self._deadline) if self._hardest >= self.settings.easy else None
        if searcher is None:
            return
        while searcher.moves < self.settings.moves * self._work and not self._is_over():
            searcher.round(self._deadline)

    def _relax(self, model: StagedModel) -> None:
        """A first bound, from the linear relaxation: long before HiGHS has its own."""
        self._raise_bound(relax(model, self._deadline).bound)

    def _rough(self) -> float:
        """How far from the optimum a solution may be, as a share of every node once.

        While models are easy, or the refinement has ended, nothing; else a part of the
        gap: to see where a solution doesn't fit, a rough one will do.
        """
        if self._hardest < self.settings.easy or self._must_be_exact:
            return 0.0
        gap = (self.incumbent.compute - self.bound) / float(self.problem.graph.compute)
        return min(self.settings.rough, self.settings.part * gap)

    def _tells(self, model: StagedModel, x: Floats) -> bool:
        """Whether a solution that needn't be the model's optimum shows where to refine.

        In any order one that isn't cheaper than the incumbent, its warm start, doesn't: the
        model's own optimum may be as much, and more cut points would only make it larger.
        """
        compute = model.compute(float(model.program.cost @ x))
        return self.order == "fixed" or not self.problem.enough(self.incumbent.compute, compute)

    def _use(self, model: StagedModel, answer: Answer, exact: bool) -> None:
        """Replay a solution, and refine where it doesn't fit."""
        assert answer.x is not None
        staged, trace = self._discretization.replay(model, answer.x)
        if self.incumbent.offer(trace):
            self.finished |= exact and answer.outcome is Outcome.SOLVED
            self._must_be_exact |= not exact
            self.is_patient = True
            return
        # Easy models soon have a solution that fits by themselves.
        is_lost = self.incumbent.gap > self.settings.lost
        if is_lost or self._hardest >= self.settings.easy:
            self._repair(staged)
        is_stiff = is_lost or self._work >= self.settings.stiff
        if is_stiff:
            self._polishing.polish(staged.runs, self._work, self._until)
        if self._nearby is not None and is_stiff:
            self._nearby.search(model.windows, staged, self.bound, self._work, self._until)
            self._raise_bound(self._nearby.proved)
        if self.closed:
            return
        if (
            is_lost or self._hardest >= self.settings.easy
        ) and self._squeezed <= self.settings.squeeze * self._work:
            self._squeeze(staged, trace, self.settings.nodes)
        refined = self._is_sharpened(trace) or self._discretization.refine(
            model.windows, staged, trace
        )
        if not refined and exact and answer.outcome is Outcome.SOLVED:
            attempt: tuple[StagedRuns, Trace] | None = (staged, trace)
            for _ in range(self.settings.attempts):
                if attempt is not None:
                    attempt = self._squeeze(*attempt)
            self.finished = True
        self._must_be_exact = self.is_patient = not refined

    def _is_sharpened(self, trace: Trace) -> bool:
        """Where the peak exceeds the budget by no more than a solver's tolerance, lower that."""
        budget = self.problem.budget or 0
        if self._tolerance is not None or trace.peak - budget > 2 * NOTHING * budget:
            return False
        self._tolerance = self.settings.sharp
        return True

    def _squeeze(
        self, staged: StagedRuns, trace: Trace, nodes: int | None = None
    ) -> tuple[StagedRuns, Trace] | None:
        """Solve models with memory kept back: as much as the last solutions exceeded the budget.

        First as much at every cut point, then where they exceeded it, more each time.
        Returns the solution to go on from; None: one fits, or there is none, or no time
        for more.
        """
        over = trace.during[trace.codes >= 0] - (self.problem.budget or 0)
        cuts = sorted(self.cuts)
        for k in range(len(cuts) + 1):
            excess = int(over[staged.interval == k].max(initial=0))
            for cut in cuts[max(k - 1, 0) : k + 1]:
                if excess > 0:
                    self._reserve[cut] = self._reserve.get(cut, 0) + excess
        everywhere = dict.fromkeys(cuts, int(over.max()))
        for reserve in (everywhere, self._reserve):
            found = self._solve_with(reserve, nodes)
            if found is None or self.incumbent.offer(found[1]):
                self._reserve = {}
                return None
            self._repair(found[0])
        return None if self._deadline.passed else found

    def _solve_with(
        self, reserve: dict[int, int], nodes: int | None
    ) -> tuple[StagedRuns, Trace] | None:
        model = self._discretization.model(reserve)
        answer = minimise(
            model.program,
            deadline=self._deadline,
            gap=self.settings.rough * float(self.problem.graph.compute) / model.scale,
            nodes=nodes,
            seed=self.problem.seed,
        )
        self._squeezed += answer.work
        self._work += answer.work
        return None if answer.x is None else self._discretization.replay(model, answer.x)

    def _repair(self, staged: StagedRuns) -> None:
        """Evict more, and recompute it, until the runs fit; offer the schedules."""
        if not EVICTION.wait(self.incumbent, self._deadline, PATIENCE):
            return
        for rule in RULES:
            runs = fit(
                self.problem.graph,
                staged.runs,
                self.problem.budget or 0,
                rule,
                self.order,
                self._deadline,
            )
            if runs is not None:
                graph = self.problem.graph
                self.incumbent.offer(free_early(graph, runs))

    def _is_hopeless(self, model: StagedModel) -> bool:
        """Whether nothing fits, whatever it costs: much easier to decide than what is best."""
        answer = minimise(
            least_budget(model),
            deadline=self._deadline,
            gap=NOTHING,
            seed=self.problem.seed,
        )
        return answer.bound > 2 * NOTHING

    @property
    def _until(self) -> Deadline:
        """Passed, too, as soon as incumbent and bound meet."""
        return self._deadline.unless(lambda: self.closed)

    def _is_over(self) -> bool:
        return self._until.passed

    @property
    def closed(self) -> bool:
        """Whether the incumbent is close enough to the bound."""
        return self.problem.enough(self.incumbent.compute, self.bound)

    @property
    def _proves(self) -> bool:
        """Whether what is proved here holds in the order that is asked for."""
        return self.order == self.problem.order

    def _raise_bound(self, bound: float) -> None:
        if not math.isfinite(bound):
            return
        self.bound = max(self.bound, round_up(self.problem.graph, bound))
        if self._proves:
            self.incumbent.prove(Proof(bound=self.bound))

    def _solve(self, model: StagedModel, rough: float) -> Answer:
        # The next better compute is a whole step of the costs away.
        step = 0.9 * cost_step(self.problem.graph) / model.scale
        share, limit = 1.0 if self.is_patient else self.settings.slice, self._deadline.limit
        floor = self.settings.floor if model.n_columns <= self.settings.small else 0.0
        tolerance = (
            max(rough, 0.5 * TOLERANCE, min(0.5 * self.problem.gap, 1.0))
            * float(self.problem.graph.compute)
            / model.scale
        )
        return minimise(
            model.program,
            deadline=self._until.share(share, max(floor, self.settings.least * limit)),
            gap=max(step, tolerance),
            target=(float(self.bound) - model.constant) / model.scale + 0.5 * tolerance,
            tolerance=self._tolerance,
            seed=self.problem.seed,
            start=self._start(model),
        )

    def _start(self, model: StagedModel) -> Start | None:
        """A warm start from the incumbent, where that keeps this order."""
        trace = self.incumbent.trace
        if trace is None or (self.order == "fixed" and not keeps_order(trace)):
            return None
        return start_of(model, trace)

    def _infeasible(self, model: StagedModel) -> Proof:
        """The proof that nothing fits: the least budget that it leaves open."""
        self.finished = True
        self._shortage = Proof()
        if not self._proves:
            return self._shortage
        # That much is proved, whatever becomes of the question how much it is.
        self._shortage = Proof(needed=(self.problem.budget or 0) + 1)
        answer = minimise(
            least_budget(model),
            deadline=self._deadline.at_least(0.3),
            seed=self.problem.seed,
        )
        missing = answer.bound - NOTHING if math.isfinite(answer.bound) else 0.0
        self._shortage = shortage(model, answer, missing)
        return self._shortage
