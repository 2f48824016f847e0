"""A sequence of runs as a solution of the retention intervals: the warm start of CP-SAT."""

from __future__ import annotations

from ortools.sat.python import cp_model

from schedule.solvers.exact.retention import Position, RetentionModel

#: Values of variables, by their number in the program.
Values = dict[int, int]


def warm_start(model: RetentionModel, sequence: list[int]) -> bool:
    """Give the program a warm start; False where the model doesn't know it.

    Parameters
    ----------
    model
        The model.
    sequence
        Operations in the order in which they run, each after what it reads.
        O(runs · reads).
    """
    positions = _positions(model, sequence)
    if positions is None:
        return False
    program = model.program
    for number, value in _Retelling(model).values(sequence, positions).items():
        program.add_hint(program.get_int_var_from_proto_index(number), value)
    return True


def _positions(model: RetentionModel, sequence: list[int]) -> list[int] | None:
    """The position of each run of the sequence; None where some can't have any."""
    done = [0] * len(model.runs)
    positions: list[int] = []
    at = 0
    for v in sequence:
        begins = model.fixed and not done[v]
        if done[v] == len(model.runs[v]) or (begins and model.first[v] <= at):
            return None
        at = model.first[v] if begins else at + 1
        done[v] += 1
        positions.append(at)
    # A rerun at the position of a first run, or beyond it, would be one too many between two.
    if not all(done) or at >= model.end:
        return None
    return positions


class _Retelling:
    """What the variables are when a sequence runs."""

    def __init__(self, model: RetentionModel) -> None:
        self._model = model
        self._values: Values = {}
        self._done = [0] * len(model.runs)
        # By resource and number of the run that wrote it (−1: an input): until when it is held.
        self._ends: dict[tuple[int, int], int] = {}

    def values(self, sequence: list[int], positions: list[int]) -> Values:
        """Of all variables but those that follow from them."""
        model = self._model
        for v, at in zip(sequence, positions):
            run = model.runs[v][self._done[v]]
            for r in model.reads[v]:
                self._read(r, at + 1, (v, run.number, r))
            self._set(run.start, at)
            for r in run.ends:
                self._ends[r, run.number] = at + 1
            self._done[v] += 1
        for r in (r for r, kept in enumerate(model.kept) if kept and model.size[r]):
            self._read(r, model.end, (-1, 0, r))
        for r, end in model.inputs.items():
            self._set(end, self._ends.get((r, -1), 0))
        for happens in model.wild.values():
            self._set(happens, 0)
        for v, runs in enumerate(model.runs):
            for run in runs:
                active = run.number < self._done[v]
                if run.number:
                    self._set(run.active, int(active))
                for r, end in run.ends.items() if active else ():
                    self._set(end, self._ends[r, run.number])
        return self._values

    def _read(self, resource: int, until: int, use: tuple[int, int, int]) -> None:
        """The newest value of a resource is held until then."""
        u = self._model.producer[resource]
        newest = self._done[u] - 1 if u >= 0 else -1
        self._ends[resource, newest] = until
        for number, literal in enumerate(self._model.choices.get(use, ())):
            self._set(literal, int(number == newest))

    def _set(self, variable: Position, value: int) -> None:
        if isinstance(variable, cp_model.IntVar):
            self._values[variable.index] = value
