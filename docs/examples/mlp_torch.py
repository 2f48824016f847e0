"""Train the multilayer perceptron of `mlp_numpy.py` in PyTorch, under the same plan.

    python docs/examples/mlp_torch.py [cuda]

The graph and the plan are the same: they only know sizes. The kernels are
PyTorch's, and so are the arrays.
"""

import sys

import mlp_numpy
import torch

import schedule
from schedule.executors import run

RATE = 0.05


def linear(here, weight, bias):
    """The bias is added in place, so no second tensor of this size is there for a moment."""
    return (here @ weight).add_(bias)


def cross_entropy(logits, labels):
    """The mean loss, and its gradient by the logits."""
    logarithms = logits.log_softmax(dim=1)
    loss = torch.nn.functional.nll_loss(logarithms, labels)
    chances = logarithms.exp_()
    chances[torch.arange(len(labels), device=labels.device), labels] -= 1
    return loss, chances.div_(len(labels))


def d_linear(gradient, here, weight):
    """The gradients by the weight, the bias, and what the layer read."""
    return here.T @ gradient, gradient.sum(dim=0), gradient @ weight.T


#: By operation: a node's name without its number.
KERNELS = {
    "flat": lambda images: images.view(len(images), -1),
    "linear": linear,
    "relu": torch.relu,
    "cross_entropy": cross_entropy,
    "d_relu": lambda gradient, after: torch.where(after > 0, gradient, 0),
    "d_linear": d_linear,
    "d_first": lambda gradient, here: (here.T @ gradient, gradient.sum(dim=0)),
}


def tensors(arrays, device):
    """NumPy's arrays as tensors of their own."""
    return {name: torch.tensor(array, device=device) for name, array in arrays.items()}


def train(graph, plan, steps, device="cpu"):
    """Plain gradient descent; yields each step's `Replay`: outputs and memory."""
    parameters = tensors(mlp_numpy.start(graph), device)
    for at in range(steps):
        # Nobody else holds the batch: so it really goes when the schedule frees it.
        inputs = parameters | tensors(mlp_numpy.batch(at), device)
        found = run(graph, plan, KERNELS, inputs, operations=mlp_numpy.operation)
        for name, tensor in parameters.items():
            tensor -= RATE * found.outputs[f"d_{name}"]
        yield found


def main(device="cpu"):
    """Train twice, with and without a plan, and compare."""
    graph = mlp_numpy.build()
    whole, half = schedule.solve(graph, solver="store_all"), schedule.solve(graph, budget="50%")
    print(half)
    runs = zip(train(graph, whole, 5, device), train(graph, half, 5, device))
    for at, (plain, planned) in enumerate(runs):
        same = all(torch.equal(tensor, planned.outputs[k]) for k, tensor in plain.outputs.items())
        print(
            f"step {at}: loss {planned.outputs['loss']:.3f},",
            "the same gradients" if same else "OTHER GRADIENTS",
            f"in {planned.measured_peak} instead of {plain.measured_peak} bytes,",
            "as promised" if planned.exact and plain.exact else "NOT AS PROMISED",
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
