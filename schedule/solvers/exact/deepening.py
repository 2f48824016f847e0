"""Models of retention intervals that allow more and more reruns, until one proves enough."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from schedule.graph import Graph
from schedule.lowering import needed_in_order, replayed
from schedule.memory import Trace
from schedule.result import Order
from schedule.solvers.exact.cpsat import Answer, Value, minimise
from schedule.solvers.exact.hints import begin_with
from schedule.solvers.exact.reruns import Prices, RerunRules, Reruns
from schedule.solvers.exact.retention import RetentionModel
from schedule.solvers.program.contraction import contract
from schedule.solvers.program.operations import operations_of
from schedule.solvers.program.views import with_views

#: Graphs of up to so many operations get models in which first runs choose their places.
_FREE = 250


@dataclass(frozen=True)
class Question:
    """What is to be solved, what is known, and who gets the answers.

    Attributes
    ----------
    graph, budget, order
        As for `schedule.solve`.
    best
        The best schedule that fits, now; None: there is none.
    take
        Gets every schedule that is found, whether it fits or not.
    prove
        Gets every bound on the compute of all schedules within the budget.
    seconds_left
        For how long to go on, now.
    seed, workers
        For CP-SAT.
    """

    graph: Graph
    budget: int
    order: Order
    best: Callable[[], Trace | None]
    take: Callable[[Trace], object]
    prove: Callable[[float], object]
    seconds_left: Callable[[], float]
    seed: int = 0
    workers: int = 1


class Deepening:
    """Solves one model after the other.

    While no schedule is known, a model looks for one that fits, from the program
    as it is; the next ones look for the least compute. Any schedule better than
    the best one is in the model, or runs something again more often than the
    model allows, so none takes less compute than the lesser of the model's bound and
    what such a rerun costs (`Reruns.escape`). Where that decides nothing, the next
    model allows twice as many reruns of what matters there.
    """

    def __init__(self, question: Question) -> None:
        self._question = question
        graph = question.graph
        self._contraction = contract(graph)
        # In large graphs first runs keep their order; then nothing is proved of others.
        is_small = self._contraction.n_operations <= _FREE
        self._order: Order = question.order if is_small else "fixed"
        self._operations = operations_of(graph, self._contraction, self._order)
        self._prices = Prices.of(graph, self._operations)
        self._rules = RerunRules(graph, self._contraction, self._operations, self._fixed)
        self._most: list[int] = []

    @property
    def _fixed(self) -> bool:
        return self._order == "fixed"

    def run(self, runs: int) -> bool:
        """From `runs` runs of every operation on; whether it is proved that nothing fits."""
        self._most = [runs - 1] * len(self._operations.nodes)
        question = self._question
        while question.seconds_left() > 0:
            known, reruns = question.best(), self._allowed()
            model = self._model(reruns, known)
            answer = self._solve(model, reruns, known)
            if known is None and question.best() is not None:
                continue
            reruns = self._allowed()  # fewer are enough where a better schedule is known now
            escape = reruns.escape(self._prices.cost)
            spent = answer.bound
            if known is None:
                spent = math.inf if answer.decided else -math.inf
            self._prove(model, min(spent, escape))
            if not answer.decided:
                break
            if math.isinf(escape):
                return question.best() is None and self._is_proof(model)
            for u, (allowed, enough) in enumerate(zip(reruns.allowed, reruns.enough)):
                if allowed < enough:
                    self._most[u] = 2 * allowed + 1
        return False

    def _allowed(self) -> Reruns:
        best = self._question.best()
        limit = self._prices.limit(math.inf if best is None else best.compute)
        return self._rules.allow(self._most, self._prices.cost, limit)

    def _model(self, reruns: Reruns, known: Trace | None) -> RetentionModel:
        graph, budget, cost = self._question.graph, self._question.budget, self._prices.cost
        limit = None if known is None else self._prices.limit(known.compute)
        plain = needed_in_order(graph)
        model = RetentionModel(
            self._operations,
            cost,
            reruns.allowed,
            reruns.together(cost, limit),
            limit,
            budget - graph.layout.resident_memory,
            self._fixed,
            excess=plain.peak - budget if known is None else 0,
        )
        start = plain if known is None else known
        runs = start.codes[start.codes >= 0]
        begin_with(model, self._operations.sequence(runs).tolist())
        return model

    def _solve(self, model: RetentionModel, reruns: Reruns, known: Trace | None) -> Answer:
        question, escape = self._question, reruns.escape(self._prices.cost)

        def take(value: Value) -> None:
            runs = self._operations.nodes[model.sequence(value)]
            question.take(
                replayed(question.graph, with_views(question.graph, self._contraction, runs))
            )

        def prove(bound: float) -> None:
            if known is not None:
                self._prove(model, min(bound, escape))

        def stop() -> bool:
            return question.seconds_left() <= 0 or (known is None and question.best() is not None)

        return minimise(
            model.program,
            time_limit=question.seconds_left(),
            seed=question.seed,
            workers=question.workers,
            on_solution=take,
            on_bound=prove,
            stop=stop,
        )

    def _is_proof(self, model: RetentionModel) -> bool:
        """Whether what isn't in a model isn't in the order that was asked for, either."""
        return model.is_exact and self._order == self._question.order

    def _prove(self, model: RetentionModel, spent: float) -> None:
        """Pass on that reruns cost so much, or no schedule is better than the best."""
        best = self._question.best()
        least = math.inf if best is None else best.compute
        bound = min(least, self._prices.compute(spent)) if spent >= 0 else -math.inf
        if self._is_proof(model) and math.isfinite(bound):
            self._question.prove(bound)
