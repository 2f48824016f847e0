"""Models of retention intervals that allow more and more reruns, until one proves enough."""

from __future__ import annotations

import math

from schedule.lowering import free_early
from schedule.memory import Trace
from schedule.result import Order
from schedule.solvers.contract import Deadline, Incumbent, Problem, Proof
from schedule.solvers.exact.cpsat import Answer, Value, minimise
from schedule.solvers.exact.hints import warm_start
from schedule.solvers.exact.retention import OutOfTimeError, RetentionModel
from schedule.solvers.program.contraction import contract
from schedule.solvers.program.operations import operations_of
from schedule.solvers.program.reruns import Prices, RerunRules, Reruns
from schedule.solvers.program.views import with_views

#: Graphs of up to this many operations get models in which first runs choose their positions.
_FREE = 250
#: What a model that leaves schedules out may take of the time, where one is to come that doesn't.
_SHARE = 0.7


class Deepening:
    """Solves one model after the other.

    The first one leaves out what runs something more often than it allows; the next,
    to prove something of these schedules as well, has wild runs (see
    `RetentionModel`). Where its best solution has some, the one after that allows
    twice as many reruns of those operations.

    The paper's first phase, in which memory may exceed the budget, isn't there: CP-SAT
    is faster at finding schedules that fit where they have to.

    Parameters
    ----------
    problem, incumbent, deadline
        As for a solver; the incumbent takes what is found and proved.
    """

    def __init__(self, problem: Problem, incumbent: Incumbent, deadline: Deadline) -> None:
        self._problem, self._incumbent = problem, incumbent
        self._deadline = deadline.unless(lambda: incumbent.is_good_enough)
        graph = problem.graph
        self._contraction = contract(graph)
        # In large graphs first runs keep their order; then nothing is proved of others.
        is_small = self._contraction.n_operations <= _FREE
        self._order: Order = problem.order if is_small else "fixed"
        self._operations = operations_of(graph, self._order)
        self._prices = Prices.of(graph, self._operations)
        self._rules = RerunRules(graph, self._operations, self._fixed)
        self._most: list[int] = []
        self._wild: set[int] = set()

    @property
    def _fixed(self) -> bool:
        return self._order == "fixed"

    def run(self, runs: int) -> bool:
        """From `runs` runs of every operation on; whether it is proved that nothing fits."""
        self._most = [runs - 1] * len(self._operations.nodes)
        incumbent, relaxed = self._incumbent, False
        while not self._deadline.passed:
            reruns = self._allowed()
            try:
                model = self._model(reruns, incumbent.trace, relaxed)
            except OutOfTimeError:
                break
            answer = self._solve(model, reruns, relaxed)
            if not relaxed and reruns.left_out:
                relaxed = True
                continue
            if answer.decided and not answer.found and incumbent.trace is None:
                return self._is_proof(model)
            # What writes a storage for views that aren't free has no reruns in any model.
            more = [u for u in self._wild if self._operations.may_repeat[u]]
            if not answer.decided or not more:
                break
            for u in more:
                self._most[u] = 2 * reruns.allowed[u] + 1
        return False

    def _allowed(self) -> Reruns:
        limit = self._prices.limit(self._incumbent.compute)
        return self._rules.allow(self._most, self._prices.cost, limit)

    def _model(self, reruns: Reruns, known: Trace | None, relaxed: bool) -> RetentionModel:
        graph, budget, cost = self._problem.graph, self._problem.budget or 0, self._prices.cost
        limit = None if known is None else self._prices.limit(known.compute)
        model = RetentionModel(
            self._operations,
            cost,
            reruns.allowed,
            reruns.together(cost, limit),
            limit,
            budget - graph.layout.resident_memory,
            self._fixed,
            reruns.left_out if relaxed else (),
            self._deadline,
        )
        if known is not None:
            runs = known.codes[known.codes >= 0]
            warm_start(model, self._operations.sequence(runs).tolist())
        return model

    def _solve(self, model: RetentionModel, reruns: Reruns, relaxed: bool) -> Answer:
        problem, graph = self._problem, self._problem.graph
        escape = math.inf if relaxed else reruns.escape(self._prices.cost)
        self._wild = set()

        def take(value: Value) -> None:
            self._wild = {u for u, happens in model.wild.items() if value(happens)}
            runs = self._operations.nodes[model.sequence(value)]
            self._incumbent.offer(free_early(graph, with_views(graph, self._contraction, runs)))

        def prove(bound: float) -> None:
            self._prove(model, min(bound, escape))

        share = _SHARE if reruns.left_out and not relaxed else 1.0
        answer = minimise(
            model.program,
            deadline=self._deadline.share(share),
            seed=problem.seed,
            workers=problem.workers,
            on_solution=take,
            on_bound=prove,
        )
        prove(answer.bound)
        return answer

    def _is_proof(self, model: RetentionModel) -> bool:
        """Whether what a model proves holds in the order that was asked for."""
        return model.is_exact and self._order == self._problem.order

    def _prove(self, model: RetentionModel, spent: float) -> None:
        """State that reruns cost this much at least, or that the incumbent is optimal."""
        bound = min(self._incumbent.compute, self._prices.compute(spent))
        if spent >= 0 and bound < math.inf and self._is_proof(model):
            self._incumbent.prove(Proof(bound=bound))
