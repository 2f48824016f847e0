"""The generated models' parts that read, change and return what others hold, too."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from tests.torch.generated_functions import part

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
