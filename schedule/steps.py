"""Schedules: what to run and what to free, in order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NoReturn, Protocol, TypeAlias

from schedule.errors import BadInput, NoSuchLevel, UnknownName, WrongGraph
from schedule.graph import require_graph
from schedule.levels import MOST_LEVELS
from schedule.values import is_listed, shown

if TYPE_CHECKING:
    from schedule.graph import Graph
    from schedule.layout import Ints, Layout


@dataclass(frozen=True, slots=True)
class Compute:
    """Run `node`; its outputs are live afterwards."""

    node: str


@dataclass(frozen=True, slots=True)
class Free:
    """Free `tensor`; its storage is free with the last tensor on it."""

    tensor: str


@dataclass(frozen=True, slots=True)
class Offload:
    """Copy `tensor` to `level` (1: the host) from the one above; it stays there, too."""

    tensor: str
    level: int = 1


@dataclass(frozen=True, slots=True)
class Prefetch:
    """Copy `tensor` from `level` (1: the host) to the one above; it stays below, too."""

    tensor: str
    level: int = 1


@dataclass(frozen=True, slots=True)
class Drop:
    """Let go of the copy of `tensor` on `level` (1: the host)."""

    tensor: str
    level: int = 1


Step = Compute | Free | Offload | Prefetch | Drop
#: Steps for a level below the device, in the order of their codes, and what messages call them.
TRANSFERS = (Offload, Prefetch, Drop)
TRANSFER_WORDS = ("offload", "prefetch", "drop")
_BLOCK = {kind: at for at, kind in enumerate(TRANSFERS)}


class Schedule:
    """Steps for one graph, which is known by name and digest; immutable.

    Parameters
    ----------
    steps
        What to do, in order.
    graph_name, digest
        The graph that the steps belong to (`Graph.name`, `Graph.digest`).

    Notes
    -----
    Solvers give their steps as codes. These are kept, a few bytes a step; the
    steps as objects are made when somebody first asks for them.
    """

    __slots__ = ("__dict__", "_codes", "_names", "digest", "graph_name")

    graph_name: str
    digest: str
    _codes: Ints | None
    _names: tuple[list[str], list[str]]

    def __init__(self, steps: tuple[Step, ...], graph_name: str, digest: str) -> None:
        self._put(None, ([], []), graph_name, digest)
        self.__dict__["steps"] = steps

    def _put(
        self,
        codes: Ints | None,
        names: tuple[list[str], list[str]],
        graph_name: str,
        digest: str,
    ) -> None:
        put = object.__setattr__
        put(self, "_codes", codes)
        put(self, "_names", names)
        put(self, "graph_name", graph_name)
        put(self, "digest", digest)

    @classmethod
    def of(cls, graph: Graph, steps: Iterable[Step]) -> Schedule:
        """These steps as a schedule of `graph`; nothing of them is checked yet."""
        require_graph(graph)
        if not is_listed(steps):
            raise BadInput(
                f"steps is {shown(steps)}; it has to be a list of schedule.Compute and others"
            )
        return cls(tuple(steps), graph.name, graph.digest)

    @classmethod
    def of_codes(cls, graph: Graph, codes: Ints) -> Schedule:
        """These codes (see `schedule.layout`) as a schedule of `graph`; nothing is checked yet."""
        made = cls.__new__(cls)
        names = graph.layout.node_names, graph.layout.tensor_names
        made._put(codes, names, graph.name, graph.digest)
        return made

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a Schedule is immutable: {name!r} can't be set")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"a Schedule is immutable: {name!r} can't be deleted")

    def __reduce__(self) -> tuple[Any, ...]:
        return (Schedule, (self.steps, self.graph_name, self.digest))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Schedule):
            return NotImplemented
        if (self.graph_name, self.digest) != (other.graph_name, other.digest):
            return False
        mine, others = self._codes, other._codes
        if mine is None or others is None:
            return self.steps == other.steps
        return len(mine) == len(others) and bool((mine == others).all())

    def __hash__(self) -> int:
        return hash((len(self), self.graph_name, self.digest))

    def __repr__(self) -> str:
        return f"<Schedule of {self.graph_name!r}: {len(self)} steps>"

    @cached_property
    def steps(self) -> tuple[Step, ...]:
        """What to do, in order."""
        assert self._codes is not None, "without codes, the steps were given"
        return _decode(self._names, self._codes)

    def __len__(self) -> int:
        return len(self.steps if self._codes is None else self._codes)

    def __iter__(self) -> Iterator[Step]:
        return iter(self.steps)

    @property
    def reruns(self) -> int:
        """Runs of a node beyond its first."""
        if self._codes is None:
            ran = [step.node for step in self.steps if isinstance(step, Compute)]
            return len(ran) - len(set(ran))
        ran_codes = self._codes[self._codes >= 0]
        return len(ran_codes) - len(set(ran_codes.tolist()))

    def require(self, graph: Graph) -> None:
        """Raise WrongGraph unless this is a schedule of `graph`."""
        if self.digest != graph.digest:
            raise WrongGraph(
                f"the schedule was made for graph {self.graph_name!r} with digest"
                f" {self.digest[:12]}…, but graph {graph.name!r} has digest"
                f" {graph.digest[:12]}…; solve this graph, or use the one it was made for"
            )


class Plan(Protocol):
    """What has a schedule, or says why there is none: a `schedule.Result`."""

    @property
    def schedule(self) -> Schedule | None:
        """The schedule; None: there is none."""


#: What stands for a schedule wherever one is asked for: a result, a schedule, steps, or codes.
AnySchedule: TypeAlias = "Plan | Schedule | Iterable[Step] | Ints"


def codes_of(graph: Graph, given: AnySchedule, depth: int = 0) -> Ints:
    """Whatever stands for a schedule of `graph`, as codes (see `layout`); nothing is checked yet.

    Parameters
    ----------
    graph
        The graph.
    given
        A result, a schedule, steps, or codes.
    depth
        The number of levels below the device that the steps may be for.

    Raises
    ------
    WrongGraph
        It was made for another graph; steps and codes belong to any.
    UnknownName
        A step names, or a code stands for, a node or a tensor that the graph doesn't have.
    BadInput
        It is a result without a schedule, whose status is named, or nothing of all that.
    NoSuchLevel
        A step is for a level beyond `depth`.
    """
    import numpy as np

    require_graph(graph)
    if isinstance(given, np.ndarray):
        return _checked(graph, given, depth)
    steps: Any = given
    if hasattr(given, "schedule"):
        steps = given.schedule
        if steps is None:
            raise BadInput(f"there is no schedule: {given}")
    if isinstance(steps, Schedule):
        steps.require(graph)
    elif isinstance(steps, (str, bytes, Mapping)) or not isinstance(steps, Iterable):
        raise BadInput(
            f"{shown(steps)} is no schedule; give a Result, a Schedule, or steps"
            f" (schedule.read_schedule reads a file)"
        )
    codes = encode(graph, steps)
    if codes.size and codes.min() < -graph.layout.n_tensors * (1 + 3 * depth):
        _refuse_level(graph, codes, depth)
    return codes


def _refuse_level(graph: Graph, codes: Ints, depth: int) -> NoReturn:
    """Say which step is for a level that isn't there."""
    layout = graph.layout
    at = int((codes < -layout.n_tensors * (1 + 3 * depth)).argmax())
    tensor, level, kind = transfer_of(layout, int(codes[at]))
    known = f"below the device are only {depth}" if depth else "there is none below the device here"
    raise NoSuchLevel(
        f"step {at} ({TRANSFER_WORDS[kind]} {layout.tensor_names[tensor]!r}) is for level {level},"
        f" but {known}",
        at,
    )


