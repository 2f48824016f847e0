"""Networks, from their inputs to their gradients."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from schedule.builder import GraphBuilder
from schedule.graph import Graph, renamed
from schedule.training import Saved, gradient


def mlp(layers: int = 6, width: int = 512, batch: int = 2048) -> Graph:
    """A multilayer perceptron with ReLU, from its input to all its gradients."""
    net = _Net("mlp")
    here = net.data("x", batch * width)
    for layer in range(layers):
        here = net.linear(f"linear{layer}", here, batch, width, width)
        if layer < layers - 1:
            here = net.pointwise(f"relu{layer}", here, saves="outputs")
    return net.train(here)


def resnet(blocks: int = 6, channels: int = 16, size: int = 32, batch: int = 16) -> Graph:
    """A residual convolutional network with batch norm; every second block halves the image."""
    net = _Net("resnet")
    here = net.data("images", batch * 3 * size**2)
    here = net.normal("norm", net.conv("stem", here, batch, 3, channels, size), channels, channels)
    for block in range(blocks):
        name, skip = f"block{block}", here
        wider = channels
        if block % 2 and size > 4:
            wider, size = 2 * channels, size // 2
            skip = net.conv(f"{name}.skip", here, batch, channels, wider, size, kernel=1)
        here = net.conv(f"{name}.conv1", here, batch, channels, wider, size)
        here = net.normal(f"{name}.norm1", here, wider, wider)
        here = net.pointwise(f"{name}.relu1", here, saves="outputs")
        here = net.conv(f"{name}.conv2", here, batch, wider, wider, size)
        here = net.normal(f"{name}.norm2", here, wider, wider)
        here = net.add(f"{name}.add", skip, here)
        here = net.pointwise(f"{name}.relu2", here, saves="outputs")
        channels = wider
    return net.train(here)


def unet(depth: int = 3, channels: int = 16, size: int = 64, batch: int = 8) -> Graph:
    """A U-Net: convolutions down and up again, with connections straight across."""
    net = _Net("unet")
    here, before = net.data("images", batch * 3 * size**2), 3
    across = []
    for level in range(depth):
        wide = channels * 2**level
        here = net.twice(f"down{level}", here, batch, before, wide, size >> level)
        across.append(here)
        here = net.pool(f"pool{level}", here)
        before = wide
    wide = channels * 2**depth
    here = net.twice("bottom", here, batch, before, wide, size >> depth)
    for level in reversed(range(depth)):
        before, wide = wide, channels * 2**level
        here = net.conv(f"up{level}", here, batch, before, wide, size >> level, kernel=2)
        here = net.concat(f"concat{level}", across[level], here)
        here = net.twice(f"join{level}", here, batch, 2 * wide, wide, size >> level)
    return net.train(net.conv("head", here, batch, channels, 2, size, kernel=1))


def transformer(
    layers: int = 4, width: int = 256, heads: int = 4, tokens: int = 128, batch: int = 4
) -> Graph:
    """A decoder: attention with views, dropout that must not run twice, layer norms."""
    net = _Net("transformer")
    rows = batch * tokens
    here = net.data("embedded", rows * width)
    for layer in range(layers):
        name = f"layer{layer}"
        inner = net.normal(f"{name}.norm1", here, width, rows)
        inner = net.attention(f"{name}.attention", inner, rows, width, heads * tokens)
        here = net.add(f"{name}.add1", here, net.dropout(f"{name}.dropout", inner))
        inner = net.normal(f"{name}.norm2", here, width, rows)
        inner = net.linear(f"{name}.expand", inner, rows, width, 4 * width)
        inner = net.pointwise(f"{name}.gelu", inner, saves="inputs")
        inner = net.linear(f"{name}.contract", inner, rows, 4 * width, width)
        here = net.add(f"{name}.add2", here, inner)
    return net.train(net.normal("norm", here, width, rows))


class _Net:
    """Layers of networks as nodes; remembers what each one's backward reads."""

    def __init__(self, name: str) -> None:
        self._builder = GraphBuilder(name)
        self._elements: dict[str, int] = {}
        self._reads: dict[str, Saved] = {}
        self._passes: list[str] = []
        self._parameters: list[str] = []

    def data(self, name: str, elements: int) -> str:
        """What the network is fed: may be freed after its last use."""
        self._elements[name] = elements
        return self._builder.input(name, 4 * elements, freeable=True)

    def parameter(self, name: str, elements: int) -> str:
        """What is learnt."""
        self._elements[name] = elements
        self._parameters.append(self._builder.input(name, 4 * elements))
        return name

    def op(
        self,
        name: str,
        inputs: Sequence[str],
        outputs: dict[str, int],
        saves: Saved,
        flops: int = 0,
        workspace: int = 0,
        recomputable: bool = True,
    ) -> str:
        """One node; returns its first output."""
        moved = 4 * (sum(outputs.values()) + sum(self._elements[read] for read in inputs))
        self._builder.node(
            name,
            inputs,
            memory={out: 4 * elements for out, elements in outputs.items()},
            compute=1 + max(flops // 100, moved // 10),
            workspace=workspace,
            recomputable=recomputable,
        )
        self._elements |= outputs
        self._reads[name] = saves
        return next(iter(outputs))

    def view(self, name: str, of: str) -> str:
        """The same elements in another shape."""
        self._elements[name] = self._elements[of]
        return self._builder.view(name, of)

    def pointwise(self, name: str, of: str, saves: Saved) -> str:
        """A function of each element."""
        return self.op(name, [of], {name: self._elements[of]}, saves)

    def add(self, name: str, left: str, right: str) -> str:
        """A sum of two tensors; its gradient goes to both as it is."""
        self._passes.append(name)
        return self.op(name, [left, right], {name: self._elements[left]}, "nothing")

    def concat(self, name: str, left: str, right: str) -> str:
        """Two tensors side by side."""
        elements = self._elements[left] + self._elements[right]
        return self.op(name, [left, right], {name: elements}, "nothing")

    def pool(self, name: str, of: str) -> str:
        """The largest of every four elements, and which of them it was."""
        elements = self._elements[of] // 4
        outputs = {name: elements, f"{name}.index": elements}
        return self.op(name, [of], outputs, [f"{name}.index"])

    def dropout(self, name: str, of: str) -> str:
        """Random zeros: a second run would draw others. The mask has a byte an element."""
        elements = self._elements[of]
        outputs = {name: elements, f"{name}.mask": -(-elements // 4)}
        return self.op(name, [of], outputs, [f"{name}.mask"], recomputable=False)

    def normal(self, name: str, of: str, features: int, statistics: int) -> str:
        """A normalisation, which keeps its means and scales for the backward pass."""
        weight = self.parameter(f"{name}.weight", features)
        outputs = {name: self._elements[of]}
        outputs |= {f"{name}.mean": statistics, f"{name}.scale": statistics}
        return self.op(name, [of, weight], outputs, [of, weight, *list(outputs)[1:]])

    def linear(self, name: str, of: str, rows: int, before: int, after: int) -> str:
        """A matrix product with a weight."""
        weight = self.parameter(f"{name}.weight", before * after)
        flops = 2 * rows * before * after
        return self.op(name, [of, weight], {name: rows * after}, "inputs", flops)

    def conv(
        self, name: str, of: str, batch: int, before: int, after: int, size: int, kernel: int = 3
    ) -> str:
        """A convolution; its workspace unrolls one image."""
        weight = self.parameter(f"{name}.weight", kernel**2 * before * after)
        elements = batch * after * size**2
        flops = 2 * elements * before * kernel**2
        unrolled = 4 * before * kernel**2 * size**2 if kernel > 1 else 0
        return self.op(name, [of, weight], {name: elements}, "inputs", flops, unrolled)

    def twice(self, name: str, of: str, batch: int, before: int, after: int, size: int) -> str:
        """Two convolutions, each with a ReLU."""
        for part in "ab":
            of = self.conv(f"{name}{part}", of, batch, before, after, size)
            of = self.pointwise(f"{name}{part}.relu", of, saves="outputs")
            before = after
        return of

    def attention(self, name: str, of: str, rows: int, width: int, columns: int) -> str:
        """Self-attention: query, key and value are views of one projection."""
        joined = self.linear(f"{name}.qkv", of, rows, width, 3 * width)
        parts = self.split(f"{name}.split", joined, [f"{name}.{part}" for part in "qkv"])
        query, key, value = parts
        turned = self.view(f"{name}.k.T", key)
        scores, weights = f"{name}.scores", f"{name}.softmax"
        flops = 2 * rows * columns * width
        here = self.op(scores, [query, turned], {scores: rows * columns}, "inputs", flops)
        here = self.op(weights, [here], {weights: rows * columns}, "outputs")
        mixed = f"{name}.mixed"
        here = self.op(mixed, [here, value], {mixed: rows * width}, "inputs", flops)
        return self.linear(f"{name}.out", self.view(f"{mixed}.T", here), rows, width, width)

    def split(self, name: str, of: str, parts: Iterable[str]) -> tuple[str, ...]:
        """Several views of one tensor, from one node."""
        parts = tuple(parts)
        self._elements |= {part: self._elements[of] // len(parts) for part in parts}
        self._builder.views(name, of, parts)
        self._reads[name] = "nothing"
        return parts

    def train(self, last: str) -> Graph:
        """The training graph, with a loss behind `last`."""
        target = self.data("target", self._elements[last])
        loss = self.op("loss", [last, target], {"loss": 1}, "inputs")
        forward = self._builder.build(outputs=[loss])
        trained = gradient(
            forward,
            wrt=self._parameters,
            reads=self._reads,
            passes=self._passes,
            sum_compute=0,
        )
        return renamed(trained, forward.name)
