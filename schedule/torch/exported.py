"""What PyTorch exports as a joint graph, with its ends sorted."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import fx

from schedule.errors import CannotCapture
from schedule.torch.joint import Alias, Constant, Joint, Source


def joint_of(exported: Any) -> Joint:
    """What PyTorch exported as a joint graph, with its ends sorted.

    Raises
    ------
    CannotCapture
        The step changes an input in a way that nobody could follow here.
    """
    state = exported._aot_state
    _check_changes(state.fw_metadata.input_info, state.flat_args)
    effects = _without_tokens(exported.graph_module.graph)
    reader = _Reader(exported)
    _forward_first(exported.graph_module.graph, reader)
    return Joint(
        graph=exported.graph_module.graph,
        sources=reader.sources,
        constants=reader.constants,
        mutations=reader.mutations,
        results=reader.results,
        outputs=reader.outputs,
        gradients=reader.gradients,
        effects=effects,
    )


def _check_changes(inputs: Sequence[Any], given: Sequence[Any]) -> None:
    """Refuse changes of inputs that are more than new content."""
    for info, tensor in zip(inputs, given):
        if info.mutates_metadata or info.mutates_storage_metadata:
            raise CannotCapture(
                "the step changes the shape or the memory of one of its inputs in place"
                " (resize_, set_, t_, …); make another tensor of it"
            )
        if info.mutates_data and info.requires_grad:  # as it is afterwards
            # PyTorch allows no change of a leaf that is differentiated, but under no_grad.
            if not tensor.requires_grad:
                raise CannotCapture(
                    "the step writes what is differentiated into a buffer or an argument, which"
                    " would carry its gradient from step to step; write what is detached"
                    " (buffer.add_(x.detach()))"
                )
            if not (info.is_leaf or info.mutations_under_no_grad_or_inference_mode):
                raise CannotCapture(
                    "the step changes in place an argument that is differentiated; change a copy"
                    " of it (x = x.clone())"
                )


def _forward_first(graph: fx.Graph, reader: _Reader) -> None:
    """Move what results are made of before all that depends on their gradients.

    PyTorch makes views of what was changed in place when the graph ends.
    """
    needed = {*reader.results, *(node for _, node in reader.mutations)}
    for node in reversed(graph.nodes):
        if node in needed:
            needed.update(node.all_input_nodes)
    late = {node for node, source in reader.sources.items() if source.kind == "tangent"}
    first: fx.Node | None = None
    for node in list(graph.nodes):
        if node.op == "output":
            continue
        if not late.isdisjoint(node.all_input_nodes):
            late.add(node)
            first = first or node
        elif first is not None and node in needed:
            first.prepend(node)


def _without_tokens(graph: fx.Graph) -> frozenset[fx.Node]:
    """Take out the tokens by which PyTorch keeps effects in order; the nodes that have them."""
    found = []
    for node in list(graph.nodes):
        if str(node.target) != "with_effects":
            continue
        token, call, *rest = node.args
        with graph.inserting_before(node):
            plain = graph.call_function(call, tuple(rest), dict(node.kwargs))
        plain.meta = dict(node.meta)
        made = node.meta["val"][1:]
        is_one = len(call._schema.returns) == 1
        plain.meta["val"] = made[0] if is_one else tuple(made)
        found.append(plain)
        for user in list(node.users):
            at = user.args[1] - 1
            value = token if at < 0 else plain
            if at >= 0 and not is_one:
                with graph.inserting_before(user):
                    value = graph.call_function(operator.getitem, (plain, at))
                value.meta = dict(user.meta)
            user.replace_all_uses_with(value)
            graph.erase_node(user)
        graph.erase_node(node)
    return frozenset(found)


class _Reader:
    """Takes an exported joint graph apart by PyTorch's own descriptions of its ends."""

    def __init__(self, joint: Any) -> None:
        self._joint, self._graph = joint, joint.graph_module.graph
        self.sources: dict[fx.Node, Source] = {}
        self.constants: dict[str, torch.Tensor] = {}
        self.mutations: list[tuple[Source, fx.Node]] = []
        self.results: list[fx.Node] = []
        self.outputs: list[int | Alias | Constant] = []
        self.gradients: list[tuple[Source, fx.Node]] = []
        self._given: dict[Any, Any] = {}  # by key: what is returned, and their bases
        self._info = joint._aot_state.fw_metadata
        self._read()

    def _read(self) -> None:
        for node in self._graph.nodes:
            if node.op == "get_attr":
                self.constants[node.target] = getattr(self._joint.graph_module, node.target)
                self.sources[node] = Source("constant", node.target)
        ends = self._graph.output_node()
        nodes, kinds = ends.args[0], ends.meta["desc"]
        again = self._returned_again(zip(nodes, kinds))
        tangents = [(n, k) for n, k in self._placeholders() if _is(k, "TangentAOTInput")]
        unused = {
            node
            for node, kind in tangents
            if _is(kind.output, "InputMutationAOTOutput") or _key(kind.output) in again
        }
        for node in unused:
            _set_to_zero(self._graph, node)
        nodes = ends.args[0]
        for node, kind in zip(nodes, kinds):
            if node not in unused:  # nothing but a gradient that nobody gives
                self._sort(node, kind)
        results = dict(self._results(again))
        results |= {at: results[first] for at, first in again.items()}
        for node, kind in self._placeholders():
            if not _is(kind, "TangentAOTInput"):
                self.sources[node] = _source(kind)
            elif node not in unused:
                self.sources[node] = Source("tangent", results[_key(kind.output)])
        self._set_outputs(results)

    def _placeholders(self) -> list[tuple[fx.Node, Any]]:
        """All but tokens."""
        found = [(n, n.meta["desc"]) for n in self._graph.nodes if n.op == "placeholder"]
        return [(node, kind) for node, kind in found if "Token" not in type(kind).__name__]

    def _sort(self, node: Any, kind: Any) -> None:
        """Put one output of the joint graph where it belongs."""
        if kind is None or "Token" in type(kind).__name__:
            return
        if _is(kind, "InputMutationAOTOutput"):
            self.mutations.append((_source(kind.mutated_input), node))
        elif _is(kind, "GradAOTOutput"):
            if node is not None:
                self.gradients.append((_source(kind.grad_of), node))
        elif _is(kind, "PlainAOTOutput") or _is(kind, "IntermediateBaseAOTOutput"):
            self._given[_key(kind)] = node
        else:
            raise unknown("output", kind)

    def _results(self, again: Mapping[int, int]) -> Iterator[tuple[Any, int]]:
        """Outputs (by key) that the step itself returns, numbered; those returned again once."""
        for key, node in self._given.items():
            if key not in again and self._is_result(key, node):
                self.results.append(node)
                yield key, len(self.results) - 1

    def _returned_again(self, ends: Iterable[tuple[Any, Any]]) -> dict[int, int]:
        """Outputs that are an earlier one, as `x.float()` may be: by number, which.

        To the caller they are one tensor, which has one gradient.
        """
        found: dict[int, int] = {}
        first: dict[fx.Node, int] = {}
        for node, kind in ends:
            if not (_is(kind, "PlainAOTOutput") and self._is_result(kind.idx, node)):
                continue
            if first.setdefault(node, kind.idx) != kind.idx:
                found[kind.idx] = first[node]
        return found

    def _is_result(self, key: Any, node: Any) -> bool:
        """Whether an output (by key) is a tensor that the step makes, and no view of something."""
        value = node.meta.get("val") if isinstance(node, fx.Node) else None
        of = self._info.output_info[key].output_type.name if isinstance(key, int) else ""
        return isinstance(value, torch.Tensor) and not of.startswith(("alias_of", "is_input"))

    def _set_outputs(self, results: Mapping[Any, int]) -> None:
        infos = self._info.output_info
        for at, info in enumerate(infos):
            node = self._given[at]
            if at in results:
                self.outputs.append(results[at])
            elif not isinstance(node, fx.Node):
                self.outputs.append(Constant(node))
            elif self._is_input(node) and (info.requires_grad or not self._requires_grad(node)):
                self.outputs.append(Constant(given=int(self.sources[node].key)))
            else:
                of_result = info.output_type.name.startswith("alias_of_intermediate")
                base = self._base(info, results) if of_result else self._input(info)
                value = node.meta["val"]
                of = (self.results if of_result else [n for n, _ in self._placeholders()])[base]
                whole = of.meta["val"]
                self._check_view(at, value, whole)
                parts = 1 if value.dtype == whole.dtype else 2  # a complex number is two
                shift = value.storage_offset() - parts * whole.storage_offset()
                place = tuple(value.size()), tuple(value.stride()), shift
                turned = value.is_conj() != whole.is_conj(), value.is_neg() != whole.is_neg()
                turned = turned[0] and value.is_complex(), turned[1]
                kind = not info.requires_grad, not value.is_complex()
                self.outputs.append(Alias(base, of_result, *place, *kind, *turned))

    def _base(self, info: Any, results: Mapping[Any, int]) -> int:
        """The result that an output lies on, maybe by way of other outputs that are views."""
        while info.output_type.name == "alias_of_intermediate_base_is_user_output":
            if info.base_idx in results:
                return results[info.base_idx]
            info = self._info.output_info[info.base_idx]
        bases = [key for key in self._given if not isinstance(key, int)]
        return results[bases[info.base_idx]]

    def _check_view(self, at: int, value: torch.Tensor, of: torch.Tensor) -> None:
        """Refuse views as another type, but for the real numbers in complex ones."""
        if value.dtype != of.dtype and value.dtype != of.dtype.to_real():
            raise CannotCapture(
                f"output {at} is a view of a {of.dtype} tensor as {value.dtype}; return a copy"
            )

    def _requires_grad(self, node: fx.Node) -> bool:
        at = self.sources[node].key
        return bool(self._info.input_info[int(at)].requires_grad)

    def _is_input(self, node: fx.Node) -> bool:
        source = self.sources.get(node)
        return source is not None and source.kind == "input"

    def _input(self, info: Any) -> int:
        """The input that an output lies on."""
        inputs = [node for node, _ in self._placeholders()]
        return int(self.sources[inputs[info.base_idx]].key)


