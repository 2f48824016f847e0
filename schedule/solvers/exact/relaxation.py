"""The linear relaxation of a staged model: a fractional solution, and what it proves."""

from __future__ import annotations

import math
from dataclasses import dataclass

from schedule.layout import Floats
from schedule.solvers.contract import Deadline
from schedule.solvers.exact.highs import DUAL_TOLERANCE, Answer, Outcome, minimise
from schedule.solvers.exact.model import StagedModel

#: A share of the budget that is within the solver's own tolerance.
NOTHING = 1e-6


@dataclass(frozen=True, slots=True)
class Relaxed:
    """How a linear relaxation was solved.

    Attributes
    ----------
    outcome
        Without a solution, whether there is none or the time ran out.
    x
        Values of the model's columns; None: no solution.
    compute
        Compute of the solution, with the constants; infinite without one.
    bound
        A lower bound on every schedule within the model's budget: −∞ where a share of it
        was kept back, or without a solution.
    """

    outcome: Outcome
    x: Floats | None
    compute: float = math.inf
    bound: float = -math.inf


def safe_bound(answer: Answer, model: StagedModel) -> float:
    """What an optimum of a model's relaxation proves of the objective, whatever that is.

    It is dual feasible within HiGHS's tolerance only, and no column exceeds 1.
    """
    return answer.bound - DUAL_TOLERANCE * model.n_columns


def relax(
    model: StagedModel,
    deadline: Deadline,
    allowance: float = 0.0,
) -> Relaxed:
    """Solve the linear relaxation, with a share `allowance` of the budget kept back."""
    answer = minimise(model.relaxed(allowance), deadline=deadline)
    if answer.outcome is not Outcome.SOLVED or answer.x is None:
        return Relaxed(answer.outcome, None)
    bound = model.compute(safe_bound(answer, model)) if allowance == 0.0 else -math.inf
    return Relaxed(answer.outcome, answer.x, model.compute(answer.bound), bound)
