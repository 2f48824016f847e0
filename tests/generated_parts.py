"""The parts that generated models are made of: each maps `(rows, width)` to `(rows, width)`.

A part is made from a `Pick`, which tells variants apart by one small number, and from the
width, a multiple of 4. Beside its tensor it is given `world`: the model's other arguments,
what the parts before it gave, and lists for further losses and outputs.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from tests.generated_functions import FUNCTIONS, images, rows_of

#: By the names that descriptions have for them.
PARTS = dict(FUNCTIONS)
WORDS = 7


class Pick:
    """Choices that follow from one number; 0 takes the first option everywhere."""

    def __init__(self, seed):
        self.left = seed

    def __call__(self, *options):
        self.left, at = divmod(self.left, len(options))
        return options[at]


def part(name):
    """Register a part under a name."""

    def register(made):
        PARTS[name] = made
        return made

    return register


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


READS = {
    "view": lambda b: b.view(3, 1, -1)[1],
    "none": lambda b: b[1][None],
    "index": lambda b: b[1],
    "narrow": lambda b: b.narrow(0, 1, 1),
    "expand": lambda b: b[1].expand(4, -1)[0],
    "detach": lambda b: b.detach()[1],
    "data": lambda b: b.data[1:2],
    "t": lambda b: b.t()[:, 1],
    "slice": lambda b: b[1:2],
    "dots": lambda b: b[..., 1, :],
    "unbind": lambda b: b.unbind(0)[1],
    "chunk": lambda b: b.chunk(3)[1],
    "split": lambda b: b.split([1, 2])[1][0],
    "select": lambda b: b.select(0, -1),
    "strided": lambda b: b.as_strided((b.shape[1],), (1,), b.shape[1]),
    "flat": lambda b: b.flatten()[: b.shape[1]],
    "contiguous": lambda b: b.contiguous()[1],
    "to": lambda b: b.to(b.dtype)[1],
    "cast": lambda b: b.to(torch.float32)[1].to(b.dtype),
    "diagonal": lambda b: b[:, :3].diagonal()[:1],
    "unfold": lambda b: b.unfold(0, 1, 1)[1, :, 0],
    "moved": lambda b: b.movedim(0, 1)[:, 2],
    "whole": lambda b: b.mean(0),
    "copied": lambda b: b.clone()[1],
    "item": lambda b: b[0, 0],
    "list": lambda b: list(b)[1],
    "squeeze": lambda b: b[1:2].squeeze(0),
    "as": lambda b: b.view_as(b)[1],
    "gather": lambda b: b[torch.tensor([1])],
    "real": lambda b: b.view(b.shape).unflatten(1, (2, -1)).flatten(1)[1],
}
CHANGES = {
    "mul": lambda b, h: b.mul_(0.5),
    "add": lambda b, h: b.mul_(0.5).add_(h, alpha=0.5),
    "copy": lambda b, h: b.copy_(b * 0.7 + h),
    "lerp": lambda b, h: b.lerp_(h.expand_as(b), 0.3),
    "index_copy": lambda b, h: b.index_copy_(0, torch.tensor([1]), h[None] + 1),
    "row": lambda b, h: b[1].copy_(h),
    "item": lambda b, h: b.__setitem__(1, b[0] + h),
    "slice": lambda b, h: b.__setitem__((slice(None), slice(0, 2)), h[:2] + 2),
    "data": lambda b, h: b.data.add_(h),
    "view": lambda b, h: b.view(-1).add_(1.0),
    "zero": lambda b, h: b.zero_(),
    "fill": lambda b, h: b.fill_(0.7),
    "detach": lambda b, h: b.detach().sub_(h),
    "t": lambda b, h: b.t().mul_(1.1),
    "index_add": lambda b, h: b.index_add_(0, torch.tensor([2]), h[None]),
    "scatter": lambda b, h: b.scatter_(0, torch.ones(1, b.shape[1], dtype=torch.long), h[None]),
    "masked": lambda b, h: b.masked_fill_(b > 0.2, 0.2),
    "clamp": lambda b, h: b.clamp_(-0.3, 0.3),
    "out": lambda b, h: torch.add(b, h, out=b),
    "foreach": lambda b, h: torch._foreach_mul_([b], 0.9),
    "noise": lambda b, h: b.normal_(),
    "roll": lambda b, h: b.copy_(b.roll(1, 0)).select(0, 0).copy_(h),
    "twice": lambda b, h: b.add_(h).mul_(b.mean()),
    "put": lambda b, h: b.index_put_((torch.tensor([0, 1]),), h, accumulate=True),
}
USES = {
    "sub": lambda h, r: h - r,
    "mul": lambda h, r: h * (1 + r),
    "sigmoid": lambda h, r: torch.sigmoid(h - r),
    "div": lambda h, r: h / (2 + r.abs()),
    "own": lambda h, r: h * torch.tanh(r + 1),
    "max": lambda h, r: torch.maximum(h, r.expand_as(h)),
    "addcmul": lambda h, r: torch.addcmul(h, h, r.expand_as(h)),
}


@part("buffer")
class Buffered(nn.Module):
    """A buffer that is read through a view, and changed in place."""

    def __init__(self, pick, width):
        super().__init__()
        self.linear = nn.Linear(width, width)
        self.register_buffer("kept", torch.linspace(-1, 1, 3 * width).view(3, width))
        self.order = pick("use", "again", "late", "after", "end", "saved")
        self.change, self.use = pick(*CHANGES.values()), pick(*USES.values())
        self.read = pick(*READS.values())

    def forward(self, x, world):
        h = self.linear(x)
        if self.order == "after":
            self.changed(h)
        read = self.read(self.kept)
        found = torch.tanh(self.use(h, read)) if self.order != "late" else h
        if self.order == "saved":
            world["late"].append(self.read(self.kept))
        if self.order != "after":
            self.changed(h)
        if self.order == "late":
            found = torch.tanh(self.use(h, read))
        if self.order == "again":
            found = self.use(found, self.read(self.kept))
        if self.order == "end":
            world["late"].append(read)
        return found

    def changed(self, h):
        with torch.no_grad():
            self.change(self.kept, h.mean(0))


@part("argument")
class Argument(nn.Module):
    """An argument that is changed in place, and read through a view before."""

    def __init__(self, pick, width):
        super().__init__()
        self.linear = nn.Linear(width, width)
        self.change = pick(
            lambda o, h: o.add_(1),
            lambda o, h: o.copy_(h.detach()),
            lambda o, h: o[0].mul_(2),
            lambda o, h: o.t().sub_(0.5),
            lambda o, h: o.__setitem__((slice(None), 0), 3),
            lambda o, h: o.detach().clamp_(-0.2, 0.2),
        )
        self.read = pick(
            lambda o: o,
            lambda o: o[0],
            lambda o: o.view(-1).view(o.shape),
            lambda o: o[:, :1],
            lambda o: o.detach(),
            lambda o: o[:1].expand_as(o),
        )
        self.use = pick(*USES.values())
        self.order = pick("before", "after", "both")

    def forward(self, x, world):
        other, h = world["other"], self.linear(x)
        read = self.read(other)
        found = self.use(h, read) if self.order != "after" else h
        with torch.no_grad():
            self.change(other, h)
        return self.use(found, self.read(other)) if self.order != "before" else found


@part("outputs")
class Outputs(nn.Module):
    """Returned beside the loss: what is made, and views of it, of arguments and of buffers."""

    def __init__(self, pick, width):
        super().__init__()
        self.linear = nn.Linear(width, width)
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))
        self.what = pick(
            lambda h, x, w: [h],
            lambda h, x, w: [h[0], h],
            lambda h, x, w: [x.t()],
            lambda h, x, w: [h.detach(), {"ids": w["ids"], "first": w["other"][0]}],
            lambda h, x, w: [(h.view(-1), h.view(-1)[1:]), None, 3, "words"],
            lambda h, x, w: [h.argmax(1), h > 0],
            lambda h, x, w: [h.split(2, 1)],
            lambda h, x, w: [h.expand(2, *h.shape), h.square().sum()],
            lambda h, x, w: [h, h],
            lambda h, x, w: [torch.zeros(2), x.detach()[1:], h.data],
        )
        self.after = pick(torch.tanh, lambda h: h, lambda h: h * 2, lambda h: torch.relu(h))

    def forward(self, x, world):
        h = self.linear(x)
        world["outputs"] += self.what(h, x, world)
        self.steps += 1
        return self.after(h)


@part("loss")
class Loss(nn.Module):
    """A further loss."""

    def __init__(self, pick, width):
        super().__init__()
        self.linear = nn.Linear(width, width)
        self.what = pick(
            lambda h, w: h.square().mean(),
            lambda h, w: functional.cross_entropy(h, w["ids"][:, 0] % 4),
            lambda h, w: functional.kl_div(
                h.log_softmax(1), w["other"].detach().softmax(1), reduction="batchmean"
            ),
            lambda h, w: functional.smooth_l1_loss(h, w["other"].detach()),
            lambda h, w: functional.huber_loss(h, h.detach() + 1),
            lambda h, w: functional.binary_cross_entropy_with_logits(
                h, (w["other"] > 0).to(h.dtype)
            ),
            lambda h, w: functional.triplet_margin_loss(h, h.flip(0), w["other"].detach()),
            lambda h, w: functional.nll_loss(h.log_softmax(1), w["ids"][:, 1] % 4, ignore_index=0),
            lambda h, w: functional.multi_margin_loss(h, w["ids"][:, 0] % 4),
            lambda h, w: functional.l1_loss(h, w["other"].detach(), reduction="sum") * 0.1,
            lambda h, w: functional.gaussian_nll_loss(h, w["other"].detach(), h.square() + 0.1),
            lambda h, w: functional.poisson_nll_loss(h, w["other"].detach().abs()),
        )
        self.on = pick(True, False)

    def forward(self, x, world):
        h = self.linear(x)
        world["losses"].append(self.what(h, world))
        return h if self.on else x


@part("shared")
class Shared(nn.Module):
    """Tied, frozen and unused parameters."""

    def __init__(self, pick, width):
        super().__init__()
        self.first, self.second = nn.Linear(width, width), nn.Linear(width, width)
        self.how = pick("tied", "frozen", "unused", "alias", "row", "transposed", "half")
        if self.how == "tied":
            self.second.weight = self.first.weight
        if self.how == "alias":
            self.third = self.first
        if self.how in ("frozen", "half"):
            self.first.requires_grad_(requires_grad=False)
        if self.how == "half":
            self.first.bias.requires_grad_()

    def forward(self, x, world):
        if self.how == "unused":
            return torch.tanh(self.first(x))
        if self.how == "alias":
            return self.first(torch.tanh(self.third(x)))
        if self.how == "row":
            return self.first(x) * self.second.weight[0] + self.second.weight[1:2, 0]
        if self.how == "transposed":
            return functional.linear(torch.tanh(self.first(x)), self.first.weight.t())
        return self.second(torch.tanh(self.first(x)))


@part("attributes")
class Attributes(nn.Module):
    """Counts, remembers, and appends in forward."""

    def __init__(self, pick, width):
        super().__init__()
        self.linear = nn.Linear(width, width)
        self.how = pick("aux", "list", "counter", "dict", "buffer", "view", "swap", "reads")
        self.count, self.seen, self.aux, self.named = 0, [], None, {}
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("other", torch.ones(width))

    def forward(self, x, world):
        h = self.linear(x)
        found = torch.tanh(h - self.mean * self.other)
        if self.how == "aux":
            self.aux = h.abs().mean()
            world["losses"].append(self.aux * 0.1)
        elif self.how == "list":
            self.seen.append(h.detach())
            self.seen = self.seen[-2:]
        elif self.how == "counter":
            self.count += 1
        elif self.how == "dict":
            self.named["h"] = found.detach().mean(0)
        elif self.how == "buffer":
            self.mean = 0.9 * self.mean + 0.1 * h.detach().mean(0)
        elif self.how == "view":
            self.aux = h.detach()[0]
        elif self.how == "swap":
            self.mean, self.other = self.other, self.mean
        else:
            found = found * (1 + self.count % 2)
            self.count += 1
        return found


@part("hooked")
class Hooked(nn.Module):
    """Hooks of modules and of tensors."""

    def __init__(self, pick, width):
        super().__init__()
        self.linear = nn.Linear(width, width)
        self.how = pick("tensor", "forward", "pre")
        if self.how == "forward":
            self.linear.register_forward_hook(lambda module, args, out: torch.tanh(out))
        if self.how == "pre":
            self.linear.register_forward_pre_hook(lambda module, args: (args[0] * 2,))

    def forward(self, x, world):
        h = self.linear(x)
        if self.how == "tensor":
            h.register_hook(lambda gradient: gradient * 2)
        return torch.sigmoid(h)


@part("parameter")
class Changed(nn.Module):
    """A parameter that forward changes in place under no_grad."""

    def __init__(self, pick, width):
        super().__init__()
        self.linear, self.scale = nn.Linear(width, width), nn.Parameter(torch.full((width,), 2.0))
        self.how = pick("clamp", "row", "data", "detach", "normalize")
        self.frozen = pick(False, True)
        self.scale.requires_grad_(requires_grad=not self.frozen)

    def forward(self, x, world):
        h = self.linear(x)
        with torch.no_grad():
            if self.how == "clamp":
                self.scale.clamp_(0, 1.8)
            elif self.how == "row":
                self.scale[0] = 1.0
            elif self.how == "data":
                self.scale.data.mul_(0.9)
            elif self.how == "detach":
                self.scale.detach().mul_(0.9)
            else:
                self.linear.weight.div_(1 + self.linear.weight.norm())
        return torch.tanh(h * self.scale)
