"""The generated models' parts that have parameters: layers, indexing, functions, checkpoints."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from tests.torch.generated_functions import images, part, rows_of

#: How many there are in the integer argument.
WORDS = 7


@part("linear")
class Linear(nn.Module):
    def __init__(self, pick, width):
        super().__init__()
        make = pick(
            lambda: nn.Linear(width, width),
            lambda: nn.Linear(width, width, bias=False),
            lambda: nn.Sequential(nn.Linear(width, 8), nn.ReLU(inplace=True), nn.Linear(8, width)),
            lambda: nn.PReLU(width),
            lambda: nn.utils.parametrizations.weight_norm(nn.Linear(width, width)),
            lambda: nn.utils.parametrizations.spectral_norm(nn.Linear(width, width)),
            lambda: nn.utils.parametrizations.orthogonal(nn.Linear(width, width)),
        )
        self.layer = make()

    def forward(self, x, world):
        return self.layer(x)


@part("bilinear")
class Bilinear(nn.Module):
    def __init__(self, pick, width):
        super().__init__()
        self.layer, self.which = nn.Bilinear(width, width, width), pick("self", "other", "seen")

    def forward(self, x, world):
        other = {"self": x, "other": world["other"], "seen": world["seen"][0]}[self.which]
        return self.layer(x, other)


@part("convolution")
class Convolution(nn.Module):
    def __init__(self, pick, width):
        super().__init__()
        make, self.view = pick(
            (lambda: nn.Conv1d(2, 2, 3, padding=1), rows_of),
            (lambda: nn.Conv2d(2, 2, (2, 1), padding="same"), images),
            (lambda: nn.Conv1d(2, 4, 2, 2, groups=2), rows_of),
            (lambda: nn.Conv2d(2, 2, 3, padding=1, padding_mode="circular"), images),
            (lambda: nn.Conv1d(2, 2, 3, padding=2, dilation=2, bias=False), rows_of),
            (lambda: nn.ConvTranspose1d(2, 2, 3, padding=1), rows_of),
            (lambda: nn.ConvTranspose2d(2, 2, 3, padding=1), images),
            (lambda: nn.ConvTranspose1d(2, 1, 2, 2), rows_of),
            (lambda: nn.Conv3d(2, 2, (1, 1, 1)), lambda x: images(x)[:, :, None]),
        )
        self.layer = make()

    def forward(self, x, world):
        return self.layer(self.view(x)).flatten(1)


@part("norm")
class Norm(nn.Module):
    def __init__(self, pick, width):
        super().__init__()
        make, self.view = pick(
            (lambda: nn.BatchNorm1d(width), lambda x: x),
            (lambda: nn.LayerNorm(width), lambda x: x),
            (lambda: nn.BatchNorm2d(2), images),
            (lambda: nn.GroupNorm(2, width), lambda x: x),
            (lambda: nn.RMSNorm(width), lambda x: x),
            (lambda: nn.InstanceNorm1d(2, affine=True, track_running_stats=True), rows_of),
            (lambda: nn.BatchNorm1d(width, momentum=None), lambda x: x),
            (lambda: nn.BatchNorm1d(2, track_running_stats=False), rows_of),
            (lambda: nn.BatchNorm1d(2, affine=False), rows_of),
            (lambda: nn.LayerNorm(width, elementwise_affine=False), lambda x: x),
            (lambda: nn.InstanceNorm2d(2) if width > 4 else nn.Identity(), images),
            (lambda: nn.BatchNorm1d(width).eval(), lambda x: x),
        )
        self.layer = make()
        self.inplace = pick(False, True)

    def forward(self, x, world):
        found = self.layer(self.view(x)).flatten(1)
        return found.relu_() if self.inplace else found


@part("joined")
class Joined(nn.Module):
    """With what parts before gave, or another argument."""

    def __init__(self, pick, width):
        super().__init__()
        self.linear = nn.Linear(2 * width, width)
        self.how = pick("cat", "add", "stack", "mul", "inplace", "where", "cat0", "hstack")
        self.which = pick("first", "last", "other", "all")

    def forward(self, x, world):
        seen = world["seen"]
        other = {"first": seen[0], "last": seen[-2:][0], "other": world["other"]}.get(self.which)
        other = sum(seen) if other is None else other
        if self.how == "cat":
            return self.linear(torch.cat([x, other], 1))
        if self.how == "stack":
            return torch.stack([x, other, x]).sum(0)
        if self.how == "mul":
            return x * other.sigmoid()
        if self.how == "inplace":
            found = x * 0.5
            found += other
            return found
        if self.how == "where":
            return torch.where(other > 0, x, other)
        if self.how == "cat0":
            return torch.cat([other, x])[x.shape[0] :] + torch.cat([x, other]).mean(0)
        if self.how == "hstack":
            return torch.hstack([other, x])[:, ::2].contiguous()
        return x + other


@part("attention")
class Attention(nn.Module):
    def __init__(self, pick, width):
        super().__init__()
        self.mix, self.share = nn.Linear(width // 2, 3 * width // 2), pick(0.0, 0.3)
        self.how = pick("plain", "causal", "mask", "added", "gqa", "hand")

    def forward(self, x, world):
        here = x.view(x.shape[0], 2, -1)
        q, k, v = (t[:, None] for t in self.mix(here).chunk(3, -1))
        mask = None
        if self.how == "mask":
            mask = torch.ones(2, 2, dtype=torch.bool).tril()
        elif self.how == "added":
            mask = here.detach() @ here.detach().mT
            mask = mask[:, None]
        if self.how == "hand":
            weights = functional.dropout((q @ k.mT).softmax(-1), self.share)
            return x + (weights @ v).flatten(1)
        found = functional.scaled_dot_product_attention(
            q, k, v, attn_mask=mask, dropout_p=self.share, is_causal=self.how == "causal"
        )
        return x + found.flatten(1)


@part("multihead")
class Multihead(nn.Module):
    def __init__(self, pick, width):
        super().__init__()
        self.first, self.weights = pick(True, False), pick(False, True)
        options = pick({}, {"dropout": 0.2}, {"bias": False}, {"add_bias_kv": True}, {"kdim": 2})
        self.same = "kdim" not in options
        self.whole = pick(False, True) and self.same
        if self.whole:
            self.layer = nn.TransformerEncoderLayer(
                width // 2, 2, 8, pick(0.0, 0.2), batch_first=self.first
            )
        else:
            more = {} if self.same else {"vdim": width // 2}
            options = {**options, **more}
            if not self.same:
                options["kdim"] = width // 2
            self.layer = nn.MultiheadAttention(width // 2, 1, batch_first=self.first, **options)

    def forward(self, x, world):
        here = x.view(x.shape[0], 2, -1)
        if self.whole:
            return self.layer(here).flatten(1)
        found, weights = self.layer(here, here, here, need_weights=self.weights)
        if weights is not None:
            world["outputs"].append(weights)
        return x + found.flatten(1)


@part("embedding")
class Embedding(nn.Module):
    def __init__(self, pick, width):
        super().__init__()
        options = pick({}, {"padding_idx": 0}, {"scale_grad_by_freq": True}, {"max_norm": 1.0})
        self.layer = nn.Embedding(WORDS, width, **options)
        self.how = pick("mean", "first", "one_hot", "tied", "twice")

    def forward(self, x, world):
        ids = world["ids"]
        if self.how == "one_hot":
            return x + functional.one_hot(ids, WORDS).to(x.dtype).mean(1) @ self.layer.weight
        found = self.layer(ids)
        if self.how == "tied":
            scores = x @ self.layer.weight.t()
            return found[:, 0] + scores @ self.layer.weight
        if self.how == "twice":
            return x + found[:, 0] * self.layer(ids.flip(1))[:, 1]
        return x + (found.mean(1) if self.how == "mean" else found[:, 0])


@part("bag")
class Bag(nn.Module):
    def __init__(self, pick, width):
        super().__init__()
        self.mode = pick("mean", "sum", "max")
        self.weighted = pick(False, True) and self.mode == "sum"
        self.flat = pick(False, True)
        self.layer = nn.EmbeddingBag(WORDS, width, mode=self.mode)

    def forward(self, x, world):
        ids = world["ids"]
        weights = x[:, : ids.shape[1]].sigmoid() if self.weighted else None
        if not self.flat:
            return x + self.layer(ids, per_sample_weights=weights)
        starts = torch.arange(ids.shape[0]) * ids.shape[1]
        weights = None if weights is None else weights.reshape(-1)
        return x + self.layer(ids.flatten(), starts, per_sample_weights=weights)


@part("indexed")
class Indexed(nn.Module):
    def __init__(self, pick, width):
        super().__init__()
        self.linear = nn.Linear(width, width)
        self.how = pick(
            *("gather", "scatter_add", "index_put", "index_select", "scatter", "index_add"),
            *("put_in", "take", "reduce", "index", "index_copy", "select_scatter", "diag"),
        )

    def forward(self, x, world):  # noqa: C901 - a table
        ids = world["ids"] % x.shape[1]
        rows = ids[:, 0] % x.shape[0]
        h, how = self.linear(x), self.how
        if how == "gather":
            return x + h.gather(1, ids).sum(1, keepdim=True)
        if how == "scatter_add":
            return x.scatter_add(1, ids, h.tanh()[:, :3])
        if how == "index_put":
            return x.index_put((rows,), h, accumulate=True)
        if how == "index_select":
            return x + h.index_select(0, rows)
        if how == "scatter":
            return h.scatter(1, ids[:, :1], x)
        if how == "index_add":
            return h.index_add(0, rows, x, alpha=0.5)
        if how == "put_in":
            h = h * 1
            h[rows[:1]] = x[:1]
            h[:, ids[0, 0:1]] += 1
            return h
        if how == "take":
            return x + h.take(ids).sum(1, keepdim=True)
        if how == "reduce":
            return h.scatter_reduce(1, ids, x[:, :3], "amax")
        if how == "index":
            return h[rows] + h[rows, ids[:, 0]][:, None]
        if how == "index_copy":
            return h.index_copy(0, rows[:1], x[:1])
        if how == "select_scatter":
            return h.select_scatter(x[0], 0, 1).slice_scatter(x[:, :1], 1, 0, 1)
        return x + torch.diag_embed(h)[:, 0]


@part("cell")
class Cell(nn.Module):
    def __init__(self, pick, width):
        super().__init__()
        self.layer = pick(nn.GRUCell, nn.LSTMCell, nn.RNNCell)(width, width)
        self.times = pick(1, 2, 3)

    def forward(self, x, world):
        state = None
        for _ in range(self.times):
            state = self.layer(x, state)
        return state[0] if isinstance(state, tuple) else state


@part("recurrent")
class Recurrent(nn.Module):
    def __init__(self, pick, width):
        super().__init__()
        kind, self.first = pick(nn.GRU, nn.LSTM, nn.RNN), pick(True, False)
        both, layers = pick(False, True), pick(1, 2)
        self.layer = kind(
            width // 2,
            width // 4 if both else width // 2,
            layers,
            batch_first=self.first,
            bidirectional=both,
        )
        self.state = pick(False, True)

    def forward(self, x, world):
        found, state = self.layer(x.view(x.shape[0], 2, -1))
        if self.state:
            world["outputs"].append(state[0] if isinstance(state, tuple) else state)
        return found.flatten(1)


class Squared(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return 2 * x * gradient.clamp(-1, 1)


class Straight(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, factor):
        ctx.factor = factor
        return torch.round(x * factor) / factor

    @staticmethod
    def backward(ctx, gradient):
        return gradient * ctx.factor, None


class Saves(torch.autograd.Function):
    """Saves its result, and has two."""

    @staticmethod
    def forward(ctx, x, weight):
        found = torch.tanh(x @ weight)
        ctx.save_for_backward(x, weight, found)
        ctx.set_materialize_grads(True)
        return found, found.sum(1)

    @staticmethod
    def backward(ctx, gradient, other):
        x, weight, found = ctx.saved_tensors
        inner = (gradient + other[:, None]) * (1 - found * found)
        return inner @ weight.t(), x.t() @ inner


@part("function")
class Function(nn.Module):
    def __init__(self, pick, width):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(width, width) * 0.3)
        self.how = pick("squared", "straight", "saves", "both")

    def forward(self, x, world):
        if self.how == "squared":
            return Squared.apply(x.tanh())
        if self.how == "straight":
            return Straight.apply(x, 4.0)
        found, total = Saves.apply(x, self.weight)
        return found + total[:, None] if self.how == "both" else found


@part("checkpoint")
class Checkpointed(nn.Module):
    def __init__(self, pick, width):
        super().__init__()
        inner = pick(nn.Tanh(), nn.Dropout(0.3), nn.LayerNorm(width), nn.ReLU(inplace=True))
        self.inner = nn.Sequential(nn.Linear(width, width), inner, nn.Linear(width, width))
        # other masks the second time than the first are what eager has otherwise, on purpose
        self.kept = pick(True, False) or isinstance(inner, nn.Dropout)

    def forward(self, x, world):
        return checkpoint(self.inner, x, use_reentrant=False, preserve_rng_state=self.kept)
