"""Lower bounds on the cost of reaching a state of the given order: prices of what is live, summed.

The linear relaxation of the staged model knows what holding costs. Take a
schedule only up to some time: what it has run and held till then satisfies
those rows of the model that are about it, and what is live at that time stands
for what the model would hold next. So the duals of these rows bound its compute
from below, whatever is live: each live resource adds its price. That is a
potential heuristic (Pommerening, Helmert, Röger, Seipp 2015, AAAI), here for a
search from the end to the start.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from schedule.layout import Floats
from schedule.solvers.contract import Deadline
from schedule.solvers.exact.corridor.covers import covers_of, with_covers
from schedule.solvers.exact.highs import minimise
from schedule.solvers.exact.model import StagedModel

#: How often cover inequalities are added.
_ROUNDS = 8


@dataclass(frozen=True)
class Potentials:
    """Lower bounds on the compute of reruns before a state.

    When the operations 0 … j − 1 have first run and the resources X are live,
    reruns up to then have cost at least `base[j] + price[j, X].sum()`.

    Attributes
    ----------
    base
        Shape (o + 1,).
    price
        Shape (o + 1, r), at least 0.
    """

    base: Floats
    price: Floats


def no_potentials(operations: int, resources: int) -> Potentials:
    """Zero everywhere."""
    return Potentials(np.zeros(operations + 1), np.zeros((operations + 1, resources)))


def potentials(model: StagedModel, deadline: Deadline) -> Potentials | None:
    """The potentials of a model's linear relaxation, tightened by cover inequalities.

    Parameters
    ----------
    model
        Of the given order, with rows at cut points only.
    deadline
        When to give up.

    Returns
    -------
    Potentials or None
        None where the relaxation has no solution, or none in time.
    """
    c = model.contraction
    if not model.n_columns:
        return no_potentials(c.n_operations, c.n_resources)
    # Above 1 no column is of use, and without that limit no reduced cost is below 0.
    program = replace(model.program.relaxed(), upper=np.full(model.n_columns, np.inf))
    operations = [model.windows.cuts]
    rows = [np.array(model.memory_rows, np.int64)]
    answer = minimise(program, deadline=deadline)
    for _ in range(_ROUNDS):
        if answer.x is None:
            return None
        covers = covers_of(model, answer.x)
        if not len(covers.row):
            break
        rows.append(len(program.row_lower) + np.arange(len(covers.row)))
        operations.append(model.windows.cuts[covers.row])
        program = with_covers(program, covers)
        answer = minimise(program, deadline=deadline)
    if answer.prices is None:
        return None
    at_least = np.isfinite(program.row_lower)
    dual = np.where(at_least, np.maximum(answer.prices, 0), np.minimum(answer.prices, 0))
    gain = dual * np.where(at_least, program.row_lower, program.row_upper)
    row = np.repeat(np.arange(len(dual)), np.diff(program.starts))
    spent = np.bincount(program.columns, program.values * dual[row], model.n_columns)
    # Dual feasible within a tolerance only; no column exceeds 1.
    slack = float(np.minimum(program.cost - spent, 0).sum())
    gained = np.zeros(c.n_operations + 1)
    needed, _, _, operation = model.needs.T
    np.add.at(gained, operation, gain[needed])
    np.add.at(gained, np.concatenate(operations), gain[np.concatenate(rows)])
    base = slack + np.concatenate([[0.0], np.cumsum(gained[:-1])])
    return Potentials(base * model.scale, _prices(model, dual) * model.scale)


def _prices(model: StagedModel, dual: Floats) -> Floats:
    """For each state, the duals of what is needed in its interval from there on."""
    c, cuts = model.contraction, model.windows.cuts
    rows, interval, resource, operation = model.needs.T
    price = np.zeros((c.n_operations + 1, c.n_resources))
    # What a cut point itself reads is held at it: nothing of its interval has run before.
    inside = operation > np.append(-1, cuts)[interval]
    np.add.at(price, (operation[inside], resource[inside]), dual[rows[inside]])
    ends: set[int] = set(cuts.tolist())
    for j in reversed(range(c.n_operations)):
        if j not in ends:
            price[j] += price[j + 1]
    return price