def _checked(graph: Graph, codes: Ints, depth: int) -> Ints:
    """An array as codes: integers, each of them a node's or a tensor's."""
    import numpy as np

    if codes.dtype.kind not in "iu" or codes.ndim != 1:
        raise BadInput(
            f"an array of shape {codes.shape} and type {codes.dtype} is no schedule; codes are a"
            f" list of integers"
        )
    layout = graph.layout
    least = -layout.n_tensors * (1 + 3 * depth)
    if codes.size and not (least <= codes.min() and codes.max() < layout.n_nodes):
        at = int(np.flatnonzero((codes >= layout.n_nodes) | (codes < least))[0])
        raise UnknownName(
            f"step {at} has the code {codes[at]}, which is no node's and no tensor's of graph"
            f" {graph.name!r}",
            at,
        )
    kept = codes.astype(np.int64)  # a copy: whose the array is may use it again
    kept.flags.writeable = False
    return kept


def encode(graph: Graph, steps: Iterable[Step]) -> Ints:
    """Steps as codes (see `layout`), shape (steps,).

    Raises
    ------
    UnknownName
        A step names a node or a tensor that the graph doesn't have.
    """
    import numpy as np

    if isinstance(steps, Schedule) and steps._codes is not None and steps.digest == graph.digest:
        return steps._codes
    nodes, tensors = graph.layout.node_id, graph.layout.tensor_id
    listed = steps if isinstance(steps, (tuple, list)) else tuple(steps)
    try:
        if set(map(type, listed)).isdisjoint(TRANSFERS):
            codes = [
                nodes[step.node] if type(step) is Compute else ~tensors[step.tensor]  # type: ignore[union-attr]
                for step in listed
            ]
        else:
            codes = [_code(nodes, tensors, step) for step in listed]
    except (KeyError, AttributeError, TypeError):
        _explain_name(graph, listed)
        raise
    return np.array(codes, dtype=np.int64)


