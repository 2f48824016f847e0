"""What an equation's run costs, and what it takes while it runs, by its shapes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, get_args

import jax

from schedule.devices import COUNTING, typical
from schedule.errors import BadOption
from schedule.jax.internals import (
    Equation,
    Jaxpr,
    bodies_of,
    bytes_of,
    calls_host,
    is_array,
    is_literal,
    temporary_bytes,
)
from schedule.values import cost, is_one_of, shown

#: By constants of the kind of device, by floating-point operations (in thousands), or each
#: equation 1; or what a function of the equation says.
Costs = Literal["model", "flops", "unit"] | Callable[[Any], float]
#: What an equation takes only while it runs: of loops and branches a bound by their values, of
#: calls of the host copies of what they read, of others nothing; nothing at all; or what XLA
#: says, which compiles each kind.
Workspace = Literal["auto", "none", "measure"]


class Work(NamedTuple):
    """What a run does: floating-point operations, and bytes that are read and written."""

    flops: float
    moved: float


class Meter:
    """Costs and workspace of the equations of one function.

    Parameters
    ----------
    costs, workspace
        As for `schedule.jax.plan`.

    Attributes
    ----------
    guessed
        Loops whose number of rounds isn't known, which count as one round.

    Raises
    ------
    BadOption
        One of them is none of the choices.
    """

    def __init__(self, costs: Costs, workspace: Workspace) -> None:
        choices = ["model", "flops", "unit"]
        if not (callable(costs) or is_one_of(costs, choices)):
            raise BadOption(
                f"costs is {shown(costs)}; it is one of {', '.join(choices)}, or a function"
            )
        if not is_one_of(workspace, get_args(Workspace)):
            known = ", ".join(get_args(Workspace))
            raise BadOption(f"workspace is {shown(workspace)}; it is one of {known}")
        self._costs, self._workspace = costs, workspace
        self._device = COUNTING if costs == "flops" else typical(jax.default_backend())
        self._measured: dict[Any, int] = {}
        self._held: dict[int, tuple[Jaxpr, int]] = {}
        self.guessed = 0

    def cost(self, equation: Equation) -> int | float:
        """Of one run.

        Raises
        ------
        BadOption
            The caller's function gives no number ≥ 0.
        """
        if callable(self._costs):
            what = f"costs of {equation.primitive.name}"
            try:
                return cost(self._costs(equation), what)
            except ValueError as error:
                raise BadOption(str(error)) from error
        if self._costs == "unit":
            return 1
        return self._device.nanoseconds(*self._work(equation))

    def workspace(self, equation: Equation) -> int:
        """Bytes that one run takes beside what it reads and writes."""
        if self._workspace == "none":
            return 0
        if self._workspace == "auto":
            return self._bound(equation)
        shapes = tuple(str(atom.aval) for atom in (*equation.invars, *equation.outvars))
        key = (equation.primitive.name, str(equation.params), shapes)
        if key not in self._measured:
            self._measured[key] = temporary_bytes(equation)
        return self._measured[key]

    def _work(self, equation: Equation) -> Work:
        bodies = list(bodies_of(equation))
        if not bodies:
            return Work(_flops(equation), _moved(equation))
        works = [self._work_of(body) for body in bodies]
        name = equation.primitive.name
        if name == "cond":  # one of the branches
            return Work(max(w.flops for w in works), max(w.moved for w in works))
        self.guessed += name == "while"
        rounds = equation.params.get("length", 1) if name == "scan" else 1
        return Work(rounds * sum(w.flops for w in works), rounds * sum(w.moved for w in works))

    def _work_of(self, body: Jaxpr) -> Work:
        works = [self._work(inner) for inner in body.eqns]
        return Work(sum(w.flops for w in works), sum(w.moved for w in works))

    def _bound(self, equation: Equation) -> int:
        """Of a loop, or of branches: its state twice, and all that a round holds at once.

        Of a call of the host: what it is given is copied.
        """
        if calls_host(equation):
            return sum(_bytes(atom) for atom in equation.invars)
        bodies = list(bodies_of(equation))
        if not bodies:
            return 0
        rounds = max(self._held_in(body) for body in bodies)
        if equation.primitive.name == "cond":
            return rounds
        given = max(sum(_bytes(variable) for variable in body.invars) for body in bodies)
        return given + rounds

    def _held_in(self, body: Jaxpr) -> int:
        """The most bytes of values that a program holds at once, run in order."""
        if id(body) in self._held:
            return self._held[id(body)][1]
        last = {variable: len(body.eqns) for variable in body.outvars if not is_literal(variable)}
        for at in range(len(body.eqns) - 1, -1, -1):
            for atom in body.eqns[at].invars:
                if not is_literal(atom):
                    last.setdefault(atom, at)
        held = peak = 0
        made = set()
        for at, inner in enumerate(body.eqns):
            made.update(inner.outvars)
            held += sum(map(_bytes, inner.outvars))
            peak = max(peak, held + self._bound(inner))
            gone = {*inner.outvars, *(atom for atom in inner.invars if not is_literal(atom))}
            held -= sum(_bytes(v) for v in gone & made if last.get(v, at) <= at)
        self._held[id(body)] = (body, peak)  # the program is kept, so that its number stays its own
        return peak


def _bytes(variable: Any) -> int:
    return bytes_of(variable.aval) if is_array(variable.aval) else 0


def _moved(equation: Equation) -> int:
    return sum(map(_bytes, (*equation.invars, *equation.outvars)))


def _flops(equation: Equation) -> int:
    """Of matrix products and convolutions; 0 for everything else."""
    name, params = equation.primitive.name, equation.params
    if name == "dot_general":
        (contracted, _), _ = params["dimension_numbers"]
        shape = equation.invars[0].aval.shape
        length = math.prod(shape[at] for at in contracted)
        return int(2 * equation.outvars[0].aval.size * length)
    if name == "conv_general_dilated":
        kernel = equation.invars[1].aval.shape
        features = kernel[params["dimension_numbers"].rhs_spec[0]]
        return int(2 * equation.outvars[0].aval.size * math.prod(kernel) // max(features, 1))
    return 0