def _set_to_zero(graph: fx.Graph, tangent: fx.Node) -> None:
    """Do without the gradient of what an input becomes: from outside there is none."""
    for user in list(tangent.users):
        if user.target is torch.ops.aten.add.Tensor and not user.kwargs:
            other = user.args[1] if user.args[0] is tangent else user.args[0]
            if isinstance(other, fx.Node) and other is not tangent:
                user.replace_all_uses_with(other)
                graph.erase_node(user)
    rest = [user for user in tangent.users if user.op != "output"]
    if rest:
        value = tangent.meta["val"]
        with graph.inserting_after(tangent):
            options = {"dtype": value.dtype, "device": value.device}
            zeros = graph.call_function(
                torch.ops.aten.zeros.default, (list(value.size()),), options
            )
        zeros.meta["val"] = torch.zeros_like(value)
        for user in rest:
            user.replace_input_with(tangent, zeros)


def _source(kind: Any) -> Source:
    if _is(kind, "PlainAOTInput"):
        return Source("input", kind.idx)
    if _is(kind, "SyntheticBaseAOTInput") or _is(kind, "ViewBaseAOTInput"):
        raise CannotCapture(
            "two inputs of the step (arguments, buffers) share memory, and it changes one of them"
            " in place; give it copies, or change a copy"
        )
    if _is(kind, "SubclassGetAttrAOTInput"):
        raise CannotCapture(
            "an input of the step (an argument, a parameter) is a tensor made of others, such as a"
            " nested or a distributed one; give plain tensors: padded ones with a mask, local ones"
        )
    raise unknown("input", kind)


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