def _code(nodes: Mapping[str, int], tensors: Mapping[str, int], step: Any) -> int:
    """The code of any step; KeyError: it has none."""
    if type(step) is Compute:
        return nodes[step.node]
    if type(step) is Free:
        return ~tensors[step.tensor]
    if type(step.level) is not int or not 1 <= step.level <= MOST_LEVELS:
        raise KeyError(step.level)
    block = 3 * (step.level - 1) + 1 + _BLOCK[type(step)]
    return ~(tensors[step.tensor] + block * len(tensors))


def transfer_of(layout: Layout, code: int) -> tuple[int, int, int]:
    """What a code < 0 stands for: the tensor, the level (0: it frees), and the kind (TRANSFERS)."""
    block, tensor = divmod(~code, layout.n_tensors)
    return (tensor, 0, -1) if block == 0 else (tensor, (block + 2) // 3, (block - 1) % 3)


def in_words(graph: Graph, codes: Ints, step: int) -> str:
    """`step` in words: its number and what it does; −1 is the start."""
    if step < 0:
        return "the start (all inputs)"
    code, layout = int(codes[step]), graph.layout
    if code >= 0:
        return f"step {step} (compute {layout.node_names[code]!r})"
    tensor, level, kind = transfer_of(layout, code)
    name = repr(layout.tensor_names[tensor])
    if level == 0:
        return f"step {step} (free {name})"
    where = "" if level == 1 else f", level {level}"
    return f"step {step} ({TRANSFER_WORDS[kind]} {name}{where})"


def _explain_name(graph: Graph, steps: Iterable[Step]) -> None:
    for at, step in enumerate(steps):
        if isinstance(step, Compute):
            if not isinstance(step.node, str) or step.node not in graph.layout.node_id:
                raise UnknownName(
                    f"step {at} runs {step.node!r}, which is no node of graph {graph.name!r}", at
                )
        elif isinstance(step, Free):
            if not isinstance(step.tensor, str) or step.tensor not in graph.layout.tensor_id:
                raise UnknownName(
                    f"step {at} frees {step.tensor!r}, which is no tensor of graph {graph.name!r}",
                    at,
                )
        elif isinstance(step, TRANSFERS):
            word = TRANSFER_WORDS[_BLOCK[type(step)]]
            if not isinstance(step.tensor, str) or step.tensor not in graph.layout.tensor_id:
                raise UnknownName(
                    f"step {at} ({word}) is about {step.tensor!r}, which is no tensor of graph"
                    f" {graph.name!r}",
                    at,
                )
            if type(step.level) is not int or not 1 <= step.level <= MOST_LEVELS:
                raise UnknownName(
                    f"step {at} ({word} {step.tensor!r}) is for level {shown(step.level)}; levels"
                    f" are counted from 1, the one below the device, to {MOST_LEVELS}",
                    at,
                )
        else:
            raise UnknownName(
                f"step {at} is {step!r}; a step is a Compute or a Free, or an Offload, a Prefetch"
                f" or a Drop",
                at,
            )


def decode(graph: Graph, codes: Ints) -> tuple[Step, ...]:
    """Codes as steps: the inverse of `encode`."""
    return _decode((graph.layout.node_names, graph.layout.tensor_names), codes)


def _decode(names: tuple[list[str], list[str]], codes: Ints) -> tuple[Step, ...]:
    runs, frees = [Compute(name) for name in names[0]], [Free(name) for name in names[1]]
    if codes.size and codes.min() < -len(frees):
        return tuple([_decode_one(runs, frees, code) for code in codes.tolist()])
    return tuple([runs[code] if code >= 0 else frees[~code] for code in codes.tolist()])


def _decode_one(runs: list[Compute], frees: list[Free], code: int) -> Step:
    if code >= -len(frees):
        return runs[code] if code >= 0 else frees[~code]
    block, tensor = divmod(~code, len(frees))
    return TRANSFERS[(block - 1) % 3](frees[tensor].tensor, (block + 2) // 3)
