"""A model's training step as one graph of ATen operations, and where its ends belong."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import fx

from schedule.errors import CannotCapture


@dataclass(frozen=True, slots=True)
class Source:
    """Where an input of the joint graph comes from.

    `key` is a parameter's or buffer's qualified name, the number of an argument
    among the flattened ones, the number of the output whose gradient it is, or
    a constant's name.
    """

    kind: Literal["parameter", "buffer", "argument", "tangent", "constant"]
    key: str | int


@dataclass(frozen=True, slots=True)
class Alias:
    """An output that lies on a tensor which is there anyway, to be seen again at each call.

    `of` is an argument's number, or a differentiable result's: then `is_result`.
    """

    of: int
    is_result: bool
    size: tuple[int, ...]
    stride: tuple[int, ...]
    offset: int

    def seen(self, base: torch.Tensor) -> torch.Tensor:
        """The output, as a view of `base`."""
        return base.as_strided(self.size, self.stride, self.offset)


@dataclass(frozen=True, slots=True)
class Constant:
    """An output that is no tensor of the step: an argument as it was given, or a value."""

    value: Any = None
    argument: int | None = None


@dataclass(frozen=True)
class Joint:
    """Forward and backward pass of one training step, functional, on fake tensors.

    Attributes
    ----------
    graph
        Calls of ATen operators on `placeholder`s; the values that a node gives
        are in `node.meta["val"]`.
    sources
        By placeholder or `get_attr` node.
    constants
        Tensors that the graph refers to by name.
    mutations
        Buffer (or argument) and the node that gives its new content.
    results
        Nodes that give the differentiable results: what `tangent` sources count.
    outputs
        What the module returns, flattened: the number of a result, an `Alias`
        or a `Constant`.
    gradients
        Source of each tensor that gets a gradient, and the node that gives it.
    nesting
        How the outputs are nested.
    """

    graph: fx.Graph
    sources: dict[fx.Node, Source]
    constants: dict[str, torch.Tensor]
    mutations: list[tuple[Source, fx.Node]]
    results: list[fx.Node]
    outputs: list[int | Alias | Constant]
    gradients: list[tuple[Source, fx.Node]]
    nesting: Any


def joint_of(exported: Any, names: Mapping[str, str]) -> Joint:
    """What PyTorch exported as a joint graph, with its ends sorted.

    `names` are the module's names of parameters and buffers, by the captured ones.
    """
    reader = _Reader(exported, names)
    return Joint(
        graph=exported.graph_module.graph,
        sources=reader.sources,
        constants=reader.constants,
        mutations=reader.mutations,
        results=reader.results,
        outputs=reader.outputs,
        gradients=reader.gradients,
        nesting=exported.out_spec,
    )


class _Reader:
    """Takes an exported joint graph apart by PyTorch's own descriptions of its ends."""

    def __init__(self, joint: Any, names: Mapping[str, str]) -> None:
        self._joint, self._names = joint, names
        self.sources: dict[fx.Node, Source] = {}
        self.constants: dict[str, torch.Tensor] = {}
        self.mutations: list[tuple[Source, fx.Node]] = []
        self.results: list[fx.Node] = []
        self.outputs: list[int | Alias | Constant] = []
        self.gradients: list[tuple[Source, fx.Node]] = []
        self._given: dict[Any, Any] = {}  # by key: what the module returns, and their bases
        self._info = joint._aot_state.fw_metadata
        self._read()

    def _read(self) -> None:
        graph = self._joint.graph_module.graph
        for node in graph.nodes:
            if node.op == "get_attr":
                self.constants[node.target] = getattr(self._joint.graph_module, node.target)
                self.sources[node] = Source("constant", node.target)
        ends = graph.output_node()
        nodes, kinds = ends.args[0], ends.meta["desc"]
        for node, kind in zip(nodes, kinds):
            self._sort(node, kind)
        results = dict(self._results())
        for node, tangent in self._placeholders():
            self.sources[node] = (
                self._source(tangent)
                if not _is(tangent, "TangentAOTInput")
                else Source("tangent", results[_key(tangent.output)])
            )
        self._set_outputs(results)

    def _placeholders(self) -> Iterator[tuple[fx.Node, Any]]:
        for node in self._joint.graph_module.graph.nodes:
            if node.op == "placeholder":
                yield node, node.meta["desc"]

    def _source(self, kind: Any) -> Source:
        if _is(kind, "ParamAOTInput"):
            return Source("parameter", self._name(kind.target))
        if _is(kind, "BufferAOTInput"):
            return Source("buffer", self._name(kind.target))
        if _is(kind, "PlainAOTInput"):
            return Source("argument", kind.idx)
        raise unknown("input", kind)

    def _name(self, captured: str) -> str:
        if captured not in self._names:
            raise CannotCapture(
                f"the step reads {captured!r}, which is no parameter or buffer of the model;"
                f" register it as one, or pass it as an argument"
            )
        return self._names[captured]

    def _sort(self, node: Any, kind: Any) -> None:
        """Put one output of the joint graph where it belongs."""
        if kind is None:
            return
        if _is(kind, "InputMutationAOTOutput"):
            self.mutations.append((self._source(kind.mutated_input), node))
        elif _is(kind, "GradAOTOutput"):
            if node is not None:
                self.gradients.append((self._source(kind.grad_of), node))
        elif _is(kind, "PlainAOTOutput") or _is(kind, "IntermediateBaseAOTOutput"):
            self._given[_key(kind)] = node
        else:
            raise unknown("output", kind)

    def _results(self) -> Iterator[tuple[Any, int]]:
        """Outputs (by key) that the step itself returns, numbered."""
        aliased = {
            at
            for at, info in enumerate(self._info.output_info)
            if info.output_type.name.startswith(("alias_of", "is_input"))
        }
        for key, node in self._given.items():
            value = node.meta.get("val") if isinstance(node, fx.Node) else None
            if isinstance(value, torch.Tensor) and key not in aliased:
                self.results.append(node)
                yield key, len(self.results) - 1

    def _set_outputs(self, results: Mapping[Any, int]) -> None:
        infos = self._info.output_info
        bases = [key for key in self._given if not isinstance(key, int)]
        for at, info in enumerate(infos):
            node = self._given[at]
            if at in results:
                self.outputs.append(results[at])
            elif not isinstance(node, fx.Node):
                self.outputs.append(Constant(node))
            elif self._is_plain_argument(node):
                self.outputs.append(Constant(argument=int(self.sources[node].key)))
            else:
                of_result = info.output_type.name.startswith("alias_of_intermediate")
                if info.output_type.name == "alias_of_intermediate_base_is_user_output":
                    base = results[info.base_idx]
                else:
                    base = results[bases[info.base_idx]] if of_result else self._argument(at, info)
                value = node.meta["val"]
                place = tuple(value.size()), tuple(value.stride()), value.storage_offset()
                self.outputs.append(Alias(base, of_result, *place))

    def _is_plain_argument(self, node: fx.Node) -> bool:
        source = self.sources.get(node)
        return source is not None and source.kind == "argument"

    def _argument(self, at: int, info: Any) -> int:
        """The argument that an output lies on."""
        inputs = [node for node, _ in self._placeholders()]
        source = self.sources[inputs[info.base_idx]]
        if source.kind != "argument":
            raise CannotCapture(
                f"output {at} is a view of {source.kind} {source.key!r}; return a copy of it"
            )
        return int(source.key)


def unknown(end: str, kind: Any) -> CannotCapture:
    """What is said of an input or output that PyTorch describes in a way nobody knows here."""
    return CannotCapture(
        f"the captured step has an {end} of an unknown kind, {type(kind).__name__}:"
        f" please report it with the model and the version of PyTorch"
    )


def _is(kind: Any, name: str) -> bool:
    return type(kind).__name__ == name


def _key(kind: Any) -> Any:
    """One key for an output, whether it is described as itself or as a tangent's."""
    return kind.idx if _is(kind, "PlainAOTOutput") else repr(kind)
