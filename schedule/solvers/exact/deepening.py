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
#: What a model that leaves schedules out may take of the time, where one is to come that doesn't.
_SHARE = 0.7


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
    as it is; the next ones look for the least compute. Each kind comes first without
    the schedules that run something more often than it allows, and then, to prove
    something of these as well, with wild runs (see `RetentionModel`). Where the best
    solution has some, the next model allows twice as many reruns of those operations.
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
        self._wild: set[int] = set()

    @property
    def _fixed(self) -> bool:
        return self._order == "fixed"

    def run(self, runs: int) -> int | None:
        """From `runs` runs of every operation on; where nothing fits, the memory that it takes.

        That is the least budget that the proof leaves open; None: nothing like it is proved.
        """
        self._most = [runs - 1] * len(self._operations.nodes)
        question, relaxed = self._question, False
        while question.seconds_left() > 0:
            known, reruns = question.best(), self._allowed()
            model = self._model(reruns, known, relaxed)
            answer = self._solve(model, reruns, known, relaxed)
            if known is None and question.best() is not None:
                relaxed = False
            elif not relaxed and reruns.left_out:
                relaxed = True
            elif known is None and answer.bound > 0 and self._is_proof(model):
                return model.memory(answer.bound) + question.graph.layout.resident_memory
            elif not answer.decided or not self._wild:
                break
            for u in self._wild:
                self._most[u] = 2 * reruns.allowed[u] + 1
        return None

    def _allowed(self) -> Reruns:
        best = self._question.best()
        limit = self._prices.limit(math.inf if best is None else best.compute)
        return self._rules.allow(self._most, self._prices.cost, limit)

    def _model(self, reruns: Reruns, known: Trace | None, relaxed: bool) -> RetentionModel:
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
            plain.peak - budget if known is None else 0,
            reruns.left_out if relaxed else (),
        )
        start = plain if known is None else known
        runs = start.codes[start.codes >= 0]
        begin_with(model, self._operations.sequence(runs).tolist())
        return model

    def _solve(
        self, model: RetentionModel, reruns: Reruns, known: Trace | None, relaxed: bool
    ) -> Answer:
        question = self._question
        escape = math.inf if relaxed else reruns.escape(self._prices.cost)
        self._wild = set()

        def take(value: Value) -> None:
            self._wild = {u for u, happens in model.wild.items() if value(happens)}
            runs = self._operations.nodes[model.sequence(value)]
            question.take(
                replayed(question.graph, with_views(question.graph, self._contraction, runs))
            )

        def prove(bound: float) -> None:
            if known is not None:
                self._prove(model, min(bound, escape))

        def stop() -> bool:
            return question.seconds_left() <= 0 or (known is None and question.best() is not None)

        share = _SHARE if reruns.left_out and not relaxed else 1.0
        answer = minimise(
            model.program,
            time_limit=share * question.seconds_left(),
            seed=question.seed,
            workers=question.workers,
            on_solution=take,
            on_bound=prove,
            stop=stop,
        )
        prove(answer.bound)
        return answer

    def _is_proof(self, model: RetentionModel) -> bool:
        """Whether what a model proves holds in the order that was asked for."""
        return model.is_exact and self._order == self._question.order

    def _prove(self, model: RetentionModel, spent: float) -> None:
        """Pass on that reruns cost so much, or no schedule is better than the best."""
        best = self._question.best()
        if best is not None and spent >= 0 and self._is_proof(model):
            self._question.prove(min(best.compute, self._prices.compute(spent)))
