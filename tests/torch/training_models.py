"""Small models with what training steps are made of, and a tracker of live bytes."""

from __future__ import annotations

import weakref
from dataclasses import dataclass, field

import torch
from torch import nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Live(TorchDispatchMode):
    """Bytes of the storages that are alive, those of what operators returned and of `known`.

    A count of its own: it sees operators, not schedules.
    """

    def __init__(self, known):
        super().__init__()
        self.seen, self.now, self.peak = {}, 0, 0
        for tensor in known:
            self.add(tensor)

    @classmethod
    def ignore_compile_internals(cls):
        return True

    def add(self, tensor):
        storage = tensor.untyped_storage()
        key, size = id(storage), storage.nbytes()
        if key in self.seen:
            return

        def gone(_):
            del self.seen[key]
            self.now -= size

        self.seen[key] = weakref.ref(storage, gone)
        self.now += size
        self.peak = max(self.peak, self.now)

    def __torch_dispatch__(self, call, types, args=(), kwargs=None):
        found = call(*args, **(kwargs or {}))
        for tensor in tree_leaves(found):
            if isinstance(tensor, torch.Tensor):
                self.add(tensor)
        return found


class Normed(nn.Module):
    """Convolutions with batch norm, ReLU in place, pooling."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
            nn.Conv2d(8, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(inplace=True),
            nn.Flatten(),
            nn.Linear(128, 5),
        )

    def forward(self, x):
        return self.layers(x)


class Attending(nn.Module):
    """Tied embeddings, causal attention under a mask, dropout, layer norms; returns a dict."""

    def __init__(self, width=16, heads=2, words=11, share=0.2):
        super().__init__()
        self.embed = nn.Embedding(words, width)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.mix = nn.ModuleList(nn.Linear(width, 3 * width) for _ in range(2))
        self.out = nn.ModuleList(nn.Linear(width, width) for _ in range(2))
        self.drop = nn.Dropout(share)
        self.head = nn.Linear(width, words, bias=False)
        self.head.weight = self.embed.weight
        self.heads = heads

    def forward(self, ids, mask, labels):
        here = self.drop(self.embed(ids))
        for norm, mix, out in zip(self.norms, self.mix, self.out):
            q, k, v = (
                part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
                for part in mix(norm(here)).chunk(3, dim=-1)
            )
            seen = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask[:, None, None])
            here = here + self.drop(functional.gelu(out(seen.transpose(1, 2).flatten(2))))
        logits = self.head(self.norms[2](here))
        return {"loss": functional.cross_entropy(logits.flatten(0, 1), labels.flatten()), "n": ids}


class Odd(nn.Module):
    """Two losses, a frozen part, parameters that aren't used, random noise, a sum of squares."""

    def __init__(self):
        super().__init__()
        self.frozen = nn.Linear(8, 16).requires_grad_(requires_grad=False)
        self.first, self.second = nn.Linear(16, 16), nn.Linear(16, 4)
        self.unused = nn.Linear(7, 7)
        self.scale = nn.Parameter(torch.ones(4))

    def forward(self, x):
        here = torch.tanh(self.first(torch.relu_(self.frozen(x))))
        here = here + torch.rand_like(here)
        out = self.second(torch.sigmoid(here)) * self.scale
        return out.square().mean(), (self.scale * self.scale).sum() + out.abs().amax()


def perceptron():
    """Linear layers between kinds of activations."""
    first = [nn.Linear(8, 32), nn.ReLU(inplace=True), nn.Dropout(0.3)]
    then = [nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 32), nn.GELU()]
    return nn.Sequential(*first, *then, nn.Linear(32, 1))


@dataclass
class Case:
    """A model, a batch, and how its loss is had."""

    make: object
    args: tuple = ()
    kwargs: dict = field(default_factory=dict)
    loss: object = None
    targets: tuple = ()
    total: object = staticmethod(lambda output: output)

    def model(self):
        torch.manual_seed(0)
        return self.make()

    def example(self):
        return self.kwargs or self.args

    def tensors(self, model):
        given = [*self.args, *self.targets, *self.kwargs.values()]
        return [*model.parameters(), *model.buffers(), *given]

    def run(self, module, seed=7):
        """Losses of one step, and the gradients it leaves."""
        torch.manual_seed(seed)
        output = module(*self.args, *self.targets, **self.kwargs)  # held, as callers may
        total = self.total(output)
        total.backward()
        return total.detach()


def cases():
    """By name."""
    torch.manual_seed(1)
    x, images = torch.randn(64, 8), torch.randn(8, 3, 8, 8)
    ids, labels = torch.randint(0, 11, (6, 12)), torch.randint(0, 11, (6, 12))
    mask = torch.rand(6, 12) < 0.8
    mask[:, 0] = True
    return {
        "perceptron": Case(
            perceptron, (x,), loss=functional.mse_loss, targets=(torch.randn(64, 1),)
        ),
        "normed": Case(
            Normed,
            (images,),
            loss=nn.CrossEntropyLoss(label_smoothing=0.1),
            targets=(torch.randint(0, 5, (8,)),),
        ),
        "attending": Case(
            Attending,
            kwargs={"ids": ids, "mask": mask, "labels": labels},
            total=lambda output: output["loss"],
        ),
        "odd": Case(Odd, (x,), total=lambda output: output[0] + 2 * output[1]),
    }
