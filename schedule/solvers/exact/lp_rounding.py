"""Checkmate's approximation: the linear relaxation, rounded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from schedule.errors import BadOption
from schedule.graph import Graph
from schedule.layout import Bools, Floats
from schedule.lowering import needed_in_order
from schedule.solvers.contract import Deadline, Incumbent, Problem, Proof

#: Allowances that are tried one after the other, as shares of the budget.
_ALLOWANCES = (
    0.0,
    0.01,
    0.02,
    0.03,
    0.05,
    0.07,
    0.1,
    0.13,
    0.16,
    0.2,
    0.25,
    0.3,
    0.4,
    0.5,
    0.6,
    0.7,
)
_ROUNDINGS = ("deterministic", "randomised")
#: What an entry of a solution is exact to.
_EXACT = 1e-6


@dataclass(frozen=True, slots=True)
class LpRounding:
    """Solve the linear relaxation, round what it holds, and rerun the least that this needs.

    The two-phase approximation of Jain et al. 2020 (Checkmate, MLSys,
    arXiv:1910.02653, section 5), on the staged model of `ilp`, which looks at
    memory at a few cut points only. Phase one rounds what the relaxation holds
    at each of them, phase two finds the reruns that this makes necessary, and
    frees everything as early as possible. As rounding may overrun the budget, a
    share of it is kept back, the *allowance*.

    Each allowance begins with one cut point, the boundary of forward and backward
    pass (or without these, where memory is at its peak); where the cheapest plan
    exceeds the budget, it gets more, up to a dozen times. The relaxation with
    nothing kept back bounds every schedule, in the order that is asked for; the
    plan keeps the given order.

    Parameters
    ----------
    allowance
        Share of the budget to keep back, from 0 to below 1 (the paper's: 0.1);
        None: one after the other, from nothing to 40 %, until the relaxation
        alone costs as much as the best plan; the cheapest that fits counts.
    rounding
        `deterministic`: what is held to more than a threshold is held.
        `randomised`: it is held with a probability of its value.
    thresholds
        Those of the deterministic rounding, each tried on every solution.
    samples
        How often each solution is rounded at random.

    Raises
    ------
    BadOption
        An option is out of its range.

    Notes
    -----
    Some linear programs of K · (nodes + tensors) columns for K cut points, and
    O(K · (nodes + edges)) for each plan.

    Examples
    --------
    >>> import schedule
    >>> plan = schedule.solve(schedule.example("unet"), "70%", solver=LpRounding())
    >>> plan.peak <= plan.budget, plan.lower_bound <= plan.compute
    (True, True)
    """

    allowance: float | None = None
    rounding: str = "deterministic"
    thresholds: tuple[float, ...] = (0.5,)
    samples: int = 20
    counts_work: ClassVar[bool] = True
    name: str = "lp_rounding"
    summary: str = "rounds the linear relaxation, keeps an allowance (Checkmate, Jain et al. 2020)"

    def __post_init__(self) -> None:
        if self.rounding not in _ROUNDINGS:
            raise BadOption(f"rounding is {self.rounding!r}; there are {', '.join(_ROUNDINGS)}")
        if self.allowance is not None and not 0 <= self.allowance < 1:
            raise BadOption(f"allowance is {self.allowance}; it has to be from 0 to below 1")
        if not self.thresholds or not all(0 <= value < 1 for value in self.thresholds):
            raise BadOption(f"thresholds are {self.thresholds}; they have to be from 0 to below 1")
        if self.samples < 1:
            raise BadOption(f"samples is {self.samples}; it has to be 1 or more")

    def supports(self, graph: Graph) -> str | None:
        """Any graph."""
        return None

    def improve(self, problem: Problem, incumbent: Incumbent, deadline: Deadline) -> Proof:
        """The bound that the relaxations prove; the best plan was offered."""
        plain = needed_in_order(problem.graph)
        if incumbent.offer(plain) or not problem.graph.layout.needed.any():
            return Proof()
        # HiGHS is loaded only when it is needed.
        from schedule.solvers.exact.rounding import Rounding

        allowances = _ALLOWANCES if self.allowance is None else (self.allowance,)
        random = np.random.default_rng(problem.seed)

        def rounded(hold: Floats) -> Sequence[Bools]:
            if self.rounding == "randomised":
                return [random.random(hold.shape) < hold for _ in range(self.samples)]
            return [hold > threshold + _EXACT for threshold in self.thresholds]

        return Rounding(problem, incumbent, deadline, allowances, rounded).run()
