"""Train a multilayer perceptron in plain NumPy at half the memory, and get the same gradients.

    python docs/examples/mlp_numpy.py

Each operation and its derivative is a function of arrays, written by hand. The
graph says which node reads what, and how many bytes it writes; the plan says
what to drop and compute again.
"""

import numpy as np

import schedule
from schedule.executors import run

LAYERS, WIDTH, CLASSES, BATCH = 10, 64, 10, 1024
FLOAT, LABEL = 4, 8  # bytes
RATE = np.float32(0.05)


def build(layers=LAYERS):
    """The graph of one training step: loss and gradients from parameters and a batch.

    Computes are operations; memory is in bytes, workspace that of the kernels' temporary arrays.
    """
    g = schedule.GraphBuilder("mlp-numpy")
    images = g.input("images", FLOAT * BATCH * WIDTH, freeable=True)
    labels = g.input("labels", LABEL * BATCH, freeable=True)
    read = [g.view("flat", images)]  # what each layer reads
    weights = []
    for k in range(layers):
        width = WIDTH if k < layers - 1 else CLASSES
        weights.append(g.input(f"weight{k}", FLOAT * WIDTH * width))
        bias = g.input(f"bias{k}", FLOAT * width)
        size, work = FLOAT * BATCH * width, 2 * BATCH * WIDTH * width
        here = g.node(f"linear{k}", [read[k], weights[k], bias], memory=size, compute=work)
        if k < layers - 1:
            here = g.node(f"relu{k}", here, memory=size, compute=BATCH * width)
        read.append(here)
    sizes = {"loss": FLOAT, "d_logits": FLOAT * BATCH * CLASSES}
    g.node(
        "cross_entropy",
        [here, labels],
        memory=sizes,
        compute=5 * BATCH * CLASSES,
        workspace=(LABEL + 2 * FLOAT) * BATCH,
    )
    gradient, outputs = "d_logits", ["loss"]
    for k in reversed(range(layers)):
        width = WIDTH if k < layers - 1 else CLASSES
        if k < layers - 1:
            gradient = g.node(
                f"d_relu{k}",
                [gradient, read[k + 1]],
                memory=FLOAT * BATCH * width,
                compute=BATCH * width,
                workspace=BATCH * width,
                backward=True,
            )
        sizes = {f"d_weight{k}": FLOAT * WIDTH * width, f"d_bias{k}": FLOAT * width}
        if k:
            sizes[f"d_read{k}"] = FLOAT * BATCH * WIDTH
        g.node(
            f"d_linear{k}" if k else "d_first",
            [gradient, read[k], weights[k]] if k else [gradient, read[k]],
            memory=sizes,
            compute=(4 if k else 2) * BATCH * WIDTH * width,
            backward=True,
        )
        gradient = f"d_read{k}"
        outputs += [f"d_weight{k}", f"d_bias{k}"]
    return g.build(outputs)


def linear(here, weight, bias):
    """The bias is added in place, so no second array of this size is there for a moment."""
    product = here @ weight
    product += bias
    return product


def cross_entropy(logits, labels):
    """The mean loss, and its gradient by the logits."""
    chances = logits - logits.max(axis=1, keepdims=True)
    np.exp(chances, out=chances)
    chances /= chances.sum(axis=1, keepdims=True)
    rows = np.arange(len(labels))
    loss = -np.log(chances[rows, labels]).mean()
    chances[rows, labels] -= 1
    chances /= len(labels)
    return loss, chances


def d_linear(gradient, here, weight):
    """The gradients by the weight, the bias, and what the layer read."""
    return here.T @ gradient, gradient.sum(axis=0), gradient @ weight.T


#: By operation: a node's name without its number.
KERNELS = {
    "flat": lambda images: images.reshape(len(images), -1),
    "linear": linear,
    "relu": lambda here: np.maximum(here, 0),
    "cross_entropy": cross_entropy,
    "d_relu": lambda gradient, after: np.where(after > 0, gradient, np.float32(0)),
    "d_linear": d_linear,
    "d_first": lambda gradient, here: (here.T @ gradient, gradient.sum(axis=0)),
}


def operation(node):
    """`linear` for `linear3`."""
    return node.name.rstrip("0123456789")


def start(graph):
    """Parameters to begin with: one array for each resident input of the graph."""
    random = np.random.default_rng(0)
    found = {}
    for item in graph.inputs:
        values = item.memory // FLOAT
        if item.name.startswith("weight"):
            weight = random.standard_normal((WIDTH, values // WIDTH), np.float32)
            found[item.name] = weight * np.float32((2 / WIDTH) ** 0.5)
        elif item.name.startswith("bias"):
            found[item.name] = np.zeros(values, np.float32)
    return found


def batch(at):
    """Images of 8 × 8 pixels, each a noisy picture of its label."""
    pictures = np.random.default_rng(1).standard_normal((CLASSES, 8, 8), np.float32)
    random = np.random.default_rng([2, at])
    labels = random.integers(0, CLASSES, BATCH)
    noise = random.standard_normal((BATCH, 8, 8), np.float32)
    return {"images": pictures[labels] + noise / 2, "labels": labels}


def train(graph, plan, steps):
    """Plain gradient descent; yields each step's `Replay`: outputs and memory."""
    parameters = start(graph)
    for at in range(steps):
        # Nobody else holds the batch: so it really goes when the schedule frees it.
        inputs = parameters | batch(at)
        found = run(graph, plan, KERNELS, inputs, operations=operation)
        for name, array in parameters.items():
            array -= RATE * found.outputs[f"d_{name}"]
        yield found


def main():
    """Train twice, with and without a plan, and compare."""
    graph = build()
    whole, half = schedule.solve(graph, solver="store_all"), schedule.solve(graph, budget="50%")
    print(half)
    for at, (plain, planned) in enumerate(zip(train(graph, whole, 5), train(graph, half, 5))):
        same = all(np.array_equal(a, planned.outputs[k]) for k, a in plain.outputs.items())
        print(
            f"step {at}: loss {planned.outputs['loss']:.3f},",
            "the same gradients" if same else "OTHER GRADIENTS",
            f"in {planned.measured_peak} instead of {plain.measured_peak} bytes,",
            "as promised" if planned.exact and plain.exact else "NOT AS PROMISED",
        )


if __name__ == "__main__":
    main()
